"""One client's HTTP/1.1 connection: requests come in, responses go out in the same order.

A request is read when the one before it has been answered; until then the bytes of the next ones
stay where they are, at most one read of the socket, and the socket is not read. Nothing here waits
without a deadline: see `ChannelLimits`. What a request means is for `StreamingRequest`; this is its
`Stream` over HTTP/1.1 (RFC 9112).
"""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import (
    IAddress,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from portal_gateway.errors import GatewayError, fault
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.deadlines import Deadlines
from portal_gateway.frontend.request import Request
from portal_gateway.wire.http1_request import (
    BadRequest,
    RequestHead,
    RequestLimits,
    RequestReader,
)
from portal_gateway.wire.http1_writing import (
    CHUNK_END,
    CONTINUE,
    chunk,
    chunk_head,
    frame_response,
    last_chunk,
    serialise_response,
)
from portal_gateway.wire.http_fields import Headers, end_to_end

if TYPE_CHECKING:
    from portal_gateway.frontend.site import Site

__all__ = ["ChannelLimits", "HTTPChannel", "Transport"]

_PIECE = 64 * 1024
"""Bytes handed to the transport at once. A transport asks for a pause above as many, so it never
holds more than twice that, and the write stall is about that much."""

_SMALL = 8 * 1024
"""Bytes up to which a chunk is joined with its framing; copying more costs more than writing."""

_DRAIN_BOUND = 64 * 1024
"""Bytes of a request's body that are still read when nobody wants it, to keep the connection."""

_LINGER_BOUND = 1024 * 1024
"""Bytes that are read and dropped after the last response, so that the client reads that response:
closing a socket with unread input resets it, and the reset may overtake the response
(RFC 9112 section 9.6)."""

_LINGER_TIME = 2.0
"""Seconds for that."""

_BODY, _PIPELINE = 1, 2
"""Why the transport is paused: nobody takes the body; the next request has to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLimits(RequestLimits):
    """What one client may cost. Times are seconds, sizes bytes.

    ``header_timeout``: from the connection, or from the first byte of a later request, to the end
    of its header, however slowly it trickles (408). ``idle_timeout``: a connection without a
    request. ``body_rate``: bytes a second that a body has to bring on average over each
    ``body_rate_window`` in which it is being read (408). ``write_stall``: the client has to take
    what waits for it, at most 128 KiB, in this time. ``connections``: open ones in all,
    ``connections_per_address``: from one address; what comes above is dropped at once.
    """

    header_timeout: float = 10.0
    idle_timeout: float = 75.0
    body_rate: int = 500
    body_rate_window: float = 10.0
    write_stall: float = 30.0
    connections: int = 10_000
    connections_per_address: int | None = 2_000


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


@implementer(IPushProducer)
class HTTPChannel(TwistedProtocol):
    """Reads requests, has ``site`` answer them, writes responses.

    Toward its transport it is a push producer; toward each request its stream. ``client``,
    ``server`` and ``is_secure`` are of the connection, ``client_host`` is the client's address
    without its port, empty for a UNIX socket.
    """

    transport: Transport  # type: ignore[assignment] # Twisted's ITransport lacks half of it
    client: IAddress
    server: IAddress
    client_host = ""
    is_secure = False

    _request: Request | None = None
    _keep_alive = True
    _chunked = False
    _producer: IPushProducer | None = None
    _in_read = False
    _paused = 0
    _congested = False
    _next_due = False
    _discard_left: int | None = None
    _window_bytes = 0
    _closing = False
    _unread = False
    _lingered = 0
    _lost = False

    def __init__(self, site: "Site") -> None:
        self._site = site
        self._limits = site.limits
        self._seconds = site.seconds
        self._reader = RequestReader(self, site.limits)
        self._deadlines = Deadlines(site.clock, self._expired)
        self._held: list[bytes] = []
        self._held_size = 0
        self._queue: deque[bytes | memoryview] = deque()
        self._first_byte_at: float | None = None

    # The transport.

    def connectionMade(self) -> None:
        """The connection stands (for TLS: before its handshake)."""
        transport = self.transport
        self.client = transport.getPeer()
        self.server = transport.getHost()
        self.client_host = getattr(self.client, "host", "")
        self.is_secure = ISSLTransport.providedBy(transport)
        if ITCPTransport.providedBy(transport):
            # Responses are written whole or as their parts come: nothing is gained by waiting.
            transport.setTcpNoDelay(True)
        transport.registerProducer(self, streaming=True)
        self._site.connected(self)
        self._deadlines.set("header_timeout", self._seconds() + self._limits.header_timeout)

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._closing:
            self._linger(len(data))
            return
        self._in_read = True
        try:
            self._reader.receive_data(data)
        except BadRequest as error:
            self._refuse(error)
        finally:
            self._in_read = False
        self._settle()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """The client has gone, or the connection was closed from here."""
        self._lost = True
        self._closing = True
        self._deadlines.stop()
        self._reader.stop()
        self._held.clear()
        self._queue.clear()
        self._producer = None
        self._site.disconnected(self)
        self._drop_request("the client went away")

    def _drop_request(self, why: str) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.disconnected(fault("bad_request", why))

    # Requests in: what the reader calls.

    def request_head(self, head: RequestHead) -> None:
        """A request has begun; have it answered."""
        site = self._site
        deadlines = self._deadlines
        deadlines.clear("idle_timeout")
        deadlines.clear("header_timeout")
        started = self._first_byte_at
        if started is None:
            started = self._seconds()
        self._first_byte_at = None
        self._keep_alive = head.keep_alive
        offered = head.values(b"x-request-id")
        agent = head.index.get(b"user-agent")
        exchange = Exchange(
            site.make_request_id(offered[0].decode("latin-1") if len(offered) == 1 else None),
            self.client_host,
            started,
            method=head.method.decode("ascii"),
            path=head.target.partition(b"?")[0].decode("ascii"),
            user_agent="" if agent is None else agent.decode("latin-1"),
        )
        self._request = request = Request(self, site, head, exchange)
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
        if self._held:
            self._flush()
        if self._closing:
            return
        reader = self._reader
        if reader.held:
            if reader.has_pending:
                self._pause(_PIPELINE)
            return
        if self._paused:
            self._resume(_PIPELINE)
        if reader.in_body:
            self._watch_body()
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

    def _watch_body(self) -> None:
        """Hold the body to its rate from now on, if it is being read."""
        if self._paused or "body_rate" in self._deadlines or self._closing:
            return
        request = self._request
        if request is not None and request.awaits_continue:
            return
        self._window_bytes = 0
        self._deadlines.set("body_rate", self._seconds() + self._limits.body_rate_window)

    def _go_on(self) -> None:
        """The last request and its response are complete: read the next one."""
        if self._closing:
            return
        if self._congested or self._queue:
            # A client that does not take its responses cannot make more of them.
            self._next_due = True
            return
        self._next_due = False
        if self._site.stopping:
            self._close()
            return
        try:
            self._reader.next_request()
        except BadRequest as error:
            self._refuse(error)
        if not self._in_read:
            self._settle()

    def _refuse(self, bad: BadRequest) -> None:
        """The client broke the protocol or a limit; there is no reading on."""
        if bad.limit is not None:
            self._site.limit_hits[bad.limit] += 1
        self._refuse_with(fault(bad.code, bad.detail))

    def _refuse_with(self, error: GatewayError) -> None:
        self._reader.stop()
        self._keep_alive = False
        request = self._request
        if request is not None:
            request.refuse(error)
        elif self._discard_left is None:
            self._answer_refused(error)
        if not self._closing:
            self._close()

    def _answer_refused(self, error: GatewayError) -> None:
        """Answer for a request that never became one."""
        site = self._site
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
        head = frame_response(
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
        self._write(head.data + body)
        exchange.bytes_out = len(body)
        exchange.first_byte = exchange.finished = now
        site.exchange_over(exchange)

    # Responses out: the stream of the current request.

    def send_continue(self) -> None:
        """Ask for the body."""
        self._write(CONTINUE)
        self._watch_body()

    def send_informational(self, status: int, reason: bytes, headers: Headers) -> None:
        """Send a 1xx, but not to HTTP/1.0 (RFC 9110 section 15.2)."""
        request = self._request
        if request is not None and request.head.version == b"1.1":
            self._write(serialise_response(status, reason, end_to_end(headers)))

    def send_head(
        self, status: int, reason: bytes, headers: Headers, length: int | None, *, has_body: bool
    ) -> None:
        """Write the head, together with what follows in the same turn of the reactor."""
        request = self._request
        assert request is not None
        head = request.head
        keep_alive = self._keep_alive and not self._site.stopping
        if keep_alive and (request.awaits_continue or self._leaves_too_much(request)):
            # Whether the body comes cannot be known, or it is not worth being read to its end.
            keep_alive = False
        framed = frame_response(
            status,
            reason,
            headers,
            length=length,
            has_body=has_body,
            is_1_1=head.version == b"1.1",
            keep_alive=keep_alive,
        )
        self._keep_alive = framed.keep_alive
        self._chunked = framed.chunked
        self._hold(framed.data)
        if not self._in_read:
            self._site.call_soon(self._flush)

    def _leaves_too_much(self, request: Request) -> bool:
        length = request.head.content_length
        if not length or not self._reader.in_body:
            return False
        return length - request.bytes_in > _DRAIN_BOUND

    def send_data(self, data: bytes) -> None:
        """Write a part of the body."""
        if self._held:
            if self._chunked:
                self._held.append(chunk_head(len(data)))
                self._hold(data)
                self._held.append(CHUNK_END)
            else:
                self._hold(data)
            if self._held_size > _PIECE:
                self._flush()
        elif not self._chunked:
            self._write(data)
        elif len(data) <= _SMALL:
            self._write(chunk(data))
        else:
            self._write(chunk_head(len(data)))
            self._write(data)
            self._write(CHUNK_END)

    def send_end(self, trailers: Headers) -> None:
        """Write what is left."""
        if self._chunked:
            self._chunked = False
            end = last_chunk(trailers)
            if self._held:
                self._held.append(end)
            else:
                self._write(end)
        if self._held:
            self._flush()
        self._producer = None

    def response_recorded(self) -> None:
        """Go on with the next request, or close."""
        self._request = None
        reader = self._reader
        if not self._keep_alive:
            self._close()
        elif reader.held:
            self._go_on()
        elif not self._closing:
            # The answer came before the end of the body: its rest is read, if it is not too long.
            self._discard_left = _DRAIN_BOUND
            self._resume(_BODY)
            if not self._in_read:
                self._settle()

    def abort(self) -> None:
        """Cut the connection."""
        if self._lost:
            return
        self._deadlines.stop()
        self._held.clear()
        self._queue.clear()
        self._closing = True
        self._reader.stop()
        self._producer = None
        request, self._request = self._request, None
        if request is not None:
            request.disconnected(fault("bad_request", "the connection was cut"))
        self.transport.abortConnection()

    def register_producer(self, producer: IPushProducer) -> None:
        """Pause and resume ``producer`` with the transport."""
        self._producer = producer
        if self._congested or self._queue:
            producer.pauseProducing()

    def unregister_producer(self) -> None:
        """There is nothing to pause any more."""
        self._producer = None

    def pause_reading(self) -> None:
        """Nobody takes the body."""
        self._pause(_BODY)

    def resume_reading(self) -> None:
        """Somebody does again."""
        self._resume(_BODY)

    def _pause(self, why: int) -> None:
        if not self._paused and not self._lost:
            self.transport.pauseProducing()
            # The rate is the client's to keep only while it is being read.
            self._deadlines.clear("body_rate")
        self._paused |= why

    def _resume(self, why: int) -> None:
        if not self._paused & why:
            return
        self._paused &= ~why
        if not self._paused and not self._lost:
            self.transport.resumeProducing()
            if self._reader.in_body:
                self._watch_body()

    # Writing.

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_size += len(data)

    def _flush(self) -> None:
        held = self._held
        if held:
            data = held[0] if len(held) == 1 else b"".join(held)
            held.clear()
            self._held_size = 0
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self._queue or self._congested:
            self._queue.append(data)
        elif len(data) > _PIECE:
            self._queue.append(memoryview(data))
            self._write_queue()
        else:
            self.transport.write(data)

    def _write_queue(self) -> None:
        """Hand over what waits until the transport has enough."""
        queue = self._queue
        while queue and not self._congested:
            data = queue.popleft()
            if len(data) > _PIECE:
                queue.appendleft(memoryview(data)[_PIECE:])
                data = memoryview(data)[:_PIECE]
            self.transport.write(bytes(data))

    def pauseProducing(self) -> None:
        """The transport has enough: the client is slower than we are."""
        if self._congested:
            return
        self._congested = True
        if not self._closing:
            self._deadlines.set("write_stall", self._seconds() + self._limits.write_stall)
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The transport has sent everything."""
        self._congested = False
        self._deadlines.clear("write_stall")
        self._write_queue()
        if self._congested or self._queue:
            return
        if self._closing:
            self._close_transport()
        elif self._next_due:
            self._go_on()
        elif self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is gone: connectionLost tells the same."""

    # Ending.

    def close_when_idle(self) -> None:
        """Close now, or with the response that is under way."""
        if self._closing:
            return
        self._keep_alive = False
        if self._request is None and self._discard_left is None:
            self._close()

    def _close(self) -> None:
        """Close when everything has been sent, without a reset that could overtake it."""
        self._closing = True
        reader = self._reader
        self._unread = not reader.held or reader.has_pending
        reader.stop()
        if self._lost:
            return
        self._deadlines.stop()
        self._deadlines.set("close", self._seconds() + self._limits.write_stall)
        if not (self._congested or self._queue):
            self._close_transport()

    def _close_transport(self) -> None:
        transport = self.transport
        transport.unregisterProducer()
        # Closing one half of TLS's transport would cut off its own closing alert.
        half = None if self.is_secure else getattr(transport, "loseWriteConnection", None)
        if self._unread and half is not None:
            if self._paused:
                self._paused = 0
                transport.resumeProducing()
            self._deadlines.set("linger", self._seconds() + _LINGER_TIME)
            half()
        else:
            transport.loseConnection()

    def _linger(self, size: int) -> None:
        self._lingered += size
        if self._lingered > _LINGER_BOUND and "linger" in self._deadlines:
            self._expired("linger")

    def _expired(self, deadline: str) -> None:
        if deadline == "linger":
            self._deadlines.clear("linger")
            self.transport.loseConnection()
        elif deadline == "close":
            self.abort()
        elif deadline == "body_rate":
            self._check_rate()
        else:
            self._site.limit_hits[deadline] += 1
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
            self._watch_body()
            return
        self._site.limit_hits["body_rate"] += 1
        self._refuse_with(
            fault("request_timeout", f"the body came at less than {limits.body_rate} bytes/s")
        )
