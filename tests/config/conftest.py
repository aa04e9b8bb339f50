from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from portal_gateway.config import document
from portal_gateway.config.reading import Reading, Refused, Value


class OneValue:
    """Reads one value with a reader; keeps what was noted about it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environ: dict[str, str] = {}
        self.reasons: list[str] = []
        self.warnings: list[str] = []

    def __call__(self, reader, text):
        reading = Reading("file.yaml", self.environ, self.directory)
        try:
            return reader(Value(document.compose(text), "key", reading))
        finally:
            self.reasons = [fault.reason for fault in reading.faults]
            self.warnings = [warning.reason for warning in reading.warnings]

    def reason(self, reader, text) -> str:
        """Why the reader refuses the text, for the one reason that it should have."""
        with pytest.raises(Refused):
            self(reader, text)
        (reason,) = self.reasons
        return reason


@pytest.fixture
def read(tmp_path):
    return OneValue(tmp_path)


@pytest.fixture(scope="session")
def certificate():
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test authority")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, None)
        .public_bytes(Encoding.PEM)
    )
