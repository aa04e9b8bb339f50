"""yamux by chance: bytes of any kind, cut anywhere, and two sessions against a simple model."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from portal_gateway.wire.errors import YamuxError
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
from portal_gateway.wire.yamux_frames import ANSWERS_PER_TURN, BACKLOG, INITIAL_WINDOW
from portal_gateway.wire.yamux_stream import State
from tests.wire.yamux_pair import frame, merged

IDS = st.one_of(st.integers(0, 9), st.sampled_from([255, 2**31, 2**32 - 2, 2**32 - 1]))
LENGTHS = st.one_of(
    st.sampled_from([0, 1, 2, 100, INITIAL_WINDOW, INITIAL_WINDOW + 1, 2**32 - INITIAL_WINDOW]),
    st.integers(0, 2**32 - 1),
)

any_frame = st.builds(
    frame,
    kind=st.one_of(st.integers(0, 3), st.integers(0, 255)),
    flags=st.one_of(st.integers(0, 15), st.integers(0, 0xFFFF)),
    stream_id=IDS,
    length=LENGTHS,
    version=st.sampled_from([0] * 30 + [1]),
)
# Frames that mostly make sense, so that a session lives long enough to see many.
likely_frame = st.one_of(
    st.builds(
        frame,
        kind=st.just(0),
        flags=st.sampled_from(["", "", "", "SYN", "ACK", "FIN", "SYN FIN", "RST"]),
        stream_id=st.integers(1, 8),
        payload=st.binary(max_size=40),
    ),
    st.builds(
        frame,
        kind=st.just(1),
        flags=st.sampled_from(["", "", "SYN", "ACK", "FIN", "ACK FIN", "RST"]),
        stream_id=st.integers(1, 8),
        length=st.integers(0, 3),
    ),
    st.builds(
        frame,
        kind=st.just(2),
        flags=st.sampled_from(["SYN", "ACK"]),
        stream_id=st.just(0),
        length=st.integers(0, 3),
    ),
    st.just(frame(3, "", 0, 0)),
)


def session_in_use(role):
    """A session that opened three streams, ended one and reset one."""
    session = YamuxSession(role, backlog=3)
    first, second, third = (session.open_stream() for _ in range(3))
    session.send_data(first, b"hello")
    session.send_fin(second)
    session.reset_stream(third)
    session.ping()
    session.data_to_send()
    return session


def feed(role, parts):
    session = session_in_use(role)
    events = []
    for part in parts:
        events += session.receive_data(part)
        assert session.failure is None or isinstance(session.failure, YamuxError)
        assert session.stream_count <= BACKLOG + 3
        assert session.buffered <= (BACKLOG + 3) * INITIAL_WINDOW
        assert len(session._receiver._header) < 12
    sent = session.data_to_send()
    assert len(sent) <= 12 * (ANSWERS_PER_TURN + 1)
    failure = session.failure
    return merged(events), sent, type(failure), str(failure), repr(session)


def cut(data, places):
    places = sorted(place % (len(data) + 1) for place in places)
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


roles = st.sampled_from(list(Role))


@given(roles, st.lists(st.binary(max_size=60), max_size=8))
@settings(max_examples=80, deadline=None)
def test_any_bytes_are_events_or_a_named_failure(role, parts):
    feed(role, parts)


@given(roles, st.lists(st.one_of(any_frame, likely_frame), max_size=20), st.binary(max_size=11))
@settings(max_examples=80, deadline=None)
def test_any_frames_are_events_or_a_named_failure(role, parts, rest):
    feed(role, [*parts, rest])


@given(
    roles,
    st.lists(st.one_of(likely_frame, likely_frame, likely_frame, any_frame), max_size=12),
    st.lists(st.integers(0, 2**16), max_size=6),
)
@settings(max_examples=80, deadline=None)
def test_where_the_bytes_are_cut_makes_no_difference(role, parts, places):
    data = b"".join(parts)
    whole = feed(role, [data])
    assert feed(role, cut(data, places)) == whole
    assert feed(role, [data[n : n + 1] for n in range(len(data))]) == whole


PATTERN = bytes(n * 7 % 251 for n in range(251)) * 3000
MAX_WINDOW = 1024 * 1024


class Half:
    """What one side did to a stream, and what the other side saw of it."""

    def __init__(self):
        self.sent = self.received = self.consumed = 0
        self.fin_sent = self.fin_seen = False


class Stream:
    """The model of a stream: a half for each direction, by the sender."""

    def __init__(self):
        self.halves = (Half(), Half())
        self.known = [False, False]  # by side: opened there, or StreamOpened was seen
        self.offered = False  # the other side learnt of it, and did not accept yet
        self.usable = [False, False]  # by side: it may send
        self.gone = [False, False]  # by side: reset there, or told of a reset


class Sessions(RuleBasedStateMachine):
    """A client (side 0) and a server (side 1) do random things; wires deliver when they like."""

    def __init__(self):
        super().__init__()
        options = {"receive_window": MAX_WINDOW, "backlog": 4}
        self.sides = (
            YamuxSession(Role.CLIENT, **options),
            YamuxSession(Role.SERVER, **options),
        )
        self.wires = (bytearray(), bytearray())  # from side 0, from side 1
        self.streams = {}

    def pick(self, choice, side, usable=False):
        ids = [
            stream_id
            for stream_id, stream in self.streams.items()
            if stream.known[side] and not stream.gone[side] and (stream.usable[side] or not usable)
        ]
        return ids[choice % len(ids)] if ids else None

    # Actions.

    @rule(side=st.integers(0, 1))
    def open(self, side):
        stream_id = self.sides[side].open_stream()
        assert stream_id not in self.streams
        stream = self.streams[stream_id] = Stream()
        stream.usable[side] = stream.known[side] = True

    @rule(side=st.integers(0, 1), choice=st.integers(0, 99), accept=st.booleans())
    def answer(self, side, choice, accept):
        offered = [
            stream_id
            for stream_id, stream in self.streams.items()
            if stream.offered and stream_id % 2 == side and not stream.gone[side]
        ]
        if not offered:
            return
        stream_id = offered[choice % len(offered)]
        stream = self.streams[stream_id]
        stream.offered = False
        if accept:
            self.sides[side].accept_stream(stream_id)
            stream.usable[side] = True
        else:
            self.sides[side].refuse_stream(stream_id)
            stream.gone[side] = True

    @rule(
        side=st.integers(0, 1),
        choice=st.integers(0, 99),
        size=st.one_of(st.integers(0, 300), st.sampled_from([65_536, 100_000, 300_000, 600_000])),
    )
    def send(self, side, choice, size):
        stream_id = self.pick(choice, side, usable=True)
        if stream_id is None or self.streams[stream_id].halves[side].fin_sent:
            return
        half = self.streams[stream_id].halves[side]
        window = self.sides[side].send_window(stream_id)
        start = half.sent % 251
        taken = self.sides[side].send_data(stream_id, PATTERN[start : start + size])
        assert taken == min(window, size)
        half.sent += taken

    @rule(side=st.integers(0, 1), choice=st.integers(0, 99))
    def end(self, side, choice):
        stream_id = self.pick(choice, side, usable=True)
        if stream_id is not None and not self.streams[stream_id].halves[side].fin_sent:
            self.sides[side].send_fin(stream_id)
            self.streams[stream_id].halves[side].fin_sent = True

    @rule(side=st.integers(0, 1), choice=st.integers(0, 99))
    def reset(self, side, choice):
        stream_id = self.pick(choice, side)
        if stream_id is not None:
            self.sides[side].reset_stream(stream_id)
            self.streams[stream_id].gone[side] = True

    @rule(side=st.integers(0, 1), choice=st.integers(0, 99), part=st.sampled_from([1, 1, 1, 2, 9]))
    def consume(self, side, choice, part):
        stream_id = self.pick(choice, side)
        if stream_id is not None:
            half = self.streams[stream_id].halves[1 - side]
            count = -(-(half.received - half.consumed) // part)
            self.sides[side].consume(stream_id, count)
            half.consumed += count

    @rule(side=st.integers(0, 1))
    def ping(self, side):
        self.sides[side].ping()

    # The wires.

    @rule(
        side=st.integers(0, 1),
        size=st.one_of(st.integers(1, 40), st.sampled_from([12, 24, 70_000, 10**9, 10**9])),
    )
    def deliver(self, side, size):
        wire = self.wires[side]
        wire += self.sides[side].data_to_send()
        data = bytes(wire[:size])
        del wire[:size]
        receiver = self.sides[1 - side]
        for event in receiver.receive_data(data):
            self.seen(1 - side, event)

    def seen(self, side, event):
        if not hasattr(event, "stream_id"):
            return
        stream = self.streams[event.stream_id]
        assert not stream.gone[side]
        half = stream.halves[1 - side]
        match event:
            case StreamOpened():
                assert event.stream_id % 2 == side
                stream.offered = stream.known[side] = True
            case DataReceived(data=data):
                assert not half.fin_seen
                start = half.received % 251
                assert data
                assert data == PATTERN[start : start + len(data)]
                half.received += len(data)
                assert half.received <= half.sent
            case StreamEnded():
                assert half.fin_sent
                assert not half.fin_seen
                assert half.received == half.sent
                half.fin_seen = True
            case StreamReset():
                stream.gone[side] = True
            case StreamAccepted():
                assert event.stream_id % 2 != side
            case WindowOpened():
                assert not stream.halves[side].fin_sent

    # What always holds.

    @invariant()
    def nobody_failed(self):
        assert self.sides[0].failure is None
        assert self.sides[1].failure is None

    @invariant()
    def windows_are_never_exceeded(self):
        for stream in self.streams.values():
            for half in stream.halves:
                assert 0 <= half.consumed <= half.received <= half.sent
                assert half.sent - half.consumed <= MAX_WINDOW

    @invariant()
    def memory_is_what_was_not_consumed(self):
        for side, session in enumerate(self.sides):
            unconsumed = sum(
                stream.halves[1 - side].received - stream.halves[1 - side].consumed
                for stream in self.streams.values()
                if not stream.gone[side]
            )
            announced = session._receiver._left if session._receiver._current is not None else 0
            assert unconsumed <= session.buffered <= unconsumed + announced
            assert session.buffered == sum(s.buffered for s in session._streams.values())
            assert session._credit.extra == sum(s.extra for s in session._streams.values())
            assert session._table.offered <= 4

    @precondition(lambda self: not any(self.wires))
    @invariant()
    def both_sides_agree_on_credit_when_the_wires_are_silent(self):
        one, other = self.sides
        if one.has_data_to_send or other.has_data_to_send:
            return
        for stream_id in self.streams:
            ours, theirs = one._streams.get(stream_id), other._streams.get(stream_id)
            for sender, receiver in ((ours, theirs), (theirs, ours)):
                if sender is not None and receiver is not None and receiver.receivable:
                    assert sender.send_window == receiver.credit

    def teardown(self):
        """At last everything is delivered, read and ended: all arrived, and nothing is left."""
        self.nobody_failed()
        quiet = 0
        for _ in range(200):
            for side in (0, 1):
                self.deliver(side, 10**9)
                for choice in range(len(self.streams)):
                    self.answer(side, 0, accept=True)
                    self.consume(side, choice, 1)
                    self.end(side, choice)
            # What one side sent in its turn, the other answers in the next round.
            quiet = 0 if any(session.has_data_to_send for session in self.sides) else quiet + 1
            if quiet == 2:
                break
        self.nobody_failed()
        for stream in self.streams.values():
            if not any(stream.gone):
                for half in stream.halves:
                    assert half.consumed == half.received == half.sent
                    assert half.fin_sent
                    assert half.fin_seen
        for session in self.sides:
            assert session.buffered == session._credit.extra == 0
            assert all(stream.state is not State.CLOSED for stream in session._streams.values())
            assert session.stream_count == 0


Sessions.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestSessions = Sessions.TestCase
