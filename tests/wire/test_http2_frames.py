from itertools import pairwise

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, PingFrame
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.wire.http2_frames import (
    MAX_FRAME_SIZE,
    PREFACE,
    BadPreface,
    FrameCutter,
    FrameTooLong,
    FrameType,
    HeaderBlockTooLong,
)

FRAMES = [
    PingFrame(0, opaque_data=b"12345678").serialize(),
    HeadersFrame(1, data=b"\x82", flags=["END_STREAM", "END_HEADERS"]).serialize(),
    DataFrame(3, data=b"x" * 100).serialize(),
    DataFrame(0x7FFFFFFF, data=b"").serialize(),
]


@given(st.lists(st.integers(0, 200), max_size=8))
def test_however_the_bytes_come(cuts):
    whole = PREFACE + b"".join(FRAMES)
    places = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    cutter = FrameCutter(100_000)
    found = []
    for start, end in pairwise(places):
        found += cutter.receive_data(whole[start:end])
    assert [frame.data for frame in found] == FRAMES
    assert [frame.stream_id for frame in found] == [0, 1, 3, 0x7FFFFFFF]
    assert [frame.length for frame in found] == [8, 1, 100, 0]
    assert found[1].ends_stream
    assert found[1].ends_headers
    assert not cutter.has_pending
    assert not cutter.in_preface


@pytest.mark.parametrize(
    "text", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", b"\0"]
)
def test_another_beginning(text):
    cutter = FrameCutter(100_000)
    with pytest.raises(BadPreface):
        cutter.receive_data(text)


def test_a_preface_byte_by_byte():
    cutter = FrameCutter(100_000)
    for byte in PREFACE:
        assert cutter.in_preface
        assert cutter.receive_data(bytes([byte])) == []
    assert not cutter.in_preface


def test_a_frame_that_is_too_long_is_refused_before_it_came():
    cutter = FrameCutter(100_000)
    cutter.receive_data(PREFACE)
    long = (MAX_FRAME_SIZE + 1).to_bytes(3, "big") + bytes(6)
    (frame,) = cutter.receive_data(FRAMES[0] + long)
    assert frame.type == FrameType.PING
    with pytest.raises(FrameTooLong):
        cutter.receive_data(b"")


def test_a_header_block_that_is_too_long_is_refused_before_it_came():
    first = HeadersFrame(1, data=b"h" * MAX_FRAME_SIZE).serialize()
    # One of 40 bytes counts as one of 4 KiB.
    more = ContinuationFrame(1, data=b"c" * 40).serialize()
    begun = ContinuationFrame(1, data=b"").serialize()[:9]
    cutter = FrameCutter(MAX_FRAME_SIZE + 4096)
    assert len(cutter.receive_data(PREFACE + first + more)) == 2
    # Each block is counted for itself, and no frame but those two is a part of one.
    assert len(cutter.receive_data(first + more + FRAMES[2] + FRAMES[2])) == 4
    assert len(cutter.receive_data(first + more + begun)) == 2
    with pytest.raises(HeaderBlockTooLong):
        cutter.receive_data(b"")


def test_what_is_begun():
    cutter = FrameCutter(100_000)
    cutter.receive_data(PREFACE + FRAMES[2][:5])
    assert cutter.has_pending
    assert cutter.in_data
    cutter = FrameCutter(100_000)
    cutter.receive_data(PREFACE + FRAMES[1][:5])
    assert cutter.has_pending
    assert not cutter.in_data
