"""One HTTP/1.1 connection to a lease, over whatever stream an endpoint gave.

It translates between Twisted's transport and the exchange that it carries. Which exchange that is,
and what becomes of the connection afterwards, its pool decides.
"""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import takewhile
from math import inf
from typing import Final, Protocol, TypeVar

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from portal_gateway.errors import GatewayError
from portal_gateway.relay.stream_protocol import StreamProtocol
from portal_gateway.relay.transport_buffers import set_buffer_size
from portal_gateway.relay.turn_writes import write_in_turn
from portal_gateway.wire.http1_response import ResponseReader

__all__ = [
    "CLOSING_TIME",
    "MAX_CLOSING",
    "STREAM_READ",
    "CarriedExchange",
    "ClosingConnections",
    "ConnectionOwner",
    "StreamTransport",
    "UpstreamConnection",
    "expired",
]

CLOSING_TIME: Final = 5.0
"""Seconds for a peer to end a connection that we closed politely (TLS waits for the peer)."""

MAX_CLOSING: Final = 64
"""Connections of one pool being closed politely at a time; beyond it they are aborted instead.

Their exchanges are over, so nothing is lost. Tunnels, which still have a good-bye to send, may be
as many as the pool's connections.
"""

STREAM_READ: Final = 32 * 1024
"""Bytes of a stream that are read at once: what comes with them still comes after a pause."""

_Key = TypeVar("_Key")


class StreamTransport(Protocol):
    """What is needed of a transport: TCP, TLS and relay streams all have it (Twisted's names)."""

    def write(self, data: bytes) -> None:
        """Send ``data``."""

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send all of ``data``."""

    def loseConnection(self) -> None:
        """End the connection after what was written."""

    def abortConnection(self) -> None:
        """End the connection at once."""

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Have ``producer`` paused while too much waits to be sent."""

    def unregisterProducer(self) -> None:
        """Undo `registerProducer`."""

    def pauseProducing(self) -> None:
        """Deliver no more of what the peer sends."""

    def resumeProducing(self) -> None:
        """Deliver again."""


class CarriedExchange(Protocol):
    """An exchange, as the connection that carries it sees it."""

    def receive_data(self, data: bytes) -> None:
        """Bytes of the response."""

    def connection_lost(self, reason: Failure) -> None:
        """The connection has ended."""

    def hold_body(self) -> None:
        """The connection takes no more of the request for now."""

    def release_body(self) -> None:
        """The connection takes more of the request."""

    def fail(self, error: GatewayError) -> None:
        """End it; the connection is aborted."""

    def look(self) -> None:
        """End it if the lease has been silent for too long."""


class ConnectionOwner(Protocol):
    """The pool, as a connection sees it."""

    def idle_data(self, connection: "UpstreamConnection") -> None:
        """The peer sent something that nobody asked for."""

    def lost(self, connection: "UpstreamConnection") -> None:
        """A connection has ended that carried nothing."""


class UpstreamConnection(StreamProtocol[StreamTransport]):
    """Carries one exchange after the other, never two at once."""

    def __init__(self, owner: ConnectionOwner) -> None:
        self._owner = owner
        self.exchange: CarriedExchange | None = None
        self.reader: ResponseReader | None = None
        self.reused = False
        """Whether an earlier exchange ended well on it."""
        self.answered = False
        """Whether a byte of the response to the present exchange has come."""
        self.closed = False
        """Whether it has ended, or been given up."""
        self.blocked = False
        """Whether more of the request waits in the transport than it likes to hold."""
        self._producing = False
        self._reading = True
        self._narrow = False

    # Twisted's protocol.

    def connectionMade(self) -> None:
        """The connection was made: set the options of a TCP transport; other streams have none.

        A small request must not wait for an answer to the one before (Nagle), and a lease that
        vanished without a word must be noticed at last (keep-alive).
        """
        transport = self.transport
        for option in ("setTcpNoDelay", "setTcpKeepAlive"):
            set_option = getattr(transport, option, None)
            if set_option is not None:
                set_option(True)
        write_in_turn(transport)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the response, or unasked ones."""
        exchange = self.exchange
        if exchange is not None:
            self.answered = True
            exchange.receive_data(data)
        elif not self.closed:
            self._owner.idle_data(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection has ended, for whatever reason."""
        self.closed = True
        exchange = self.exchange
        if exchange is not None:
            exchange.connection_lost(reason)
        else:
            self._owner.lost(self)

    # Twisted's producer: the transport says when to hold the request's body.

    def pauseProducing(self) -> None:
        """Enough of the request waits to be sent."""
        self.blocked = True
        if self.exchange is not None:
            self.exchange.hold_body()

    def resumeProducing(self) -> None:
        """What waited was sent."""
        self.blocked = False
        if self.exchange is not None:
            self.exchange.release_body()

    def stopProducing(self) -> None:
        """The transport has ended; `connectionLost` says the rest."""

    # For the exchange and the pool.

    def begin(self, exchange: CarriedExchange, reader: ResponseReader) -> None:
        """Carry ``exchange`` from now on; ``reader`` reads its response."""
        self.exchange = exchange
        self.reader = reader
        self.answered = False
        self.blocked = False

    def detach(self) -> None:
        """Carry nothing from now on."""
        self.exchange = None
        self.reader = None
        if self._narrow:
            self._narrow = False
            set_buffer_size(self.transport, None)
        if self._producing:
            self._producing = False
            if not self.closed:
                self.transport.unregisterProducer()

    def expect_body(self) -> None:
        """More of the request will follow: have the transport say when it must pause."""
        if not self._producing and not self.closed:
            self._producing = True
            self.transport.registerProducer(self, True)  # noqa: FBT003 - Twisted's signature

    def expect_stream(self) -> None:
        """The response has no length: read it in smaller pieces."""
        if not self._narrow:
            self._narrow = True
            set_buffer_size(self.transport, STREAM_READ)

    def pause_reading(self) -> None:
        """Leave what the peer sends in the network."""
        if self._reading and not self.closed:
            self._reading = False
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """Read again; some transports deliver what they held from inside this call."""
        if not self._reading and not self.closed:
            self._reading = True
            self.transport.resumeProducing()

    def close(self) -> None:
        """End the connection politely, which lasts as long as the peer likes."""
        self.closed = True
        self.transport.loseConnection()

    def abort(self) -> None:
        """End the connection at once."""
        self.closed = True
        self.transport.abortConnection()


classImplements(UpstreamConnection, IPushProducer)


class ClosingConnections:
    """Connections that were closed politely and have not ended yet.

    A hostile peer could keep them for ever: the owner calls `expire`, no later than at `deadline`.
    """

    def __init__(self) -> None:
        self._deadlines: OrderedDict[UpstreamConnection, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._deadlines)

    @property
    def deadline(self) -> float:
        """When the oldest must end; infinity without one."""
        return next(iter(self._deadlines.values()), inf)

    def close(self, connection: UpstreamConnection, now: float, most: int = MAX_CLOSING) -> None:
        """Close ``connection``; abort it where ``most`` are being closed already."""
        if len(self._deadlines) >= most:
            connection.abort()
        else:
            self._deadlines[connection] = now + CLOSING_TIME
            connection.close()

    def forget(self, connection: UpstreamConnection) -> None:
        """``connection`` has ended."""
        self._deadlines.pop(connection, None)

    def expire(self, now: float) -> None:
        """Abort those whose time is over."""
        for connection in expired(self._deadlines, now):
            self.forget(connection)
            connection.abort()


def expired(deadlines: dict[_Key, float], now: float) -> list[_Key]:
    """The keys whose time has come, of a dict that is in the order of its deadlines."""
    return [key for key, _ in takewhile(lambda item: item[1] <= now, deadlines.items())]
