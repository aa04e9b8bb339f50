"""Two transports joined back to back: what one brings, the other sends, in both directions.

Back-pressure goes through: each transport is the other's producer, so a side that cannot send stops
the other side's reading, and at most the two transports' own buffers are held. A half close goes
through as a half close. The end of one side is the end of the other: in good order after everything
was sent, or as a reset when it was one.

::

    open ──── one side's FIN ───▶ half closed ──── the other's FIN ───▶ closing ──▶ over
      │                            │    no byte for HALF_CLOSED_LIMIT      │  not sent in
      └─ one side lost ─▶ closing  └──────────────▶ reset                  └─ CLOSING_LIMIT ─▶ reset
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["CLOSING_LIMIT", "HALF_CLOSED_LIMIT", "Splice", "SpliceEnd"]

HALF_CLOSED_LIMIT = 300.0
"""Seconds that a half-closed pair may stay without a byte: as long as Portal's yamux waits for the
other FIN."""

CLOSING_LIMIT = 30.0
"""Seconds in which a side whose other side is gone must be able to send at least something."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class SpliceEnd(Protocol):
    """One side of a Splice: the protocol of one of the two transports."""

    transport: Any

    def __init__(self, splice: "Splice") -> None:
        self._splice = splice
        self.read_ended = False
        self.write_ended = False
        self.lost = False

    def connectionMade(self) -> None:
        """This side is here."""
        self._splice.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Pass it on."""
        self._splice.moved = True
        self._splice.other(self).transport.write(data)

    def readConnectionLost(self) -> None:
        """This side sends no more: close the other side's sending half."""
        self.read_ended = True
        if self.write_ended:
            # Twisted's TCP leaves it to the protocol to notice that both halves are closed.
            self.transport.loseConnection()
        self._splice.half_closed(self)

    def writeConnectionLost(self) -> None:
        """Everything for this side is sent, and so is the end."""
        self.write_ended = True
        if self.read_ended:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """This side is gone."""
        self.lost = True
        self._splice.ended(self, clean=reason.check(ConnectionDone) is not None)

    # IPushProducer: what the other side's transport asks of this side's.

    def pauseProducing(self) -> None:
        """The other side cannot send more: read no more here."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The other side has sent what it had."""
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The other side is gone; whether this one is closed or reset is told by its end."""


class Splice:
    """A pair of ``SpliceEnd``; copying starts when both are connected to their transports.

    The one that is connected first is paused until then. ``over`` is called once: when both sides
    are gone, or the only one that was connected is.
    """

    def __init__(self, clock: IReactorTime, over: Callable[[], object]) -> None:
        self.near = SpliceEnd(self)
        self.far = SpliceEnd(self)
        self.moved = False
        self._clock = clock
        self._over: Callable[[], object] | None = over
        self._joined = False
        self._given_up = False
        self._timer: IDelayedCall | None = None

    def other(self, end: SpliceEnd) -> SpliceEnd:
        """The end opposite to ``end``."""
        return self.far if end is self.near else self.near

    def give_up(self) -> None:
        """The second side will not come: close the first, also if it is yet to be connected."""
        self._given_up = True
        for end in (self.near, self.far):
            if end.transport is not None and not end.lost:
                end.transport.loseConnection()

    def abort(self) -> None:
        """Reset both sides, as far as they are connected."""
        for end in (self.near, self.far):
            if end.transport is not None and not end.lost:
                end.transport.abortConnection()

    # What the ends call.

    def connected(self, end: SpliceEnd) -> None:
        """``end`` has its transport."""
        other = self.other(end)
        if self._given_up:
            end.transport.loseConnection()
        elif other.transport is None:
            end.transport.pauseProducing()
        elif other.lost:
            end.transport.abortConnection()
        else:
            self._join()

    def _join(self) -> None:
        self._joined = True
        near, far = self.near.transport, self.far.transport
        near.registerProducer(self.far, streaming=True)
        far.registerProducer(self.near, streaming=True)
        near.resumeProducing()
        far.resumeProducing()

    def half_closed(self, end: SpliceEnd) -> None:
        """``end`` brings no more."""
        other = self.other(end)
        if not self._joined or other.lost:
            return
        other.transport.unregisterProducer()
        other.transport.loseWriteConnection()
        self._watch(HALF_CLOSED_LIMIT)

    def ended(self, end: SpliceEnd, *, clean: bool) -> None:
        """``end`` is gone."""
        other = self.other(end)
        if not self._joined or other.lost:
            self._finish()
            return
        other.transport.unregisterProducer()
        if clean:
            other.transport.loseConnection()
            self._watch(CLOSING_LIMIT)
        else:
            other.transport.abortConnection()

    def _watch(self, limit: float) -> None:
        self._stop_watching()
        self.moved = False
        self._timer = self._clock.callLater(limit, self._watched, limit)

    def _watched(self, limit: float) -> None:
        self._timer = None
        if self.moved:
            self._watch(limit)
        else:
            self.abort()

    def _stop_watching(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _finish(self) -> None:
        self._stop_watching()
        over, self._over = self._over, None
        if over is not None:
            over()
