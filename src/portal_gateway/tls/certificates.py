"""Whether a certificate and a key can serve clients: pure checks of PEM texts.

What OpenSSL would take without a word, or refuse with a riddle, is told here in one sentence: a key
of another certificate, an expired one, a chain in the wrong order.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtendedKeyUsage,
    ExtensionNotFound,
    IPAddress,
    SubjectAlternativeName,
    load_pem_x509_certificates,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

__all__ = [
    "EXPIRES_SOON",
    "MAX_CHAIN",
    "BadTLSFile",
    "Concern",
    "FileKey",
    "ServerCertificate",
    "read_authorities",
    "read_server_certificate",
]

FileKey = Literal["cert_file", "key_file", "client_ca_file"]
"""The key of the configuration that names a file."""

MAX_CHAIN = 10
"""Certificates that a chain has at most: real ones have two or three, and clients refuse more."""

MIN_RSA_BITS = 2048
"""Shorter RSA keys are refused by clients and by OpenSSL (NIST SP 800-131A)."""

EXPIRES_SOON = timedelta(days=14)
"""A certificate that has less left should have been renewed: authorities advise 30 days of 90.

One that lives for less than three times as long should have a third of its life left.
"""

_SERVER_USAGES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}

_KEY = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey


class BadTLSFile(ValueError):
    """A file cannot be used; ``file`` is the key that names it, ``reason`` holds nothing secret."""

    def __init__(self, file: FileKey, reason: str) -> None:
        super().__init__(f"gateway.tls.{file}: {reason}")
        self.file: FileKey = file
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Concern:
    """Something about a file that is allowed but hardly meant."""

    file: FileKey
    text: str


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A chain, the server's own certificate first, and the key that belongs to it."""

    chain: tuple[Certificate, ...]
    key: _KEY

    def __repr__(self) -> str:
        return f"<ServerCertificate {self.chain[0].subject.rfc4514_string()!r}>"

    @property
    def expires(self) -> datetime:
        """When the first certificate of the chain expires."""
        return min(certificate.not_valid_after_utc for certificate in self.chain)

    @property
    def names(self) -> tuple[str, ...]:
        """The names and addresses that it is for (RFC 6125 section 6.4)."""
        try:
            found = self.chain[0].extensions.get_extension_for_class(SubjectAlternativeName).value
        except ExtensionNotFound:
            return ()
        addresses = map(str, found.get_values_for_type(IPAddress))
        return (*found.get_values_for_type(DNSName), *addresses)

    def concerns(self, now: datetime) -> list[Concern]:
        """What an operator should look at."""
        leaf = self.chain[0]
        found = []
        lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        left = self.expires - now
        if left < min(EXPIRES_SOON, lifetime / 3):
            found.append(Concern("cert_file", f"the certificate expires soon: {_at(self.expires)}"))
        try:
            leaf.extensions.get_extension_for_class(SubjectAlternativeName)
        except ExtensionNotFound:
            found.append(
                Concern("cert_file", "the certificate names no host that clients look at (SAN)")
            )
        return found


def read_server_certificate(chain_pem: bytes, key_pem: bytes, now: datetime) -> ServerCertificate:
    """A chain and its key, if they can be served at ``now`` (aware). Raises `BadTLSFile`."""
    chain = _read_certificates("cert_file", chain_pem)
    if len(chain) > MAX_CHAIN:
        raise BadTLSFile("cert_file", f"the file holds more than {MAX_CHAIN} certificates")
    key = _read_key(key_pem)
    if _public_bytes(chain[0]) != key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ):
        where = _index_of_key(chain, key)
        raise BadTLSFile(
            "key_file",
            "the key is not that of the certificate in cert_file"
            if where is None
            else f"the key is that of certificate {where} of cert_file;"
            " the server's own certificate must be the first one",
        )
    for number, certificate in enumerate(chain, 1):
        _check_dates(number, certificate, now)
    for number, (certificate, issuer) in enumerate(pairwise(chain), 1):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise BadTLSFile(
                "cert_file",
                f"certificate {number + 1} did not issue certificate {number}:"
                " each must be followed by its issuer",
            ) from None
    _check_usage(chain[0])
    return ServerCertificate(chain, key)


def read_authorities(pem: bytes) -> tuple[Certificate, ...]:
    """The authorities of clients' certificates. Raises `BadTLSFile`."""
    return _read_certificates("client_ca_file", pem)


def _read_certificates(file: FileKey, pem: bytes) -> tuple[Certificate, ...]:
    try:
        return tuple(load_pem_x509_certificates(pem))
    except ValueError:
        raise BadTLSFile(file, "the file holds no PEM certificate, or a broken one") from None


def _read_key(pem: bytes) -> _KEY:
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise BadTLSFile(
            "key_file", "the key is encrypted, and there is nobody to type its password"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadTLSFile("key_file", "the file holds no PEM private key, or a broken one") from None
    if not isinstance(key, _KEY):
        raise BadTLSFile("key_file", "the key is neither RSA, nor EC, nor Ed25519")
    if isinstance(key, RSAPrivateKey) and key.key_size < MIN_RSA_BITS:
        raise BadTLSFile(
            "key_file", f"an RSA key must have {MIN_RSA_BITS} bits, this one has {key.key_size}"
        )
    return key


def _public_bytes(certificate: Certificate) -> bytes:
    try:
        return certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
    except (ValueError, UnsupportedAlgorithm):
        return b""


def _index_of_key(chain: tuple[Certificate, ...], key: _KEY) -> int | None:
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for number, certificate in enumerate(chain, 1):
        if _public_bytes(certificate) == public:
            return number
    return None


def _check_dates(number: int, certificate: Certificate, now: datetime) -> None:
    which = "the certificate" if number == 1 else f"certificate {number} of the chain"
    if certificate.not_valid_after_utc < now:
        raise BadTLSFile(
            "cert_file", f"{which} has expired: {_at(certificate.not_valid_after_utc)}"
        )
    if certificate.not_valid_before_utc > now:
        raise BadTLSFile(
            "cert_file",
            f"{which} is not valid before {_at(certificate.not_valid_before_utc)}",
        )


def _check_usage(leaf: Certificate) -> None:
    try:
        usages = leaf.extensions.get_extension_for_class(ExtendedKeyUsage).value
    except ExtensionNotFound:
        return
    if not {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    }.intersection(usages):
        raise BadTLSFile("cert_file", "the certificate is not one for servers (its key usage)")


def _at(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
