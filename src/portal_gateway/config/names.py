"""Readers of what tells one from another: API keys and their ids, lease names and lease ids."""

import re

from portal_gateway.config.fields import name, text
from portal_gateway.config.model import MAX_API_KEY_LENGTH, key_digest
from portal_gateway.config.reading import Value
from portal_gateway.config.scalars import quote
from portal_gateway.config.worded import reads
from portal_gateway.wire.identity import is_lease_id

__all__ = [
    "JWT_KEY_ID_PREFIX",
    "MAX_LEASE_NAME",
    "api_key",
    "key_id",
    "key_named",
    "key_reference",
    "lease_identity",
    "lease_name",
    "plan_name",
]

MAX_LEASE_NAME = 256
"""Bytes of a lease name in UTF-8: a path segment holds it with every byte percent-encoded."""

JWT_KEY_ID_PREFIX = "jwt:"
"""What the key id of a token's holder starts with, and no other key's."""

_SHORT_API_KEY = 12
"""Characters below which a key can be found by trying, the more so with a prefix like ``sk_``."""

_VISIBLE = re.compile(r"[!-~]+")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_KEY_REFERENCE = "the id of a key"

_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}")


@reads(f"text of 1 to {MAX_API_KEY_LENGTH} visible ASCII characters; secret")
def api_key(value: Value) -> bytes:
    """Reads an API key and returns its SHA-256: the key itself goes no further.

    No fault quotes it or anything about it but its length.
    """
    found = text(value, secret=True, expected="an API key")
    value.note_secret(found, "auth.keys", "the keys")
    key = found.text
    if not key:
        raise value.refuse("the key is empty")
    if len(key) > MAX_API_KEY_LENGTH:
        raise value.refuse(f"a key has at most {MAX_API_KEY_LENGTH} characters, found {len(key)}")
    if key != key.strip():
        raise value.refuse("the key starts or ends with white space or a line break")
    if not _VISIBLE.fullmatch(key):
        raise value.refuse(
            "the key holds a space, a control character or a character beyond ASCII,"
            " which a header cannot carry"
        )
    if not _TOKEN68.fullmatch(key):
        value.warn(
            "Authorization: Bearer cannot carry a character of this key (RFC 6750 section 2.1);"
            " only X-API-Key will work"
        )
    if len(key) < _SHORT_API_KEY:
        value.warn(f"the key is shorter than {_SHORT_API_KEY} characters and can be guessed")
    return key_digest(key.encode("ascii"))


@reads("text of 1 to 64 letters, digits and ``. _ : @ -``, starting with a letter or digit")
def key_id(value: Value) -> str:
    """Reads the id of an API key, which logs show. A bad one is not quoted: it may be the key."""
    found = text(value, secret=True, expected="an id").text
    if not _KEY_ID.fullmatch(found):
        raise value.refuse(
            "an id has 1 to 64 letters, digits and . _ : @ - and starts with a letter or digit"
        )
    if found.startswith(JWT_KEY_ID_PREFIX):
        raise value.refuse(f"ids that start with {JWT_KEY_ID_PREFIX} are those of tokens' holders")
    return found


@reads("a key")
def key_reference(value: Value) -> bytes:
    """Reads a name that stands for an API key, its id or the key itself, and returns its SHA-256.

    As it may be the key, no fault quotes it.
    """
    return key_named(name(value, secret=True, expected=_KEY_REFERENCE), value)


def key_named(found: str, value: Value) -> bytes:
    """The SHA-256 of what was found in ``value`` to name an API key."""
    if not 0 < len(found) <= MAX_API_KEY_LENGTH or not _VISIBLE.fullmatch(found):
        raise value.refuse(
            f"the id of an API key, or the key itself, is 1 to {MAX_API_KEY_LENGTH} visible"
            " characters of ASCII"
        )
    return key_digest(found.encode("ascii"))


@reads("the name of a lease")
def lease_name(value: Value) -> str:
    """Reads the name of a lease: what stands in ``/peer/<name>/`` once percent-decoded.

    What a path could not name is refused; ``policy/lease_path.py`` says what that is.
    """
    found = name(value, expected="a lease name")
    if not found:
        raise value.refuse("a lease name must not be empty")
    if "/" in found or "\\" in found or not found.isprintable():
        raise value.refuse(
            f"bad lease name {quote(found)}: slashes, backslashes, controls and invisible"
            " characters are not allowed"
        )
    if len(found.encode()) > MAX_LEASE_NAME:
        raise value.refuse(f"a lease name has at most {MAX_LEASE_NAME} bytes of UTF-8")
    if found.partition(";")[0] in {".", ".."}:
        raise value.refuse(f"bad lease name {quote(found)}: a path takes it for a dot segment")
    return found


@reads("lease id: 26 characters, ``A`` to ``Z`` and ``2`` to ``7``")
def lease_identity(value: Value) -> str:
    """Reads a lease id: 26 characters of upper-case base32."""
    found = text(value, expected="a lease id")
    if is_lease_id(found.text):
        return found.text
    if found.text.isascii() and is_lease_id(found.text.upper()):
        raise value.refuse(f"bad lease id {found.shown}: its letters must be in upper case")
    raise value.refuse(
        f"bad lease id {found.shown}: it has 26 characters, A to Z and 2 to 7;"
        f" this one has {len(found.text)} characters"
    )


@reads("the name of a plan")
def plan_name(value: Value) -> str:
    """Reads the name of a plan, which keys have."""
    found = name(value, expected="the name of a plan")
    if not found or not found.isprintable():
        raise value.refuse("the name of a plan is printable, and not empty")
    return found
