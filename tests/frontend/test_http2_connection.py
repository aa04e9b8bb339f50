import struct

import pytest
from h2.errors import ErrorCodes

from portal_gateway.errors import fault
from portal_gateway.frontend.deadlines import CROSSING_TIME, LAST_HEAD
from portal_gateway.frontend.http2_protocol import MAX_STREAMS, STREAM_WINDOW
from portal_gateway.frontend.http2_stream import QUEUED
from portal_gateway.wire.http1_writing import UnsafeField
from portal_gateway.wire.http2_patience import MAX_RESETS
from tests.frontend.http2_world import GET, HTTP2, POST, frame
from tests.frontend.serving import Collecting, Noting, Producer, Reader


def answering(*, length=2, body=b"ok", trailers=(), status=200, fields=()):
    def do(request):
        request.send_head(status, b"", [(b"X-One", b" 1 "), *fields], length=length)
        if body:
            request.send_data(body)
        request.send_end(list(trailers))

    return Noting(do)


def test_a_request_and_its_answer():
    noting = answering()
    served = HTTP2(noting)
    answer = served.answer(
        more=[(b"user-agent", b"test"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]
    )
    assert answer.fields == {b":status": b"200", b"x-one": b"1", b"content-length": b"2"}
    assert (answer.body, answer.ended, answer.reset) == (b"ok", True, None)
    (request,) = noting.requests
    assert request.method == b"GET"
    assert request.uri == b"/"
    assert request.clientproto == b"HTTP/2"
    assert request.head.headers[0] == (b"Host", b"h")
    assert request.getHeader(b"cookie") == b"a=1; b=2"
    assert request.client_address == "192.0.2.7"
    assert not request.has_body
    (exchange,) = served.exchanges
    assert (exchange.status, exchange.bytes_out, exchange.user_agent) == (200, 2, "test")
    served.finish()


def test_a_head_and_its_body_leave_in_one_write():
    served = HTTP2(answering())
    served.turn()
    before = len(served.client.received)
    writes = []
    write = served.transport.write

    def noted(data):
        writes.append(data)
        write(data)

    served.transport.write = noted
    served.ask()
    assert len(writes) == 1
    assert len(served.client.received) > before
    served.finish()


@pytest.mark.parametrize(
    ("method", "status", "length", "stated"),
    [
        (b"HEAD", 200, 9, b"9"),
        (b"GET", 204, None, None),
        (b"GET", 304, 9, b"9"),
        (b"GET", 200, 0, b"0"),
    ],
)
def test_responses_without_a_body(method, status, length, stated):
    served = HTTP2(answering(length=length, body=b"", status=status))
    answer = served.answer([(b":method", method), *GET[1:]])
    assert answer.status == status
    assert answer.fields.get(b"content-length") == stated
    assert answer.ended
    assert answer.body == b""
    served.finish()


def test_what_http2_does_not_have_is_left_out():
    fields = [(b"Connection", b"close"), (b"Transfer-Encoding", b"chunked"), (b"Keep-Alive", b"1")]
    served = HTTP2(answering(fields=fields))
    assert set(served.answer().fields) == {b":status", b"x-one", b"content-length"}
    assert served.answer().status == 200
    served.finish()


@pytest.mark.parametrize(
    "field", [(b"X\r\nY", b"1"), (b"X", b"1\r\n"), (b"X", b"\0"), (b":status", b"2")]
)
def test_fields_that_cannot_be_written(field):
    caught = []

    def do(request):
        try:
            request.send_head(200, b"", [field], length=0)
        except UnsafeField:
            caught.append(field)
            request.fail(fault("internal_error", "no"))

    served = HTTP2(Noting(do))
    assert served.answer().status == 500
    assert caught
    served.finish()


def test_trailers_and_1xx_come_through():
    def do(request):
        request.send_informational(103, b"Early Hints", [(b"Link", b"</a>")])
        request.send_head(200, b"", [], length=None)
        request.send_data(b"x" * 50_000)
        request.send_end([(b"X-Sum", b"9")])

    served = HTTP2(Noting(do))
    answer = served.answer()
    assert answer.informational == [{b":status": b"103", b"link": b"</a>"}]
    assert answer.body == b"x" * 50_000
    assert answer.trailers == [(b"x-sum", b"9")]
    served.finish()


@pytest.mark.parametrize("stated", [True, False])
def test_a_body_and_its_trailers(stated):
    collecting = Collecting()
    served = HTTP2(collecting)
    body = bytes(range(256)) * 200
    more = [(b"content-length", b"%d" % len(body))] if stated else []
    answer = served.answer(POST, body, more=more, trailers=[(b"x-sum", b"1"), (b"host", b"no")])
    assert answer.body == b"ok"
    (reader,) = collecting.readers
    assert reader.body == body
    assert reader.trailers == [(b"x-sum", b"1")]
    head = collecting.requests[0].head
    assert (head.chunked, head.content_length) == (not stated, len(body) if stated else None)
    served.finish()


def test_a_body_of_no_bytes():
    noting = answering()
    served = HTTP2(noting)
    assert served.answer(POST, b"").ended
    assert served.answer(POST, b"", more=[(b"content-length", b"0")]).ended
    assert not noting.requests[1].has_body
    served.finish()


def test_requests_at_once_are_answered_in_any_order():
    noting = Noting()
    served = HTTP2(noting)
    streams = [served.ask() for _ in range(3)]
    for request in reversed(noting.requests):
        request.answer(b"%d" % noting.requests.index(request))
        served.turn()
    assert [served.answers[stream].body for stream in streams] == [b"0", b"1", b"2"]
    served.finish()


def test_the_site_knows_the_exchanges_that_are_under_way():
    noting = Noting()
    served = HTTP2(noting)
    assert list(served.site.under_way) == []
    for _ in range(3):
        served.ask()
    under_way = [request.exchange for request in noting.requests]
    assert list(served.site.under_way) == under_way
    noting.requests[1].answer(b"ok")
    assert list(served.site.under_way) == [under_way[0], under_way[2]]
    served.turn()
    served.client.transport.abortConnection()
    served.turn()
    assert list(served.site.under_way) == []


def test_one_stream_too_many_is_refused_and_can_be_tried_again():
    noting = Noting()
    served = HTTP2(noting)
    served.turn()
    streams = [served.ask() for _ in range(MAX_STREAMS + 1)]
    assert len(noting.requests) == MAX_STREAMS
    assert served.answers[streams[-1]].reset == ErrorCodes.REFUSED_STREAM
    noting.requests[0].answer(b"")
    served.turn()
    served.ask()
    assert len(noting.requests) == MAX_STREAMS + 1
    assert served.goaway is None
    served.finish()


def test_a_reader_that_pauses_closes_the_window():
    noting = Noting()
    served = HTTP2(noting)
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, POST)
    served.turn()
    (request,) = noting.requests
    reader = Reader()
    request.read_body(reader)
    request.pause_body()
    sent = 0
    for _ in range(100):
        room = min(served.h2.local_flow_control_window(stream), 16384)
        if not room:
            break
        served.h2.send_data(stream, b"x" * room)
        sent += room
        served.turn()
    assert sent == STREAM_WINDOW
    assert len(reader.body) <= 16384
    request.resume_body()
    served.turn()
    assert len(reader.body) == sent
    assert served.h2.local_flow_control_window(stream) > STREAM_WINDOW // 2
    served.h2.end_stream(stream)
    served.turn()
    assert reader.trailers == []
    served.finish()


def test_a_body_that_nobody_reads_is_bounded_and_holds_back_no_other():
    noting = Noting()
    served = HTTP2(noting)
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, POST)
    served.turn()
    sent = 0
    while room := min(served.h2.local_flow_control_window(stream), 16384):
        served.h2.send_data(stream, b"x" * room)
        sent += room
        served.turn()
    assert STREAM_WINDOW <= sent <= STREAM_WINDOW + 128 * 1024
    # The client takes it back: what the stream held of the connection's window is free again.
    served.h2.reset_stream(stream)
    served.turn()
    collecting = 0
    for _ in range(12):
        stream = served.h2.get_next_available_stream_id()
        served.h2.send_headers(stream, POST)
        served.turn()
        while room := min(served.h2.local_flow_control_window(stream), 16384):
            served.h2.send_data(stream, b"x" * room)
            collecting += room
            served.turn()
        served.h2.reset_stream(stream)
        served.turn()
    assert collecting >= 12 * STREAM_WINDOW
    served.finish()


def test_a_client_that_takes_nothing_pauses_the_producer():
    noting = Noting()
    served = HTTP2(noting)
    served.credit = False
    stream = served.ask()
    (request,) = noting.requests
    producer = Producer()
    request.register_response_producer(producer)
    request.send_head(200, b"", [], length=None)
    sent = 0
    while not producer.told:
        request.send_data(b"x" * 1024)
        sent += 1024
        served.turn()
    assert producer.told == ["pause"]
    assert sent <= 65535 + QUEUED + 2048
    served.h2.acknowledge_received_data(sent - QUEUED, stream)
    served.turn()
    assert producer.told == ["pause", "resume"]
    request.send_end()
    served.turn()
    assert len(served.answers[stream].body) == sent
    assert served.answers[stream].ended
    served.finish()


def test_streams_share_what_the_client_takes():
    noting = answering(length=None, body=b"x" * 200_000)
    served = HTTP2(noting)
    served.credit = False
    for _ in range(3):
        served.ask()
    served.h2.increment_flow_control_window(60_000)
    served.turn()
    sizes = [len(answer.body) for answer in served.answers.values() if answer.fields]
    assert len(sizes) == 3
    served.finish()


def test_a_window_that_stays_closed_costs_its_stream_only():
    noting = answering(length=None, body=b"x" * 100_000)
    served = HTTP2(noting, write_stall=30.0)
    served.credit = False
    stream = served.ask()
    served.lets_pass(29)
    assert served.answers[stream].reset is None
    served.lets_pass(3)
    assert served.answers[stream].reset == ErrorCodes.CANCEL
    assert served.site.limit_hits["write_stall"] == 1
    assert served.goaway is None
    served.finish()


def test_a_client_that_resets_ends_the_request():
    noting = Noting()
    served = HTTP2(noting)
    stream = served.ask()
    gone = []
    noting.requests[0].on_disconnect(lambda: gone.append(1))
    served.h2.reset_stream(stream)
    served.turn()
    assert gone == [1]
    assert served.exchanges[0].aborted
    served.finish()


def test_an_answer_before_the_end_of_the_body_asks_for_no_more_of_it():
    served = HTTP2(answering())
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, POST)
    served.turn()
    answer = served.answers[stream]
    assert (answer.body, answer.ended, answer.reset) == (b"ok", True, ErrorCodes.NO_ERROR)
    served.finish()


def test_an_aborted_answer_is_no_clean_end():
    noting = Noting()
    served = HTTP2(noting)
    first, second = served.ask(), served.ask()
    noting.requests[0].send_head(200, b"", [], length=None)
    noting.requests[0].send_data(b"half")
    noting.requests[0].abort()
    noting.requests[1].answer(b"whole")
    served.turn()
    assert served.answers[first].reset == ErrorCodes.INTERNAL_ERROR
    assert not served.answers[first].ended
    assert served.answers[second].body == b"whole"
    served.finish()


@pytest.mark.parametrize("size", [4, 100_000])
def test_a_head_that_has_not_left_is_taken_back(size):
    noting = Noting()
    served = HTTP2(noting)
    stream = served.ask()
    request = noting.requests[0]
    request.register_response_producer(Producer())
    request.send_head(200, b"", [(b"a", b"b")], length=None)
    request.send_data(b"x" * size)
    request.fail(fault("upstream_closed", "x"))
    served.turn()
    answer = served.answers[stream]
    assert answer.status == 502
    assert b"a" not in answer.fields
    assert b"upstream_closed" in answer.body
    assert answer.ended
    assert not served.exchanges[0].aborted
    served.finish()


def test_a_head_that_has_left_is_not_taken_back():
    noting = Noting()
    served = HTTP2(noting)
    stream = served.ask()
    noting.requests[0].send_head(200, b"", [], length=None)
    served.turn()
    noting.requests[0].fail(fault("upstream_closed", "x"))
    served.turn()
    assert served.answers[stream].status == 200
    assert served.answers[stream].reset == ErrorCodes.INTERNAL_ERROR
    served.finish()


def test_a_client_that_waits_is_asked_for_its_body():
    noting = Noting()
    served = HTTP2(noting)
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, [*POST, (b"expect", b"100-continue")])
    served.turn()
    assert served.answers.get(stream) is None
    reader = Reader()
    noting.requests[0].read_body(reader)
    served.turn()
    assert served.answers[stream].informational == [{b":status": b"100"}]
    served.finish()


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ([(b":method", b"CONNECT"), *GET[1:]], 501, b"method_not_implemented"),
        ([*GET[:3], (b":path", b"/a b")], 400, b"bad_request"),
        ([*GET, (b"host", b"other")], 400, b"bad_request"),
        ([*GET, (b"x", b"y" * 40_000)], 431, b"header_fields_too_large"),
        ([*GET[:3], (b":path", b"/" + b"y" * 9_000)], 414, b"uri_too_long"),
        ([*GET, *[(b"x", b"y")] * 101], 431, b"header_fields_too_large"),
    ],
)
def test_a_bad_request_is_refused_and_the_others_go_on(fields, status, code):
    noting = Noting()
    served = HTTP2(noting)
    good = served.ask()
    answer = served.answer(fields)
    assert answer.status == status
    assert code in answer.body
    assert answer.ended
    noting.requests[0].answer(b"fine")
    served.turn()
    assert served.answers[good].body == b"fine"
    assert len(noting.requests) == 1
    assert [exchange.status for exchange in served.exchanges] == [status, 200]
    served.finish()


@pytest.mark.parametrize(
    "fields",
    [
        [*GET, (b"connection", b"close")],
        [*GET, (b"Upper", b"case")],
        [*GET[:3], (b":path", b"")],
        GET[1:],
        [*GET, (b":path", b"/")],
    ],
)
def test_what_is_no_request_is_a_stream_error(fields):
    noting = Noting()
    served = HTTP2(noting)
    good = served.ask()
    assert served.answer(fields).reset == ErrorCodes.PROTOCOL_ERROR
    noting.requests[0].answer(b"fine")
    served.turn()
    assert served.answers[good].body == b"fine"
    assert [exchange.error for exchange in served.exchanges] == ["bad_request", None]
    served.finish()


def test_malformed_trailers_are_a_stream_error():
    noting = Noting()
    served = HTTP2(noting)
    reader = Reader()
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, POST)
    served.turn()
    noting.requests[0].read_body(reader)
    served.h2.send_headers(stream, [(b"x", b"\r\n")], end_stream=True)
    served.turn()
    assert served.answers[stream].reset == ErrorCodes.PROTOCOL_ERROR
    assert reader.error is not None
    assert served.exchanges[0].aborted
    served.finish()


@pytest.mark.parametrize("stated", [True, False])
def test_a_body_above_the_limit(stated):
    noting = Noting()
    served = HTTP2(noting, body=1000)
    more = [(b"content-length", b"1001")] if stated else []
    answer = served.answer(POST, b"x" * 1001, more=more)
    assert answer.status == 413
    assert served.site.limit_hits["body"] == 1
    served.finish()


def test_a_slow_body_is_answered_with_408():
    noting = Noting(lambda request: request.read_body(Reader()))
    served = HTTP2(noting, body_rate=500, body_rate_window=10.0)
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, POST)
    served.turn()
    for _ in range(16):
        if stream not in served.answers:
            served.h2.send_data(stream, b"x" * 100)
        served.lets_pass(1)
    assert served.answers[stream].status == 408
    assert served.site.limit_hits["body_rate"] == 1
    assert served.goaway is None
    served.finish()


def test_a_body_that_is_fast_enough_may_take_long():
    noting = Noting(lambda request: request.read_body(Reader()))
    served = HTTP2(noting)
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, POST)
    served.turn()
    for _ in range(60):
        served.h2.send_data(stream, b"x" * 600)
        served.lets_pass(1)
    assert stream not in served.answers
    served.finish()


def test_a_body_that_was_asked_for_and_does_not_come():
    noting = Noting()
    served = HTTP2(noting)
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, [*POST, (b"expect", b"100-continue")])
    served.turn()
    served.lets_pass(40)
    noting.requests[0].read_body(Reader())
    served.lets_pass(9)
    assert served.answers[stream].fields is None
    served.lets_pass(3)
    assert served.answers[stream].status == 408
    served.finish()


def test_a_reader_that_goes_on_starts_the_clock():
    noting = Noting()
    served = HTTP2(noting)
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, POST)
    served.h2.send_data(stream, b"x" * 100)
    served.turn()
    noting.requests[0].read_body(Reader())
    noting.requests[0].pause_body()
    served.lets_pass(60)
    assert stream not in served.answers
    noting.requests[0].resume_body()
    served.lets_pass(20)
    assert served.answers[stream].status == 408
    served.finish()


def test_frames_that_never_end_with_a_read_are_no_slow_header():
    served = HTTP2(answering())
    ping = frame(6, b"x" * 8)
    served.turn()
    served.client.transport.write(ping[:3])
    for _ in range(30):
        served.client.transport.write(ping[3:] + ping[:3])
        served.wait(1)
    assert not served.closed
    served.wait(11)
    assert served.closed
    served.finish()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4)[:5],
    ],
)
def test_a_beginning_has_ten_seconds(sent):
    served = HTTP2(Noting())
    served.client.transport.write(sent)
    served.wait(9)
    assert not served.closed
    served.wait(4)
    assert served.closed
    assert served.site.limit_hits["header_timeout"] == 1
    served.finish()


def test_a_header_that_trickles_has_ten_seconds():
    served = HTTP2(Noting())
    served.turn()
    served.raw(frame(1, b"\x82", stream=1))
    for _ in range(9):
        served.raw(frame(9, b"\x86", stream=1))
        served.wait(1)
    assert not served.closed
    served.wait(4)
    assert served.closed
    served.finish()


def test_an_idle_connection_is_told_goodbye():
    served = HTTP2(answering(), idle_timeout=75.0)
    served.ask()
    served.lets_pass(74)
    assert served.goaway is None
    served.lets_pass(2)
    assert served.goaway.error_code == ErrorCodes.NO_ERROR
    served.wait(3)
    assert served.closed
    served.finish()


def test_stopping_lets_streams_finish():
    noting = Noting()
    served = HTTP2(noting)
    stream = served.ask()
    stopped = []
    served.site.stop().addCallback(stopped.append)
    served.turn()
    # At first only that it will end: what is on its way then is answered.
    assert served.goaway.error_code == ErrorCodes.NO_ERROR
    assert served.goaway.last_stream_id == 2**31 - 1
    crossing = stream + 2
    served.client.transport.write(frame(1, served.h2.encoder.encode(GET), flags=5, stream=crossing))
    served.settle()
    assert len(noting.requests) == 2
    served.wait(CROSSING_TIME)
    served.turn()
    assert served.goaway.error_code == ErrorCodes.NO_ERROR
    assert served.goaway.last_stream_id == crossing
    assert not served.closed
    # Not answered, so that the client can take it elsewhere.
    refused = frame(1, served.h2.encoder.encode(GET), flags=5, stream=crossing + 2)
    served.client.transport.write(refused)
    served.settle()
    assert len(noting.requests) == 2
    for request, body in zip(noting.requests, (b"first", b"second"), strict=True):
        request.answer(body)
    served.settle()
    assert b"first" in served.client.received
    assert b"second" in served.client.received
    served.wait(3)
    assert served.closed
    assert stopped == [None]
    served.finish()


@pytest.mark.parametrize("end", ["drain", "stop"])
def test_the_first_request_of_a_new_connection_is_waited_for_shortly(end):
    noting = Noting()
    served = HTTP2(noting)
    served.turn()
    getattr(served.site, end)()
    served.lets_pass(LAST_HEAD - 0.1)
    assert served.goaway is None
    stream = served.ask()
    served.turn()
    assert served.goaway.last_stream_id == 2**31 - 1
    served.wait(CROSSING_TIME)
    served.turn()
    assert served.goaway.last_stream_id == stream
    noting.requests[0].answer(b"done")
    served.settle()
    assert b"done" in served.client.received
    served.wait(3)
    assert served.closed
    served.finish()


@pytest.mark.parametrize("end", ["drain", "stop"])
def test_a_new_connection_without_a_request_is_told_goodbye(end):
    served = HTTP2(Noting())
    served.turn()
    getattr(served.site, end)()
    served.lets_pass(LAST_HEAD + 0.1)
    assert served.goaway.last_stream_id == 0
    served.wait(3)
    assert served.closed
    served.finish()


@pytest.mark.parametrize("asked_first", [True, False])
def test_draining_answers_one_more_request_and_says_that_it_is_the_last(asked_first):
    noting = Noting()
    served = HTTP2(noting)
    served.turn()
    if asked_first:
        served.ask()
        served.site.drain()
    else:
        # The connection came too late to be told: it is told with its first request.
        served.site.draining = True
        served.ask()
    served.turn()
    assert served.goaway.error_code == ErrorCodes.NO_ERROR
    noting.requests[0].answer(b"done")
    served.settle()
    assert b"done" in served.client.received
    served.wait(3)
    assert served.closed
    served.finish()


def test_the_clients_goaway_lets_its_requests_finish():
    noting = Noting()
    served = HTTP2(noting)
    stream = served.ask()
    served.raw(frame(7, b"\0" * 8))
    assert served.goaway.last_stream_id == stream
    noting.requests[0].answer(b"done")
    served.settle()
    assert b"done" in served.client.received
    served.wait(3)
    assert served.closed
    served.finish()


def test_a_lost_connection_ends_every_request():
    noting = Noting()
    served = HTTP2(noting)
    for _ in range(3):
        served.ask()
    gone = []
    for request in noting.requests:
        request.on_disconnect(lambda: gone.append(1))
    served.finish()
    assert gone == [1, 1, 1]
    assert all(exchange.aborted for exchange in served.exchanges)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", ErrorCodes.PROTOCOL_ERROR),
        (frame(0, b"x", stream=1), ErrorCodes.PROTOCOL_ERROR),
        (frame(1, b"\xff" * 9, flags=4, stream=1), ErrorCodes.COMPRESSION_ERROR),
        (frame(1, b"\x82", flags=4, stream=2), ErrorCodes.PROTOCOL_ERROR),
        (frame(5, b"\0\0\0\2\x82", flags=4, stream=1), ErrorCodes.PROTOCOL_ERROR),
        (frame(6, b"x"), ErrorCodes.FRAME_SIZE_ERROR),
        (frame(6, b"x" * 8, stream=1), ErrorCodes.PROTOCOL_ERROR),
        (frame(4, b"x"), ErrorCodes.FRAME_SIZE_ERROR),
        (frame(8, b"\0\0\0\0"), ErrorCodes.PROTOCOL_ERROR),
        (frame(9, b"\x82", flags=4, stream=1), ErrorCodes.PROTOCOL_ERROR),
        (frame(3, b"\0\0\0\0", stream=1), ErrorCodes.PROTOCOL_ERROR),
        (frame(7, b"\0"), ErrorCodes.PROTOCOL_ERROR),
        (frame(0, b"x" * 16_385, stream=1), ErrorCodes.FRAME_SIZE_ERROR),
        (b"\xff\xff\xff\0\0\0\0\0\1", ErrorCodes.FRAME_SIZE_ERROR),
        (frame(1, b"\x82", stream=1) + frame(6, b"x" * 8), ErrorCodes.PROTOCOL_ERROR),
    ],
)
def test_a_broken_protocol_ends_the_connection(sent, code):
    noting = Noting()
    served = HTTP2(noting)
    if not sent.startswith(b"GET"):
        served.turn()
    served.raw(sent)
    assert served.goaway.error_code in {code, ErrorCodes.PROTOCOL_ERROR}
    assert noting.requests == []
    served.wait(3)
    assert served.closed
    served.finish()


def test_what_came_before_the_fault_is_not_forgotten():
    noting = Noting()
    served = HTTP2(noting)
    served.turn()
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, GET, end_stream=True)
    served.raw(served.h2.data_to_send() + frame(6, b"x" * 7))
    assert len(noting.requests) == 1
    assert served.goaway.last_stream_id == stream
    assert served.exchanges[0].aborted
    served.finish()


def open_streams(served, count):
    for _ in range(count):
        if served.goaway is not None:
            return
        served.ask()


def resets(served):
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, GET, end_stream=True)
    served.h2.reset_stream(stream)


def bad_requests(served):
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, [*GET, (b"connection", b"close")], end_stream=True)


def overflows(served):
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, POST)
    data = served.h2.data_to_send() + frame(8, b"\x7f\xff\xff\xff", stream=stream)
    served.client.transport.write(data)
    served.turn()


def written(make):
    def send(served):
        served.client.transport.write(make())
        served.turn()

    return send


FLOODS = {
    "rapid reset": (resets, MAX_RESETS + 1),
    "bad requests": (bad_requests, MAX_RESETS + 1),
    "resets provoked by windows": (overflows, MAX_RESETS + 1),
    "ping": (written(lambda: frame(6, b"x" * 8)), 1000),
    "settings": (written(lambda: frame(4)), 1000),
    "large settings": (written(lambda: frame(4, b"\0\1\0\0\x10\0" * 2000)), 20),
    "priority": (written(lambda: frame(2, b"\0\0\0\0\1", stream=5)), 1000),
    "unknown": (written(lambda: frame(0xEE, b"x")), 1000),
    "window updates": (written(lambda: frame(8, b"\0\0\0\1")), 1000),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_floods_end_with_a_request_to_calm_down(flood):
    send, most = FLOODS[flood]
    noting = Noting()
    served = HTTP2(noting)
    served.turn()
    count = 0
    while served.goaway is None and count < 2000:
        send(served)
        served.turn()
        count += 1
    assert served.goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    assert count <= most
    limit = "http2_resets" if most == MAX_RESETS + 1 else "http2_idle_frames"
    assert served.site.limit_hits[limit] == 1
    served.wait(3)
    assert served.closed
    served.finish()


def test_goaways_are_a_flood_too():
    noting = Noting()
    served = HTTP2(noting)
    served.ask()
    for _ in range(1000):
        served.client.transport.write(frame(7, b"\0" * 8))
    served.settle()
    assert served.site.limit_hits["http2_idle_frames"] == 1
    assert served.exchanges[0].aborted
    served.wait(3)
    assert served.closed
    served.finish()


@pytest.mark.parametrize("data", [b"", b"x"])
def test_data_without_data_is_a_flood(data):
    noting = Noting(lambda request: request.read_body(Reader()))
    served = HTTP2(noting)
    stream = served.h2.get_next_available_stream_id()
    served.h2.send_headers(stream, POST)
    served.turn()
    count = 0
    while served.goaway is None and count < 2000:
        served.h2.send_data(stream, data)
        served.turn()
        count += 1
    assert served.goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    assert count <= 1000
    served.finish()


@pytest.mark.parametrize("data", [b"", b"\x82"])
def test_continuations_are_bounded(data):
    noting = Noting()
    served = HTTP2(noting)
    served.turn()
    served.raw(frame(1, b"\x82", stream=1))
    count = 0
    while served.goaway is None and count < 2000:
        served.raw(frame(9, data, stream=1))
        count += 1
    assert count <= 33
    assert noting.requests == []
    assert served.site.limit_hits["header"] == 1
    served.finish()


def test_a_header_block_that_is_too_long_is_refused_before_it_is_kept():
    noting = Noting()
    served = HTTP2(noting)
    served.turn()
    served.raw(frame(1, b"\x82" + b"\x20" * 16_000, stream=1))
    sent = 16_000
    while served.goaway is None and sent < 1_000_000:
        served.raw(frame(9, b"\x20" * 16_000, stream=1))
        sent += 16_000
    assert sent < 120_000
    assert served.goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    assert served.site.limit_hits["header"] == 1
    assert noting.requests == []
    served.wait(3)
    assert served.closed
    served.finish()


def test_settings_that_mean_nothing_here_are_not_kept():
    served = HTTP2(Noting())
    served.turn()
    kept = len(served.channel._h2.remote_settings)
    for first in range(0x10, 0x10 + 10_000, 1000):
        settings = b"".join(struct.pack(">HI", first + more, 1) for more in range(1000))
        served.raw(frame(4, settings))
        served.lets_pass(1)
    assert served.goaway is None
    assert len(served.channel._h2.remote_settings) == kept
    served.finish()


def test_a_header_bomb_ends_the_connection():
    served = HTTP2(Noting())
    served.turn()
    # One large field into the table, then many times its one-byte name.
    block = b"\x82\x87\x84\x41\x01h" + b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000
    served.raw(frame(1, block + b"\xbe" * 4000, flags=5, stream=1))
    assert served.goaway is not None
    assert served.site.limit_hits["header"] == 1
    served.wait(3)
    assert served.closed
    served.finish()


def test_a_slow_trickle_of_pings_is_no_flood():
    served = HTTP2(Noting())
    served.turn()
    served.ask()
    for _ in range(2000):
        served.client.transport.write(frame(6, b"x" * 8))
        served.clock.advance(0.011)
        served.settle()
    served.turn()
    assert served.goaway is None
    served.finish()


def test_a_long_download_in_small_steps_is_no_flood():
    noting = Noting()
    served = HTTP2(noting)
    stream = served.ask()
    (request,) = noting.requests
    request.send_head(200, b"", [], length=None)
    for _ in range(1500):
        request.send_data(b"x" * 40)
        served.turn()
        # As a client does that gives credit for each frame.
        served.h2.increment_flow_control_window(40)
        served.h2.increment_flow_control_window(40, stream)
        served.turn()
    assert served.goaway is None
    request.send_end()
    served.turn()
    assert len(served.answers[stream].body) == 60_000
    served.finish()
