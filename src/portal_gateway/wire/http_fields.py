"""Header fields as both HTTP ends share them: a list of ``(name, value)`` in the order received.

Names keep the case they arrived in and are compared in lower case; values come without the white
space around them (RFC 9112 section 5). The functions here are pure and cost one pass over the list.
"""

from collections.abc import Iterable, Sequence

from portal_gateway.wire.errors import WireError

__all__ = [
    "MAX_CONTENT_LENGTH",
    "BadFraming",
    "FieldNames",
    "HTTPSyntaxError",
    "Headers",
    "content_length",
    "end_to_end",
    "field_values",
    "list_members",
    "lists_trailers",
    "parse_content_length",
    "permitted_trailers",
    "with_replaced",
]

Headers = list[tuple[bytes, bytes]]
"""Header or trailer fields in the order they were received."""

MAX_CONTENT_LENGTH = 2**63 - 1
"""The longest body there can be: what a signed 64-bit count holds, so no hop behind us wraps."""

_MAX_LENGTH_DIGITS = len(str(MAX_CONTENT_LENGTH))


class FieldNames:
    """A set of field names that is asked about names in any case. Most are told apart by length."""

    __slots__ = ("_lengths", "_lower_names")

    def __init__(self, lower_names: Iterable[bytes]) -> None:
        self._lower_names = frozenset(lower_names)
        self._lengths = frozenset(map(len, self._lower_names))

    def __contains__(self, name: bytes) -> bool:
        return len(name) in self._lengths and name.lower() in self._lower_names


_CONNECTION = b"connection"

_HOP_BY_HOP_NAMES = frozenset(
    {
        _CONNECTION,
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        # Not hop-by-hop by RFC 9110, but framing is each hop's own: the writer of a message adds it
        # from the length it was told. Carried along it could come to stand there twice.
        b"content-length",
    }
)

_HOP_BY_HOP = FieldNames(_HOP_BY_HOP_NAMES)

_NEVER_NAMED = frozenset({b"host"})
"""Fields that ``Connection`` cannot take away: without Host the request would mean another one
(RFC 9110 section 7.6.1 forbids naming a field that is meant for every recipient)."""

_NOT_IN_TRAILERS = FieldNames(
    _HOP_BY_HOP_NAMES
    | {
        b"age",
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"date",
        b"expect",
        b"expires",
        b"forwarded",
        b"host",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"location",
        b"max-forwards",
        b"pragma",
        b"range",
        b"retry-after",
        b"set-cookie",
        b"trailer",
        b"vary",
        b"warning",
        b"www-authenticate",
        b"x-api-key",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
    }
)


class HTTPSyntaxError(WireError):
    """A message cannot be read in one way only, or would be written so that it could not."""


class BadFraming(HTTPSyntaxError):
    """Where the message ends cannot be told in one way only (RFC 9112 section 6.3)."""


def field_values(headers: Iterable[tuple[bytes, bytes]], lower_name: bytes) -> list[bytes]:
    """The values of every field with this name, in order; ``lower_name`` is in lower case."""
    length = len(lower_name)
    return [value for name, value in headers if len(name) == length and name.lower() == lower_name]


def list_members(values: Iterable[bytes]) -> list[bytes]:
    """The members of a comma-separated field in lower case, without empty ones.

    Only for fields whose members are tokens, such as ``Connection``: quoted strings are not known
    here (RFC 9110 section 5.6.1).
    """
    return [
        member
        for value in values
        for part in value.lower().split(b",")
        if (member := part.strip(b" \t"))
    ]


def parse_content_length(value: bytes) -> int:
    """The length that one ``Content-Length`` value states.

    Raises `BadFraming` unless it is ASCII digits only and at most `MAX_CONTENT_LENGTH`.
    """
    if not value.isdigit():
        raise BadFraming("Content-Length is not plain digits")
    digits = value if len(value) <= _MAX_LENGTH_DIGITS else value.lstrip(b"0") or b"0"
    # The count of digits first: turning thousands of them into a number costs time and may raise.
    if len(digits) > _MAX_LENGTH_DIGITS or (length := int(digits)) > MAX_CONTENT_LENGTH:
        raise BadFraming("Content-Length is 2**63 or more")
    return length


def content_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """The stated length of the body, ``None`` when there is no such field.

    Raises `BadFraming` for a repeated field, even with equal values (RFC 9110 section 8.6 allows to
    refuse it), a list of lengths, or anything that `parse_content_length` refuses.
    """
    values = field_values(headers, b"content-length")
    if not values:
        return None
    if len(values) > 1:
        raise BadFraming("Content-Length is repeated")
    return parse_content_length(values[0])


def lists_trailers(te_values: Iterable[bytes]) -> bool:
    """Whether the values of ``TE`` say that trailers are understood (RFC 9110 section 10.1.4)."""
    return b"trailers" in list_members(te_values)


def end_to_end(
    headers: Sequence[tuple[bytes, bytes]], *, keep_te_trailers: bool = False
) -> Headers:
    """The fields to pass on: without the hop-by-hop ones and those that ``Connection`` names.

    ``Content-Length`` is dropped too: whoever writes the message adds its framing. ``Host`` stays
    even when ``Connection`` names it. With ``keep_te_trailers`` a ``TE`` that lists ``trailers`` is
    passed on as ``TE: trailers`` with the ``Connection: TE`` that it needs (RFC 9110 sections 7.6.1
    and 10.1.4).
    """
    kept = [field for field in headers if field[0] not in _HOP_BY_HOP]
    if len(kept) != len(headers):
        options = list_members(field_values(headers, _CONNECTION))
        named = {name for name in options if name not in _HOP_BY_HOP and name not in _NEVER_NAMED}
        if named:
            kept = [field for field in kept if field[0].lower() not in named]
    if keep_te_trailers and lists_trailers(field_values(headers, b"te")):
        kept.append((b"TE", b"trailers"))
        kept.append((b"Connection", b"TE"))
    return kept


def permitted_trailers(trailers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """The trailer fields that may be passed on.

    Fields for framing, routing, authentication, request modification and content description have
    no place in trailers (RFC 9110 section 6.5.1): a recipient that merges them into the header
    would be told something that no guard has seen. They are dropped.
    """
    return [field for field in trailers if field[0] not in _NOT_IN_TRAILERS]


def with_replaced(headers: Headers, fields: Headers) -> Headers:
    """``fields`` behind those of ``headers`` that have none of their names."""
    lengths = {len(name) for name, _ in fields}
    if any(len(name) in lengths for name, _ in headers):
        names = {name.lower() for name, _ in fields}
        headers = [field for field in headers if field[0].lower() not in names]
    return headers + fields
