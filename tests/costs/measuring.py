"""CPU time of a call for inputs of three sizes, ten times as large each."""

import gc
import itertools
import time
from collections.abc import Callable, Iterator
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

_CACHES = 16.0
"""Growth that is looked at once more with a quarter of the input: where others use the machine's
caches too, linear work on many small objects comes to 14."""

_TRIES = 3
"""Others use the machine too: a row fails when it does so often in a row."""


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


def growth(row: Row) -> tuple[float, list[float]]:
    """The largest growth from one size to the next, and the seconds of a call for each size."""
    inputs = [row.make(size) for size in row.sizes]
    gc.collect()
    gc.disable()
    try:
        times = [_seconds(row.call, given) for given in inputs]
    finally:
        gc.enable()
    steps = [after / before for before, after in itertools.pairwise(times)]
    return max(steps), times


def check(row: Row) -> None:
    """Fail where the row's growth is above `GROWTH`, and that is not the caches' doing."""
    found: list[str] = []
    least = min(_tries(row, found))
    if GROWTH < least <= _CACHES:
        # Less fits into what of the caches is left here, and the growth of work remains.
        least = min(_tries(row._replace(sizes=tuple(size // 4 for size in row.sizes)), found))
    if least > GROWTH:
        told = "; ".join(found)
        raise AssertionError(f"{row}: microseconds at {row.sizes} or a quarter: {told}")


def _tries(row: Row, found: list[str]) -> Iterator[float]:
    for _ in range(_TRIES):
        most, times = growth(row)
        found.append(" ".join(f"{1e6 * each:.0f}" for each in times))
        yield most
        if most <= GROWTH:
            return


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
    start = time.process_time()
    for _ in range(count):
        call(given)
    return time.process_time() - start
