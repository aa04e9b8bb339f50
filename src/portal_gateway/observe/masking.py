"""Masking of secrets in what goes into the log.

Clients put keys where they do not belong, and many services take theirs in the query. A secret is
recognised by the name of its parameter, by its look (a key of this gateway's kind or of common
services, or a JSON Web Token), or because the same request carries it as its credential. The text
is looked at as it was sent and decoded: percent-encoding of any depth, escapes of JSON, HTML and C,
wide letters, base64 in both alphabets, base 32 and base 16, each also of UTF-16.

Nearly every text is harmless, and most come again: those are found in a set, and others are told by
a few searches. Whatever is done beyond takes time that is linear in the length of the text.
"""

import re
from base64 import b32decode, b64decode
from binascii import Error as NotBase64
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from portal_gateway.config.secret_looks import SECRET_LOOK

__all__ = ["MASK", "masked", "masked_query", "sent_secrets", "without_each", "without_secrets"]

MASK: Final = "***"

_SECRET_NAME: Final = re.compile(
    r"key|token|secret|passw|pwd|auth|credential|sess|signature|jwt|otp|bearer|assertion|ticket|cookie"
    r"|(?:^|[-_.])(?:sig|sid|pass|pw)(?:$|[-_.])|^code$",
    re.IGNORECASE,
)
"""Parts of the names of parameters with secrets: of OAuth, of signed URLs, of common services."""

_NAME_END: Final = re.compile("=|%(?:25)*3[dD]")

_ENCODED_CHARACTER: Final = re.compile(
    "%(?:[uU]00)?(?:2[5dDeE]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA]|[eE][fF])"
)
"""An encoded character of those that keys and tokens are made of, a wide one, or an encoded percent
sign. Other encoded characters can only stand around a secret."""

_NESTED: Final = re.compile("%(?:25)+(?=[0-9A-Fa-f]{2})")

_ESCAPE: Final = re.compile(
    r"(?:\\x|(?:\\u|%[uU])00)([0-9A-Fa-f]{2})|\\u\{([0-9A-Fa-f]{2,6})\}"
    r"|&#[xX]([0-9A-Fa-f]{2,6});?|&#([0-9]{2,7});?|\\([01][0-7]{2})"
)
"""Characters of ASCII as JavaScript, JSON, HTML and C write them. A JSON escape has four digits."""

_WIDE: Final = {0xFF01 + offset: 0x21 + offset for offset in range(94)}
"""Wide letters to plain ones. Normalising a whole text costs the square of its combining marks."""

_LEAST_RUN: Final = 20
"""Characters that base64 and base 16 make of the shortest secret that is recognised, in a row. Of
ASCII text base64 makes ``+``, ``/``, ``-`` and ``_`` only for the characters ``>``, ``?``, ``~``
and DEL, which keys and tokens do not have."""

_LONG_RUN: Final = re.compile(
    # Each shorter run is passed in one step, and none is tried twice.
    rf"(?:[0-9A-Za-z]{{0,{_LEAST_RUN - 1}}}+[^0-9A-Za-z]++)*+[0-9A-Za-z]{{{_LEAST_RUN}}}"
)

_RUN: Final = re.compile(rf"[0-9A-Za-z]{{{_LEAST_RUN},}}")

_HEX_RUN: Final = re.compile(rf"[0-9A-Fa-f]{{{_LEAST_RUN},}}")

_ROUNDS: Final = 4
"""Times that a text is decoded, nested percent signs counting once; what goes on behind that is
masked whole."""

_BASE32_RUN: Final = re.compile(r"(?:[A-Z2-7]+|[a-z2-7]+)")

_ALIGNMENTS: Final = 4
"""Places in a run at which base64 may begin."""

_BASE32_ALIGNMENTS: Final = 8

_BASE32_TOO_MANY: Final = (0, 1, 0, 1, 0, 0, 1, 0)
"""Characters behind those that are whole bytes, by how many are left of the last eight."""

_LEAST_SECRET: Final = 6
"""Characters of a credential without a look below which it is not searched for: a word as short
stands anywhere by chance, and a key as short protects nothing."""

_MOST_SECRETS: Final = 8
"""Credentials of one request that are searched for. Each is searched for by itself, and a header
has room for thousands. A request has one credential, in up to four places."""

_KEY_LOOK: Final = b"sk_live_"

_TOKEN_LOOK: Final = b"eyJ"

_AUTHORIZATIONS: Final = (b"authorization", b"proxy-authorization")

_KEY_PROTOCOL: Final = b"portal-key."

_MAX_PLAIN: Final = 2048
"""Texts that are remembered as harmless, and `_LONGEST_PLAIN` the characters of one: 0.6 MB."""

_LONGEST_PLAIN: Final = 256

_plain: set[str] = set()

_bare: set[str] = set()
"""Texts of which nothing can be decoded, harmless but for what a request carries as its secret."""


def masked(text: str) -> str:
    """``text`` with `MASK` for everything that looks like a key or a token, in any encoding."""
    if text in _plain:
        return text
    if _may_be_encoded(text):
        found = without_secrets(text, [])
    elif _may_have_look(text):
        found = SECRET_LOOK.sub(MASK, text)
    else:
        found = text
    if found == text and len(text) <= _LONGEST_PLAIN:
        _remember(_plain, text)
    return found


def _remember(texts: set[str], text: str) -> None:
    if len(texts) >= _MAX_PLAIN:
        texts.clear()
    texts.add(text)


def without_each(texts: list[str], secrets: list[str]) -> list[str]:
    """All ``texts`` masked, and without the ``secrets``. The log asks it once for each request."""
    return [without_secrets(text, secrets) if secrets else masked(text) for text in texts]


def without_secrets(text: str, secrets: list[str]) -> str:
    """``text`` masked, and without the ``secrets``, in any encoding, whatever they look like.

    Where an encoded secret is, the whole segment of a path is masked, or the whole text. More than
    `_MOST_SECRETS` are not searched for: the whole text is masked.
    """
    if len(secrets) > _MOST_SECRETS:
        return MASK
    if text in _bare:
        for secret in secrets:
            text = text.replace(secret, MASK)
        return text
    found = _without_secrets(text, secrets)
    if (
        found == text
        and len(text) <= _LONGEST_PLAIN
        and "%" not in text
        and not _may_be_encoded(text)
    ):
        # A credential without a look may have any character, so any that is encoded counts.
        _remember(_bare, text)
    return found


def _without_secrets(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    text = SECRET_LOOK.sub(MASK, text)
    if not _hides_secret(text, secrets):
        return text
    segments = [MASK if _hides_secret(part, secrets) else part for part in text.split("/")]
    text = "/".join(segments)
    return MASK if _hides_secret(text, secrets) else text


def masked_query(query: str) -> str:
    """A query, as it was sent, with `MASK` for the values that look secret, by name or by look.

    No other ``&`` ends a value than those of the query: ``%26`` is part of one.
    """
    return "&".join(map(_masked_parameter, query.split("&")))


def sent_secrets(fields: dict[bytes, bytes]) -> list[str]:
    """The credentials among the fields of a request that have no look of their own.

    ``fields`` are by their names in lower case. A credential is the key, the token or the password,
    not the whole value; what is too short for a secret is left out. Cookies are not among them.
    """
    found: list[str] = []
    key = fields.get(b"x-api-key")
    if key is not None and not _has_look(key):
        found.append(key.decode("latin-1").strip(" \t"))
    for name in _AUTHORIZATIONS:
        value = fields.get(name)
        if value is not None and not (value[:7] == b"Bearer " and _has_look(value[7:])):
            found += _of_authorization(value.decode("latin-1"))
    offered = fields.get(b"sec-websocket-protocol")
    if offered is not None and _KEY_PROTOCOL in offered:
        members = [member.strip(" \t") for member in offered.decode("latin-1").split(",")]
        found += [m.partition(".")[2] for m in members if m.startswith(_KEY_PROTOCOL.decode())]
    if len(found) > 1:
        found = list(dict.fromkeys(found))
    return [secret for secret in found if len(secret) >= _LEAST_SECRET]


def _has_look(credential: bytes) -> bool:
    # Of `bytes.startswith` a call costs four slices.
    return credential[:8] == _KEY_LOOK or credential[:3] == _TOKEN_LOOK


def _of_authorization(value: str) -> Iterator[str]:
    """The token of an ``Authorization``, and the password of one that is Basic (RFC 7617)."""
    scheme, _, token = value.strip(" \t").partition(" ")
    token = token.strip(" \t")
    yield token
    if scheme.lower() == "basic":
        yield _from_base64(token).partition(":")[2]


def _masked_parameter(parameter: str) -> str:
    found = _NAME_END.search(parameter)
    if found is not None and _SECRET_NAME.search(_decoded(parameter[: found.start()])):
        return parameter[: found.end()] + MASK
    if ";" in parameter:
        # Older services take it for an ampersand.
        return ";".join(map(_masked_parameter, parameter.split(";")))
    return masked(parameter)


def _may_have_look(text: str) -> bool:
    """Whether `SECRET_LOOK` is worth a search: these few letters cost less."""
    return "k_" in text or "k-" in text or "eyJ" in text


def _may_be_encoded(text: str) -> bool:
    """Whether something other than ``text`` itself may be read from it."""
    return (
        ("%" in text and _ENCODED_CHARACTER.search(text) is not None)
        or "\\" in text
        or "&#" in text
        or not text.isascii()
        or (len(text) >= _LEAST_RUN and _LONG_RUN.match(text) is not None)
    )


def _hides_secret(text: str, secrets: list[str]) -> bool:
    """Whether a secret can be decoded from ``text``."""
    decoded = _decoded(text)
    if _has_secret(decoded, secrets) or _ENCODED_CHARACTER.search(decoded) is not None:
        return True
    for once in _unpacked(decoded):
        if _has_secret(once, secrets):
            return True
        # Twice: some put a field with a key in base64 into base64 again.
        if once.isascii() and any(_has_secret(twice, secrets) for twice in _unpacked(once)):
            return True
    return False


def _has_secret(text: str, secrets: list[str]) -> bool:
    for secret in secrets:
        if secret in text:
            return True
    return _may_have_look(text) and SECRET_LOOK.search(text) is not None


def _decoded(text: str) -> str:
    """``text`` without percent-encoding and escapes, as far as `_ROUNDS` go."""
    for _ in range(_ROUNDS):
        before = text
        if "%" in text:
            text = _ESCAPE.sub(_character, text) if "%u" in text or "%U" in text else text
            text = unquote(_NESTED.sub("%", text), errors="replace")
        if "\\" in text or "&#" in text:
            text = _ESCAPE.sub(_character, text)
        if text == before:
            break
    # Wide letters and their like are read as plain ones by some.
    return text if text.isascii() else text.translate(_WIDE)


def _character(found: re.Match[str]) -> str:
    digits = found[1] or found[2] or found[3]
    decimal = found[4]
    number = int(digits, 16) if digits else int(decimal) if decimal else int(found[5], 8)
    return chr(number) if number < 0x80 else found[0]


def _unpacked(text: str) -> Iterator[str]:
    """The long runs of ``text``, decoded from base64 begun at any place, base 32 and base 16."""
    if len(text) < _LEAST_RUN or _LONG_RUN.match(text) is None:
        return
    for run in _RUN.findall(text):
        if _HEX_RUN.fullmatch(run) is not None:
            # No base64: that of a key or a token has other letters.
            continue
        for start in range(_ALIGNMENTS):
            yield _from_base64(run[start:])
        if _BASE32_RUN.fullmatch(run) is not None:
            for start in range(_BASE32_ALIGNMENTS):
                yield _from_base32(run[start:])
    for run in _HEX_RUN.findall(text):
        for digits in (run, run[1:]):
            yield bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("latin-1")


def _from_base64(text: str) -> str:
    """The text that ``text`` encodes in base64, as far as whole groups go; else empty."""
    text = text.rstrip("=")
    whole = len(text) // 4 * 4
    rest = text[whole:] if len(text) - whole > 1 else ""
    try:
        decoded = b64decode(text[:whole] + rest + "=" * (-len(rest) % 4), altchars=b"-_")
    except (NotBase64, ValueError):
        return ""
    return _plain_text(decoded)


def _from_base32(text: str) -> str:
    """The text that ``text`` encodes in base 32, as far as whole bytes go."""
    text = text[: len(text) - _BASE32_TOO_MANY[len(text) % 8]].upper()
    return _plain_text(b32decode(text + "=" * (-len(text) % 8)))


def _plain_text(decoded: bytes) -> str:
    """The characters, of UTF-16 as of UTF-8: what is looked for is ASCII."""
    return decoded.replace(b"\0", b"").decode("latin-1")
