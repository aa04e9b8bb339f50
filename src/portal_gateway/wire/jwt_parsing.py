"""A JWT cut into its parts, and its header judged, before anything of it is believed.

A token is three segments of base64url (RFC 7515 section 7.1); of a header that is read here, every
token has one reading only: members are not written twice (RFC 7515 section 4), a segment has no
padding, no white space and no bits left over. A header may say which key signed the token. One that
brings a key or says where to fetch one (``jwk``, ``jku``, ``x5u``, ``x5c``) is refused: whoever
could choose the key could sign anything. So is one with ``crit``, as no extension is known here.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from typing import Any, Final, NamedTuple, NoReturn

__all__ = ["MAX_TOKEN_LENGTH", "BadToken", "Token", "read_json_object", "read_token"]

MAX_TOKEN_LENGTH: Final = 16 * 1024
"""Bytes of a token: one with some hundred groups or lease patterns. All of it is hashed, and much
of it decoded, before the signature is looked at."""

_MAX_KEY_NAME: Final = 256
"""Characters of a ``kid``: it is looked up among the issuer's keys, whose names are short."""

_SEGMENTS = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")

_REFUSED: Final = ("jwk", "jku", "x5u", "x5c", "crit")

_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
"""What ``typ`` may say, if anything: a token for whoever accepts tokens, or an access token (RFC
9068 section 2.1). Other kinds of the same issuer are for other uses (RFC 8725 section 3.11)."""


class BadToken(Exception):
    """The token is refused; the argument says why, and quotes nothing of it."""


class Token(NamedTuple):
    """The parts of a token. ``algorithm`` is what it says of itself; ``key_name`` its ``kid``."""

    algorithm: object
    key_name: str | None
    signed: bytes
    payload: bytes
    signature: bytes


def read_token(text: bytes) -> Token | None:
    """Cut a token into its parts; ``None`` for what does not look like one at all.

    That is: three segments, of which the first is a JSON object with ``alg``. Raises `BadToken` for
    one that looks like a token and must not be used. ``text`` has at most `MAX_TOKEN_LENGTH`.
    """
    match = _SEGMENTS.fullmatch(text)
    if match is None:
        return None
    try:
        header = read_json_object(_decoded(match[1]))
    except BadToken:
        return None
    if "alg" not in header:
        return None
    for name in _REFUSED:
        if name in header:
            raise BadToken(f"The header of the token has {name}")
    if "cty" in header or not _has_known_type(header):
        raise BadToken("The header of the token says that it is no access token")
    key_name = header.get("kid")
    if key_name is not None and not (isinstance(key_name, str) and len(key_name) <= _MAX_KEY_NAME):
        raise BadToken("The kid of the token is no name of a key")
    return Token(
        header["alg"],
        key_name,
        text[: match.end(2)],
        _decoded(match[2]),
        _decoded(match[3]),
    )


def _has_known_type(header: dict[str, Any]) -> bool:
    kind = header.get("typ")
    return kind is None or (isinstance(kind, str) and kind.lower() in _TYPES)


def _decoded(segment: bytes) -> bytes:
    try:
        data = urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except NotBase64:
        raise BadToken("The token is not base64url") from None
    if urlsafe_b64encode(data).rstrip(b"=") != segment:
        raise BadToken("The token is not base64url")
    return data


def read_json_object(data: bytes) -> dict[str, Any]:
    """The JSON object that ``data`` is.

    Raises `BadToken` for anything else: also for members written twice, and for what JSON does not
    have but Python reads (``NaN``).
    """
    try:
        found = json.loads(
            data.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        raise BadToken("The token is not made of JSON objects") from None
    if not isinstance(found, dict):
        raise BadToken("The token is not made of JSON objects")
    return found


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is written twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
