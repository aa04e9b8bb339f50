"""Identities and the credentials that prove them.

A lease, a relay and a client are each known by an Ed25519 public key and by an id of 26 characters
that is derived
from it::

    id = base32(HMAC-SHA256(key = "RDVERB_PROTOCOL_VER_01_SHA256_ID", message = public key)[:16])

with the alphabet of RFC 4648 section 6, upper case, without padding. Whoever asks for an id and is
shown a key that gives it, by a peer that can sign with that key, talks to the right peer, whoever
carries the bytes.
"""

import base64
import hmac
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from portal_gateway.wire.errors import BadSignature, InvalidIdentity
from portal_gateway.wire.limits import MAX_DIRECTORY_LEASES

__all__ = [
    "LEASE_ID_CHARACTERS",
    "PRIVATE_KEY_BYTES",
    "PUBLIC_KEY_BYTES",
    "Credential",
    "Identity",
    "check_identity",
    "check_signature",
    "derive_id",
    "is_lease_id",
]

PUBLIC_KEY_BYTES = 32
"""Bytes of an Ed25519 public key (RFC 8032 section 5.1.5)."""

PRIVATE_KEY_BYTES = 32
"""Bytes of an Ed25519 private key, the seed of RFC 8032 section 5.1.5."""

LEASE_ID_CHARACTERS = 26
"""Characters of an id: 128 bits, five to a character."""

_ID_KEY = b"RDVERB_PROTOCOL_VER_01_SHA256_ID"
_ID_BYTES = 16
_LEASE_ID = re.compile(rf"[A-Z2-7]{{{LEASE_ID_CHARACTERS}}}")


@dataclass(frozen=True, slots=True)
class Identity:
    """An id and the public key that it is derived from.

    One made by ``check_identity`` or by a ``Credential`` is valid; the class itself checks nothing,
    so that a test can speak as a liar.
    """

    id: str
    public_key: bytes


def derive_id(public_key: bytes) -> str:
    """The 26 characters that name the owner of ``public_key`` (32 bytes).

    Raises ``InvalidIdentity`` for a key of another size.
    """
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise InvalidIdentity(f"the public key has {len(public_key)} bytes, not {PUBLIC_KEY_BYTES}")
    digest = hmac.digest(_ID_KEY, public_key, "sha256")
    return base64.b32encode(digest[:_ID_BYTES])[:LEASE_ID_CHARACTERS].decode("ascii")


def check_identity(id: str, public_key: bytes) -> Identity:  # noqa: A002 - the name that the protocol gives it
    """The identity, once it is known to be valid.

    Raises ``InvalidIdentity`` when the key has not 32 bytes or the id is not derived
    from it. The error says nothing of the id, which is the peer's text.
    """
    derived = _remembered_id(public_key)
    # A text that did not come through protobuf may hold lone surrogates.
    if not hmac.compare_digest(derived.encode(), id.encode("utf-8", "surrogatepass")):
        raise InvalidIdentity("the id is not the one that its public key gives")
    return Identity(derived, public_key)


# A directory asks for the same thousands of keys every few seconds. Keys of another size than 32
# bytes raise, so they are not kept.
_remembered_id = lru_cache(maxsize=MAX_DIRECTORY_LEASES)(derive_id)


def is_lease_id(text: str) -> bool:
    """Whether ``text`` has the form of a lease id: 26 characters of upper-case base32."""
    return _LEASE_ID.fullmatch(text) is not None


def check_signature(identity: Identity, data: bytes, signature: bytes) -> None:
    """Raise ``BadSignature`` unless ``identity``'s key signed exactly ``data``."""
    try:
        # An Ed25519 signature of another size than 64 bytes does not verify either.
        Ed25519PublicKey.from_public_bytes(identity.public_key).verify(signature, data)
    except InvalidSignature:
        raise BadSignature(
            f"the signature ({len(signature)} bytes) does not verify {len(data)} bytes"
        ) from None


class Credential:
    """An Ed25519 key pair: what proves an ``Identity``.

    The private key leaves the object only through ``private_bytes``; ``repr`` shows the id.
    """

    __slots__ = ("_private_key", "identity")

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        public_key = private_key.public_key().public_bytes_raw()
        self.identity = Identity(derive_id(public_key), public_key)

    @classmethod
    def generate(cls) -> Self:
        """A fresh credential, from the operating system's random numbers."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_private_bytes(cls, private_bytes: bytes) -> Self:
        """The credential of a private key of 32 bytes; ``ValueError`` for any other size."""
        if len(private_bytes) != PRIVATE_KEY_BYTES:
            raise ValueError(
                f"an Ed25519 private key has {PRIVATE_KEY_BYTES} bytes, not {len(private_bytes)}"
            )
        return cls(Ed25519PrivateKey.from_private_bytes(private_bytes))

    def private_bytes(self) -> bytes:
        """The private key, 32 bytes. A secret: for a file of mode 0600 and nothing else."""
        return self._private_key.private_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature (64 bytes) over ``data``."""
        return self._private_key.sign(data)

    def __repr__(self) -> str:
        return f"<Credential {self.identity.id}>"
