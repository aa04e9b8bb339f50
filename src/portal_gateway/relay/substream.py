"""One multiplexed stream as a transport: HTTP code above it cannot tell it from TCP.

Back-pressure, both ways:

- What is written goes into the peer's window while there is room and the connection takes it, else
  it waits here and the producer that writes it is paused: above ``HIGH_WATER`` bytes, or at once
  while the connection below is congested. It is resumed when nothing waits any more.
- What arrives is given back to the peer as credit only when the protocol took it. While the
  protocol is paused it waits here, so the peer's window closes and the peer stops: at most one
  window waits.

The ways to end::

    loseConnection        all that was written, then FIN; over when the peer's FIN or RST is here,
                          reset when that takes too long or nothing can be sent for SEND_STALL
    loseWriteConnection   all that was written, then FIN; reading goes on
    abortConnection       RST, at once
    the peer's FIN        readConnectionLost for a protocol that is half-closeable, else the end
    the peer's RST        the end: ConnectionLost
    the connection dies   the end, with the RelayLost that says why
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPushProducer,
    ITransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from portal_gateway.relay.address import RelayAddress
from portal_gateway.relay.delivery import Delivery
from portal_gateway.relay.producing import SteeredProducer
from portal_gateway.relay.send_buffer import SendBuffer

if TYPE_CHECKING:
    from portal_gateway.relay.connection import RelayConnection

__all__ = [
    "ACCEPTED_CLOSE_WAIT",
    "CLOSE_WAIT",
    "HIGH_WATER",
    "SEND_STALL",
    "Substream",
]

_log = Logger("portal_gateway.relay")

HIGH_WATER = 64 * 1024
"""Bytes waiting to be sent above which the producer is paused: Twisted's figure for a socket."""

CLOSE_WAIT = 5.0
"""Seconds that whoever opened a stream waits for the peer's FIN after its own.

It closes when it has what it wanted, and honest peers end both directions as soon as one ends.
"""

ACCEPTED_CLOSE_WAIT = 300.0
"""The same for whoever accepted it: Portal's yamux waits as long.

The peer may read slowly, and a reset would take from it what it has not read yet.
"""

SEND_STALL = 300.0
"""Seconds that a stream which is to be closed may wait for room to send what was written."""


class Substream:
    """A stream of a ``RelayConnection``; made there. ``close_wait`` as above.

    ``disconnecting`` is set once ``loseConnection`` was called, as in Twisted's transports.
    """

    __slots__ = (
        "_buffer",
        "_close_wait",
        "_connection",
        "_delivery",
        "_end_delivered",
        "_ended_by_peer",
        "_finished",
        "_outbox",
        "_producer",
        "_timer",
        "_write_ended",
        "_write_ending",
        "disconnecting",
        "protocol",
        "queued",
        "stream_id",
    )

    def __init__(self, connection: "RelayConnection", stream_id: int, *, close_wait: float) -> None:
        self._connection = connection
        self._outbox = connection.outbox
        self._close_wait = close_wait
        self.stream_id = stream_id
        self.protocol: IProtocol | None = None
        self.disconnecting = False
        # Whether this stream is in the queue for a turn to send; kept by the outbox.
        self.queued = False
        self._buffer = SendBuffer()
        self._delivery = Delivery(self._deliver, connection.call_soon)
        self._ended_by_peer = False
        self._end_delivered = False
        self._write_ending = False
        self._write_ended = False
        self._finished = False
        self._producer: SteeredProducer | None = None
        self._timer: IDelayedCall | None = None

    def __repr__(self) -> str:
        return f"<Substream {self.stream_id} of {self._connection.name}>"

    def start(self, protocol: IProtocol) -> None:
        """Connect ``protocol``; also replaces one, with no notice to the one before."""
        self.protocol = protocol
        protocol.makeConnection(self)

    @property
    def connected(self) -> bool:
        """Whether the protocol has not been told of the end yet."""
        return not self._finished

    # ITransport.

    def write(self, data: bytes) -> None:
        """Send ``data``, or keep it until there is room; dropped once this half is ending."""
        if not data or self._write_ended or self._finished:
            return
        if (self._write_ending or self.disconnecting) and self._producer is None:
            return
        taken = 0
        if not self._buffer:
            taken = self._outbox.send_now(self.stream_id, data)
        if taken < len(data):
            self._buffer.append(memoryview(data)[taken:] if taken else data)
            self._outbox.wait_for_turn(self)
        if self._producer is not None:
            self._steer_producer()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send the pieces as one."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Send what was written (and what a registered producer still writes), then FIN."""
        if self.disconnecting or self._finished:
            return
        self.disconnecting = True
        self._drop_received()
        if self._write_ended:
            self._fin_sent()
        else:
            self._end_within(SEND_STALL)
            self._end_writing_when_drained()

    def loseWriteConnection(self) -> None:
        """Send what was written, then FIN; go on reading."""
        if self._write_ending or self._finished:
            return
        self._write_ending = True
        self._end_writing_when_drained()

    def abortConnection(self) -> None:
        """Reset the stream. The protocol is told in the next turn of the reactor."""
        if self._finished:
            return
        self.disconnecting = True
        self._forget(reset=True)
        self._connection.call_soon(self._finish, Failure(ConnectionAborted()))

    def getPeer(self) -> IAddress:
        """The relay and the stream's id."""
        return RelayAddress(self._connection.name, self.stream_id)

    def getHost(self) -> IAddress:
        """The same: a stream has no address of its own at this end."""
        return RelayAddress(self._connection.name, self.stream_id)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to do: the connection below never delays."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing to do: the connection below pings."""

    # IConsumer: what writes here.

    def registerProducer(self, producer: IProducer, streaming: int) -> None:
        """Steer ``producer`` by the room there is.

        Raises ``RuntimeError`` when there is one already.
        """
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self._finished or self._write_ended:
            producer.stopProducing()
            return
        self._producer = SteeredProducer(producer, bool(streaming), self._connection.call_soon)
        self._steer_producer()

    def unregisterProducer(self) -> None:
        """The producer has written everything."""
        if self._producer is not None:
            self._producer.leave()
            self._producer = None
        self._end_writing_when_drained()

    # IPushProducer: what is read from here.

    def pauseProducing(self) -> None:
        """Deliver nothing, and give no credit back, until ``resumeProducing``."""
        self._delivery.pause()

    def resumeProducing(self) -> None:
        """Deliver again, from the next turn of the reactor on."""
        self._delivery.resume()

    def stopProducing(self) -> None:
        """Whoever consumed what arrives is gone."""
        self.loseConnection()

    # What the connection calls.

    def send_slice(self, limit: int) -> bool:
        """Move at most ``limit`` waiting bytes into the window; whether more could go at once."""
        if self._write_ended:
            return False
        given = self._buffer.give(self._send, limit)
        if given and self._timer is not None:
            self._end_within(SEND_STALL)
        if self._buffer:
            # When less was given, the window is closed; the connection hears when it opens.
            return given == limit
        self._steer_producer()
        self._end_writing_when_drained()
        return False

    def window_opened(self) -> None:
        """The peer granted credit."""
        if self._buffer:
            self._outbox.wait_for_turn(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer."""
        if self.disconnecting:
            self._connection.consume(self.stream_id, len(data))
        else:
            self._delivery.receive(data)

    def ended_by_peer(self) -> None:
        """The peer's FIN."""
        self._ended_by_peer = True
        if self.disconnecting:
            if self._write_ended:
                self._finish(Failure(ConnectionDone()))
        else:
            self._delivery.finish(self._deliver_end)

    def reset_by_peer(self) -> None:
        """The peer's RST."""
        self._forget(reset=False)
        self._finish(Failure(ConnectionLost("the stream was reset")))

    def connection_lost(self, reason: Failure) -> None:
        """The connection below is gone."""
        self._forget(reset=False)
        self._finish(reason)

    # Inside: receiving.

    def _deliver(self, data: bytes) -> None:
        assert self.protocol is not None
        try:
            self.protocol.dataReceived(data)
        except Exception:  # noqa: BLE001  # a protocol's defect must not end everybody's connection
            _log.failure("a protocol on a relay stream failed")
            self.abortConnection()
        else:
            self._connection.consume(self.stream_id, len(data))

    def _deliver_end(self) -> None:
        """Tell the protocol of the peer's FIN."""
        self._end_delivered = True
        half_closeable = _half_closeable(self.protocol)
        if half_closeable is not None:
            told = self._tell(half_closeable.readConnectionLost)
            if told and self._write_ended and not self.disconnecting:
                self._finish(Failure(ConnectionDone()))
            return
        # As with TCP, both directions end. A peer that was not sent everything must not take our
        # end for a clean one.
        if self._buffer:
            self._forget(reset=True)
        elif not self._write_ended:
            self._write_ended = True
            self._connection.send_fin(self.stream_id)
        self._finish(Failure(ConnectionDone()))

    def _tell(self, tell: Callable[[], object]) -> bool:
        """Call the protocol; whether it did not fail."""
        try:
            tell()
        except Exception:  # noqa: BLE001  # as in _deliver
            _log.failure("a protocol on a relay stream failed")
            self.abortConnection()
            return False
        return True

    def _drop_received(self) -> None:
        dropped = self._delivery.drop()
        if dropped:
            self._connection.consume(self.stream_id, dropped)

    # Inside: sending.

    def _send(self, data: bytes | memoryview) -> int:
        return self._outbox.send(self.stream_id, data)

    def _steer_producer(self) -> None:
        if self._producer is not None:
            waits = bool(self._buffer)
            full = self._buffer.size > HIGH_WATER or (waits and self._outbox.congested)
            try:
                self._producer.steer(waits=waits, full=full)
            except Exception:  # noqa: BLE001  # as in _deliver; the others wait for their turn
                _log.failure("a producer on a relay stream failed")
                self.abortConnection()

    def _end_writing_when_drained(self) -> None:
        if not (self.disconnecting or self._write_ending) or self._write_ended or self._finished:
            return
        if self._buffer or self._producer is not None:
            return
        self._write_ended = True
        self._connection.send_fin(self.stream_id)
        if self.disconnecting:
            self._fin_sent()
            return
        half_closeable = _half_closeable(self.protocol)
        if half_closeable is not None:
            self._connection.call_soon(self._tell_write_ended, half_closeable)

    def _tell_write_ended(self, half_closeable: IHalfCloseableProtocol) -> None:
        if self._finished:
            return
        if self._tell(half_closeable.writeConnectionLost) and self._end_delivered:
            self._finish(Failure(ConnectionDone()))

    def _fin_sent(self) -> None:
        """Both ends are to close, and ours is: wait for the peer's."""
        if self._ended_by_peer:
            self._connection.call_soon(self._finish, Failure(ConnectionDone()))
        else:
            self._end_within(self._close_wait)

    # Inside: the end.

    def _end_within(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.reset(seconds)
        else:
            self._timer = self._connection.clock.callLater(seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        written = self._write_ended
        self._forget(reset=True)
        # After our FIN everything was sent, so the end is a clean one for the protocol.
        self._finish(Failure(ConnectionDone() if written else ConnectionLost("sending stalled")))

    def _forget(self, *, reset: bool) -> None:
        """Leave the connection's table; what waits is dropped."""
        self._write_ended = True
        self._buffer.clear()
        self._delivery.drop()
        self._connection.forget(self, reset=reset)

    def _finish(self, reason: Failure) -> None:
        """Tell the protocol, once."""
        if self._finished:
            return
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._connection.forget(self, reset=False)
        producer, self._producer = self._producer, None
        protocol, self.protocol = self.protocol, None
        try:
            if producer is not None:
                producer.stop()
            if protocol is not None:
                protocol.connectionLost(reason)
        except Exception:  # noqa: BLE001  # as in _deliver
            _log.failure("a protocol on a relay stream failed")


classImplements(Substream, ITransport, IConsumer, IPushProducer)


def _half_closeable(protocol: IProtocol | None) -> IHalfCloseableProtocol | None:
    """``protocol`` if it wants to hear of each half that closes."""
    adapted: IHalfCloseableProtocol | None = IHalfCloseableProtocol(protocol, None)
    return adapted
