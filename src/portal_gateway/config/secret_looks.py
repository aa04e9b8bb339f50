"""Texts that may be secrets: what no message quotes, and what the log masks.

A secret may stand in any place of a configuration by mistake: a password in an address, a key as
the name of a section. So a fault quotes what it found only where that is none. Names, which people
choose for leases and keys, are shown unless they look like a secret (`looks_secret`). Other values
are shown only where they are harmless: numbers, dates, addresses, and words such as people write
(`may_be_secret`). A fault has its line and its key path in any case.
"""

import re
from typing import Final

__all__ = ["SECRET_LOOK", "looks_secret", "may_be_secret"]

SECRET_LOOK: Final = re.compile(
    # An encoded character ends in what may be a letter.
    r"(?:(?<![0-9A-Za-z])|(?<=%[0-9A-Fa-f]{2}))(?:"
    r"(?:sk|pk|rk)[-_](?:live|test|demo|proj|ant|admin|svcacct)[-_][0-9A-Za-z_-]{6,}"
    r"|sk-[0-9A-Za-z]{20,}"
    r"|eyJ[0-9A-Za-z_-]{8,}(?:\.[0-9A-Za-z_-]*)*"
    r")"
    # Whatever stands before it: a whole key of this gateway, and how most tokens begin.
    r"|sk_live_[0-9A-Za-z]{40,}"
    r"|eyJ(?:hbGciOi|0eXAiOi|raWQiOi|lbmMiOi|jdHkiOi)[0-9A-Za-z_-]*(?:\.[0-9A-Za-z_-]*)*"
)
"""Keys as this gateway makes them and many services do, and tokens of RFC 7519.

A lease called ``sk-learn`` is none.
"""

_BEGINNING: Final = re.compile(r"(?<![0-9A-Za-z])(?:sk|pk|rk)[-_](?:live|test|proj|ant|admin)[-_]")
"""A key whose rest is too short for the log to be sure. Nothing else begins like that."""

_LONG: Final = re.compile(r"[0-9A-Za-z]{20,}")
"""A run such as random bytes make in base 16 or 64, where letters and digits are mixed."""

_NUMBER_OR_DATE: Final = re.compile(
    r"[-+]?[0-9.][0-9_.,:TZW +-]{0,40}(?:/[0-9]{1,3})?(?:[A-Za-z]{1,8}|%)?"
    r"|0[xob][0-9A-Fa-f_]{1,8}"
    # Durations in parts, and exponents.
    r"|(?:[0-9.]{1,20}(?:ms|[smhdwe])){1,6}[0-9]{0,4}"
)

_IPV6: Final = re.compile(
    r"\[?[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}\]?(?::[0-9]{1,6})?(?:/[0-9]{1,3})?"
)

_VARIABLE: Final = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]{0,63}\}")

_OF_PASSWORDS: Final = re.compile(r"[?#!%^&|;$\"'~\\]")
"""Characters of a URL's query, and of passwords; not of host names, words and patterns."""

_LEAST_PASSWORD: Final = 6
"""Characters behind a colon or an equals sign, as in ``user:password``, from which on they may be
one. Digits are a port or a number."""

_PIECE: Final = re.compile("[0-9A-Za-z]+")

_LEAST_MIXED: Final = 7
"""Characters from which on a word with digits at its end may be a password: ``base32``, ``web-01``
and ``node12`` are none."""

_LEAST_MIXED_CASE: Final = 16
_MOST_DIGITS: Final = 12


def looks_secret(text: str) -> bool:
    """Whether a name looks like a secret, or holds one: a key, a token, a user, a URL's query."""
    if "@" in text or "?" in text or SECRET_LOOK.search(text) or _BEGINNING.search(text):
        return True
    return any(_is_mixed(run) for run in _LONG.findall(text))


def may_be_secret(text: str) -> bool:
    """Whether a value may be a secret: nearly always where one was put into a wrong place."""
    if looks_secret(text):
        return True
    if _NUMBER_OR_DATE.fullmatch(text) or _IPV6.fullmatch(text):
        return False
    rest = _VARIABLE.sub("", text)
    if _OF_PASSWORDS.search(rest):
        return True
    behind = rest.replace("=", ":").split(":")[1:]
    if any(len(part) >= _LEAST_PASSWORD and not part.isdigit() for part in behind):
        return True
    return any(map(_may_be_random, _PIECE.findall(rest)))


def _is_mixed(word: str) -> bool:
    """Whether letters and digits are mixed, other than in a number with its unit."""
    unit = word.lstrip("0123456789")
    return bool(unit) and not word.isalpha() and not unit.isalpha()


def _may_be_random(word: str) -> bool:
    if word.isdigit():
        return len(word) > _MOST_DIGITS
    if word.isalpha():
        same_case = word.islower() or word.isupper() or word.istitle()
        return len(word) >= _LEAST_MIXED_CASE and not same_case
    return len(word) >= _LEAST_MIXED or not word.rstrip("0123456789").isalpha()
