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

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

__all__ = ["MAX_BUCKETS", "SECOND", "Bucket", "BucketTable", "Pace", "Rate", "take"]

SECOND: Final = 1_000_000_000
"""Nanoseconds."""

MAX_BUCKETS: Final = 1_000_000
"""Buckets of one table that are not full. With ids of 32 characters a million of them take 240 MB
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
    """Buckets by key, as many as are not full and at most ``capacity``.

    Buckets that have filled up are found by `sweep`, which goes through the table a part at a time.
    ``forgotten`` counts those that were given up while they were not full, because the table was.
    """

    # A dict cannot be walked while it changes. So there are two: what is written goes to the
    # second, and the first is emptied entry by entry until it is the second's turn.

    __slots__ = ("_capacity", "_first", "_room", "_second", "forgotten")

    def __init__(self, capacity: int = MAX_BUCKETS) -> None:
        self._capacity = capacity
        self._first: dict[str, int] = {}
        self._second: dict[str, int] = {}
        self._room = capacity
        self.forgotten = 0

    def __len__(self) -> int:
        """Buckets that are kept; one may count twice while a sweep is on its way."""
        return len(self._first) + len(self._second)

    def full_at(self, key: str) -> int:
        """The moment at which a bucket is full; 0, which is past, for one that is not kept."""
        moment = self._second.get(key)
        if moment is None:
            moment = self._first.get(key, 0)
        return moment

    def keep(self, key: str, full_at: int, now: int) -> None:
        """Note when a bucket will be full."""
        self._second[key] = full_at
        if len(self._second) > self._room:
            self._forget_one(now)

    def sweep(self, now: int, most: int) -> None:
        """Look at up to ``most`` buckets and drop those that are full."""
        if not self._first:
            self._first, self._second = self._second, {}
        first, second = self._first, self._second
        for _ in range(min(most, len(first))):
            key, moment = first.popitem()
            if moment > now:
                second.setdefault(key, moment)
        self._room = self._capacity - len(first)

    def _forget_one(self, now: int) -> None:
        """Drop a bucket that is full, else the first that is found; not the one just written."""
        if not self._first:
            self._first, self._second = self._second, {}
            self._second.update([self._first.popitem()])
        first, second = self._first, self._second
        kept: list[tuple[str, int]] = []
        while first and len(kept) < _LOOKED_AT:
            key, moment = first.popitem()
            if moment <= now or key in second:
                break
            kept.append((key, moment))
        else:
            kept.pop(0)
            self.forgotten += 1
        second.update(kept)
        self._room = self._capacity - len(first)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of a table, and its rate."""

    table: BucketTable
    key: str
    rate: Rate


def take(buckets: Sequence[Bucket], now: int) -> tuple[bool, list[int]]:
    """Take a token out of every bucket, or out of none where one of them has none.

    Gives whether they were taken, and how long it takes from ``now`` until each is full.
    """
    admitted = True
    found = []
    for bucket in buckets:
        rate = bucket.rate
        until_full = bucket.table.full_at(bucket.key) - now
        if until_full <= 0:
            until_full = 0
        elif until_full > rate.room:
            admitted = False
            if until_full > rate.depth:
                # The rate was changed since. An empty bucket is as far as it goes.
                until_full = rate.depth
                bucket.table.keep(bucket.key, now + until_full, now)
        found.append(until_full)
    if admitted:
        for index, bucket in enumerate(buckets):
            until_full = found[index] = found[index] + bucket.rate.interval
            bucket.table.keep(bucket.key, now + until_full, now)
    return admitted, found


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
