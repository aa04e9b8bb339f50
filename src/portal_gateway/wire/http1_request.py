"""Reading HTTP/1.x requests: bytes in, parsed requests out, or one refusal (RFC 9112).

llhttp cannot pause, and httptools does not tell where a message ended. So llhttp is given exactly
one header at a time (`http1_head`), and bodies are cut here, by length or chunk by chunk. A
pipelined request stays unread bytes until `RequestReader.next_request` asks for it, and every bound
is checked on bytes that have not been parsed yet.
"""

import re
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from portal_gateway.wire.http1_head import (
    METHODS,
    REQUEST_LINE,
    BadRequest,
    RequestHead,
    build_head,
    read_fields,
)
from portal_gateway.wire.http_fields import Headers, permitted_trailers

__all__ = [
    "METHODS",
    "BadRequest",
    "RequestHead",
    "RequestLimits",
    "RequestReader",
    "RequestReceiver",
]

_STRAY = re.compile(rb"\r(?!\n|\Z)|(?<!\r)\n|\0")
"""A CR or LF that is not half of a line end, or a NUL (RFC 9112 section 2.2)."""

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t -~\x80-\xff]+)?\r\n")

_CHUNK_LINE_START = re.compile(rb"(?:[0-9A-Fa-f]{1,16}(?:;[\t -~\x80-\xff]*)?\r?)?")
"""What a chunk's line can look like before its line end has come."""

_MAX_CHUNK_LINE = 1024
"""Bytes of a chunk's line with its extensions; signed uploads, the one known use, need 90."""

_CHUNK_ALLOWANCE = 16
"""Bytes of framing that each chunk may cost for free, besides twice its data."""

_MAX_CHUNK_OVERHEAD = 16 * 1024
"""Bytes of framing beyond what the chunks explain: room for a client that sends a few odd ones.

A body of extensions or of empty lines would cost the reader more than its sender.
"""

_MAX_CHUNK = 2**63 - 1

_NO_FIELDS: Final[Headers] = []

_HEAD, _LENGTH, _CHUNK_SIZE, _CHUNK_DATA, _CHUNK_END, _TRAILERS, _HELD, _DEAD = range(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """How large a request may be, in bytes; ``fields`` is a count; ``body`` None is no limit.

    ``header`` bounds everything between the request line and the body; trailers are held to the
    same two bounds once more.
    """

    request_line: int = 8 * 1024
    header: int = 32 * 1024
    fields: int = 100
    body: int | None = None


class RequestReceiver(Protocol):
    """What a `RequestReader` calls. For a request without a body, `request_head` is all."""

    def request_head(self, head: RequestHead) -> None:
        """A request has begun."""

    def request_data(self, data: bytes) -> None:
        """A part of its body, never empty."""

    def request_end(self, trailers: Headers) -> None:
        """Its body is complete."""


class RequestReader:
    """Turns the bytes of one connection into calls of its receiver.

    `receive_data` and `next_request` raise `BadRequest`; the reader is dead afterwards and ignores
    what follows. What it keeps of the input is bounded: a header up to its limits, one line of a
    chunk, or, while a request is held back, what the last `receive_data` brought.
    """

    __slots__ = (
        "_excess",
        "_left",
        "_limits",
        "_pending",
        "_pieces",
        "_reading",
        "_receiver",
        "_room",
        "_scanned",
        "_skipped_line",
        "_state",
        "_tail",
        "_total",
        "request_line",
    )

    def __init__(self, receiver: RequestReceiver, limits: RequestLimits | None = None) -> None:
        self._receiver = receiver
        self._limits = limits or RequestLimits()
        self._state = _HEAD
        self._pending = b""
        # What came behind ``_pending``, its last bytes, and how many more can come until a check.
        self._pieces: list[bytes] = []
        self._tail = b""
        self._room = 0
        self._scanned = 0
        self._reading = False
        self._skipped_line = False
        self._left = 0
        self._total = 0
        self._excess = 0
        self.request_line: tuple[bytes, bytes] | None = None
        """Method and target of the request being read, once they are known."""

    @property
    def held(self) -> bool:
        """Whether a request has been read to its end and `next_request` is awaited."""
        return self._state == _HELD

    @property
    def in_body(self) -> bool:
        """Whether the body of a request is being read."""
        return _LENGTH <= self._state <= _TRAILERS

    @property
    def has_pending(self) -> bool:
        """Whether bytes are kept: of an unfinished header or chunk, or of the next requests."""
        return bool(self._pending)

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the connection. Raises `BadRequest`."""
        if self._pending:
            if self._room and self._goes_on(data):
                return
            pieces = self._pieces
            if pieces:
                data = b"".join([self._pending, *pieces, data])
                pieces.clear()
            else:
                data = self._pending + data
            self._pending = b""
        if data:
            self._read(data)

    def _goes_on(self, data: bytes) -> bool:
        """Whether ``data`` leaves an unfinished head or trailers as unfinished, and is kept.

        However small the pieces are, each byte is looked at once, and joined once.
        """
        room = self._room - len(data)
        tail = self._tail
        end = tail + data
        awaited = b"\r\n" if self._in_line else b"\r\n\r\n"
        if room <= 0 or awaited in end or _STRAY.search(end, len(tail) - 1):
            return False
        self._room = room
        self._tail = end[-3:]
        self._pieces.append(data)
        return True

    @property
    def _in_line(self) -> bool:
        return self._state == _HEAD and self.request_line is None

    def next_request(self) -> None:
        """Go on with the next request, once the last one was read to its end.

        May be called from inside a call of the receiver. Raises `BadRequest`.
        """
        if self._state != _HELD:
            return
        self._state = _HEAD
        self._skipped_line = False
        self._scanned = 0
        self.request_line = None
        if self._pending and not self._reading:
            data, self._pending = self._pending, b""
            self._read(data)

    def take_rest(self) -> bytes:
        """Read nothing more, and give back what came behind the request that was read last.

        Raises RuntimeError where that request has not been read to its end.
        """
        if not self.held or self._reading:
            raise RuntimeError("the request has not been read to its end")
        rest = self._pending
        self.stop()
        return rest

    def stop(self) -> None:
        """Read nothing more."""
        self._state = _DEAD
        self._pending = b""
        self._pieces.clear()

    def _read(self, data: bytes) -> None:
        """Read step by step until the bytes are used up, or more are needed for the next step."""
        self._reading = True
        self._room = 0
        position = 0
        try:
            while position < len(data):
                step = _STEPS[self._state]
                if step is None or (end := step(self, data, position)) is None:
                    if self._state != _DEAD:
                        self._pending = pending = data[position:] if position else data
                        self._tail = pending[-3:]
                    return
                position = end
        except BadRequest:
            self.stop()
            raise
        finally:
            self._reading = False

    # Each step reads from ``position`` on and returns where it stopped, or None when it needs to
    # see the bytes from there again, with more behind them.

    def _read_head(self, data: bytes, position: int) -> int | None:
        if not self._skipped_line and data.startswith(b"\r\n", position):
            # One empty line before a request is forgiven (RFC 9112 section 2.2).
            self._skipped_line = True
            return position + 2
        end = data.find(b"\r\n\r\n", position + self._scanned)
        if end < 0:
            self._check_partial_head(data, position)
            self._scanned = max(0, len(data) - position - 3)
            return None
        end += 4
        limits = self._limits
        line = REQUEST_LINE.match(data, position)
        if line is None or line.end() - position - 2 > limits.request_line:
            self._refuse_line(data, position)
        method, target, minor = line.groups()
        self.request_line = method, target
        if end - line.end() > limits.header:
            self._refuse_header(data, line.end())
        if method not in METHODS:
            raise BadRequest("method_not_implemented", "the method is not one that is known here")
        headers = read_fields(data if end - position == len(data) else data[position:end])
        if len(headers) > limits.fields:
            self._refuse_fields("fields")
        head = build_head(method, target, minor, headers)
        length = head.content_length
        if head.chunked:
            self._state = _CHUNK_SIZE
            self._total = 0
            self._excess = 0
        elif length:
            if limits.body is not None and length > limits.body:
                _refuse_body(limits.body)
            self._state = _LENGTH
            self._left = length
        else:
            self._state = _HELD
        self._receiver.request_head(head)
        return end

    def _check_partial_head(self, data: bytes, position: int) -> None:
        """Refuse an incomplete head as soon as it is certain that it will be refused.

        The checks are those for a complete one in the same order, so that the verdict does not
        depend on how the bytes were cut.
        """
        limit = self._limits.request_line
        line_end = data.find(b"\r\n", position)
        if line_end < 0 or line_end - position > limit:
            room = limit + 1  # and the CR of its end
            if len(data) - position > room or _STRAY.search(data, position):
                self._refuse_line(data, position)
            self._room = room + 1 - (len(data) - position)
            return
        line = REQUEST_LINE.match(data, position)
        if line is None:
            self._refuse_line(data, position)
        self.request_line = line[1], line[2]
        if len(data) - line.end() > self._limits.header:
            self._refuse_header(data, line.end())
        if _STRAY.search(data, max(line.end(), position + self._scanned)):
            raise BadRequest("bad_request", "the header holds a CR, LF or NUL that ends no line")
        self._room = self._limits.header + 1 - (len(data) - line.end())

    def _refuse_line(self, data: bytes, position: int) -> NoReturn:
        limit = self._limits.request_line
        end = data.find(b"\r\n", position, position + limit + 2)
        if end < 0 and _STRAY.search(data, position, position + limit + 1) is None:
            raise BadRequest(
                "uri_too_long",
                f"the request line is longer than {limit} bytes",
                limit="request_line",
            )
        raise BadRequest(
            "bad_request", "the request line is not a method, a target and HTTP/1.0 or HTTP/1.1"
        )

    def _refuse_header(self, data: bytes, position: int) -> NoReturn:
        limit = self._limits.header
        if _STRAY.search(data, position, position + limit + 1):
            raise BadRequest("bad_request", "the header holds a CR, LF or NUL that ends no line")
        raise BadRequest(
            "header_fields_too_large",
            f"the header fields are longer than {limit} bytes",
            limit="header",
        )

    def _refuse_fields(self, what: str) -> NoReturn:
        raise BadRequest(
            "header_fields_too_large",
            f"there are more than {self._limits.fields} {what}",
            limit="fields",
        )

    def _read_length(self, data: bytes, position: int) -> int:
        end = position + min(self._left, len(data) - position)
        self._left -= end - position
        self._receiver.request_data(data if end - position == len(data) else data[position:end])
        if not self._left and self._state == _LENGTH:
            self._end(_NO_FIELDS)
        return end

    def _read_chunk_size(self, data: bytes, position: int) -> int | None:
        line = _CHUNK_LINE.match(data, position)
        if line is None or line.end() - position > _MAX_CHUNK_LINE:
            start = data[position : position + _MAX_CHUNK_LINE]
            if len(start) == _MAX_CHUNK_LINE or _CHUNK_LINE_START.fullmatch(start) is None:
                raise BadRequest("bad_request", "a chunk does not begin with its size")
            return None
        size = int(line[1], 16)
        end = line.end()
        if size > _MAX_CHUNK:
            raise BadRequest("bad_request", "a chunk is 2**63 bytes or longer")
        framing = end - position + 2
        self._excess = max(0, self._excess + framing - _CHUNK_ALLOWANCE - 2 * size)
        if self._excess > _MAX_CHUNK_OVERHEAD:
            raise BadRequest("bad_request", "the chunks hold far more framing than data")
        if not size:
            self._state = _TRAILERS
            self._scanned = 0
            return end
        self._total += size
        limit = self._limits.body
        if limit is not None and self._total > limit:
            _refuse_body(limit)
        self._left = size
        self._state = _CHUNK_DATA
        return end

    def _read_chunk_data(self, data: bytes, position: int) -> int:
        end = position + min(self._left, len(data) - position)
        self._left -= end - position
        if not self._left:
            self._state = _CHUNK_END
        self._receiver.request_data(data if end - position == len(data) else data[position:end])
        return end

    def _read_chunk_end(self, data: bytes, position: int) -> int | None:
        if data.startswith(b"\r\n", position):
            self._state = _CHUNK_SIZE
            return position + 2
        if data[position:] == b"\r":
            return None
        raise BadRequest("bad_request", "a chunk is longer than its size")

    def _read_trailers(self, data: bytes, position: int) -> int | None:
        if data.startswith(b"\r\n", position):
            self._end(_NO_FIELDS)
            return position + 2
        end = data.find(b"\r\n\r\n", position + self._scanned)
        size = (end + 4 if end >= 0 else len(data)) - position
        if size > self._limits.header:
            self._refuse_header(data, position)
        if end < 0:
            if _STRAY.search(data, position + self._scanned):
                raise BadRequest(
                    "bad_request", "the trailers hold a CR, LF or NUL that ends no line"
                )
            self._scanned = max(0, size - 3)
            if size > 1:
                # A lone CR is perhaps the first half of the end.
                self._room = self._limits.header + 1 - size
            return None
        # The same reader as for a header; it needs a request line, and only the fields matter.
        trailers = read_fields(b"GET / HTTP/1.1\r\n" + data[position : end + 4])
        if len(trailers) > self._limits.fields:
            self._refuse_fields("trailers")
        self._end(permitted_trailers(trailers))
        return end + 4

    def _end(self, trailers: Headers) -> None:
        self._state = _HELD
        self._receiver.request_end(trailers)


_STEPS: Final = (
    RequestReader._read_head,  # noqa: SLF001 - the table of the class's own steps
    RequestReader._read_length,  # noqa: SLF001
    RequestReader._read_chunk_size,  # noqa: SLF001
    RequestReader._read_chunk_data,  # noqa: SLF001
    RequestReader._read_chunk_end,  # noqa: SLF001
    RequestReader._read_trailers,  # noqa: SLF001
    None,
    None,
)
"""What is done in each state; nothing in the last two."""


def _refuse_body(limit: int) -> NoReturn:
    raise BadRequest("content_too_large", f"the body is longer than {limit} bytes", limit="body")
