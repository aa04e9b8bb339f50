"""What a yamux session does when both ends are honest."""

import pytest

from portal_gateway.wire.errors import SessionGoneAway, StreamsExhausted, TooManyStreams
from portal_gateway.wire.yamux import (
    DataReceived,
    GoAwayReceived,
    PongReceived,
    Role,
    StreamAccepted,
    StreamEnded,
    StreamOpened,
    StreamReset,
    WindowOpened,
    YamuxSession,
)
from portal_gateway.wire.yamux_frames import (
    INITIAL_WINDOW,
    MAX_DATA_FRAME,
    MAX_STREAM_ID,
    MAX_UNACKNOWLEDGED,
)
from tests.wire.yamux_pair import DATA, GO_AWAY, PING, UPDATE, Pair, frame, frames, joined_data


@pytest.fixture
def pair():
    return Pair()


def server_with(*received, **options):
    """A server session that got these frames, and its events."""
    session = YamuxSession(Role.SERVER, **options)
    return session, [event for data in received for event in session.receive_data(data)]


class TestOpening:
    def test_ids_are_odd_for_the_client_and_even_for_the_server(self, pair):
        assert [pair.client.open_stream() for _ in range(3)] == [1, 3, 5]
        assert [pair.server.open_stream() for _ in range(3)] == [2, 4, 6]

    def test_the_syn_is_a_window_update_and_data_may_follow_before_the_ack(self, pair):
        stream_id = pair.client.open_stream()
        assert pair.client.send_data(stream_id, b"early") == 5
        data = pair.client.data_to_send()
        assert frames(data) == [("update", "SYN", 1, 0), ("data", "", 1, b"early")]
        assert pair.server.receive_data(data) == [StreamOpened(1), DataReceived(1, b"early")]

    @pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
    def test_either_side_opens_and_the_other_acknowledges(self, pair, role):
        one, other = (
            (pair.client, pair.server) if role is Role.CLIENT else (pair.server, pair.client)
        )
        stream_id = one.open_stream()
        assert other.receive_data(one.data_to_send()) == [StreamOpened(stream_id)]
        other.accept_stream(stream_id)
        answer = other.data_to_send()
        assert frames(answer) == [("update", "ACK", stream_id, 0)]
        assert one.receive_data(answer) == [StreamAccepted(stream_id)]
        assert other.send_data(stream_id, b"hello") == 5
        assert one.receive_data(other.data_to_send()) == [DataReceived(stream_id, b"hello")]

    @pytest.mark.parametrize(
        ("syn", "events"),
        [
            (frame(UPDATE, "SYN", 1), [StreamOpened(1)]),
            (frame(UPDATE, "SYN", 1, 1000), [StreamOpened(1)]),
            (frame(DATA, "SYN", 1), [StreamOpened(1)]),
            (frame(DATA, "SYN", 1, payload=b"x"), [StreamOpened(1), DataReceived(1, b"x")]),
            (frame(DATA, "SYN FIN", 1), [StreamOpened(1), StreamEnded(1)]),
            (frame(UPDATE, "SYN FIN", 1), [StreamOpened(1), StreamEnded(1)]),
            (
                frame(DATA, "SYN FIN", 1, payload=b"all"),
                [StreamOpened(1), DataReceived(1, b"all"), StreamEnded(1)],
            ),
        ],
    )
    def test_a_syn_rides_on_any_frame_of_a_stream(self, syn, events):
        session = YamuxSession(Role.SERVER)
        assert session.receive_data(syn) == events
        assert session.failure is None

    def test_credit_in_the_syn_counts(self):
        session, _ = server_with(frame(UPDATE, "SYN", 1, 1000))
        assert session.send_window(1) == 0  # not accepted yet
        session.accept_stream(1)
        assert session.send_window(1) == INITIAL_WINDOW + 1000

    def test_credit_in_the_ack_counts(self, pair):
        stream_id = pair.client.open_stream()
        events = pair.client.receive_data(frame(UPDATE, "ACK", stream_id, 16_515_072))
        assert events == [StreamAccepted(stream_id), WindowOpened(stream_id)]
        assert pair.client.send_window(stream_id) == 16 * 1024 * 1024

    def test_the_ack_of_an_old_relay_brings_no_credit(self, pair):
        stream_id = pair.client.open_stream()
        events = pair.client.receive_data(frame(UPDATE, "ACK", stream_id, 0))
        assert events == [StreamAccepted(stream_id)]
        assert pair.client.send_window(stream_id) == INITIAL_WINDOW

    def test_an_ack_rides_on_data(self, pair):
        stream_id = pair.client.open_stream()
        events = pair.client.receive_data(frame(DATA, "ACK", stream_id, payload=b"hi"))
        assert events == [StreamAccepted(stream_id), DataReceived(stream_id, b"hi")]

    def test_a_fin_in_place_of_the_ack(self, pair):
        stream_id = pair.client.open_stream()
        events = pair.client.receive_data(frame(UPDATE, "FIN", stream_id))
        assert events == [StreamAccepted(stream_id), StreamEnded(stream_id)]

    def test_refusing_resets(self, pair):
        stream_id = pair.client.open_stream()
        pair.to_server()
        pair.server.refuse_stream(stream_id)
        assert pair.to_client() == [StreamReset(stream_id)]
        assert pair.client.stream_count == pair.server.stream_count == 0

    def test_syns_that_overtook_each_other(self):
        session, events = server_with(frame(UPDATE, "SYN", 5), frame(UPDATE, "SYN", 1))
        assert events == [StreamOpened(5), StreamOpened(1)]
        assert session.receive_data(frame(UPDATE, "SYN", 3)) == [StreamOpened(3)]
        assert session.failure is None

    def test_the_last_id_can_be_opened_and_none_after_it(self, pair):
        pair.client._table.ids._next = MAX_STREAM_ID
        assert pair.client.open_stream() == MAX_STREAM_ID
        assert pair.server.receive_data(pair.client.data_to_send()) == [StreamOpened(MAX_STREAM_ID)]
        with pytest.raises(StreamsExhausted):
            pair.client.open_stream()
        pair.server._table.ids._next = MAX_STREAM_ID - 1
        assert pair.server.open_stream() == MAX_STREAM_ID - 1
        with pytest.raises(StreamsExhausted):
            pair.server.open_stream()
        assert pair.client.failure is None

    def test_too_many_streams(self):
        session = YamuxSession(Role.CLIENT, max_streams=2)
        session.open_stream()
        second = session.open_stream()
        with pytest.raises(TooManyStreams):
            session.open_stream()
        session.reset_stream(second)
        assert session.open_stream() == 5

    def test_the_peers_streams_beyond_the_maximum_are_refused(self):
        session, events = server_with(*(frame(UPDATE, "SYN", n) for n in (1, 3, 5)), max_streams=2)
        assert events == [StreamOpened(1), StreamOpened(3)]
        assert frames(session.data_to_send()) == [("update", "RST", 5, 0)]


class TestUnacknowledged:
    """The genuine peer resets what exceeds its backlog, so SYNs wait."""

    def test_syns_beyond_the_backlog_wait_for_acknowledgements(self, pair):
        ids = [pair.client.open_stream() for _ in range(MAX_UNACKNOWLEDGED + 2)]
        last, very_last = ids[-2:]
        assert len(frames(pair.client.data_to_send())) == MAX_UNACKNOWLEDGED
        assert pair.client.send_window(last) == 0
        assert pair.client.send_data(last, b"not yet") == 0
        events = pair.client.receive_data(frame(UPDATE, "ACK", ids[0]))
        assert events == [StreamAccepted(ids[0]), WindowOpened(last)]
        assert frames(pair.client.data_to_send()) == [("update", "SYN", last, 0)]
        assert pair.client.send_data(last, b"now") == 3
        events = pair.client.receive_data(frame(UPDATE, "RST", ids[1]))
        assert events == [StreamReset(ids[1]), WindowOpened(very_last)]

    def test_a_stream_that_was_reset_while_it_waited_leaves_no_trace(self, pair):
        ids = [pair.client.open_stream() for _ in range(MAX_UNACKNOWLEDGED + 2)]
        pair.client.data_to_send()
        pair.client.reset_stream(ids[-2])
        assert not pair.client.has_data_to_send
        pair.client.receive_data(frame(UPDATE, "ACK", ids[0]))
        assert frames(pair.client.data_to_send()) == [("update", "SYN", ids[-1], 0)]

    def test_a_stream_that_was_ended_while_it_waited_sends_both(self, pair):
        ids = [pair.client.open_stream() for _ in range(MAX_UNACKNOWLEDGED + 1)]
        pair.client.data_to_send()
        pair.client.send_fin(ids[-1])
        events = pair.client.receive_data(frame(UPDATE, "ACK", ids[0]))
        assert events == [StreamAccepted(ids[0])]  # nothing can be sent, so no window to tell of
        assert frames(pair.client.data_to_send()) == [
            ("update", "SYN", ids[-1], 0),
            ("update", "FIN", ids[-1], 0),
        ]

    def test_our_own_reset_lets_the_next_go_and_its_ack_tells(self, pair):
        ids = [pair.client.open_stream() for _ in range(MAX_UNACKNOWLEDGED + 1)]
        pair.client.data_to_send()
        pair.client.reset_stream(ids[0])
        assert ("update", "SYN", ids[-1], 0) in frames(pair.client.data_to_send())
        events = pair.client.receive_data(frame(UPDATE, "ACK", ids[-1]))
        assert events == [StreamAccepted(ids[-1]), WindowOpened(ids[-1])]

    def test_a_thousand_at_once_are_all_accepted_by_our_own_server(self, pair):
        ids = [pair.client.open_stream() for _ in range(1000)]
        opened = []
        while pair.client.has_data_to_send:
            for event in pair.to_server():
                pair.server.accept_stream(event.stream_id)
                opened.append(event.stream_id)
            pair.to_client()
        assert opened == ids
        assert pair.server.stream_count == pair.client.stream_count == 1000


class TestData:
    def test_frames_are_bounded_and_nothing_is_lost(self, pair):
        stream_id = pair.open()
        body = bytes(range(256)) * 1024
        assert pair.client.send_data(stream_id, body) == INITIAL_WINDOW
        data = pair.client.data_to_send()
        assert [len(payload) for _, _, _, payload in frames(data)] == [MAX_DATA_FRAME] * 4
        assert joined_data(pair.server.receive_data(data), stream_id) == body

    def test_only_what_the_window_allows_is_taken(self, pair):
        stream_id = pair.open()
        body = b"x" * (INITIAL_WINDOW + 1)
        assert pair.client.send_data(stream_id, body) == INITIAL_WINDOW
        assert pair.client.send_data(stream_id, b"y") == 0
        assert pair.client.send_window(stream_id) == 0
        assert pair.to_server()
        pair.server.consume(stream_id, INITIAL_WINDOW // 2)
        assert pair.to_client() == [WindowOpened(stream_id)]
        assert pair.client.send_window(stream_id) == INITIAL_WINDOW // 2

    @pytest.mark.parametrize("left", [1, 10, 65_536, 65_537, 200_001])
    def test_the_rest_of_a_window_is_used_to_the_byte(self, pair, left):
        stream_id = pair.open()
        body = bytes(range(251)) * 2000
        first = INITIAL_WINDOW - left
        assert pair.client.send_data(stream_id, body[:first]) == first
        assert pair.client.send_data(stream_id, body[first:]) == left
        assert joined_data(pair.to_server(), stream_id) == body[:INITIAL_WINDOW]

    @pytest.mark.parametrize("data", [b"", memoryview(b"")])
    def test_nothing_is_sent_for_no_data(self, pair, data):
        stream_id = pair.open()
        assert pair.client.send_data(stream_id, data) == 0
        assert not pair.client.has_data_to_send

    def test_memoryviews_are_taken(self, pair):
        stream_id = pair.open()
        view = memoryview(b"abcdef" * 20_000)
        assert pair.client.send_data(stream_id, view[6:]) == 119_994
        assert joined_data(pair.to_server(), stream_id) == bytes(view[6:])

    def test_payload_is_passed_on_as_it_arrives(self, pair):
        stream_id = pair.open()
        whole = frame(DATA, "FIN", stream_id, payload=b"abcdef")
        seen = [pair.server.receive_data(part) for part in (whole[:12], whole[12:14], whole[14:])]
        assert seen == [
            [],
            [DataReceived(stream_id, b"ab")],
            [DataReceived(stream_id, b"cdef"), StreamEnded(stream_id)],
        ]

    def test_a_payload_message_of_its_own_is_not_copied(self, pair):
        stream_id = pair.open()
        payload = b"p" * 1000
        assert pair.server.receive_data(frame(DATA, 0, stream_id, len(payload))) == []
        [event] = pair.server.receive_data(payload)
        assert event.data is payload

    def test_control_frames_leave_ahead_of_bulk(self, pair):
        first, second = pair.open(), pair.open()
        pair.server.send_data(first, b"x" * INITIAL_WINDOW)
        pair.to_client()
        pair.client.send_data(second, b"bulk")
        pair.client.send_fin(second)
        pair.client.consume(first, INITIAL_WINDOW)
        pair.client.ping()
        assert frames(pair.client.data_to_send()) == [
            ("update", "", first, 2 * INITIAL_WINDOW),
            ("ping", "SYN", 0, 0),
            ("data", "", second, b"bulk"),
            ("update", "FIN", second, 0),
        ]


class TestEnding:
    def test_half_close_both_ways(self, pair):
        stream_id = pair.open()
        pair.client.send_data(stream_id, b"question")
        pair.client.send_fin(stream_id)
        assert pair.to_server() == [DataReceived(stream_id, b"question"), StreamEnded(stream_id)]
        pair.server.consume(stream_id, 8)
        pair.server.send_data(stream_id, b"answer")
        assert pair.to_client() == [DataReceived(stream_id, b"answer")]
        pair.server.send_fin(stream_id)
        assert pair.server.stream_count == 0
        assert pair.to_client() == [StreamEnded(stream_id)]
        pair.client.consume(stream_id, 6)
        assert pair.client.stream_count == 0
        assert pair.client.buffered == pair.server.buffered == 0

    def test_credit_still_flows_on_a_half_closed_stream(self, pair):
        stream_id = pair.open()
        pair.client.send_fin(stream_id)
        assert pair.to_server() == [StreamEnded(stream_id)]
        sent = received = 0
        while sent < 4 * 1024 * 1024:
            taken = pair.server.send_data(stream_id, b"z" * INITIAL_WINDOW)
            assert taken  # credit came back for what was consumed
            sent += taken
            received += len(joined_data(pair.to_client(), stream_id))
            pair.client.consume(stream_id, taken)
            pair.to_server()
        assert received == sent

    def test_both_fins_at_once(self, pair):
        stream_id = pair.open()
        pair.client.send_fin(stream_id)
        pair.server.send_fin(stream_id)
        assert pair.pump() == ([StreamEnded(stream_id)], [StreamEnded(stream_id)])
        assert pair.client.stream_count == pair.server.stream_count == 0

    def test_no_credit_is_given_to_who_cannot_use_it(self, pair):
        stream_id = pair.open()
        pair.client.send_data(stream_id, b"x" * INITIAL_WINDOW)
        pair.client.send_fin(stream_id)
        pair.to_server()
        pair.server.consume(stream_id, INITIAL_WINDOW)
        assert not pair.server.has_data_to_send

    def test_reset(self, pair):
        stream_id = pair.open()
        pair.client.send_data(stream_id, b"unread")
        pair.to_server()
        pair.client.reset_stream(stream_id)
        assert pair.client.stream_count == 0
        assert pair.to_server() == [StreamReset(stream_id)]
        assert pair.server.stream_count == pair.server.buffered == 0

    def test_what_was_taken_leaves_ahead_of_the_reset(self, pair):
        stream_id = pair.open()
        pair.client.send_data(stream_id, b"last words")
        pair.client.reset_stream(stream_id)
        assert pair.to_server() == [
            DataReceived(stream_id, b"last words"),
            StreamReset(stream_id),
        ]

    @pytest.mark.parametrize("we_ended", [False, True])
    @pytest.mark.parametrize("it_ended", [False, True])
    @pytest.mark.parametrize("who", ["peer", "we"])
    def test_reset_of_a_half_closed_stream(self, pair, we_ended, it_ended, who):
        stream_id = pair.open()
        if we_ended and it_ended:
            pair.server.send_data(stream_id, b"unread")  # keeps it in our table
        if it_ended:
            pair.server.send_fin(stream_id)
        if we_ended:
            pair.client.send_fin(stream_id)
        pair.pump()
        if who == "peer":
            pair.client.receive_data(frame(UPDATE, "RST", stream_id))
        pair.client.reset_stream(stream_id)
        assert pair.client.failure is None
        assert pair.client.stream_count == pair.client.buffered == 0
        told = frames(pair.client.data_to_send())
        ended = who == "peer" or (we_ended and it_ended)
        assert told == ([] if ended else [("update", "RST", stream_id, 0)])

    def test_a_fin_on_data_is_of_that_frame_only(self, pair):
        first, second = pair.open(), pair.open()
        events = pair.client.receive_data(frame(DATA, "FIN", first, payload=b"end"))
        assert events == [DataReceived(first, b"end"), StreamEnded(first)]
        cut = frame(DATA, "", second, payload=b"goes on")
        pair.client.receive_data(cut[:15])
        assert pair.client.receive_data(cut[15:]) == [DataReceived(second, b"s on")]

    def test_data_under_way_to_a_stream_that_was_reset_is_discarded(self, pair):
        stream_id = pair.open()
        other = pair.open()
        pair.server.send_data(stream_id, b"x" * INITIAL_WINDOW)
        pair.server.send_fin(stream_id)
        pair.server.send_data(other, b"for another")
        data = pair.server.data_to_send()
        assert pair.client.receive_data(data[:20]) == [DataReceived(stream_id, b"x" * 8)]
        pair.client.reset_stream(stream_id)  # in the middle of a frame
        assert pair.client.receive_data(data[20:]) == [DataReceived(other, b"for another")]
        assert pair.client.failure is None
        assert pair.client.buffered == len("for another")

    def test_data_with_rst_is_discarded(self, pair):
        stream_id = pair.open()
        events = pair.client.receive_data(frame(DATA, "RST", stream_id, payload=b"gone"))
        assert events == [StreamReset(stream_id)]
        assert pair.client.buffered == pair.client.stream_count == 0

    def test_data_after_fin_resets_that_stream_only(self, pair):
        # In hashicorp/yamux, Close does not wait for a Write of another goroutine.
        stream_id, other = pair.open(), pair.open()
        events = pair.client.receive_data(
            frame(UPDATE, "FIN", stream_id)
            + frame(DATA, "", stream_id, payload=b"late")
            + frame(DATA, "", other, payload=b"fine")
        )
        assert events == [
            StreamEnded(stream_id),
            StreamReset(stream_id),
            DataReceived(other, b"fine"),
        ]
        assert frames(pair.client.data_to_send()) == [("update", "RST", stream_id, 0)]
        assert pair.client.failure is None
        assert pair.client.buffered == 4

    def test_a_closed_stream_stays_until_what_it_holds_is_consumed(self, pair):
        stream_id = pair.open()
        pair.server.send_data(stream_id, b"twelve bytes")
        pair.server.send_fin(stream_id)
        pair.client.send_fin(stream_id)
        pair.pump()
        assert (pair.client.stream_count, pair.client.buffered) == (1, 12)
        pair.client.consume(stream_id, 5)
        assert (pair.client.stream_count, pair.client.buffered) == (1, 7)
        pair.client.consume(stream_id, 7)
        assert (pair.client.stream_count, pair.client.buffered) == (0, 0)
        assert not pair.client.has_data_to_send

    def test_a_closed_stream_may_be_dropped_with_what_it_holds(self, pair):
        stream_id = pair.open()
        pair.server.send_data(stream_id, b"unread")
        pair.server.send_fin(stream_id)
        pair.client.send_fin(stream_id)
        pair.pump()
        pair.client.reset_stream(stream_id)
        assert (pair.client.stream_count, pair.client.buffered) == (0, 0)
        assert not pair.client.has_data_to_send  # the peer is through with it


class TestCallers:
    """Events are read after the session moved on, so a stream may be gone."""

    def test_calls_for_a_stream_that_is_gone_do_nothing(self, pair):
        stream_id = pair.open()
        pair.server.send_data(stream_id, b"unread")
        pair.server.reset_stream(stream_id)
        pair.to_client()
        client = pair.client
        assert client.send_data(stream_id, b"x") == 0
        assert client.send_window(stream_id) == 0
        client.send_fin(stream_id)
        client.reset_stream(stream_id)
        client.consume(stream_id, 6)
        assert not client.has_data_to_send

    def test_accepting_or_refusing_a_stream_that_is_gone_does_nothing(self):
        session, _ = server_with(frame(UPDATE, "SYN", 1) + frame(UPDATE, "RST", 1))
        session.accept_stream(1)
        session.refuse_stream(1)
        assert not session.has_data_to_send

    @pytest.mark.parametrize("stream_id", [-1, 0, 1, 2, 7, 2**32])
    @pytest.mark.parametrize(
        "call",
        [
            lambda session, n: session.send_data(n, b"x"),
            lambda session, n: session.send_window(n),
            lambda session, n: session.send_fin(n),
            lambda session, n: session.reset_stream(n),
            lambda session, n: session.consume(n, 1),
            lambda session, n: session.accept_stream(n),
            lambda session, n: session.refuse_stream(n),
        ],
    )
    def test_an_id_that_was_never_used(self, call, stream_id):
        with pytest.raises(ValueError, match="never opened"):
            call(YamuxSession(Role.CLIENT), stream_id)

    def test_sending_after_fin(self, pair):
        stream_id = pair.open()
        pair.client.send_fin(stream_id)
        assert pair.client.send_window(stream_id) == 0
        with pytest.raises(ValueError, match="not open for sending"):
            pair.client.send_data(stream_id, b"x")
        with pytest.raises(ValueError, match="not open for sending"):
            pair.client.send_fin(stream_id)

    def test_sending_after_fin_while_the_syn_waits(self, pair):
        last = [pair.client.open_stream() for _ in range(MAX_UNACKNOWLEDGED + 1)][-1]
        pair.client.send_fin(last)
        with pytest.raises(ValueError, match="not open for sending"):
            pair.client.send_data(last, b"x")

    def test_sending_before_accepting(self):
        session, _ = server_with(frame(UPDATE, "SYN", 1))
        with pytest.raises(ValueError, match="not open for sending"):
            session.send_data(1, b"x")
        with pytest.raises(ValueError, match="not open for sending"):
            session.send_fin(1)

    def test_accepting_twice_or_ones_own(self, pair):
        stream_id = pair.open()
        for session in (pair.server, pair.client):
            with pytest.raises(ValueError, match="does not wait"):
                session.accept_stream(stream_id)
            with pytest.raises(ValueError, match="does not wait"):
                session.refuse_stream(stream_id)

    @pytest.mark.parametrize("count", [-1, 4])
    def test_consuming_what_was_not_received(self, pair, count):
        stream_id = pair.open()
        pair.server.send_data(stream_id, b"abc")
        pair.to_client()
        with pytest.raises(ValueError, match="of 3 that were received"):
            pair.client.consume(stream_id, count)
        assert pair.client.buffered == 3

    def test_a_window_the_protocol_does_not_have(self):
        for window in (INITIAL_WINDOW - 1, 2**32):
            with pytest.raises(ValueError, match="receive window"):
                YamuxSession(Role.CLIENT, receive_window=window)


class TestSession:
    def test_ping_and_pong(self, pair):
        values = [pair.client.ping() for _ in range(3)]
        assert pair.to_server() == []
        assert pair.to_client() == [PongReceived(value) for value in values]

    def test_a_pong_has_the_value_of_its_ping(self):
        session, _ = server_with(frame(PING, "SYN", 0, 0xFFFF_FFFF))
        assert frames(session.data_to_send()) == [("ping", "ACK", 0, 0xFFFF_FFFF)]

    def test_ping_values_wrap(self, pair):
        pair.client._next_ping = 0xFFFF_FFFF
        assert [pair.client.ping(), pair.client.ping()] == [0xFFFF_FFFF, 0]

    def test_a_pong_counts_once(self, pair):
        value = pair.client.ping()
        pong = frame(PING, "ACK", 0, value)
        assert pair.client.receive_data(pong + pong) == [PongReceived(value)]

    def test_pings_that_are_never_answered_are_forgotten(self, pair):
        values = [pair.client.ping() for _ in range(1000)]
        assert len(pair.client._receiver.pings) == 16
        assert pair.client.receive_data(frame(PING, "ACK", 0, values[0])) == []
        assert pair.client.receive_data(frame(PING, "ACK", 0, values[-1])) == [
            PongReceived(values[-1])
        ]

    def test_after_the_peers_go_away_streams_go_on_but_none_is_opened(self, pair):
        stream_id = pair.open()
        assert pair.client.receive_data(frame(GO_AWAY, 0, 0, 0)) == [GoAwayReceived(0)]
        with pytest.raises(SessionGoneAway):
            pair.client.open_stream()
        assert pair.client.failure is None
        assert pair.client.send_data(stream_id, b"goes on") == 7
        assert pair.to_server() == [DataReceived(stream_id, b"goes on")]

    def test_after_our_go_away_the_peers_streams_are_refused(self, pair):
        pair.server.go_away()
        stream_id = pair.client.open_stream()
        assert pair.to_server() == []
        answer = pair.server.data_to_send()
        assert frames(answer) == [("go away", "", 0, 0), ("update", "RST", stream_id, 0)]
        assert pair.client.receive_data(answer) == [GoAwayReceived(0), StreamReset(stream_id)]
        assert pair.server.open_stream() == 2

    @pytest.mark.parametrize("code", [1, 2, 3, 0xFFFF_FFFF])
    def test_a_go_away_with_an_error_ends_the_session(self, pair, code):
        pair.open()
        events = pair.client.receive_data(frame(GO_AWAY, 0, 0, code) + frame(PING, "SYN", 0))
        assert events == [GoAwayReceived(code)]
        assert isinstance(pair.client.failure, SessionGoneAway)
        assert str(code) in str(pair.client.failure)
        assert not pair.client.has_data_to_send  # the peer gave up: there is nobody to tell
        assert pair.client.stream_count == 0

    def test_nothing_happens_after_a_failure(self, pair):
        stream_id = pair.open()
        other = pair.client.open_stream()
        pair.client.send_data(stream_id, b"will not leave")
        pair.server.send_data(stream_id, b"before")
        events = pair.client.receive_data(
            pair.server.data_to_send() + b"\x01" + frame(PING, "SYN", 0)
        )
        assert events == [DataReceived(stream_id, b"before")]
        failure = pair.client.failure
        assert frames(pair.client.data_to_send()) == [("go away", "", 0, 1)]
        assert pair.client.receive_data(frame(PING, "SYN", 0)) == []
        assert pair.client.failure is failure
        pair.client.consume(stream_id, 6)
        pair.client.send_fin(stream_id)
        pair.client.reset_stream(other)
        assert pair.client.send_data(stream_id, b"x") == pair.client.send_window(stream_id) == 0
        with pytest.raises(SessionGoneAway):
            pair.client.open_stream()
        assert pair.client.data_to_send() == b""

    def test_repr_tells_numbers_only(self, pair):
        pair.open()
        assert repr(pair.client) == "<YamuxSession CLIENT streams=1 buffered=0 failure=None>"
        pair.client.receive_data(b"\x01" * 12)
        assert "failure=UnsupportedYamuxVersion" in repr(pair.client)
