"""yamux, sans I/O: many streams over one byte stream, either role.

``YamuxSession.receive_data`` takes whatever bytes arrived and returns events; methods queue frames,
and ``data_to_send`` gives them out, joined once. The peer to get on with is hashicorp/yamux 0.1.2;
where it and strictness pull apart, we decided so:

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
data after FIN                        that stream is reset: in the peer, closing can overtake a
                                      write of another thread, so an honest session may show it
FIN after FIN                         session fails, as it does there
frames for a stream that is gone      discarded: they crossed our RST or FIN (see yamux_flood)
ACK again, zero credit, empty data,   ignored, and counted (see yamux_flood)
an unasked pong
go-away with code 0                   no more streams are opened; those that are open go on
go-away with another code             session fails
===================================== =========================================================

The parts: yamux_frames (header, every bound), yamux_stream (states and transitions), yamux_ids,
yamux_credit (receive windows and memory), yamux_flood, yamux_table (the streams), yamux_receiver.
"""

from portal_gateway.wire.errors import SessionGoneAway, TooManyStreams, YamuxError
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
from portal_gateway.wire.yamux_frames import (
    BACKLOG,
    DATA,
    GO_AWAY,
    GO_AWAY_NORMAL,
    MAX_DATA_FRAME,
    MAX_LENGTH,
    MAX_PINGS_IN_FLIGHT,
    MAX_RECEIVE_WINDOW,
    MAX_STREAMS,
    PING,
    SYN,
    WINDOW_UPDATE,
    encode,
)
from portal_gateway.wire.yamux_ids import Role
from portal_gateway.wire.yamux_receiver import FrameReceiver
from portal_gateway.wire.yamux_stream import TRANSITIONS, Phase, Signal, State, YamuxStream
from portal_gateway.wire.yamux_table import StreamTable

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


class YamuxSession:
    """One yamux session.

    ``receive_window``: what a stream's window may grow to, in bytes. ``backlog``: streams of the
    peer that may wait for ``accept_stream``. ``max_streams``: streams of both sides in the table.

    ``failure`` is None until the peer breaks the protocol. From then on the session is dead: its
    streams are gone without an event each, what arrives is ignored, and only the go-away frame is
    left to send.

    A stream may go while its owner does not know yet (the event is in the list that is being worked
    on), so calls for a stream that is gone do nothing. Calls for an id that was never used, or
    against the order of a stream's life, are faults of the caller: ValueError.
    """

    __slots__ = (
        "_bulk",
        "_control",
        "_credit",
        "_guard",
        "_next_ping",
        "_receiver",
        "_streams",
        "_table",
        "failure",
        "role",
    )

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
        self._credit = ReceiveCredit(receive_window)
        self._table = StreamTable(role, self._credit, backlog=backlog, max_streams=max_streams)
        self._receiver = FrameReceiver(self._table)
        self._guard = self._table.guard
        self._streams = self._table.streams
        self._control = self._table.control
        self._bulk = self._table.bulk
        self._next_ping = 0

    def __repr__(self) -> str:
        failure = None if self.failure is None else type(self.failure).__name__
        return (
            f"<YamuxSession {self.role.name} streams={len(self._streams)}"
            f" buffered={self._credit.buffered} failure={failure}>"
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
        """Return all queued frames, joined once, control frames first.

        Call it once per turn, and not while the transport asks to pause: the answers that a peer
        can make us queue are counted from one call to the next.
        """
        self._guard.answers = 0
        data = b"".join([*self._control, *self._bulk])
        self._control.clear()
        self._bulk.clear()
        return data

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes from the peer, cut anywhere; returns what they mean.

        Never raises for what the peer sent: look at ``failure`` after the events.
        """
        events: list[Event] = []
        if self.failure is None:
            try:
                self._receiver.receive(data, events)
            except YamuxError as fault:
                self._fail(fault)
        return events

    def open_stream(self) -> int:
        """Open a stream and return its id. Data may follow at once, as far as ``send_window`` says.

        Raises StreamsExhausted, TooManyStreams, or SessionGoneAway when the peer takes no more
        streams. While the peer has ``MAX_UNACKNOWLEDGED`` streams to accept, SYN and data wait
        (``send_window`` is 0); WindowOpened tells when data may go.
        """
        if self.failure is not None or self._receiver.peer_gone_away:
            raise SessionGoneAway("the session takes no more streams")
        if len(self._streams) >= self._table.max_streams:
            raise TooManyStreams(f"{len(self._streams)} streams on one session")
        stream_id = self._table.open()
        self._guard.unexplained = 0
        return stream_id

    def accept_stream(self, stream_id: int) -> None:
        """Accept a stream that the peer opened; data can be sent on it from now on."""
        stream = self._find_offered(stream_id)
        if stream is not None:
            self._table.accept(stream)

    def refuse_stream(self, stream_id: int) -> None:
        """Refuse a stream that the peer opened (RST)."""
        stream = self._find_offered(stream_id)
        if stream is not None:
            self._table.reset(stream)

    def send_window(self, stream_id: int) -> int:
        """Return how many bytes ``send_data`` would take now."""
        stream = self._table.find(stream_id)
        return stream.send_window if stream is not None and stream.sendable else 0

    def send_data(self, stream_id: int, data: bytes | memoryview) -> int:
        """Queue data as far as the peer's window allows; returns how many bytes were taken.

        Nothing is copied before ``data_to_send``: a memoryview's buffer must not change until then.
        """
        stream = self._streams.get(stream_id)
        if stream is None or not stream.sendable:
            self._check_sending(stream_id)
            return 0
        size = len(data)
        if size > stream.send_window:
            size = stream.send_window
            data = memoryview(data)[:size]
        if not size:
            return 0
        stream.send_window -= size
        stream.owed += size
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
        stream = self._table.find(stream_id)
        if stream is None:
            return
        if stream.phase is Phase.OFFERED or (stream.state, Signal.SEND_FIN) not in TRANSITIONS:
            raise ValueError(f"stream {stream_id} is not open for sending")
        self._table.end(stream)

    def reset_stream(self, stream_id: int) -> None:
        """Drop a stream in both directions, with what was not consumed."""
        stream = self._streams.get(stream_id)
        if stream is None:
            self._table.check_used(stream_id)
        else:
            self._table.reset(stream)

    def consume(self, stream_id: int, count: int) -> None:
        """Say that the application took ``count`` bytes of a stream's data: its credit goes back.

        To be called for all data, also after StreamEnded; or ``reset_stream`` once nobody will read
        it.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            self._table.check_used(stream_id)
            return
        delta = self._credit.consume(stream, count)
        if delta:
            self._control.append(encode(WINDOW_UPDATE, stream_id, delta))
        elif stream.state is State.CLOSED and not stream.buffered:
            self._table.remove(stream)

    def ping(self) -> int:
        """Ask the peer for a sign of life; returns the value that PongReceived will carry."""
        value = self._next_ping
        self._next_ping = (value + 1) & MAX_LENGTH
        pings = self._receiver.pings
        pings[value] = None
        if len(pings) > MAX_PINGS_IN_FLIGHT:
            del pings[next(iter(pings))]
        self._control.append(encode(PING | SYN, 0, value))
        self._guard.unexplained = 0
        return value

    def go_away(self, code: int = GO_AWAY_NORMAL) -> None:
        """Tell the peer to open no more streams; open ones go on, and we may open more."""
        self._table.refusing = True
        self._control.append(encode(GO_AWAY, 0, code))

    def _find_offered(self, stream_id: int) -> YamuxStream | None:
        stream = self._table.find(stream_id)
        if stream is not None and stream.phase is not Phase.OFFERED:
            raise ValueError(f"stream {stream_id} does not wait to be accepted")
        return stream

    def _check_sending(self, stream_id: int) -> None:
        """Raise ValueError unless the stream is merely gone, or waits for its SYN to leave."""
        stream = self._table.find(stream_id)
        if stream is not None and not (
            stream.phase is Phase.WAITING and stream.state is State.OPEN
        ):
            raise ValueError(f"stream {stream_id} is not open for sending")

    def _fail(self, fault: YamuxError) -> None:
        self.failure = fault
        self._table.clear()
        if not isinstance(fault, SessionGoneAway):
            self._control.append(encode(GO_AWAY, 0, fault.code))
