import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.wire.sse_boundaries import BOM, COMMENT, EventBoundaries


def events(stream: bytes) -> list[dict[str, str]]:
    """What a reader dispatches, written from WHATWG HTML section 9.2.6 line by line."""
    text = stream.decode("utf-8", "replace")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    dispatched = []
    data, kind, last_id = [], "", ""
    *lines, _incomplete = text.split("\n")
    for line in lines:
        if not line:
            if data:
                dispatched.append({"data": "\n".join(data), "event": kind, "id": last_id})
            data, kind = [], ""
            continue
        if line.startswith(":"):
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif name == "id":
            last_id = value
    return dispatched


def following(*pieces: bytes) -> EventBoundaries:
    boundaries = EventBoundaries()
    for piece in pieces:
        assert boundaries.receive_data(piece) == piece
    return boundaries


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\n",
        b"data: a\n\n",
        b"data: a\r\n\r\n",
        b"data: a\r\r",
        b"data: a\n\r\n",
        b"data: a\r\n\r",
        b"data: a\r\n\n",
        b"data: a\n\n\n",
        b"data: a\ndata: b\n\ndata: c\n\n",
        b": hello\n\n",
        BOM + b"data: a\n\n",
    ],
)
def test_between_events(stream):
    assert following(stream).at_boundary
    assert following(*[stream[i : i + 1] for i in range(len(stream))]).at_boundary


@pytest.mark.parametrize(
    "stream",
    [
        b"d",
        b"data: a",
        b"data: a\n",
        b"data: a\r",
        b"data: a\r\n",
        b"data: a\n\nd",
        b"data: a\n\ndata: b\r\n",
        b"data: a\r\rdata: b\r",
        b":",
        b": a\n",
        BOM,
        BOM[:1],
    ],
)
def test_within_an_event(stream):
    for pieces in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        boundaries = following(*pieces)
        assert not boundaries.at_boundary
        with pytest.raises(ValueError, match="between events"):
            boundaries.comment()


def test_a_mark_after_a_comment_is_taken_away():
    for cuts in ([b"\xef", b"\xbb", b"\xbfdata: a\n\n"], [BOM, b"data: a\n\n"]):
        boundaries = EventBoundaries()
        sent = boundaries.comment()
        for piece in cuts:
            sent += boundaries.receive_data(piece)
        assert sent == COMMENT + b"data: a\n\n"
        assert boundaries.at_boundary


def test_what_only_begins_like_a_mark_is_sent():
    boundaries = EventBoundaries()
    boundaries.comment()
    assert boundaries.receive_data(b"\xef\xbb") == b""
    assert not boundaries.at_boundary
    assert boundaries.receive_data(b"\xbe") == b"\xef\xbb\xbe"
    boundaries = EventBoundaries()
    boundaries.comment()
    assert boundaries.receive_data(b"\xef") == b""
    assert boundaries.receive_end() == b"\xef"


def test_a_mark_later_on_stays():
    boundaries = following(b"\n")
    boundaries.comment()
    assert boundaries.receive_data(BOM) == BOM


PIECES = st.lists(
    st.sampled_from(
        [
            b"\r",
            b"\n",
            b"\r\n",
            b"data: a",
            b"data",
            b":",
            b" b",
            b"id: 7",
            b"event: e",
            BOM,
            b"\xef",
        ]
    ),
    max_size=20,
)


@given(PIECES, st.lists(st.integers(0, 60)), st.data())
def test_comments_change_no_event(pieces, cuts, draw):
    stream = b"".join(pieces)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    boundaries = EventBoundaries()
    sent = b""
    commented = 0
    for start, end in zip(edges, [*edges[1:], len(stream)], strict=True):
        if boundaries.at_boundary and draw.draw(st.booleans()):
            sent += boundaries.comment()
            commented += 1
        sent += boundaries.receive_data(stream[start:end]) if start < end else b""
    sent += boundaries.receive_end()
    assert events(sent) == events(stream)
    assert sent.count(COMMENT) >= commented


@given(PIECES)
def test_cuts_change_nothing(pieces):
    stream = b"".join(pieces)
    whole = following(stream).at_boundary if stream else True
    bytewise = following(*[stream[i : i + 1] for i in range(len(stream))]).at_boundary
    assert whole == bytewise
