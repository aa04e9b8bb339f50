"""What a caller is told about itself, as members of a JSON object. Never the key."""

from typing import Any

from portal_gateway.exchange import Caller
from portal_gateway.policy.quota_counts import Current
from portal_gateway.policy.quota_words import quota_members
from portal_gateway.policy.request_limits import limit_members
from portal_gateway.wire.http_fields import Headers

__all__ = ["caller_members"]


def caller_members(caller: Caller, told: Headers, current: Current) -> dict[str, Any]:
    """Who the caller is, and what it may.

    ``told`` are the fields that guards added to the answer, which have the limits; ``current`` are
    the caller's quotas. ``leases`` are those that the key or token itself is held to, ``null``
    where only the configuration's rules hold.
    """
    return {
        "key_id": caller.key_id,
        "source": caller.source,
        "description": caller.description,
        "plan": caller.plan or None,
        "scopes": sorted(caller.scopes),
        "leases": None if caller.leases is None else list(caller.leases),
        "limits": limit_members(told),
        "quotas": list(quota_members(current)),
    }
