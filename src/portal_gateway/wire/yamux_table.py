"""The streams of a yamux session, and the frames that wait: what its two directions share."""

from collections import OrderedDict

from portal_gateway.wire.yamux_credit import ReceiveCredit
from portal_gateway.wire.yamux_events import Event, StreamReset, WindowOpened
from portal_gateway.wire.yamux_flood import FloodGuard
from portal_gateway.wire.yamux_frames import (
    ACK,
    FIN,
    INITIAL_WINDOW,
    MAX_UNACKNOWLEDGED,
    RST,
    SYN,
    WINDOW_UPDATE,
    encode,
)
from portal_gateway.wire.yamux_ids import Role, StreamIds
from portal_gateway.wire.yamux_stream import Phase, Signal, State, YamuxStream

__all__ = ["StreamTable"]


class StreamTable:
    """Streams by id, from their opening until nothing of them is left.

    Control frames wait in ``control`` and leave ahead of ``bulk``, which holds data, and FIN and
    RST, as these must not pass their stream's data. Where an ``events`` list is asked for, what a
    change causes on other streams is reported there; None when the caller is not receiving.
    """

    __slots__ = (
        "_unacknowledged",
        "_waiting",
        "backlog",
        "bulk",
        "control",
        "credit",
        "guard",
        "ids",
        "max_streams",
        "offered",
        "refusing",
        "streams",
    )

    def __init__(
        self, role: Role, credit: ReceiveCredit, *, backlog: int, max_streams: int
    ) -> None:
        self.ids = StreamIds(role)
        self.credit = credit
        self.guard = FloodGuard()
        self.backlog = backlog
        self.max_streams = max_streams
        self.refusing = False
        self.streams: dict[int, YamuxStream] = {}
        self.offered = 0  # streams of the peer that were not accepted yet
        self.control: list[bytes] = []
        self.bulk: list[bytes | memoryview] = []
        # Ours whose SYN has not left, oldest first. The front of a dict is slow to find again.
        self._waiting: OrderedDict[int, YamuxStream] = OrderedDict()
        self._unacknowledged = 0

    def find(self, stream_id: int) -> YamuxStream | None:
        """Return a stream that is not closed, None when it is gone; ValueError if it never was."""
        stream = self.streams.get(stream_id)
        if stream is None:
            self.check_used(stream_id)
            return None
        return None if stream.state is State.CLOSED else stream

    def check_used(self, stream_id: int) -> None:
        """Raise ValueError for an id that no stream ever had."""
        if not self.ids.was_used(stream_id):
            raise ValueError(f"stream {stream_id} was never opened")

    def open(self) -> int:
        """Add a stream of ours and send its SYN, or let it wait for its turn; returns its id."""
        stream_id = self.ids.allocate()
        stream = self.streams[stream_id] = YamuxStream(stream_id, Phase.WAITING)
        if self._unacknowledged >= MAX_UNACKNOWLEDGED:
            stream.waited = True
            self._waiting[stream_id] = stream
        else:
            self._send_syn(stream)
        return stream_id

    def offer(self, stream_id: int) -> bool:
        """Add a stream that the peer opens, and tell so; or refuse it."""
        if self.refusing or self.offered >= self.backlog or len(self.streams) >= self.max_streams:
            self.guard.stream_gone(INITIAL_WINDOW)
            self.control.append(encode(WINDOW_UPDATE | RST, stream_id, 0))
            return False
        self.offered += 1
        self.streams[stream_id] = YamuxStream(stream_id, Phase.OFFERED)
        return True

    def accept(self, stream: YamuxStream) -> None:
        """Acknowledge a stream that the peer opened."""
        self.offered -= 1
        stream.enter(Phase.ESTABLISHED)
        self.control.append(encode(WINDOW_UPDATE | ACK, stream.stream_id, 0))

    def accepted(self, stream: YamuxStream, events: list[Event]) -> None:
        """The peer acknowledged a stream of ours: one more that waits may go."""
        stream.enter(Phase.ESTABLISHED)
        # One that waited may have been let go while nobody was receiving, and so without its event.
        if stream.waited and stream.sendable:
            events.append(WindowOpened(stream.stream_id))
        self._acknowledged(events)

    def end(self, stream: YamuxStream) -> None:
        """End our half."""
        stream.advance(Signal.SEND_FIN)
        if stream.phase is not Phase.WAITING:
            self.bulk.append(encode(WINDOW_UPDATE | FIN, stream.stream_id, 0))
        if stream.state is State.CLOSED:
            self._close(stream, None)

    def ended(self, stream: YamuxStream, events: list[Event]) -> None:
        """The peer ended its half."""
        if stream.advance(Signal.RECEIVE_FIN) is State.CLOSED:
            self._close(stream, events)

    def reset(self, stream: YamuxStream, events: list[Event] | None = None) -> None:
        """Drop a stream and tell the peer; the caller asked for it, or learns of it by an event."""
        if stream.state is not State.CLOSED:  # else only bytes of it are left here
            stream.advance(Signal.SEND_RST)
            if stream.phase is not Phase.WAITING:
                self.bulk.append(encode(WINDOW_UPDATE | RST, stream.stream_id, 0))
        if events is not None:
            events.append(StreamReset(stream.stream_id))
        self.remove(stream, events)

    def remove(self, stream: YamuxStream, events: list[Event] | None = None) -> None:
        """Take a stream out, with what it holds; frames for it may still be under way."""
        del self.streams[stream.stream_id]
        self.credit.forget(stream)
        if stream.phase is Phase.WAITING:
            del self._waiting[stream.stream_id]
            return
        self.guard.stream_gone(stream.credit)
        if stream.phase is Phase.OFFERED:
            self.offered -= 1
        elif stream.phase is Phase.OPENING:
            self._acknowledged(events)

    def clear(self) -> None:
        """Drop everything: the session failed."""
        self.streams.clear()
        self._waiting.clear()
        self.control.clear()
        self.bulk.clear()
        self.credit.buffered = self.credit.extra = 0
        self.offered = 0

    def _close(self, stream: YamuxStream, events: list[Event] | None) -> None:
        """Both halves ended; what was received stays accounted until it is consumed."""
        if stream.buffered:
            self.guard.stream_gone(stream.credit)
            stream.withdraw(stream.credit)
        else:
            self.remove(stream, events)

    def _send_syn(self, stream: YamuxStream) -> None:
        self._unacknowledged += 1
        stream.enter(Phase.OPENING)
        self.control.append(encode(WINDOW_UPDATE | SYN, stream.stream_id, 0))
        if stream.state is State.LOCAL_ENDED:
            self.bulk.append(encode(WINDOW_UPDATE | FIN, stream.stream_id, 0))

    def _acknowledged(self, events: list[Event] | None) -> None:
        self._unacknowledged -= 1
        while self._waiting and self._unacknowledged < MAX_UNACKNOWLEDGED:
            _, stream = self._waiting.popitem(last=False)
            self._send_syn(stream)
            if events is not None and stream.sendable:
                events.append(WindowOpened(stream.stream_id))
