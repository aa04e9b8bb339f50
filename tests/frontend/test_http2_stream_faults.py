"""The fault of one stream resets that stream; what its neighbours get is whole."""

import pytest
from h2.connection import AllowedStreamIDs
from h2.errors import ErrorCodes
from h2.stream import StreamInputs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher

from portal_gateway.errors import fault
from portal_gateway.frontend.http2_protocol import CONNECTION_WINDOW, STREAM_WINDOW
from portal_gateway.wire.http1_writing import UnsafeField
from tests.frontend.http2_world import GET, HTTP2, POST, frame
from tests.frontend.serving import Noting, Producer, Reader

LENGTH = b"content-length"

DATA, HEADERS, PRIORITY, RST_STREAM, WINDOW_UPDATE = 0, 1, 2, 3, 8
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 1, 4, 8, 32


@pytest.fixture(autouse=True)
def tracebacks():
    """What was logged with a traceback; nothing must be, unless the test takes it away."""
    events = []

    def observe(event):
        if "log_failure" in event:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)
    assert events == []


def opened(h2, stream):
    """Tell the client's library that ``stream`` is open: what is sent on it is written by hand."""
    if stream not in h2.streams:
        machine = h2._begin_new_stream(stream, AllowedStreamIDs.ODD).state_machine
        machine.process_input(StreamInputs.SEND_HEADERS)


class Reading(Noting):
    """Reads each body; a request without a reader is the innocent one."""

    def __init__(self):
        super().__init__(self._read)
        self.readers = []
        self.gone = []

    def _read(self, request):
        reader = Reader()
        self.readers.append(reader)
        request.on_disconnect(lambda: self.gone.append(request))
        request.read_body(reader)


class World(HTTP2):
    """A connection with one stream that does nothing wrong, and is answered at the end."""

    def __init__(self, **limits):
        self.noting = Reading()
        super().__init__(self.noting, **limits)
        self.innocent = self.ask()

    def headers(self, fields, flags=END_HEADERS, *, stream=3, before=b""):
        opened(self.h2, stream)
        return frame(HEADERS, before + self.h2.encoder.encode(fields), flags, stream)

    def opens(self, fields, flags=END_HEADERS, **more):
        self.raw(self.headers(fields, flags, **more))

    def shows_a_stream_error(self, code=ErrorCodes.PROTOCOL_ERROR, *, stream=3, begun=True):
        """The stream was reset and its request ended; the others go on, the decoder too."""
        assert self.answers[stream].reset == code
        assert self.goaway is None
        if begun:
            assert self.noting.gone == [self.noting.requests[1]]
            assert self.exchanges[0].aborted
        # Fields that are in the table of the decoder, if it is still in step.
        fields = [(b"x-later", b"%d" % (stream % 2)), (b"x-after", b"yes")]
        self.raw(self.headers([*GET, *fields], END_HEADERS | END_STREAM, stream=stream + 20))
        last = self.noting.requests[-1]
        assert last.head.headers[1:] == fields
        self.noting.requests[0].answer(b"whole")
        last.answer(b"later")
        self.turn()
        assert self.answers[self.innocent].body == b"whole"
        assert self.answers[stream + 20].body == b"later"
        assert self.channel.requests() == []
        self.finish()


TRAILERS = [(b"x-sum", b"1"), (b"x-after", b"yes")]

BODIES = {
    "too short": (b"10", [frame(DATA, b"hello", END_STREAM, 3)]),
    "too short by an empty frame": (b"10", [frame(DATA, b"hello", 0, 3), frame(DATA, b"", 1, 3)]),
    "too long": (b"3", [frame(DATA, b"hello", END_STREAM, 3)]),
    "too long without an end": (b"3", [frame(DATA, b"hello", 0, 3)]),
    "too long by the second": (b"5", [frame(DATA, b"hello", 0, 3), frame(DATA, b"!", 0, 3)]),
    "none where there is one": (b"0", [frame(DATA, b"hello", END_STREAM, 3)]),
    "one where there is none": (b"5", [frame(DATA, b"", END_STREAM, 3)]),
    "trailers that end it too early": (b"10", [frame(DATA, b"hello", 0, 3), TRAILERS]),
    "trailers instead of it": (b"10", [TRAILERS]),
    "padding that is no body": (b"9", [frame(DATA, b"\3hello\0\0\0", 9, 3)]),
    "malformed trailers": (b"5", [frame(DATA, b"hello", 0, 3), [(b":path", b"/")]]),
    "trailers that are an interim head": (None, [[(b":status", b"100"), (b"x-after", b"yes")]]),
}


@pytest.mark.parametrize("pieces", ["at once", "one by one", "bytewise"])
@pytest.mark.parametrize("name", BODIES)
def test_a_body_of_another_length_than_announced(name, pieces):
    world = World()
    length, then = BODIES[name]
    stated = [] if length is None else [(LENGTH, length)]
    sent = [world.headers([*POST, *stated])]
    for data in then:
        trailers = isinstance(data, list)
        sent.append(world.headers(data, END_HEADERS | END_STREAM) if trailers else data)
    whole = b"".join(sent)
    if pieces == "at once":
        sent = [whole]
    elif pieces == "bytewise":
        sent = [whole[i : i + 1] for i in range(len(whole))]
    for data in sent:
        world.raw(data)
    if world.noting.requests[1].has_body:
        reader = world.noting.readers[1]
        assert reader.error is not None
        assert reader.trailers is None
    world.shows_a_stream_error()


@pytest.mark.parametrize("wait", [True, False])
def test_a_body_that_nobody_reads_yet_and_that_ends_too_early(wait):
    """As while a connection to the lease is made: its length is judged as it arrives."""
    noting = Noting()
    served = HTTP2(noting)
    gone = []
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, [*POST, (LENGTH, b"10")])
    if wait:
        served.turn()
        noting.requests[0].pause_body()
    served.h2.send_data(stream, b"hello")
    served.h2.send_headers(stream, TRAILERS, end_stream=True)
    if wait:
        noting.requests[0].on_disconnect(lambda: gone.append(True))
    served.turn()
    assert served.answers[stream].reset == ErrorCodes.PROTOCOL_ERROR
    assert gone == [True] * wait
    reader = Reader()
    noting.requests[0].read_body(reader)
    noting.requests[0].resume_body()
    assert reader.trailers is None
    assert served.exchanges[0].error == "bad_request"
    served.finish()


@pytest.mark.parametrize(
    ("length", "body"),
    [(b"5", b"hello"), (b"0", b""), (b"005", b"hello"), (None, b"hello"), (None, b"")],
)
@pytest.mark.parametrize("trailers", [None, TRAILERS])
def test_a_body_as_it_was_announced(length, body, trailers):
    world = World()
    stated = [] if length is None else [(LENGTH, length)]
    stream = world.ask([*POST, *stated], body, trailers=trailers)
    assert world.noting.readers[1].trailers is not None
    assert world.noting.readers[1].body == body
    world.noting.requests[1].answer(b"ok")
    world.turn()
    assert world.answers[stream].body == b"ok"
    world.finish()


@pytest.mark.parametrize("flags", [END_HEADERS, END_HEADERS | END_STREAM])
@pytest.mark.parametrize(
    "lengths",
    [
        [b"abc"],
        [b""],
        [b"-1"],
        [b"+5"],
        [b"5", b"6"],
        [b"5", b"5"],
        [b"5, 6"],
        [b"5,5"],
        [b"0x5"],
        [b"5 5"],
        [b"\xd9\xa5"],
        [b"9" * 40],
    ],
)
def test_a_length_that_is_none(lengths, flags):
    world = World()
    world.opens([*POST, *[(LENGTH, length) for length in lengths], (b"x-after", b"yes")], flags)
    world.shows_a_stream_error(begun=False)


def test_a_head_that_ends_without_its_body():
    world = World()
    world.opens([*POST, (LENGTH, b"5"), (b"x-after", b"yes")], END_HEADERS | END_STREAM)
    world.shows_a_stream_error(begun=False)


@pytest.mark.parametrize("status", [b"100", b"103", b"200"])
def test_a_request_with_a_status(status):
    world = World()
    world.opens([(b":status", status), *GET], END_HEADERS | END_STREAM)
    world.shows_a_stream_error(begun=False)


def test_trailers_without_an_end():
    world = World()
    world.opens(POST)
    world.opens(TRAILERS)
    world.shows_a_stream_error()


def test_trailers_twice():
    world = World()
    world.opens(POST)
    world.opens(TRAILERS, END_HEADERS | END_STREAM)
    world.opens(TRAILERS, END_HEADERS | END_STREAM)
    assert world.noting.readers[1].trailers is not None
    world.shows_a_stream_error(ErrorCodes.STREAM_CLOSED)


@pytest.mark.parametrize("data", [b"", b"more"])
def test_data_behind_the_end(data):
    world = World()
    world.opens(POST, END_HEADERS | END_STREAM)
    world.raw(frame(DATA, data, 0, 3))
    world.shows_a_stream_error(ErrorCodes.STREAM_CLOSED)


def test_more_data_than_the_window_of_its_stream():
    world = World()
    world.opens(POST)
    world.noting.requests[1].pause_body()
    for _ in range(STREAM_WINDOW // 16384 + 5):
        world.raw(frame(DATA, b"x" * 16384, 0, 3))
    assert world.answers[3].reset == ErrorCodes.FLOW_CONTROL_ERROR
    # Nothing of the connection's window is lost, however often.
    for stream in range(5, 45, 2):
        world.opens(POST, stream=stream)
        world.noting.requests[-1].pause_body()
        for _ in range(STREAM_WINDOW // 16384 + 1):
            world.raw(frame(DATA, b"x" * 16384, 0, stream))
        assert world.answers[stream].reset == ErrorCodes.FLOW_CONTROL_ERROR
    assert world.goaway is None
    assert world.channel._h2.inbound_flow_control_window > CONNECTION_WINDOW // 2
    world.noting.requests[0].answer(b"whole")
    world.turn()
    assert world.answers[world.innocent].body == b"whole"
    world.finish()


FRAMES = {
    "an update of nothing": (frame(WINDOW_UPDATE, b"\0\0\0\0", 0, 3), ErrorCodes.PROTOCOL_ERROR),
    "the same with its reserved bit": (
        frame(WINDOW_UPDATE, b"\x80\0\0\0", 0, 3),
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "an update of too much": (
        frame(WINDOW_UPDATE, b"\x7f\xff\xff\xff", 0, 3),
        ErrorCodes.FLOW_CONTROL_ERROR,
    ),
    "a priority below itself": (
        frame(PRIORITY, b"\0\0\0\3\x10", 0, 3),
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "the same, exclusively": (
        frame(PRIORITY, b"\x80\0\0\3\x10", 0, 3),
        ErrorCodes.PROTOCOL_ERROR,
    ),
    "a priority that is too short": (frame(PRIORITY, b"\0\0\0\1", 0, 3), 6),
    "a priority that is too long": (frame(PRIORITY, b"\0\0\0\1\x10\0", 0, 3), 6),
    "padding without a length": (frame(DATA, b"", PADDED, 3), ErrorCodes.FRAME_SIZE_ERROR),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_is_the_fault_of_its_stream(name):
    world = World()
    data, code = FRAMES[name]
    world.opens(POST)
    world.raw(data)
    world.shows_a_stream_error(code)


@pytest.mark.parametrize("name", [name for name in FRAMES if name != "padding without a length"])
@pytest.mark.parametrize("end", ["reset by the client", "answered"])
def test_the_same_on_a_closed_stream_is_ignored(name, end):
    world = World()
    data, _ = FRAMES[name]
    world.opens(POST, END_HEADERS | END_STREAM)
    if end == "answered":
        world.noting.requests[1].answer(b"ok")
    else:
        world.raw(frame(RST_STREAM, b"\0\0\0\x08", 0, 3))
    world.turn()
    world.raw(data)
    assert world.goaway is None
    world.noting.requests[0].answer(b"whole")
    world.turn()
    assert world.answers[world.innocent].body == b"whole"
    world.finish()


@pytest.mark.parametrize(
    "data",
    [
        *(data for data, _ in FRAMES.values()),
        frame(RST_STREAM, b"\0\0\0\x08", 0, 3),
        frame(RST_STREAM, b"\0\0\0\x08", 0, 2),
        frame(DATA, b"x", 0, 3),
        frame(WINDOW_UPDATE, b"\0\0\0\1", 0, 3),
    ],
)
def test_the_same_on_an_idle_stream_ends_the_connection(data):
    world = World()
    world.raw(data)
    assert world.goaway is not None
    assert world.goaway.error_code != ErrorCodes.NO_ERROR
    world.wait(3)
    assert world.closed
    world.finish()


@pytest.mark.parametrize("data", [data for data, _ in FRAMES.values()])
def test_the_same_within_a_header_block_ends_the_connection(data):
    world = World()
    world.opens(POST)
    world.raw(frame(HEADERS, b"\x82", 0, 5) + data)
    assert world.goaway.error_code != ErrorCodes.NO_ERROR
    world.finish()


def test_a_head_that_depends_on_its_own_stream():
    world = World()
    fields = [*POST, (b"x-after", b"yes")]
    world.opens(fields, END_HEADERS | WITH_PRIORITY, before=b"\0\0\0\3\x10")
    world.shows_a_stream_error(begun=False)


def test_faults_on_stream_after_stream_end_with_a_request_to_calm_down():
    world = World(http2_resets=20)
    for stream in range(3, 203, 2):
        if world.goaway is not None:
            break
        world.opens([*POST, (LENGTH, b"1")], stream=stream)
        world.raw(frame(DATA, b"too much", 0, stream))
    assert world.goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    assert world.site.limit_hits["http2_resets"] == 1
    world.finish()


# Exceptions out of what is called for one stream.


class Failing(Reader):
    """A reader of a body with a defect."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def fails(self, call):
        if call == self.at:
            raise RuntimeError("a defect")

    def request_data(self, data):
        super().request_data(data)
        self.fails("data")

    def request_end(self, trailers):
        self.fails("end")
        super().request_end(trailers)


def innocent_goes_on(served, noting, innocent):
    assert served.goaway is None
    noting.requests[0].answer(b"whole")
    served.turn()
    assert served.answers[innocent].body == b"whole"
    assert served.channel.requests() == []
    served.finish()


@pytest.mark.parametrize("at", ["data", "end"])
@pytest.mark.parametrize("late", [True, False])
def test_a_reader_that_fails_ends_its_request(tracebacks, at, late):
    noting = Noting()
    served = HTTP2(noting)
    gone = []
    innocent = served.ask()
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, POST)
    served.turn()
    request = noting.requests[1]
    request.on_disconnect(lambda: gone.append(True))
    request.read_body(Failing(at))
    if late:
        request.pause_body()
    served.h2.send_data(stream, b"hello", end_stream=True)
    served.turn()
    if late:
        request.resume_body()
        served.turn()
    assert served.answers[stream].status == 500
    assert b"internal_error" in served.answers[stream].body
    assert gone == [True]
    assert [exchange.error for exchange in served.exchanges] == ["internal_error"]
    assert [event["request_id"] for event in tracebacks] == [request.exchange.request_id]
    tracebacks.clear()
    innocent_goes_on(served, noting, innocent)


def fails():
    raise RuntimeError("a defect")


class FailingProducer(Producer):
    def pauseProducing(self):
        fails()

    def resumeProducing(self):
        fails()

    def stopProducing(self):
        fails()


@pytest.mark.parametrize("end", ["reset", "lost", "malformed"])
def test_one_that_fails_when_it_is_told_of_the_end_keeps_it_from_no_other(tracebacks, end):
    noting = Noting()
    served = HTTP2(noting)
    told = []
    for number in range(3):
        stream = served.h2.get_next_available_stream_id()
        served.h2.send_headers(stream, [*POST, (LENGTH, b"1")])
        served.turn()
        request = noting.requests[number]
        request.on_disconnect(fails)
        request.on_disconnect(lambda number=number: told.append(number))
        request.register_response_producer(FailingProducer())
    if end == "lost":
        served.client.transport.abortConnection()
        served.turn()
    else:
        for stream in (1, 3, 5):
            if end == "reset":
                served.h2.reset_stream(stream)
            else:
                served.client.transport.write(frame(DATA, b"too long", 0, stream))
        served.turn()
        assert served.goaway is None
    assert told == [0, 1, 2]
    assert len(served.exchanges) == 3
    assert len(tracebacks) == 6
    tracebacks.clear()
    served.finish()


def test_a_producer_that_fails_when_its_window_opens(tracebacks):
    noting = Noting()
    served = HTTP2(noting)
    served.credit = False
    innocent = served.ask()
    stream = served.ask()
    request = noting.requests[1]

    class Late(Producer):
        def resumeProducing(self):
            fails()

    request.register_response_producer(Late())
    request.send_head(200, b"", [], length=None)
    request.send_data(b"x" * 70_000)
    request.send_data(b"x" * 70_000)
    served.turn()
    served.h2.increment_flow_control_window(200_000)
    served.h2.increment_flow_control_window(200_000, stream)
    served.turn()
    assert served.answers[stream].reset == ErrorCodes.INTERNAL_ERROR
    assert request.over
    assert [exchange.error for exchange in served.exchanges] == ["internal_error"]
    assert [event["request_id"] for event in tracebacks] == [request.exchange.request_id]
    tracebacks.clear()
    innocent_goes_on(served, noting, innocent)


def test_a_site_that_fails_to_begin_a_request(tracebacks):
    noting = Noting()
    served = HTTP2(noting)
    innocent = served.ask()
    make_request_id = served.site.make_request_id
    served.site.make_request_id = lambda offered: fails()
    stream = served.ask()
    served.site.make_request_id = make_request_id
    assert served.answers[stream].reset == ErrorCodes.INTERNAL_ERROR
    assert len(tracebacks) == 1
    tracebacks.clear()
    innocent_goes_on(served, noting, innocent)


def test_one_that_cannot_be_withdrawn_in_order_ends_all_the_same(tracebacks):
    noting = Noting()
    served = HTTP2(noting)
    streams = [served.ask() for _ in range(3)]
    noting.requests[0].on_withdrawal = lambda error: fails()
    for request in noting.requests:
        request.withdraw(fault("invalid_api_key", "it was revoked"))
    served.turn()
    assert served.answers[streams[0]].reset == ErrorCodes.INTERNAL_ERROR
    assert [served.answers[stream].status for stream in streams[1:]] == [401, 401]
    assert len(tracebacks) == 1
    tracebacks.clear()
    served.finish()


class FailsFirst:
    """Fails the first time that it is called."""

    def __init__(self, called):
        self.called = called
        self.calls = 0

    def __call__(self, *arguments):
        self.calls += 1
        return fails() if self.calls == 1 else self.called(*arguments)


def test_slow_bodies_are_looked_at_though_one_cannot_be_refused(tracebacks):
    noting = Noting(lambda request: request.read_body(Reader()))
    served = HTTP2(noting)
    streams = [served.h2.get_next_available_stream_id()]
    served.h2.send_headers(streams[0], POST)
    streams.append(served.h2.get_next_available_stream_id())
    served.h2.send_headers(streams[1], POST)
    served.turn()
    problem = served.site.render_problem
    served.site.render_problem = fails_first = FailsFirst(problem)
    served.lets_pass(16)
    assert fails_first.calls == 2
    assert served.answers[streams[0]].reset == ErrorCodes.INTERNAL_ERROR
    assert served.answers[streams[1]].status == 408
    assert len(tracebacks) == 1
    tracebacks.clear()
    served.finish()


def test_trailers_that_cannot_be_written_end_their_stream(tracebacks):
    noting = Noting()
    served = HTTP2(noting)
    innocent = served.ask()
    stream = served.ask()
    request = noting.requests[1]
    request.send_head(200, b"", [], length=None)
    request.send_data(b"x")
    served.turn()
    with pytest.raises(UnsafeField):
        request.send_end([(b"x y", b"1")])
    served.turn()
    assert served.answers[stream].reset == ErrorCodes.INTERNAL_ERROR
    assert served.exchanges[0].aborted
    innocent_goes_on(served, noting, innocent)


@settings(max_examples=200, deadline=None)
@given(
    st.none() | st.integers(1, 40),
    st.lists(st.integers(0, 20), max_size=4),
    st.sampled_from(["data", "empty", "trailers"]),
    st.booleans(),
)
def test_a_request_is_read_to_its_end_if_and_only_if_its_length_is_right(length, sizes, end, late):
    noting = Noting()
    served = HTTP2(noting)
    innocent = served.ask()
    stated = [] if length is None else [(LENGTH, b"%d" % length)]
    reader = Reader()
    opened(served.h2, 3)
    block = served.h2.encoder.encode([*POST, *stated])
    frames = [frame(HEADERS, block, END_HEADERS, 3)]
    frames += [frame(DATA, b"x" * size, 0, 3) for size in sizes]
    if end == "data" and sizes:
        frames[-1] = frame(DATA, b"x" * sizes[-1], END_STREAM, 3)
    elif end == "trailers":
        block = served.h2.encoder.encode(TRAILERS)
        frames.append(frame(HEADERS, block, END_HEADERS | END_STREAM, 3))
    else:
        frames.append(frame(DATA, b"", END_STREAM, 3))
    if late:
        served.raw(b"".join(frames))
    else:
        for data in frames:
            served.raw(data)
    request = noting.requests[1]
    right = length is None or length == sum(sizes)
    request.read_body(reader)
    assert (reader.trailers is not None) == right
    if not right:
        assert served.answers[3].reset == ErrorCodes.PROTOCOL_ERROR
    else:
        request.answer(b"ok")
        served.turn()
        assert served.answers[3].body == b"ok"
    innocent_goes_on(served, noting, innocent)


@pytest.mark.parametrize("kind", [0xA, 0xC, 0x10, 0xFF])
@pytest.mark.parametrize("payload", [b"", b"\0", b"\x00\xffabc", b"\0" * 9])
@pytest.mark.parametrize("of_stream", [False, True])
def test_frames_of_extensions_are_ignored(kind, payload, of_stream):
    """ALTSVC, ORIGIN and PRIORITY_UPDATE too, however malformed (RFC 9113 section 5.5)."""
    noting = Noting()
    served = HTTP2(noting)
    innocent = served.ask()
    served.turn()
    served.raw(frame(kind, payload, stream=innocent if of_stream else 0))
    innocent_goes_on(served, noting, innocent)


def test_headers_above_a_limit_wear_the_connection_out():
    served = HTTP2(Noting(), http2_resets=3, fields=4)
    for _ in range(4):
        served.ask(more=[("x", "1")] * 5)
    assert served.goaway is not None
    assert served.site.limit_hits["http2_resets"] == 1
    served.finish()
