"""Control packets: whole, byte by byte, several at once, with bytes after them, and broken."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.wire import portal_pb2
from portal_gateway.wire.errors import (
    MalformedPacket,
    PacketError,
    PacketTooLarge,
    PacketTruncated,
    UnexpectedPacket,
)
from portal_gateway.wire.length_prefixed import length_prefixed
from portal_gateway.wire.packets import Packet, PacketReader, PacketType, ResponseCode, packet
from tests.wire.channel_peers import refused_without_memory

LIMIT = 1000
ONE = packet(PacketType.CONNECTION_RESPONSE, b"payload")
ONE_READ = Packet(PacketType.CONNECTION_RESPONSE, b"payload")


def test_numbers_are_those_of_the_protocol() -> None:
    assert [(kind.name, kind.value) for kind in PacketType] == list(portal_pb2.PacketType.items())
    assert [(code.name, code.value) for code in ResponseCode] == list(
        portal_pb2.ResponseCode.items()
    )


def test_whole() -> None:
    reader = PacketReader(LIMIT)
    assert reader.receive_data(ONE) == [ONE_READ]
    assert reader.trailing_data == b""
    reader.receive_eof()


def test_byte_by_byte() -> None:
    reader = PacketReader(LIMIT)
    for byte in ONE[:-1]:
        assert reader.receive_data(bytes([byte])) == []
    assert reader.receive_data(ONE[-1:]) == [ONE_READ]


def test_no_bytes_are_a_packet_of_type_0() -> None:
    # Absent fields are zero: this is what RELAY_INFO_REQUEST looks like.
    assert packet(PacketType.RELAY_INFO_REQUEST, b"") == bytes(4)
    assert PacketReader(LIMIT).receive_data(bytes(4)) == [
        Packet(PacketType.RELAY_INFO_REQUEST, b"")
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from(PacketType), st.binary(max_size=60)).map(lambda p: Packet(*p))
    ),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_segmentation(packets: list[Packet], data: st.DataObject) -> None:
    stream = b"".join(packet(*each) for each in packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = PacketReader(LIMIT)
    read = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        read += reader.receive_data(stream[start:end])
    assert read == packets
    reader.receive_eof()


def test_once_leaves_what_follows() -> None:
    reader = PacketReader(LIMIT, once=True)
    assert reader.receive_data(ONE + ONE) == [ONE_READ]
    assert reader.trailing_data == ONE
    reader.receive_eof()
    with pytest.raises(RuntimeError, match="one message"):
        reader.receive_data(b"x")


def test_once_reads_no_length_behind_its_packet() -> None:
    reader = PacketReader(LIMIT, once=True)
    assert reader.receive_data(ONE + b"\xff\xff\xff\xff") == [ONE_READ]
    assert reader.trailing_data == b"\xff\xff\xff\xff"


def test_truncated_after_every_byte() -> None:
    for once in (False, True):
        for size in range(1, len(ONE)):
            reader = PacketReader(LIMIT, once=once)
            assert reader.receive_data(ONE[:size]) == []
            with pytest.raises(PacketTruncated):
                reader.receive_eof()


@pytest.mark.parametrize("length", [LIMIT + 1, 2**26, 2**26 + 1, 2**31, 2**32 - 1])
def test_too_large_is_refused_from_the_length_alone(length: int) -> None:
    reader = PacketReader(LIMIT)
    text = refused_without_memory(
        lambda: reader.receive_data(length.to_bytes(4, "big")), PacketTooLarge
    )
    assert text == f"{length} bytes announced, {LIMIT} allowed"
    assert reader.trailing_data == b""


def test_nothing_is_set_aside_for_an_announced_length() -> None:
    reader = PacketReader(2**26)
    tracemalloc.start()
    try:
        assert reader.receive_data((2**26).to_bytes(4, "big") + b"x") == []
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


def test_a_packet_at_the_limit() -> None:
    payload = bytes(LIMIT - 5)
    whole = packet(PacketType.CONNECTION_RESPONSE, payload)
    assert len(whole) == 4 + LIMIT
    assert PacketReader(LIMIT).receive_data(whole) == [
        Packet(PacketType.CONNECTION_RESPONSE, payload)
    ]


@pytest.mark.parametrize("number", [8, 100, -1, 2**31 - 1])
def test_a_type_that_the_protocol_does_not_have(number: int) -> None:
    body = portal_pb2.Packet(type=number).SerializeToString()
    with pytest.raises(UnexpectedPacket, match=f"type {number} "):
        PacketReader(LIMIT).receive_data(length_prefixed(body))


@pytest.mark.parametrize(
    "body",
    [
        b"\x08",  # a number without an end
        b"\x12\x05abc",  # a payload that goes on behind the packet
        b"\x0f\x00",  # a wire type that there is not
        b"\xff" * 20,
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_not_a_packet(body: bytes) -> None:
    with pytest.raises(MalformedPacket, match=f"^{len(body)} bytes are not a packet$"):
        PacketReader(LIMIT).receive_data(length_prefixed(body))


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_packets_or_a_named_error(data: bytes) -> None:
    reader = PacketReader(64)
    try:
        reader.receive_data(data)
        reader.receive_eof()
    except PacketError:
        pass
