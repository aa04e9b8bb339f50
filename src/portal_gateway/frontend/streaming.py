"""One request and its response as streams both ways.

A `StreamingRequest` knows what holds in every version of HTTP: which responses have no body, that a
body is as long as it was announced, that an answer comes once, that the exchange is told once when
it is over. How it goes over the wire is its `Stream`'s matter: today the HTTP/1.1 channel, later an
HTTP/2 stream.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger

from portal_gateway.errors import GatewayError, fault
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.body import UNREAD_BOUND, BodyInlet, BodyReceiver
from portal_gateway.frontend.stream import Stream
from portal_gateway.wire.http1_request import RequestHead
from portal_gateway.wire.http_fields import Headers, with_replaced

if TYPE_CHECKING:
    from portal_gateway.frontend.site import Site
    from portal_gateway.frontend.taken_stream import TakenStream

__all__ = ["StreamingRequest"]

_log = Logger(__name__)

_FIRST_FINAL = 200
_LAST_STATUS = 599
_CONTINUE = 100
_SWITCHING_PROTOCOLS = 101

_WITHOUT_BODY = frozenset({204, 304})
"""Responses that never have a body, whatever their header says (RFC 9110 section 6.4.1)."""


class StreamingRequest:
    """A request, and the one response to it.

    ``head`` is what was parsed, ``exchange`` the record of it all. What is sent after the response
    is over, or after the client has gone, is ignored.
    """

    _inlet: BodyInlet | None = None
    _on_disconnect: Sequence[Callable[[], object]] = ()
    _producer: IPushProducer | None = None
    on_withdrawal: Callable[[GatewayError], object] | None = None
    """What `withdraw` calls instead of failing: for whoever can say good-bye."""
    _asked_for_body = False
    _head_sent = False
    _over = False
    _has_response_body = True
    answered_by_lease = False
    """Whether the answer is the lease's, not one of the gateway's own."""
    _response_left: int | None = None
    """Bytes of the response's announced body that are still to be sent."""

    def __init__(self, stream: Stream, site: "Site", head: RequestHead, exchange: Exchange) -> None:
        self._stream = stream
        self.site = site
        self.head = head
        self.exchange = exchange
        exchange.sent_fields = head.index
        if head.chunked or head.content_length:
            self._inlet = BodyInlet(stream)

    def __repr__(self) -> str:
        # No target: it can hold a credential in its query.
        return f"<Request {self.exchange.request_id}>"

    # What is known of the client.

    @property
    def client_address(self) -> str:
        """The peer's address without its port; empty for a UNIX socket."""
        return self.exchange.client_address

    @property
    def server_address(self) -> str:
        """The address that the client connected to, without its port."""
        return getattr(self._stream.server, "host", "")

    @property
    def is_secure(self) -> bool:
        """Whether the request came over TLS."""
        return self._stream.is_secure

    # The request's body.

    @property
    def has_body(self) -> bool:
        """Whether the request has a body of at least one byte, or one of unknown length."""
        return self._inlet is not None

    @property
    def awaits_continue(self) -> bool:
        """Whether the client may be holding its body back until it is asked for it."""
        return self.head.expects_continue and not self._asked_for_body and not self.bytes_in

    @property
    def bytes_in(self) -> int:
        """Bytes of the body that have arrived."""
        return self.exchange.bytes_in

    def read_body(self, receiver: BodyReceiver) -> None:
        """Start reading the body: it goes to ``receiver``, from inside this call on.

        A client that waits for a 100 (RFC 9110 section 10.1.1) gets it now. Without a body
        ``receiver.request_end`` is called at once. Raises RuntimeError the second time.
        """
        if self._inlet is None:
            receiver.request_end([])
            return
        self._ask_for_body()
        self._inlet.read(receiver)

    def _ask_for_body(self) -> None:
        if self.awaits_continue and not (self._head_sent or self._over):
            self._asked_for_body = True
            self._stream.send_continue()

    def peek_body(self) -> Deferred[bytes | None]:
        """All of the body, once it has arrived; whoever reads it afterwards gets it whole.

        It is ``None`` if the body is longer than `UNREAD_BOUND`, or will never be complete. A
        client that waits for a 100 gets it now.
        """
        if self._inlet is None:
            return succeed(b"")
        if (self.head.content_length or 0) > UNREAD_BOUND:
            return succeed(None)
        self._ask_for_body()
        peeked: Deferred[bytes | None] = Deferred()
        self._inlet.peek(peeked.callback)
        return peeked

    def pause_body(self) -> None:
        """Bring no more of the body until `resume_body`."""
        if self._inlet is not None:
            self._inlet.pause()

    def resume_body(self) -> None:
        """Go on with the body."""
        if self._inlet is not None:
            try:
                self._inlet.resume()
            except Exception:  # noqa: BLE001 - see _reader_failed
                self._reader_failed()

    # The response.

    @property
    def head_sent(self) -> bool:
        """Whether the final status has been sent; after it only `abort` can tell of a failure."""
        return self._head_sent

    @property
    def over(self) -> bool:
        """Whether the response is complete or will never be."""
        return self._over

    @property
    def bytes_out(self) -> int:
        """Bytes of the response's body that have been sent."""
        return self.exchange.bytes_out

    def send_informational(self, status: int, reason: bytes, headers: Headers) -> None:
        """Pass on a 1xx (RFC 9110 section 15.2). Raises ValueError for 101 and what is no 1xx.

        A 100 is sent only to a client that waits for one. Ignored once the final head was sent.
        """
        if not _CONTINUE <= status < _FIRST_FINAL or status == _SWITCHING_PROTOCOLS:
            raise ValueError(f"{status} is not an informational status that can be passed on")
        if self._over or self._head_sent:
            return
        if status == _CONTINUE:
            if self.awaits_continue:
                self._asked_for_body = True
                self._stream.send_continue()
            return
        self._stream.send_informational(status, reason, headers)

    def send_head(
        self, status: int, reason: bytes, headers: Headers, *, length: int | None
    ) -> None:
        """Send the final status and header.

        ``length`` is that of the body, ``None`` where it is not known yet. For a response to HEAD,
        or a 304, it is what the header states (``None``: nothing) and no body follows. Framing
        fields in ``headers`` are left out. Raises RuntimeError the second time, ValueError for a
        status outside 200 to 599 or a negative length, UnsafeField for a header that would split
        the message.
        """
        if self._over:
            return
        if self._head_sent:
            raise RuntimeError("the head of a response is sent once")
        if not _FIRST_FINAL <= status <= _LAST_STATUS:
            raise ValueError(f"{status} is not a final status")
        if length is not None and length < 0:
            raise ValueError(f"a body cannot be {length} bytes long")
        has_body = status not in _WITHOUT_BODY and self.head.method != b"HEAD" and length != 0
        headers = self.with_fields_of_ours(headers)
        self._stream.send_head(status, reason, headers, length, has_body=has_body)
        self._head_sent = True
        self._has_response_body = has_body
        if has_body:
            self._response_left = length
        self.exchange.status = status
        self.exchange.first_byte = self.site.seconds()

    def with_fields_of_ours(self, headers: Headers) -> Headers:
        """``headers`` with what every answer has, and what guards have to tell about this one.

        The latter take the place of fields of the same names. `send_head` does that; it is for the
        head of a 101.
        """
        exchange = self.exchange
        added = exchange.response_fields
        if added:
            headers = with_replaced(headers, added)
        security = self.site.security
        if security is None:
            return headers
        return security.added(
            headers,
            exchange,
            secure=self._stream.is_secure,
            of_lease=self.answered_by_lease,
        )

    def send_data(self, data: bytes) -> None:
        """Send a part of the body; dropped where the response has none.

        More than was announced is a defect of the caller's: the connection is aborted, since the
        client would take the surplus for the next response. Raises RuntimeError before the head.
        """
        if self._over:
            return
        if not self._head_sent:
            raise RuntimeError("the head of a response comes before its body")
        if not self._has_response_body or not data:
            return
        size = len(data)
        if self._response_left is not None:
            if size > self._response_left:
                self._break_off("the response's body is longer than announced")
                return
            self._response_left -= size
        self.exchange.bytes_out += size
        self._stream.send_data(data)

    def send_end(self, trailers: Headers | tuple[()] = ()) -> None:
        """The response is complete; ``trailers`` go along where the framing has a place for them.

        Less than was announced is a defect of the caller's: the connection is aborted, so that the
        client cannot take it for complete. Raises RuntimeError before the head.
        """
        if self._over:
            return
        if not self._head_sent:
            raise RuntimeError("the head of a response comes before its end")
        if self._response_left:
            self._break_off("the response's body is shorter than announced")
            return
        self._over = True
        self._forget_users()
        if self._inlet is not None:
            self._inlet.drop()
        try:
            self._stream.send_end(list(trailers) if trailers else [])
        except Exception:
            # What has left must not be waited for, nor look complete.
            self._over = False
            self._break_off("the end of a response could not be sent")
            raise
        self.exchange.finished = self.site.seconds()
        self.site.exchange_over(self.exchange)
        self._response_over(None)
        # Only now: the next request may be answered from inside this call.
        self._stream.response_recorded()

    def take_over(self) -> "TakenStream":
        """Answer with 101 and have the connection from here on (RFC 9110 section 15.2.2).

        What is sent, the head of the 101 first, is the caller's matter, and so is the end. Raises
        RuntimeError for a request with a body, one that was answered, or where the version of HTTP
        has no upgrade.
        """
        switch: Callable[[], TakenStream] | None = getattr(self._stream, "take_over", None)
        if self._over or self._head_sent or self.has_body or switch is None:
            raise RuntimeError("this request cannot be answered with 101")
        self._head_sent = True
        self.exchange.status = _SWITCHING_PROTOCOLS
        self.site.websockets += 1
        self.exchange.first_byte = self.site.seconds()
        return switch()

    def end_takeover(self) -> None:
        """What was spoken after the 101 has come to its end: close when everything was sent."""
        if self._over:
            return
        self._over = True
        self._forget_users()
        self.exchange.finished = self.site.seconds()
        self.site.exchange_over(self.exchange)
        self._response_over(None)
        self._stream.response_recorded()

    def abort(self) -> None:
        """End without a complete response, so that the client can see it."""
        if not self._over:
            self._end_aborted()
            self._stream.abort()
            self.site.exchange_over(self.exchange)
            self._response_over(fault("internal_error", "the response was aborted"))

    def fail(self, error: GatewayError) -> None:
        """Answer with what went wrong; with `abort` where some of an answer has left already."""
        if self._over:
            return
        self.exchange.error = error.cause.code
        if self._head_sent and not self._take_back_head():
            self.abort()
            return
        self.answered_by_lease = False
        status, headers, body = self.site.render_problem(error, self.exchange.request_id)
        if error.cause.closes:
            headers = [*headers, (b"Connection", b"close")]
        self.send_head(status, self.site.reason(status), headers, length=len(body))
        self.send_data(body)
        self.send_end()

    def withdraw(self, error: GatewayError) -> None:
        """End it with ``error``: whoever asked may not have the answer any more."""
        try:
            if self.on_withdrawal is None:
                self.fail(error)
            else:
                self.on_withdrawal(error)
        except Exception:  # noqa: BLE001 - it ends all the same, and others are withdrawn after it
            _log.failure("a request could not be withdrawn in order", request_id=self._id)
            self.abort()

    def _take_back_head(self) -> bool:
        if not self._stream.take_back_head():
            return False
        self._head_sent = False
        self._has_response_body = True
        self._response_left = None
        self.exchange.bytes_out = 0
        return True

    def register_response_producer(self, producer: IPushProducer) -> None:
        """Pause and resume ``producer`` as the client takes the response.

        It is stopped if the client goes away. Raises RuntimeError when there is one already.
        """
        if self._producer is not None:
            raise RuntimeError("the response has a producer already")
        if self._over:
            producer.stopProducing()
            return
        self._producer = producer
        self._stream.register_producer(producer)

    def unregister_response_producer(self) -> None:
        """The producer will send nothing more."""
        if self._producer is not None:
            self._producer = None
            self._stream.unregister_producer()

    def on_disconnect(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` if the client goes away, or is cut off, before the response is over."""
        self._on_disconnect = (*self._on_disconnect, callback)

    # From the stream.

    def receive_data(self, data: bytes) -> None:
        """A part of the body arrived."""
        self.exchange.bytes_in += len(data)
        assert self._inlet is not None
        try:
            self._inlet.receive_data(data)
        except Exception:  # noqa: BLE001 - see _reader_failed
            self._reader_failed()

    def receive_end(self, trailers: Headers) -> None:
        """The body is complete."""
        assert self._inlet is not None
        try:
            self._inlet.receive_end(trailers)
        except Exception:  # noqa: BLE001 - see _reader_failed
            self._reader_failed()

    def _reader_failed(self) -> None:
        """Whoever reads the body raised an exception: that ends this request alone.

        The body may have been delivered by the client's connection or by the lease's, and neither
        is to blame.
        """
        _log.failure("a request's body could not be passed on", request_id=self._id)
        callbacks = self._on_disconnect
        self.refuse(fault("internal_error", "The gateway failed to pass the body on."))
        for callback in callbacks:
            self._tell(callback)

    def refuse(self, error: GatewayError) -> None:
        """The body cannot be read on: answer, and tell whoever reads it."""
        inlet = self._inlet
        # First the answer: the reader might end the request in another way. Its inlet is kept away
        # from that, since it has to hear of the error.
        self._inlet = None
        self.fail(error)
        if inlet is not None:
            self._abort_inlet(inlet, error)

    def disconnected(self, error: GatewayError) -> None:
        """The client has gone, or takes nothing any more."""
        if self._over:
            return
        producer, callbacks = self._producer, self._on_disconnect
        self._end_aborted()
        self.site.exchange_over(self.exchange)
        for callback in callbacks:
            self._tell(callback)
        if producer is not None:
            self._tell(producer.stopProducing)
        if self._inlet is not None:
            self._abort_inlet(self._inlet, error)
        self._response_over(error)

    def _abort_inlet(self, inlet: BodyInlet, error: GatewayError) -> None:
        try:
            inlet.abort(error)
        except Exception:  # noqa: BLE001 - whoever ends this request may end others after it
            _log.failure("the end of a request could not be told", request_id=self._id)

    def _tell(self, callback: Callable[[], object]) -> None:
        """Call who is to be told of the end: one that fails must not keep others from it."""
        try:
            callback()
        except Exception:  # noqa: BLE001 - as in _abort_inlet
            _log.failure("the end of a request could not be told", request_id=self._id)

    @property
    def _id(self) -> str:
        return self.exchange.request_id

    def _response_over(self, error: GatewayError | None) -> None:
        """The response is complete, or will never be; for a subclass that has to tell somebody."""

    def _forget_users(self) -> None:
        """Whoever answers a request refers to it: without this, each would be a cycle for the
        garbage collector."""
        self._producer = None
        self._on_disconnect = ()
        self.on_withdrawal = None

    def _end_aborted(self) -> None:
        self._over = True
        self._forget_users()
        exchange = self.exchange
        exchange.aborted = True
        exchange.finished = self.site.seconds()

    def _break_off(self, why: str) -> None:
        _log.error("{why}", why=why, request_id=self.exchange.request_id)
        self.exchange.error = "internal_error"
        self.abort()
