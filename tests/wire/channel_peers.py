"""Both ends of a secure channel for tests, and the parts to make a wrong message of."""

import tracemalloc
from collections.abc import Callable, Iterator

from portal_gateway.wire import portal_pb2
from portal_gateway.wire.errors import WireError
from portal_gateway.wire.identity import Credential, Identity
from portal_gateway.wire.length_prefixed import length_prefixed
from portal_gateway.wire.secure_channel import SecureChannel

NOW = 1_795_422_628
"""The time in these tests, seconds since 1970."""

GATEWAY = Credential.from_private_bytes(bytes(range(32)))
LEASE = Credential.from_private_bytes(bytes(range(32, 64)))
STRANGER = Credential.from_private_bytes(bytes(range(64, 96)))


def client(credential=GATEWAY, lease_id=LEASE.identity.id, **options) -> SecureChannel:
    return SecureChannel.client(credential, lease_id, **{"now": NOW} | options)


def server(credential=LEASE, *, now=NOW, **options) -> SecureChannel:
    return SecureChannel.server(
        credential, **{"alpns": ["http/1.1"], "clock": lambda: now} | options
    )


def established() -> tuple[SecureChannel, SecureChannel]:
    asking, serving = client(), server()
    serving.receive_data(asking.data_to_send())
    asking.receive_data(serving.data_to_send())
    return asking, serving


def sealed(channel: SecureChannel, *plaintexts: bytes) -> bytes:
    for plaintext in plaintexts:
        channel.send_data(plaintext)
    return channel.data_to_send()


def init_message(
    credential=LEASE, *, identity: Identity | None = None, absent: tuple[str, ...] = (), **fields
) -> bytes:
    """A handshake message signed by ``credential``, with ``fields`` in place of good ones."""
    who = credential.identity if identity is None else identity
    good = {
        "version": portal_pb2.PROTOCOL_VERSION_1,
        "nonce": bytes(12),
        "timestamp": NOW,
        "identity": portal_pb2.Identity(id=who.id, public_key=who.public_key),
        "alpn": "http/1.1",
        "session_public_key": b"\x09" + bytes(31),
    }
    init = portal_pb2.InitPayload(**good | fields)
    for name in absent:
        init.ClearField(name)
    return signed_message(init.SerializeToString(), credential)


def signed_message(data: bytes, credential=LEASE) -> bytes:
    signed = portal_pb2.SignedPayload(data=data, signature=credential.sign(data))
    return length_prefixed(signed.SerializeToString())


def refused_without_memory(call: Callable[[], object], error: type[WireError]) -> str:
    """The text of the error that ``call`` raises before it took any memory to speak of."""
    # pytest.raises is not used in between: it compiles patterns and reads source.
    caught = None
    tracemalloc.start()
    try:
        call()
    except error as raised:
        caught = raised
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert type(caught) is error
    assert peak < 10_000
    return str(caught)


def each_bit_flipped(data: bytes) -> Iterator[bytes]:
    for position in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        yield bytes(flipped)
