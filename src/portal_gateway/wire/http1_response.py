"""Reading one HTTP/1.1 response, strictly (RFC 9112), on top of llhttp.

A reader serves one request: the informational responses that may come first, then the final one.
llhttp reads heads and chunked bodies. Bodies of known length, and those that end with the
connection, are only counted here: their bytes pass as they came, and the end of the message is
known to the byte, which httptools does not tell.

What one read brought is checked as a whole before any of it is passed on, except informational
responses: a response that is malformed within its first read is never announced.
"""

from typing import Final, Protocol

import httptools

from portal_gateway.wire.http1_response_head import (
    BadResponse,
    ResponseHead,
    has_no_body,
    judge_head,
)
from portal_gateway.wire.http_fields import Headers

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

MAX_RESPONSE_HEAD: Final = 64 * 1024
"""Bytes of one response head: twice what a client may send, for cookies and policies are long."""

MAX_RESPONSE_FIELDS: Final = 200
"""Fields of one head, and of one trailer section."""

MAX_INFORMATIONAL: Final = 32
"""1xx responses before the final one.

Each may be a sign of progress (102) or a hint (103) and is passed on. A lease that sends nothing
else would hold its request for ever.
"""

MAX_FRAMING_BYTES: Final = 64 * 1024
"""Bytes in a row of a chunked body that bring no data: chunk extensions and trailers.

llhttp joins the pieces of a trailer field as they come; this bounds what it holds.
"""

_SMALL: Final = 64
"""Bytes of a head below which pieces of one line wait for more of it."""

_FIRST: Final = 0x48
"""The H of HTTP."""

_HEAD_END: Final = b"\r\n\r\n"
_EXTRA_BYTES: Final = "bytes after the end of the response"
_UNASKED_101: Final = "a 101 response that was not asked for"
_SWITCHING_PROTOCOLS: Final = 101
_IN_HEAD, _IN_LENGTH, _IN_CHUNKED, _UNTIL_EOF, _ENDED, _FAILED = range(6)


class ResponseTruncated(BadResponse):
    """The connection ended before the response did (RFC 9112 section 8)."""


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

    def response_upgraded(self, head: ResponseHead, data: bytes) -> None:
        """A 101 that was asked for: the rest of the connection, from ``data`` on, is no HTTP."""


class ResponseReader:
    """Reads the response to one request whose method is ``request_method``.

    ``upgrade`` says that the request asked for another protocol, so that a 101 may answer it.

    The receiver is never called from inside the parser, so it may do what it likes, drop the reader
    included. ``keep_alive`` says, once the head was read, whether the connection may carry another
    response. ``CONNECT`` is not known here: its 2xx responses are a tunnel.
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
        "_small",
        "_state",
        "_tail",
        "_upgrade",
        "_version",
        "keep_alive",
    )

    def __init__(
        self, receiver: ResponseReceiver, request_method: bytes, *, upgrade: bool = False
    ) -> None:
        self._receiver = receiver
        self._upgrade = upgrade
        self._head_request = request_method == b"HEAD"
        self._state = _IN_HEAD
        self._fields: Headers = []
        self._reason = b""
        self._version = b""
        self._head_bytes = 0
        self._tail = b""
        self._small = b""
        self._informational = 0
        self._remaining = 0
        self._silent = 0
        self._body: list[bytes] = []
        self._complete = False
        self._fault = ""
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.keep_alive = False

    # What the connection tells.

    def receive_data(self, data: bytes) -> None:
        """Take what one read brought.

        Raises `BadResponse`, and passes nothing on after that; the connection is of no more use.
        """
        if not data:
            return
        state = self._state
        if state == _IN_HEAD:
            self._receive_head(data)
        elif state == _IN_LENGTH:
            self._count(data)
        elif state == _IN_CHUNKED:
            self._parse_chunked(data)
            self._pass_chunked()
        elif state == _UNTIL_EOF:
            self._receiver.response_data(data)
        else:
            raise self._failed(_EXTRA_BYTES)

    def receive_eof(self) -> None:
        """The peer ended the connection cleanly, which is the end of a body without framing.

        Raises `ResponseTruncated` when the response was not complete.
        """
        if self._small:
            small, self._small = self._small, b""
            self._read_head(small)
        if self._state == _UNTIL_EOF:
            self._end([])
        elif self._state != _ENDED:
            self._failed("")
            raise ResponseTruncated("the connection ended before the response did")

    # Heads.

    def _receive_head(self, data: bytes) -> None:
        """Read a part of a head. Small pieces are joined first: httptools copies what it has of a
        field for each."""
        if self._small or len(data) < _SMALL:
            data = self._small + data
            if len(data) < _SMALL and (self._head_bytes or data[0] == _FIRST) and b"\n" not in data:
                self._small = data
                return
            self._small = b""
        self._read_head(data)

    def _read_head(self, data: bytes) -> None:
        while data:
            tail = self._tail
            if not self._head_bytes:
                # llhttp skips empty lines, and knows other protocols than HTTP.
                if data[0] != _FIRST:
                    raise self._failed("the status line does not begin with HTTP")
                if data.startswith(b"HTTP/1.1 "):
                    self._version = b"1.1"
            found = (tail + data if tail else data).find(_HEAD_END)
            end = len(data) if found < 0 else found + 4 - len(tail)
            self._head_bytes += end
            if self._head_bytes > MAX_RESPONSE_HEAD:
                raise self._failed(f"the head is larger than {MAX_RESPONSE_HEAD} bytes")
            self._feed(data if end == len(data) else data[:end])
            if found < 0:
                self._tail = (tail + data)[-3:]
                return
            head = self._finish_head()
            data = data[end:]
            if head.status >= 200:
                self._begin_body(head, data)
                return
            if head.status == _SWITCHING_PROTOCOLS:
                self._switch(head, data)
                return
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise self._failed(f"more than {MAX_INFORMATIONAL} informational responses")
            self._receiver.response_informational(head)

    def _finish_head(self) -> ResponseHead:
        parser = self._parser
        if parser is None or not self._complete:
            raise self._failed("the head does not end with its first empty line")
        version = self._version
        if not version:
            version = parser.get_http_version().encode("ascii")
            if version not in {b"1.1", b"1.0"}:
                raise self._failed("the version is neither HTTP/1.1 nor HTTP/1.0")
        status, reason, fields = parser.get_status_code(), self._reason, self._fields
        # For the next head, or the trailers.
        self._fields = []
        self._reason = self._version = self._tail = b""
        self._head_bytes = 0
        self._complete = False
        try:
            head = judge_head(status, reason, version, fields, head_request=self._head_request)
        except BadResponse as error:
            raise self._failed(str(error)) from None
        self.keep_alive = head.keep_alive
        return head

    def _switch(self, head: ResponseHead, data: bytes) -> None:
        if not self._upgrade:
            raise self._failed(_UNASKED_101)
        self._state = _ENDED
        self._parser = None
        self._receiver.response_upgraded(head, data)

    # Bodies.

    def _begin_body(self, head: ResponseHead, data: bytes) -> None:
        no_body = has_no_body(head.status, head_request=self._head_request)
        if head.chunked and not no_body:
            self._state = _IN_CHUNKED
            if data:
                self._parse_chunked(data)
            self._receiver.response_head(head)
            self._pass_chunked()
            return
        # The parser refers to this reader: without it, no cycle is left for the collector.
        self._parser = None
        if head.until_eof:
            self._state = _UNTIL_EOF
            self._receiver.response_head(head)
            if data:
                self._receiver.response_data(data)
            return
        self._state = _IN_LENGTH
        self._remaining = 0 if no_body else head.content_length or 0
        if len(data) > self._remaining:
            raise self._failed(_EXTRA_BYTES)
        self._receiver.response_head(head)
        if data:
            self._count(data)
        elif not self._remaining:
            self._end([])

    def _count(self, data: bytes) -> None:
        self._remaining -= len(data)
        if self._remaining < 0:
            raise self._failed(_EXTRA_BYTES)
        self._receiver.response_data(data)
        if not self._remaining:
            self._end([])

    def _parse_chunked(self, data: bytes) -> None:
        self._feed(data)
        if self._body:
            self._silent = 0
        else:
            self._silent += len(data)
            if self._silent > MAX_FRAMING_BYTES:
                raise self._failed(f"more than {MAX_FRAMING_BYTES} bytes of chunks without data")
        self._tail = data[-5:] if len(data) > 4 else (self._tail + data)[-5:]
        # llhttp skips CR and LF behind a message, so the body ended here only if exactly one empty
        # line ended it.
        if self._complete and (self._tail[1:] != _HEAD_END or self._tail[0] in b"\r\n"):
            raise self._failed(_EXTRA_BYTES)

    def _pass_chunked(self) -> None:
        body, self._body = self._body, []
        for piece in body:
            self._receiver.response_data(piece)
        if self._complete:
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

    # What llhttp tells.

    def _feed(self, data: bytes) -> None:
        parser = self._parser
        assert parser is not None  # heads and chunked bodies have it, and only they come here
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # llhttp stops at a 101 that names a protocol; `_receive_head` goes on with it.
            if not self._upgrade:
                raise self._failed(_UNASKED_101) from None
        except httptools.HttpParserError as error:
            # llhttp's own words quote nothing of what it read.
            raise self._failed(self._fault or str(error)) from None

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self._state == _IN_CHUNKED:
            self._fault = _EXTRA_BYTES
            raise BadResponse(self._fault)

    def on_status(self, reason: bytes) -> None:
        """Called by the parser with each piece of the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser with each field, of the head or the trailers."""
        fields = self._fields
        if len(fields) >= MAX_RESPONSE_FIELDS:
            self._fault = f"more than {MAX_RESPONSE_FIELDS} fields"
            raise BadResponse(self._fault)
        if self._state == _IN_CHUNKED and name.lower() == b"transfer-encoding":
            # llhttp refuses Content-Length there, but not this.
            self._fault = "Transfer-Encoding among the trailers"
            raise BadResponse(self._fault)
        fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Called by the parser at the end of a head."""
        self._complete = True

    def on_body(self, data: bytes) -> None:
        """Called by the parser with the data of a chunk, or a part of it."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser at the end of a chunked body, and of a head without a body."""
        self._complete = True
