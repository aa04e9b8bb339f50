"""Requests for another method than the request line says, and what may be sent twice.

Frameworks heed a field or a parameter of the query in the place of the method. Whether a request
only reads, and whether it may be repeated, is judged by what a lease may make of it; both judge by
the names that stand here.
"""

import re
from collections.abc import Iterable, Iterator
from string import ascii_letters, digits
from typing import Final
from urllib.parse import unquote_to_bytes

__all__ = [
    "IDEMPOTENT_METHODS",
    "fields_name_a_method",
    "may_be_repeated",
    "query_has_a_method",
    "query_names_a_method",
]

IDEMPOTENT_METHODS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""Methods whose request may be sent twice (RFC 9110 section 9.2.2). TRACE is refused elsewhere."""

_READING: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})

_NAMES: Final = frozenset(
    {
        b"httpmethod",
        b"httpmethodoverride",
        b"httpverb",
        b"httpverboverride",
        b"methodoverride",
        b"overridemethod",
        b"xhttpmethod",
        b"xhttpmethodoverride",
        b"xhttpverb",
        b"xhttpverboverride",
        b"xmethod",
        b"xmethodoverride",
        b"xoriginalmethod",
        b"xoverridemethod",
        b"xrestmethod",
    }
)
"""Fields and parameters in which some framework looks for the method, as `_letters` writes them."""

_BARE: Final = frozenset({b"method", b"verb"})
"""Parameters that mean the method where a mark precedes them (``_method``, ``$method``). Without a
mark an API may call anything so, and only a value that is one of `_CHANGING` is a method."""

_CHANGING: Final = frozenset({b"DELETE", b"PATCH", b"POST", b"PUT"})

_HINTS: Final = (b"method", b"verb")
"""The words of which every name above holds one."""

_ALPHANUMERIC: Final = (ascii_letters + digits).encode("ascii")
_MARKS: Final = bytes(byte for byte in range(256) if byte not in _ALPHANUMERIC)
_LOWER: Final = bytes(range(256)).lower()

_CUT: Final = re.compile(rb"[^A-Za-z0-9_. -]")
"""Bytes at which some reader ends a name: PHP at a NUL, and at ``[`` (an array begins there)."""

_UTF16: Final = re.compile(rb"%u([0-9a-f]{4})", re.IGNORECASE)
_OVERLONG: Final = re.compile(rb"(?:[\xC0\xC1]|\xE0[\x80\x81])[\x80-\xBF]")
_FULL_WIDTH: Final = 0xFEE0
"""The distance between an ASCII character and its full-width form in Unicode."""


def _letters(name: bytes) -> bytes:
    """The letters and digits of a name, in lower case: readers differ about marks and words."""
    return name.translate(_LOWER, _MARKS)


def _decoded(text: bytes) -> bytes:
    """Text of a query as the most lenient reader decodes it.

    Older ASP.NET decodes ``%u006d``, and decoders that check nothing take overlong UTF-8.
    """
    if b"%" not in text:
        return text
    text = unquote_to_bytes(_UTF16.sub(_of_utf16, text))
    return _OVERLONG.sub(_of_overlong, text)


def _of_utf16(found: re.Match[bytes]) -> bytes:
    code = int(found[1], 16)
    if code - _FULL_WIDTH in range(0x21, 0x7F):
        code -= _FULL_WIDTH
    return b"%%%02X" % code if code < 0x80 else b"?"


def _of_overlong(found: re.Match[bytes]) -> bytes:
    sequence = found[0]
    return bytes(((sequence[-2] & 1) << 6 | sequence[-1] & 0x3F,))


def fields_name_a_method(names: Iterable[bytes]) -> bool:
    """Whether one of these field names, in lower case, asks for another method.

    Its value does not matter: a field that is there twice may be read either way.
    """
    joined = b"\n".join(names)
    if _HINTS[0] not in joined and _HINTS[1] not in joined:
        return False
    return not _NAMES.isdisjoint(map(_letters, joined.split(b"\n")))


def query_names_a_method(query: bytes) -> bool:
    """Whether a parameter of ``query`` asks for a method that does more than read."""
    for is_marked, value in _method_parameters(query):
        if is_marked and value.strip().upper() not in _READING:
            return True
        # Cut and stripped, as the name is: `DELETE%00x` and `"delete"` are that method to somebody.
        if value.strip(_MARKS).partition(b"\x00")[0].strip(_MARKS).upper() in _CHANGING:
            return True
    return False


def query_has_a_method(query: bytes) -> bool:
    """Whether a parameter of ``query`` names any method."""
    return next(_method_parameters(query), None) is not None


def _method_parameters(query: bytes) -> Iterator[tuple[bool, bytes]]:
    """The decoded values of the parameters that may name a method.

    With each value comes whether the name can mean nothing else. A name is taken as a whole, and up
    to where a reader may cut it.
    """
    text = _decoded(query).lower()
    if _HINTS[0] not in text and _HINTS[1] not in text:
        return
    for part in query.replace(b";", b"&").split(b"&"):
        raw_name, _, raw_value = part.partition(b"=")
        whole = _decoded(raw_name.replace(b"+", b" "))
        name = whole.lstrip(_MARKS)
        is_marked = len(name) != len(whole)
        for reading in {_letters(name), _letters(_CUT.split(name, maxsplit=1)[0])}:
            if reading in _NAMES or reading in _BARE:
                yield (
                    is_marked or reading in _NAMES,
                    _decoded(raw_value.replace(b"+", b" ")),
                )


def may_be_repeated(head: bytes) -> bool:
    """Whether a request may be sent twice, by its whole head as it went to the lease.

    A request to read that has a body is more than its method says (RFC 9110 section 9.3.1), and one
    to upgrade begins something that is not HTTP.
    """
    request_line, *lines = head.split(b"\r\n")
    method, _, rest = request_line.partition(b" ")
    if method not in IDEMPOTENT_METHODS:
        return False
    names = [line.partition(b":")[0].lower() for line in lines]
    if b"upgrade" in names or fields_name_a_method(names):
        return False
    if query_names_a_method(rest.partition(b" ")[0].partition(b"?")[2]):
        return False
    has_body = b"transfer-encoding" in names or any(
        line.lower().startswith(b"content-length:") and line[15:].strip() != b"0" for line in lines
    )
    return not (has_body and method in _READING)
