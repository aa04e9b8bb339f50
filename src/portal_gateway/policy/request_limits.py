"""The limits of one request together: what its answer tells of them, and how it is refused.

Every answer has ``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers-11)
with a member for each limit, and for clients of today ``X-RateLimit-Limit``, ``-Remaining`` and
``-Reset`` of the tightest one, which has the fewest requests left. A bucket is told as a quota of
its burst in the time in which it fills up. ``t`` is when there will be one request more, and
``X-RateLimit-Reset`` when the bucket will be full, both in seconds from now.

All but the numbers is put together once and kept.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from portal_gateway.config.rate_limits import RateSection
from portal_gateway.errors import GatewayError, fault
from portal_gateway.policy.token_bucket import SECOND, Bucket, Rate
from portal_gateway.wire.http_fields import Headers

__all__ = ["Limit", "NamedLimit", "Prepare", "RequestLimits", "limit_members"]


_RESET = b"X-RateLimit-Reset"
_RESET_SOON = (_RESET, b"1")


class Limit(NamedTuple):
    """A rate with the words by which people know it, such as ``100 requests a second``."""

    rate: Rate
    words: str

    @classmethod
    def of(cls, section: RateSection | None) -> "Limit | None":
        """The limit that the configuration has, or none."""
        if section is None:
            return None
        count = f"{section.requests:.10g} request{'' if section.requests == 1 else 's'}"
        rate = Rate.of(section.requests, section.seconds, section.burst)
        return cls(rate, f"{count} {_EACH[section.seconds]}")


_EACH = {1: "a second", 60: "a minute", 3600: "an hour"}


Prepare = Callable[[Sequence[str], Sequence[tuple[int, int]]], object]
"""Makes what a store wants to be asked with, of the name of each bucket among all there are and of
its interval and depth."""


class NamedLimit(NamedTuple):
    """One limit of a request: the name that its answer tells, its words, and its bucket."""

    name: str
    limit: Limit
    bucket: Bucket


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The limits of one key's requests to one lease, and what is prebuilt of their answers.

    ``buckets`` are what a request takes tokens out of. ``prepared`` is what a store that gateways
    share wants for them.
    """

    buckets: tuple[Bucket, ...]
    prepared: Any
    _limits: tuple[NamedLimit, ...]
    _policy: tuple[bytes, bytes]
    _template: bytes
    _quick_template: bytes | None
    _quotas: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def of(cls, limits: Sequence[NamedLimit], prepare: Prepare | None = None) -> "RequestLimits":
        """Put them together."""
        names = [f"{limit.name}:{limit.bucket.key}" for limit in limits]
        rates = [(limit.bucket.rate.interval, limit.bucket.rate.depth) for limit in limits]
        policies = []
        quotas = []
        for name, (rate, _), _bucket in limits:
            window = -(-rate.depth // SECOND)
            policies.append(b'"%s";q=%d;w=%d' % (name.encode("ascii"), rate.burst, window))
            quotas.append((b"X-RateLimit-Limit", b"%d" % rate.burst))
        quick = all(limit.bucket.rate.interval <= SECOND for limit in limits)
        told = [limit.name.encode("ascii") for limit in limits]
        return cls(
            tuple(limit.bucket for limit in limits),
            None if prepare is None else prepare(names, rates),
            tuple(limits),
            (b"RateLimit-Policy", b", ".join(policies)),
            b", ".join(b'"%s";r=%%d;t=%%d' % name for name in told),
            b", ".join(b'"%s";r=%%d;t=1' % name for name in told) if quick else None,
            tuple(quotas),
        )

    def fields(self, until_full: Sequence[int]) -> Headers:
        """What an answer tells, when it takes ``until_full`` until each bucket is full."""
        left: list[int] = []
        least = tightest = -1
        for bucket in self.buckets:
            rate = bucket.rate
            index = len(left)
            remaining = (rate.depth - until_full[index]) // rate.interval
            left.append(remaining)
            if remaining < least or index == 0:
                least = remaining
                tightest = index
        if self._quick_template is not None and 0 not in until_full:
            # The next request is possible within a second, whatever the bucket.
            state = self._quick_template % tuple(left)
        else:
            state = self._template % tuple(self._with_times(left, until_full))
        until = until_full[tightest]
        return [
            self._policy,
            (b"RateLimit", state),
            self._quotas[tightest],
            (b"X-RateLimit-Remaining", b"%d" % least),
            _RESET_SOON if 0 < until <= SECOND else (_RESET, b"%d" % -(-until // SECOND)),
        ]

    def _with_times(self, left: Sequence[int], until_full: Sequence[int]) -> Iterator[int]:
        """What each bucket has left, and the seconds until it has one more.

        One that is full gets no more.
        """
        for bucket, remaining, time in zip(self.buckets, left, until_full, strict=True):
            rate = bucket.rate
            yield remaining
            next_one = time - (rate.depth - (remaining + 1) * rate.interval)
            yield -(-next_one // SECOND) if time else 0

    def refusal(self, until_full: Sequence[int]) -> GatewayError:
        """The error that names the limits without a token, and says when all have one.

        Each of them has refused a request then.
        """
        longest = 0
        reached = []
        for limit, time in zip(self._limits, until_full, strict=True):
            wait = limit.bucket.rate.wait(time)
            if wait:
                limit.bucket.table.refused += 1
                reached.append(f"{limit.limit.words} {_OF_WHAT[limit.name]}")
                longest = max(longest, wait)
        seconds = max(1, -(-longest // SECOND))
        detail = f"the limit of {' and that of '.join(reached)} is reached; wait {seconds} s"
        return fault("rate_limit_exceeded", detail, [(b"Retry-After", b"%d" % seconds)])


_MEMBER = re.compile(rb'"([a-z-]+)";[qr]=(\d+);[wt]=(\d+)')
"""A member of either field, as they are put together here."""


def limit_members(told: Headers) -> list[dict[str, Any]]:
    """The limits that ``RequestLimits.fields`` told of, each as the members of a JSON object.

    A request that was told of none has none.
    """
    fields = dict(reversed(told))
    policies = _MEMBER.findall(fields.get(b"RateLimit-Policy", b""))
    limits = _MEMBER.findall(fields.get(b"RateLimit", b""))
    return [
        {
            "name": name.decode("ascii"),
            "limit": int(quota),
            "window_seconds": int(window),
            "remaining": int(remaining),
            "more_in_seconds": int(more_in),
        }
        for (name, quota, window), (_, remaining, more_in) in zip(policies, limits, strict=True)
    ]


_OF_WHAT = {
    "global": "to the gateway",
    "key": "by this key",
    "lease": "to this lease",
    "failed-auth": "without a valid credential from this address",
}
