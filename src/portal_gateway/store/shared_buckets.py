"""Token buckets in Redis, for several gateways together.

They are those of `portal_gateway.policy.token_bucket`: a bucket is the moment at which it will be
full. One script takes a token out of every bucket of a request, or of none. Moments are of Redis's
own clock, so the gateways need not agree about the time. A key expires when its bucket is full,
which is the same as no key.

Redis counts in doubles, so a moment is kept as seconds of the epoch and microseconds with three
digits behind the point, apart: no digit of a nanosecond is lost. It takes the time of day. Should
that be set back, no bucket is further from full than an empty one, which is written down; so nobody
waits for longer than an empty bucket takes.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred

from portal_gateway.store.redis import RedisScripts
from portal_gateway.store.redis_script import Call, Script

__all__ = ["TAKE", "BucketCall", "SharedBuckets"]

TAKE: Final = Script(
    """
    local SECOND = 1000000
    local SLACK = 0.002
    local time = redis.call('TIME')
    local seconds, micros = tonumber(time[1]), tonumber(time[2])
    local moments = redis.call('MGET', unpack(KEYS))
    local admitted = 1
    local left = {}
    local write = {}
    for i = 1, #KEYS do
        local interval, depth = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
        local until_full = 0
        local s, m = string.match(moments[i] or '', '^(%d+) (%d+%.%d+)$')
        if s then
            until_full = math.max(0, (s - seconds) * SECOND + (m - micros))
        end
        if until_full > depth then
            until_full = depth
            write[i] = true
        end
        if until_full + interval > depth + SLACK then
            admitted = 0
        end
        left[i] = until_full
    end
    local told = {admitted}
    for i = 1, #KEYS do
        if admitted == 1 then
            left[i] = left[i] + ARGV[2 * i - 1]
            write[i] = true
        end
        if write[i] then
            local m = micros + left[i]
            local s = math.floor(m / SECOND)
            redis.call('SET', KEYS[i], string.format('%d %.3f', seconds + s, m - s * SECOND),
                       'PX', string.format('%.0f', math.ceil(left[i] / 1000)))
        end
        told[i + 1] = string.format('%.0f', left[i] * 1000)
    end
    return redis.status_reply(table.concat(told, ' '))
    """
)
"""Keys are buckets; arguments, for each, its interval and its depth. It answers with whether tokens
were taken, and for each bucket the nanoseconds until it is full."""

_ANSWER: Final = re.compile(r"([01])((?: [0-9]{1,19})+)")


class BucketCall:
    """The script with the buckets of a request. Made once, asked often."""

    __slots__ = ("call", "depths")

    def __init__(self, call: Call, depths: Sequence[int]) -> None:
        self.call = call
        self.depths = depths


class SharedBuckets:
    """Takes tokens out of buckets in Redis."""

    def __init__(self, scripts: RedisScripts) -> None:
        self.scripts = scripts

    def prepare(self, names: Sequence[str], rates: Sequence[tuple[int, int]]) -> BucketCall:
        """The buckets of these names. A rate is its interval and its depth, in nanoseconds."""
        keys = [self.scripts.key(f"limit:{name}") for name in names]
        arguments = [_microseconds(time) for rate in rates for time in rate]
        return BucketCall(Call(TAKE, keys, arguments), [depth for _, depth in rates])

    def take(self, call: BucketCall) -> Deferred[tuple[bool, list[int]]]:
        """As `portal_gateway.policy.token_bucket.take`. Fails with ``RedisUnavailable``."""
        return self.scripts.run(call.call, partial(_read, call.depths))


def _microseconds(nanoseconds: int) -> bytes:
    return b"%d.%03d" % divmod(nanoseconds, 1000)


def _read(depths: Sequence[int], answer: object) -> tuple[bool, list[int]]:
    """Raises ValueError for an answer that is none to a question about so many buckets."""
    match = _ANSWER.fullmatch(answer) if isinstance(answer, str) else None
    if match is None:
        raise ValueError("not an answer")
    times = [int(digits) for digits in match[2].split()]
    if len(times) != len(depths):
        raise ValueError("an answer to something else")
    # What doubles are inexact by must not make a bucket more than empty.
    return match[1] == "1", [min(time, depth) for time, depth in zip(times, depths, strict=True)]
