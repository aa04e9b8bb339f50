"""Writing HTTP/1.1 messages, shared by the server and the client end (RFC 9112).

Messages are always built from their parsed form, never copied from what arrived. A head that a CR,
LF or NUL in any part would split or cut is refused with `UnsafeField`, whoever put it there.
"""

from collections.abc import Sequence
from email.utils import formatdate

from portal_gateway.wire.http_fields import FieldNames, HTTPSyntaxError, field_values, list_members

__all__ = [
    "CHUNK_END",
    "CONTINUE",
    "LAST_CHUNK",
    "UnsafeField",
    "chunk",
    "chunk_head",
    "frame_response",
    "http_date",
    "last_chunk",
    "serialise_request",
    "serialise_response",
]

CHUNK_END = b"\r\n"
"""What follows the data of one chunk."""

LAST_CHUNK = b"0\r\n\r\n"
"""The end of a chunked body without trailers."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""The interim response that asks for the body (RFC 9110 section 15.2.1)."""


_FRAMING = FieldNames(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
    }
)
"""Fields that `frame_response` writes itself, or that mean nothing to this hop's client."""

_SPLITTING = b"\r\n\0"

_NO_CONTENT = 204


class UnsafeField(HTTPSyntaxError):
    """A part of a head holds a CR, LF or NUL, which would make it another message."""


def _head(
    first_line: bytes, headers: Sequence[tuple[bytes, bytes]], last_lines: bytes = b"\r\n"
) -> bytes:
    """``last_lines`` are ready-made field lines of ours and the empty line."""
    head = b"\r\n".join([first_line, *[b": ".join(field) for field in headers], last_lines])
    # Every line here was written with exactly one CR and one LF: any more came from a part of it.
    lines = 1 + len(headers) + last_lines.count(b"\n")
    if len(head) - len(head.translate(None, _SPLITTING)) != 2 * lines:
        raise UnsafeField("a part of the message head holds CR, LF or NUL")
    return head


def serialise_request(
    method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """The head of an HTTP/1.1 request, blank line included. Raises `UnsafeField`.

    A space in the method or target would make another request line as well; it is refused likewise.
    """
    if b" " in target or b" " in method or not target or not method:
        raise UnsafeField("the request line holds a space too many, or nothing where it must not")
    return _head(b"%b %b HTTP/1.1" % (method, target), headers)


def serialise_response(status: int, reason: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The head of an HTTP/1.1 response, blank line included. Raises `UnsafeField`.

    The version is 1.1 for HTTP/1.0 clients too: it says what the server is able to do, not what the
    client asked in (RFC 9110 section 6.2).
    """
    return _head(b"HTTP/1.1 %d %b" % (status, reason), headers)


def chunk_head(length: int) -> bytes:
    """The line before a chunk's data of ``length`` bytes; not for 0, which would end the body."""
    return b"%x\r\n" % length


def chunk(data: bytes) -> bytes:
    """``data`` as one chunk; nothing for no data, since an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """The end of a chunked body (RFC 9112 section 7.1.2). Raises `UnsafeField`."""
    return _head(b"0", trailers) if trailers else LAST_CHUNK


def http_date(now: float) -> bytes:
    """``now`` (seconds of the epoch) as ``Date`` writes it (RFC 9110 section 5.6.7)."""
    return formatdate(now, usegmt=True).encode("ascii")


def frame_response(
    status: int,
    reason: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    length: int | None,
    has_body: bool,
    is_1_1: bool,
    keep_alive: bool,
) -> tuple[bytes, bool, bool]:
    """The head of a final response with the framing that its client understands.

    Gives the head, whether the body is chunked, and whether another request may follow.
    ``length`` is stated where it is known, also where no body follows (HEAD, 304), but never with a
    204 (RFC 9110 section 8.6); a body of unknown length is chunked, or for HTTP/1.0 ends with the
    connection. Framing fields and connection options among ``headers`` are left out; a
    ``Connection: close`` there is obeyed, and ``Connection: Upgrade`` stays, which an ``Upgrade``
    needs (RFC 9110 section 7.8). Raises `UnsafeField`.
    """
    fields = [field for field in headers if field[0] not in _FRAMING]
    upgrade = b""
    if len(fields) != len(headers):
        options = list_members(field_values(headers, b"connection"))
        if b"close" in options:
            keep_alive = False
        if b"upgrade" in options:
            upgrade = b"Connection: Upgrade\r\n"
    chunked = False
    framing = b""
    if length is not None:
        if status != _NO_CONTENT:
            framing = b"Content-Length: %d\r\n" % length
    elif has_body:
        if is_1_1:
            chunked = True
            framing = b"Transfer-Encoding: chunked\r\n"
        else:
            keep_alive = False
    if not keep_alive:
        framing += b"Connection: close\r\n"
    elif not is_1_1:
        framing += b"Connection: keep-alive\r\n"
    framing += upgrade + b"\r\n"
    data = _head(b"HTTP/1.1 %d %b" % (status, reason), fields, framing)
    return data, chunked, keep_alive
