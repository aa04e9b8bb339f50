"""The head of one HTTP/2 request, made into what an HTTP/1.1 request would be (RFC 9113 section 8).

It is judged by the same code as one that came as HTTP/1.1, so there is one opinion on methods,
hosts, lengths and targets. What only HTTP/2 has, pseudo fields and fields that are forbidden, is
judged here. Nothing of it can reach an upstream but as a `RequestHead`.
"""

import re
from collections.abc import Sequence

from portal_gateway.wire.http1_head import METHODS, BadLength, BadRequest, RequestHead, build_head
from portal_gateway.wire.http1_request import RequestLimits
from portal_gateway.wire.http_fields import Headers, list_members, permitted_trailers

__all__ = ["MalformedRequest", "read_request", "read_trailers"]

_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
"""A field name: a token in lower case (RFC 9113 section 8.2)."""

_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
"""A field value: no controls but tabs, no white space at its ends (RFC 9113 section 8.2.1)."""

_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_PATH = re.compile(rb"/[!\"$-\[\]-~]*|\*")
"""The same characters as in a request line of HTTP/1.1, but no absolute form."""

_FORBIDDEN = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
"""Fields of one connection, which HTTP/2 does not have (RFC 9113 section 8.2.2)."""

_SCHEMES = frozenset({b"https", b"http"})

_LINE_OVERHEAD = 4
"""Bytes that a field has besides name and value as a line of HTTP/1.1."""

_REQUEST_LINE_OVERHEAD = len(b"  HTTP/1.1")


class MalformedRequest(BadRequest):
    """It is none in HTTP/2 at all: a stream error and nothing to answer (RFC 9113 8.1.1)."""

    def __init__(self, detail: str) -> None:
        super().__init__("bad_request", detail)


def read_request(
    fields: Sequence[tuple[bytes, bytes]], limits: RequestLimits, *, ends: bool
) -> RequestHead:
    """The head that ``fields`` are; ``ends``: there is no body. Raises `BadRequest`,
    of which a `MalformedRequest` is no request at all.

    ``Host`` stands first in it and is the authority. Crumbs of ``Cookie`` are joined. A body
    without a stated length is as one that is chunked.
    """
    pseudo, others = _divide(fields)
    method, path, authority = _requested(pseudo, others, limits)
    headers = _plain_fields(others, limits)
    headers.insert(0, (b"Host", authority))
    try:
        head = build_head(method, path, b"1", headers)
    except BadLength as bad:
        raise MalformedRequest(bad.detail) from None
    head.version = b"2"
    head.keep_alive = True
    length = head.content_length
    if ends:
        if length:
            raise MalformedRequest("the request ends without the body that is announced")
    elif length is None:
        head.chunked = True
    elif limits.body is not None and length > limits.body:
        raise BadRequest(
            "content_too_large", f"the body is longer than {limits.body} bytes", limit="body"
        )
    head.expects_continue = (
        head.has_body
        and b"expect" in head.index
        and b"100-continue" in list_members(head.values(b"expect"))
    )
    return head


def read_trailers(fields: Sequence[tuple[bytes, bytes]], limits: RequestLimits) -> Headers:
    """The trailer fields that may be passed on. Raises `BadRequest`."""
    if any(name.startswith(b":") for name, _ in fields):
        raise MalformedRequest("pseudo fields have no place in trailers")
    return permitted_trailers(_plain_fields(fields, limits))


def _divide(
    fields: Sequence[tuple[bytes, bytes]],
) -> tuple[dict[bytes, bytes], Sequence[tuple[bytes, bytes]]]:
    """Pseudo fields, each once and all of them first, and the others."""
    pseudo: dict[bytes, bytes] = {}
    for position, (name, value) in enumerate(fields):
        if not name.startswith(b":"):
            others = fields[position:]
            break
        if name in pseudo or name not in _PSEUDO:
            raise MalformedRequest("a pseudo field is unknown or repeated")
        pseudo[name] = value
    else:
        others = ()
    return pseudo, others


def _requested(
    pseudo: dict[bytes, bytes], others: Sequence[tuple[bytes, bytes]], limits: RequestLimits
) -> tuple[bytes, bytes, bytes]:
    """Method, path and authority."""
    try:
        method, scheme, path = pseudo[b":method"], pseudo[b":scheme"], pseudo[b":path"]
    except KeyError:
        raise MalformedRequest("a pseudo field is missing") from None
    if len(method) + len(path) + _REQUEST_LINE_OVERHEAD > limits.request_line:
        raise BadRequest(
            "uri_too_long",
            f"the request line is longer than {limits.request_line} bytes",
            limit="request_line",
        )
    if _METHOD.fullmatch(method) is None or scheme not in _SCHEMES:
        raise MalformedRequest("the method or the scheme cannot be one")
    if method not in METHODS:
        raise BadRequest("method_not_implemented", "the method is not one that is known here")
    if not path:
        raise MalformedRequest("the path is empty")
    if _PATH.fullmatch(path) is None:
        raise BadRequest("bad_request", "the path is not a path")
    return method, path, _authority(pseudo.get(b":authority"), others)


def _authority(authority: bytes | None, others: Sequence[tuple[bytes, bytes]]) -> bytes:
    """What is asked, by ``:authority`` or ``Host``; both say the same."""
    hosts = [value for name, value in others if name == b"host"]
    if len(hosts) > 1:
        raise BadRequest("bad_request", "Host is repeated")
    if authority is None:
        if not hosts:
            raise BadRequest("bad_request", "neither :authority nor Host is given")
        authority = hosts[0]
    elif hosts and hosts[0].lower() != authority.lower():
        raise BadRequest("bad_request", ":authority and Host are not the same")
    return authority


def _plain_fields(fields: Sequence[tuple[bytes, bytes]], limits: RequestLimits) -> Headers:
    """The fields that mean the same in HTTP/1.1, cookies joined and without ``Host``."""
    if len(fields) > limits.fields:
        # Crumbs of cookies are one field in the end, but each costs what a field costs.
        raise BadRequest(
            "header_fields_too_large", f"there are more than {limits.fields} fields", limit="fields"
        )
    size = 0
    kept: Headers = []
    cookies = []
    for name, value in fields:
        size += len(name) + len(value) + _LINE_OVERHEAD
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise MalformedRequest("a field holds a character that fields cannot hold")
        if name in _FORBIDDEN or (name == b"te" and value.lower() != b"trailers"):
            raise MalformedRequest("a field has no place in HTTP/2")
        if name == b"cookie":
            cookies.append(value)
        elif name != b"host":
            kept.append((name, value))
    if size > limits.header:
        raise BadRequest(
            "header_fields_too_large",
            f"the header fields are longer than {limits.header} bytes",
            limit="header",
        )
    if cookies:
        # RFC 9113 section 8.2.3.
        kept.append((b"cookie", b"; ".join(cookies)))
    return kept
