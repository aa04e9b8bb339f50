"""What a yamux peer may not do: a table of frames, the error each is, and what is left after it.

Every case is fed whole, byte by byte, and with trailing data.
"""

import tracemalloc

import pytest

from portal_gateway.wire.errors import (
    FrameAfterFin,
    InvalidFlags,
    InvalidStreamId,
    UnknownFrameType,
    UnsupportedYamuxVersion,
    WindowExceeded,
    WindowOverflow,
    YamuxError,
)
from portal_gateway.wire.yamux import (
    DataReceived,
    Role,
    StreamAccepted,
    StreamEnded,
    StreamOpened,
    StreamReset,
    WindowOpened,
    YamuxSession,
)
from portal_gateway.wire.yamux_frames import INITIAL_WINDOW, MAX_UNACKNOWLEDGED
from portal_gateway.wire.yamux_ids import StreamIds
from tests.wire.yamux_pair import DATA, GO_AWAY, PING, UPDATE, frame, frames, merged

FULL = b"f" * INITIAL_WINDOW
REST = 2**32 - 1 - INITIAL_WINDOW  # credit that fills a send window to the brim


def client():
    """A client session: streams 1 (accepted by the peer) and 3 are open, 5 was reset by us."""
    session = YamuxSession(Role.CLIENT)
    for _ in range(3):
        session.open_stream()
    session.reset_stream(5)
    session.receive_data(frame(UPDATE, "ACK", 1))
    session.data_to_send()
    return session


# The events before the fault, the frames that are one, its error, and what its message must say.
FAULTS = {
    "version 1": ([], frame(DATA, "", 1, version=1), UnsupportedYamuxVersion, "version 1"),
    "version 255": ([], frame(PING, "SYN", 0, version=255), UnsupportedYamuxVersion, "255"),
    "version before type": ([], frame(9, 0xFFFF, 1, version=1), UnsupportedYamuxVersion, "1"),
    "type 4": ([], frame(4, "", 1), UnknownFrameType, "type 4"),
    "type 255": ([], frame(255, "", 0), UnknownFrameType, "type 255"),
    "unknown flag": ([], frame(DATA, 0x10, 1), InvalidFlags, "0x10"),
    "all flags": ([], frame(UPDATE, 0xFFFF, 1), InvalidFlags, "0xffff"),
    "unknown flag of a ping": ([], frame(PING, 0x8001, 0), InvalidFlags, "0x8001"),
    "SYN ACK": ([], frame(UPDATE, "SYN ACK", 2), InvalidFlags, "0x3"),
    "SYN RST": ([], frame(DATA, "SYN RST", 2), InvalidFlags, "0x9"),
    "ping without flags": ([], frame(PING, "", 0), InvalidFlags, "ping"),
    "ping and pong in one": ([], frame(PING, "SYN ACK", 0), InvalidFlags, "ping"),
    "ping with FIN": ([], frame(PING, "SYN FIN", 0), InvalidFlags, "ping"),
    "go-away with SYN": ([], frame(GO_AWAY, "SYN", 0), InvalidFlags, "go-away"),
    "ping on a stream": ([], frame(PING, "SYN", 1), InvalidStreamId, "stream 1"),
    "go-away on a stream": ([], frame(GO_AWAY, "", 3), InvalidStreamId, "stream 3"),
    "data on stream 0": ([], frame(DATA, "", 0, payload=b"x"), InvalidStreamId, "stream 0"),
    "credit on stream 0": ([], frame(UPDATE, "", 0, 1), InvalidStreamId, "stream 0"),
    "SYN on stream 0": ([], frame(UPDATE, "SYN", 0), InvalidStreamId, "stream 0"),
    "SYN of our parity, in use": ([], frame(UPDATE, "SYN", 1), InvalidStreamId, "stream 1"),
    "SYN of our parity, unused": ([], frame(UPDATE, "SYN", 99), InvalidStreamId, "stream 99"),
    "SYN twice": (
        [StreamOpened(2)],
        frame(UPDATE, "SYN", 2) * 2,
        InvalidStreamId,
        "stream 2 was opened before",
    ),
    "an id again, after its end": (
        [StreamOpened(2), StreamReset(2)],
        frame(UPDATE, "SYN", 2) + frame(UPDATE, "RST", 2) + frame(DATA, "SYN", 2),
        InvalidStreamId,
        "opened before",
    ),
    "data on a stream we never opened": ([], frame(DATA, "", 7), InvalidStreamId, "stream 7"),
    "data on a stream it never opened": ([], frame(DATA, "", 2), InvalidStreamId, "stream 2"),
    "credit on the last id": ([], frame(UPDATE, "", 2**32 - 1, 1), InvalidStreamId, "4294967295"),
    "FIN for a stream that never was": ([], frame(UPDATE, "FIN", 8), InvalidStreamId, "stream 8"),
    "RST for a stream that never was": ([], frame(UPDATE, "RST", 8), InvalidStreamId, "stream 8"),
    "one frame beyond the window": (
        [],
        frame(DATA, "", 1, INITIAL_WINDOW + 1),
        WindowExceeded,
        "262145 bytes on stream 1, which had 262144 left",
    ),
    "4 GiB announced": ([], frame(DATA, "", 1, 2**32 - 1), WindowExceeded, "4294967295"),
    "a byte beyond a full window": (
        [DataReceived(1, FULL)],
        frame(DATA, "", 1, payload=FULL) + frame(DATA, "", 1, payload=b"x"),
        WindowExceeded,
        "had 0 left",
    ),
    "beyond the window with a SYN": (
        [StreamOpened(2)],
        frame(DATA, "SYN", 2, INITIAL_WINDOW + 1),
        WindowExceeded,
        "stream 2",
    ),
    "beyond the window with FIN": ([], frame(DATA, "FIN", 1, 2**31), WindowExceeded, "stream 1"),
    "beyond the window with RST": ([], frame(DATA, "RST", 1, 2**31), WindowExceeded, "stream 1"),
    "beyond the window after FIN": (
        [StreamEnded(1)],
        frame(UPDATE, "FIN", 1) + frame(DATA, "", 1, INITIAL_WINDOW + 1),
        WindowExceeded,
        "stream 1",
    ),
    "beyond what a stream had that is gone": (
        [],
        frame(DATA, "", 5, payload=FULL) + frame(DATA, "", 5, payload=b"x"),
        WindowExceeded,
        "1 bytes for streams that are gone, which had 0 left",
    ),
    "credit that overflows": (
        [WindowOpened(1)],
        frame(UPDATE, "", 1, REST) + frame(UPDATE, "", 1, 1),
        WindowOverflow,
        "4294967295",
    ),
    "credit that overflows at once": ([], frame(UPDATE, "", 1, REST + 1), WindowOverflow, "1"),
    "credit that overflows with its ACK": (
        [StreamAccepted(3)],
        frame(UPDATE, "ACK", 3, 2**32 - 1),
        WindowOverflow,
        "stream 3",
    ),
    "credit that overflows with its SYN": (
        [StreamOpened(2)],
        frame(UPDATE, "SYN", 2, 2**32 - 1),
        WindowOverflow,
        "stream 2",
    ),
    "FIN twice": (
        [StreamEnded(1)],
        frame(UPDATE, "FIN", 1) * 2,
        FrameAfterFin,
        "stream 1 was ended twice",
    ),
    "FIN twice, on data": (
        [DataReceived(1, b"x"), StreamEnded(1)],
        frame(DATA, "FIN", 1, payload=b"x") * 2,
        FrameAfterFin,
        "stream 1",
    ),
}


def check(session, events, expected, error, text):
    assert merged(events) == expected
    failure = session.failure
    assert type(failure) is error
    assert isinstance(failure, YamuxError)
    assert text in str(failure)
    assert frames(session.data_to_send()) == [("go away", "", 0, 1)]
    assert session.stream_count == session.buffered == 0


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("trailing", [b"", frame(PING, "SYN", 0), b"\xff" * 100])
def test_fault_whole(name, trailing):
    expected, data, error, text = FAULTS[name]
    session = client()
    events = session.receive_data(data + trailing)
    check(session, events, expected, error, text)


@pytest.mark.parametrize("name", [name for name in FAULTS if len(FAULTS[name][1]) < 1000])
def test_fault_byte_by_byte(name):
    expected, data, error, text = FAULTS[name]
    session = client()
    events = []
    for n in range(len(data)):
        events += session.receive_data(data[n : n + 1])
    check(session, events, expected, error, text)


@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_before_the_last_frame(name):
    expected, data, _, _ = FAULTS[name]
    last = 13 if data.endswith(b"\1x") else 12  # its header, and its payload where there is one
    session = client()
    events = merged(session.receive_data(data[:-last]))
    assert session.failure is None
    assert events == expected[: len(events)]


def test_a_length_is_judged_before_anything_is_held_for_it():
    session = client()
    session.receive_data(frame(DATA, "", 1, INITIAL_WINDOW)[:11])
    tracemalloc.start()
    try:
        session.receive_data(frame(DATA, "", 1, INITIAL_WINDOW)[11:])
        assert session.failure is None
        other = client()
        other.receive_data(frame(DATA, "", 1, 2**32 - 1) + b"x" * 100)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()
    assert session.buffered == INITIAL_WINDOW  # announced, and so accounted


def test_a_frame_for_a_stream_whose_syn_did_not_leave():
    session = YamuxSession(Role.CLIENT)
    waiting = [session.open_stream() for _ in range(MAX_UNACKNOWLEDGED + 1)][-1]
    for data in (frame(DATA, "", waiting, payload=b"x"), frame(UPDATE, "ACK", waiting)):
        other = YamuxSession(Role.CLIENT)
        for _ in range(MAX_UNACKNOWLEDGED + 1):
            other.open_stream()
        assert other.receive_data(data) == []
        assert isinstance(other.failure, InvalidStreamId)


def test_messages_never_quote_the_peer():
    session = client()
    session.receive_data(b"GET / HTTP/1.1\r\nHost: secret\r\n\r\n")
    assert str(session.failure) == "version 71, only 0 is known"


LATE = {
    "data": frame(DATA, "", 5, payload=b"x" * 1000),
    "a full window": frame(DATA, "", 5, payload=FULL),
    "data with FIN": frame(DATA, "FIN", 5, payload=b"x"),
    "credit": frame(UPDATE, "", 5, 1000),
    "ACK with credit": frame(UPDATE, "ACK", 5, 16_515_072),
    "FIN": frame(UPDATE, "FIN", 5),
    "RST": frame(UPDATE, "RST", 5),
    "all that an honest peer had under way": frame(UPDATE, "ACK", 5)
    + frame(DATA, "", 5, payload=FULL)
    + frame(UPDATE, "", 5, 131_072)
    + frame(UPDATE, "FIN", 5),
}


class TestLateFrames:
    """Frames that crossed our RST, or the second FIN: discarded, not a fault."""

    @pytest.mark.parametrize("name", LATE)
    @pytest.mark.parametrize("step", [1_000_000, 1009])
    def test_is_discarded(self, name, step):
        session = client()
        data = LATE[name] + frame(DATA, "", 1, payload=b"next")
        events = []
        for start in range(0, len(data), step):
            events += session.receive_data(data[start : start + step])
        assert session.failure is None
        assert merged(events) == [DataReceived(1, b"next")]
        assert session.buffered == 4
        assert not session.has_data_to_send
        assert session._guard.unexplained == 0

    def test_a_peers_stream_that_was_refused_may_have_sent_its_first_window(self):
        session = YamuxSession(Role.SERVER, backlog=0)
        events = session.receive_data(
            frame(DATA, "SYN", 1, payload=FULL[:-5]) + frame(DATA, "FIN", 1, payload=b"x" * 5)
        )
        assert events == []
        assert session.failure is None
        assert frames(session.data_to_send()) == [("update", "RST", 1, 0)]
        session.receive_data(frame(DATA, "", 1, payload=b"x"))
        assert isinstance(session.failure, WindowExceeded)

    def test_it_is_not_mistaken_for_data_of_the_frame_before(self):
        session = client()
        before = frame(DATA, "", 1, payload=b"before")
        late = frame(DATA, "", 5, payload=b"late")
        parts = [before[:14], before[14:], late[:12], late[12:]]
        events = [event for part in parts for event in session.receive_data(part)]
        assert merged(events) == [DataReceived(1, b"before")]

    @pytest.mark.parametrize("kept", [b"", b"kept"])
    def test_a_closed_stream_may_have_its_credit_under_way_and_no_more(self, kept):
        session = YamuxSession(Role.CLIENT)
        session.open_stream()
        session.receive_data(frame(DATA, "ACK FIN", 1, payload=kept))
        session.send_fin(1)
        rest = INITIAL_WINDOW - len(kept)
        assert session.receive_data(frame(DATA, "", 1, payload=bytes(rest))) == []
        session.consume(1, len(kept))
        assert session.stream_count == session.buffered == 0
        assert session.failure is None
        session.receive_data(frame(DATA, "", 1, payload=b"x"))
        assert "1 bytes for streams that are gone, which had 0 left" in str(session.failure)

    def test_data_after_fin_counts_against_what_the_stream_had(self):
        session = YamuxSession(Role.CLIENT)
        session.open_stream()
        events = session.receive_data(
            frame(UPDATE, "ACK FIN", 1) + frame(DATA, "", 1, payload=bytes(100_000))
        )
        assert events[-1] == StreamReset(1)
        session.receive_data(frame(DATA, "", 1, payload=bytes(INITIAL_WINDOW - 100_000)))
        assert session.failure is None
        session.receive_data(frame(DATA, "", 1, payload=b"x"))
        assert isinstance(session.failure, WindowExceeded)

    def test_a_closed_stream_that_is_not_consumed_takes_nothing_more(self):
        session = client()
        session.receive_data(frame(DATA, "FIN", 1, payload=b"kept"))
        session.send_fin(1)
        assert session.stream_count == 2
        events = session.receive_data(frame(DATA, "", 1, payload=FULL[4:]) + frame(UPDATE, "", 1))
        assert events == []
        assert session.failure is None
        assert session.buffered == 4


class TestStreamIds:
    def test_ids_that_were_skipped_are_remembered_within_a_bound(self):
        ids = StreamIds(Role.CLIENT)
        ids.peer_opens(4_000_000_000)
        assert len(ids._skipped) == 512
        ids.peer_opens(4_000_000_000 - 2 * 512)
        with pytest.raises(InvalidStreamId):
            ids.peer_opens(4_000_000_000 - 2 * 513)
        for step in range(1, 300):
            ids.peer_opens(4_000_000_000 + step * 100_000)
            assert len(ids._skipped) <= 512

    def test_a_skipped_id_is_opened_once(self):
        ids = StreamIds(Role.SERVER)
        ids.peer_opens(9)
        ids.peer_opens(3)
        with pytest.raises(InvalidStreamId, match="stream 3 was opened before"):
            ids.peer_opens(3)

    @pytest.mark.parametrize(("role", "first"), [(Role.CLIENT, 2), (Role.SERVER, 1)])
    def test_the_peers_first_id(self, role, first):
        ids = StreamIds(role)
        assert not ids.was_used(first)
        ids.peer_opens(first)
        assert ids.was_used(first)
        assert ids._skipped == {}
        with pytest.raises(InvalidStreamId):
            ids.peer_opens(first)
