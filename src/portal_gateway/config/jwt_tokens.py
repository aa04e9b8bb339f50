"""The section ``auth.jwt`` as a value: whose tokens are taken, and what their claims say.

A field that is not in the file has the default that stands here, as in
:mod:`portal_gateway.config.model`.
"""

from dataclasses import dataclass, field
from typing import Literal

from portal_gateway.config.upstream_tls import UpstreamTLS

__all__ = ["JWKSAddress", "JWTAlgorithm", "JWTClaims", "JWTSection"]

JWTAlgorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]


@dataclass(frozen=True, slots=True)
class JWKSAddress:
    """The URL of the issuer's published keys (RFC 7517 section 5), and its TLS.

    The ``url`` may have a secret in its query.
    """

    url: str = field(repr=False)
    tls: UpstreamTLS = field(default_factory=UpstreamTLS)


@dataclass(frozen=True, slots=True)
class JWTClaims:
    """``auth.jwt.claims``: what ``iss`` and ``aud`` must be, and which claims say the rest.

    ``issuer`` and ``audience`` are values, the others names of claims; ``None`` is not looked at.
    """

    issuer: str | None = None
    audience: str | None = None
    key_id: str = "sub"
    scopes: str = "scope"
    leases: str = "leases"
    plan: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JWTSection:
    """``auth.jwt``, where it is enabled: one issuer's tokens.

    Exactly one of ``secret``, ``public_key`` (PEM, of ``public_key_file``) and ``jwks`` is set:
    what tokens are verified with, by ``algorithm`` and no other. ``leeway`` is seconds that clocks
    may differ. ``default_scopes`` are those of a token without the claim of scopes.
    """

    algorithm: JWTAlgorithm
    secret: bytes | None = field(default=None, repr=False)
    public_key: bytes | None = field(default=None, repr=False)
    jwks: JWKSAddress | None = None
    claims: JWTClaims = field(default_factory=JWTClaims)
    leeway: float = 30.0
    default_scopes: frozenset[str] = frozenset({"read", "write"})
