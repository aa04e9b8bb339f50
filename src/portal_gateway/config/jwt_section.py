"""The section ``auth.jwt``: its keys, and whether there is something to verify tokens with."""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final, get_args
from urllib.parse import urlsplit

from portal_gateway.config.addresses import http_url
from portal_gateway.config.fields import Section, choice, list_of, text, true_or_false
from portal_gateway.config.files import path
from portal_gateway.config.jwt_tokens import JWKSAddress, JWTAlgorithm, JWTClaims, JWTSection
from portal_gateway.config.model import SCOPES
from portal_gateway.config.reading import Value
from portal_gateway.config.times import duration
from portal_gateway.config.upstream_tls import UpstreamTLS
from portal_gateway.config.upstream_tls_section import UPSTREAM_TLS
from portal_gateway.config.worded import reads
from portal_gateway.wire.jwt_keys import KeySet, UnusableVerifyingKey

__all__ = ["JWT"]

MAX_SECRET: Final = 4096
"""Characters of a secret."""

MAX_KEY_FILE_BYTES: Final = 100_000
"""The largest file of a public key that is read; one has a few hundred bytes."""

MAX_CLAIM: Final = 255
"""Characters of a claim's name, of an issuer and of an audience."""

_STRONG_SECRET: Final = 32
"""Bytes below which RFC 7518 section 3.2 forbids a secret for HS256."""

_PUBLIC_KEY = re.compile(rb"-----BEGIN (?:RSA )?PUBLIC KEY-----")

_SOURCES: Final = ("secret", "public_key_file", "jwks_url")


@reads(f"text of 1 to {MAX_SECRET} characters; secret")
def _secret(value: Value) -> bytes:
    """Reads a secret. No fault quotes it or anything about it but its length."""
    written = text(value, secret=True, expected="a secret")
    value.note_secret(written)
    found = written.text
    if not found:
        raise value.refuse("the secret is empty")
    if len(found) > MAX_SECRET:
        raise value.refuse(f"a secret has at most {MAX_SECRET} characters, found {len(found)}")
    if found != found.strip():
        raise value.refuse("the secret starts or ends with white space or a line break")
    return found.encode()


@reads("path of a PEM file with a public key")
def _public_key_file(value: Value) -> bytes:
    """Reads the path of a file with a public key, and returns what is in it."""
    found = path(value)
    try:
        with found.open("rb") as file:
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise value.refuse(f"the file cannot be read: {error.strerror}") from None
    if b"PRIVATE KEY-----" in data:
        raise value.refuse(
            "the file holds a private key: that is the issuer's alone; give the public one"
        )
    if len(data) > MAX_KEY_FILE_BYTES or not _PUBLIC_KEY.search(data):
        raise value.refuse(
            "the file holds no public key in PEM; openssl makes one of a certificate:"
            " openssl x509 -pubkey -noout"
        )
    return data


@reads(f"text of 1 to {MAX_CLAIM} printable characters")
def _words(value: Value) -> str:
    """Reads the name of a claim, an issuer or an audience: text that is compared as it stands."""
    found = text(value).text
    if not 0 < len(found) <= MAX_CLAIM or not found.isprintable():
        raise value.refuse(f"this is 1 to {MAX_CLAIM} printable characters")
    return found


_claim = reads("name of a claim")(_words)


def _jwt(*, enabled: bool | None = None, **keys: Any) -> JWTSection | None:
    """The section, or None where nothing was written or it is switched off."""
    if not (bool(keys) if enabled is None else enabled):
        return None
    return _enabled(**keys)


def _enabled(
    *,
    algorithm: JWTAlgorithm = "HS256",
    public_key_file: bytes | None = None,
    jwks_url: str | None = None,
    tls: UpstreamTLS | None = None,
    allow_http: bool = False,  # noqa: ARG001 - the check looks at it
    default_scopes: Sequence[str] | None = None,
    **keys: Any,
) -> JWTSection:
    if default_scopes is not None:
        keys["default_scopes"] = frozenset(default_scopes)
    jwks = None if jwks_url is None else JWKSAddress(jwks_url, tls or UpstreamTLS())
    return JWTSection(algorithm=algorithm, public_key=public_key_file, jwks=jwks, **keys)


def _check(section: JWTSection | None, value: Value) -> None:
    if section is None:
        return
    if value.at("algorithm") is value:
        value.refuse(f'"algorithm" is missing: one of {", ".join(get_args(JWTAlgorithm))}')
    written = [name for name in _SOURCES if value.at(name) is not value]
    if not written:
        value.refuse(f"tokens are verified with one of {', '.join(_SOURCES)}; none is here")
        return
    if len(written) > 1:
        first, second = written[:2]
        value.at(second).refuse(
            f"{first} (line {value.at(first).line}) and {second} exclude each other"
        )
        return
    (source,) = written
    if (section.algorithm == "HS256") != (source == "secret"):
        value.at(source).refuse(
            "HS256 is verified with a secret"
            if section.algorithm == "HS256"
            else f"{section.algorithm} is verified with a public key, not with a secret"
        )
        return
    _check_key(section, value.at(source))
    _check_address(section.jwks, value)
    if section.claims.audience is None:
        value.warn(
            "without claims.audience a token of this issuer for another service is good here,"
            " unless it says for which one it is"
        )


def _check_key(section: JWTSection, value: Value) -> None:
    key = section.public_key if section.secret is None else section.secret
    if key is None:
        return
    try:
        KeySet.of(section.algorithm, key)
    except UnusableVerifyingKey as unusable:
        value.refuse(str(unusable))
        return
    if section.secret is not None and len(section.secret) < _STRONG_SECRET:
        value.warn(
            f"the secret is shorter than {_STRONG_SECRET} bytes (RFC 7518 section 3.2): who has"
            " one token can find it by trying, and then sign any"
        )


def _check_address(jwks: JWKSAddress | None, value: Value) -> None:
    url, tls, allow_http = (value.at(name) for name in ("jwks_url", "tls", "allow_http"))
    if jwks is None:
        for only in (tls, allow_http):
            if only is not value:
                only.refuse("means nothing without jwks_url")
        return
    if jwks.url.startswith("https:"):
        return
    if jwks.tls != UpstreamTLS():
        tls.refuse("this is for a jwks_url with https://")
    if _is_this_machine(urlsplit(jwks.url).hostname or ""):
        return
    if allow_http is value or allow_http.text().text != "true":
        url.refuse("whoever is on the way could give keys of their own; use https://")
    else:
        url.warn("whoever is on the way can give keys of their own, and sign tokens with them")


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


JWT = Section(
    _jwt,
    {
        "enabled": true_or_false,
        "algorithm": choice("algorithm", get_args(JWTAlgorithm)),
        "secret": _secret,
        "public_key_file": _public_key_file,
        "jwks_url": http_url,
        "tls": UPSTREAM_TLS,
        "allow_http": true_or_false,
        "leeway": duration(0, 300),
        "default_scopes": list_of(choice("scope", sorted(SCOPES)), expected="a list of scopes"),
        "claims": Section(
            JWTClaims,
            {
                "issuer": _words,
                "audience": _words,
                "key_id": _claim,
                "scopes": _claim,
                "leases": _claim,
                "plan": _claim,
            },
        ),
    },
    check=_check,
)
