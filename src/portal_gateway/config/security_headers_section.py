"""The section ``security_headers``."""

import re
from typing import Final

from portal_gateway.config.fields import Section, list_of, mapping_of, text, true_or_false
from portal_gateway.config.reading import Value
from portal_gateway.config.security_headers import SecurityHeadersSection, SecurityPath
from portal_gateway.config.worded import reads

__all__ = ["MAX_VALUE", "SECURITY_HEADERS"]

MAX_VALUE: Final = 4096
"""Characters of a field's value: a long policy has some hundred."""

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
        raise value.refuse("a path begins with / and is printable ASCII")
    return found


_HEADERS = mapping_of(_name, _value)

SECURITY_HEADERS = Section(
    SecurityHeadersSection,
    {
        "enabled": true_or_false,
        "override": true_or_false,
        "headers": _HEADERS,
        "paths": list_of(
            Section(
                SecurityPath,
                {"path": _path, "headers": _HEADERS, "override": true_or_false},
                required=("path",),
            ),
            expected="a list of paths",
        ),
    },
)
"""Fields that browsers are told to be careful by."""
