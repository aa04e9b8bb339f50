"""Readers of paths. A relative one is relative to the directory of the configuration file."""

from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates

from portal_gateway.config.fields import text
from portal_gateway.config.reading import Value
from portal_gateway.config.worded import reads

__all__ = ["MAX_CERTIFICATE_FILE_BYTES", "certificate_file", "path", "state_file"]

MAX_CERTIFICATE_FILE_BYTES = 2_000_000
"""The largest file of authorities that is read: several times what systems ship."""


@reads("path")
def path(value: Value) -> Path:
    """Reads a path and makes it absolute. ``~`` is refused: nothing expands it."""
    found = text(value, expected="a path")
    if not found.text or "\0" in found.text:
        raise value.refuse("a path must not be empty nor hold a NUL character")
    if found.text.startswith("~"):
        raise value.refuse("~ is not expanded in a path; write the whole path")
    return value.reading.directory / found.text


@reads("path of a file")
def state_file(value: Value) -> Path:
    """Reads the path of a file that the daemon makes if it is not there; its directory must be."""
    found = path(value)
    try:
        if found.exists() and not found.is_file():
            raise value.refuse("this is not a file")
        if not found.parent.is_dir():
            raise value.refuse("the directory of this file does not exist")
    except OSError as error:
        raise value.refuse(f"the file cannot be reached: {error.strerror}") from None
    return found


@reads("path of a PEM file with one or more certificates")
def certificate_file(value: Value) -> Path:
    """Reads the path of a PEM file of certificates, and checks that it holds some."""
    found = path(value)
    try:
        with found.open("rb") as file:
            data = file.read(MAX_CERTIFICATE_FILE_BYTES + 1)
    except OSError as error:
        raise value.refuse(f"the file cannot be read: {error.strerror}") from None
    if len(data) > MAX_CERTIFICATE_FILE_BYTES:
        raise value.refuse(f"the file is larger than {MAX_CERTIFICATE_FILE_BYTES} bytes")
    try:
        load_pem_x509_certificates(data)
    except ValueError:
        raise value.refuse("the file holds no PEM certificate, or a broken one") from None
    return found
