"""The directory of an ACME client: account keys, certificates with their keys, and what was tried.

::

    STORE/                    mode 0700
    ├── <name>.pem            a key and its chain, in one file, so that they change together
    ├── <name>.json           what was tried for it (removed by hand: tried again at once)
    ├── accounts/<hash>.pem   the account's key for one authority
    ├── challenges/           answers, while an order runs
    └── lock                  held by the process that talks to the authority

Files appear whole or not at all. All is written under the lock.
"""

import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtensionNotFound,
    SubjectAlternativeName,
    load_pem_x509_certificates,
)

from portal_gateway.tls.acme_names import domain_of_stem
from portal_gateway.tls.acme_schedule import Held, History

__all__ = ["MAX_NAMES", "Store", "UnusableStore", "held_of", "new_key_pem", "write_whole"]

MAX_NAMES = 1000
"""Certificates that a store asks for by its files: far more than one host serves."""

MAX_FILE = 1_000_000
"""Bytes read of a file in the store: a chain and its key have some thousand."""

_TEMPORARY = ".new-"

_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class UnusableStore(ValueError):
    """The directory cannot be used; the message says why and what to do."""


def new_key_pem() -> bytes:
    """A new P-256 key, which every client and authority takes, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_whole(path: Path, content: bytes) -> None:
    """Have ``path`` hold ``content``, or what it held before, whatever happens meanwhile."""
    # mkstemp makes the file with mode 0600 whatever the umask is.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def held_of(leaf: Certificate) -> Held:
    """What is to be known of a certificate; one that names no hosts is for none."""
    try:
        names = leaf.extensions.get_extension_for_class(SubjectAlternativeName).value
        domains = frozenset(name.lower() for name in names.get_values_for_type(DNSName))
    except (ExtensionNotFound, ValueError):
        domains = frozenset()
    return Held(leaf.not_valid_before_utc, leaf.not_valid_after_utc, domains)


class Store:
    """The directory at ``path``, which is made if its parent is there.

    Raises `UnusableStore` when it cannot be, or when others than its owner may look into it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.challenges = path / "challenges"
        self._accounts = path / "accounts"
        try:
            for directory in (path, self.challenges, self._accounts):
                directory.mkdir(mode=0o700, exist_ok=True)
            found = path.stat()
        except OSError as error:
            raise UnusableStore(f"{path}: cannot be used as a store: {error.strerror}") from None
        mode = stat.S_IMODE(found.st_mode)
        if mode & _FOR_OTHERS:
            raise UnusableStore(
                f"{path}: its mode is {mode:04o}, and it holds keys: chmod 700 {path}"
            )

    def file(self, stem: str) -> Path:
        """Where the certificate and key of ``stem`` are."""
        return self.path / f"{stem}.pem"

    def asked_for(self) -> list[str]:
        """The host names that files ask for by their names, sorted; an empty file is enough."""
        names = [
            domain
            for path in self.path.glob("*.pem")
            if (domain := domain_of_stem(path.stem)) is not None
        ]
        return sorted(names)[:MAX_NAMES]

    def leaf(self, stem: str) -> Certificate | None:
        """The certificate that is there; ``None`` for an empty or broken file, or none."""
        content = _read(self.file(stem))
        try:
            return load_pem_x509_certificates(content)[0]
        except ValueError:
            return None

    def held(self, stem: str) -> Held | None:
        """What is to be known of the certificate that is there."""
        leaf = self.leaf(stem)
        return None if leaf is None else held_of(leaf)

    def save(self, stem: str, key_pem: bytes, chain_pem: bytes) -> None:
        """Put a new certificate and its key in the place of those that were there."""
        write_whole(self.file(stem), key_pem + chain_pem)

    def history(self, stem: str) -> History:
        """What was tried; nothing, where that was not written or cannot be read."""
        try:
            told = json.loads(_read(self.path / f"{stem}.json"))
            times = {name: _time(told[name]) for name in ("not_before", "renew_at", "ask_at")}
            return History(int(told["failures"]), **times)
        except (ValueError, KeyError, TypeError):
            return History()

    def write_history(self, stem: str, history: History) -> None:
        """Note what was tried."""
        told = {
            "failures": history.failures,
            "not_before": _written(history.not_before),
            "renew_at": _written(history.renew_at),
            "ask_at": _written(history.ask_at),
        }
        write_whole(self.path / f"{stem}.json", json.dumps(told, indent=1).encode() + b"\n")

    def account_key(self, directory_url: str) -> bytes:
        """The key of the account at one authority, in PEM; made where there is none."""
        digest = hashlib.sha256(directory_url.encode()).hexdigest()[:32]
        path = self._accounts / f"{digest}.pem"
        if not path.exists():
            write_whole(path, new_key_pem())
        return path.read_bytes()

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Whether this process is the one that writes now; others are told no, and do not wait.

        The lock goes with the process that holds it, and with it what that left half done.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            self._clear()
            yield True
        finally:
            os.close(descriptor)

    def _clear(self) -> None:
        """Remove what a process left that ended while it held the lock."""
        left = list(self.challenges.iterdir())
        for directory in (self.path, self._accounts):
            left += directory.glob(f"{_TEMPORARY}*")
        for path in left:
            with suppress(OSError):
                path.unlink()


def _read(path: Path) -> bytes:
    try:
        # A FIFO would be waited for without O_NONBLOCK.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as opened:
            return opened.read(MAX_FILE) or b""
    except OSError:
        return b""


def _time(written: str | None) -> datetime | None:
    if written is None:
        return None
    time = datetime.fromisoformat(written)
    if time.tzinfo is None:
        raise ValueError("a time without its zone")
    return time


def _written(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
