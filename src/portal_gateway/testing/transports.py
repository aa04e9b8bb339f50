"""TCP in memory: two transports whose bytes move only when told to.

A ``MemoryLink`` joins two protocols. Nothing moves until ``step`` or ``flush`` is called, so a test
sees every order of events it wants and no sleeping is needed; ``chunk`` cuts the bytes anywhere.
The manners are those of Twisted's TCP transports: a push producer is paused above BUFFER_SIZE
bytes and resumed when they are gone, ``pauseProducing`` stops delivery to the own protocol,
``loseConnection`` waits for bytes and producers, a protocol that provides IHalfCloseableProtocol
sees each half close by itself, and everyone else loses the connection with the first.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["BUFFER_SIZE", "MAX_STEPS", "Chunk", "MemoryLink", "MemoryTransport", "connect"]

BUFFER_SIZE = 65_536
"""Bytes waiting to be sent above which a producer is paused, as in twisted.internet.abstract."""

MAX_STEPS = 1_000_000
"""Steps of one ``flush``. What needs more is two protocols that answer each other for ever."""


Address: TypeAlias = IPv4Address | IPv6Address

Chunk: TypeAlias = int | Callable[[int], int] | None
"""How bytes are cut: at most so many, a function from available to taken, or not at all."""


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """One end of a MemoryLink.

    ``sent`` counts the bytes delivered to the other end, ``waiting`` those not delivered yet;
    ``no_delay`` and ``keep_alive`` show what was set; ``when_lost`` is called after the protocol
    was told that the connection is over. ``bufferSize`` is what is read at once, and above what a
    producer is paused, as in Twisted's transports.
    """

    bufferSize = BUFFER_SIZE

    def __init__(self, protocol: IProtocol, host: Address, peer: Address) -> None:
        self.protocol = protocol
        self.no_delay = False
        self.keep_alive = False
        self.sent = 0
        self.disconnecting = False
        self.connected = True
        self.when_lost: Callable[[Failure], None] | None = None
        self._host = host
        self._peer_address = peer
        self._outgoing = bytearray()
        self._reading = True
        self._read_ended = False
        self._write_ended = False
        self._write_ending = False
        self._aborted = False
        self._end_due = False
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False

    @property
    def waiting(self) -> int:
        """Bytes written and not yet delivered."""
        return len(self._outgoing)

    # ITransport and ITCPTransport.

    def write(self, data: bytes) -> None:
        """Keep ``data`` until the link moves it; dropped once this half is closed."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"bytes are written, not {type(data).__name__}")
        if not self.connected or self._write_ending or self._write_ended or self._aborted:
            return
        self._outgoing += data
        if self._streaming and not self._producer_paused and len(self._outgoing) > self.bufferSize:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write the pieces as one."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close once everything written, and everything a producer still writes, is delivered."""
        self.disconnecting = True

    def loseWriteConnection(self) -> None:
        """Close this half once everything written is delivered."""
        self._write_ending = True

    def abortConnection(self) -> None:
        """Close now; the other end sees a reset."""
        self._aborted = True
        self._outgoing.clear()

    def getPeer(self) -> Address:
        """The other end's address."""
        return self._peer_address

    def getHost(self) -> Address:
        """This end's address."""
        return self._host

    def getTcpNoDelay(self) -> bool:
        """What was set."""
        return self.no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Remember it in ``no_delay``."""
        self.no_delay = enabled

    def getTcpKeepAlive(self) -> bool:
        """What was set."""
        return self.keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Remember it in ``keep_alive``."""
        self.keep_alive = enabled

    # IConsumer: what writes here.

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Tell ``producer`` when to stop and when to go on."""
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is registered already")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._producer_paused = False
        if not streaming:
            self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """The producer has written everything."""
        self._producer = None
        self._streaming = False

    # IPushProducer: what is read from here.

    def pauseProducing(self) -> None:
        """Deliver nothing to the protocol until ``resumeProducing``."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Deliver again."""
        self._reading = True

    def stopProducing(self) -> None:
        """Whoever consumed is gone."""
        self.loseConnection()

    # What the link does with this end.

    def move(self, target: "MemoryTransport", chunk: Chunk) -> bool:
        """Move at most one piece of what was written here to ``target``, or how it ended.

        Returns whether anything happened.
        """
        if self._end_due and target.end_reading():
            self._end_due = False
            return True
        if not self.connected:
            return False
        if self._aborted:
            self.lose(ConnectionAborted())
            target.lose(ConnectionLost())
            return True
        if self._outgoing:
            return self._move_data(target, chunk)
        return self._resume_producer() or self._end_writing()

    def end_reading(self) -> bool:
        """Tell the protocol that the other end writes no more, if it is in a state to be told."""
        if not self.connected or self._read_ended:
            return True
        if not self._reading:
            return False
        self._read_ended = True
        if not IHalfCloseableProtocol.providedBy(self.protocol):
            self.lose(ConnectionDone())
            return True
        IHalfCloseableProtocol(self.protocol).readConnectionLost()
        if self._write_ended:
            self.lose(ConnectionDone())
        return True

    def lose(self, reason: Exception) -> None:
        """The connection is over for this end."""
        if not self.connected:
            return
        self.connected = False
        # Even to an end that closes because it was closed: the other half ends too.
        self._end_due = self._end_due or not self._write_ended
        self._outgoing.clear()
        producer, self._producer, self._streaming = self._producer, None, False
        if producer is not None:
            producer.stopProducing()
        failure = Failure(reason)
        self.protocol.connectionLost(failure)
        if self.when_lost is not None:
            self.when_lost(failure)

    def _move_data(self, target: "MemoryTransport", chunk: Chunk) -> bool:
        if not target.connected:
            # The other end has closed both halves: TCP answers data with a reset.
            self.lose(ConnectionLost())
            return True
        if not target._reading:  # noqa: SLF001 - the same class
            return False
        size = len(self._outgoing)
        if callable(chunk):
            size = max(1, chunk(size))
        elif chunk is not None:
            size = min(size, chunk)
        size = min(size, target.bufferSize)
        data = bytes(self._outgoing[:size])
        del self._outgoing[:size]
        self.sent += len(data)
        target.protocol.dataReceived(data)
        return True

    def _resume_producer(self) -> bool:
        """Nothing waits any more: let the producer go on. Returns whether one was told to."""
        if self._producer is None or (self._streaming and not self._producer_paused):
            return False
        self._producer_paused = False
        self._producer.resumeProducing()
        return True

    def _end_writing(self) -> bool:
        """Everything is delivered: close what was asked to be closed."""
        if self.disconnecting and self._producer is None:
            self.lose(ConnectionDone())
            return True
        if self._write_ending and not self._write_ended:
            self._write_ended = True
            self._end_due = True
            if IHalfCloseableProtocol.providedBy(self.protocol):
                IHalfCloseableProtocol(self.protocol).writeConnectionLost()
            if self._read_ended:
                self.lose(ConnectionDone())
            return True
        return False


class MemoryLink:
    """Two protocols joined back to back.

    ``client`` and ``server`` are the two transports. ``chunk`` is the largest number of bytes
    delivered in one piece, at most the reader's ``bufferSize``: a number, or a function from the
    number available to the number to take (at least 1). ``frozen`` stops everything, like a peer
    that has been stopped or a network that drops all packets.
    """

    def __init__(
        self,
        client: MemoryTransport,
        server: MemoryTransport,
        chunk: Chunk = None,
    ) -> None:
        self.client = client
        self.server = server
        self.chunk = chunk
        self.frozen = False

    @property
    def connected(self) -> bool:
        """Whether either end still is."""
        return self.client.connected or self.server.connected

    def step(self) -> bool:
        """Move at most one piece each way. Returns whether anything happened."""
        if self.frozen:
            return False
        moved = self.client.move(self.server, self.chunk)
        return self.server.move(self.client, self.chunk) or moved

    def flush(self) -> int:
        """Move until nothing moves any more; returns the number of steps.

        Raises RuntimeError after MAX_STEPS.
        """
        for steps in range(MAX_STEPS):
            if not self.step():
                return steps
        raise RuntimeError(f"still moving after {MAX_STEPS} steps")


def connect(
    client: IProtocol,
    server: IProtocol,
    chunk: Chunk = None,
    *,
    client_address: Address | None = None,
    server_address: Address | None = None,
) -> MemoryLink:
    """Join two protocols; both are connected when this returns, and no byte has moved."""
    near = client_address or IPv4Address("TCP", "127.0.0.1", 50_000)
    far = server_address or IPv4Address("TCP", "127.0.0.1", 80)
    link = MemoryLink(MemoryTransport(client, near, far), MemoryTransport(server, far, near), chunk)
    server.makeConnection(link.server)
    client.makeConnection(link.client)
    return link
