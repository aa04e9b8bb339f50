"""The claims of a token whose signature is good: is it for us, now, and whose is it?

``exp`` is required; ``nbf`` and ``iat`` hold where they are there. ``iss`` and ``aud`` are what the
configuration says. A token with an audience is refused where none is configured: it is for somebody
else (RFC 7519 section 4.1.3).

The caller's id is the claim that says whose the token is, behind `JWT_KEY_ID_PREFIX`. No other
key has an id that starts so, and no two claims make the same id.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from portal_gateway.config.jwt_tokens import JWTSection
from portal_gateway.config.model import SCOPES
from portal_gateway.config.names import JWT_KEY_ID_PREFIX, MAX_LEASE_NAME
from portal_gateway.exchange import Caller
from portal_gateway.wire.jwt_parsing import BadToken

__all__ = ["ExpiredToken", "Holder", "holder_of"]

_KEY_ID = re.compile(r"[!-~]{1,255}")
"""What OpenID Connect has for ``sub`` (Core section 2), and rules of the configuration can name."""

_MAX_LEASES: Final = 64
"""Patterns of one token: each request of its holder is compared with them."""

_LAST_MOMENT: Final = 253402300800.0
"""The end of the year 9999, the last that a date can have (RFC 3339)."""


class ExpiredToken(BadToken):
    """The token was good once."""


class Holder(NamedTuple):
    """Whose token it is, and the unix time at which it ends."""

    caller: Caller
    expires: float


def holder_of(claims: Mapping[str, Any], section: JWTSection, now: float) -> Holder:
    """Judge the ``claims`` of a token at ``now``. Raises `BadToken`, `ExpiredToken` among it."""
    expires = _check_times(claims, section.leeway, now)
    _check_parties(claims, section)
    names = section.claims
    caller = Caller(
        key_id=_key_id(claims.get(names.key_id)),
        scopes=_scopes(claims[names.scopes]) if names.scopes in claims else section.default_scopes,
        plan=_plan(claims, names.plan),
        leases=_leases(claims[names.leases]) if names.leases in claims else None,
        source="jwt",
    )
    return Holder(caller, expires)


def _check_times(claims: Mapping[str, Any], leeway: float, now: float) -> float:
    """The unix time until which the token is taken."""
    if "exp" not in claims:
        raise BadToken("The token has no exp")
    expires = _moment(claims, "exp") + leeway
    if now >= expires:
        raise ExpiredToken("The token has expired")
    if "nbf" in claims and now < _moment(claims, "nbf") - leeway:
        raise BadToken("The token is not valid yet")
    if "iat" in claims and now < _moment(claims, "iat") - leeway:
        raise BadToken("The token was issued in the future")
    return expires


def _moment(claims: Mapping[str, Any], name: str) -> float:
    """A NumericDate (RFC 7519 section 2)."""
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadToken(f"The {name} of the token is no number of seconds")
    if not -_LAST_MOMENT < value < _LAST_MOMENT:
        raise BadToken(f"The {name} of the token is no date")
    return float(value)


def _check_parties(claims: Mapping[str, Any], section: JWTSection) -> None:
    issuer, audience = section.claims.issuer, section.claims.audience
    if issuer is not None and claims.get("iss") != issuer:
        raise BadToken("The token is of another issuer")
    if "aud" not in claims:
        if audience is not None:
            raise BadToken("The token has no audience")
        return
    meant = claims["aud"]
    members = meant if isinstance(meant, list) else [meant]
    if not all(isinstance(member, str) for member in members):
        raise BadToken("The audience of the token is no text")
    if audience is None or audience not in members:
        raise BadToken("The token is for another audience")


def _key_id(value: object) -> str:
    if not isinstance(value, str) or not _KEY_ID.fullmatch(value):
        raise BadToken("The token does not say in visible characters of ASCII whose it is")
    return JWT_KEY_ID_PREFIX + value


def _scopes(value: object) -> frozenset[str]:
    """The scopes that mean something here. Text is split at spaces (RFC 8693 section 4.2)."""
    if isinstance(value, str):
        return SCOPES.intersection(value.split(" "))
    if isinstance(value, list) and all(isinstance(scope, str) for scope in value):
        return SCOPES.intersection(value)
    raise BadToken("The scopes of the token are neither text nor a list of it")


def _leases(value: object) -> tuple[str, ...]:
    """Patterns of lease names. What cannot be read must not let its holder go everywhere."""
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, list) or len(patterns) > _MAX_LEASES:
        raise BadToken(f"The leases of the token are no list of at most {_MAX_LEASES}")
    for pattern in patterns:
        if not isinstance(pattern, str) or not 0 < len(pattern) <= MAX_LEASE_NAME:
            raise BadToken("The leases of the token are no patterns of lease names")
    return tuple(patterns)


def _plan(claims: Mapping[str, Any], name: str | None) -> str:
    """The plan; one that cannot be read is none, as one that is not configured."""
    value = None if name is None else claims.get(name)
    return value if isinstance(value, str) else ""
