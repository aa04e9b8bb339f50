"""How the bytes of many streams leave by one carrier.

What a stream writes goes into the multiplexer at once while nobody waits, and all frames of one
turn of the reactor leave as one message of the carrier, by one call in the next turn, or sooner
when ``MESSAGE_SIZE`` bytes are there. While the carrier's buffer is full nothing is framed at all;
the streams that have something to send queue up, and then take turns of ``SLICE`` bytes, so none
waits for another's whole window.
"""

from collections import deque
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from portal_gateway.relay.carrier import Carrier
from portal_gateway.wire.yamux import YamuxSession

__all__ = ["MESSAGE_SIZE", "SLICE", "Outbox", "Sender"]

MESSAGE_SIZE = 64 * 1024
"""Bytes of data that leave without waiting for the turn's end: what a transport buffers anyway."""

SLICE = 16 * 1024
"""Bytes that a stream may send in its turn while others wait: a quarter of a message."""


class Sender(Protocol):
    """A stream that has bytes waiting. ``queued`` is the outbox's to keep."""

    stream_id: int
    queued: bool

    def send_slice(self, limit: int) -> bool:
        """Give at most ``limit`` bytes to ``Outbox.send``; whether more could go at once."""


class Outbox:
    """Sends what ``session`` has for the peer by ``carrier``.

    ``congested`` is set while the carrier's buffer is full; ``bytes_out`` counts what was sent.
    """

    __slots__ = (
        "_carrier",
        "_clock",
        "_flush_call",
        "_flushing",
        "_ready",
        "_session",
        "_unsent",
        "bytes_out",
        "closed",
        "congested",
    )

    def __init__(self, session: YamuxSession, carrier: Carrier, clock: IReactorTime) -> None:
        self.congested = False
        self.closed = False
        self.bytes_out = 0
        self._session = session
        self._carrier = carrier
        self._clock = clock
        self._ready: deque[Sender] = deque()
        self._unsent = 0
        self._flush_call: IDelayedCall | None = None
        self._flushing = False

    def send_now(self, stream_id: int, data: bytes) -> int:
        """Frame the beginning of ``data`` unless others wait; how many bytes were taken."""
        if self.congested or self._ready or self.closed:
            return 0
        if len(data) > MESSAGE_SIZE:
            data = data[:MESSAGE_SIZE]
        taken = self._session.send_data(stream_id, data)
        self._unsent += taken
        if self._unsent >= MESSAGE_SIZE:
            self.flush()
        elif self._flush_call is None:
            self._flush_call = self._clock.callLater(0, self._flush_now)
        return taken

    def send(self, stream_id: int, data: bytes | memoryview) -> int:
        """Frame as much of ``data`` as the peer's window takes; for a stream in its turn."""
        if self.closed:
            return 0
        taken = self._session.send_data(stream_id, data)
        self._unsent += taken
        return taken

    def wait_for_turn(self, sender: Sender) -> None:
        """Let ``sender`` send a slice when it is its turn, if its window is open."""
        if sender.queued or self.closed:
            return
        if self._session.send_window(sender.stream_id) > 0:
            sender.queued = True
            self._ready.append(sender)
            self.flush_soon()

    def flush_soon(self) -> None:
        """Send what the session has, in the next turn of the reactor."""
        if self._flush_call is None and not self.congested and not self.closed:
            self._flush_call = self._clock.callLater(0, self._flush_now)

    def flush(self) -> None:
        """Send until nothing waits or the carrier is congested.

        While it is congested, what the peer provokes stays in the session, which bounds it.
        """
        if self._flushing:
            return
        self._flushing = True
        try:
            while not self.congested and not self.closed:
                self._take_turns()
                if not self._session.has_data_to_send:
                    break
                data = self._session.data_to_send()
                self._unsent = 0
                self.bytes_out += len(data)
                self._carrier.send_message(data)
        finally:
            self._flushing = False

    def pause(self) -> None:
        """The carrier's buffer is full."""
        self.congested = True

    def resume(self) -> None:
        """The carrier's buffer is empty again."""
        self.congested = False
        self.flush()

    def close(self) -> None:
        """Send nothing any more."""
        self.closed = True
        self._ready.clear()
        if self._flush_call is not None:
            self._flush_call.cancel()
            self._flush_call = None

    def _flush_now(self) -> None:
        self._flush_call = None
        self.flush()

    def _take_turns(self) -> None:
        ready = self._ready
        while ready and self._unsent < MESSAGE_SIZE:
            sender = ready.popleft()
            sender.queued = False
            if sender.send_slice(SLICE):
                self.wait_for_turn(sender)
