"""Deadlines of one connection on one timer.

A busy connection moves its deadlines with every request; a timer call each would cost more than the
parsing. So a timer that is already running is left alone as long as it fires early enough: it finds
nothing due then, and runs on to the next deadline.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["CROSSING_TIME", "LAST_HEAD", "Deadlines"]

CROSSING_TIME = 0.5
"""Seconds that an idle connection is read on when the gateway ends: what its client sent before it
could know is there by then, over any distance, and is answered."""

LAST_HEAD = 2.0
"""Seconds for which a connection that has just come is waited for when the gateway ends: the way of
a request around the world, with some to spare."""


class Deadlines:
    """Named points in time; ``expired`` is called once with the name of each that is reached.

    Times are seconds of ``clock``.
    """

    __slots__ = ("_call", "_clock", "_due", "_expired")

    def __init__(self, clock: IReactorTime, expired: Callable[[str], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._due: dict[str, float] = {}
        self._call: IDelayedCall | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._due

    def set(self, name: str, at: float) -> None:
        """Expire ``name`` at ``at``, whatever it was set to before."""
        self._due[name] = at
        call = self._call
        if call is None:
            self._call = self._clock.callLater(max(0.0, at - self._clock.seconds()), self._tick)
        elif call.getTime() > at:
            call.reset(max(0.0, at - self._clock.seconds()))

    def clear(self, name: str) -> None:
        """Forget ``name``, if it is set."""
        self._due.pop(name, None)

    def stop(self) -> None:
        """Forget everything and leave no call behind."""
        self._due.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _tick(self) -> None:
        self._call = None
        now = self._clock.seconds()
        try:
            self._expire(now)
        finally:
            # A deadline that fails does not take the others with it.
            self._run_on(now)

    def _expire(self, now: float) -> None:
        for name in [name for name, at in self._due.items() if at <= now]:
            # One that expires may clear the others.
            if self._due.pop(name, None) is not None:
                self._expired(name)

    def _run_on(self, now: float) -> None:
        if self._due and self._call is None:
            first = min(self._due.values())
            self._call = self._clock.callLater(max(0.0, first - now), self._tick)
