"""Token buckets: how often something may happen, decided for several buckets at once.

A bucket holds ``burst`` tokens and gets one back every ``interval``. Taking a token and filling up
over time are one number: the moment at which the bucket will be full again. Each token that is
taken moves that moment ``interval`` away; a bucket whose moment has passed is full. So a bucket
that was never used and one that has filled up are the same, and neither is kept::

    full at      now                 + 1 interval          + burst intervals
                  |  all tokens are there |  one is missing …   | none is left

Times are whole nanoseconds of a clock that never goes back, so nothing is rounded but the interval,
once. What is told of a bucket is how long it takes until it is full; a `Rate` turns that into
tokens and into the time to wait.
"""

from dataclasses import dataclass, field
from typing import Final

__all__ = ["MAX_BUCKETS", "SECOND", "Bucket", "BucketTable", "Pace", "Rate", "take"]

SECOND: Final = 1_000_000_000
"""Nanoseconds."""

MAX_BUCKETS: Final = 1_000_000
"""Buckets of one table that are not full. With ids of 32 characters a million of them take 190 MB
at most, which ``benchmarks/rate_limits.py`` measures; above it the one longest unused is forgotten.
"""

_LOOKED_AT: Final = 8
"""Buckets among which one is looked for that is full, before one that is not is forgotten."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``burst`` tokens at once, and one more every ``interval`` nanoseconds.

    ``depth`` is the time in which an empty bucket fills up; ``room`` how much of that may be
    missing where there still is a token.
    """

    interval: int
    burst: int
    depth: int = field(init=False)
    room: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", self.burst * self.interval)
        object.__setattr__(self, "room", self.depth - self.interval)

    @classmethod
    def of(cls, tokens: float, seconds: float, burst: int) -> "Rate":
        """``tokens`` in each ``seconds``."""
        return cls(max(1, round(seconds * SECOND / tokens)), burst)

    def remaining(self, until_full: int) -> int:
        """Whole tokens of a bucket that is full in ``until_full``."""
        return (self.depth - until_full) // self.interval

    def wait(self, until_full: int) -> int:
        """Nanoseconds until there is a token: 0 where there is one."""
        return max(0, until_full - self.room)


class BucketTable:
    """Buckets by key: ``moments`` has those at which the ones that are not full will be.

    There are at most ``capacity``. Buckets that have filled up are found by `sweep`, which goes
    through the table a part at a time. ``forgotten`` counts those that were given up while they
    were not full, because the table was, ``refused`` requests for which a bucket had no token.
    """

    __slots__ = ("_ahead", "_size_before", "capacity", "forgotten", "moments", "refused")

    def __init__(self, capacity: int = MAX_BUCKETS) -> None:
        self.moments: dict[str, int] = {}
        self.capacity = capacity
        self.forgotten = 0
        self.refused = 0
        # The keys that are still to be looked at, the oldest last, and how many buckets there were.
        self._ahead: list[str] = []
        self._size_before = 0

    def __len__(self) -> int:
        """Buckets that are kept."""
        return len(self.moments)

    def sweep(self, now: int, most: int) -> None:
        """Look at up to ``most`` buckets and drop those that are full."""
        if not self._ahead:
            self._begin()
        ahead = self._ahead
        moments = self.moments
        for _ in range(min(most, len(ahead))):
            key = ahead.pop()
            if moments.get(key, now + 1) <= now:
                del moments[key]
        if not ahead and len(moments) < self._size_before // 4:
            # A dict keeps the room that it once had.
            self.moments = dict(moments)

    def forget_one(self, now: int, but: str) -> None:
        """Drop a bucket that is full, else the oldest that is looked at; never ``but``."""
        moments = self.moments
        found: list[str] = []
        while len(found) < _LOOKED_AT:
            if not self._ahead:
                if found:
                    break
                self._begin()
            key = self._ahead.pop()
            if key == but or key not in moments:
                continue
            if moments[key] <= now:
                del moments[key]
                return
            found.append(key)
        del moments[found[0]]
        self.forgotten += 1

    def _begin(self) -> None:
        self._ahead = list(self.moments)
        self._ahead.reverse()
        self._size_before = len(self._ahead)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of a table, and its rate."""

    table: BucketTable
    key: str
    rate: Rate


def take(buckets: tuple[Bucket, ...], now: int) -> tuple[bool, list[int]]:
    """Take a token out of every bucket, or out of none where one of them has none.

    Gives whether they were taken, and how long it takes from ``now`` until each is full.
    """
    found: list[int] = []
    for bucket in buckets:
        rate = bucket.rate
        until_full = bucket.table.moments.get(bucket.key, 0) - now
        if until_full <= 0:
            found.append(rate.interval)
        elif until_full <= rate.room:
            found.append(until_full + rate.interval)
        else:
            return False, [_look(each, now) for each in buckets]
    for index, bucket in enumerate(buckets):
        table = bucket.table
        moments = table.moments
        moments[bucket.key] = now + found[index]
        if len(moments) > table.capacity:
            table.forget_one(now, bucket.key)
    return True, found


def _look(bucket: Bucket, now: int) -> int:
    """How long it takes until a bucket is full."""
    moments = bucket.table.moments
    until_full = max(0, moments.get(bucket.key, 0) - now)
    if until_full > bucket.rate.depth:
        # The rate was changed since. An empty bucket is as far as it goes.
        until_full = bucket.rate.depth
        moments[bucket.key] = now + until_full
    return until_full


class Pace:
    """One bucket that can be overdrawn: for what cannot be refused any more, only slowed down."""

    __slots__ = ("_full_at", "_rate")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._full_at = 0

    def count(self, now: int) -> int:
        """Take a token; how long it takes until there is one for the next."""
        self._full_at = max(self._full_at, now) + self._rate.interval
        return self._rate.wait(self._full_at - now)
