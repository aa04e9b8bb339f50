"""Reading one HTTP/1.1 response, strictly (RFC 9112), on top of llhttp.

A reader serves one request: the informational responses that may come first, then the final response.
llhttp reads heads and chunked bodies; bodies of known length and bodies that end with the connection are
only counted here, so that their bytes are passed on as they came and the end of a message is known to the
byte, which httptools does not tell.

What a read brought is checked as a whole before any of it is passed on: a response that is malformed in its first
read is never announced with `response_head`. Anything that could be read in two ways is `BadResponse`; the
connection it came on must not be used again.
"""

import re
from typing import Final, NamedTuple, Protocol

import httptools

from portal_gateway.wire.errors import WireError
from portal_gateway.wire.http_fields import BadFraming, Headers, list_members, parse_content_length

__all__ = [
    "MAX_FRAMING_BYTES",
    "MAX_INFORMATIONAL",
    "MAX_RESPONSE_FIELDS",
    "MAX_RESPONSE_HEAD",
    "BadResponse",
    "ResponseHead",
    "ResponseReader",
    "ResponseReceiver",
    "ResponseTruncated",
]

MAX_RESPONSE_HEAD = 64 * 1024
"""Bytes of one response head: twice what clients may send us, since responses carry cookies and policies."""

MAX_RESPONSE_FIELDS = 200
"""Fields of one head, and of one trailer section."""

MAX_INFORMATIONAL = 32
"""1xx responses before the final one.

Each may be a progress report (102, 103) and is passed on; a lease that sends nothing else would otherwise hold
the request for ever.
"""

MAX_FRAMING_BYTES = 64 * 1024
"""Bytes of a chunked body that bring no data in a row: chunk extensions and trailers.

llhttp joins the pieces of a trailer field as they come; this bounds what it holds.
"""

_HEAD_END = b"\r\n\r\n"
_HTTP_1_1: Final = b"HTTP/1.1 "
_FINAL_STATUS = range(200, 600)
_NOT_IN_REASON = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING_NAME_LENGTHS = frozenset(
    map(len, (b"connection", b"content-length", b"transfer-encoding"))
)

_IN_HEAD, _IN_LENGTH, _IN_CHUNKED, _UNTIL_EOF, _ENDED, _FAILED = range(6)


class BadResponse(WireError):
    """The bytes are not one HTTP/1.1 response that can be read in one way only."""


class ResponseTruncated(BadResponse):
    """The connection ended before the response did (RFC 9112 section 8)."""


class ResponseHead(NamedTuple):
    """Status line and header of a response, and how its body is framed.

    ``headers`` are as received, framing fields included. ``content_length`` is what the field says, also
    where no body follows (HEAD, 204, 304); ``until_eof`` says that the body ends with the connection.
    ``keep_alive`` says that the connection may carry another response after this one.
    """

    status: int
    reason: bytes
    version: bytes
    headers: Headers
    content_length: int | None
    chunked: bool
    keep_alive: bool
    until_eof: bool


class ResponseReceiver(Protocol):
    """What a `ResponseReader` tells, in this order: informational*, head, data*, end."""

    def response_informational(self, head: ResponseHead) -> None:
        """A 1xx response, never 101."""

    def response_head(self, head: ResponseHead) -> None:
        """The final response begins."""

    def response_data(self, data: bytes) -> None:
        """Bytes of the body, never empty, as one chunk or one read brought them."""

    def response_end(self, trailers: Headers) -> None:
        """The response is complete; ``trailers`` are those of a chunked body, as received."""


class ResponseReader:
    """Reads the response to one request with method ``request_method``.

    Nothing of the receiver is called from inside the parser, so it may do what it likes, drop the reader
    included. ``CONNECT`` is not known here: its 2xx responses have no body but a tunnel.
    """

    __slots__ = (
        "_body",
        "_complete",
        "_fault",
        "_fields",
        "_head_bytes",
        "_head_request",
        "_informational",
        "_parser",
        "_reason",
        "_receiver",
        "_remaining",
        "_silent",
        "_state",
        "_tail",
        "_version",
        "keep_alive",
    )

    keep_alive: bool
    """Whether the connection may carry another response, known once the head is read."""

    def __init__(self, receiver: ResponseReceiver, request_method: bytes) -> None:
        self._receiver = receiver
        self._head_request = request_method == b"HEAD"
        self._state = _IN_HEAD
        self._fields: Headers = []
        self._reason = b""
        self._version: bytes | None = None
        self._head_bytes = 0
        self._tail = b""
        self._informational = 0
        self._remaining = 0
        self._silent = 0
        self._body: list[bytes] = []
        self._complete = False
        self._fault: str | None = None
        self.keep_alive = False
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    # What the connection tells us.

    def receive_data(self, data: bytes) -> None:
        """Take what one read brought. Raises `BadResponse`, after which nothing more is passed on."""
        if not data:
            return
        state = self._state
        if state == _IN_HEAD:
            rest = self._receive_head(data)
            if rest is not None:
                head, data = rest
                self._begin_body(head, data)
        elif state == _IN_LENGTH:
            self._remaining -= len(data)
            if self._remaining > 0:
                self._receiver.response_data(data)
            elif self._remaining == 0:
                self._receiver.response_data(data)
                self._end([])
            else:
                raise self._failed("bytes after the end of the response")
        elif state == _IN_CHUNKED:
            self._parse_chunked(data)
            self._pass_chunked()
        elif state == _UNTIL_EOF:
            self._receiver.response_data(data)
        elif state == _ENDED:
            raise self._failed("bytes after the end of the response")
        else:
            raise self._failed("bytes after a malformed response")

    def receive_eof(self) -> None:
        """The peer ended the connection cleanly, which ends a body without other framing.

        Raises `ResponseTruncated` when the response was not complete.
        """
        if self._state == _UNTIL_EOF:
            self._end([])
        elif self._state != _ENDED:
            self._failed("")
            raise ResponseTruncated("the connection ended before the response did")

    # Heads.

    def _receive_head(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """The final head and what follows it, ``None`` while it is not complete."""
        while True:
            if not self._head_bytes:
                if not data:
                    return None
                # llhttp skips empty lines and knows other protocols than HTTP; we do neither.
                if data[0] != 0x48:  # "H"
                    raise self._failed("the status line does not begin with HTTP")
                self._version = b"1.1" if data.startswith(_HTTP_1_1) else None
            tail = self._tail
            found = (tail + data if tail else data).find(_HEAD_END)
            end = len(data) if found < 0 else found + 4 - len(tail)
            self._head_bytes += end
            if self._head_bytes > MAX_RESPONSE_HEAD:
                raise self._failed(f"the response head is larger than {MAX_RESPONSE_HEAD} bytes")
            self._complete = False
            self._feed(data if end == len(data) else data[:end])
            if found < 0:
                self._tail = (tail + data)[-3:]
                return None
            head = self._finish_head()
            data = data[end:]
            if head.status >= 200:
                return head, data
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise self._failed(f"more than {MAX_INFORMATIONAL} informational responses")
            self._receiver.response_informational(head)

    def _finish_head(self) -> ResponseHead:
        parser = self._parser
        if parser is None or not self._complete:
            raise self._failed("the response head does not end where its empty line is")
        status = parser.get_status_code()
        version = self._version
        if version is None:
            version = parser.get_http_version().encode("ascii")
            if version not in {b"1.1", b"1.0"}:
                raise self._failed("the response is not HTTP/1.1 or HTTP/1.0")
        reason = self._reason
        if reason and _NOT_IN_REASON.search(reason):
            raise self._failed("control characters in the reason phrase")
        fields = self._fields
        try:
            length, chunked, persistent = _framing(fields, version)
        except BadFraming as error:
            raise self._failed(str(error)) from None
        if status not in _FINAL_STATUS:
            if not 100 <= status < 200:
                raise self._failed("a status code outside 100 to 599")
            if length is not None or chunked:
                raise self._failed("an informational response with a body")
            until_eof = False
        elif status in {204, 304} or self._head_request:
            # RFC 9112 section 6.1 forbids the one, RFC 9110 section 8.6 the other; 0 is common and clear.
            if status == 204 and (chunked or length):
                raise self._failed("a 204 response with a body")
            until_eof = False
        else:
            until_eof = not chunked and length is None
        self.keep_alive = persistent and not until_eof
        self._fields = []
        self._reason = b""
        self._head_bytes = 0
        self._tail = b""
        return ResponseHead(
            status, reason, version, fields, length, chunked, self.keep_alive, until_eof
        )

    # Bodies.

    def _begin_body(self, head: ResponseHead, data: bytes) -> None:
        if self._head_request or head.status in {204, 304}:
            remaining = 0
        elif head.chunked:
            self._state = _IN_CHUNKED
            if data:
                self._parse_chunked(data)
            self._receiver.response_head(head)
            self._pass_chunked()
            return
        elif head.content_length is None:
            self._state = _UNTIL_EOF
            self._parser = None
            self._receiver.response_head(head)
            if data:
                self._receiver.response_data(data)
            return
        else:
            remaining = head.content_length
        self._remaining = remaining - len(data)
        if self._remaining < 0:
            raise self._failed("bytes after the end of the response")
        # The parser refers to this reader: without it, no cycle is left for the collector.
        self._parser = None
        self._state = _IN_LENGTH
        self._receiver.response_head(head)
        if data:
            self._receiver.response_data(data)
        if not self._remaining:
            self._end([])

    def _parse_chunked(self, data: bytes) -> None:
        self._complete = False
        self._feed(data)
        if self._body:
            self._silent = 0
        else:
            self._silent += len(data)
            if self._silent > MAX_FRAMING_BYTES:
                raise self._failed(f"more than {MAX_FRAMING_BYTES} bytes of chunk framing")
        self._tail = data[-5:] if len(data) >= 5 else (self._tail + data)[-5:]
        # llhttp skips CR and LF after a message: the body ended here only if just one empty line did it.
        if self._complete and (self._tail[1:] != _HEAD_END or self._tail[0] in b"\r\n"):
            raise self._failed("bytes after the end of the response")

    def _pass_chunked(self) -> None:
        complete = self._complete
        if self._body:
            body, self._body = self._body, []
            for piece in body:
                self._receiver.response_data(piece)
        if complete:
            self._end(self._fields)

    def _end(self, trailers: Headers) -> None:
        self._state = _ENDED
        self._parser = None
        self._receiver.response_end(trailers)

    def _failed(self, detail: str) -> BadResponse:
        self._state = _FAILED
        self._parser = None
        self.keep_alive = False
        return BadResponse(detail)

    # What llhttp tells us.

    def _feed(self, data: bytes) -> None:
        parser = self._parser
        assert parser is not None  # only heads and chunked bodies come here
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise self._failed("a 101 response that was not asked for") from None
        except httptools.HttpParserError as error:
            if parser.get_status_code() == 101:
                raise self._failed("a 101 response that was not asked for") from None
            # llhttp's own words, which quote nothing of the message.
            raise self._failed(self._fault or str(error)) from None

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self._state == _IN_CHUNKED:
            self._fault = "bytes after the end of the response"
            raise BadResponse(self._fault)

    def on_status(self, reason: bytes) -> None:
        """Called by the parser, for each piece of the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser, for header and trailer fields."""
        fields = self._fields
        if len(fields) >= MAX_RESPONSE_FIELDS:
            self._fault = f"more than {MAX_RESPONSE_FIELDS} fields"
            raise BadResponse(self._fault)
        if self._state == _IN_CHUNKED and name.lower() == b"transfer-encoding":
            self._fault = "Transfer-Encoding among the trailers"
            raise BadResponse(self._fault)
        fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._complete = True

    def on_body(self, data: bytes) -> None:
        """Called by the parser, for the data of chunks."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._complete = True


def _framing(fields: Headers, version: bytes) -> tuple[int | None, bool, bool]:
    """Length, whether chunked, whether the connection persists (RFC 9112 sections 6 and 9.3).

    Raises `BadFraming`.
    """
    length: int | None = None
    chunked = False
    options: list[bytes] = []
    for name, value in fields:
        if len(name) not in _FRAMING_NAME_LENGTHS:
            continue
        match name.lower():
            case b"content-length":
                if length is not None:
                    raise BadFraming("Content-Length is repeated")
                length = parse_content_length(value)
            case b"transfer-encoding":
                # We never send TE, so no other coding may be applied (RFC 9110 section 10.1.4).
                if chunked or value.lower() != b"chunked":
                    raise BadFraming("Transfer-Encoding is not just chunked")
                chunked = True
            case b"connection":
                options += list_members((value,))
    if chunked:
        if length is not None:
            raise BadFraming("Content-Length together with Transfer-Encoding")
        if version != b"1.1":
            raise BadFraming("Transfer-Encoding in an HTTP/1.0 message")
    if version == b"1.1":
        return length, chunked, b"close" not in options
    return length, chunked, b"keep-alive" in options and b"close" not in options
