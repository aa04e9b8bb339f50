"""Use of quotas in Redis, for several gateways together.

The use of one key in one day or month is a hash with ``requests`` and ``bytes``, which expires a
day after its end, since clocks may differ. One script counts a request in every quota that it has,
or in none where one is used up: so no gateway admits what another has used.

Bytes, and requests that were admitted while Redis was away, are added once a second. What was sent
and not answered is sent again under the same number. Redis remembers the last number of each
process, so it is added once.
"""

import re
from collections.abc import Sequence
from functools import partial
from itertools import chain
from secrets import token_hex
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from portal_gateway.store.quota_store import Added, StoreUnavailable, Totals, UsedIn
from portal_gateway.store.redis import RedisScripts, RedisUnavailable
from portal_gateway.store.redis_script import Call, Script

__all__ = ["ADD", "COUNT", "QuotaCall", "SharedQuotas"]

_AFTER_END: Final = 86_400
"""Seconds for which use is kept when its day or month is over."""

_MOST_AT_ONCE: Final = 200
"""Hashes of one script: some 2 ms of Redis's time, in which nobody else is answered."""

_NO_LIMIT: Final = -1

COUNT: Final = Script(
    """
    local admitted = 1
    local told = {}
    for i = 1, #KEYS do
        local found = redis.call('HMGET', KEYS[i], 'requests', 'bytes')
        local requests = tonumber(found[1] or 0) or 0
        local bytes = tonumber(found[2] or 0) or 0
        local most, most_bytes = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
        if (most >= 0 and requests >= most) or (most_bytes >= 0 and bytes >= most_bytes) then
            admitted = 0
        end
        told[2 * i] = string.format('%.0f', requests)
        told[2 * i + 1] = string.format('%.0f', bytes)
    end
    told[1] = admitted
    if admitted == 1 then
        for i = 1, #KEYS do
            local requests = redis.call('HINCRBY', KEYS[i], 'requests', 1)
            redis.call('EXPIREAT', KEYS[i], ARGV[3 * i])
            told[2 * i] = string.format('%.0f', requests)
        end
    end
    return redis.status_reply(table.concat(told, ' '))
    """
)
"""Keys are hashes; arguments, for each, the requests and bytes of its quota (-1 for no limit) and
when it expires. It answers with whether the request was counted, and for each hash its totals."""

ADD: Final = Script(
    """
    local number = tonumber(ARGV[1])
    local fresh = number > (tonumber(redis.call('GET', KEYS[1]) or 0) or 0)
    if fresh then
        redis.call('SET', KEYS[1], ARGV[1], 'EX', 86400)
    end
    local told = {}
    for i = 2, #KEYS do
        local requests, bytes
        if fresh then
            requests = redis.call('HINCRBY', KEYS[i], 'requests', ARGV[3 * i - 4])
            bytes = redis.call('HINCRBY', KEYS[i], 'bytes', ARGV[3 * i - 3])
            redis.call('EXPIREAT', KEYS[i], ARGV[3 * i - 2])
        else
            local found = redis.call('HMGET', KEYS[i], 'requests', 'bytes')
            requests = tonumber(found[1] or 0) or 0
            bytes = tonumber(found[2] or 0) or 0
        end
        told[2 * i - 3] = string.format('%.0f', requests)
        told[2 * i - 2] = string.format('%.0f', bytes)
    end
    return redis.status_reply(table.concat(told, ' '))
    """
)
"""Keys are where the last number is, and hashes; arguments the number (0 to read only), and for
each hash what is added and when it expires. It answers with the totals of each hash."""

_NUMBERS: Final = re.compile(r"[0-9]{1,19}(?: [0-9]{1,19})*")


class QuotaCall:
    """The script with the quotas of a caller. Made once, asked often."""

    __slots__ = ("call", "hashes")

    def __init__(self, call: Call, hashes: int) -> None:
        self.call = call
        self.hashes = hashes


class SharedQuotas:
    """Counts requests in Redis, and adds there what was counted elsewhere."""

    def __init__(self, scripts: RedisScripts) -> None:
        self.scripts = scripts
        self._numbers = scripts.key(f"quota-writer:{token_hex(8)}")

    def prepare(self, quotas: Sequence[tuple[UsedIn, int | None, int | None]]) -> QuotaCall:
        """What is used, and how many requests and bytes of it there may be."""
        arguments = chain.from_iterable(
            (_limit(requests), _limit(size), _expiry(used)) for used, requests, size in quotas
        )
        keys = [self._key(used) for used, _, _ in quotas]
        return QuotaCall(Call(COUNT, keys, list(arguments)), len(keys))

    def take(self, call: QuotaCall) -> Deferred[tuple[bool, list[Totals]]]:
        """Count a request, or not. Fails with ``RedisUnavailable``."""
        return self.scripts.run(call.call, partial(_read_count, call.hashes))

    def sync(
        self, number: int, added: Sequence[Added], wanted: Sequence[UsedIn]
    ) -> Deferred[list[Totals]]:
        """As `portal_gateway.store.quota_store.QuotaStore`."""
        calls = [
            self._add(number * _PARTS + index, added[start : start + _MOST_AT_ONCE])
            for index, start in enumerate(range(0, len(added), _MOST_AT_ONCE))
        ]
        calls += [
            self._add(0, [Added(used, 0, 0) for used in wanted[start : start + _MOST_AT_ONCE]])
            for start in range(0, len(wanted), _MOST_AT_ONCE)
        ]
        return self._ask(calls, []).addErrback(_unavailable)

    def _ask(self, calls: list[QuotaCall], totals: list[Totals]) -> Deferred[list[Totals]]:
        """One after the other: what is under way at once is to be little."""
        if not calls:
            return succeed(totals)
        call, *others = calls

        def told(found: list[Totals]) -> Deferred[list[Totals]]:
            return self._ask(others, totals + found)

        asked = self.scripts.run(call.call, partial(_read_totals, call.hashes))
        return asked.addCallback(told)

    def _add(self, number: int, added: Sequence[Added]) -> QuotaCall:
        keys = [self._numbers, *(self._key(one.used) for one in added)]
        arguments = [b"%d" % number]
        for used, requests, size in added:
            arguments += [b"%d" % requests, b"%d" % size, _expiry(used)]
        return QuotaCall(Call(ADD, keys, arguments), len(added))

    def _key(self, used: UsedIn) -> bytes:
        return self.scripts.key(f"quota:{used.period}:{used.label}:{used.key_id}")


_PARTS: Final = 10_000
"""More parts than what is added at once can have."""


def _limit(most: int | None) -> bytes:
    return b"%d" % (_NO_LIMIT if most is None else most)


def _expiry(used: UsedIn) -> bytes:
    return b"%d" % (used.end + _AFTER_END)


def _numbers(answer: object, count: int) -> list[int]:
    """Raises ValueError for an answer that is none to a question for so many numbers."""
    if not isinstance(answer, str) or not _NUMBERS.fullmatch(answer):
        raise ValueError("not an answer")
    numbers = [int(digits) for digits in answer.split()]
    if len(numbers) != count:
        raise ValueError("an answer to something else")
    return numbers


def _read_count(hashes: int, answer: object) -> tuple[bool, list[Totals]]:
    admitted, *numbers = _numbers(answer, 1 + 2 * hashes)
    if admitted not in {0, 1}:
        raise ValueError("neither yes nor no")
    return admitted == 1, list(zip(numbers[::2], numbers[1::2], strict=True))


def _read_totals(hashes: int, answer: object) -> list[Totals]:
    numbers = _numbers(answer, 2 * hashes)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _unavailable(failure: Failure) -> Failure:
    failure.trap(RedisUnavailable)
    return Failure(StoreUnavailable(str(failure.value), told=True))
