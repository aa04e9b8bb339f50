"""Requests for another method than the request line says, and what may be sent twice.

Frameworks heed a field or a parameter of the query in the place of the method. Whether a request
only reads, and whether it may be repeated, is judged by what a lease may make of it; both judge by
the names that stand here.
"""

from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from portal_gateway.wire.field_names import folded_name

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

_FIELDS: Final = frozenset(
    {
        b"http-method",
        b"http-method-override",
        b"method-override",
        b"x-http-method",
        b"x-http-method-override",
        b"x-http-verb",
        b"x-http-verb-override",
        b"x-method",
        b"x-method-override",
        b"x-original-method",
        b"x-rest-method",
    }
)
"""Fields in which some framework looks for the method, as `folded_name` writes them."""

_PARAMETERS: Final = _FIELDS | {b"httpmethod", b"httpverb", b"http-verb"}
"""Parameters of a query likewise, without the marks at their ends (``_method``, ``$method``)."""

_BARE: Final = frozenset({b"method", b"verb"})
"""Parameters that mean the method where a mark precedes them. Without one an API may call anything
so, and only a value that is one of `_CHANGING` is a method."""

_CHANGING: Final = frozenset({b"DELETE", b"PATCH", b"POST", b"PUT"})

_HINTS: Final = (b"method", b"verb")
"""What every name above holds."""


def fields_name_a_method(names: Iterable[bytes]) -> bool:
    """Whether one of these field names, in lower case, asks for another method.

    Its value does not matter: a field that is there twice may be read either way.
    """
    joined = b"\n".join(names)
    if _HINTS[0] not in joined and _HINTS[1] not in joined:
        return False
    return not _FIELDS.isdisjoint(map(folded_name, joined.split(b"\n")))


def query_names_a_method(query: bytes) -> bool:
    """Whether a parameter of ``query`` asks for a method that does more than read."""
    for name, value in _method_parameters(query):
        method = value.strip().upper()
        if method in _CHANGING or (name not in _BARE and method not in _READING):
            return True
    return False


def query_has_a_method(query: bytes) -> bool:
    """Whether a parameter of ``query`` names any method."""
    return next(_method_parameters(query), None) is not None


def _method_parameters(query: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The parameters that may name a method, decoded. A bare name has no mark before it."""
    text = (unquote_to_bytes(query) if b"%" in query else query).lower()
    if _HINTS[0] not in text and _HINTS[1] not in text:
        return
    for part in query.replace(b";", b"&").split(b"&"):
        raw_name, _, raw_value = part.partition(b"=")
        folded = folded_name(unquote_to_bytes(raw_name))
        name = folded.strip(b"-")
        if name in _BARE:
            name = name if folded.startswith(name) else b"-" + name
        elif name not in _PARAMETERS:
            continue
        yield name, unquote_to_bytes(raw_value.replace(b"+", b" "))


def may_be_repeated(head: bytes) -> bool:
    """Whether a request may be sent twice, by its whole head as it went to the lease.

    A request to read that has a body is more than its method says (RFC 9110 section 9.3.1).
    """
    request_line, *lines = head.split(b"\r\n")
    method, _, rest = request_line.partition(b" ")
    if method not in IDEMPOTENT_METHODS:
        return False
    names = [line.partition(b":")[0].lower() for line in lines]
    if fields_name_a_method(names):
        return False
    if query_names_a_method(rest.partition(b" ")[0].partition(b"?")[2]):
        return False
    has_body = b"transfer-encoding" in names or any(
        line.lower().startswith(b"content-length:") and line[15:].strip() != b"0" for line in lines
    )
    return not (has_body and method in _READING)
