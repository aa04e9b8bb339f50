"""One exchange on its connection: framing, back-pressure, endings, hostile leases, repeats."""

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost

from portal_gateway.errors import fault
from portal_gateway.relay.http_client import (
    IDEMPOTENT_METHODS,
    JOINED_BODY_LIMIT,
    REPLAY_BODY_LIMIT,
    BodyFraming,
)
from portal_gateway.wire.http1_writing import UnsafeField
from tests.relay.scripted_upstream import OK, Bench, Line, RecordingSink

CHUNKED = BodyFraming.chunked()


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.check_clean()


# Defects of ours.


def failing():
    raise RuntimeError("a defect")


@pytest.mark.parametrize("call", ["head", "data"])
def test_a_defect_while_an_answer_is_passed_on_ends_it_and_names_the_request(
    bench, tracebacks, call
):
    sink = RecordingSink({call: failing})
    bench.request(sink=sink, headers=[(b"Host", b"lease"), (b"X-Request-ID", b"req_1")])
    line = bench.endpoint.accept()
    line.answer()
    assert sink.code == "internal_error"
    assert line.aborted
    assert [event["request_id"] for event in tracebacks] == ["req_1"]
    tracebacks.clear()


@pytest.mark.parametrize("waiting", [True, False])
def test_a_defect_behind_the_end_of_an_answer_leaves_the_next_one_alone(tracebacks, waiting):
    # The connection may have been given to whoever waited for it, before the end was told.
    bench = Bench(max_active=1)
    _, sink, line = bench.connected(sink=RecordingSink({"end": failing}))
    if waiting:
        _, next_sink = bench.request()
    line.answer()
    assert sink.endings == 1
    if not waiting:
        _, next_sink = bench.request()
    bench.turn()
    line.answer()
    assert next_sink.complete
    assert bench.pool.dials_total == 1
    assert [event["request_id"] for event in tracebacks] == [None]
    tracebacks.clear()
    bench.check_clean()


def test_a_defect_of_one_that_is_told_of_the_end_keeps_it_from_no_other(tracebacks):
    bench = Bench(max_active=1, max_queue=9, wait_limit=5.0)
    bench.connected()
    sinks = [RecordingSink({"failed": failing}), RecordingSink(), RecordingSink()]
    for sink in sinks:
        bench.request(sink=sink)
    bench.clock.advance(5.1)
    assert [sink.code for sink in sinks] == ["lease_busy"] * 3
    assert len(tracebacks) == 1
    tracebacks.clear()
    # The pool still looks after what comes later.
    _, late = bench.request()
    bench.clock.advance(5.1)
    assert late.code == "lease_busy"
    bench.check_clean()


def test_a_defect_while_the_end_of_the_connection_ends_an_answer(bench, tracebacks):
    _, sink, line = bench.connected(sink=RecordingSink({"end": failing}))
    line.answer(b"HTTP/1.1 200 OK\r\n\r\nto the end")
    line.lose(ConnectionDone())
    assert sink.endings == 1
    assert bench.pool.active == 0
    assert len(tracebacks) == 1
    tracebacks.clear()


# The request as written.


def test_a_request_without_a_body(bench):
    exchange, sink, line = bench.connected()
    assert line.writes == [b"GET / HTTP/1.1\r\nHost: lease\r\n\r\n"]
    assert (line.no_delay, line.keep_alive) == (True, True)
    exchange.end()
    exchange.end()
    assert len(line.writes) == 1
    line.answer()
    assert [call[0] for call in sink.told] == ["head", "data", "end"]
    assert sink.body == b"ok"
    assert (exchange.attempts, exchange.reused) == (1, False)


def test_streams_without_tcp_options_do():
    class Plain:
        def __init__(self, line):
            self.write, self.abortConnection = line.write, line.abortConnection

    bench = Bench()
    exchange, _ = bench.request()
    dialled, factory = bench.endpoint.dials.pop()
    connection = factory.buildProtocol(None)
    line = Line()
    connection.makeConnection(Plain(line))
    dialled.callback(connection)
    assert line.writes
    exchange.cancel()
    assert line.aborted
    bench.check_clean()


@pytest.mark.parametrize("fresh", [True, False])
def test_small_bodies_leave_with_the_head(bench, fresh):
    if not fresh:
        line = bench.idle_line()
    for framing, expected in (
        (BodyFraming.length(5), b"Content-Length: 5\r\n\r\nhello"),
        (CHUNKED, b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ):
        exchange, sink = bench.request(b"POST", framing)
        exchange.write(b"hel")
        exchange.write(b"lo")
        exchange.end()
        if fresh:
            line = bench.endpoint.accept()
            assert sink.paused == 1
        else:
            assert not sink.paused
        assert line.writes == [b"POST / HTTP/1.1\r\nHost: lease\r\n" + expected]
        assert line.producer is None
        assert not sink.held
        line.answer()
        assert sink.complete
        line.clear()
        bench.turn()
        assert not line.writes
        if fresh:
            line.lose()


def test_the_head_goes_alone_when_no_body_comes_in_its_turn(bench):
    line = bench.idle_line()
    exchange, sink = bench.request(b"POST", CHUNKED)
    assert not line.writes
    bench.turn()
    assert line.writes == [b"POST / HTTP/1.1\r\nHost: lease\r\nTransfer-Encoding: chunked\r\n\r\n"]
    line.clear()
    exchange.write(b"")
    assert not line.writes
    exchange.write(b"a" * 20)
    exchange.write(b"b")
    exchange.end()
    assert line.writes == [b"14\r\n" + b"a" * 20 + b"\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"]
    line.answer()
    assert sink.complete
    assert bench.pool.idle == 1
    assert line.producer is None


def test_a_body_of_known_length_in_pieces(bench):
    line = bench.idle_line()
    exchange, sink = bench.request(b"PUT", BodyFraming.length(6))
    exchange.write(b"ab")
    assert not line.writes
    bench.turn()
    assert line.writes == [b"PUT / HTTP/1.1\r\nHost: lease\r\nContent-Length: 6\r\n\r\nab"]
    exchange.write(b"cd")
    exchange.write(b"ef")
    exchange.end(((b"X", b"dropped"),))
    assert line.writes[1:] == [b"cd", b"ef"]
    line.answer()
    assert sink.complete
    assert bench.pool.idle == 1


def test_a_body_of_known_length_is_complete_without_an_end(bench):
    line = bench.idle_line()
    exchange, sink = bench.request(b"PUT", BodyFraming.length(2))
    exchange.write(b"ab")
    assert line.received.endswith(b"\r\n\r\nab")
    line.answer()
    assert sink.complete
    assert bench.pool.idle == 1


def test_a_length_of_0_is_announced(bench):
    _, sink, line = bench.connected(b"POST", BodyFraming.length(0))
    assert line.writes == [b"POST / HTTP/1.1\r\nHost: lease\r\nContent-Length: 0\r\n\r\n"]
    assert not sink.paused
    line.answer()
    assert bench.pool.idle == 1


def test_much_body_does_not_wait_for_the_turn(bench):
    line = bench.idle_line()
    exchange, _ = bench.request(b"POST", CHUNKED)
    exchange.write(b"x" * (JOINED_BODY_LIMIT - 1))
    assert not line.writes
    exchange.write(b"y")
    assert len(line.writes) == 1
    assert b"\r\n\r\n4000\r\nxxx" in line.writes[0]
    exchange.cancel()


def test_trailers_of_the_request(bench):
    line = bench.idle_line()
    for late in (False, True):
        exchange, _ = bench.request(b"POST", CHUNKED)
        exchange.write(b"a")
        if late:
            bench.turn()
        with pytest.raises(UnsafeField):
            exchange.end(((b"X", b"a\r\nb"),))
        exchange.end(((b"X-Sum", b"1"),))
        exchange.end(((b"X-Sum", b"2"),))
        assert line.received.endswith(b"\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n")
        line.answer()
        line.clear()
    assert bench.pool.idle == 1


def test_a_body_cannot_overrun_its_announcement(bench):
    line = bench.idle_line()
    for framing, good in ((BodyFraming.length(2), b"ab"), (BodyFraming.none(), b"")):
        exchange, sink = bench.request(b"POST", framing)
        exchange.write(good)
        with pytest.raises(ValueError, match="more request body"):
            exchange.write(b"c")
        exchange.end()
        with pytest.raises(ValueError, match="ended"):
            exchange.write(b"c")
        assert b"c" not in line.received[-3:]
        line.answer()
        assert sink.complete
        exchange.write(b"c")
        exchange.end()
        assert bench.pool.idle == 1
    exchange, sink = bench.request(b"POST", BodyFraming.length(2))
    exchange.write(b"a")
    with pytest.raises(ValueError, match="less request body"):
        exchange.end()
    exchange.cancel()
    with pytest.raises(ValueError, match="negative"):
        BodyFraming.length(-1)


def test_requests_that_cannot_be_written_are_refused_at_once(bench):
    for method, headers in (
        (b"GET", ((b"X", b"a\r\nb"),)),
        (b"G T", ()),
    ):
        with pytest.raises(UnsafeField):
            bench.request(method, headers=headers)
    with pytest.raises(ValueError, match="tunnel"):
        bench.request(b"CONNECT")
    assert bench.pool.unused


def test_the_representation_shows_no_request(bench):
    exchange, _ = bench.request(headers=((b"Authorization", b"secret"),))
    assert "secret" not in repr(exchange)
    assert "waiting" in repr(exchange)
    line = bench.endpoint.accept()
    assert "under way" in repr(exchange)
    line.answer()
    assert "over" in repr(exchange)


# Responses.

HINTS = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"
RESPONSES = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd", b"abcd", True),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", True),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n",
        b"abcd",
        True,
    ),
    "close": (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nabcd",
        b"abcd",
        False,
    ),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nabcd", b"abcd", False),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", True),
    "hints": (
        HINTS + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd",
        b"abcd",
        True,
    ),
}


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize("name", RESPONSES)
def test_responses(bench, name, bytewise):
    data, body, persistent = RESPONSES[name]
    exchange, sink, line = bench.connected()
    if bytewise:
        line.answer_bytewise(data)
    else:
        line.answer(data)
    assert sink.complete
    assert sink.body == body
    informational = [call[1].status for call in sink.told if call[0] == "informational"]
    assert informational == ([100, 103] if name == "hints" else [])
    assert bench.pool.active == 0
    assert bench.pool.idle == persistent
    assert line.losing == (not persistent)
    assert not line.aborted
    exchange.cancel()
    exchange.pause()
    exchange.resume()


def test_head_requests_share_a_connection_with_others(bench):
    line = bench.idle_line()
    for method, data in (
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        (b"GET", OK),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"GET", OK),
    ):
        exchange, sink = bench.request(method)
        line.answer(data)
        assert sink.complete
        assert exchange.reused
    assert bench.pool.idle == 1
    assert bench.pool.dials_total == 1
    assert bench.pool.reuses_total == 5


def test_trailers_of_the_response(bench):
    _, sink, line = bench.connected()
    line.answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    assert sink.told[-1] == ("end", [(b"X-Sum", b"1")])


def test_a_body_until_the_end_of_the_connection(bench):
    _, sink, line = bench.connected()
    line.answer(b"HTTP/1.1 200 OK\r\n\r\nab")
    line.answer(b"cd")
    assert not sink.endings
    line.lose()
    assert sink.complete
    assert sink.body == b"abcd"
    assert bench.pool.unused


@pytest.mark.parametrize("reason", [ConnectionLost(), ConnectionAborted()])
def test_a_body_until_the_end_is_not_complete_when_the_connection_breaks(bench, reason):
    _, sink, line = bench.connected()
    line.answer(b"HTTP/1.1 200 OK\r\n\r\nab")
    line.lose(reason)
    assert sink.code == "upstream_closed"


@pytest.mark.parametrize("reason", [ConnectionDone, ConnectionLost])
@pytest.mark.parametrize("name", ["length", "chunked", "hints", "204"])
def test_a_response_cut_at_every_byte(name, reason):
    data = RESPONSES[name][0]
    for cut in range(len(data)):
        for bytewise in (False, True):
            bench = Bench()
            exchange, sink, line = bench.connected()
            if bytewise:
                line.answer_bytewise(data[:cut])
            elif cut:
                line.answer(data[:cut])
            line.lose(reason())
            assert sink.code == "upstream_closed"
            assert "end" not in [call[0] for call in sink.told]
            assert exchange.attempts == 1
            assert bench.pool.unused
            bench.check_clean()


def test_the_errors_of_a_stream_are_passed_on_as_they_are(bench):
    for data in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"):
        _, sink, line = bench.connected()
        if data:
            line.answer(data)
        error = fault("relay_unavailable", "The session was lost.")
        line.lose(error)
        assert sink.error is error


HOSTILE = {
    "length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "lengths differ": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\nab",
    "length and coding": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    "101 unasked": b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "1xx flood": b"HTTP/1.1 102 Processing\r\n\r\n" * 10_000,
    "too large a head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "NUL": b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
}


@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_lease(bench, name, bytewise, reused):
    data = HOSTILE[name]
    if reused:
        line = bench.idle_line()
        exchange, sink = bench.request()
    else:
        exchange, sink, line = bench.connected()
    if bytewise:
        line.answer_bytewise(data)
    else:
        line.answer(data)
    assert sink.code == "upstream_protocol_error"
    # A malformed chunk comes after a head that was right; nothing else was announced.
    assert (sink.head is not None) == (name == "bad chunk" and bytewise)
    assert line.aborted
    assert exchange.attempts == 1
    assert bench.pool.unused
    assert bench.pool.retries_total == 0
    line.answer(OK)
    bench.request()
    assert bench.pool.dialling == 1
    line.lose(ConnectionAborted())


EXTRA = {
    "after a length": (b"GET", OK + b"x"),
    "another response": (b"GET", OK + OK),
    "an empty line": (b"GET", OK + b"\r\n"),
    "after chunks": (
        b"GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + b"\r\n",
    ),
    "a body on HEAD": (b"HEAD", OK),
    "a body on 204": (b"GET", b"HTTP/1.1 204 No\r\n\r\nab"),
    "a body on 304": (b"GET", b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\nab"),
}


@pytest.mark.parametrize("name", EXTRA)
def test_bytes_after_the_response(bench, name):
    method, data = EXTRA[name]
    _, sink, line = bench.connected(method)
    line.answer(data)
    assert sink.code == "upstream_protocol_error"
    assert line.aborted
    # Later ones find the response complete, and take the connection away.
    _, sink, line = bench.connected(method)
    line.answer_bytewise(data)
    assert sink.complete
    assert line.aborted
    assert bench.pool.unused


# Early responses.


@pytest.mark.parametrize("framing", [CHUNKED, BodyFraming.length(100)])
def test_a_response_before_the_request_is_complete(bench, framing):
    exchange, sink, line = bench.connected(b"POST", framing)
    exchange.write(b"abc")
    bench.turn()
    line.limit = 0
    exchange.write(b"abc")
    assert sink.held
    line.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    assert sink.complete
    assert sink.head.status == 413
    assert line.aborted
    assert line.producer is None
    assert bench.pool.idle == 0
    line.clear()
    exchange.write(b"more")
    exchange.end()
    line.take_all()
    assert not line.writes
    assert sink.held  # nothing is told any more


def test_a_response_while_the_request_waits_to_be_sent(bench):
    """All was written, but the transport still holds more of it than it likes."""
    line = bench.idle_line()
    line.limit = 1000
    exchange, sink = bench.request(b"PUT", CHUNKED)
    bench.turn()
    exchange.write(b"x" * 2000)
    exchange.end()
    line.answer()
    assert sink.complete
    assert line.aborted
    assert bench.pool.idle == 0


# Back-pressure.


def test_the_body_waits_while_dialling_and_while_the_lease_does_not_read(bench):
    exchange, sink = bench.request(b"POST", CHUNKED)
    assert sink.told == [("pause",)]
    exchange.write(b"already read")
    bench.endpoint.limit = 100
    line = bench.endpoint.accept()
    assert not sink.held
    exchange.write(b"x" * 200)
    assert sink.held
    exchange.write(b"y")  # what was on its way is still taken
    assert (sink.paused, sink.resumed) == (2, 1)
    line.take_all()
    assert not sink.held
    exchange.write(b"x" * 200)
    assert sink.held
    exchange.end()
    line.take_all()
    assert not sink.held
    line.answer()
    assert sink.complete
    assert bench.pool.idle == 1


def test_a_body_too_long_for_the_transport_at_once(bench):
    bench.endpoint.limit = 100
    exchange, sink = bench.request(b"POST", CHUNKED)
    exchange.write(b"x" * 200)
    line = bench.endpoint.accept()
    assert (sink.paused, sink.resumed) == (1, 0)
    line.take_all()
    assert (sink.paused, sink.resumed) == (1, 1)
    exchange.cancel()


def test_a_request_without_a_body_is_never_paused(bench):
    bench.endpoint.limit = 0
    _, sink, line = bench.connected()
    line.answer()
    assert [call[0] for call in sink.told] == ["head", "data", "end"]


def test_the_response_waits_while_the_client_does_not_read(bench):
    exchange, sink, line = bench.connected()
    line.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    exchange.pause()
    exchange.pause()
    assert not line.reading
    exchange.resume()
    exchange.resume()
    assert line.reading
    exchange.pause()
    line.answer(b"cd")  # was in flight
    assert sink.complete
    assert line.reading  # the next exchange, or the end of the connection, must be seen
    assert bench.pool.idle == 1


def test_a_pause_while_waiting_holds_from_the_start(bench):
    exchange, sink = bench.request()
    exchange.pause()
    line = bench.endpoint.accept()
    assert not line.reading
    exchange.resume()
    assert line.reading
    line.answer()
    assert sink.complete


def test_a_stream_that_delivers_when_reading_resumes(bench):
    """What it held may be more than the response: the connection is not idle then, but gone."""
    exchange, sink, line = bench.connected()
    line.resumeProducing = lambda: line.answer(b"unasked")
    exchange.pause()
    line.answer()
    assert sink.complete
    assert line.aborted
    assert bench.pool.unused


def test_a_stream_that_ends_when_reading_resumes(bench):
    exchange, sink, line = bench.connected()
    line.resumeProducing = line.lose
    exchange.pause()
    line.answer()
    assert sink.complete
    assert bench.pool.unused


# Cancelling.


def phases():
    def waiting(bench):
        return *bench.request(b"POST", CHUNKED), None

    def head_held(bench):
        line = bench.idle_line()
        return *bench.request(b"POST", CHUNKED), line

    def sent(bench):
        return bench.connected()

    def sending(bench):
        exchange, sink, line = bench.connected(b"POST", CHUNKED)
        exchange.write(b"abc")
        bench.turn()
        return exchange, sink, line

    def informed(bench):
        exchange, sink, line = sent(bench)
        line.answer(b"HTTP/1.1 103 H\r\n\r\n")
        return exchange, sink, line

    def in_head(bench):
        exchange, sink, line = sent(bench)
        line.answer(b"HTTP/1.1 200 O")
        return exchange, sink, line

    def in_body(bench):
        exchange, sink, line = sent(bench)
        line.answer(OK[:-1])
        return exchange, sink, line

    def paused(bench):
        exchange, sink, line = in_body(bench)
        exchange.pause()
        return exchange, sink, line

    return [waiting, head_held, sent, sending, informed, in_head, in_body, paused]


@pytest.mark.parametrize("phase", phases(), ids=lambda phase: phase.__name__)
def test_cancel(bench, phase):
    exchange, sink, line = phase(bench)
    exchange.cancel()
    sink.silent = True
    exchange.cancel()
    assert bench.pool.active == 0
    if line is None:
        line = bench.endpoint.accept()  # the dial goes on, for whoever is next
        assert bench.pool.idle == 1
        assert not line.writes
    else:
        assert line.aborted
        assert line.producer is None
        line.answer(b"k" + OK)
        line.lose(ConnectionAborted())
        assert bench.pool.idle == 0
    exchange.write(b"more")
    exchange.end()
    exchange.pause()
    exchange.resume()
    bench.clock.advance(1000)


def test_cancel_after_the_end_leaves_the_connection(bench):
    exchange, _, line = bench.connected()
    line.answer()
    exchange.cancel()
    assert not line.aborted
    assert bench.pool.idle == 1


@pytest.mark.parametrize("at", ["informational", "head", "data", "pause", "resume"])
def test_cancel_from_inside_a_call(bench, at):
    holder = []
    sink = RecordingSink({at: lambda: (holder[0].cancel(), setattr(sink, "silent", True))})
    line = bench.idle_line()
    exchange, _ = bench.request(b"POST", CHUNKED, sink)
    holder.append(exchange)
    bench.turn()
    line.limit = 0
    if at in {"pause", "resume"}:
        exchange.write(b"abc")
        if at == "resume":
            line.take_all()
    else:
        line.answer(
            b"HTTP/1.1 103 H\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
        )
    assert sink.told[-1][0] == at
    assert line.aborted
    assert bench.pool.unused


@pytest.mark.parametrize("at", ["head", "data", "end", "failed"])
def test_asking_again_from_inside_a_call(bench, at):
    again = []
    sink = RecordingSink({at: lambda: again.append(bench.request())})
    _, _, line = bench.connected(sink=sink)
    line.answer(OK if at != "failed" else b"garbage\r\n\r\n")
    assert sink.endings == 1
    (exchange, second) = again[0]
    if at == "failed":
        line = bench.endpoint.accept()
    else:
        # The connection was free before its user heard of the end, and served who waited.
        assert exchange.reused
    line.answer()
    assert second.complete


# Repeating a request that a stale connection failed.


@pytest.mark.parametrize("reason", [ConnectionDone, ConnectionLost])
@pytest.mark.parametrize("method", sorted(IDEMPOTENT_METHODS))
def test_idempotent_requests_are_repeated_once(bench, method, reason):
    stale = bench.idle_line()
    exchange, sink = bench.request(method)
    assert exchange.reused
    stale.lose(reason())
    assert not sink.endings
    assert bench.pool.retries_total == 1
    fresh = bench.endpoint.accept()
    assert fresh.writes == stale.writes
    assert (exchange.attempts, exchange.reused) == (2, False)
    fresh.lose(reason())
    assert sink.code == "upstream_closed"
    assert bench.pool.unused


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"MKCOL", b"get"])
def test_other_requests_are_not_repeated(bench, method):
    stale = bench.idle_line()
    exchange, sink = bench.request(method)
    stale.lose()
    assert sink.code == "upstream_closed"
    assert exchange.attempts == 1
    assert bench.pool.dialling == 0


def test_a_fresh_connection_that_fails_is_not_tried_again(bench):
    exchange, sink, line = bench.connected()
    line.lose()
    assert sink.code == "upstream_closed"
    assert exchange.attempts == 1
    assert bench.pool.dialling == 0


def test_a_request_is_not_repeated_once_a_byte_of_the_response_came(bench):
    for data in (b"H", b"HTTP/1.1 103 H\r\n\r\n"):
        stale = bench.idle_line()
        exchange, sink = bench.request()
        stale.answer(data)
        assert not exchange._body.repeatable  # and not held any longer
        stale.lose()
        assert sink.code == "upstream_closed"
        assert bench.pool.dialling == 0


def test_a_request_whose_head_was_not_sent_may_go_elsewhere_whatever_its_method(bench):
    for spoke in (False, True):
        stale = bench.idle_line()
        exchange, sink = bench.request(b"POST", CHUNKED)
        if spoke:
            stale.answer(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            assert stale.aborted
        else:
            stale.lose()
        assert not stale.writes
        assert sink.held
        exchange.write(b"abc")
        exchange.end()
        fresh = bench.endpoint.accept()
        assert fresh.received.endswith(b"3\r\nabc\r\n0\r\n\r\n")
        assert exchange.attempts == 1
        fresh.answer()
        assert sink.complete
        fresh.lose()
        stale.lose()


@pytest.mark.parametrize("framing", [CHUNKED, BodyFraming.length(REPLAY_BODY_LIMIT)])
def test_a_body_within_the_limit_is_repeated(bench, framing):
    stale = bench.idle_line()
    exchange, sink = bench.request(b"PUT", framing)
    bench.turn()
    half = b"x" * (REPLAY_BODY_LIMIT // 2)
    exchange.write(half)
    stale.lose()
    assert sink.held
    exchange.write(half[1:])
    fresh = bench.endpoint.accept()
    assert not sink.held
    exchange.write(b"y")
    exchange.end()
    body = fresh.received.partition(b"\r\n\r\n")[2]
    whole = half + half[1:] + b"y"
    if framing is CHUNKED:
        assert body == b"ffff\r\n" + whole[:-1] + b"\r\n1\r\ny\r\n0\r\n\r\n"
    else:
        assert body == whole
    fresh.answer()
    assert sink.complete
    assert exchange.attempts == 2


def test_a_complete_body_is_repeated_in_one_write(bench):
    stale = bench.idle_line()
    exchange, sink = bench.request(b"PUT", CHUNKED)
    exchange.write(b"abc")
    exchange.end(((b"X", b"y"),))
    stale.lose()
    fresh = bench.endpoint.accept()
    assert fresh.writes == stale.writes
    assert len(fresh.writes) == 1
    fresh.answer()
    assert sink.complete


def test_a_body_past_the_limit_is_not_repeated(bench):
    for at_once in (False, True):
        stale = bench.idle_line()
        exchange, sink = bench.request(b"PUT", CHUNKED)
        if at_once:
            exchange.write(b"x" * (REPLAY_BODY_LIMIT + 1))
        else:
            exchange.write(b"x" * REPLAY_BODY_LIMIT)
            exchange.write(b"y")
        stale.lose()
        assert sink.code == "upstream_closed"
        assert bench.pool.dialling == 0


def test_what_was_read_while_waiting_for_the_repeat_is_sent_whatever_its_size(bench):
    stale = bench.idle_line()
    exchange, sink = bench.request(b"PUT", CHUNKED)
    exchange.write(b"a")
    bench.turn()
    stale.lose()
    assert sink.held
    exchange.write(b"x" * 3 * REPLAY_BODY_LIMIT)
    exchange.end()
    fresh = bench.endpoint.accept()
    assert fresh.received.endswith(b"30001\r\na" + b"x" * 3 * REPLAY_BODY_LIMIT + b"\r\n0\r\n\r\n")
    fresh.answer()
    assert sink.complete


def test_the_errors_of_a_stream_do_not_hinder_the_repeat(bench):
    stale = bench.idle_line()
    _, sink = bench.request()
    stale.lose(fault("relay_unavailable", "The session was lost."))
    assert not sink.endings
    fresh = bench.endpoint.accept()
    fresh.answer()
    assert sink.complete


def test_a_repeat_that_cannot_connect(bench):
    stale = bench.idle_line()
    _, sink = bench.request()
    stale.lose()
    error = fault("lease_offline", "It is away.")
    bench.endpoint.refuse(error)
    assert sink.error is error


def test_a_repeat_does_not_take_another_reused_connection(bench):
    lines = [bench.connected()[2], bench.connected()[2]]
    lines[0].answer()
    exchange, sink = bench.request()
    lines[0].lose()
    lines[1].answer()  # free now, and just as likely to be stale
    assert bench.pool.idle == 1
    assert exchange.attempts == 1
    bench.endpoint.accept().answer()
    assert sink.complete
    assert not exchange.reused
