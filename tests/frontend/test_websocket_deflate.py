"""permessage-deflate in pieces: what comes out, in which pieces, and what it costs."""

import tracemalloc
import zlib
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.frontend.websocket_deflate import PIECE, STEP, Deflation

FLUSHED = b"\x00\x00\xff\xff"


def deflation(*, is_server=True, forgets=True, bits=15):
    agreed = SimpleNamespace(
        server_no_context_takeover=forgets,
        client_no_context_takeover=forgets,
        server_max_window_bits=bits,
        client_max_window_bits=bits,
    )
    return Deflation(agreed, is_server=is_server)


def inflate(codec, payloads, most=PIECE):
    """The pieces of one message whose frames have these payloads."""
    codec.start_decompress_message()
    pieces = []
    for number, payload in enumerate(payloads, 1):
        codec.feed(payload, last=number == len(payloads))
        while codec.more:
            pieces.append(codec.piece())
            assert len(pieces[-1]) <= most
    codec.end_decompress_message()
    return pieces


def packed(parts, *, finals=()):
    """A compressed message; a part whose number is in ``finals`` ends with a final block."""
    data = b""
    packer = zlib.compressobj(wbits=-15)
    for number, part in enumerate(parts):
        data += packer.compress(part)
        if number in finals:
            data += packer.flush(zlib.Z_FINISH)
            packer = zlib.compressobj(wbits=-15)
        else:
            data += packer.flush(zlib.Z_SYNC_FLUSH)
    # RFC 7692 section 7.2.3.4: behind a final block stands an empty one.
    return data.removesuffix(FLUSHED) if data.endswith(FLUSHED) else data + b"\x00"


@st.composite
def messages(draw):
    parts = draw(
        st.lists(
            st.one_of(
                st.binary(max_size=300),
                st.integers(0, 3 * PIECE).map(bytes),
                st.binary(min_size=1, max_size=20).map(lambda unit: unit * 2000),
            ),
            max_size=4,
        )
    )
    finals = draw(st.sets(st.integers(0, 3)))
    return b"".join(parts), packed(parts, finals=finals)


@given(messages(), st.lists(st.integers(1, 500), max_size=6))
def test_a_message_is_what_it_was_however_it_is_cut(message, cuts):
    whole, payload = message
    payloads = []
    for cut in cuts:
        payloads.append(payload[:cut])
        payload = payload[cut:]
    pieces = inflate(deflation(), [*payloads, payload])
    assert b"".join(pieces) == whole


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 10 * PIECE + 3])
def test_pieces_are_as_large_as_they_may_be(size):
    pieces = inflate(deflation(), [packed([bytes(size)])])
    assert b"".join(pieces) == bytes(size)
    assert len(pieces) <= size // PIECE + 2


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_inflated_and_never_kept(garbage):
    codec = deflation()
    try:
        inflate(codec, [garbage])
    except zlib.error:
        return
    assert codec.held == 0


def test_nothing_piles_up_behind_a_final_block():
    codec = deflation()
    codec.start_decompress_message()
    for _ in range(1000):
        codec.feed(b"\x03\x00" * (STEP // 2), last=False)
        assert codec.more
        codec.piece()
        assert codec.held < STEP
        codec.more = False


def test_each_stream_behind_a_final_block_is_a_piece_of_its_own():
    pieces = inflate(deflation(), [b"\x03\x00" * 500])
    assert len(pieces) >= 500
    assert b"".join(pieces) == b""


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=5), st.booleans(), st.booleans())
def test_what_is_compressed_can_be_inflated_frame_by_frame(parts, is_server, forgets):
    sender = deflation(is_server=is_server, forgets=forgets)
    receiver = deflation(is_server=not is_server, forgets=forgets)
    for _ in range(2):
        frames = [
            sender.compress(part, last=number == len(parts)) for number, part in enumerate(parts, 1)
        ]
        receiver.start_decompress_message()
        for number, (part, payload) in enumerate(zip(parts, frames, strict=True), 1):
            assert payload
            receiver.feed(payload, last=number == len(parts))
            found = b""
            while receiver.more:
                found += receiver.piece()
            assert found == part
        receiver.end_decompress_message()


@pytest.mark.parametrize("bits", [9, 10, 11, 15])
def test_the_window_that_was_agreed_on_is_kept(bits):
    frames = [deflation(bits=bits).compress(b"0123456789" * 5000, last=True)]
    inflater = zlib.decompressobj(wbits=-bits)
    assert inflater.decompress(frames[0] + FLUSHED) == b"0123456789" * 5000


def traced(make):
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = make()
        return tracemalloc.get_traced_memory()[0] - before, kept
    finally:
        tracemalloc.stop()


def test_a_message_under_way_each_way_costs_64_kib():
    def begun():
        codec = deflation()
        codec.start_decompress_message()
        codec.feed(packed([bytes(100_000)])[:50], last=False)
        codec.piece()
        codec.compress(b"x" * PIECE, last=False)
        return codec

    size, _ = traced(begun)
    assert size <= 64 * 1024


@pytest.mark.parametrize("forgets", [True, False])
def test_nothing_is_kept_between_messages_where_that_was_agreed(forgets):
    def done():
        codec = deflation(forgets=forgets)
        inflate(codec, [packed([bytes(100_000)])])
        codec.compress(b"x" * PIECE, last=True)
        return codec

    size, _ = traced(done)
    assert (size < 2048) == forgets
