"""The request that Resources get: a stream both ways, and what twisted.web's own Resources expect.

Resources of ours use the streaming face of `StreamingRequest`. The rest of the face is
`twisted.web.iweb.IRequest` for small things that are not on the hot path: a page, a redirect, a
file. It differs from twisted.web where that would mean holding a body or keeping state:

- ``content`` is empty. A Resource is rendered when the header is there; a body is read with
  `StreamingRequest.read_body`. ``args`` has the query only.
- There are no sessions: `Request.getSession` raises.
- A response without ``Content-Length`` is chunked (HTTP/1.1) or ends with the connection (1.0).
"""

from io import BytesIO
from math import ceil
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import parse_qs, quote, unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.python.urlpath import URLPath
from twisted.web.http import CACHED, stringToDatetime
from twisted.web.http_headers import Headers as TwistedHeaders
from twisted.web.iweb import IRequest
from zope.interface import classImplements

from portal_gateway.errors import GatewayError
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.pulled_producer import PulledProducer
from portal_gateway.frontend.stream import Stream
from portal_gateway.frontend.streaming import StreamingRequest
from portal_gateway.wire.http1_request import RequestHead
from portal_gateway.wire.http1_writing import http_date
from portal_gateway.wire.http_fields import content_length

if TYPE_CHECKING:
    from portal_gateway.frontend.site import Site
    from portal_gateway.relay.route import Route

__all__ = ["Request", "Stream"]

_OK = 200
_FOUND = 302
_NOT_MODIFIED = 304
_PRECONDITION_FAILED = 412

_DEFAULT_PORTS: Final = {False: 80, True: 443}


class Request(StreamingRequest):
    """A request as Resources see it.

    ``method``, ``uri`` (the target) and ``path`` (the target without its query) are as sent;
    ``prepath`` and ``postpath`` are the decoded segments before and after the Resource.
    """

    route: "Route | GatewayError | None"
    """The way to the lease that the request is for, or why there is none; set by a guard."""

    code = _OK
    code_message: bytes | None = None
    lastModified: int | None = None
    etag: bytes | None = None
    sitepath: list[bytes]
    _request_headers: TwistedHeaders | None = None
    _response_headers: TwistedHeaders | None = None
    _args: dict[bytes, list[bytes]] | None = None
    _notifications: list[Deferred[None]] | None = None
    _pulled: PulledProducer | None = None
    _app_root_url: bytes | None = None

    def __init__(self, stream: Stream, site: "Site", head: RequestHead, exchange: Exchange) -> None:
        super().__init__(stream, site, head, exchange)
        # Not in the class: compiled, the attribute would have no value until it is set.
        self.route = None
        self.method = head.method
        self.uri = head.target
        self.path = path = head.target.partition(b"?")[0]
        self.prepath: list[bytes] = []
        if b"%" in path:
            self.postpath = [unquote_to_bytes(segment) for segment in path[1:].split(b"/")]
        else:
            self.postpath = path[1:].split(b"/")

    # What was asked.

    @property
    def requestHeaders(self) -> TwistedHeaders:
        """The header as twisted.web has it; made when first asked for."""
        if self._request_headers is None:
            self._request_headers = headers = TwistedHeaders()
            for name, value in self.head.headers:
                headers.addRawHeader(name, value)
        return self._request_headers

    @property
    def args(self) -> dict[bytes, list[bytes]]:
        """The query's parameters; a form in the body is not read."""
        if self._args is None:
            query = self.uri.partition(b"?")[2]
            self._args = parse_qs(query, keep_blank_values=True)
        return self._args

    @property
    def content(self) -> BytesIO:
        """Nothing: a body is read with `read_body`."""
        return BytesIO()

    @property
    def clientproto(self) -> bytes:
        """The client's version, as ``HTTP/1.1``."""
        return b"HTTP/" + self.head.version

    def getHeader(self, key: Any) -> Any:
        """The last value of a field, or None; str for str, bytes for bytes."""
        if isinstance(key, str):
            value = self.head.index.get(key.lower().encode("latin-1"))
            return None if value is None else value.decode("latin-1")
        return self.head.index.get(key.lower())

    def getAllHeaders(self) -> dict[bytes, bytes]:
        """The last value of each field by its name in lower case."""
        return dict(self.head.index)

    def getCookie(self, key: bytes) -> bytes | None:
        """The value of a cookie, or None."""
        for value in self.head.values(b"cookie"):
            for pair in value.split(b";"):
                name, _, content = pair.strip().partition(b"=")
                if name == key:
                    return content
        return None

    def getRequestHostname(self) -> bytes:
        """The host of the request, without its port and without brackets."""
        host = self.head.host
        if host.startswith(b"["):
            return host[1:].partition(b"]")[0]
        return host.partition(b":")[0] or self.server_address.encode("ascii", "replace")

    def getHost(self) -> IAddress:
        """The address that the client connected to."""
        return self._stream.server

    def getClientAddress(self) -> IAddress:
        """The address that the client connected from."""
        return self._stream.client

    def getClientIP(self) -> str | None:
        """The client's address without its port, or None."""
        return self.client_address or None

    def getUser(self) -> bytes:
        """Nobody: credentials are the guards' matter."""
        return b""

    def getPassword(self) -> bytes:
        """Nothing: credentials are the guards' matter."""
        return b""

    def isSecure(self) -> bool:
        """Whether the request came over TLS."""
        return self.is_secure

    def getSession(self, sessionInterface: Any = None) -> NoReturn:
        """There are no sessions. Raises NotImplementedError."""
        raise NotImplementedError("the gateway keeps no sessions")

    def setHost(self, host: bytes, port: int, ssl: bool = False) -> NoReturn:
        """The host is what the client named. Raises NotImplementedError."""
        raise NotImplementedError("a request's host does not change")

    def _url_before(self, segments: list[bytes]) -> bytes:
        port = getattr(self.getHost(), "port", None)
        host = self.head.host or self.server_address.encode("ascii", "replace")
        if not self.head.host and port not in {None, _DEFAULT_PORTS[self.is_secure]}:
            host += b":%d" % port
        scheme = b"https" if self.is_secure else b"http"
        path = b"/".join(quote(segment, safe="").encode("ascii") for segment in segments)
        return scheme + b"://" + host + b"/" + path

    def prePathURL(self) -> bytes:
        """The URL up to the Resource."""
        return self._url_before(self.prepath)

    def URLPath(self) -> URLPath:
        """The same as a URLPath."""
        url: URLPath = URLPath.fromBytes(self.prePathURL())
        return url

    def rememberRootURL(self) -> None:
        """Remember the URL above the Resource."""
        self._app_root_url = self._url_before(self.prepath[:-1])

    def getRootURL(self) -> bytes | None:
        """The URL that was remembered."""
        return self._app_root_url

    # The response, piece by piece.

    @property
    def responseHeaders(self) -> TwistedHeaders:
        """The header that `write` and `finish` will send."""
        if self._response_headers is None:
            self._response_headers = TwistedHeaders()
        return self._response_headers

    @property
    def startedWriting(self) -> bool:
        """Whether the head has been sent."""
        return self.head_sent

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """The status that will be sent, and its reason phrase where it is not the usual one."""
        if not isinstance(code, int):
            raise TypeError("the status code is an int")
        self.code = code
        self.code_message = message

    def setHeader(self, k: Any, v: Any) -> None:
        """Send this field, in the place of any of the same name."""
        self.responseHeaders.setRawHeaders(k, [v])

    def redirect(self, url: bytes) -> None:
        """Send the client elsewhere (302)."""
        self.setResponseCode(_FOUND)
        self.setHeader(b"Location", url)

    def addCookie(
        self,
        k: bytes,
        v: bytes,
        expires: bytes | None = None,
        domain: bytes | None = None,
        path: bytes | None = None,
        max_age: bytes | None = None,
        comment: bytes | None = None,
        secure: bool | None = None,
    ) -> None:
        """Send a ``Set-Cookie``."""
        cookie = k + b"=" + v
        for name, value in (
            (b"Expires", expires),
            (b"Domain", domain),
            (b"Path", path),
            (b"Max-Age", max_age),
            (b"Comment", comment),
        ):
            if value is not None:
                cookie += b"; " + name + b"=" + value
        if secure:
            cookie += b"; Secure"
        self.responseHeaders.addRawHeader(b"Set-Cookie", cookie)

    def setLastModified(self, when: float) -> object | None:
        """Send ``Last-Modified``; ``http.CACHED`` where the client's copy is that new."""
        self.lastModified = max(ceil(when), self.lastModified or 0)
        since = self.getHeader(b"if-modified-since")
        if since is None:
            return None
        try:
            known = stringToDatetime(since)
        except ValueError:
            return None
        if known < self.lastModified:
            return None
        self.setResponseCode(_NOT_MODIFIED)
        return CACHED

    def setETag(self, etag: bytes) -> object | None:
        """Send ``ETag``; ``http.CACHED`` where the client has that very representation."""
        self.etag = etag
        tags = [
            tag.strip() for value in self.head.values(b"if-none-match") for tag in value.split(b",")
        ]
        if etag not in tags and b"*" not in tags:
            return None
        read = self.method in {b"GET", b"HEAD"}
        self.setResponseCode(_NOT_MODIFIED if read else _PRECONDITION_FAILED)
        return CACHED

    def write(self, data: bytes) -> None:
        """Send a part of the body, the head before the first."""
        if not isinstance(data, bytes):
            raise TypeError(f"bytes are written, not {type(data).__name__}")
        if not self.head_sent:
            self._send_collected_head()
        self.send_data(data)

    def finish(self) -> None:
        """The response is complete."""
        if not self.head_sent:
            self._send_collected_head(default_length=0)
        self.send_end()

    def answer(self, body: bytes) -> None:
        """Send the header that was collected, with ``body`` as the whole body.

        Raises TypeError when ``body`` is not bytes.
        """
        if not isinstance(body, bytes):
            raise TypeError(f"a Resource rendered {type(body).__name__}, not bytes")
        if not body and (self.method == b"HEAD" or self.code == _NOT_MODIFIED):
            # No body was rendered since none will be sent: that says nothing about its length.
            self._send_collected_head()
        else:
            self._send_collected_head(default_length=len(body), override=True)
        self.send_data(body)
        self.send_end()

    def _send_collected_head(
        self, *, default_length: int | None = None, override: bool = False
    ) -> None:
        """``override``: the length is the default one, whatever the header says."""
        headers = [
            (name, value)
            for name, values in self.responseHeaders.getAllRawHeaders()
            for value in values
        ]
        stated = content_length(headers)
        length = default_length if override or stated is None else stated
        if self.lastModified is not None:
            headers.append((b"Last-Modified", http_date(self.lastModified)))
        if self.etag is not None:
            headers.append((b"ETag", self.etag))
        if not self.responseHeaders.hasHeader(b"date"):
            headers.append((b"Date", self.site.date()))
        headers.append((b"X-Request-ID", self.exchange.request_id.encode("ascii")))
        reason = self.site.reason(self.code) if self.code_message is None else self.code_message
        self.send_head(self.code, reason, headers, length=length)

    def registerProducer(self, producer: Any, streaming: int) -> None:
        """Let ``producer`` write the body, as the client takes it."""
        if not streaming:
            producer = self._pulled = PulledProducer(producer, self)
        self.register_response_producer(producer)

    def unregisterProducer(self) -> None:
        """The producer has written everything."""
        self.unregister_response_producer()
        if self._pulled is not None:
            self._pulled.forget()
            self._pulled = None

    def notifyFinish(self) -> Deferred[None]:
        """Fires with None when the response is complete, fails when it will never be."""
        if self._notifications is None:
            self._notifications = []
        finished: Deferred[None] = Deferred()
        self._notifications.append(finished)
        return finished

    def _response_over(self, error: GatewayError | None) -> None:
        notifications, self._notifications = self._notifications, None
        if self._pulled is not None:
            self._pulled.forget()
            self._pulled = None
        for finished in notifications or ():
            if error is None:
                finished.callback(None)
            else:
                finished.errback(Failure(error))


classImplements(Request, IRequest)
