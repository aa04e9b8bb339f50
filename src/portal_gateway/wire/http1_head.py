"""The head of one HTTP/1.x request: its request line and fields, judged as a whole.

llhttp reads the field lines; around it stands what llhttp lets pass: it takes several spaces after
the method, reads ``RTSP/1.0`` as version 1.0 and a request line without version as HTTP/0.9, and
allows ``gzip, chunked``, a length of 2**64 - 1, and any Host or none. The request line is therefore
matched against one expression first, and what the fields say together is judged here
(RFC 9110, RFC 9112).
"""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from portal_gateway.wire.http_fields import (
    BadFraming,
    Headers,
    HTTPSyntaxError,
    field_values,
    list_members,
    parse_content_length,
)

__all__ = [
    "METHODS",
    "REQUEST_LINE",
    "BadLength",
    "BadRequest",
    "RequestHead",
    "build_head",
    "read_fields",
]

METHODS: Final = frozenset(
    b"ACL BIND CHECKOUT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR "
    b"MKCOL MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT "
    b"SEARCH SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)
"""What llhttp knows as methods of HTTP, without ``CONNECT`` and ``TRACE``.

``CONNECT`` would open a tunnel past every guard, and ``TRACE`` would echo credentials.
"""

REQUEST_LINE: Final = re.compile(
    # Method, target of visible ASCII but # and \, minor version.
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!\"$-\[\]-~]+) HTTP/1\.([01])\r\n"
)
"""The only request line there is (RFC 9112 section 3); ``#`` and a raw ``\\`` are in no URI."""

_HOST = re.compile(
    # A DNS name or IPv4 address, or an IPv6 address in brackets; a port. RFC 3986 would allow more
    # in a name, which no client needs and which two readers could take for two hosts.
    rb"(?:[0-9A-Za-z._~\-]+|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?"
)

_ABSOLUTE = re.compile(rb"https?://([^/?]*)([^?]*)(.*)", re.IGNORECASE)

_LAST_PORT = 65535

_SLASH = 0x2F


class BadRequest(HTTPSyntaxError):
    """The request is refused and the connection is of no further use.

    ``code`` names the cause in the table of `portal_gateway.errors`; ``detail`` says what is wrong
    in words of our own; ``limit`` is the limit of `RequestLimits` that was met, if one was.
    """

    def __init__(self, code: str, detail: str, *, limit: str | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.limit = limit


class BadLength(BadRequest):
    """Content-Length is repeated or not a length (RFC 9112 section 6.3)."""

    def __init__(self, detail: str) -> None:
        super().__init__("bad_request", detail)


class RequestHead:
    """One request up to its body.

    ``target`` is in origin form (``/path?query``) or ``*``: an absolute one has been taken apart,
    and its authority has replaced the value of ``Host``. ``version`` is ``b"1.1"``, ``b"1.0"`` or
    ``b"2"``.
    ``headers`` are as received otherwise. ``content_length`` is ``None`` without the field;
    ``expects_continue`` is true only when there is a body to wait for. ``host`` is the checked
    authority, empty when an HTTP/1.0 client sent none. ``index`` has the last value of each field
    by its name in lower case.
    """

    # Neither a dataclass nor a named tuple: compiled, making and reading it takes far less.
    __slots__ = (
        "chunked",
        "content_length",
        "expects_continue",
        "headers",
        "host",
        "index",
        "keep_alive",
        "method",
        "target",
        "version",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        version: bytes,
        headers: Headers,
        *,
        keep_alive: bool,
        content_length: int | None,
        chunked: bool,
        expects_continue: bool,
        host: bytes,
        index: dict[bytes, bytes],
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.keep_alive = keep_alive
        self.content_length = content_length
        self.chunked = chunked
        self.expects_continue = expects_continue
        self.host = host
        self.index = index

    @property
    def has_body(self) -> bool:
        """Whether body bytes may follow the head; a length of 0 is no body."""
        return self.chunked or bool(self.content_length)

    def replace_headers(self, headers: Headers) -> None:
        """Have these fields, of those that there were."""
        self.headers = headers
        self.index = {name.lower(): value for name, value in headers}

    def values(self, lower_name: bytes) -> list[bytes]:
        """The values of every field with this name, in order, mostly without a pass over them."""
        value = self.index.get(lower_name)
        if value is None:
            return []
        if len(self.index) == len(self.headers):
            return [value]
        return field_values(self.headers, lower_name)


class _Fields:
    """Collects what llhttp reads."""

    __slots__ = ("complete", "headers")

    def __init__(self) -> None:
        self.headers: Headers = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def read_fields(block: bytes) -> Headers:
    """The fields of ``block``: a request line, field lines, and the empty line that ends them.

    Each block has its own parser, so nothing of one can reach another. Raises `BadRequest`.
    """
    fields = _Fields()
    try:
        HttpRequestParser(fields).feed_data(block)
    except HttpParserUpgrade:
        # The header is complete. That it asks for another protocol does not make it one.
        pass
    except HttpParserError as error:
        # llhttp's reasons are constants of its own, none of the client's text.
        raise BadRequest("bad_request", f"the header cannot be read: {error}") from None
    if not fields.complete:
        raise BadRequest("bad_request", "the header does not end where its empty line is")
    headers = fields.headers
    if b" \r\n" in block or b"\t\r\n" in block:
        # llhttp leaves the white space after a value, which is no part of it (RFC 9112
        # section 5.1).
        headers = [(name, value.rstrip(b" \t")) for name, value in headers]
    return headers


def build_head(method: bytes, target: bytes, minor: bytes, headers: Headers) -> RequestHead:
    """Judge what request line and fields say together. Raises `BadRequest`."""
    index = {name.lower(): value for name, value in headers}
    repeats = len(index) != len(headers)
    is_1_1 = minor == b"1"
    length, chunked = _framing(headers, index, is_1_1=is_1_1, repeats=repeats)
    host = index.get(b"host")
    if host is None:
        if is_1_1:
            raise BadRequest("bad_request", "an HTTP/1.1 request needs Host")
        host = b""
    else:
        if repeats and len(field_values(headers, b"host")) > 1:
            raise BadRequest("bad_request", "Host is repeated")
        _check_host(host)
    if target[0] != _SLASH:
        target, authority = _normalise_target(method, target)
        if authority is not None:
            _check_host(authority)
            host = authority
            headers = [field for field in headers if field[0].lower() != b"host"]
            headers.insert(0, (b"Host", authority))
            index[b"host"] = authority
    keep_alive = is_1_1
    connection = index.get(b"connection")
    if connection is not None:
        values = field_values(headers, b"connection") if repeats else [connection]
        options = list_members(values)
        keep_alive = b"close" not in options and (is_1_1 or b"keep-alive" in options)
    expects_continue = (
        is_1_1
        and b"expect" in index
        and (chunked or bool(length))
        and b"100-continue" in list_members(field_values(headers, b"expect"))
    )
    return RequestHead(
        method,
        target,
        b"1.1" if is_1_1 else b"1.0",
        headers,
        keep_alive=keep_alive,
        content_length=length,
        chunked=chunked,
        expects_continue=expects_continue,
        host=host,
        index=index,
    )


def _framing(
    headers: Headers, index: dict[bytes, bytes], *, is_1_1: bool, repeats: bool
) -> tuple[int | None, bool]:
    """The body's stated length, and whether it is chunked (RFC 9112 section 6.3)."""
    length = None
    stated = index.get(b"content-length")
    if stated is not None:
        if repeats and len(field_values(headers, b"content-length")) > 1:
            raise BadLength("Content-Length is repeated")
        try:
            length = parse_content_length(stated)
        except BadFraming as error:
            raise BadLength(str(error)) from None
    coding = index.get(b"transfer-encoding")
    if coding is None:
        return length, False
    if not is_1_1:
        raise BadRequest("bad_request", "HTTP/1.0 has no Transfer-Encoding")
    if length is not None:
        raise BadRequest("bad_request", "both Content-Length and Transfer-Encoding are given")
    if coding.lower() != b"chunked" or (
        repeats and len(field_values(headers, b"transfer-encoding")) > 1
    ):
        raise BadRequest("bad_request", "the only Transfer-Encoding known here is chunked, once")
    return None, True


def _check_host(host: bytes) -> None:
    match = _HOST.fullmatch(host)
    if match is None or (match[2] is not None and int(match[2]) > _LAST_PORT):
        raise BadRequest("bad_request", "Host is not a name or address with an optional port")
    if match[1] is not None:
        try:
            IPv6Address(match[1].decode("ascii"))
        except AddressValueError:
            raise BadRequest("bad_request", "Host is not an IPv6 address") from None


def _normalise_target(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """Target in origin form or ``*``, and an absolute one's authority (RFC 9112 section 3.2)."""
    if target == b"*" and method == b"OPTIONS":
        return target, None
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise BadRequest("bad_request", "the target is neither a path nor an absolute http URI")
    authority, path, query = absolute.groups()
    if not path and not query and method == b"OPTIONS":
        return b"*", authority
    return (path or b"/") + query, authority
