"""Who is calling: the API key of a request, found, looked up, and taken out again.

A key comes as ``X-API-Key: <key>`` or as ``Authorization: Bearer <key>`` (RFC 6750 section 2.1). A
browser can set neither for a WebSocket, but it can offer subprotocols: ``portal-key.<key>`` among
those of ``Sec-WebSocket-Protocol`` is a third place. What can be read in two ways is refused: two
places with different keys, or one field twice with different values.

Keys are known by their SHA-256 only, and looked up by it. The time of a lookup tells nothing about
a key: whoever guesses one cannot choose the digest that is compared. A key that is unknown goes the
same way as one that has expired: the table answers with an entry, the entry has a moment until
which it is good, and for the unknown that is the beginning of time. A key that was revoked is an
unknown one. ``benchmarks/key_timing.py`` measures it; what it finds is that an expired key costs
the comparison of two equal digests, some 15 ns, and its holder is told by the answer anyway.

Every refusal carries the challenge of RFC 6750 section 3. There is no challenge for ``X-API-Key``:
it is no authentication scheme (RFC 9110 section 11.1), and one that is made up would tell clients
that ``Authorization`` takes it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

from portal_gateway.config.model import MAX_API_KEY_LENGTH, ApiKey, key_digest
from portal_gateway.errors import GatewayError, fault
from portal_gateway.exchange import Caller
from portal_gateway.policy.address_sets import AddressSet
from portal_gateway.wire.http_fields import Headers

__all__ = [
    "REALM",
    "SUBPROTOCOL_KEY_PREFIX",
    "UNKNOWN_KEY",
    "KeyEntry",
    "KeyTable",
    "key_entry",
    "refused_fields",
    "sent_credential",
    "strip_credentials",
]

REALM = "portal-gateway"

# Both names are told apart from nearly all others by their length alone.
_API_KEY = b"x-api-key"
_API_KEY_LENGTH = len(_API_KEY)
_AUTHORIZATION = b"authorization"
_AUTHORIZATION_LENGTH = len(_AUTHORIZATION)

_SUBPROTOCOL = b"sec-websocket-protocol"
_SUBPROTOCOL_LENGTH = len(_SUBPROTOCOL)

SUBPROTOCOL_KEY_PREFIX = b"portal-key."
"""What a subprotocol begins with that is no subprotocol but carries a key."""

_BEARER = re.compile(rb"bearer(?![!#$%&'*+.^_`|~0-9a-z-])", re.IGNORECASE)
"""The scheme, not followed by what would make it the start of another (RFC 9110 section 5.6.2)."""

_BEARER_CREDENTIALS = re.compile(rb"bearer +([a-z0-9._~+/-]+=*)", re.IGNORECASE)
"""RFC 6750 section 2.1; a scheme is compared without regard to case (RFC 9110 section 11.1)."""

_VISIBLE = re.compile(rb"[!-~]+")

_AROUND_TOKEN = 64
"""Bytes of an ``Authorization`` that is looked at, beyond the token: its scheme and some spaces."""

_CHALLENGE = f'Bearer realm="{REALM}"'
_MISSING_FIELDS = ((b"WWW-Authenticate", _CHALLENGE.encode()),)


def refused_fields(error: str, description: str) -> tuple[tuple[bytes, bytes], ...]:
    """The field with the challenge that says why a credential is refused.

    ``error`` is one of RFC 6750 section 3.1; ``description`` is for people, of ASCII
    without quotation marks.
    """
    challenge = f'{_CHALLENGE}, error="{error}", error_description="{description}"'
    return ((b"WWW-Authenticate", challenge.encode()),)


_AMBIGUOUS_FIELDS = refused_fields("invalid_request", "Two different credentials were sent")
_INVALID_FIELDS = refused_fields("invalid_token", "The API key is not valid")

_MISSING = "send an API key as X-API-Key, or as Authorization: Bearer"
_INVALID = "the API key is not one that this gateway knows"


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What is known of a key: who it is, until when, and how it is refused afterwards."""

    caller: Caller
    good_until: float
    code: str
    detail: str
    fields: tuple[tuple[bytes, bytes], ...]

    def verdict(self, now: float) -> Caller | GatewayError:
        """Who it is at ``now`` in seconds since the epoch, or, without raising it, the refusal."""
        if now < self.good_until:
            return self.caller
        return fault(self.code, self.detail, self.fields)


UNKNOWN_KEY = KeyEntry(Caller(""), -inf, "invalid_api_key", _INVALID, _INVALID_FIELDS)
"""What is known of a key that is not known, or was revoked."""


def key_entry(caller: Caller, expires_at: datetime | None) -> KeyEntry:
    """What is known of the key of ``caller``, which is refused from ``expires_at`` on."""
    if expires_at is None:
        return KeyEntry(caller, inf, UNKNOWN_KEY.code, UNKNOWN_KEY.detail, UNKNOWN_KEY.fields)
    moment = _spoken(expires_at)
    return KeyEntry(
        caller,
        expires_at.timestamp(),
        "expired_api_key",
        f"the API key expired at {moment}",
        refused_fields("invalid_token", f"The API key expired at {moment}"),
    )


def _entry(key: ApiKey) -> KeyEntry:
    addresses = AddressSet(key.ip_allow) if key.ip_allow else None
    caller = Caller(key.id, key.scopes, key.description, addresses=addresses, digest=key.digest)
    return key_entry(caller, key.expires_at)


def _spoken(moment: datetime) -> str:
    """RFC 3339 in UTC, with fractions of a second only where there are some."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


class KeyTable:
    """The API keys of a configuration, for one lookup a request. Its ``repr`` shows no key."""

    __slots__ = ("_entries",)

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._entries = {key.digest: _entry(key) for key in keys}

    def __len__(self) -> int:
        return len(self._entries)

    def authenticate(self, headers: Headers, now: float) -> Caller | GatewayError:
        """Who sent these header fields, by `sent_credential` and `look_up`."""
        credential = sent_credential(headers)
        if isinstance(credential, GatewayError):
            return credential
        return self.look_up(credential, now)

    def look_up(self, key: bytes, now: float) -> Caller | GatewayError:
        """Whose key this is, at ``now`` in seconds since the epoch.

        Returns, without raising it, the refusal: ``invalid_api_key`` or ``expired_api_key`` (401).
        """
        return self.find(key).verdict(now)

    def of_digest(self, digest: bytes) -> KeyEntry:
        """The entry for a key that was found before, here or in another table."""
        return self._entries.get(digest, UNKNOWN_KEY)

    def find(self, key: bytes) -> KeyEntry:
        """The entry for what was sent as a key; nothing above the bound is hashed."""
        if len(key) > MAX_API_KEY_LENGTH or not _VISIBLE.fullmatch(key):
            return UNKNOWN_KEY
        return self._entries.get(key_digest(key), UNKNOWN_KEY)


def sent_credential(headers: Headers, longest: int = MAX_API_KEY_LENGTH) -> bytes | GatewayError:
    """What these header fields carry as a credential; empty for what cannot be one.

    ``longest`` is the length of the longest token that is looked at in ``Authorization``. Returns,
    without raising it, the refusal: ``missing_api_key`` (401) or ``ambiguous_credentials`` (400).
    No detail quotes what was sent.
    """
    api_keys: list[bytes] = []
    authorizations: list[bytes] = []
    offered: list[bytes] = []
    for name, value in headers:
        length = len(name)
        if length == _API_KEY_LENGTH and name.lower() == _API_KEY:
            api_keys.append(value.strip(b" \t"))
        elif length == _AUTHORIZATION_LENGTH and name.lower() == _AUTHORIZATION:
            authorizations.append(value.strip(b" \t"))
        elif length == _SUBPROTOCOL_LENGTH and name.lower() == _SUBPROTOCOL:
            offered += _subprotocol_keys(value)
    key = _agreed_key(api_keys, authorizations, offered, longest)
    return fault("missing_api_key", _MISSING, _MISSING_FIELDS) if key is None else key


def _agreed_key(
    api_keys: list[bytes], authorizations: list[bytes], offered: list[bytes], longest: int
) -> bytes | GatewayError | None:
    """The one key that every place names, or None where none names any."""
    if _differ(api_keys):
        return _ambiguous("X-API-Key was sent twice, with different values")
    if _differ(authorizations):
        return _ambiguous("Authorization was sent twice, with different values")
    if _differ(offered):
        return _ambiguous("two subprotocols carry different keys")
    key = api_keys[0] if api_keys else None
    if authorizations and _BEARER.match(authorizations[0]):
        token = _bearer_token(authorizations[0], longest)
        if key is not None and key != token:
            return _ambiguous("X-API-Key and Authorization: Bearer carry different keys")
        key = token
    if offered:
        if key is not None and key != offered[0]:
            return _ambiguous("a subprotocol carries another key than a header field")
        key = offered[0]
    return key


def _differ(values: list[bytes]) -> bool:
    return len(values) > 1 and len(set(values)) > 1


def _bearer_token(authorization: bytes, longest: int) -> bytes:
    """The token of a Bearer ``Authorization``, empty when it is not exactly one."""
    if len(authorization) > longest + _AROUND_TOKEN:
        return b""
    match = _BEARER_CREDENTIALS.fullmatch(authorization)
    return b"" if match is None else match[1]


def _subprotocol_keys(value: bytes) -> list[bytes]:
    """The keys among the subprotocols that are offered."""
    if SUBPROTOCOL_KEY_PREFIX not in value:
        return []
    members = [member.strip(b" \t") for member in value.split(b",")]
    skipped = len(SUBPROTOCOL_KEY_PREFIX)
    return [name[skipped:] for name in members if name.startswith(SUBPROTOCOL_KEY_PREFIX)]


def _ambiguous(detail: str) -> GatewayError:
    return fault("ambiguous_credentials", detail, _AMBIGUOUS_FIELDS)


def strip_credentials(headers: Headers) -> Headers:
    """The fields without the gateway's credential, for the lease.

    Of a request that was authenticated. Every ``X-API-Key`` goes, and every ``Authorization`` of
    the scheme ``Bearer``: that was the credential itself, since one that differs from ``X-API-Key``
    is refused. An ``Authorization`` of another scheme is between the caller and the lease and
    stays. A ``Sec-WebSocket-Protocol`` loses the subprotocols that carry a key.
    """
    kept = [field for field in headers if not _is_credential(*field)]
    for index, (name, value) in enumerate(kept):
        if (
            len(name) == _SUBPROTOCOL_LENGTH
            and SUBPROTOCOL_KEY_PREFIX in value
            and name.lower() == _SUBPROTOCOL
        ):
            return _without_offered_keys(kept, index)
    return kept


def _without_offered_keys(headers: Headers, first: int) -> Headers:
    kept = headers[:first]
    for name, value in headers[first:]:
        if name.lower() != _SUBPROTOCOL:
            kept.append((name, value))
            continue
        members = [member.strip(b" \t") for member in value.split(b",")]
        others = [m for m in members if not m.startswith(SUBPROTOCOL_KEY_PREFIX)]
        if others:
            kept.append((name, b", ".join(others)))
    return kept


def _is_credential(name: bytes, value: bytes) -> bool:
    length = len(name)
    if length == _API_KEY_LENGTH:
        return name.lower() == _API_KEY
    return (
        length == _AUTHORIZATION_LENGTH
        and name.lower() == _AUTHORIZATION
        and _BEARER.match(value.strip(b" \t")) is not None
    )
