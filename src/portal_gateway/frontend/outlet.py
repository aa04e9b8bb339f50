"""The way out of a connection: what waits to be sent is bounded, and whoever makes more is paused.

Pieces of one turn of the reactor, a head and a small body, leave in one write. What is larger than
a transport should hold waits here, so that a Resource may render a large body at once.
"""

from collections import deque
from typing import Protocol

from twisted.internet.interfaces import IAddress, IPushProducer
from zope.interface import classImplements

from portal_gateway.relay.transport_buffers import set_buffer_size

__all__ = ["PIECE", "STEP", "STREAM_HELD", "Outlet", "Transport", "Watcher"]

PIECE = 64 * 1024
"""Bytes that are handed to the transport in one write at most: what one read of a socket brings.

A transport asks for a pause above as many, so it never holds more than twice that: so much a client
has to take before the write stall.
"""

STEP = 16 * 1024
"""Bytes of a larger write that are handed over at a time, so that little waits in the transport."""

STREAM_HELD = 8 * 1024
"""Bytes above which a transport asks for a pause while it carries a stream. With one read of the
lease's (`STREAM_READ`), a reader that is slow costs less than 64 KiB."""

_JOINED = 4 * 1024
"""Bytes up to which pieces that wait are joined: each on its own costs some 50 bytes more."""


class Transport(Protocol):
    """What is needed of a transport: those of TCP, TLS, UNIX sockets and relay streams have it."""

    def write(self, data: bytes) -> None:
        """Send ``data``, keeping what the peer does not take yet."""

    def loseConnection(self) -> None:
        """Close when everything has been sent."""

    def abortConnection(self) -> None:
        """Close now; the peer sees a reset."""

    def getPeer(self) -> IAddress:
        """The client's address."""

    def getHost(self) -> IAddress:
        """The address that the client connected to."""

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Pause and resume ``producer`` as the peer takes data."""

    def unregisterProducer(self) -> None:
        """There is nothing to pause any more."""

    def pauseProducing(self) -> None:
        """Deliver nothing for now."""

    def resumeProducing(self) -> None:
        """Deliver again."""


class Watcher(Protocol):
    """Who has to know whether the client takes what is sent."""

    def output_blocked(self) -> None:
        """The client is slower than we are."""

    def output_drained(self) -> None:
        """Everything has been sent."""


class Outlet:
    """Everything that is written to one transport. Toward the transport it is a push producer.

    ``blocked`` says that the client has not taken what was sent before; ``producer`` is paused
    while that is so. ``flushes`` counts how often something was held and has been written.
    """

    __slots__ = (
        "_congested",
        "_held",
        "_held_size",
        "_narrow",
        "_queue",
        "_transport",
        "_watcher",
        "blocked",
        "flushes",
        "producer",
    )

    def __init__(self, transport: Transport, watcher: Watcher) -> None:
        self._transport = transport
        self._watcher = watcher
        self._held: list[bytes] = []
        self._held_size = 0
        self._queue: deque[bytes | bytearray | memoryview] = deque()
        self._congested = False
        self._narrow: int | None = None
        self.blocked = False
        self.flushes = 0
        self.producer: IPushProducer | None = None

    def narrow(self, held: int | None) -> None:
        """Ask for a pause above ``held`` bytes from now on; None is for what is usual."""
        if held != self._narrow:
            self._narrow = held
            set_buffer_size(self._transport, held)

    @property
    def holds(self) -> bool:
        """Whether something waits for `flush`."""
        return bool(self._held)

    def hold(self, data: bytes) -> None:
        """Write ``data`` together with what follows, at the latest at `flush`."""
        size = len(data)
        if size > PIECE:
            # Joining would copy it, once for every client that is sent the same large body.
            self.flush()
            self.write(data)
            return
        self._held.append(data)
        self._held_size += size
        if self._held_size > PIECE:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        held = self._held
        if held:
            data = held[0] if len(held) == 1 else b"".join(held)
            held.clear()
            self._held_size = 0
            self.flushes += 1
            self.write(data)

    def take_back(self) -> bool:
        """Forget what is held; whether there was anything."""
        held = bool(self._held)
        self._held.clear()
        self._held_size = 0
        return held

    def write(self, data: bytes) -> None:
        """Write ``data`` after everything that was written before; what is held comes later."""
        if self.blocked:
            self._wait(data)
        elif len(data) > PIECE:
            self._queue.append(data)
            self._write_queue()
        else:
            self._transport.write(data)

    def _wait(self, data: bytes) -> None:
        queue = self._queue
        if len(data) > _JOINED:
            queue.append(data)
        elif queue and isinstance(last := queue[-1], bytearray) and len(last) < PIECE - _JOINED:
            last += data
        else:
            queue.append(bytearray(data))

    def _write_queue(self) -> None:
        queue = self._queue
        while queue and not self._congested:
            data = queue.popleft()
            if len(data) > STEP:
                view = memoryview(data)
                queue.appendleft(view[STEP:])
                data = view[:STEP]
            self._transport.write(bytes(data))

    def register(self, producer: IPushProducer) -> None:
        """Pause and resume ``producer`` from now on."""
        self.producer = producer
        if self.blocked:
            producer.pauseProducing()

    def discard(self) -> None:
        """Forget what has not been sent."""
        self.take_back()
        self._queue.clear()
        self.producer = None

    # From the transport.

    def pauseProducing(self) -> None:
        """The transport has enough."""
        self._congested = True
        if not self.blocked:
            self.blocked = True
            self._watcher.output_blocked()
            if self.producer is not None:
                self.producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The transport has sent everything."""
        self._congested = False
        self._write_queue()
        if self.blocked and not self._congested:
            self.blocked = False
            self._watcher.output_drained()
            if self.producer is not None and not self.blocked:
                self.producer.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is gone; the protocol's connectionLost tells the same."""


classImplements(Outlet, IPushProducer)
