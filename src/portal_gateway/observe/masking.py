"""What looks like a secret does not go into the log.

Clients put keys where they do not belong, and many services take theirs in the query. The name of a
parameter tells, or the look of a value: a key of this gateway's kind, or a JSON Web Token.
"""

import re
from typing import Final
from urllib.parse import unquote

__all__ = ["MASK", "masked", "masked_query"]

MASK: Final = "***"

_SECRET_NAME: Final = re.compile(
    r"key|token|secret|passw|pwd|auth|credential|session|signature|(?:^|[-_.])sig(?:$|[-_.])|jwt|otp"
    r"|^code$",
    re.IGNORECASE,
)
"""Parts of the names of parameters with secrets: of OAuth, of signed URLs, of common services."""

_SECRET_LOOK: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:"
    r"(?:sk|pk|rk)[-_](?:live|test|demo|proj|ant|admin|svcacct)[-_][0-9A-Za-z_-]{6,}"
    r"|sk-[0-9A-Za-z]{20,}"
    r"|eyJ[0-9A-Za-z_-]{8,}(?:\.[0-9A-Za-z_-]*)*"
    r")"
)
"""Keys as this gateway makes them and many services do, and tokens of RFC 7519.

A lease called ``sk-learn`` is none.
"""

_NAME_END: Final = re.compile("=|%3[dD]")


def masked(text: str) -> str:
    """``text`` with `MASK` for everything that looks like a key or a token."""
    # Nearly nothing has one: searches for a few letters cost less than one for a pattern.
    if "k_" in text or "k-" in text or "eyJ" in text:
        return _SECRET_LOOK.sub(MASK, text)
    return text


def masked_query(query: str) -> str:
    """A query, as it was sent, with `MASK` for the values that look secret, by name or by look.

    No other ``&`` ends a value than those of the query: ``%26`` is part of one.
    """
    return "&".join(map(_masked_parameter, query.split("&")))


def _masked_parameter(parameter: str) -> str:
    found = _NAME_END.search(parameter)
    if found is not None and _SECRET_NAME.search(unquote(parameter[: found.start()])):
        return parameter[: found.end()] + MASK
    plain = unquote(parameter) if "%" in parameter else parameter
    if masked(plain) == plain:
        return parameter
    return masked(parameter) if plain == parameter else MASK
