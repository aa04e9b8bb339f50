"""CPU time of a call for inputs of three sizes, ten times as large each."""

import gc
import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["GROWTH", "SIZES", "Row", "check", "growth"]

SIZES = (1_000, 10_000, 100_000)
"""Bytes, or characters, or what else the shape counts."""

GROWTH = 12.0
"""How many times as long a call may take for ten times the input: linear is 10, and caches, memory
that is allocated and the machine's other work make some of that."""

_LEAST = 0.002
"""Seconds that one measurement lasts at least."""

_REPEATS = 3

_LONG = 0.01
"""Seconds of one call above which two are enough."""

_CACHES = 32.0
"""Growth that is looked at again with less input: where others use the machine too, linear
work on many small objects comes to 14."""

_PARTS = (1, 4, 16)
"""Divisors of the input, tried as long as the growth may be that of the caches."""

_ARENAS = [b"%040d" % number for number in range(800_000)][::10_000]
"""Small objects, some in each of 64 arenas of Python's allocator, which stay mapped for that. The
system would have to map new ones at each call, which is not the work that is measured here, and on
some machines takes longer than that."""

_TRIES = 10
"""Others use the machine too: the least measurement of a size counts, until it is enough."""


class Row(NamedTuple):
    """One call in one shape of input.

    ``make`` gives the input for a size, ``call`` takes it; what ``call`` keeps must not outlive it.
    ``module`` is whose call it is, below the package. ``sizes`` are others where the code takes no
    larger input. A limit of the code that ends the growth is left out of a row where it can be set.
    """

    module: str
    shape: str
    make: Callable[[int], Any]
    call: Callable[[Any], object]
    sizes: tuple[int, ...] = SIZES

    def __str__(self) -> str:
        return f"{self.module}: {self.shape}"


def growth(row: Row, tries: int = 1) -> tuple[float, list[float]]:
    """The largest growth from one size to the next, and the seconds of a call for each size.

    It is measured ``tries`` times at most, until the growth is one that passes.
    """
    inputs = [row.make(size) for size in row.sizes]
    least = [float("inf")] * len(inputs)
    for _ in range(tries):
        gc.collect()
        gc.disable()
        try:
            times = [_seconds(row.call, given) for given in inputs]
        finally:
            gc.enable()
        least = [min(pair) for pair in zip(least, times, strict=True)]
        most = max(after / before for before, after in itertools.pairwise(least))
        if most <= GROWTH:
            break
    return most, least


def check(row: Row) -> None:
    """Fail where the row's growth is above `GROWTH`, and that is not the caches' doing."""
    told = []
    for part in _PARTS:
        sizes = tuple(size // part for size in row.sizes)
        most, times = growth(row._replace(sizes=sizes), _TRIES)
        if most <= GROWTH:
            return
        told.append(f"{sizes}: " + " ".join(f"{1e6 * each:.0f}" for each in times))
        if most > _CACHES:
            break
    raise AssertionError(f"{row}: microseconds at " + "; at ".join(told))


def _seconds(call: Callable[[Any], object], given: Any) -> float:
    """The least of some measurements."""
    first = _measured(call, given, 1)
    if first > _LONG:
        return min(first, _measured(call, given, 1))
    # The first call may have been slow for reasons of its own.
    second = max(_measured(call, given, 1), 1e-7)
    count = int(_LEAST / second) + 1
    return min(_measured(call, given, count) for _ in range(_REPEATS)) / count


def _measured(call: Callable[[Any], object], given: Any, count: int) -> float:
    start = time.thread_time()
    for _ in range(count):
        call(given)
    return time.thread_time() - start
