"""How late the event loop is: a heartbeat on the reactor's clock, and how late each beat came."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["BEAT", "LoopLag"]

BEAT: Final = 0.25
"""Seconds between two beats: a stall that matters is met, and an idle process hardly wakes up."""


class LoopLag(Service):
    """Beats while it runs.

    ``counts`` are the beats in each of the buckets up to ``bounds``, the last for what is later
    than all of them; ``seconds`` is the sum.
    """

    def __init__(self, clock: IReactorTime, bounds: Sequence[float]) -> None:
        self._clock = clock
        self._bounds = tuple(bounds)
        self._call: IDelayedCall | None = None
        self._due = 0.0
        self.counts = [0] * (len(self._bounds) + 1)
        self.seconds = 0.0

    def go_on_from(self, counts: Sequence[int], seconds: float) -> None:
        """Count on from what was counted before."""
        self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]
        self.seconds += seconds

    def startService(self) -> None:
        """Beat from now on."""
        super().startService()
        self._wait()

    def stopService(self) -> Deferred[None] | None:
        """Beat no more."""
        super().stopService()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        return None

    def _wait(self) -> None:
        self._due = self._clock.seconds() + BEAT
        self._call = self._clock.callLater(BEAT, self._beat)

    def _beat(self) -> None:
        late = max(0.0, self._clock.seconds() - self._due)
        self.counts[bisect_left(self._bounds, late)] += 1
        self.seconds += late
        self._wait()
