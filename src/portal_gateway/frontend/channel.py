"""One client's HTTP/1.1 connection: requests come in, responses go out in the same order.

A request is read when the one before it has been answered; until then the bytes of the next ones
stay where they are, at most one read of the socket, and the socket is not read. Nothing here waits
without a deadline: see `ChannelLimits`. What a request means is for `StreamingRequest`, and how a
response is written for `HTTP1Stream` (RFC 9112).
"""

from typing import TYPE_CHECKING, Final

from twisted.internet.interfaces import IAddress, ISSLTransport, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError, fault
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.closing import Closing
from portal_gateway.frontend.deadlines import CROSSING_TIME, LAST_HEAD, Deadlines
from portal_gateway.frontend.http1_stream import DRAIN_BOUND, HTTP1Stream
from portal_gateway.frontend.limits import ChannelLimits
from portal_gateway.frontend.outlet import Outlet, Transport
from portal_gateway.frontend.peer_host import client_host
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.taken_stream import TakenStream
from portal_gateway.observe.request_ids import offered_id
from portal_gateway.relay.stream_protocol import StreamProtocol
from portal_gateway.relay.transport_buffers import limit_unsent
from portal_gateway.relay.turn_writes import write_in_turn
from portal_gateway.wire.http1_request import BadRequest, RequestHead, RequestReader
from portal_gateway.wire.http1_writing import frame_response
from portal_gateway.wire.http_fields import Headers

if TYPE_CHECKING:
    from portal_gateway.frontend.site import Site

__all__ = ["PIPELINED", "ChannelLimits", "HTTPChannel"]

PIPELINED: Final = 8
"""Requests of one connection that are answered in one turn of the reactor: a read has room for two
thousand, and the other clients are served between two turns."""

_BODY, _PIPELINE, _TURN = 1, 2, 4
"""Reasons to pause the transport: nobody takes the body; the next request has to wait, for the
answer before it or for a turn."""


class HTTPChannel(StreamProtocol[Transport]):
    """Reads requests and has ``site`` answer them.

    ``client``, ``server`` and ``is_secure`` are of the connection, ``client_host`` is the client's
    address without its port, empty for a UNIX socket.
    """

    client: IAddress
    server: IAddress
    client_host = ""
    is_secure = False
    in_read = False
    """Whether the outlet is flushed anyway when the call that is under way returns."""

    _request: Request | None = None
    _paused = 0
    _next_due = False
    _answered = 0
    _discard_left: int | None = None
    _window_bytes = 0
    _closed = False
    _closing: Closing | None = None
    _taken: TakenStream | None = None
    _leaving = False
    _more_may_come = False
    _lost = False

    def __init__(self, site: "Site") -> None:
        self.site = site
        self._limits = site.limits
        self._seconds = site.seconds
        self._reader = RequestReader(self, site.limits)
        self._deadlines = Deadlines(site.clock, self._expired)
        self._outlet: Outlet
        self._stream: HTTP1Stream
        self._first_byte_at: float | None = None

    # The transport.

    def connectionMade(self) -> None:
        """The connection stands (for TLS: before its handshake)."""
        transport = self.transport
        self.client = transport.getPeer()
        self.server = transport.getHost()
        self.client_host = client_host(self.client)
        self.is_secure = ISSLTransport.providedBy(transport)
        if ITCPTransport.providedBy(transport):
            # Responses are written whole or as their parts come: nothing is gained by waiting.
            transport.setTcpNoDelay(True)
        limit_unsent(transport)
        write_in_turn(transport)
        self._outlet = outlet = Outlet(transport, self)
        self._stream = HTTP1Stream(self, outlet)
        transport.registerProducer(outlet, streaming=True)
        self.site.connected(self)
        self._deadlines.set("header_timeout", self._seconds() + self._limits.header_timeout)

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._closed:
            if self._closing is not None:
                self._closing.drop(len(data))
            return
        if self._taken is not None:
            self._taken.receive_data(data)
            return
        self._answered = 0
        self.in_read = True
        try:
            self._reader.receive_data(data)
        except BadRequest as error:
            self._refuse(error)
        finally:
            self.in_read = False
        self._settle()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """The client has gone, or the connection was closed from here."""
        self._lost = True
        self._closed = True
        self._deadlines.stop()
        self._reader.stop()
        self._outlet.discard()
        self.site.disconnected(self)
        self._drop_request("the client went away")

    def _drop_request(self, why: str) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.disconnected(fault("bad_request", why))

    # Requests in: what the reader calls.

    def request_head(self, head: RequestHead) -> None:
        """A request has begun; have it answered."""
        site = self.site
        deadlines = self._deadlines
        deadlines.clear("idle_timeout")
        deadlines.clear("header_timeout")
        started = self._first_byte_at
        if started is None:
            started = self._seconds()
        self._first_byte_at = None
        path, _, query = head.target.partition(b"?")
        agent = head.index.get(b"user-agent")
        exchange = Exchange(
            site.make_request_id(offered_id(head.values(b"x-request-id"), head.index)),
            self.client_host,
            started,
            method=head.method.decode("ascii"),
            path=path.decode("ascii"),
            query=query.decode("ascii"),
            user_agent="" if agent is None else agent.decode("latin-1"),
        )
        self._window_bytes = 0
        self._request = request = Request(self._stream, site, head, exchange)
        self._stream.begin(request)
        site.render(request)

    def request_data(self, data: bytes) -> None:
        """A part of its body."""
        self._window_bytes += len(data)
        if self._request is not None:
            self._request.receive_data(data)
        elif self._discard_left is not None:
            self._discard_left -= len(data)
            if self._discard_left < 0:
                self._close()

    def request_end(self, trailers: Headers) -> None:
        """Its body is complete."""
        self._deadlines.clear("body_rate")
        if self._request is not None:
            self._request.receive_end(trailers)
        elif self._discard_left is not None:
            self._discard_left = None
            self._go_on()

    def _settle(self) -> None:
        """After the reader has run: write what is held, set pauses and deadlines to its state."""
        self._outlet.flush()
        if self._closed:
            return
        reader = self._reader
        if reader.held:
            if reader.has_pending:
                self._pause(_PIPELINE)
            elif self._paused:
                # Only a transport that is read tells that its client has gone.
                self._resume(_PIPELINE)
            return
        if self._paused:
            self._resume(_PIPELINE)
        if reader.in_body:
            self.watch_body()
        else:
            self._await_head(begun=reader.has_pending)

    def _await_head(self, *, begun: bool) -> None:
        deadlines = self._deadlines
        if begun and self._first_byte_at is None:
            self._first_byte_at = now = self._seconds()
            deadlines.clear("idle_timeout")
            if "header_timeout" not in deadlines:
                deadlines.set("header_timeout", now + self._limits.header_timeout)
        elif not begun and "header_timeout" not in deadlines and "idle_timeout" not in deadlines:
            deadlines.set("idle_timeout", self._seconds() + self._limits.idle_timeout)

    def watch_body(self) -> None:
        """Hold the body to its rate from now on, if it is being read."""
        if self._paused or "body_rate" in self._deadlines or self._closed:
            return
        request = self._request
        if request is not None and request.awaits_continue:
            return
        self._deadlines.set("body_rate", self._seconds() + self._limits.body_rate_window)

    def _go_on(self) -> None:
        """The last request and its response are complete: read the next one."""
        if self._closed:
            return
        if self._outlet.blocked:
            # A client that does not take its responses cannot make more of them.
            self._next_due = True
            return
        self._next_due = False
        self._answered += 1
        if self._answered >= PIPELINED:
            self.site.limit_hits["http1_turn"] += 1
            self._pause(_TURN)
            self.site.turns.add(self)
            return
        try:
            self._reader.next_request()
        except BadRequest as error:
            self._refuse(error)
        if not self.in_read:
            self._settle()

    def turn_came(self) -> None:
        """Answer what comes next, as much as one turn may."""
        self._answered = 0
        self._go_on()
        if self._answered < PIPELINED:
            # Answers are written at the end of this turn. The end of what the client sends, if it
            # were read before that, would have them thrown away.
            self.site.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._answered < PIPELINED:
            self._resume(_TURN)

    def _refuse(self, bad: BadRequest) -> None:
        """The client broke the protocol or a limit; there is no reading on."""
        if bad.limit is not None:
            self.site.limit_hits[bad.limit] += 1
        self._refuse_with(fault(bad.code, bad.detail))

    def _refuse_with(self, error: GatewayError) -> None:
        self._reader.stop()
        self._leaving = True
        request = self._request
        if request is not None:
            request.refuse(error)
        elif self._discard_left is None:
            self._answer_refused(error)
        if not self._closed:
            self._close()

    def _answer_refused(self, error: GatewayError) -> None:
        """Answer for a request that never became one."""
        site = self.site
        method, target = self._reader.request_line or (b"", b"")
        now = self._seconds()
        started = now if self._first_byte_at is None else self._first_byte_at
        exchange = Exchange(
            site.make_request_id(None),
            self.client_host,
            started,
            method=method.decode("ascii"),
            path=target.partition(b"?")[0].decode("ascii"),
        )
        exchange.error = error.cause.code
        status, headers, body = site.render_problem(error, exchange.request_id)
        exchange.status = status
        if site.security is not None:
            headers = site.security.added(headers, exchange, secure=self.is_secure, of_lease=False)
        head, _, _ = frame_response(
            status,
            site.reason(status),
            headers,
            length=len(body),
            has_body=True,
            is_1_1=True,
            keep_alive=False,
        )
        if method == b"HEAD":
            body = b""
        self._outlet.write(head + body)
        exchange.bytes_out = len(body)
        exchange.first_byte = exchange.finished = now
        site.exchange_over(exchange)

    # Responses out: what the stream calls.

    def response_over(self, *, keep_alive: bool) -> None:
        """Go on with the next request, or close."""
        self._request = None
        if not keep_alive or self._leaving:
            self._close()
        elif self._reader.held:
            self._go_on()
        elif not self._closed:
            # The answer came before the end of the body: its rest is read, if it is not too long.
            self._discard_left = DRAIN_BOUND
            self._resume(_BODY)
            if not self.in_read:
                self._settle()

    def take_over(self, request: Request) -> TakenStream:
        """The request under way is answered with 101: HTTP ends here, the deadlines stay."""
        self._taken = taken = TakenStream(self, self._outlet, request, self._reader.take_rest())
        if self._leaving:
            # The others were told when the gateway began to stop.
            self.site.call_soon(taken.shut_down)
        return taken

    def resume_taken(self) -> None:
        """Whoever has the connection now takes what the client sends."""
        self._resume(_PIPELINE)

    def abort(self) -> None:
        """Cut the connection."""
        if self._lost:
            return
        self._closed = True
        self._deadlines.stop()
        self._reader.stop()
        self._outlet.discard()
        self._drop_request("the connection was cut")
        self.transport.abortConnection()

    def pause_body(self) -> None:
        """Nobody takes the body."""
        self._pause(_BODY)

    def resume_body(self) -> None:
        """Somebody does again."""
        self._resume(_BODY)

    @property
    def in_body(self) -> bool:
        """Whether the body of the request is still being read."""
        return self._reader.in_body

    def _pause(self, why: int) -> None:
        if not self._paused and not self._lost:
            self.transport.pauseProducing()
            # The rate is the client's to keep only while it is being read.
            self._deadlines.clear("body_rate")
            self._window_bytes = 0
        self._paused |= why

    def _resume(self, why: int) -> None:
        if not self._paused & why:
            return
        self._paused &= ~why
        if not self._paused and not self._lost:
            self.transport.resumeProducing()
            if self._reader.in_body:
                self.watch_body()

    # Whether the client takes what is sent: what the outlet calls.

    def output_blocked(self) -> None:
        """The client is slower than we are."""
        if not self._closed:
            self._deadlines.set("write_stall", self._seconds() + self._limits.write_stall)

    def output_drained(self) -> None:
        """Everything has been sent."""
        self._deadlines.clear("write_stall")
        if self._closed:
            self._close_transport()
        elif self._next_due:
            self._go_on()

    # Ending.

    def requests(self) -> list[Request]:
        """The one that has no complete answer yet, if there is one."""
        return [] if self._request is None else [self._request]

    def drain(self) -> None:
        """Nothing is said before the next response, which tells that it is the last."""

    def close_when_idle(self) -> None:
        """Close with the response that is under way.

        A request that is on its way is waited for shortly, longer on a connection that has just
        come: nobody else will get it.
        """
        self._leaving = True
        if self._taken is not None:
            self._taken.shut_down()
        elif self._request is None and self._discard_left is None and not self._closed:
            waits = LAST_HEAD if "header_timeout" in self._deadlines else CROSSING_TIME
            self._deadlines.set("last_head", self._seconds() + waits)

    def _close(self) -> None:
        """Read nothing more, and close when everything has been sent."""
        self._closed = True
        reader = self._reader
        self._more_may_come = not reader.held or reader.has_pending
        reader.stop()
        if self._lost:
            return
        self._deadlines.stop()
        self._deadlines.set("close", self._seconds() + self._limits.write_stall)
        if not self._outlet.blocked:
            self._close_transport()

    def _close_transport(self) -> None:
        self._resume(_BODY | _PIPELINE | _TURN)
        self._closing = Closing(
            self.transport,
            self._deadlines,
            self._seconds(),
            is_secure=self.is_secure,
            more_may_come=self._more_may_come,
        )

    def _expired(self, deadline: str) -> None:
        if deadline == "linger":
            assert self._closing is not None
            self._closing.linger_over()
        elif deadline == "close":
            self.abort()
        elif deadline == "body_rate":
            self._check_rate()
        elif deadline == "last_head":
            # A header that has begun has a deadline of its own, a body and a response their ends.
            begun = self._first_byte_at is not None or self._request is not None
            if not begun and self._discard_left is None:
                self._close()
        else:
            self.site.limit_hits[deadline] += 1
            if deadline == "write_stall":
                self.abort()
            elif deadline == "header_timeout" and self._first_byte_at is not None:
                limit = self._limits.header_timeout
                self._refuse_with(
                    fault("request_timeout", f"the header did not arrive within {limit:g} s")
                )
            else:
                self._close()

    def _check_rate(self) -> None:
        limits = self._limits
        if self._window_bytes >= limits.body_rate * limits.body_rate_window:
            self._window_bytes = 0
            self.watch_body()
            return
        self.site.limit_hits["body_rate"] += 1
        self._refuse_with(
            fault("request_timeout", f"the body came at less than {limits.body_rate} bytes/s")
        )
