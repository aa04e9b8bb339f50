"""One client's HTTP/2 connection: many requests at once, each a stream (RFC 9113).

The h2 library keeps the protocol's state and writes its frames. Around it stands what it leaves to
its user: every wait has a deadline, what is kept for each stream is bounded both ways, frames that
carry nothing are counted, and one bad request is no reason to fail the others. Frames of one turn
leave in one write.
"""

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import DenialOfServiceError, H2Error
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame
from twisted.internet.interfaces import IAddress, ISSLTransport, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError, fault
from portal_gateway.frontend.closing import Closing
from portal_gateway.frontend.deadlines import CROSSING_TIME, LAST_HEAD, Deadlines
from portal_gateway.frontend.http2_intake import Intake, refuse_body
from portal_gateway.frontend.http2_protocol import (
    MAX_STREAMS,
    header_list_size,
    server_protocol,
)
from portal_gateway.frontend.http2_stream import HTTP2Stream
from portal_gateway.frontend.http2_turns import REQUEST, FrameTurns
from portal_gateway.frontend.http2_waits import BODY_RATE, STALL, Waits
from portal_gateway.frontend.outlet import Outlet, Transport
from portal_gateway.frontend.peer_host import client_host
from portal_gateway.frontend.request import Request
from portal_gateway.relay.transport_buffers import limit_unsent
from portal_gateway.relay.turn_writes import write_in_turn
from portal_gateway.wire.http2_frames import (
    BadFrames,
    Frame,
    FrameType,
)
from portal_gateway.wire.http2_patience import Patience
from portal_gateway.wire.http_fields import Headers

if TYPE_CHECKING:
    from portal_gateway.frontend.site import Site

__all__ = ["HTTP2Connection"]

_log = Logger(__name__)

_MEANINGFUL = (DataReceived, RequestReceived, StreamEnded, StreamReset, TrailersReceived)

_GOAWAY_LEAST = 8

_ANY_STREAM = 2**31 - 1
"""The last stream of a GOAWAY that only says that another one comes."""


def _waiting_since(stream: HTTP2Stream) -> float:
    return stream.waiting_since


class HTTP2Connection(Protocol):
    """Reads requests and has ``site`` answer them, as many at once as `MAX_STREAMS`."""

    transport: Transport  # type: ignore[assignment] # Twisted's ITransport lacks half of it
    client: IAddress
    server: IAddress
    client_host = ""
    is_secure = False

    _in_turn = False
    _scheduled = False
    _waits_for_turn = False
    _begun = False
    _in_header = False
    _closed = False
    _lost = False
    _draining = False
    _leaving = False
    _last_stream = 0
    _closing: Closing | None = None

    def __init__(self, site: "Site") -> None:
        self.site = site
        self._limits = site.limits
        self._seconds = site.seconds
        self._turns = FrameTurns(header_list_size(site.limits))
        self._deadlines = Deadlines(site.clock, self._expired)
        self._streams: dict[int, HTTP2Stream] = {}
        self._waits = Waits(
            site,
            self._deadlines,
            self._streams,
            refuse=self._refuse_slow,
            cut=self._cut_stalled,
        )
        self._ready: deque[HTTP2Stream] = deque()
        self.patience = Patience(
            site.seconds(), tokens=site.limits.http2_idle_frames, resets=site.limits.http2_resets
        )
        self._outlet: Outlet
        self._intake: Intake
        self._h2 = server_protocol(site.limits)

    # The transport.

    def connectionMade(self) -> None:
        """Both sides have agreed on HTTP/2."""
        transport = self.transport
        self.client = transport.getPeer()
        self.server = transport.getHost()
        self.client_host = client_host(self.client)
        self.is_secure = ISSLTransport.providedBy(transport)
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        limit_unsent(transport)
        write_in_turn(transport)
        self._intake = Intake(self.site, self.patience, self.client_host, self._reset_malformed)
        self._outlet = outlet = Outlet(transport, self)
        transport.registerProducer(outlet, streaming=True)
        self.site.connected(self)
        self._deadlines.set("header_timeout", self._seconds() + self._limits.header_timeout)
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._closed:
            if self._closing is not None:
                self._closing.drop(len(data))
            return
        self._turns.add(data)
        if not self._waits_for_turn:
            self._receive_frames()

    def _receive_frames(self) -> None:
        """Handle what came, as much as one turn may."""
        turns = self._turns
        self._in_turn = True
        try:
            turns.begin()
            # A frame that fails the connection ends it for all that follow.
            while not self._closed and (frame := turns.take()) is not None:
                self._receive_frame(frame)
        except BadFrames as bad:
            if bad.limit is not None:
                self.site.limit_hits[bad.limit] += 1
            self._fail(ErrorCodes(bad.code))
        except H2Error as error:
            self._count_broken(error)
            # The library has written its GOAWAY already.
            self._end_all("the client broke HTTP/2")
            self._shut()
        except Exception:  # noqa: BLE001 - no state is to be trusted after it
            _log.failure("a connection of HTTP/2 failed")
            self._fail(ErrorCodes.INTERNAL_ERROR)
        finally:
            self._in_turn = False
        self._flush()
        if self._closed:
            turns.clear()
        elif turns.is_over:
            self._waits_for_turn = True
            self.site.limit_hits["http2_turn"] += 1
            self.transport.pauseProducing()
            self.site.turns.add(self)

    def turn_came(self) -> None:
        """Handle what comes next, as much as one turn may."""
        self._waits_for_turn = False
        if self._lost:
            return
        self._receive_frames()
        if not self._waits_for_turn:
            # Behind the writes of this turn: the end of what the client sends comes after them.
            self.site.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not self._lost and not self._waits_for_turn:
            self.transport.resumeProducing()

    def _count_broken(self, error: H2Error) -> None:
        if isinstance(error, DenialOfServiceError):
            # The fields of one header block are longer than `header_list_size`.
            self.site.limit_hits["header"] += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """The client has gone, or the connection was closed from here."""
        self._lost = True
        self._closed = True
        self._deadlines.stop()
        self._outlet.discard()
        self._end_all("the client went away")
        self.site.disconnected(self)

    def _end_all(self, why: str) -> None:
        streams = list(self._streams.values())
        self._streams.clear()
        self._ready.clear()
        for stream in streams:
            stream.drop()
            if stream.request is not None:
                stream.request.disconnected(fault("bad_request", why))

    # Frames in.

    def _receive_frame(self, frame: Frame) -> None:
        if not self._begun:
            if frame.type != FrameType.SETTINGS:
                self._fail(ErrorCodes.PROTOCOL_ERROR)
                return
            self._begun = True
        if frame.type == FrameType.GOAWAY and not self._in_header:
            self._receive_goaway(frame)
            return
        events = self._h2.receive_frame(frame, in_header=self._in_header)
        if frame.type in {FrameType.HEADERS, FrameType.CONTINUATION}:
            self._in_header = not frame.ends_headers
        if not self._in_header:
            # The next header, or the rest of a frame, has its own time.
            self._deadlines.clear("header_timeout")
        means = False
        for event in events:
            means = means or isinstance(event, _MEANINGFUL)
            try:
                self._receive_event(event)
            except Exception:
                stream_id = getattr(event, "stream_id", None)
                if not stream_id:
                    raise
                self._end_failed(stream_id)
            if self._closed:
                return
        self.patience.take(frame, self._seconds(), meant_something=means)
        self._check_patience()

    def _receive_goaway(self, frame: Frame) -> None:
        # The library would send nothing any more, but requests are still to be answered.
        if frame.stream_id or frame.length < _GOAWAY_LEAST:
            self._fail(ErrorCodes.PROTOCOL_ERROR)
            return
        self.patience.take(frame, self._seconds(), meant_something=False)
        self._check_patience()
        self._go_away()

    def _receive_event(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self._receive_data(event)
        elif isinstance(event, RequestReceived):
            assert event.headers is not None
            self._begin(event.stream_id, event.headers, ends=event.stream_ended is not None)
        elif isinstance(event, StreamEnded):
            stream = self._streams.get(event.stream_id)
            if stream is not None and not stream.ended:
                self._intake.receive_end(stream, [])
        elif isinstance(event, TrailersReceived):
            self._receive_trailers(event)
        elif isinstance(event, WindowUpdated):
            if event.stream_id:
                self._wake(self._streams.get(event.stream_id))
            else:
                self._wake_all()
        elif isinstance(event, RemoteSettingsChanged):
            self._receive_settings(event)
        elif isinstance(event, StreamReset):
            self._receive_reset(event)

    def _receive_data(self, event: DataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        credit = event.flow_controlled_length or 0
        if stream is None:
            self._h2.acknowledge_received_data(credit, event.stream_id)
        else:
            self._intake.receive_data(stream, event.data or b"", credit)

    def _receive_trailers(self, event: TrailersReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            self._intake.receive_trailers(stream, event.headers or [])

    def _receive_settings(self, event: RemoteSettingsChanged) -> None:
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            self._wake_all()

    def _receive_reset(self, event: StreamReset) -> None:
        """By the client, or by the library for what the client did."""
        self.patience.reset()
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            request = stream.request
            self._forget(stream)
            if request is not None:
                request.disconnected(fault("bad_request", "the client took the request back"))
        self._check_patience()

    # Requests in.

    def _begin(self, stream_id: int, fields: Headers, *, ends: bool) -> None:
        if self._leaving or len(self._streams) >= MAX_STREAMS:
            # Nothing was done for it: the client may ask again, elsewhere or later.
            self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            if not self._leaving:
                self.patience.reset()
            return
        self._deadlines.clear("idle_timeout")
        self._last_stream = stream_id
        stream = HTTP2Stream(self, stream_id, ended=ends)
        self._streams[stream_id] = stream
        self._turns.spend(REQUEST)
        self._intake.begin(stream, fields, ends=ends)
        self._check_patience()
        if self.site.draining:
            self.drain()

    # What streams call.

    def touch(self, stream: HTTP2Stream | None = None) -> None:
        """There is something to send, for ``stream`` or for all: at the end of this turn."""
        if stream is not None and not stream.ready:
            self._give_turn(stream)
        if not self._in_turn and not self._scheduled:
            self._scheduled = True
            self.site.call_soon(self._flush_soon)

    def send_informational(self, stream: HTTP2Stream, status: int, fields: Headers) -> None:
        """Send a 1xx, before the head of the response."""
        if self._streams.get(stream.id) is stream:
            self._h2.send_headers(stream.id, [(b":status", b"%d" % status), *fields])
            self.touch()

    def give_credit(self, stream: HTTP2Stream, size: int) -> None:
        """So much of the body was taken; the client may send as much more."""
        if size and not self._closed:
            self._h2.acknowledge_received_data(size, stream.id)

    def reset_failed(self, stream: HTTP2Stream) -> None:
        """The response cannot be completed, which is not the client's doing."""
        self._reset(stream, ErrorCodes.INTERNAL_ERROR)

    def response_sent(self, stream: HTTP2Stream) -> None:
        """Everything was written; a body that is still coming is not wanted (RFC 9113 8.1)."""
        if stream.ended:
            self._forget(stream)
        else:
            self._reset(stream, ErrorCodes.NO_ERROR)

    def _reset_malformed(self, stream: HTTP2Stream) -> None:
        self._reset(stream, ErrorCodes.PROTOCOL_ERROR)

    def _reset(self, stream: HTTP2Stream, code: ErrorCodes) -> None:
        if self._streams.get(stream.id) is not stream:
            return
        if not self._closed:
            with suppress(H2Error):  # the library may have closed it
                self._h2.reset_stream(stream.id, code)
        self._forget(stream)
        self.touch()

    def _end_failed(self, stream_id: int) -> None:
        """End one stream because of an exception out of its delivery; the others go on.

        This is the one place for exceptions of whatever is called for a frame, and for what a
        stream has to send.
        """
        stream = self._streams.get(stream_id)
        request = None if stream is None else stream.request
        request_id = None if request is None else request.exchange.request_id
        _log.failure("a stream of HTTP/2 failed", request_id=request_id)
        if stream is None:
            with suppress(H2Error):
                self._h2.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
            return
        self.reset_failed(stream)
        if request is not None and not request.over:
            request.exchange.error = "internal_error"
            request.disconnected(fault("internal_error", "the stream failed"))

    def _forget(self, stream: HTTP2Stream) -> None:
        del self._streams[stream.id]
        if stream.ready:
            self._ready.remove(stream)
        stream.drop()
        self.give_credit(stream, stream.take_uncredited())
        if not self._streams and not self._closed:
            if self._leaving:
                self.touch()
            else:
                self._deadlines.set("idle_timeout", self._seconds() + self._limits.idle_timeout)

    # Frames out.

    def _wake(self, stream: HTTP2Stream | None) -> None:
        if stream is not None and stream.queued:
            self._give_turn(stream)

    def _wake_all(self) -> None:
        # Who has waited longest comes first: a narrow window is shared, and starves nobody.
        waiting = [stream for stream in self._streams.values() if stream.queued]
        if len(waiting) > 1:
            waiting.sort(key=_waiting_since)
        for stream in waiting:
            self._give_turn(stream)

    def _give_turn(self, stream: HTTP2Stream) -> None:
        if not stream.ready:
            stream.ready = True
            self._ready.append(stream)

    def _flush_soon(self) -> None:
        self._scheduled = False
        self._flush()

    def _flush(self) -> None:
        """Write what streams have, one frame of each in turn, as far as the client takes it."""
        if self._lost:
            return
        outlet = self._outlet
        self._in_turn = True
        try:
            if not self._closed:
                self._write_streams()
            outlet.hold(self._h2.data_to_send())
            outlet.flush()
        finally:
            self._in_turn = False
        self._watch_reading()
        if self._leaving and not self._streams and not self._closed:
            self._shut()
        elif self._closed and self._closing is None and not outlet.blocked:
            self._close_transport()

    def _write_streams(self) -> None:
        ready, outlet, h2 = self._ready, self._outlet, self._h2
        while ready and not outlet.blocked:
            stream = ready.popleft()
            stream.ready = False
            try:
                if stream.write(h2):
                    self._give_turn(stream)
                elif stream.queued:
                    self._waits.watch_queue(stream)
                outlet.hold(h2.data_to_send())
                # What its maker writes now is written in the same turn.
                stream.unblock()
            except Exception:  # noqa: BLE001 - it ends this stream, not the others
                self._end_failed(stream.id)

    # Whether the client takes what is sent: what the outlet calls.

    def output_blocked(self) -> None:
        """The client is slower than we are."""
        if not self._closed:
            self._waits.connection_blocked()
            self._deadlines.set("write_stall", self._seconds() + self._limits.write_stall)

    def output_drained(self) -> None:
        """Everything has been sent."""
        self._deadlines.clear("write_stall")
        if self._closed:
            self._close_transport()
        else:
            self._waits.connection_drained()
            self._flush()

    # Ending.

    def requests(self) -> list[Request]:
        """Those that have no complete answer yet."""
        found = [stream.request for stream in self._streams.values()]
        return [request for request in found if request is not None]

    def drain(self) -> None:
        """Tell the client that its next requests belong on another connection.

        What it sent before it could know is answered: only after `CROSSING_TIME` it is told which
        stream was the last (RFC 9113 section 6.8). A client that has just come is waited for, and
        told with its first request.
        """
        if self._draining or self._leaving or self._closed:
            return
        if self._last_stream:
            self._draining = True
            self._deadlines.set("last_head", self._seconds() + CROSSING_TIME)
            self._send_goaway(_ANY_STREAM)
        elif "last_head" not in self._deadlines:
            self._deadlines.set("last_head", self._seconds() + LAST_HEAD)

    def close_when_idle(self) -> None:
        """The same, and the connection closes with the last response."""
        self.drain()

    def _go_away(self) -> None:
        """Take no more requests, and close with the last response that is under way."""
        if self._leaving or self._closed:
            return
        self._leaving = True
        self._deadlines.clear("idle_timeout")
        self._send_goaway(self._last_stream)

    def _send_goaway(self, last_stream: int) -> None:
        # Not through the library, which would send nothing after it.
        goaway = GoAwayFrame(0, last_stream_id=last_stream, error_code=ErrorCodes.NO_ERROR)
        self._outlet.hold(self._h2.data_to_send() + goaway.serialize())
        self.touch()

    def abort(self) -> None:
        """Cut the connection."""
        if self._lost:
            return
        self._closed = True
        self._deadlines.stop()
        self._outlet.discard()
        self._end_all("the connection was cut")
        self.transport.abortConnection()

    def _check_patience(self) -> None:
        """End a connection that has sent too much that carries nothing."""
        limit = self.patience.exhausted
        if limit is not None and not self._closed:
            self.site.limit_hits[limit] += 1
            self._fail(ErrorCodes.ENHANCE_YOUR_CALM)

    def _fail(self, code: ErrorCodes) -> None:
        """Tell the client what it did, and close."""
        if self._closed:
            return
        self._h2.close_connection(code, last_stream_id=self._last_stream)
        self._shut()
        self._end_all("the client broke HTTP/2")
        self.touch()

    def _shut(self) -> None:
        """Read nothing more, and close when everything has been sent."""
        self._closed = True
        self._ready.clear()
        self._deadlines.stop()
        self._deadlines.set("close", self._seconds() + self._limits.write_stall)
        self.touch()

    def _close_transport(self) -> None:
        if self._closing is None and not self._lost:
            self._closing = Closing(
                self.transport,
                self._deadlines,
                self._seconds(),
                is_secure=self.is_secure,
                more_may_come=True,
            )

    # Deadlines.

    def _watch_reading(self) -> None:
        """Set the deadlines of what the client has begun to send."""
        if self._closed:
            return
        deadlines, limits, cutter = self._deadlines, self._limits, self._turns.cutter
        partial = self._in_header or (cutter.has_pending and not cutter.in_data)
        if (partial or not self._begun) and "header_timeout" not in deadlines:
            deadlines.set("header_timeout", self._seconds() + limits.header_timeout)
        if self._streams:
            self._waits.watch_bodies()
        elif self._begun and "idle_timeout" not in deadlines:
            deadlines.set("idle_timeout", self._seconds() + limits.idle_timeout)

    def _refuse_slow(self, stream: HTTP2Stream, error: GatewayError) -> None:
        try:
            refuse_body(stream, error)
        except Exception:  # noqa: BLE001 - the others are looked at after it
            self._end_failed(stream.id)

    def _cut_stalled(self, stream: HTTP2Stream) -> None:
        request = stream.request
        self._reset(stream, ErrorCodes.CANCEL)
        if request is not None:
            request.disconnected(fault("bad_request", "the client took nothing"))

    def _expired(self, deadline: str) -> None:
        if deadline == "linger":
            assert self._closing is not None
            self._closing.linger_over()
        elif deadline == "close":
            self.abort()
        elif deadline == BODY_RATE:
            self._waits.check_rates()
        elif deadline == STALL:
            self._waits.check_stalls()
        elif deadline == "last_head":
            self._go_away()
        else:
            self.site.limit_hits[deadline] += 1
            if deadline == "write_stall":
                self.abort()
            elif deadline == "header_timeout":
                self._fail(ErrorCodes.NO_ERROR)
            else:
                self._go_away()
