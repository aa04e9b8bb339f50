"""The handshake, one message at a time: what each side accepts, and the name of each refusal."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.wire import portal_pb2
from portal_gateway.wire.errors import (
    AlpnMismatch,
    BadSignature,
    HandshakeError,
    HandshakeTooLarge,
    HandshakeTruncated,
    IdentityMismatch,
    InvalidIdentity,
    LowOrderPoint,
    MalformedHandshake,
    StaleTimestamp,
    UnsupportedVersion,
    WireError,
)
from portal_gateway.wire.handshake import Agreement, agree_on_keys
from portal_gateway.wire.identity import Identity
from portal_gateway.wire.length_prefixed import length_prefixed
from portal_gateway.wire.limits import MAX_HANDSHAKE
from portal_gateway.wire.secure_channel import SecureChannel
from tests.wire.channel_peers import (
    GATEWAY,
    LEASE,
    NOW,
    STRANGER,
    client,
    each_bit_flipped,
    init_message,
    refused_without_memory,
    server,
    signed_message,
)

P = 2**255 - 19

# The points of order 1, 2, 4 and 8 on the curve and its twist, as u-coordinates.
LOW_ORDER = [
    0,
    1,
    P - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
]


def low_order_encodings() -> list[bytes]:
    """Every 32 bytes that X25519 reads as one of them: unreduced, and with the unused top bit."""
    numbers = [u + k * P for u in LOW_ORDER for k in (0, 1) if u + k * P < 2**255]
    return [(u | top).to_bytes(32, "little") for u in numbers for top in (0, 2**255)]


def fresh_client() -> SecureChannel:
    asking = client()
    asking.data_to_send()
    return asking


def deliver(channel: SecureChannel, data: bytes) -> None:
    channel.receive_data(data)
    # A length above the bytes that are there shows only now.
    channel.receive_eof()


SIDES = pytest.mark.parametrize("side", [fresh_client, server])


def refused(side: SecureChannel, message: bytes, error: type[WireError]) -> str:
    """The text of the named error; the side is then dead and has nothing to say."""
    with pytest.raises(error) as caught:
        side.receive_data(message)
    assert type(caught.value) is error
    assert not side.established
    assert side.peer is None
    assert side.alpn is None
    assert side.data_to_send() == b""
    for again in (lambda: side.receive_data(b"more"), side.receive_eof):
        with pytest.raises(error):
            again()
    with pytest.raises(RuntimeError, match="not established"):
        side.send_data(b"data")
    return str(caught.value)


def test_both_sides_agree() -> None:
    asking, serving = client(), server()
    first = asking.data_to_send()
    assert serving.receive_data(first) == []
    assert serving.established
    assert serving.peer == GATEWAY.identity
    assert not asking.established
    answer = serving.data_to_send()
    assert asking.receive_data(answer) == []
    assert asking.established
    assert asking.peer == LEASE.identity
    assert asking.alpn == serving.alpn == "http/1.1"
    asking.receive_eof()
    serving.receive_eof()


def test_messages_are_small() -> None:
    # The bound is far above them, the protocol's own of 64 MiB farther.
    asking, serving = client(), server()
    first = asking.data_to_send()
    serving.receive_data(first)
    assert len(first) < 300
    assert len(serving.data_to_send()) < 300


def test_the_version_travels_as_an_absent_field() -> None:
    signed = portal_pb2.SignedPayload.FromString(client().data_to_send()[4:])
    assert signed.data[0] == 0x12  # the nonce, field 2, comes first


def test_the_server_answers_the_protocol_asked_for() -> None:
    serving = server(alpns=["h2", "mcp"])
    asking = client(alpn="mcp")
    serving.receive_data(asking.data_to_send())
    asking.receive_data(serving.data_to_send())
    assert asking.alpn == serving.alpn == "mcp"


def test_a_side_that_failed_says_nothing_more() -> None:
    asking = client()
    with pytest.raises(UnsupportedVersion):
        asking.receive_data(init_message(version=1))
    assert asking.data_to_send() == b""


@SIDES
def test_the_parts_of_a_wrong_message_are_good(side) -> None:
    # So that every refusal below is for the one thing that was changed.
    channel = side()
    channel.receive_data(init_message())
    assert channel.established


@SIDES
@pytest.mark.parametrize("difference", [-30, -29, 0, 29, 30])
def test_clocks_that_are_near_enough(side, difference: int) -> None:
    channel = side()
    channel.receive_data(init_message(timestamp=NOW + difference))
    assert channel.established


@SIDES
@pytest.mark.parametrize("difference", [-NOW, -(2**40), -40, -31, 31, 40, 2**40])
def test_clocks_that_are_too_far_apart(side, difference: int) -> None:
    message = init_message(timestamp=NOW + difference)
    text = refused(side(), message, StaleTimestamp)
    assert text == f"the clocks are {abs(difference)} s apart, 30 s allowed"


def test_the_client_tells_its_clock_and_the_server_reads_its_own_when_asked() -> None:
    times = iter([NOW + 29.5])
    serving = SecureChannel.server(LEASE, alpns=["http/1.1"], clock=lambda: next(times))
    serving.receive_data(client(now=NOW + 0.9).data_to_send())
    assert serving.established
    signed = portal_pb2.SignedPayload.FromString(serving.data_to_send()[4:])
    assert portal_pb2.InitPayload.FromString(signed.data).timestamp == NOW + 29


@SIDES
@pytest.mark.parametrize("version", [1, 2, -1])
def test_another_version(side, version: int) -> None:
    refused(side(), init_message(version=version), UnsupportedVersion)


@SIDES
@pytest.mark.parametrize("field", ["nonce", "session_public_key"])
@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_a_field_of_the_wrong_size(side, field: str, change: int) -> None:
    size = {"nonce": 12, "session_public_key": 32}[field] + change
    text = refused(side(), init_message(**{field: b"\x09" * size}), MalformedHandshake)
    assert f"{size} bytes" in text


@SIDES
@pytest.mark.parametrize(
    ("field", "error"),
    [
        ("nonce", MalformedHandshake),
        ("timestamp", StaleTimestamp),
        ("identity", InvalidIdentity),
        ("alpn", AlpnMismatch),
        ("session_public_key", MalformedHandshake),
    ],
)
def test_an_absent_field(side, field: str, error: type[WireError]) -> None:
    refused(side(), init_message(absent=(field,)), error)


@SIDES
@pytest.mark.parametrize(
    "identity",
    [
        Identity("", b""),
        Identity(LEASE.identity.id, b""),
        Identity("", LEASE.identity.public_key),
        Identity(LEASE.identity.id, LEASE.identity.public_key[:-1]),
        Identity(LEASE.identity.id.lower(), LEASE.identity.public_key),
        Identity(LEASE.identity.id, STRANGER.identity.public_key),
        Identity(STRANGER.identity.id, LEASE.identity.public_key),
    ],
)
def test_an_invalid_identity(side, identity: Identity) -> None:
    refused(side(), init_message(identity=identity), InvalidIdentity)


@SIDES
def test_another_s_identity(side) -> None:
    # A valid identity, but the message was signed by somebody else.
    refused(side(), init_message(STRANGER, identity=LEASE.identity), BadSignature)


@SIDES
@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(63), LEASE.sign(b"other data")])
def test_a_signature_of_something_else(side, signature: bytes) -> None:
    signed = portal_pb2.SignedPayload.FromString(init_message()[4:])
    signed.signature = signature
    refused(side(), length_prefixed(signed.SerializeToString()), BadSignature)


@SIDES
def test_signed_bytes_are_not_written_anew_before_the_check(side) -> None:
    # An unknown field would be lost or moved by reading and writing; the signature covers it.
    signed = portal_pb2.SignedPayload.FromString(init_message()[4:])
    data = b"\x7a\x03abc" + signed.data
    channel = side()
    channel.receive_data(signed_message(data))
    assert channel.established
    signed.data = data
    refused(side(), length_prefixed(signed.SerializeToString()), BadSignature)


def test_a_valid_identity_that_was_not_asked_for() -> None:
    refused(fresh_client(), init_message(STRANGER), IdentityMismatch)


def test_an_answer_that_is_the_clients_own_message() -> None:
    asking = client()
    refused(asking, asking.data_to_send(), IdentityMismatch)


@pytest.mark.parametrize("alpn", ["", "h2", "HTTP/1.1", "http/1.1 ", "x" * 255])
def test_an_application_protocol_that_is_not_spoken(alpn: str) -> None:
    for side in (fresh_client(), server()):
        text = refused(side, init_message(alpn=alpn), AlpnMismatch)
        assert not alpn or alpn not in text


def test_a_server_without_protocols_serves_nobody() -> None:
    refused(server(alpns=[]), init_message(), AlpnMismatch)


@SIDES
@pytest.mark.parametrize("point", low_order_encodings(), ids=lambda point: point.hex()[:8])
def test_a_low_order_point(side, point: bytes) -> None:
    refused(side(), init_message(session_public_key=point), LowOrderPoint)


def test_the_list_of_low_order_points_is_whole() -> None:
    # 12 that are written about, and p and p + 1 with the top bit.
    assert len(set(low_order_encodings())) == len(low_order_encodings()) == 14


@SIDES
@pytest.mark.parametrize("payload", [b"\xff" * 20, b"\x0a\x05abc", b"GET / HTTP/1.1\r\n\r\n"])
def test_not_a_message(side, payload: bytes) -> None:
    refused(side(), length_prefixed(payload), MalformedHandshake)
    refused(side(), signed_message(payload), MalformedHandshake)


@SIDES
def test_text_that_is_not_utf_8(side) -> None:
    refused(side(), signed_message(b"\x2a\x01\xff"), MalformedHandshake)


@SIDES
@pytest.mark.parametrize("length", [MAX_HANDSHAKE + 1, 2**26, 2**31, 2**32 - 1])
def test_too_large_is_refused_from_the_length_alone(side, length: int) -> None:
    channel = side()
    text = refused_without_memory(
        lambda: channel.receive_data(length.to_bytes(4, "big")), HandshakeTooLarge
    )
    assert text == f"{length} bytes announced, {MAX_HANDSHAKE} allowed"


def test_a_message_at_the_bound_is_read() -> None:
    padding = MAX_HANDSHAKE - len(init_message()) + 4 - 10
    signed = portal_pb2.SignedPayload.FromString(init_message()[4:])
    message = signed_message(
        signed.data + b"\x7a" + bytes([padding & 127 | 128, padding >> 7]) + bytes(padding)
    )
    assert MAX_HANDSHAKE - 10 < len(message) - 4 <= MAX_HANDSHAKE
    serving = server()
    serving.receive_data(message)
    assert serving.established


@SIDES
def test_every_flipped_bit_is_refused(side) -> None:
    for flipped in each_bit_flipped(init_message()):
        channel = side()
        with pytest.raises((HandshakeError, InvalidIdentity)):
            deliver(channel, flipped)
        assert not channel.established


@SIDES
def test_truncated_after_every_byte(side) -> None:
    message = init_message()
    for size in range(len(message)):
        channel = side()
        assert channel.receive_data(message[:size]) == []
        with pytest.raises(HandshakeTruncated):
            channel.receive_eof()


@SIDES
def test_every_shorter_message_is_refused(side) -> None:
    body = init_message()[4:]
    for size in range(len(body)):
        with pytest.raises((HandshakeError, InvalidIdentity)):
            side().receive_data(length_prefixed(body[:size]))


@SIDES
@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_bytes_give_nothing_or_a_named_error(side, data: bytes) -> None:
    channel = side()
    with pytest.raises((HandshakeError, InvalidIdentity)):
        deliver(channel, data)


@SIDES
@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_signed_bytes_give_a_named_error(side, data: bytes) -> None:
    with pytest.raises((HandshakeError, InvalidIdentity)):
        side().receive_data(signed_message(data))


def test_an_agreement_does_not_show_its_keys() -> None:
    agreement = Agreement(LEASE.identity, "http/1.1", b"\x01" * 32, b"\x02" * 32)
    assert "key=" not in repr(agreement).replace("public_key=", "")
    assert repr(b"\x01" * 32) not in repr(agreement)


def test_the_directions_have_different_keys() -> None:
    to_server, to_client = agree_on_keys(bytes(32), b"c" * 12, b"s" * 12)
    assert len(to_server) == len(to_client) == 32
    assert to_server != to_client
    # Nonces that are the same, as a reflected message would make them, do not make the keys so.
    to_server, to_client = agree_on_keys(bytes(32), b"c" * 12, b"c" * 12)
    assert to_server != to_client


# --- that the library is what the RFCs say, used as they say


def test_x25519_as_in_rfc_7748() -> None:
    # Section 5.2, first test vector.
    scalar = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    )
    point = X25519PublicKey.from_public_bytes(
        bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    )
    assert scalar.exchange(point).hex() == (
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    )


def test_diffie_hellman_as_in_rfc_7748() -> None:
    # Section 6.1.
    alice = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    )
    bob = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    )
    assert alice.public_key().public_bytes_raw().hex() == (
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    )
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert alice.exchange(bob.public_key()).hex() == shared
    assert bob.exchange(alice.public_key()).hex() == shared


def test_hkdf_as_in_rfc_5869() -> None:
    # Appendix A.1.
    derived = HKDF(
        algorithm=SHA256(),
        length=42,
        salt=bytes.fromhex("000102030405060708090a0b0c"),
        info=bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"),
    ).derive(b"\x0b" * 22)
    assert derived.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
