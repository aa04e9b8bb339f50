"""The section ``security_headers``."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from portal_gateway.config.fields import Section, list_of, mapping_of, text, true_or_false
from portal_gateway.config.reading import Value
from portal_gateway.config.security_headers import SecurityHeadersSection, SecurityPath
from portal_gateway.config.worded import reads

__all__ = ["MAX_VALUE", "MOST_HEADERS", "MOST_PATHS", "SECURITY_HEADERS"]

MAX_VALUE: Final = 4096
"""Characters of a field's value: a long policy has some hundred."""

MAX_PATTERN: Final = 256
"""Characters of a pattern: it names a lease and a few segments."""

MOST_PATHS: Final = 100
"""Patterns, all of which may be tried for each answer: that takes some 10 µs."""

MOST_HEADERS: Final = 20
"""Fields that every answer carries; there are not half as many of this kind."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
"""A token (RFC 9110 section 5.6.2)."""

_NOT_THESE: Final = frozenset(
    {
        *("connection", "content-length", "transfer-encoding", "trailer", "upgrade", "te"),
        *("keep-alive", "proxy-connection", "date", "content-type", "content-encoding"),
        *("set-cookie", "location", "www-authenticate", "x-request-id", "via"),
    }
)
"""Fields with a meaning for the answer itself; of these none can be the same on all."""


@reads("the name of a header field")
def _name(value: Value) -> str:
    found = text(value, expected="the name of a header field").text
    if not _NAME.fullmatch(found):
        raise value.refuse("this is no name of a header field")
    if found.lower() in _NOT_THESE:
        raise value.refuse("this field is not one that every answer could have")
    return found


@reads("the value of a header field, or ``null`` for none")
def _value(value: Value) -> str | None:
    if value.is_nothing:
        return None
    found = text(value, expected="the value of a header field").text
    if not found or not found.isascii() or not found.isprintable() or found != found.strip():
        raise value.refuse("write printable ASCII, in quotes, without spaces around it")
    if len(found) > MAX_VALUE:
        raise value.refuse(f"longer than {MAX_VALUE} characters")
    return found


@reads("path, in which ``*`` stands for anything")
def _path(value: Value) -> str:
    found = text(value, expected="a path").text
    if not found.startswith(("/", "*")) or not found.isascii() or not found.isprintable():
        raise value.refuse("a path begins with / or * and is printable ASCII")
    if len(found) > MAX_PATTERN:
        raise value.refuse(f"longer than {MAX_PATTERN} characters")
    if found.lower().startswith("/ws/"):
        raise value.refuse("a lease is below /peer/ here, however it is addressed")
    return found


def _first_to_fit(found: Sequence[tuple[Value, SecurityPath]]) -> None:
    """Refuse what would never be used."""
    first: dict[str, Value] = {}
    for number, (value, path) in enumerate(found):
        place = value.at("path")
        if number == MOST_PATHS:
            value.refuse(f"more than {MOST_PATHS} paths")
        earlier = first.setdefault(path.path.lower(), place)
        if earlier is not place:
            place.refuse(f"the same path as on line {earlier.line}: case makes no difference")


_EACH = mapping_of(_name, _value)


@reads(_EACH.words)
def _headers(value: Value) -> Mapping[str, str | None]:
    """Reads fields, each of them once."""
    found = _EACH(value)
    if len(found) > MOST_HEADERS:
        raise value.refuse(f"more than {MOST_HEADERS} fields")
    if len({name.lower() for name in found}) != len(found):
        raise value.refuse("a field stands here twice: case makes no difference")
    return found


SECURITY_HEADERS = Section(
    SecurityHeadersSection,
    {
        "enabled": true_or_false,
        "override": true_or_false,
        "headers": _headers,
        "paths": list_of(
            Section(
                SecurityPath,
                {"path": _path, "headers": _headers, "override": true_or_false},
                required=("path",),
            ),
            expected="a list of paths",
            check=_first_to_fit,
        ),
    },
)
"""Fields that browsers are told to be careful by."""
