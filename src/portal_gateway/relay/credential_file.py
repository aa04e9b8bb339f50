"""The gateway's (or a published lease's) own Ed25519 key, kept in a file that only its owner reads.

The file is PEM, PKCS #8 (RFC 8410), unencrypted: what ``openssl genpkey -algorithm ed25519``
writes. Whoever holds it is the lease, so a file that others may read is refused, not repaired: it
may have been read already.
"""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from portal_gateway.wire.identity import Credential

__all__ = ["MAX_CREDENTIAL_FILE", "CredentialFileError", "load_or_create_credential"]

MAX_CREDENTIAL_FILE = 4096
"""Bytes read of the file. An Ed25519 key in PEM has about 120; the rest allows for comments."""

_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class CredentialFileError(Exception):
    """The credential cannot be had from the file; the message names the file and what to do."""


def load_or_create_credential(path: str | os.PathLike[str]) -> Credential:
    """The credential in the file ``path``, which is made (mode 0600) if there is none.

    A new file appears whole or not at all, and if two processes make it at once, both get the
    same credential. Raises CredentialFileError when it cannot be read or written, is readable by
    others, or does not hold an Ed25519 private key. The content is never quoted.
    """
    file = Path(path)
    try:
        content = _read(file)
        if content is None:
            _create(file, Credential.generate())
            content = _read(file)
    except OSError as error:
        raise CredentialFileError(f"{file}: {error.strerror or 'cannot be used'}") from error
    if content is None:
        raise CredentialFileError(f"{file}: it was removed while it was being made")
    return _decode(file, content)


def _read(file: Path) -> bytes | None:
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise CredentialFileError(f"{file}: it is not a regular file")
    with os.fdopen(descriptor, "rb") as stream:
        mode = stat.S_IMODE(status.st_mode)
        if mode & _FOR_OTHERS:
            raise CredentialFileError(
                f"{file}: its mode is {mode:04o}, so others can use the key; it must be 0600"
                f" (chmod 600 {file}, and think about making a new key)"
            )
        if status.st_uid not in {os.geteuid(), 0}:
            raise CredentialFileError(
                f"{file}: it belongs to user {status.st_uid}, not to user {os.geteuid()}"
            )
        content = stream.read(MAX_CREDENTIAL_FILE + 1)
    if len(content) > MAX_CREDENTIAL_FILE:
        raise CredentialFileError(
            f"{file}: it is larger than {MAX_CREDENTIAL_FILE} bytes, which no Ed25519 key is"
        )
    return content


def _create(file: Path, credential: Credential) -> None:
    key = Ed25519PrivateKey.from_private_bytes(credential.private_bytes())
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # mkstemp makes the file with mode 0600 whatever the umask is.
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        # A link fails when the name is taken: whoever was first decides, and we read theirs.
        with suppress(FileExistsError):
            os.link(temporary, file)
    finally:
        Path(temporary).unlink()
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _decode(file: Path, content: bytes) -> Credential:
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as error:
        # The library's message is not passed on: it may hold parts of the content.
        reason = "is encrypted" if isinstance(error, TypeError) else "is not a private key in PEM"
        raise CredentialFileError(f"{file}: its content {reason} (PKCS #8)") from None
    except UnsupportedAlgorithm as error:
        raise CredentialFileError(f"{file}: it holds a key of a kind that is not known") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise CredentialFileError(f"{file}: it holds a private key, but not an Ed25519 key")
    return Credential.from_private_bytes(key.private_bytes_raw())
