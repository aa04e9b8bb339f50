"""Answers to an authority's challenges, kept in the store while an order runs.

They are files, because the authority may come to another process than the one that ordered. What
strangers ask for is looked up by its digest, so nothing of it becomes a part of a path.
"""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from OpenSSL import SSL

from portal_gateway.tls.acme_store import write_whole

__all__ = ["ACME_TLS", "Answers"]

ACME_TLS = b"acme-tls/1"
"""The protocol of TLS-ALPN-01 (RFC 8737 section 6.2)."""

MAX_TOKEN = 256
"""Characters of a token: RFC 8555 wants at least 128 bits in base64url, authorities send 43."""

_TOKEN = re.compile(rb"[A-Za-z0-9_-]{1,%d}" % MAX_TOKEN)

_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""RFC 8737 section 6.1."""

_OCTET_STRING_OF_32 = b"\x04\x20"


class Answers:
    """The answers in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _file(self, kind: bytes, asked: bytes) -> Path:
        return self._directory / hashlib.sha256(kind + b"\n" + asked).hexdigest()

    def _read(self, kind: bytes, asked: bytes) -> bytes | None:
        try:
            return self._file(kind, asked).read_bytes()
        except OSError:
            return None

    # HTTP-01 (RFC 8555 section 8.3).

    def put_token(self, token: str, authorization: str) -> None:
        """Answer for ``token`` from now on."""
        write_whole(self._file(b"http", token.encode()), authorization.encode())

    def remove_token(self, token: str) -> None:
        """Answer for it no more."""
        self._file(b"http", token.encode()).unlink(missing_ok=True)

    def authorization(self, token: bytes) -> bytes | None:
        """The answer for a token that somebody asks for; ``None`` for all but those put here."""
        return self._read(b"http", token) if _TOKEN.fullmatch(token) else None

    # TLS-ALPN-01 (RFC 8737).

    def put_certificate(self, domain: str, authorization: str) -> None:
        """Answer for ``domain`` from now on, with a certificate that holds the digest."""
        write_whole(self._file(b"alpn", domain.encode()), _certificate(domain, authorization))

    def remove_certificate(self, domain: str) -> None:
        """Answer for it no more."""
        self._file(b"alpn", domain.encode()).unlink(missing_ok=True)

    def context(self, server_name: bytes | None) -> SSL.Context | None:
        """What proves to an authority that asks for ``server_name`` that we answer for it."""
        found = self._read(b"alpn", (server_name or b"").lower())
        if found is None:
            return None
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        key = load_pem_private_key(found, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        context.use_certificate(x509.load_pem_x509_certificate(found))
        context.use_privatekey(key)
        context.set_alpn_select_callback(_only_acme)
        return context


def _only_acme(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
    if ACME_TLS in offered:
        return ACME_TLS
    raise SSL.Error([("ALPN", "", "no protocol in common")])


def _certificate(domain: str, authorization: str) -> bytes:
    """The key and the certificate of RFC 8737 section 3, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    now = datetime.now(UTC)
    digest = hashlib.sha256(authorization.encode()).digest()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=True)
        .add_extension(
            x509.UnrecognizedExtension(_ACME_IDENTIFIER, _OCTET_STRING_OF_32 + digest),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    ) + certificate.public_bytes(Encoding.PEM)
