"""The files that TLS toward clients is made of, read as they are now."""

import os
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from cryptography.x509 import Certificate

from portal_gateway.tls.certificates import (
    BadTLSFile,
    Concern,
    FileKey,
    ServerCertificate,
    read_authorities,
    read_server_certificate,
)

__all__ = ["MAX_FILE_BYTES", "ClientCertificates", "Contents", "TLSFiles", "TLSMaterial"]

MAX_FILE_BYTES = 2_000_000
"""The largest file that is read: several times the bundle of all authorities of a system."""

ClientCertificates = Literal["required", "optional"]

Contents = tuple[bytes, bytes, bytes | None]
"""What the files hold: chain, key, authorities of clients."""

_OTHERS_MAY_READ = stat.S_IROTH


@dataclass(frozen=True, slots=True)
class TLSMaterial:
    """What was read and checked. ``authorities`` is empty when clients need no certificates."""

    certificate: ServerCertificate
    authorities: tuple[Certificate, ...]
    client_certificates: ClientCertificates


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """Where the files are; ``client_certificates`` counts only with a ``client_ca_file``."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    client_certificates: ClientCertificates = "required"

    def contents(self) -> Contents:
        """What the files hold now. Raises `BadTLSFile` for one that cannot be read."""
        return (
            _read("cert_file", self.cert_file),
            _read("key_file", self.key_file),
            None if self.client_ca_file is None else _read("client_ca_file", self.client_ca_file),
        )

    def check(self, contents: Contents, now: datetime) -> TLSMaterial:
        """``contents`` as something to serve with at ``now`` (aware). Raises `BadTLSFile`."""
        chain, key, authorities = contents
        return TLSMaterial(
            read_server_certificate(chain, key, now),
            () if authorities is None else read_authorities(authorities),
            self.client_certificates,
        )

    def read(self, now: datetime) -> TLSMaterial:
        """The files as they are now, checked. Raises `BadTLSFile`."""
        return self.check(self.contents(), now)

    def concerns(self, material: TLSMaterial, now: datetime) -> list[Concern]:
        """What is allowed but hardly meant about the files."""
        found = material.certificate.concerns(now)
        try:
            mode = self.key_file.stat().st_mode
        except OSError:
            return found
        if mode & _OTHERS_MAY_READ and stat.S_ISREG(mode):
            shown = f"{stat.S_IMODE(mode):04o}"
            found.append(
                Concern(
                    "key_file", f"every user can read the key (mode {shown}); chmod 640 the file"
                )
            )
        return found

    def state(self) -> tuple[object, ...]:
        """Something that is another when a file was written or replaced; it costs no reading."""
        return tuple(
            _state(path)
            for path in (self.cert_file, self.key_file, self.client_ca_file)
            if path is not None
        )


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        # Follows links: a renewed certificate is often a link that points elsewhere now.
        now = path.stat()
    except OSError:
        return None
    return (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


def _read(file: FileKey, path: Path) -> bytes:
    try:
        # A FIFO would be waited for without O_NONBLOCK.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:  # noqa: PTH123 - a descriptor, not a path
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BadTLSFile(file, "this is not a file")
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadTLSFile(file, f"the file cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise BadTLSFile(file, f"the file is larger than {MAX_FILE_BYTES} bytes")
    return data
