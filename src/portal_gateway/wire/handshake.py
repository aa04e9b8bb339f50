"""The handshake of the secure channel: two signed messages that agree on two keys.

::

    client                                                          server
      ── length, SignedPayload{ InitPayload, signature } ──────────▶    checks, agrees
      ◀────────── length, SignedPayload{ InitPayload, signature } ──
    checks, agrees

Each payload holds the version, 12 random bytes, the sender's clock, its identity, the application
protocol, and a fresh X25519 key. Each side checks, in this order: the message's form, version,
clock (30 s either way), identity, signature over the exact bytes received, application protocol;
the client also that the server *is* the lease it asked for. A server says nothing about a fault: it
only closes.

The keys are HKDF-SHA256 (RFC 5869), 32 bytes each, of the X25519 shared secret::

    client to server    salt = client nonce ‖ server nonce    info = "RDSEC_KEY_CLIENT"
    server to client    salt = server nonce ‖ client nonce    info = "RDSEC_KEY_SERVER"

What the signature does not cover is the other side's message. An old server message therefore
passes every check while its clock is good, but its X25519 private key is gone: no record that the
replayer could send will open.

Each side makes one exchange and is then used up.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from google.protobuf.message import DecodeError

from portal_gateway.wire import portal_pb2
from portal_gateway.wire.errors import (
    AlpnMismatch,
    IdentityMismatch,
    LowOrderPoint,
    MalformedHandshake,
    StaleTimestamp,
    UnsupportedVersion,
)
from portal_gateway.wire.identity import (
    Credential,
    Identity,
    check_identity,
    check_signature,
)
from portal_gateway.wire.length_prefixed import length_prefixed
from portal_gateway.wire.limits import CLOCK_TOLERANCE

__all__ = ["Agreement", "ClientHandshake", "ServerHandshake", "agree_on_keys"]

_NONCE_BYTES = 12
_X25519_BYTES = 32
_KEY_BYTES = 32
_CLIENT_INFO = b"RDSEC_KEY_CLIENT"
_SERVER_INFO = b"RDSEC_KEY_SERVER"


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a handshake led to: the peer, what is spoken, and the keys of our two directions."""

    peer: Identity
    alpn: str
    send_key: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)


class _Side:
    """This side's fresh half of the exchange. Takes 12 and then 32 bytes from ``random_bytes``."""

    __slots__ = ("_credential", "_private_key", "nonce")

    def __init__(self, credential: Credential, random_bytes: Callable[[int], bytes]) -> None:
        self._credential = credential
        self.nonce = random_bytes(_NONCE_BYTES)
        self._private_key = X25519PrivateKey.from_private_bytes(random_bytes(_X25519_BYTES))

    def message(self, alpn: str, now: float) -> bytes:
        """This side's signed payload behind its length."""
        identity = self._credential.identity
        data = portal_pb2.InitPayload(
            version=portal_pb2.PROTOCOL_VERSION_1,
            nonce=self.nonce,
            timestamp=int(now),
            identity=portal_pb2.Identity(id=identity.id, public_key=identity.public_key),
            alpn=alpn,
            session_public_key=self._private_key.public_key().public_bytes_raw(),
        ).SerializeToString()
        signed = portal_pb2.SignedPayload(data=data, signature=self._credential.sign(data))
        return length_prefixed(signed.SerializeToString())

    def exchange(self, peer_public_key: bytes) -> bytes:
        """The shared secret; ``LowOrderPoint`` when it would be all zero."""
        try:
            return self._private_key.exchange(X25519PublicKey.from_public_bytes(peer_public_key))
        except ValueError:
            # The library refuses exactly the all-zero secret, as RFC 7748 section 6.1 allows; the
            # size of the key was checked before.
            raise LowOrderPoint("the X25519 exchange gave the all-zero secret") from None


class ClientHandshake:
    """The side that asks for the lease ``lease_id``; ``first_message`` goes out first.

    ``now`` is the clock at the start. The server's timestamp is held against the same moment, so
    the time that the answer takes, which the caller limits, is part of the 30 s.
    """

    __slots__ = ("_alpn", "_lease_id", "_now", "_side", "first_message")

    def __init__(
        self,
        credential: Credential,
        lease_id: str,
        *,
        alpn: str,
        now: float,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._side = _Side(credential, random_bytes)
        self._lease_id = lease_id
        self._alpn = alpn
        self._now = now
        self.first_message = self._side.message(alpn, now)

    def receive_message(self, body: bytes) -> tuple[Agreement, bytes]:
        """Check the server's message; the agreement, and the answer to send: none.

        Raises ``HandshakeError`` and ``IdentityError``
        in their kinds.
        """
        peer, init = _read_init(body, self._now)
        if peer.id != self._lease_id:
            raise IdentityMismatch("the server proved another identity than the one asked for")
        if init.alpn != self._alpn:
            raise AlpnMismatch("the server answered with another application protocol")
        send_key, receive_key = agree_on_keys(
            self._side.exchange(init.session_public_key), self._side.nonce, init.nonce
        )
        return Agreement(peer, self._alpn, send_key, receive_key), b""


class ServerHandshake:
    """The lease's side.

    ``alpns`` are the application protocols it serves; ``clock`` gives seconds since 1970.
    """

    __slots__ = ("_alpns", "_clock", "_credential", "_random_bytes", "first_message")

    def __init__(
        self,
        credential: Credential,
        *,
        alpns: Collection[str],
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._credential = credential
        self._alpns = frozenset(alpns)
        self._clock = clock
        self._random_bytes = random_bytes
        self.first_message = b""

    def receive_message(self, body: bytes) -> tuple[Agreement, bytes]:
        """Check the client's message; the agreement, and the answer. Raises as the client does."""
        now = self._clock()
        peer, init = _read_init(body, now)
        if init.alpn not in self._alpns:
            raise AlpnMismatch("the application protocol asked for is not served here")
        # Made only now: a client that fails the checks costs no key pair.
        side = _Side(self._credential, self._random_bytes)
        receive_key, send_key = agree_on_keys(
            side.exchange(init.session_public_key), init.nonce, side.nonce
        )
        return Agreement(peer, init.alpn, send_key, receive_key), side.message(init.alpn, now)


def agree_on_keys(shared: bytes, client_nonce: bytes, server_nonce: bytes) -> tuple[bytes, bytes]:
    """The keys of the direction client to server, and server to client."""
    return (
        _hkdf(shared, client_nonce + server_nonce, _CLIENT_INFO),
        _hkdf(shared, server_nonce + client_nonce, _SERVER_INFO),
    )


def _hkdf(shared: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=salt, info=info).derive(shared)


def _read_init(body: bytes, now: float) -> tuple[Identity, portal_pb2.InitPayload]:
    """The peer's proved identity and its payload, after every check that both sides make."""
    try:
        signed = portal_pb2.SignedPayload.FromString(body)
        init = portal_pb2.InitPayload.FromString(signed.data)
    except DecodeError:
        # Never quoted: protobuf's own message may hold the peer's text.
        raise MalformedHandshake(f"{len(body)} bytes are not a signed payload") from None
    if init.version != portal_pb2.PROTOCOL_VERSION_1:
        raise UnsupportedVersion(f"version {init.version}, only 0 is known")
    if len(init.nonce) != _NONCE_BYTES:
        raise MalformedHandshake(f"the nonce has {len(init.nonce)} bytes, not {_NONCE_BYTES}")
    if len(init.session_public_key) != _X25519_BYTES:
        raise MalformedHandshake(
            f"the session key has {len(init.session_public_key)} bytes, not {_X25519_BYTES}"
        )
    difference = abs(now - init.timestamp)
    if difference > CLOCK_TOLERANCE:
        raise StaleTimestamp(
            f"the clocks are {difference:.0f} s apart, {CLOCK_TOLERANCE} s allowed"
        )
    peer = check_identity(init.identity.id, init.identity.public_key)
    check_signature(peer, signed.data, signed.signature)
    return peer, init
