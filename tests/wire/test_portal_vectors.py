"""Two exchanges recorded with the genuine relay and tunnel, recomputed byte for byte."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from portal_gateway.wire import messages as m
from portal_gateway.wire import portal_pb2
from portal_gateway.wire.handshake import agree_on_keys
from portal_gateway.wire.identity import Credential, Identity, check_identity, check_signature
from portal_gateway.wire.length_prefixed import length_prefixed
from portal_gateway.wire.limits import MAX_CONTROL_PACKET, MAX_RELAY_INFO_PACKET
from portal_gateway.wire.secure_channel import SecureChannel
from portal_gateway.wire.secure_records import RecordOpener, RecordSealer

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "portal-relay.json").read_text())
EXCHANGES = VECTORS["exchanges"]
pytestmark = pytest.mark.parametrize(
    "recorded", EXCHANGES, ids=[exchange["portal_version"] for exchange in EXCHANGES]
)


def raw(recorded: dict, *path: str) -> bytes:
    value = recorded
    for key in path:
        value = value[key]
    return bytes.fromhex(value)


def client_credential(recorded: dict) -> Credential:
    return Credential.from_private_bytes(raw(recorded, "client", "ed25519_private"))


class Drawn:
    """Gives the recorded random bytes in the order in which the channel draws them."""

    def __init__(self, *values: bytes) -> None:
        self.values = list(values)

    def __call__(self, size: int) -> bytes:
        value = self.values.pop(0)
        # Nonces of records are drawn many at a time; the recording has the first.
        return value + bytes(size - len(value))


def client_channel(recorded: dict) -> SecureChannel:
    return SecureChannel.client(
        client_credential(recorded),
        recorded["lease_id"],
        now=recorded["server"]["timestamp"] + 0.5,
        random_bytes=Drawn(
            raw(recorded, "client", "nonce"),
            raw(recorded, "client", "x25519_private"),
            raw(recorded, "record_client_to_server", "bytes")[4:16],
        ),
    )


def one(body: bytes, limit: int) -> m.Packet:
    reader = m.PacketReader(limit)
    [packet] = reader.receive_data(length_prefixed(body))
    return packet


def test_both_relays_were_recorded(recorded: dict) -> None:
    assert {exchange["portal_version"] for exchange in EXCHANGES} == {"1.2.0", "1.4.14"}


def test_identities(recorded: dict) -> None:
    credential = client_credential(recorded)
    assert credential.identity == Identity(
        recorded["client"]["id"], raw(recorded, "client", "ed25519_public")
    )
    server = recorded["server"]
    assert check_identity(server["id"], raw(server, "ed25519_public")).id == recorded["lease_id"]


def test_relay_info(recorded: dict) -> None:
    body = raw(recorded, "relay_info_response_packet")
    info = m.read_relay_info(one(body, MAX_RELAY_INFO_PACKET))
    assert info.skipped == 0
    assert recorded["lease_id"] in [lease.id for lease in info.leases]
    if recorded["portal_version"] == "1.2.0":
        assert info.leases == (m.ListedLease(recorded["lease_id"]),)
        assert info.addresses == ("ws://127.0.0.1:4027/relay",)
    else:
        assert [(lease.name, lease.alpn) for lease in info.leases] == [
            ("agent", ("http/1.1",)),
            ("ng", ("http/1.1",)),
        ]
        assert info.leases[0].public_key == raw(recorded, "server", "ed25519_public")
        assert info.leases[0].expires - recorded["recorded_at"] == 27
    assert m.relay_info_response(info) == length_prefixed(body)


def test_connection(recorded: dict) -> None:
    credential = client_credential(recorded)
    body = raw(recorded, "connection_request_packet")
    assert m.connection_request(recorded["lease_id"], credential.identity) == length_prefixed(body)
    assert m.read_connection_request(one(body, MAX_CONTROL_PACKET)) == (
        recorded["lease_id"],
        credential.identity,
    )
    answer = raw(recorded, "connection_response_packet")
    assert m.connection_response(m.ResponseCode.ACCEPTED) == length_prefixed(answer)
    code = m.read_response_code(one(answer, MAX_CONTROL_PACKET), m.PacketType.CONNECTION_RESPONSE)
    assert code is m.ResponseCode.ACCEPTED


def test_first_message(recorded: dict) -> None:
    channel = client_channel(recorded)
    body = raw(recorded, "client_init_signed")
    assert channel.data_to_send() == length_prefixed(body)
    assert portal_pb2.SignedPayload.FromString(body).data == raw(recorded, "client_init_payload")


def test_answer(recorded: dict) -> None:
    signed = portal_pb2.SignedPayload.FromString(raw(recorded, "server_init_signed"))
    server = recorded["server"]
    identity = check_identity(server["id"], raw(server, "ed25519_public"))
    check_signature(identity, signed.data, signed.signature)
    # Written by us, the same fields are the same bytes.
    assert (
        portal_pb2.InitPayload(
            nonce=raw(server, "nonce"),
            timestamp=server["timestamp"],
            identity=portal_pb2.Identity(id=identity.id, public_key=identity.public_key),
            alpn=server["alpn"],
            session_public_key=raw(server, "x25519_public"),
        ).SerializeToString()
        == signed.data
    )


def test_keys(recorded: dict) -> None:
    private_key = X25519PrivateKey.from_private_bytes(raw(recorded, "client", "x25519_private"))
    assert private_key.public_key().public_bytes_raw() == raw(recorded, "client", "x25519_public")
    shared = private_key.exchange(
        X25519PublicKey.from_public_bytes(raw(recorded, "server", "x25519_public"))
    )
    assert shared == raw(recorded, "x25519_shared")
    assert agree_on_keys(
        shared, raw(recorded, "client", "nonce"), raw(recorded, "server", "nonce")
    ) == (raw(recorded, "client_to_server_key"), raw(recorded, "server_to_client_key"))


@pytest.mark.parametrize("direction", ["client_to_server", "server_to_client"])
def test_records(recorded: dict, direction: str) -> None:
    key = raw(recorded, f"{direction}_key")
    plaintext = raw(recorded, f"record_{direction}", "plaintext")
    sealed = raw(recorded, f"record_{direction}", "bytes")
    assert RecordOpener(key).receive_data(sealed) == [plaintext]
    assert b"".join(RecordSealer(key, Drawn(sealed[4:16])).seal(plaintext)) == sealed
    assert ChaCha20Poly1305(key).decrypt(sealed[4:16], sealed[16:], None) == plaintext


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_whole_exchange_as_the_client(recorded: dict, size: int) -> None:
    channel = client_channel(recorded)
    channel.data_to_send()
    stream = length_prefixed(raw(recorded, "server_init_signed")) + raw(
        recorded, "record_server_to_client", "bytes"
    )
    received = []
    for start in range(0, len(stream), size):
        received += channel.receive_data(stream[start : start + size])
    assert received == [raw(recorded, "record_server_to_client", "plaintext")]
    assert channel.peer is not None
    assert channel.peer.id == recorded["lease_id"]
    channel.send_data(raw(recorded, "record_client_to_server", "plaintext"))
    assert channel.data_to_send() == raw(recorded, "record_client_to_server", "bytes")
    channel.receive_eof()


def test_recorded_first_message_to_our_server(recorded: dict) -> None:
    channel = SecureChannel.server(
        Credential.generate(),
        alpns=["http/1.1"],
        clock=lambda: recorded["server"]["timestamp"],
    )
    channel.receive_data(length_prefixed(raw(recorded, "client_init_signed")))
    assert channel.established
    assert channel.peer == client_credential(recorded).identity
