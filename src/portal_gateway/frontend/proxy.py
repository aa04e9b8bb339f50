"""The reverse proxy: a request goes to its lease, the answer comes back, both as streams.

Nothing is held whole. Each side pauses the other: a lease that takes no more stops the reading of
the client's body, a client that takes no more stops the reading of the lease's. A client that goes
away ends the exchange upstream at once.
"""

from twisted.internet.interfaces import IPushProducer
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import classImplements

from portal_gateway.errors import GatewayError, fault
from portal_gateway.frontend.lease_lookup import route_of
from portal_gateway.frontend.limits import MAX_HINT_BYTES
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.response_stream import ResponseStream
from portal_gateway.policy.credentials import strip_credentials
from portal_gateway.policy.origin_policies import NEVER_PASSED, ORIGIN_WIDE
from portal_gateway.policy.request_fields import without_claims
from portal_gateway.policy.rewriting import REWRITTEN, LeaseView, cookie_of_host
from portal_gateway.relay.http_client import UpstreamExchange
from portal_gateway.relay.request_body import BodyFraming
from portal_gateway.relay.route import Route
from portal_gateway.wire.forwarded import (
    VIA,
    forwarded_element,
    forwarded_elements,
)
from portal_gateway.wire.http1_head import METHODS
from portal_gateway.wire.http1_response import ResponseHead
from portal_gateway.wire.http_fields import FieldNames, Headers, end_to_end, field_values
from portal_gateway.wire.max_forwards import BadMaxForwards, remaining_forwards
from portal_gateway.wire.trailers import (
    announced_trailers,
    is_request_trailer,
    is_response_trailer,
    request_trailers,
    response_trailers,
)

__all__ = ["Carriage", "ReverseProxy", "downstream_fields", "upstream_fields"]

_REPLACED = FieldNames({b"host", b"via", b"x-request-id", b"expect", b"trailer", b"max-forwards"})
"""Request fields that the gateway writes itself, besides those of
`portal_gateway.policy.request_fields`. ``Expect`` is answered here: the client is asked
for its body when the lease is there to take it."""

_DROPPED = NEVER_PASSED | {b"x-request-id"}

_LOOKED_AT = FieldNames({b"via", b"trailer", *_DROPPED, *ORIGIN_WIDE, *REWRITTEN})
"""Response fields that are not simply passed on."""

_LINK = b"link"

_EARLY_HINTS = 103

_PERMANENT_REDIRECT = 308

_CLIENT_ERROR = 400

_OPTIONS = b"OPTIONS"
_MAX_FORWARDS = b"max-forwards"

_ALLOWED = b", ".join(sorted(METHODS))
"""The methods that are passed on to leases."""


class ReverseProxy(Resource):
    """Carries each request to the lease that was looked up for it."""

    isLeaf = True

    def render(self, request: Request) -> int | bytes:
        """Redirect to the lease's root, or start the carriage, which answers by itself.

        Raises the reason where there is no lease.
        """
        exchange = request.exchange
        if exchange.upstream_target is None:
            _, mark, query = request.uri.partition(b"?")
            location = exchange.lease_prefix + b"/" + mark + query
            request.setResponseCode(_PERMANENT_REDIRECT)
            request.setHeader(b"Location", location)
            return b""
        route = route_of(request)
        if _forwards_left(request) == 0:
            # The gateway is the recipient that is asked (RFC 9110 section 7.6.2).
            request.setHeader(b"Allow", _ALLOWED)
            return b""
        Carriage(request, exchange.upstream_target).start(route)
        return NOT_DONE_YET


class Carriage:
    """One request on its way to a lease and back.

    Toward the client's request it is the receiver of the body and the producer of the response;
    toward the pool it is the response's sink.
    """

    __slots__ = (
        "_hint_bytes",
        "_hints",
        "_over",
        "_request",
        "_stream",
        "_target",
        "_upstream",
        "_view",
    )

    def __init__(self, request: Request, target: bytes) -> None:
        self._request = request
        self._target = target
        self._upstream: UpstreamExchange | None = None
        self._stream: ResponseStream | None = None
        self._view: LeaseView | None = None
        self._over = False
        self._hints = 0
        self._hint_bytes = 0
        request.on_disconnect(self._client_gone)

    def start(self, route: Route) -> None:
        """Send the request upstream; its body follows as the client sends it."""
        request = self._request
        head = request.head
        if not request.has_body:
            framing = BodyFraming.none()
        elif head.content_length is not None:
            framing = BodyFraming.length(head.content_length)
        else:
            framing = BodyFraming.chunked()
        request.register_response_producer(self)
        request.on_withdrawal = self._withdrawn
        target = route.base + self._target if route.base else self._target
        fields = self._fields_up(route)
        caller = request.exchange.caller
        asker = "" if caller is None else caller.key_id
        self._upstream = route.pool.request(
            head.method, target, fields, self, body=framing, asker=asker
        )
        if request.has_body and not self._over:
            request.read_body(self)

    def _fields_up(self, route: Route) -> Headers:
        """The header for the lease on this route."""
        request = self._request
        exchange = request.exchange
        prefix = exchange.lease_prefix
        if prefix and route.rewrite:
            host = request.head.host if route.host is None else route.host
            self._view = LeaseView(
                prefix,
                host.lower(),
                route.base,
                _asked_host(request),
                without_slash=exchange.upstream_target is None,
            )
        return upstream_fields(request, route.host)

    def _fields_down(self, head: ResponseHead) -> Headers:
        """The header for the client, of one that came on the route that was taken."""
        request = self._request
        exchange = request.exchange
        own_host = None if exchange.lease_prefix else _asked_host(request)
        return downstream_fields(head.headers, exchange.request_id, self._view, own_host)

    # The client's body, on its way up.

    def request_data(self, data: bytes) -> None:
        """The client sent some of its body."""
        if self._upstream is not None:
            self._upstream.write(data)

    def request_end(self, trailers: Headers) -> None:
        """The client's body is complete."""
        kept = request_trailers(trailers) if trailers else trailers
        self._request.site.limit_hits["trailers"] += len(trailers) - len(kept)
        if self._upstream is not None:
            self._upstream.end(kept)

    def request_aborted(self, error: GatewayError) -> None:
        """The client's body will never be complete: it broke its framing, or was too slow."""
        self._cancel_upstream()
        self.response_failed(error)

    def pause_request_body(self) -> None:
        """The lease takes no more for now."""
        self._request.pause_body()

    def resume_request_body(self) -> None:
        """The lease takes more."""
        self._request.resume_body()

    # The lease's response, on its way down.

    def response_informational(self, head: ResponseHead) -> None:
        """The lease sent a 1xx (RFC 9110 section 15.2).

        No guard has seen it, and ours come with the final answer: nothing of it passes but its
        status, and the ``Link`` fields of a 103 (RFC 8297).
        """
        request = self._request
        self._hints += 1
        if self._hints > request.site.limits.informational:
            request.site.limit_hits["informational"] += 1
            return
        fields = self._links(head.headers) if head.status == _EARLY_HINTS else []
        request.send_informational(head.status, request.site.reason(head.status), fields)

    def _links(self, headers: Headers) -> Headers:
        """The ``Link`` fields for the client, as many as there is room for."""
        fields: Headers = []
        for value in field_values(end_to_end(headers), _LINK):
            link = value if self._view is None else self._view.link(value)
            if link is None:
                continue
            if self._hint_bytes + len(link) > MAX_HINT_BYTES:
                self._request.site.limit_hits["informational"] += 1
                break
            self._hint_bytes += len(link)
            fields.append((b"Link", link))
        return fields

    def response_head(self, head: ResponseHead) -> None:
        """The lease's final status and header."""
        request = self._request
        fields = self._fields_down(head)
        request.answered_by_lease = True
        if head.status < _CLIENT_ERROR:
            # A relay answers for leases that it does not have, with an error.
            request.exchange.lease_is_known = True
        request.send_head(head.status, head.reason, fields, length=head.content_length)
        if head.chunked or head.until_eof:
            self._stream = request.site.streams.begin(head, request.send_data, self._too_silent)

    def response_data(self, data: bytes) -> None:
        """Some of the lease's body."""
        if self._stream is not None:
            data = self._stream.receive_data(data)
        self._request.send_data(data)

    def response_end(self, trailers: Headers) -> None:
        """The lease's response is complete."""
        self._over = True
        self._leave_upstream()
        try:
            if self._stream is not None:
                self._request.send_data(self._stream.receive_end())
            self._request.send_end(response_trailers(trailers) if trailers else trailers)
        except Exception:
            # Nobody else is told: for the lease the exchange is over.
            self._request.fail(fault("internal_error", "The answer could not be passed on."))
            raise

    def response_failed(self, error: GatewayError) -> None:
        """There will be no (more) response.

        What of one has left must not look complete (RFC 9112 section 8): `Request.fail` sees to it.
        """
        if self._over:
            return
        self._over = True
        self._leave_upstream()
        self._stop_stream()
        self._request.fail(error)

    def _withdrawn(self, error: GatewayError) -> None:
        """The caller may not have the response any more; a stream of events says so at its end."""
        self._cancel_upstream()
        words = None if self._stream is None else self._stream.last_words(error.detail)
        if words is None:
            self.response_failed(error)
            return
        self._request.exchange.error = error.cause.code
        self._request.send_data(words)
        self.response_end([])

    def _too_silent(self) -> None:
        """The lease has not said a byte of its stream for too long."""
        self._cancel_upstream()
        self.response_failed(fault("upstream_timeout", "the lease's stream fell silent"))

    def _stop_stream(self) -> None:
        if self._stream is not None:
            self._stream.stop()

    def _leave_upstream(self) -> None:
        """Note how the request was sent, and let go of what refers to this as its sink."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            exchange = self._request.exchange
            exchange.reused_connection = upstream.reused
            exchange.attempts = upstream.attempts

    # The client's reading, and its going.

    def pauseProducing(self) -> None:
        """The client takes no more for now."""
        if self._upstream is not None:
            self._upstream.pause()
        if self._stream is not None:
            self._stream.pause()

    def resumeProducing(self) -> None:
        """The client takes more."""
        if self._stream is not None:
            self._stream.resume()
        if self._upstream is not None:
            self._upstream.resume()

    def stopProducing(self) -> None:
        """The client takes nothing any more."""
        self._client_gone()

    def _client_gone(self) -> None:
        if self._over:
            return
        self._over = True
        self._stop_stream()
        self._cancel_upstream()
        self._leave_upstream()

    def _cancel_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.cancel()


classImplements(Carriage, IPushProducer)


def _forwards_left(request: Request) -> int | None:
    """The times an OPTIONS may be forwarded, ``None`` for any number and for other methods.

    Raises the refusal of what is no number.
    """
    head = request.head
    if head.method != _OPTIONS or _MAX_FORWARDS not in head.index:
        return None
    try:
        return remaining_forwards(head.values(_MAX_FORWARDS))
    except BadMaxForwards as error:
        raise fault("bad_request", str(error)) from None


def upstream_fields(request: Request, upstream_host: bytes | None = None) -> Headers:
    """The header for the lease: the client's end-to-end fields without its credential, and ours.

    ``upstream_host`` is the Host to send, ``None`` for the one that the client sent. Of hops before
    the peer what trusted proxies say is told; what anybody claims is dropped.
    """
    exchange = request.exchange
    head = request.head
    headers = head.headers
    if exchange.has_odd_fields:
        headers = without_claims(headers, trusted=exchange.is_from_proxy)
    via = b""
    host = b""
    kept: Headers = []
    for field in strip_credentials(end_to_end(headers)):
        if field[0] not in _REPLACED:
            kept.append(field)
            continue
        name = field[0].lower()
        if name == b"host":
            host = field[1]
        elif name == b"via":
            via += field[1] + b", "
        elif name == _MAX_FORWARDS and head.method != _OPTIONS:
            kept.append(field)
        elif name == b"trailer" and (told := announced_trailers(field[1], is_request_trailer)):
            kept.append((field[0], told))
    forwards_left = _forwards_left(request)
    if forwards_left:
        kept.append((b"Max-Forwards", b"%d" % (forwards_left - 1)))
    scheme = b"https" if request.is_secure else b"http"
    passage = exchange.passage
    if passage is None:
        asked_host, asked_scheme = host, scheme
        addresses = exchange.client_address
        elements = forwarded_element(addresses, host, scheme)
    else:
        asked_host, asked_scheme = passage.host or host, passage.scheme or scheme
        addresses = ", ".join(passage.addresses)
        elements = forwarded_elements(passage.addresses, (asked_host, asked_scheme), (host, scheme))
    prefix = [(b"X-Forwarded-Prefix", exchange.lease_prefix)] if exchange.lease_prefix else ()
    return [
        (b"Host", host if upstream_host is None else upstream_host),
        *kept,
        (b"Via", via + VIA),
        (b"X-Forwarded-For", addresses.encode("ascii", "replace")),
        (b"X-Forwarded-Proto", asked_scheme),
        (b"X-Forwarded-Host", asked_host),
        *prefix,
        (b"Forwarded", elements),
        (b"X-Request-ID", exchange.request_id.encode("ascii")),
    ]


def downstream_fields(
    headers: Headers,
    request_id: str,
    view: LeaseView | None = None,
    own_host: bytes | None = None,
) -> Headers:
    """The header for the client: the lease's end-to-end fields, and ours.

    ``view`` says how fields that name places within the lease are rewritten, ``None`` that they are
    not. ``own_host`` is the host that is the lease's alone, in lower case; ``None`` where the lease
    shares its origin with others, at a path below the root: there it must not set policy for more
    than its own pages.
    """
    via = b""
    kept: Headers = []
    for field in end_to_end(headers):
        if field[0] not in _LOOKED_AT:
            kept.append(field)
            continue
        name = field[0].lower()
        if name == b"via":
            via += field[1] + b", "
        elif (value := _value_down(name, field[1], view, own_host)) is not None:
            kept.append((field[0], value))
    kept.append((b"Via", via + VIA))
    kept.append((b"X-Request-ID", request_id.encode("ascii")))
    return kept


def _value_down(
    name: bytes, value: bytes, view: LeaseView | None, own_host: bytes | None
) -> bytes | None:
    """The value that the client gets of a field in `_LOOKED_AT`, ``None`` where it gets none."""
    if name in REWRITTEN:
        if view is not None:
            return REWRITTEN[name](view, value)
        if own_host is not None and name == b"set-cookie":
            return cookie_of_host(value, own_host)
        return value
    if name == b"trailer":
        return announced_trailers(value, is_response_trailer) or None
    return value if own_host is not None and name in ORIGIN_WIDE else None


def _asked_host(request: Request) -> bytes:
    """The host that the client asked for, by the word of a trusted proxy where there is one."""
    passage = request.exchange.passage
    host = request.head.host
    return (host if passage is None else passage.host or host).lower()
