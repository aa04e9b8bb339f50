"""What streams of HTTP/2 bring, made into requests and their bodies, or refused."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from portal_gateway.errors import GatewayError, fault
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.http2_stream import HTTP2Stream
from portal_gateway.frontend.request import Request
from portal_gateway.observe.request_ids import offered_id
from portal_gateway.wire.http1_head import BadRequest
from portal_gateway.wire.http2_patience import Patience
from portal_gateway.wire.http2_request import MalformedRequest, read_request, read_trailers
from portal_gateway.wire.http_fields import Headers

if TYPE_CHECKING:
    from portal_gateway.frontend.site import Site

__all__ = ["Intake", "refuse_body"]

Fields = Sequence[tuple[bytes, bytes]]


class Intake:
    """Has ``site`` answer the requests of the client at ``client_host``.

    ``reset`` ends a stream that is malformed. That, and a header above a limit, costs the
    connection's ``patience``.
    """

    __slots__ = ("_client_host", "_limits", "_patience", "_reset", "_site")

    def __init__(
        self,
        site: "Site",
        patience: Patience,
        client_host: str,
        reset: Callable[[HTTP2Stream], None],
    ) -> None:
        self._reset = reset
        self._site = site
        self._limits = site.limits
        self._patience = patience
        self._client_host = client_host

    def begin(self, stream: HTTP2Stream, fields: Fields, *, ends: bool) -> None:
        """A stream has begun with ``fields``; ``ends``: they are all of it."""
        try:
            head = read_request([(name, value) for name, value in fields], self._limits, ends=ends)
        except BadRequest as bad:
            self._count(bad)
            if isinstance(bad, MalformedRequest):
                self._reset_malformed(stream)
            else:
                self._answer_refused(stream, bad, is_head=(b":method", b"HEAD") in fields)
            return
        exchange = self._exchange(offered_id(head.values(b"x-request-id"), head.index))
        exchange.method = head.method.decode("ascii")
        path, _, query = head.target.partition(b"?")
        exchange.path = path.decode("ascii")
        exchange.query = query.decode("ascii")
        exchange.user_agent = head.index.get(b"user-agent", b"").decode("latin-1")
        stream.request = request = Request(stream, self._site, head, exchange)
        self._site.render(request)

    def receive_data(self, stream: HTTP2Stream, data: bytes, credit: int) -> None:
        """A part of a body, for which the client used up ``credit`` of its window."""
        request = stream.request
        if request is not None and not request.over:
            length = request.head.content_length
            if length is not None and stream.body_bytes + len(data) > length:
                # What came before has its credit; this part was never part of the body.
                stream.receive_data(b"", credit)
                self._end_malformed(stream, "the body is longer than announced")
                return
        limit = self._limits.body if request is not None else None
        if limit is not None and stream.body_bytes + len(data) > limit:
            self._site.limit_hits["body"] += 1
            stream.receive_data(b"", credit)
            told = f"the body is longer than {limit} bytes"
            refuse_body(stream, fault("content_too_large", told))
            return
        stream.receive_data(data, credit)

    def receive_trailers(self, stream: HTTP2Stream, fields: Fields) -> None:
        """A body is complete, with trailer fields."""
        try:
            trailers = read_trailers([(name, value) for name, value in fields], self._limits)
        except BadRequest as bad:
            self._count(bad)
            stream.ended = True
            if isinstance(bad, MalformedRequest):
                self._end_aborted(stream, fault(bad.code, bad.detail))
            else:
                refuse_body(stream, fault(bad.code, bad.detail))
            return
        self.receive_end(stream, trailers)

    def receive_end(self, stream: HTTP2Stream, trailers: Headers) -> None:
        """A body is complete, if it is as long as it was announced (RFC 9113 section 8.1.1)."""
        request = stream.request
        if request is not None and not request.over:
            length = request.head.content_length
            if length is not None and stream.body_bytes != length:
                self._end_malformed(stream, "the body is shorter than announced")
                return
        stream.receive_end(trailers)

    def _end_malformed(self, stream: HTTP2Stream, why: str) -> None:
        self._patience.reset()
        self._end_aborted(stream, fault("bad_request", why))

    def _end_aborted(self, stream: HTTP2Stream, error: GatewayError) -> None:
        """Reset a stream whose request was begun, and end that request."""
        request = stream.request
        self._reset(stream)
        if request is not None:
            request.exchange.error = error.cause.code
            request.disconnected(error)

    def _count(self, bad: BadRequest) -> None:
        # A header above a limit was decoded all the same.
        self._patience.reset()
        if bad.limit is not None:
            self._site.limit_hits[bad.limit] += 1

    def _exchange(self, offered: str | None) -> Exchange:
        site = self._site
        return Exchange(site.make_request_id(offered), self._client_host, site.seconds())

    def _reset_malformed(self, stream: HTTP2Stream) -> None:
        exchange = self._exchange(None)
        exchange.error = "bad_request"
        exchange.aborted = True
        exchange.finished = self._site.seconds()
        self._reset(stream)
        self._site.exchange_over(exchange)

    def _answer_refused(self, stream: HTTP2Stream, bad: BadRequest, *, is_head: bool) -> None:
        """Answer for a request that never became one."""
        site = self._site
        error = fault(bad.code, bad.detail)
        exchange = self._exchange(None)
        exchange.error = error.cause.code
        status, headers, body = site.render_problem(error, exchange.request_id)
        exchange.status = status
        if site.security is not None:
            headers = site.security.added(
                headers, exchange, secure=stream.is_secure, of_lease=False
            )
        exchange.first_byte = exchange.finished = site.seconds()
        stream.send_head(status, b"", headers, len(body), has_body=not is_head)
        if not is_head:
            exchange.bytes_out = len(body)
            stream.send_data(body)
        stream.send_end([])
        site.exchange_over(exchange)


def refuse_body(stream: HTTP2Stream, error: GatewayError) -> None:
    """The body of a request cannot be read on; the answer tells why."""
    if stream.request is not None and not stream.request.over:
        stream.request.refuse(error)
