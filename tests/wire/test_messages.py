"""Control messages: round trips, both shapes of the directory, and every way to spoil one."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.wire import messages as m
from portal_gateway.wire import portal_pb2
from portal_gateway.wire.errors import (
    BadSignature,
    InvalidIdentity,
    MalformedPacket,
    StaleTimestamp,
    UnexpectedPacket,
    WireError,
)
from portal_gateway.wire.identity import Credential, Identity, derive_id
from portal_gateway.wire.limits import (
    MAX_CONTROL_PACKET,
    MAX_DIRECTORY_LEASES,
    MAX_LEASE_METADATA_BYTES,
    MAX_LEASE_NAME_BYTES,
    MAX_RELAY_ADDRESSES,
    MAX_RELAY_INFO_FIELDS,
    MAX_RELAY_INFO_PACKET,
)
from portal_gateway.wire.packets import packet
from tests.wire.channel_peers import GATEWAY, LEASE, NOW, STRANGER, each_bit_flipped

NONCE = bytes(range(12))
RECORD = m.LeaseRecord(LEASE.identity, NOW + 30, "agent", ("http/1.1",), '{"owner":""}')
LISTED = m.ListedLease.of(RECORD)


def one(data: bytes, limit: int = MAX_CONTROL_PACKET) -> m.Packet:
    reader = m.PacketReader(limit)
    packets = reader.receive_data(data)
    reader.receive_eof()
    [received] = packets
    return received


def listed(*elements: bytes) -> m.RelayInfo:
    """What is read of a list with these elements."""
    info = portal_pb2.RelayInfo(leases=elements)
    response = portal_pb2.RelayInfoResponse(relay_info=info)
    return m.read_relay_info(
        m.Packet(m.PacketType.RELAY_INFO_RESPONSE, response.SerializeToString())
    )


def lease_element(identity: Identity = LEASE.identity, **fields) -> bytes:
    owner = portal_pb2.Identity(id=identity.id, public_key=identity.public_key)
    return portal_pb2.Lease(**{"identity": owner, "name": "agent"} | fields).SerializeToString()


# --- a relay's list of leases


def test_relay_info_request_is_an_empty_packet() -> None:
    assert m.relay_info_request() == bytes(4)
    assert one(bytes(4)) == m.Packet(m.PacketType.RELAY_INFO_REQUEST, b"")


texts = st.text(max_size=40)
listed_leases = st.builds(
    lambda key, name, expires, alpn, metadata: m.ListedLease(
        derive_id(key), name, expires, tuple(alpn), metadata, key
    ),
    st.binary(min_size=32, max_size=32),
    texts,
    st.integers(-(2**63), 2**63 - 1),
    st.lists(texts, max_size=4),
    texts,
)
bare_ids = st.binary(min_size=32, max_size=32).map(lambda key: m.ListedLease(derive_id(key)))


@given(
    st.none() | st.just(STRANGER.identity),
    st.lists(texts, max_size=4),
    st.lists(listed_leases | bare_ids, max_size=6),
)
@settings(max_examples=80, deadline=None)
def test_relay_info_round_trip(
    identity: Identity | None, addresses: list[str], leases: list[m.ListedLease]
) -> None:
    info = m.RelayInfo(identity, tuple(addresses), tuple(leases))
    assert m.read_relay_info(one(m.relay_info_response(info), MAX_RELAY_INFO_PACKET)) == info


def test_relay_info_without_anything() -> None:
    empty = m.Packet(m.PacketType.RELAY_INFO_RESPONSE, b"")
    assert m.read_relay_info(empty) == m.RelayInfo(None, (), ())


@pytest.mark.parametrize(
    "name", ["", "a b", "a/b", "a.b", "DEAD", "日本", "x" * 300, "\r\n\0\x1b[0m"]
)
def test_a_name_is_free_text(name: str) -> None:
    info = listed(lease_element(name=name))
    assert [lease.name for lease in info.leases] == [name]
    assert info.skipped == 0


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("x" * MAX_LEASE_NAME_BYTES, True),
        ("x" * (MAX_LEASE_NAME_BYTES + 1), False),
        ("語" * (MAX_LEASE_NAME_BYTES // 3), True),
        ("語" * (MAX_LEASE_NAME_BYTES // 3 + 1), False),
        ("😀" * (MAX_LEASE_NAME_BYTES // 4), True),
        ("😀" * (MAX_LEASE_NAME_BYTES // 4 + 1), False),
    ],
)
def test_a_name_is_bounded_in_bytes(name: str, kept: bool) -> None:
    info = listed(lease_element(name=name))
    assert len(info.leases) == kept
    assert info.skipped == (not kept)


@pytest.mark.parametrize(
    "element",
    [
        pytest.param(b"", id="empty"),
        pytest.param(portal_pb2.Lease(name="agent").SerializeToString(), id="no identity"),
        pytest.param(lease_element(Identity("", b"")), id="empty identity"),
        pytest.param(
            lease_element(Identity(LEASE.identity.id, GATEWAY.identity.public_key)),
            id="an id of another key",
        ),
        pytest.param(
            lease_element(Identity(LEASE.identity.id.lower(), LEASE.identity.public_key)),
            id="an id in lower case",
        ),
        pytest.param(lease_element(Identity(LEASE.identity.id, bytes(31))), id="a short key"),
        pytest.param(lease_element() + b"\x1a\x01\xff", id="a name that is not UTF-8"),
        pytest.param(lease_element() + b"\x22\x01\xff", id="an ALPN that is not UTF-8"),
        pytest.param(lease_element() + b"\x2a\x01\xff", id="metadata that is not UTF-8"),
        pytest.param(lease_element(alpn=["x"] * 17), id="too many ALPNs"),
        pytest.param(lease_element(alpn=["x" * 256]), id="a long ALPN"),
        pytest.param(lease_element()[:-1], id="cut off"),
        pytest.param(lease_element() + b"\x1f", id="an unknown wire type"),
        pytest.param(b"agent", id="a bare name"),
        pytest.param(LEASE.identity.id.lower().encode(), id="a bare id in lower case"),
        pytest.param(LEASE.identity.id[:-1].encode(), id="a bare id too short"),
        pytest.param((LEASE.identity.id + "A").encode(), id="a bare id too long"),
        pytest.param(b"\xff" * 26, id="26 other bytes"),
        pytest.param("é".encode() * 13, id="26 bytes of UTF-8"),
    ],
)
def test_one_bad_element_is_skipped_and_counted(element: bytes) -> None:
    good = lease_element(GATEWAY.identity)
    info = listed(good, element, STRANGER.identity.id.encode())
    assert [lease.id for lease in info.leases] == [GATEWAY.identity.id, STRANGER.identity.id]
    assert info.skipped == 1


@given(st.lists(st.binary(max_size=80), max_size=5))
@settings(max_examples=100, deadline=None)
def test_any_elements_leave_the_good_one(elements: list[bytes]) -> None:
    info = listed(*elements, lease_element())
    assert info.leases[-1].id == LEASE.identity.id
    assert info.skipped + len(info.leases) == len(elements) + 1


def test_long_metadata_is_left_out_but_not_its_lease() -> None:
    for size, kept in ((MAX_LEASE_METADATA_BYTES, True), (MAX_LEASE_METADATA_BYTES + 1, False)):
        info = listed(lease_element(metadata="m" * size))
        assert [len(lease.metadata) for lease in info.leases] == [size if kept else 0]
        assert info.skipped == 0


def test_ten_thousand_strange_names() -> None:
    owners = [Identity(derive_id(key), key) for key in (n.to_bytes(32) for n in range(10_000))]
    names = [chr(0x20 + n % 0xD000) * (n % 400) for n in range(10_000)]
    info = listed(*(lease_element(who, name=name) for who, name in zip(owners, names, strict=True)))
    long = [name for name in names if len(name.encode()) > MAX_LEASE_NAME_BYTES]
    assert info.skipped == len(long) > 0
    assert len(info.leases) == 10_000 - len(long)
    assert all(len(lease.name.encode()) <= MAX_LEASE_NAME_BYTES for lease in info.leases)


def test_leases_are_bounded() -> None:
    info = listed(*[LEASE.identity.id.encode()] * (MAX_DIRECTORY_LEASES + 5))
    assert (len(info.leases), info.skipped) == (MAX_DIRECTORY_LEASES, 5)


def test_the_rest_of_a_flood_is_not_looked_at() -> None:
    # As many empty elements as fit: the library would build eight million objects.
    flood = b"\x1a\x00" * (MAX_RELAY_INFO_PACKET // 2 - 16)
    length = bytearray()
    size = len(flood)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    info = m.read_relay_info(
        m.Packet(m.PacketType.RELAY_INFO_RESPONSE, b"\x0a" + bytes(length) + flood)
    )
    assert (info.leases, info.skipped) == ((), MAX_RELAY_INFO_FIELDS)


def test_addresses_are_bounded() -> None:
    info = portal_pb2.RelayInfo(address=["a" * 2049, *(f"ws://{n}" for n in range(100))])
    response = portal_pb2.RelayInfoResponse(relay_info=info)
    read = m.read_relay_info(
        m.Packet(m.PacketType.RELAY_INFO_RESPONSE, response.SerializeToString())
    )
    assert read.addresses == tuple(f"ws://{n}" for n in range(MAX_RELAY_ADDRESSES))


@pytest.mark.parametrize(
    "payload",
    [
        b"\x0a\x05\x0a\x03abc",  # the identity is not a message
        b"\x0a\x03\x12\x01\xff",  # an address that is not UTF-8
        b"\x0a\x04\x1a\x09xx",  # an element that goes on behind the list
        b"\x0a\x05xx",  # a list that goes on behind the packet
        b"\x0f",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_relay_info_that_is_none(payload: bytes) -> None:
    with pytest.raises(MalformedPacket) as caught:
        m.read_relay_info(m.Packet(m.PacketType.RELAY_INFO_RESPONSE, payload))
    assert str(caught.value) == f"{len(payload)} bytes are not a RELAY_INFO_RESPONSE"


@pytest.mark.parametrize(
    "identity",
    [
        Identity("", b""),
        Identity(GATEWAY.identity.id, b""),
        Identity(GATEWAY.identity.id, LEASE.identity.public_key),
    ],
)
def test_relay_with_an_invalid_identity(identity: Identity) -> None:
    with pytest.raises(InvalidIdentity):
        m.read_relay_info(one(m.relay_info_response(m.RelayInfo(identity, (), ()))))


def test_relay_that_names_itself_twice_is_the_last() -> None:
    first = m.relay_info_response(m.RelayInfo(GATEWAY.identity, (), ()))
    identity = one(first).payload[2:]
    other = one(m.relay_info_response(m.RelayInfo(LEASE.identity, (), ()))).payload[2:]
    both = b"\x0a\x80\x01" + identity + other
    assert len(both) == 3 + 128
    info = m.read_relay_info(m.Packet(m.PacketType.RELAY_INFO_RESPONSE, both))
    assert info.identity == LEASE.identity


# --- registering and giving up


@given(texts, st.lists(texts, max_size=4).map(tuple), texts, st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=50, deadline=None)
def test_lease_update_round_trip(
    name: str, alpn: tuple[str, ...], metadata: str, expires: int
) -> None:
    record = m.LeaseRecord(LEASE.identity, expires, name, alpn, metadata)
    assert (
        m.read_lease_update(one(m.lease_update_request(LEASE, record, NOW, NONCE)), NOW) == record
    )


def test_lease_delete_round_trip() -> None:
    assert (
        m.read_lease_delete(one(m.lease_delete_request(LEASE, NOW, NONCE)), NOW) == LEASE.identity
    )


def test_what_is_signed_is_what_the_protocol_says() -> None:
    received = one(m.lease_update_request(LEASE, RECORD, NOW + 0.9, NONCE))
    signed = portal_pb2.SignedPayload.FromString(received.payload)
    request = portal_pb2.LeaseUpdateRequest.FromString(signed.data)
    assert (request.nonce, request.timestamp) == (NONCE, NOW)
    assert signed.signature == LEASE.sign(signed.data)


UPDATE = m.lease_update_request(LEASE, RECORD, NOW, NONCE)
DELETE = m.lease_delete_request(LEASE, NOW, NONCE)
SIGNED_READERS = pytest.mark.parametrize(
    ("request_", "read"), [(UPDATE, m.read_lease_update), (DELETE, m.read_lease_delete)]
)


@SIGNED_READERS
def test_every_flipped_bit_is_refused(request_: bytes, read: Callable) -> None:
    for flipped in each_bit_flipped(request_):
        with pytest.raises(WireError):
            read(one(flipped), NOW)


def test_signed_by_another_key() -> None:
    with pytest.raises(BadSignature):
        m.read_lease_update(one(m.lease_update_request(STRANGER, RECORD, NOW, NONCE)), NOW)


def test_a_lease_that_is_not_its_owners() -> None:
    liar = Identity(LEASE.identity.id, STRANGER.identity.public_key)
    record = m.LeaseRecord(liar, NOW, "agent", (), "")
    with pytest.raises(InvalidIdentity):
        m.read_lease_update(one(m.lease_update_request(STRANGER, record, NOW, NONCE)), NOW)


@SIGNED_READERS
@pytest.mark.parametrize("difference", [-1000, -31, -29, 0, 29, 31, 1000])
def test_timestamps_count_only_when_asked(request_: bytes, read: Callable, difference: int) -> None:
    received = one(request_)
    read(received, NOW + difference)
    if abs(difference) > 30:
        with pytest.raises(StaleTimestamp, match=f"{abs(difference)} s apart, 30 s allowed"):
            read(received, NOW + difference, max_clock_difference=30)
    else:
        read(received, NOW + difference, max_clock_difference=30)


@pytest.mark.parametrize(
    "record",
    [
        m.LeaseRecord(LEASE.identity, NOW, "x" * (MAX_LEASE_NAME_BYTES + 1), ()),
        m.LeaseRecord(LEASE.identity, NOW, "x", ("http/1.1",) * 17),
        m.LeaseRecord(LEASE.identity, NOW, "x", ("x" * 256,)),
    ],
)
def test_a_registration_above_its_bounds(record: m.LeaseRecord) -> None:
    with pytest.raises(MalformedPacket) as caught:
        m.read_lease_update(one(m.lease_update_request(LEASE, record, NOW, NONCE)), NOW)
    assert "xx" not in str(caught.value)


# --- opening a stream


@given(texts)
@settings(max_examples=30, deadline=None)
def test_connection_request_round_trip(lease_id: str) -> None:
    # Whether such a lease exists is the relay's business.
    received = one(m.connection_request(lease_id, GATEWAY.identity))
    assert m.read_connection_request(received) == (lease_id, GATEWAY.identity)


@pytest.mark.parametrize(
    "identity",
    [Identity("", b""), Identity(LEASE.identity.id, GATEWAY.identity.public_key)],
)
def test_connection_request_of_nobody(identity: Identity) -> None:
    with pytest.raises(InvalidIdentity):
        m.read_connection_request(one(m.connection_request(LEASE.identity.id, identity)))


# --- codes

CODE_WRITERS = {
    m.PacketType.LEASE_UPDATE_RESPONSE: m.lease_update_response,
    m.PacketType.LEASE_DELETE_RESPONSE: m.lease_delete_response,
    m.PacketType.CONNECTION_RESPONSE: m.connection_response,
}


@pytest.mark.parametrize("kind", CODE_WRITERS)
@pytest.mark.parametrize("code", m.ResponseCode)
def test_response_code_round_trip(kind: m.PacketType, code: m.ResponseCode) -> None:
    received = one(CODE_WRITERS[kind](code))
    assert m.read_response_code(received, kind) is code
    for other in set(m.PacketType) - {kind}:
        with pytest.raises(UnexpectedPacket, match=f"{kind.name} came in place of {other.name}"):
            m.read_response_code(received, other)


@pytest.mark.parametrize("number", [7, 1000, -1])
def test_a_code_that_the_protocol_does_not_have(number: int) -> None:
    payload = portal_pb2.CodeResponse(code=number).SerializeToString()
    with pytest.raises(MalformedPacket, match=f"code {number} "):
        m.read_response_code(
            m.Packet(m.PacketType.CONNECTION_RESPONSE, payload), m.PacketType.CONNECTION_RESPONSE
        )


# --- what every reader does

READERS: dict[m.PacketType, Callable[[m.Packet], object]] = {
    m.PacketType.RELAY_INFO_RESPONSE: m.read_relay_info,
    m.PacketType.LEASE_UPDATE_REQUEST: lambda received: m.read_lease_update(received, NOW),
    m.PacketType.LEASE_DELETE_REQUEST: lambda received: m.read_lease_delete(received, NOW),
    m.PacketType.CONNECTION_REQUEST: m.read_connection_request,
    m.PacketType.CONNECTION_RESPONSE: lambda received: m.read_response_code(
        received, m.PacketType.CONNECTION_RESPONSE
    ),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_packet_of_another_type(kind: m.PacketType) -> None:
    for other in set(m.PacketType) - {kind}:
        with pytest.raises(UnexpectedPacket):
            READERS[kind](m.Packet(other, b""))


@pytest.mark.parametrize("kind", READERS)
@given(st.binary(max_size=80))
@settings(max_examples=100, deadline=None)
def test_any_payload_gives_a_value_or_a_named_error(kind: m.PacketType, payload: bytes) -> None:
    received = one(packet(kind, payload))
    with suppress(WireError):
        READERS[kind](received)


def test_nothing_prints_a_private_key() -> None:
    credential = Credential.generate()
    record = m.LeaseRecord(credential.identity, NOW, "agent", ())
    assert credential.private_bytes().hex() not in repr(record)
    assert repr(credential.private_bytes()) not in repr(m.ListedLease.of(record))
