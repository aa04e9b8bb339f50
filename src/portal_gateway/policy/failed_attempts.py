"""Failed and anonymous attempts: how many a client address may make."""

from ipaddress import IPv6Address
from typing import Final

from portal_gateway.config.rate_limits import RateSection
from portal_gateway.errors import GatewayError, fault
from portal_gateway.policy.request_limits import Limit, NamedLimit, RequestLimits
from portal_gateway.policy.token_bucket import Bucket, BucketTable, take

__all__ = ["FailedAttempts"]

_HOST_BITS: Final = 64
"""Bits of an IPv6 address that a client has to itself at least (RFC 4291 section 2.5.1)."""


class FailedAttempts:
    """Holds each client address to a rate of requests without a valid credential.

    Only such a request takes a token, so one with a valid credential is never refused for what
    others at its address do. An IPv6 address stands for its network of 64 bits, which is the least
    that a client has to itself.
    """

    def __init__(self, section: RateSection, table: BucketTable) -> None:
        limit = Limit.of(section)
        assert limit is not None
        self._limit = limit
        self._table = table

    def refusal(self, address: str, now: int) -> GatewayError | None:
        """Count a failed attempt; the error for one too many."""
        bucket = Bucket(self._table, _network(address), self._limit.rate)
        admitted, until_full = take((bucket,), now)
        if admitted:
            return None
        limits = RequestLimits.of([NamedLimit("failed-auth", self._limit, bucket)])
        error = limits.refusal(until_full)
        return fault(error.cause.code, error.detail, [*error.fields, *limits.fields(until_full)])


def _network(address: str) -> str:
    """What counts as one client."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped
    return f"{int(parsed) >> _HOST_BITS:x}" if mapped is None else str(mapped)
