"""Certificates for tests: an authority, chains below it, and the files they are kept in."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def new_key(kind="ec"):
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "ed25519":
        return Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, int(kind))


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Certified:
    """A certificate with its key, and who issued it (itself without ``issuer``)."""

    def __init__(
        self,
        subject="localhost",
        issuer=None,
        *,
        authority=False,
        key=None,
        now=NOW,
        since=timedelta(days=1),
        lasts=timedelta(days=60),
        hosts=("localhost", "127.0.0.1"),
        usage=ExtendedKeyUsageOID.SERVER_AUTH,
    ):
        self.key = key or new_key()
        signer = issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(subject) if issuer is None else issuer.certificate.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - since)
            .not_valid_after(now + lasts)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority and hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(host) for host in hosts]), critical=False
            )
        if not authority and usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        digest = None if isinstance(signer.key, Ed25519PrivateKey) else hashes.SHA256()
        self.certificate = builder.sign(signer.key, digest)
        self.issuer = issuer

    @property
    def pem(self):
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self):
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def locked_key_pem(self):
        return self.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )

    def write(self, directory, *issuers):
        """The two files, the key readable by its owner only."""
        (directory / "cert.pem").write_bytes(self.pem + b"".join(issuer.pem for issuer in issuers))
        key_file = directory / "key.pem"
        key_file.write_bytes(self.key_pem)
        key_file.chmod(0o600)
        return directory / "cert.pem", key_file


def _general(host):
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
