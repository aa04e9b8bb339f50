"""yamux, sans I/O: many streams over one byte stream, either role.

``YamuxSession.receive_data`` takes whatever bytes arrived and returns events; methods queue frames, and
``data_to_send`` gives them out, joined once. Written from the facts in the protocol page; the peer to get on
with is hashicorp/yamux 0.1.2. Where that peer and strictness pull apart, we decided so:

===================================== =========================================================
seen                                  done
===================================== =========================================================
unknown version, type or flag         session fails
an id of wrong parity, never opened,  session fails
zero, or opened twice
SYN beyond the backlog, beyond        that stream is refused (RST)
``max_streams``, after our go-away
SYNs out of order                     accepted: the peer's threads overtake each other
data beyond the window                session fails
credit above 2**32 - 1                session fails
data after FIN                        that stream is reset: the peer's Close can overtake its
                                      own Write, so an honest session may show it
FIN after FIN                         session fails, as it does there
frames for a stream that is gone      discarded; they crossed our RST or FIN (see yamux_flood)
ACK for what was acknowledged, zero   ignored, counted (see yamux_flood)
credit, empty data, an unasked pong
go-away with code 0                   no more streams are opened; those that are open go on
go-away with another code             session fails
===================================== =========================================================

A header is judged before its payload is taken, and payload is passed on as it arrives, so a session buffers
at most 11 bytes itself. What a stream holds unconsumed is bounded by its window (see yamux_credit).
"""

from portal_gateway.wire.errors import (
    FrameAfterFin,
    InvalidFlags,
    InvalidStreamId,
    SessionGoneAway,
    TooManyStreams,
    UnknownFrameType,
    UnsupportedYamuxVersion,
    WindowExceeded,
    WindowOverflow,
    YamuxError,
)
from portal_gateway.wire.yamux_credit import ReceiveCredit
from portal_gateway.wire.yamux_events import (
    DataReceived,
    Event,
    GoAwayReceived,
    PongReceived,
    StreamAccepted,
    StreamEnded,
    StreamOpened,
    StreamReset,
    WindowOpened,
)
from portal_gateway.wire.yamux_flood import FloodGuard
from portal_gateway.wire.yamux_frames import (
    ACK,
    BACKLOG,
    DATA,
    FIN,
    FLAGS,
    GO_AWAY,
    GO_AWAY_NORMAL,
    HEADER,
    HEADER_SIZE,
    INITIAL_WINDOW,
    MAX_DATA_FRAME,
    MAX_LENGTH,
    MAX_PINGS_IN_FLIGHT,
    MAX_RECEIVE_WINDOW,
    MAX_STREAMS,
    MAX_UNACKNOWLEDGED,
    PING,
    RST,
    SYN,
    TYPE_SHIFT,
    VERSION_SHIFT,
    WINDOW_UPDATE,
    encode,
)
from portal_gateway.wire.yamux_ids import Role, StreamIds
from portal_gateway.wire.yamux_stream import TRANSITIONS, Phase, Signal, State, YamuxStream

__all__ = [
    "DataReceived",
    "Event",
    "GoAwayReceived",
    "PongReceived",
    "Role",
    "StreamAccepted",
    "StreamEnded",
    "StreamOpened",
    "StreamReset",
    "WindowOpened",
    "YamuxSession",
]

_TYPES = 0xFF << TYPE_SHIFT
_FLAG_BITS = 0xFFFF
_unpack = HEADER.unpack_from
_new_tuple = tuple.__new__  # makes a named tuple in half the time of its constructor


class YamuxSession:
    """One yamux session.

    ``receive_window``: what a stream's window may grow to, in bytes. ``backlog``: streams of the peer that
    may wait for ``accept_stream``. ``max_streams``: streams of both sides in the table.

    ``failure`` is None until the peer breaks the protocol. From then on the session is dead: events are no
    longer returned, streams are gone without an event each, and only the go-away frame is left to send.

    A stream may go while its owner does not know yet (the event is in the same list as the one being
    worked on), so calls for a stream that is gone do nothing. Calls for an id that was never used, or
    against the order of a stream's life, are faults of the caller: ValueError.
    """

    def __init__(
        self,
        role: Role,
        *,
        receive_window: int = MAX_RECEIVE_WINDOW,
        backlog: int = BACKLOG,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        self.role = role
        self.failure: YamuxError | None = None
        self._backlog = backlog
        self._max_streams = max_streams
        self._ids = StreamIds(role)
        self._credit = ReceiveCredit(receive_window)
        self._guard = FloodGuard()
        self._streams: dict[int, YamuxStream] = {}
        self._waiting: dict[int, YamuxStream] = {}  # ours whose SYN has not left, in order
        self._unacknowledged = 0
        self._offered = 0
        self._refusing = False
        self._peer_gone_away = False
        self._next_ping = 0
        self._pings: dict[int, None] = {}
        # Control frames leave ahead of bulk. FIN and RST are in bulk: they must not pass their stream's data.
        self._control: list[bytes] = []
        self._bulk: list[bytes | memoryview] = []
        self._header = b""  # the start of a header that is not complete
        self._left = 0  # payload bytes of the current data frame that have not arrived
        self._current: YamuxStream | None = None  # whose payload it is; None discards it
        self._ends = False  # the current data frame carries FIN

    def __repr__(self) -> str:
        return (
            f"<YamuxSession {self.role.name} streams={len(self._streams)}"
            f" buffered={self._credit.buffered} failure={type(self.failure).__name__}>"
        )

    @property
    def stream_count(self) -> int:
        """Streams in the table: open, half closed, or closed with bytes that were not consumed."""
        return len(self._streams)

    @property
    def buffered(self) -> int:
        """Bytes that arrived on all streams and were not consumed."""
        return self._credit.buffered

    @property
    def has_data_to_send(self) -> bool:
        """Whether ``data_to_send`` would return any bytes."""
        return bool(self._control or self._bulk)

    def data_to_send(self) -> bytes:
        """Return all queued frames, joined once.

        Call it once per turn, and not while the transport asks to pause: what a peer can make us queue is
        counted between two calls.
        """
        self._guard.answers = 0
        data = b"".join([*self._control, *self._bulk])
        self._control.clear()
        self._bulk.clear()
        return data

    # Sending.

    def open_stream(self) -> int:
        """Open a stream and return its id. Data may be sent at once, as far as ``send_window`` says.

        Raises StreamsExhausted, TooManyStreams, or SessionGoneAway when the peer takes no more streams.
        While the peer has ``MAX_UNACKNOWLEDGED`` streams to accept, the SYN and the data wait;
        WindowOpened tells when they may go.
        """
        if self.failure is not None or self._peer_gone_away:
            raise SessionGoneAway("the session takes no more streams")
        if len(self._streams) >= self._max_streams:
            raise TooManyStreams(f"{len(self._streams)} streams on one session")
        stream_id = self._ids.allocate()
        stream = self._streams[stream_id] = YamuxStream(stream_id, Phase.WAITING)
        if self._waiting or self._unacknowledged >= MAX_UNACKNOWLEDGED:
            self._waiting[stream_id] = stream
        else:
            stream.waited = False
            self._send_syn(stream)
        self._guard.unexplained = 0
        return stream_id

    def accept_stream(self, stream_id: int) -> None:
        """Accept a stream that the peer opened; it waits for this before it trusts the stream."""
        stream = self._find(stream_id)
        if stream is not None:
            if stream.phase is not Phase.OFFERED:
                raise ValueError(f"stream {stream_id} was not offered")
            self._offered -= 1
            stream.enter(Phase.ESTABLISHED)
            self._control.append(encode(WINDOW_UPDATE | ACK, stream_id, 0))

    def refuse_stream(self, stream_id: int) -> None:
        """Refuse a stream that the peer opened."""
        stream = self._find(stream_id)
        if stream is not None:
            if stream.phase is not Phase.OFFERED:
                raise ValueError(f"stream {stream_id} was not offered")
            self._reset(stream)

    def send_window(self, stream_id: int) -> int:
        """Return how many bytes ``send_data`` would take now."""
        stream = self._find(stream_id)
        return stream.send_window if stream is not None and stream.sendable else 0

    def send_data(self, stream_id: int, data: bytes | memoryview) -> int:
        """Queue data as far as the peer's window allows; returns how many bytes were taken.

        Nothing is copied before ``data_to_send``: a memoryview's buffer must not change until then.
        """
        stream = self._streams.get(stream_id)
        if stream is None or not stream.sendable:
            self._refuse_sending(stream_id)
            return 0
        size = len(data)
        if size > stream.send_window:
            size = stream.send_window
            data = memoryview(data)[:size]
        if not size:
            return 0
        stream.send_window -= size
        stream.explained = True
        self._guard.unexplained = 0
        if size <= MAX_DATA_FRAME:
            self._bulk += (encode(DATA, stream_id, size), data)
            return size
        view = memoryview(data)
        for start in range(0, size, MAX_DATA_FRAME):
            part = view[start : start + MAX_DATA_FRAME]
            self._bulk += (encode(DATA, stream_id, len(part)), part)
        return size

    def send_fin(self, stream_id: int) -> None:
        """End our half, after the data that was taken. The peer's half stays open."""
        stream = self._find(stream_id)
        if stream is None:
            return
        if stream.phase is Phase.OFFERED or (stream.state, Signal.SEND_FIN) not in TRANSITIONS:
            raise ValueError(f"stream {stream_id} cannot be ended here")
        state = stream.advance(Signal.SEND_FIN)
        if stream.phase is not Phase.WAITING:
            self._bulk.append(encode(WINDOW_UPDATE | FIN, stream_id, 0))
        if state is State.CLOSED:
            self._close(stream, None)

    def reset_stream(self, stream_id: int) -> None:
        """Drop a stream in both directions, with what was not consumed."""
        stream = self._find(stream_id)
        if stream is not None:
            self._reset(stream)

    def consume(self, stream_id: int, count: int) -> None:
        """Say that the application took ``count`` bytes of a stream's data: its credit goes back.

        To be called for all data, also after StreamEnded; or ``reset_stream`` once nobody will.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_used(stream_id)
            return
        delta = self._credit.consume(stream, count)
        if delta:
            self._control.append(encode(WINDOW_UPDATE, stream_id, delta))
        elif stream.state is State.CLOSED and not stream.buffered:
            self._remove(stream)

    def ping(self) -> int:
        """Ask the peer for a sign of life; returns the value that PongReceived will carry."""
        value = self._next_ping
        self._next_ping = (value + 1) & MAX_LENGTH
        self._pings[value] = None
        if len(self._pings) > MAX_PINGS_IN_FLIGHT:
            del self._pings[next(iter(self._pings))]
        self._control.append(encode(PING | SYN, 0, value))
        self._guard.unexplained = 0
        return value

    def go_away(self, code: int = GO_AWAY_NORMAL) -> None:
        """Tell the peer to open no more streams; those that are open go on, and so may we open more."""
        self._refusing = True
        self._control.append(encode(GO_AWAY, 0, code))

    # Receiving.

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes from the peer, cut anywhere; returns what they mean.

        Never raises for what the peer sent: look at ``failure`` after the events.
        """
        events: list[Event] = []
        if self.failure is None:
            try:
                self._receive(data, events)
            except YamuxError as fault:
                self._fail(fault)
        return events

    def _receive(self, data: bytes, events: list[Event]) -> None:
        size = len(data)
        pos = 0
        if self._left:
            pos = self._take_payload(data, 0, events)
        elif self._header:
            pos = HEADER_SIZE - len(self._header)
            header = self._header + data[:pos]
            if len(header) < HEADER_SIZE:
                self._header = header
                return
            self._header = b""
            word, stream_id, length = _unpack(header)
            self._take_header(word, stream_id, length, events)
            if self._left and pos < size:
                pos = self._take_payload(data, pos, events)
        find = self._streams.get
        guard = self._guard
        credit = self._credit
        while pos + HEADER_SIZE <= size:
            word, stream_id, length = _unpack(data, pos)
            pos += HEADER_SIZE
            end = pos + length
            # Data without flags for a stream in good order, all here: what nearly every frame is.
            if not word and length and end <= size:
                stream = find(stream_id)
                if (
                    stream is not None
                    and stream.receivable
                    and length <= stream.credit
                    and credit.buffered + length <= credit.max_buffered
                ):
                    stream.credit -= length
                    credit.buffered += length
                    guard.unexplained = 0
                    events.append(_new_tuple(DataReceived, (stream_id, data[pos:end])))
                    pos = end
                    continue
            self._take_header(word, stream_id, length, events)
            if self._left and pos < size:
                pos = self._take_payload(data, pos, events)
        if pos < size:
            self._header = data[pos:]

    def _take_payload(self, data: bytes, pos: int, events: list[Event]) -> int:
        """Pass on payload of the current frame; returns where it stops in ``data``."""
        end = pos + self._left
        chunk = data[pos:end]  # the same object when it is the whole
        self._left -= len(chunk)
        stream = self._current
        if stream is not None:
            if stream.receivable:
                events.append(DataReceived(stream.stream_id, chunk))
            if not self._left:
                self._current = None
                if self._ends:
                    self._ends = False
                    if stream.receivable:
                        self._peer_ends(stream, events)
        return pos + len(chunk)

    def _take_header(self, word: int, stream_id: int, length: int, events: list[Event]) -> None:
        kind = word & _TYPES
        flags = word & _FLAG_BITS
        if word >> VERSION_SHIFT:
            raise UnsupportedYamuxVersion(f"version {word >> VERSION_SHIFT}, only 0 is known")
        if kind > GO_AWAY:
            raise UnknownFrameType(
                f"type {kind >> TYPE_SHIFT}, 0 to {GO_AWAY >> TYPE_SHIFT} are known"
            )
        if flags & ~FLAGS:
            raise InvalidFlags(f"flags {flags:#x}, only {FLAGS:#x} are known")
        if kind == PING or kind == GO_AWAY:
            if stream_id:
                raise InvalidStreamId(f"a frame of the session names stream {stream_id}")
            if kind == PING:
                self._take_ping(flags, length, events)
            else:
                self._take_go_away(flags, length, events)
            return
        if flags & SYN:
            self._peer_opens(flags, stream_id, events)
        stream = self._streams.get(stream_id)
        if stream is None or stream.state is State.CLOSED:
            self._take_late(kind, stream_id, length)
            return
        if stream.phase is Phase.WAITING:
            raise InvalidStreamId(f"stream {stream_id} was never opened")
        if flags & FIN and not flags & RST and stream.state is State.REMOTE_ENDED:
            raise FrameAfterFin(f"stream {stream_id} was ended twice")
        news = flags & (SYN | FIN | RST)
        if stream.phase is Phase.OPENING and flags & (ACK | FIN):
            news = ACK
            self._peer_accepts(stream, events)
        if kind == DATA:
            self._take_data_header(stream, flags, length, events)
        elif length:
            self._take_credit(stream, length, not flags & (SYN | RST), events)
        if not news and not length:
            self._guard.frame_unexplained()
        if flags & RST:
            self._peer_resets(stream, events)
        elif flags & FIN:
            if self._left:
                self._ends = True
            else:
                self._peer_ends(stream, events)

    def _take_ping(self, flags: int, value: int, events: list[Event]) -> None:
        guard = self._guard
        if flags == SYN:
            if guard.answers:
                guard.frame_unexplained()
            guard.answer_owed()
            self._control.append(encode(PING | ACK, 0, value))
        elif flags == ACK:
            if value in self._pings:
                del self._pings[value]
                events.append(PongReceived(value))
            else:
                guard.frame_unexplained()
        else:
            raise InvalidFlags(f"a ping with flags {flags:#x}")

    def _take_go_away(self, flags: int, code: int, events: list[Event]) -> None:
        if flags:
            raise InvalidFlags(f"a go-away with flags {flags:#x}")
        if self._peer_gone_away:
            self._guard.frame_unexplained()
        self._peer_gone_away = True
        events.append(GoAwayReceived(code))
        if code != GO_AWAY_NORMAL:
            raise SessionGoneAway(f"the peer gave the session up with code {code}")

    def _peer_opens(self, flags: int, stream_id: int, events: list[Event]) -> None:
        if flags & (ACK | RST):
            raise InvalidFlags(f"a SYN with flags {flags:#x}")
        self._ids.peer_opens(stream_id)
        self._guard.answer_owed()
        if (
            self._refusing
            or self._offered >= self._backlog
            or len(self._streams) >= self._max_streams
        ):
            self._guard.frame_unexplained()
            self._guard.stream_gone(INITIAL_WINDOW)
            self._control.append(encode(WINDOW_UPDATE | RST, stream_id, 0))
            return
        self._offered += 1
        self._streams[stream_id] = YamuxStream(stream_id, Phase.OFFERED)
        events.append(StreamOpened(stream_id))

    def _peer_accepts(self, stream: YamuxStream, events: list[Event]) -> None:
        stream.enter(Phase.ESTABLISHED)
        self._guard.unexplained = 0
        events.append(StreamAccepted(stream.stream_id))
        if stream.waited and stream.sendable:
            events.append(WindowOpened(stream.stream_id))
        self._acknowledged(events)

    def _take_data_header(
        self, stream: YamuxStream, flags: int, length: int, events: list[Event]
    ) -> None:
        if not length:
            return
        if length > stream.credit:
            raise WindowExceeded(
                f"{length} bytes on stream {stream.stream_id}, which had {stream.credit} left"
            )
        self._left = length
        self._ends = False
        if not stream.receivable or flags & RST:
            # Nobody will read it: the stream ended, or ends with this very frame.
            self._current = None
            stream.credit -= length
            stream.window -= length
            if not flags & RST:
                self._reset(stream, events)
            return
        self._current = stream
        self._guard.unexplained = 0
        stream.credit -= length
        self._credit.buffered += length
        while self._credit.buffered > self._credit.max_buffered:
            self._reset(self._credit.largest(self._streams.values()), events)

    def _take_credit(
        self, stream: YamuxStream, delta: int, tell: bool, events: list[Event]
    ) -> None:
        if stream.send_window + delta > MAX_LENGTH:
            raise WindowOverflow(
                f"{delta} bytes of credit for stream {stream.stream_id}, which has {stream.send_window}"
            )
        if stream.explained:
            stream.explained = False
            self._guard.unexplained = 0
        else:
            self._guard.frame_unexplained()
        stream.send_window += delta
        if tell and stream.sendable:
            events.append(WindowOpened(stream.stream_id))

    def _take_late(self, kind: int, stream_id: int, length: int) -> None:
        if not self._ids.was_used(stream_id):
            raise InvalidStreamId(f"stream {stream_id} was never opened")
        if kind == DATA and length:
            self._guard.late_data(length)
            self._left = length
            self._current = None
            self._ends = False
        else:
            self._guard.late_frame()

    def _peer_ends(self, stream: YamuxStream, events: list[Event]) -> None:
        events.append(StreamEnded(stream.stream_id))
        if stream.advance(Signal.RECEIVE_FIN) is State.CLOSED:
            self._close(stream, events)

    def _peer_resets(self, stream: YamuxStream, events: list[Event]) -> None:
        stream.advance(Signal.RECEIVE_RST)
        events.append(StreamReset(stream.stream_id))
        self._remove(stream, events)

    # The table of streams.

    def _find(self, stream_id: int) -> YamuxStream | None:
        """Return a stream that is not closed, None when it is gone, ValueError if it never was."""
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_used(stream_id)
            return None
        return None if stream.state is State.CLOSED else stream

    def _check_used(self, stream_id: int) -> None:
        if not self._ids.was_used(stream_id):
            raise ValueError(f"stream {stream_id} was never opened")

    def _refuse_sending(self, stream_id: int) -> None:
        stream = self._find(stream_id)
        if stream is None or stream.phase is Phase.WAITING:
            return
        raise ValueError(f"stream {stream_id} is not open for sending")

    def _send_syn(self, stream: YamuxStream) -> None:
        self._unacknowledged += 1
        stream.enter(Phase.OPENING)
        self._control.append(encode(WINDOW_UPDATE | SYN, stream.stream_id, 0))
        if stream.state is State.LOCAL_ENDED:
            self._bulk.append(encode(WINDOW_UPDATE | FIN, stream.stream_id, 0))

    def _acknowledged(self, events: list[Event] | None) -> None:
        """One stream of ours less waits for the peer; let the next SYN go."""
        self._unacknowledged -= 1
        while self._waiting and self._unacknowledged < MAX_UNACKNOWLEDGED:
            stream = self._waiting.pop(next(iter(self._waiting)))
            self._send_syn(stream)
            if events is not None and stream.sendable:
                events.append(WindowOpened(stream.stream_id))

    def _reset(self, stream: YamuxStream, events: list[Event] | None = None) -> None:
        stream.advance(Signal.SEND_RST)
        if stream.phase is not Phase.WAITING:
            self._bulk.append(encode(WINDOW_UPDATE | RST, stream.stream_id, 0))
        if events is not None:
            events.append(StreamReset(stream.stream_id))
        self._remove(stream, events)

    def _close(self, stream: YamuxStream, events: list[Event] | None) -> None:
        """Both halves ended: drop the stream, once all that it holds was consumed."""
        if stream.buffered:
            self._guard.stream_gone(stream.surrender_credit())
        else:
            self._remove(stream, events)

    def _remove(self, stream: YamuxStream, events: list[Event] | None = None) -> None:
        del self._streams[stream.stream_id]
        self._credit.forget(stream)
        if stream.phase is Phase.WAITING:
            self._waiting.pop(stream.stream_id, None)
            return
        self._guard.stream_gone(stream.credit)
        if stream.phase is Phase.OFFERED:
            self._offered -= 1
        elif stream.phase is Phase.OPENING:
            self._acknowledged(events)

    def _fail(self, fault: YamuxError) -> None:
        self.failure = fault
        self._control.clear()
        self._bulk.clear()
        if not isinstance(fault, SessionGoneAway):
            self._control.append(encode(GO_AWAY, 0, fault.code))
        self._streams.clear()
        self._waiting.clear()
        self._credit.buffered = self._credit.extra = 0
        self._left = 0
        self._header = b""
        self._current = None
