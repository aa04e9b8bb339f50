"""The receiving half of a yamux session: from bytes cut anywhere to events.

A header is judged before its payload is taken, and payload is passed on as it arrives: at most 11
bytes of an incomplete header are kept here. Nearly every frame is data without flags for a stream
in good order; that case is decided in one place in the loop, and all others in ``_take_header``.
"""

from portal_gateway.wire.errors import (
    FrameAfterFin,
    InvalidFlags,
    InvalidStreamId,
    SessionGoneAway,
    UnknownFrameType,
    UnsupportedYamuxVersion,
    WindowExceeded,
    WindowOverflow,
)
from portal_gateway.wire.yamux_credit import largest
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
from portal_gateway.wire.yamux_frames import (
    ACK,
    DATA,
    FIN,
    FLAGS,
    GO_AWAY,
    GO_AWAY_NORMAL,
    HEADER,
    HEADER_SIZE,
    MAX_LENGTH,
    MIN_EXPLAINED_CREDIT,
    PING,
    RST,
    SYN,
    TYPE_SHIFT,
    VERSION_SHIFT,
    encode,
)
from portal_gateway.wire.yamux_stream import Phase, Signal, State, YamuxStream
from portal_gateway.wire.yamux_table import StreamTable

__all__ = ["FrameReceiver"]

_TYPES = 0xFF << TYPE_SHIFT
_FLAG_BITS = 0xFFFF
_unpack = HEADER.unpack_from
_new_tuple = tuple.__new__  # makes a named tuple in half the time of its constructor


class FrameReceiver:
    """Reads the peer's frames, changes the table by them, and reports.

    ``pings`` holds the values of our pings that were not answered.
    """

    __slots__ = (
        "_current",
        "_ends",
        "_header",
        "_left",
        "_table",
        "peer_gone_away",
        "pings",
    )

    def __init__(self, table: StreamTable) -> None:
        self._table = table
        self._header = b""  # the start of a header that is not complete
        self._left = 0  # payload bytes of the current data frame that have not arrived
        self._current: YamuxStream | None = None  # whose payload it is; None discards it
        self._ends = False  # the current data frame carries FIN
        self.pings: dict[int, None] = {}
        self.peer_gone_away = False

    def receive(self, data: bytes, events: list[Event]) -> None:
        """Take bytes and append what they mean; after a YamuxError no call may follow."""
        size = len(data)
        pos = 0
        if self._left:
            pos = self._take_payload(data, 0, events)
        elif self._header:
            pos = self._complete_header(data, events)
        table = self._table
        find = table.streams.get
        guard = table.guard
        credit = table.credit
        while pos + HEADER_SIZE <= size:
            word, stream_id, length = _unpack(data, pos)
            pos += HEADER_SIZE
            if (
                not word
                and length
                and (stream := find(stream_id)) is not None
                and stream.receivable
                and length <= stream.credit
                and credit.buffered + length <= credit.max_buffered
            ):
                stream.credit -= length
                credit.buffered += length
                guard.unexplained = 0
                end = pos + length
                if end <= size:
                    events.append(_new_tuple(DataReceived, (stream_id, data[pos:end])))
                    pos = end
                    continue
                self._current = stream
                self._left = length
                if pos == size:
                    return
            if not self._left:
                self._take_header(word, stream_id, length, events)
            if self._left:
                pos = self._take_payload(data, pos, events)
        if pos < size:
            self._header = data[pos:]

    def _complete_header(self, data: bytes, events: list[Event]) -> int:
        """Join a header that was cut; returns where the next one starts in ``data``."""
        pos = HEADER_SIZE - len(self._header)
        header = self._header + data[:pos]
        if len(header) < HEADER_SIZE:
            self._header = header
            return len(data)
        self._header = b""
        word, stream_id, length = _unpack(header)
        self._take_header(word, stream_id, length, events)
        return self._take_payload(data, pos, events) if self._left else pos

    def _take_payload(self, data: bytes, pos: int, events: list[Event]) -> int:
        """Pass on payload of the current frame; returns where it stops in ``data``."""
        whole = pos == 0 and len(data) <= self._left
        chunk = data if whole else data[pos : pos + self._left]
        self._left -= len(chunk)
        stream = self._current
        # A stream that was reset since is not receivable: the rest of its frame is dropped.
        if stream is not None and stream.receivable:
            if chunk:
                events.append(_new_tuple(DataReceived, (stream.stream_id, chunk)))
            if self._ends and not self._left:
                self._take_fin(stream, events)
        if not self._left:
            self._current = None
            self._ends = False
        return pos + len(chunk)

    def _take_header(self, word: int, stream_id: int, length: int, events: list[Event]) -> None:
        kind = word & _TYPES
        flags = word & _FLAG_BITS
        if word >> VERSION_SHIFT:
            raise UnsupportedYamuxVersion(f"version {word >> VERSION_SHIFT}, only 0 is known")
        if kind > GO_AWAY:
            raise UnknownFrameType(
                f"type {kind >> TYPE_SHIFT}, only 0 to {GO_AWAY >> TYPE_SHIFT} are known"
            )
        if flags & ~FLAGS:
            raise InvalidFlags(f"flags {flags:#x}, only those in {FLAGS:#x} are known")
        if kind < PING:
            self._take_stream_frame(kind, flags, stream_id, length, events)
        elif stream_id:
            raise InvalidStreamId(f"a frame of the session names stream {stream_id}")
        elif kind == PING:
            self._take_ping(flags, length, events)
        else:
            self._take_go_away(flags, length, events)

    def _take_ping(self, flags: int, value: int, events: list[Event]) -> None:
        guard = self._table.guard
        if flags == SYN:
            if guard.answers:
                guard.frame_unexplained()
            guard.answer_owed()
            self._table.control.append(encode(PING | ACK, 0, value))
        elif flags != ACK:
            raise InvalidFlags(f"a ping with flags {flags:#x}")
        elif value in self.pings:
            del self.pings[value]
            events.append(PongReceived(value))
        else:
            guard.frame_unexplained()

    def _take_go_away(self, flags: int, code: int, events: list[Event]) -> None:
        if flags:
            raise InvalidFlags(f"a go-away with flags {flags:#x}")
        if self.peer_gone_away:
            self._table.guard.frame_unexplained()
        self.peer_gone_away = True
        events.append(GoAwayReceived(code))
        if code != GO_AWAY_NORMAL:
            raise SessionGoneAway(f"the peer gave the session up with code {code}")

    def _take_stream_frame(
        self, kind: int, flags: int, stream_id: int, length: int, events: list[Event]
    ) -> None:
        if flags & SYN:
            self._take_syn(flags, stream_id, events)
        stream = self._table.streams.get(stream_id)
        if stream is None or stream.state is State.CLOSED:
            self._take_late(kind, stream_id, length)
            return
        if stream.phase is Phase.WAITING:
            raise InvalidStreamId(f"stream {stream_id} was never opened")
        if stream.state is State.REMOTE_ENDED and flags & FIN:
            raise FrameAfterFin(f"stream {stream_id} was ended twice")
        if stream.phase is Phase.OPENING and flags & (ACK | FIN):
            self._take_ack(stream, events)
        elif not length and not flags & (SYN | FIN | RST):
            self._table.guard.frame_unexplained()
        take = self._take_data if kind == DATA else self._take_credit
        take(stream, flags, length, events)
        if flags & RST:
            self._take_rst(stream, events)
        elif flags & FIN and not self._left:
            self._take_fin(stream, events)

    def _take_syn(self, flags: int, stream_id: int, events: list[Event]) -> None:
        table = self._table
        if flags & (ACK | RST):
            raise InvalidFlags(f"a SYN with flags {flags:#x}")
        table.ids.peer_opens(stream_id)
        table.guard.answer_owed()
        if table.offer(stream_id):
            events.append(StreamOpened(stream_id))
        else:
            table.guard.frame_unexplained()

    def _take_ack(self, stream: YamuxStream, events: list[Event]) -> None:
        self._table.guard.unexplained = 0
        events.append(StreamAccepted(stream.stream_id))
        self._table.accepted(stream, events)

    def _take_fin(self, stream: YamuxStream, events: list[Event]) -> None:
        events.append(StreamEnded(stream.stream_id))
        self._table.ended(stream, events)

    def _take_rst(self, stream: YamuxStream, events: list[Event]) -> None:
        stream.advance(Signal.RECEIVE_RST)
        events.append(StreamReset(stream.stream_id))
        self._table.remove(stream, events)

    def _take_data(self, stream: YamuxStream, flags: int, length: int, events: list[Event]) -> None:
        if length > stream.credit:
            raise WindowExceeded(
                f"{length} bytes on stream {stream.stream_id}, which had {stream.credit} left"
            )
        if not length:
            return
        self._left = length
        table = self._table
        if flags & RST or not stream.receivable:
            # Nobody will read it: its sender ends the stream with it, or had ended its half before.
            stream.withdraw(length)
            if not flags & RST:
                table.reset(stream, events)
            return
        self._current = stream
        self._ends = bool(flags & FIN)
        table.guard.unexplained = 0
        stream.credit -= length
        table.credit.buffered += length
        while table.credit.buffered > table.credit.max_buffered:
            table.reset(largest(table.streams.values()), events)

    def _take_credit(
        self, stream: YamuxStream, flags: int, delta: int, events: list[Event]
    ) -> None:
        if stream.send_window + delta > MAX_LENGTH:
            raise WindowOverflow(
                f"{delta} bytes of credit on stream {stream.stream_id},"
                f" which has {stream.send_window} of at most {MAX_LENGTH}"
            )
        if not delta:
            return
        guard = self._table.guard
        if stream.owed and delta >= min(stream.owed, MIN_EXPLAINED_CREDIT):
            stream.owed = max(0, stream.owed - delta)
            guard.unexplained = 0
        else:
            guard.frame_unexplained()
        stream.send_window += delta
        if stream.sendable and not flags & RST:
            events.append(WindowOpened(stream.stream_id))

    def _take_late(self, kind: int, stream_id: int, length: int) -> None:
        """Take a frame for a stream that is gone, or that was refused with this very frame."""
        table = self._table
        if not table.ids.was_used(stream_id):
            raise InvalidStreamId(f"stream {stream_id} was never opened")
        if kind == DATA and length:
            table.guard.late_data(length)
            self._left = length
        else:
            table.guard.late_frame()
