import pytest
from autobahn.websocket.xormasker import create_xor_masker
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.relay.websocket_frames import (
    PLAIN_BINARY,
    PLAIN_TEXT,
    PlainFrameReader,
    frame_of,
    plain_frame,
    whole_message,
)

PAYLOADS = st.one_of(
    st.binary(max_size=200),
    st.integers(120, 130).map(lambda size: b"p" * size),
    st.integers(65530, 65540).map(lambda size: b"q" * size),
)


def cut(data, sizes):
    while data:
        size = sizes.pop() if sizes else len(data)
        yield data[:size]
        data = data[size:]


@settings(max_examples=50)
@given(st.lists(PAYLOADS, max_size=5), st.lists(st.integers(1, 70000), max_size=30))
def test_what_is_written_is_read_however_it_is_cut(payloads, sizes):
    reader = PlainFrameReader()
    left = b""
    stream = b"".join(b"".join(plain_frame(data, masked=False)) for data in payloads)
    for piece in cut(stream, sizes):
        left = reader.receive_data(left + piece)
    assert left == b""
    assert b"".join(reader.chunks) == b"".join(payloads)


def test_byte_by_byte():
    reader = PlainFrameReader()
    left = b""
    for payload in (b"", b"a", b"b" * 126, b"c" * 65536):
        for byte in b"".join(plain_frame(payload, masked=False)):
            left = reader.receive_data(left + bytes((byte,)))
    assert left == b""
    assert b"".join(reader.chunks) == b"a" + b"b" * 126 + b"c" * 65536


@pytest.mark.parametrize(
    "odd",
    [
        b"\x81\x02hi",  # text
        b"\x02\x02hi",  # not final
        b"\x80\x02hi",  # continuation
        b"\xc2\x02hi",  # a reserved bit
        b"\x89\x02hi",  # ping
        b"\x88\x00",  # close
        b"\x82\x82abcdhi",  # masked
        b"\x82\xfe\x00\x80abcd",  # masked, with an extended length
        b"\x82\x7e\x00\x7d" + b"x" * 125,  # 16 bits for what fits in 7
        b"\x82\x7f" + (65535).to_bytes(8, "big"),  # 64 bits for what fits in 16
        b"\x82\x7f" + (1 << 63).to_bytes(8, "big"),  # the bit that must be 0
    ],
)
def test_any_other_frame_is_left_with_all_that_follows(odd):
    reader = PlainFrameReader()
    assert reader.receive_data(b"\x82\x03one" + odd + b"\x82\x03two") == odd + b"\x82\x03two"
    assert reader.chunks == [b"one"]
    assert PlainFrameReader().receive_data(odd) == odd


@pytest.mark.parametrize("size", [0, 1, 5, 125, 126, 1024, 1025, 65535, 65536])
def test_a_masked_frame_is_what_autobahn_would_read(size):
    data = bytes(index % 251 for index in range(size))
    header, payload = plain_frame(data, masked=True)
    assert header[0] == 0x82
    assert header[1] & 0x80
    masker = create_xor_masker(header[-4:], size) if size else None
    assert (masker.process(payload) if masker else payload) == data
    assert size < 4 or payload != data


def test_every_frame_has_a_mask_of_its_own():
    masks = {plain_frame(b"x", masked=True)[0][-4:] for _ in range(50)}
    assert len(masks) == 50


# Whole messages.


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("first", [PLAIN_BINARY, PLAIN_TEXT])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 1024, 1025, 65535, 65536])
def test_a_message_is_read_whole_or_not_at_all(masked, first, size):
    payload = bytes(index % 251 for index in range(size))
    made = frame_of(first, payload, masked=masked)
    for before, after in ((b"", b""), (b"...", b"\x81")):
        data = before + made + after
        found = whole_message(data, len(before), masked=masked)
        assert found == (payload, len(before) + len(made))
    header = len(made) - size - 4 * masked
    for here in {0, 1, 2, 3, header - 1, header, len(made) - 1} & set(range(len(made))):
        message, end = whole_message(b"..." + made[:here], 3, masked=masked)
        assert message == b""
        known = header if header > 2 else len(made)
        assert end == 3 + (2 if here < 2 else known if here < header else len(made))


@pytest.mark.parametrize(
    "odd",
    [
        b"\x01\x02hi",  # not final
        b"\x80\x02hi",  # continuation
        b"\x83\x02hi",  # reserved
        b"\xc1\x02hi",  # compressed
        b"\x89\x02hi",  # ping
        b"\x88\x00",  # close
        b"\x81\x82abcdhi",  # masked
        b"\x81\x7e\x00\x7d" + b"x" * 125,  # 16 bits for what fits in 7
        b"\x81\x7f" + (65535).to_bytes(8, "big"),  # 64 bits for what fits in 16
        b"\x81\x7f" + (1 << 63).to_bytes(8, "big"),  # the bit that must be 0
    ],
)
def test_any_other_frame_is_not_a_whole_message(odd):
    assert whole_message(odd, 0, masked=False) == (b"", 0)
    assert whole_message(b"\x81\x02hi", 0, masked=True) == (b"", 0)
