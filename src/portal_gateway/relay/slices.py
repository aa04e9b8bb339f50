"""Slices: long work is done in several turns of the reactor, so that no turn is long."""

from collections.abc import Generator
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["SLICE", "in_slices"]

SLICE = 128
"""Units of work in one turn. A unit is what one entry of a relay's directory costs, 10 to 25 µs,
so a turn takes some 3 ms, and less than 10 ms on a machine of a third of the speed."""

Result = TypeVar("Result")


def in_slices(
    work: Generator[int, None, Result], clock: IReactorTime, *, size: int = SLICE
) -> Deferred[Result]:
    """Run ``work``, which yields the units of work that it has done since it last yielded.

    The first slice is done at once, so that short work has its result at once. The Deferred fires
    with what ``work`` returns or raises. When it is cancelled the work is closed.
    """
    sliced = _Sliced(work, clock, size)
    sliced.run()
    return sliced.result


class _Sliced(Generic[Result]):
    def __init__(self, work: Generator[int, None, Result], clock: IReactorTime, size: int) -> None:
        self.result: Deferred[Result] = Deferred(self._cancelled)
        self._work = work
        self._clock = clock
        self._size = size
        self._next: IDelayedCall | None = None

    def run(self) -> None:
        """Do one slice."""
        self._next = None
        done = 0
        try:
            while done < self._size:
                done += next(self._work)
        except StopIteration as end:
            self.result.callback(end.value)
        except Exception:  # noqa: BLE001 - it is the result of the work
            self.result.errback()
        else:
            self._next = self._clock.callLater(0, self.run)

    def _cancelled(self, _result: Deferred[Result]) -> None:
        if self._next is not None:
            self._next.cancel()
        self._work.close()
