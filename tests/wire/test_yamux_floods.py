"""A yamux peer that floods, or gives nothing: a named error or a bounded state, never more memory.

Each case gives a bound on the bytes that wait to leave and on the table of streams.
"""

import pytest

from portal_gateway.wire.errors import FloodDetected, TooManyStreams, WindowExceeded
from portal_gateway.wire.yamux import DataReceived, Role, StreamOpened, YamuxSession
from portal_gateway.wire.yamux_flood import FloodGuard
from portal_gateway.wire.yamux_frames import (
    ANSWERS_PER_TURN,
    BACKLOG,
    INITIAL_WINDOW,
    LATE_FRAMES_PER_STREAM,
    MAX_LATE_BYTES,
    MAX_LATE_FRAMES,
    MAX_STREAMS,
    MAX_UNEXPLAINED_FRAMES,
)
from tests.wire.yamux_pair import DATA, GO_AWAY, PING, UPDATE, Pair, frame, frames

N = 10_000
MIB = 1024 * 1024


def client():
    """A client session with stream 1 accepted by the peer."""
    session = YamuxSession(Role.CLIENT)
    session.open_stream()
    session.receive_data(frame(UPDATE, "ACK", 1))
    session.data_to_send()
    return session


# What is sent 10,000 times without anything between.
ENDLESS = {
    "ping": lambda n: frame(PING, "SYN", 0, n),
    "pong": lambda n: frame(PING, "ACK", 0, n),
    "empty data": lambda n: frame(DATA, "", 1),
    "credit of zero": lambda n: frame(UPDATE, "", 1, 0),
    "credit of one": lambda n: frame(UPDATE, "", 1, 1),
    "credit that nobody asked for": lambda n: frame(UPDATE, "", 1, 100_000),
    "ACK": lambda n: frame(UPDATE, "ACK", 1),
    "empty data with ACK": lambda n: frame(DATA, "ACK", 1),
    "go-away": lambda n: frame(GO_AWAY, "", 0, 0),
    "SYN": lambda n: frame(UPDATE, "SYN", 2 * n + 2),
    "SYN with data": lambda n: frame(DATA, "SYN", 2 * n + 2, payload=b"x"),
    "SYN with FIN": lambda n: frame(UPDATE, "SYN FIN", 2 * n + 2),
    "SYN, then RST": lambda n: frame(UPDATE, "SYN", 2 * n + 2) + frame(UPDATE, "RST", 2 * n + 2),
    "RST for a stream that is gone": lambda n: frame(UPDATE, "RST", 1),
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("cut", ["one message", "a message each"])
def test_an_endless_frame_is_a_flood(name, cut):
    session = client()
    parts = [ENDLESS[name](n) for n in range(N)]
    seen = 0
    for data in [b"".join(parts)] if cut == "one message" else parts:
        session.receive_data(data)
        seen += 1
        assert session.stream_count <= BACKLOG + 1
        if session.failure is not None:
            break
    assert type(session.failure) is FloodDetected
    assert str(1024) in str(session.failure)
    assert cut == "one message" or seen <= 1024 + 2 + LATE_FRAMES_PER_STREAM
    assert frames(session.data_to_send()) == [("go away", "", 0, 1)]


@pytest.mark.parametrize("name", ["ping", "SYN", "SYN with data", "SYN, then RST"])
def test_what_waits_to_leave_is_bounded_although_data_comes_in_between(name):
    """Data explains control frames, yet not answers that a peer does not let leave."""
    session = client()
    most = 0
    for n in range(N):
        session.receive_data(ENDLESS[name](n) + frame(DATA, "", 1, payload=b"x"))
        waiting = sum(map(len, session._control)) + sum(map(len, session._bulk))
        most = max(most, waiting)
        assert session.stream_count <= BACKLOG + 1
        if session.failure is not None:
            break
    assert type(session.failure) is FloodDetected
    assert n <= ANSWERS_PER_TURN
    assert most <= 12 * ANSWERS_PER_TURN


def test_pings_that_are_answered_are_a_flood_too_when_several_come_in_each_turn():
    session = client()
    turns = 0
    while session.failure is None:
        session.receive_data(frame(PING, "SYN", 0) * 5)
        session.data_to_send()
        turns += 1
    assert type(session.failure) is FloodDetected
    assert turns == MAX_UNEXPLAINED_FRAMES // 4 + 1


def test_crumbs_of_credit_are_a_flood():
    session = client()
    session.send_data(1, bytes(INITIAL_WINDOW))
    session.data_to_send()
    for _ in range(MAX_UNEXPLAINED_FRAMES):
        session.receive_data(frame(UPDATE, "", 1, 1))
    assert session.failure is None
    session.receive_data(frame(UPDATE, "", 1, 1))
    assert type(session.failure) is FloodDetected


def test_what_streams_that_went_explain_is_bounded():
    guard = FloodGuard()
    for _ in range(2 * MAX_STREAMS):
        guard.stream_gone(INITIAL_WINDOW + MIB)
    guard.late_data(MAX_LATE_BYTES)
    with pytest.raises(WindowExceeded):
        guard.late_data(1)
    for _ in range(MAX_LATE_FRAMES + MAX_UNEXPLAINED_FRAMES):
        guard.late_frame()
    with pytest.raises(FloodDetected):
        guard.late_frame()


def test_the_backlog_is_256_and_the_rest_is_refused():
    session = YamuxSession(Role.SERVER)
    syns = b"".join(frame(UPDATE, "SYN", 2 * n + 1) for n in range(300))
    events = session.receive_data(syns)
    assert events == [StreamOpened(2 * n + 1) for n in range(BACKLOG)]
    refused = frames(session.data_to_send())
    assert refused == [("update", "RST", 2 * n + 1, 0) for n in range(BACKLOG, 300)]
    session.accept_stream(1)
    session.refuse_stream(3)
    assert len(session.receive_data(frame(UPDATE, "SYN", 601) + frame(UPDATE, "SYN", 603))) == 2
    assert session.receive_data(frame(UPDATE, "SYN", 605)) == []
    assert session.failure is None


@pytest.mark.parametrize("end", ["RST", "the caller's reset"])
def test_the_backlog_has_room_again_when_a_stream_goes_unaccepted(end):
    session = YamuxSession(Role.SERVER, backlog=1)
    for n in range(1, 21, 2):
        assert session.receive_data(frame(UPDATE, "SYN", n)) == [StreamOpened(n)]
        if end == "RST":
            session.receive_data(frame(UPDATE, "RST", n))
        else:
            session.reset_stream(n)
    assert session.stream_count == 0


def test_streams_that_are_opened_and_ended_for_ever_leave_nothing():
    session = YamuxSession(Role.SERVER)
    for n in range(5_000):
        stream_id = 2 * n + 1
        session.receive_data(frame(DATA, "SYN FIN", stream_id, payload=b"x"))
        session.accept_stream(stream_id)
        session.send_fin(stream_id)
        session.consume(stream_id, 1)
        assert len(session.data_to_send()) == 24
    assert session.failure is None
    assert session.stream_count == session.buffered == session._table.offered == 0
    assert len(session._table.ids._skipped) == 0
    assert session._guard._late_frames <= MAX_LATE_FRAMES
    assert session._guard._late_bytes <= MAX_LATE_BYTES


def test_a_peer_that_accepts_nothing_and_grants_no_window():
    session = YamuxSession(Role.CLIENT)
    taken = 0
    for _ in range(MAX_STREAMS):
        stream_id = session.open_stream()
        for _ in range(3):
            taken += session.send_data(stream_id, bytes(INITIAL_WINDOW // 2 + 1))
        session.data_to_send()
    with pytest.raises(TooManyStreams):
        session.open_stream()
    assert taken == 256 * INITIAL_WINDOW  # those whose SYN left, and a window for each
    assert not session.has_data_to_send
    assert session.failure is None


def test_data_for_streams_that_are_gone_is_bounded_by_what_they_were_granted():
    session = client()
    session.reset_stream(1)
    session.data_to_send()
    taken = 0
    while session.failure is None:
        taken += 65_536
        session.receive_data(frame(DATA, "", 1, payload=bytes(65_536)))
    assert taken == INITIAL_WINDOW + 65_536
    assert session.buffered == 0


class TestHonestPeers:
    """What the genuine relay does, many times over: never a flood."""

    def test_a_ping_every_30_s_for_a_week_on_an_idle_session(self):
        session = YamuxSession(Role.CLIENT)
        for n in range(7 * 24 * 120):
            session.receive_data(frame(PING, "SYN", 0, n))
            assert session.data_to_send() == frame(PING, "ACK", 0, n)
        assert session.failure is None
        assert session._guard.unexplained == 0

    def test_window_updates_for_data_that_was_sent_long_ago(self):
        """Many streams sent a whole window each; all credit comes at once, and nothing else."""
        session = YamuxSession(Role.CLIENT)
        for _ in range(3000):
            stream_id = session.open_stream()
            session.data_to_send()
            session.receive_data(frame(UPDATE, "ACK", stream_id))
            assert session.send_data(stream_id, bytes(INITIAL_WINDOW)) == INITIAL_WINDOW
            session.data_to_send()
        for n in range(3000):
            for _ in range(8):
                session.receive_data(frame(UPDATE, "", 2 * n + 1, INITIAL_WINDOW // 8))
        assert session.failure is None
        assert session._guard.unexplained == 0

    def test_an_eager_peer_returns_credit_for_every_read(self):
        session = client()
        for _ in range(100):
            assert session.send_data(1, bytes(1500 * 100)) == 1500 * 100
            session.data_to_send()
            for _ in range(100):
                session.receive_data(frame(UPDATE, "", 1, 1500))
        assert session.failure is None
        assert session._guard.unexplained == 0

    def test_everything_is_reset_at_once(self):
        """An operator's stop: the relay's answers to thousands of streams are under way."""
        session = YamuxSession(Role.CLIENT)
        ids = []
        for _ in range(5000):
            ids.append(session.open_stream())
            session.receive_data(frame(UPDATE, "ACK", ids[-1], 16_515_072))
            session.data_to_send()
        for stream_id in ids:
            session.reset_stream(stream_id)
        session.data_to_send()
        for stream_id in ids:
            session.receive_data(
                frame(DATA, "", stream_id, payload=b"answer")
                + frame(UPDATE, "", stream_id, 131_072)
                + frame(UPDATE, "FIN", stream_id)
            )
        assert session.failure is None
        assert session._guard.unexplained == 0
        assert session.stream_count == session.buffered == 0

    def test_fewer_than_the_limit_are_forgiven_when_something_useful_comes(self):
        session = client()
        for _ in range(5):
            for _ in range(MAX_UNEXPLAINED_FRAMES):
                session.receive_data(frame(UPDATE, "", 1, 0))
            assert session.receive_data(frame(DATA, "", 1, payload=b"x")) == [DataReceived(1, b"x")]
        for useful in (
            session.ping,
            session.open_stream,
            lambda: session.send_data(1, b"x"),
        ):
            for _ in range(MAX_UNEXPLAINED_FRAMES):
                session.receive_data(frame(UPDATE, "", 1, 0))
            useful()
        assert session.failure is None

    def test_answers_are_counted_from_one_turn_to_the_next(self):
        pair = Pair()
        for _ in range(5):
            for _ in range(ANSWERS_PER_TURN):
                pair.client.ping()
            pair.server.ping()  # or so many pings would be unexplained
            pair.to_server()
            assert len(pair.server.data_to_send()) == 12 * (ANSWERS_PER_TURN + 1)
