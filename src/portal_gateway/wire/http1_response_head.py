"""What the head of an HTTP/1.1 response says: how its body is framed, whether the connection lasts.

Pure judgement of fields that were already taken apart; `ResponseReader` does that.
"""

import re

from portal_gateway.wire.errors import WireError
from portal_gateway.wire.http_fields import (
    BadFraming,
    FieldNames,
    Headers,
    list_members,
    parse_content_length,
)

__all__ = ["BadResponse", "ResponseHead", "has_no_body", "judge_head"]

_NOT_IN_REASON = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING = FieldNames((b"connection", b"content-length", b"transfer-encoding"))


class BadResponse(WireError):
    """The bytes are not one HTTP/1.1 response that can be read in one way only."""


class ResponseHead:
    """Status line and header of a response, and how its body is framed.

    ``headers`` are as received, framing fields included. ``content_length`` is what the field says,
    also where no body follows (HEAD, 204, 304); ``until_eof`` says that the body ends with the
    connection; ``keep_alive`` that the connection may carry another response after this one.
    """

    # As in `RequestHead`, no named tuple.
    __slots__ = (
        "chunked",
        "content_length",
        "headers",
        "keep_alive",
        "reason",
        "status",
        "until_eof",
        "version",
    )

    def __init__(
        self,
        status: int,
        reason: bytes,
        version: bytes,
        headers: Headers,
        *,
        content_length: int | None,
        chunked: bool,
        keep_alive: bool,
        until_eof: bool,
    ) -> None:
        self.status = status
        self.reason = reason
        self.version = version
        self.headers = headers
        self.content_length = content_length
        self.chunked = chunked
        self.keep_alive = keep_alive
        self.until_eof = until_eof


def has_no_body(status: int, *, head_request: bool) -> bool:
    """Whether a final response ends with its head, whatever that says (RFC 9112 section 6.3)."""
    return head_request or status in {204, 304}


def judge_head(
    status: int, reason: bytes, version: bytes, fields: Headers, *, head_request: bool
) -> ResponseHead:
    """The head that these parts make.

    Raises `BadResponse` where they contradict each other or RFC 9112, so that another recipient
    might see another message.
    """
    if not 100 <= status <= 599:
        raise BadResponse("a status code outside 100 to 599")
    if reason and _NOT_IN_REASON.search(reason):
        raise BadResponse("control characters in the reason phrase")
    try:
        length, codings, options = _framing(fields)
    except BadFraming as error:
        raise BadResponse(str(error)) from None
    chunked = bool(codings)
    if chunked:
        _check_codings(codings, version, length)
    keep_alive = b"close" not in options and (version == b"1.1" or b"keep-alive" in options)
    if status < 200 or status == 204:
        # RFC 9112 section 6.1 and RFC 9110 section 8.6 forbid both; a length of 0 is common with
        # 204, and clear.
        if chunked or (length is not None and (length or status < 200)):
            raise BadResponse("a body announced with a status code that has none")
        until_eof = False
    else:
        until_eof = not (
            chunked or length is not None or has_no_body(status, head_request=head_request)
        )
    return ResponseHead(
        status,
        reason,
        version,
        fields,
        content_length=length,
        chunked=chunked,
        keep_alive=keep_alive and not until_eof,
        until_eof=until_eof,
    )


def _check_codings(codings: list[bytes], version: bytes, length: int | None) -> None:
    # We never send TE, so no coding but chunked may be applied (RFC 9110 section 10.1.4).
    if len(codings) > 1 or codings[0].lower() != b"chunked":
        raise BadResponse("Transfer-Encoding is not just chunked")
    if length is not None:
        raise BadResponse("Content-Length together with Transfer-Encoding")
    if version != b"1.1":
        raise BadResponse("Transfer-Encoding in an HTTP/1.0 message")


def _framing(fields: Headers) -> tuple[int | None, list[bytes], list[bytes]]:
    """Length, values of Transfer-Encoding, members of Connection. Raises `BadFraming`."""
    length: int | None = None
    codings: list[bytes] = []
    options: list[bytes] = []
    for name, value in fields:
        if name not in _FRAMING:
            continue
        lower_name = name.lower()
        if lower_name == b"content-length":
            if length is not None:
                raise BadFraming("Content-Length is repeated")
            length = parse_content_length(value)
        elif lower_name == b"transfer-encoding":
            codings.append(value)
        elif lower_name == b"connection":
            options += list_members((value,))
    return length, codings, options
