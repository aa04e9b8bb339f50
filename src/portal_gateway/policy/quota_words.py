"""What answers say of quotas: that one is used up, that one soon will be, and how much is left.

From 80 % on an answer has ``X-Quota-Warning`` for people, and for programs ``RateLimit-Policy`` and
``RateLimit`` (draft-ietf-httpapi-ratelimit-headers-11) with a member for each quota: ``r`` is what
is left, ``t`` the seconds until it begins anew. A member for bandwidth counts in ``content-bytes``.
Before that, nothing is told and nothing is put together.
"""

from collections.abc import Iterable, Iterator
from math import ceil
from typing import Any, NamedTuple

from portal_gateway.config.sizes import spoken_size
from portal_gateway.errors import GatewayError, fault
from portal_gateway.policy.quota_counts import Current
from portal_gateway.policy.quota_spans import Span
from portal_gateway.policy.quotas import WARNED_FROM
from portal_gateway.wire.http_fields import Headers

__all__ = ["quota_members", "quota_refusal", "warning_fields"]


class _Use(NamedTuple):
    """One limit of a quota, and how much of it is used."""

    span: Span
    unit: str
    limit: int
    used: int

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)

    @property
    def name(self) -> str:
        return f"{self.span.period}-{self.unit}"


def _uses(current: Current) -> Iterator[_Use]:
    for quota, count in current:
        if quota.requests is not None:
            yield _Use(count.span, "requests", quota.requests, count.requests)
        if quota.bandwidth is not None:
            yield _Use(count.span, "bandwidth", quota.bandwidth, count.bytes)


def quota_refusal(current: Current, now: float) -> GatewayError:
    """``quota_exceeded`` (429), which says when all that is used up begins anew."""
    used_up = [use for use in _uses(current) if not use.left]
    assert used_up, "something is used up where a request is refused"
    last = max((use.span for use in used_up), key=lambda span: span.end)
    what = " and ".join(f"the {use.span.period} quota of {_spoken(use)}" for use in used_up)
    is_are = "is" if len(used_up) == 1 else "are"
    seconds = max(1, ceil(last.end - now))
    return fault(
        "quota_exceeded",
        f"{what} {is_are} used up; it begins anew at {last.spoken_end}",
        [(b"Retry-After", b"%d" % seconds)],
    )


def warning_fields(current: Current, now: float) -> Headers:
    """What an answer tells when a quota comes to its end."""
    warnings = [
        f"{use.span.period} {use.unit} {100 * use.used // use.limit}% used,"
        f" anew at {use.span.spoken_end}"
        for use in _uses(current)
        if use.used >= use.limit * WARNED_FROM
    ]
    return [
        (b"X-Quota-Warning", "; ".join(warnings).encode("ascii")),
        *_members(current, now),
    ]


def _members(current: Current, now: float) -> Headers:
    policies = []
    limits = []
    for use in _uses(current):
        unit = ';qu="content-bytes"' if use.unit == "bandwidth" else ""
        policies.append(f'"{use.name}";q={use.limit}{unit}')
        limits.append(f'"{use.name}";r={use.left};t={max(0, ceil(use.span.end - now))}')
    return [
        (b"RateLimit-Policy", ", ".join(policies).encode("ascii")),
        (b"RateLimit", ", ".join(limits).encode("ascii")),
    ]


def quota_members(current: Current) -> Iterable[dict[str, Any]]:
    """Each quota with what is left of it, as members of a JSON object."""
    for quota, count in current:
        described: dict[str, Any] = {"period": quota.period, "span": count.span.label}
        described["resets_at"] = count.span.spoken_end
        for use in _uses(((quota, count),)):
            described[use.unit] = {"limit": use.limit, "used": use.used, "remaining": use.left}
        yield described


def _spoken(use: _Use) -> str:
    if use.unit == "requests":
        return f"{use.limit} request{'' if use.limit == 1 else 's'}"
    return f"{spoken_size(use.limit)} of bandwidth"
