"""HPACK of ours beside that of the hpack library, which other ends of HTTP/2 use."""

import hpack
import pytest
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hypothesis import example, given
from hypothesis import strategies as st

from portal_gateway.wire.http2_header_blocks import HeaderDecoder, HeaderEncoder

NAMES = st.sampled_from(
    [b":status", b"date", b"x-a", b"x-b", b"set-cookie", b"etag", b"vary", b"", b"content-type"]
)
VALUES = st.one_of(
    st.sampled_from([b"", b"200", b"a", b"accept-encoding", b"x" * 900, b"y" * 1500, b"z" * 5000]),
    st.binary(max_size=20),
)
BLOCKS = st.lists(st.tuples(NAMES, VALUES), max_size=12)
SIZES = st.lists(st.sampled_from([0, 60, 100, 1000, 4096, 70_000]), max_size=3)


def theirs(limit=1_000_000):
    return hpack.Decoder(limit)


def ours(limit=1_000_000):
    return HeaderDecoder(limit)


@given(st.lists(st.tuples(SIZES, BLOCKS), max_size=6))
def test_what_is_encoded_is_decoded_by_both(rounds):
    encoder, library, decoder = HeaderEncoder(), theirs(), ours()
    for sizes, fields in rounds:
        for size in sizes:
            encoder.header_table_size = size
        block = encoder.encode(fields)
        assert [tuple(field) for field in library.decode(block, raw=True)] == fields
        assert decoder.decode(block) == fields


@given(st.lists(st.tuples(SIZES, BLOCKS, st.booleans()), max_size=6))
def test_what_the_library_encodes_is_decoded(rounds):
    encoder, decoder = hpack.Encoder(), ours()
    for sizes, fields, huffman in rounds:
        for size in sizes[:1]:
            encoder.header_table_size = min(size, 4096)
        assert decoder.decode(encoder.encode(fields, huffman=huffman)) == fields


def read(decoder, block):
    try:
        return [tuple(field) for field in decoder.decode(block, raw=True)]
    except HPACKError as error:
        return type(error)


OCTETS = st.one_of(
    st.sampled_from([0x00, 0x01, 0x0F, 0x10, 0x40, 0x41, 0x7F, 0x80, 0x82, 0xBE, 0xC0, 0xFF]),
    st.integers(0, 255),
)


@example([b"\x0f\x80\x80\x80\x80\x01"])
@given(st.lists(st.lists(OCTETS, max_size=40).map(bytes), max_size=4))
def test_any_octets_mean_what_they_mean_to_the_library(blocks):
    library, decoder = theirs(), ours()
    for block in blocks:
        expected, found = read(library, block), read(decoder, block)
        if isinstance(found, list):
            assert found == expected
        elif found != expected:
            assert found is hpack.HPACKDecodingError
            # More updates of the size than there may be are refused here alone; what both refuse,
            # such as an index of many octets, may have another name.
            updates = sum(0x20 <= octet < 0x40 for octet in block)
            assert updates > 2 or not isinstance(expected, list)
        if not isinstance(found, list):
            break


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",
        b"\xbe",
        b"\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x40",
        b"\x40\x01",
        b"\x40\x01a\x05b",
        b"\x00\x81\xff\x00",
        b"\x3f\xe2\x1f",
        b"\x82\x20",
        b"\x20\x20\x20",
        b"\x20\x3f",
    ],
)
def test_blocks_that_are_none(block):
    with pytest.raises(HPACKError):
        ours().decode(block)


def test_a_list_that_is_too_long_is_refused_while_it_is_read():
    encoder = hpack.Encoder()
    block = encoder.encode([(b"x", b"y" * 1000)]) + b"\xbe" * 1000
    assert len(ours(1033 * 1001).decode(block)) == 1001
    with pytest.raises(OversizedHeaderListError):
        ours(1033 * 1000).decode(block)


def test_lengths_around_what_a_prefix_holds():
    encoder, decoder = HeaderEncoder(), ours()
    for length in (0, 1, 126, 127, 128, 254, 255, 256, 16_383, 16_510, 16_511, 60_000):
        block = encoder.encode([(b"x-long", b"v" * length)])
        assert decoder.decode(block) == [(b"x-long", b"v" * length)]


def test_fields_that_hardly_come_twice_or_are_secret_stay_out_of_the_table():
    encoder = HeaderEncoder()
    fields = [(b"set-cookie", b"a=b"), (b"etag", b'"1"'), (b"x-long", b"l" * 1000)]
    block = encoder.encode(fields)
    assert encoder.encode(fields) == block
    assert block[:1] == bytes([0x1F])
    never = theirs().decode(block, raw=True)
    assert [field.indexable for field in never] == [False, True, True]


def test_a_repeated_head_is_an_index_for_each_field():
    encoder, decoder = HeaderEncoder(), ours()
    fields = [(b":status", b"200"), (b"content-type", b"text/plain"), (b"x-one", b"1")]
    assert decoder.decode(encoder.encode(fields)) == fields
    again = encoder.encode(fields)
    assert len(again) == 3
    assert decoder.decode(again) == fields


def test_the_table_is_no_larger_than_the_default_however_much_is_offered():
    encoder = HeaderEncoder()
    encoder.header_table_size = 1_000_000
    assert encoder.header_table_size == 4096
    assert encoder.encode([(b":status", b"200")]) == b"\x88"


def test_many_changes_of_the_size_are_two_in_the_next_block():
    encoder = HeaderEncoder()
    for _ in range(1000):
        encoder.header_table_size = 0
        encoder.header_table_size = 2048
    assert encoder.encode([]) == b"\x20\x3f\xe1\x0f"
    assert encoder.encode([]) == b""
