import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import IPushProducer
from twisted.web.resource import Resource
from zope.interface.verify import verifyObject

from portal_gateway.errors import CAUSES, fault
from portal_gateway.frontend.closing import LINGER_BOUND, LINGER_TIME
from portal_gateway.frontend.http1_stream import DRAIN_BOUND
from tests.frontend.serving import (
    GET,
    HOST,
    Collecting,
    Noting,
    Producer,
    Reader,
    Served,
    read_responses,
)
from tests.wire.raw_requests import ROWS, SMALL_LIMITS, Row, Seen

POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
EXPECT = b"Expect: 100-continue\r\n"


def post(body: bytes, length: int | None = None) -> bytes:
    return POST + b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


def answer(request, body=b"hello", status=200, **fields):
    request.send_head(status, b"OK", list(fields.items()), length=len(body))
    request.send_data(body)
    request.send_end()


# One parse or a refusal.


def parts(row: Row) -> list[object]:
    return [row.verdict] if isinstance(row.verdict, str) else list(row.verdict)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
def test_raw_request(row: Row, bytewise: bool) -> None:
    collecting = Collecting()
    served = Served(collecting, **SMALL_LIMITS)
    raw = row.raw
    received = served.send(*[raw[i : i + 1] for i in range(len(raw))] if bytewise else [raw])
    verdict = parts(row)
    accepted = [part for part in verdict if isinstance(part, Seen)]
    # The site itself answers what is asked of no Resource.
    dispatched = [seen for seen in accepted if seen.target != b"*"]
    assert [
        Seen(r.head.method, r.uri, r.head.host, reader.body, tuple(reader.trailers or ()),
             r.head.version, r.head.keep_alive)
        for r, reader in zip(collecting.requests, collecting.readers, strict=True)
        if reader.error is None
    ] == dispatched  # fmt: skip
    statuses = [CAUSES[part].status if isinstance(part, str) else 200 for part in verdict]
    methods = [part.method if isinstance(part, Seen) else b"GET" for part in verdict]
    responses = read_responses(received, methods, ended=served.closed)
    assert [status for status, _, _ in responses] == statuses
    refused = isinstance(verdict[-1], str)
    assert served.closed is (refused or not accepted[-1].keep_alive)
    if refused:
        _, fields, body = responses[-1]
        assert json.loads(body)["error"] == verdict[-1]
        assert fields[b"connection"] == b"close"
    assert [exchange.status for exchange in served.exchanges] == statuses
    assert served.exchanges[-1].error == (verdict[-1] if refused else None)
    served.finish()
    assert len(served.exchanges) == len(statuses)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(ROWS), min_size=1, max_size=4), st.lists(st.integers(0, 999)))
def test_any_bytes_end_in_answers_and_nothing_left_behind(rows: list[Row], cuts: list[int]) -> None:
    raw = b"".join(row.raw for row in rows)
    edges = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    served = Served(Collecting(), **SMALL_LIMITS)
    served.send(*[raw[a:b] for a, b in pairwise(edges) if a < b])
    served.wait(200)
    assert served.closed
    assert served.client.received.startswith(b"HTTP/1.1 ")
    served.finish()
    assert all(exchange.finished is not None for exchange in served.exchanges)


# Exchanges.


def test_exchange() -> None:
    served = Served(Collecting())
    served.send(
        b"PUT /a/b?secret HTTP/1.1\r\nHost: h\r\nUser-Agent: me\xfc\r\nX-Request-ID: mine\r\n"
        b"Content-Length: 3\r\n\r\nab"
    )
    assert served.exchanges == []
    served.wait(2)
    served.send(b"c")
    (exchange,) = served.exchanges
    assert exchange.request_id == "mine"
    assert exchange.client_address == "192.0.2.7"
    assert (exchange.method, exchange.path) == ("PUT", "/a/b")
    assert exchange.user_agent == "meü"
    assert (exchange.status, exchange.error, exchange.aborted) == (200, None, False)
    assert (exchange.bytes_in, exchange.bytes_out) == (3, 2)
    assert (exchange.started, exchange.first_byte, exchange.finished) == (1000, 1002, 1002)
    served.finish()
    assert len(served.exchanges) == 1


def test_a_slow_header_counts_from_its_first_byte() -> None:
    served = Served(Collecting())
    served.send(GET)
    served.wait(3)
    served.send(GET[:5])
    served.wait(4)
    served.send(GET[5:])
    assert served.exchanges[1].started == 1003
    assert served.exchanges[1].finished == 1007
    served.wait(5)
    served.send(GET)
    assert served.exchanges[2].started == 1012
    served.send(GET[:5])
    served.wait(10)
    assert served.client.received.count(b"HTTP/1.1 408") == 1
    served.finish()


def test_two_request_ids_are_none() -> None:
    served = Served(Collecting())
    served.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Request-ID: a\r\nX-Request-ID: b\r\n\r\n")
    assert served.exchanges[0].request_id == "made-0"
    served.finish()


def test_the_exchange_of_a_refused_request_has_what_is_known() -> None:
    served = Served(Collecting())
    served.send(b"DELETE /a?b HTTP/1.1\r\nHost : h\r\n\r\n")
    (exchange,) = served.exchanges
    assert (exchange.method, exchange.path, exchange.status) == ("DELETE", "/a", 400)
    assert exchange.error == "bad_request"
    assert exchange.bytes_out > 0
    served.finish()


def test_a_refused_head_request_gets_no_body() -> None:
    served = Served(Collecting())
    received = served.send(b"HEAD / HTTP/1.1\r\nHost : h\r\n\r\n")
    ((status, fields, body),) = read_responses(received, [b"HEAD"], ended=True)
    assert (status, body) == (400, b"")
    assert int(fields[b"content-length"]) > 0
    served.finish()


# Writing.


class Writes:
    """Counts the writes to a transport."""

    def __init__(self, served: Served) -> None:
        self.count = 0
        write = served.transport.write

        def counted(data: bytes) -> None:
            self.count += 1
            write(data)

        served.transport.write = counted


@pytest.mark.parametrize("length", [5, None])
def test_head_and_body_leave_in_one_write(length: int | None) -> None:
    def respond(request):
        request.send_head(200, b"OK", [], length=length)
        request.send_data(b"he")
        request.send_data(b"llo")
        request.send_end()

    at_once, later = Noting(respond), Noting()
    for noting in (at_once, later):
        served = Served(noting)
        writes = Writes(served)
        served.send(GET)
        if noting is later:
            respond(noting.requests[0])
            served.settle()
        assert writes.count == 1
        assert read_responses(served.client.received)[0][2] == b"hello"
        served.finish()


def test_a_head_without_body_leaves_at_the_end_of_the_turn() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(GET)
    noting.requests[0].send_head(200, b"OK", [], length=None)
    served.link.flush()
    assert served.client.received == b""
    served.clock.advance(0)
    served.link.flush()
    assert served.client.received.endswith(b"\r\n\r\n")
    served.finish()


def test_pieces_of_a_stream_are_written_at_once() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(GET)
    request = noting.requests[0]
    request.send_head(200, b"OK", [], length=None)
    served.settle()
    head = served.client.received
    for piece in (b"one", b"two"):
        request.send_data(piece)
        served.link.flush()
    assert served.client.received == head + b"3\r\none\r\n3\r\ntwo\r\n"
    request.send_end([(b"X-Sum", b"6")])
    served.link.flush()
    assert served.client.received.endswith(b"0\r\nX-Sum: 6\r\n\r\n")
    served.finish()


def test_large_chunks_are_framed_too() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(GET)
    request = noting.requests[0]
    request.send_head(200, b"OK", [], length=None)
    body = bytes(range(256)) * 1000
    for size in (1, 8 * 1024, 8 * 1024 + 1, 70_000):
        request.send_data(body[:size])
        served.settle()
    request.send_end()
    ((_, _, received),) = read_responses(served.send())
    assert received == body[:1] + body[: 8 * 1024] + body[: 8 * 1024 + 1] + body[:70_000]
    served.finish()


@pytest.mark.parametrize(
    ("start", "status", "length", "expected", "keeps"),
    [
        (b"HEAD / HTTP/1.1", 200, 5, b"Content-Length: 5\r\n", True),
        (b"HEAD / HTTP/1.1", 200, None, b"", True),
        (b"GET / HTTP/1.1", 204, None, b"", True),
        (b"GET / HTTP/1.1", 204, 0, b"", True),
        (b"GET / HTTP/1.1", 304, None, b"", True),
        (b"GET / HTTP/1.1", 304, 5, b"Content-Length: 5\r\n", True),
        (b"GET / HTTP/1.1", 200, 0, b"Content-Length: 0\r\n", True),
        (b"GET / HTTP/1.0", 200, 5, b"Content-Length: 5\r\nConnection: close\r\n\r\nhello", False),
        (b"GET / HTTP/1.0", 200, None, b"Connection: close\r\n\r\nhello", False),
        (
            b"GET / HTTP/1.0\r\nConnection: keep-alive",
            200,
            5,
            b"Content-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
            True,
        ),
        (
            b"GET / HTTP/1.0\r\nConnection: keep-alive",
            200,
            None,
            b"Connection: close\r\n\r\nhello",
            False,
        ),
        (
            b"GET / HTTP/1.1\r\nConnection: close",
            200,
            5,
            b"Content-Length: 5\r\nConnection: close\r\n\r\nhello",
            False,
        ),
    ],
)
def test_framing(
    start: bytes, status: int, length: int | None, expected: bytes, keeps: bool
) -> None:
    def respond(request):
        request.send_head(status, b"OK", [], length=length)
        if length != 0:
            request.send_data(b"hello")
        request.send_end([(b"X-Trailer", b"dropped")])

    served = Served(Noting(respond))
    received = served.send(start + b"\r\n" + HOST + b"\r\n")
    expected += b"" if b"\r\n\r\n" in expected else b"\r\n"
    assert received == b"HTTP/1.1 %d OK\r\n" % status + expected
    assert served.closed is not keeps
    assert served.exchanges[0].bytes_out == received.count(b"hello") * 5
    served.finish()


def test_a_resource_can_close_the_connection() -> None:
    def respond(request):
        request.send_head(200, b"OK", [(b"Connection", b"close")], length=0)
        request.send_end()

    served = Served(Noting(respond))
    assert served.send(GET + GET).count(b"HTTP/1.1") == 1
    assert served.closed
    served.finish()


def test_informational_responses() -> None:
    def respond(request):
        request.send_informational(103, b"Early Hints", [(b"Link", b"</a>"), (b"Connection", b"x")])
        request.send_informational(102, b"Processing", [])
        request.send_informational(100, b"Continue", [])
        answer(request)
        request.send_informational(103, b"Late", [])

    served = Served(Noting(respond))
    received = served.send(GET)
    assert received.startswith(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200"
    )
    assert received.count(b"HTTP/1.1 ") == 3
    served.finish()
    served = Served(Noting(respond))
    assert b" 103 " not in served.send(b"GET / HTTP/1.0\r\n\r\n")
    served.finish()


# One after the other.


def test_pipelined_requests_are_answered_in_order() -> None:
    noting = Noting()
    served = Served(noting)
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(5))
    served.send(requests)
    for number in range(5):
        assert [request.uri for request in noting.requests][number:] == [b"/%d" % number]
        assert served.paused is (number < 4)
        answer(noting.requests[-1], b"%d" % number)
        served.settle()
    bodies = [body for _, _, body in read_responses(served.client.received, [b"GET"] * 5)]
    assert bodies == [b"0", b"1", b"2", b"3", b"4"]
    served.finish()


def test_pipelined_with_bodies() -> None:
    served = Served(Collecting())
    chunks = POST + CHUNKED + b"1\r\nx\r\n0\r\n\r\n"
    received = served.send((post(b"abc") + chunks + GET) * 3)
    assert [r[0] for r in read_responses(received, [b"GET"] * 9)] == [200] * 9
    assert [reader.body for reader in served.site.resource.readers] == [b"abc", b"x", b""] * 3
    served.finish()


def test_read_ahead_is_bounded() -> None:
    noting = Noting()
    served = Served(noting)
    served.link.chunk = 64 * 1024
    served.client.transport.write(GET * 10_000)
    served.settle()
    assert served.paused
    assert len(noting.requests) == 1
    assert served.link.client.sent <= 64 * 1024
    answer(noting.requests[0])
    served.settle()
    assert len(noting.requests) == 2
    assert served.link.client.sent <= 64 * 1024
    served.finish()


def test_many_pipelined_requests_and_a_client_that_never_reads() -> None:
    noting = Noting(lambda request: answer(request, b"x" * 1000))
    served = Served(noting)
    served.link.client.pauseProducing()
    served.link.chunk = 16 * 1024
    served.client.transport.write(GET * 1000)
    served.settle()
    assert served.paused
    assert served.transport.waiting < 2 * 64 * 1024
    done = len(noting.requests)
    assert done < 200
    served.link.client.resumeProducing()
    served.settle()
    assert len(noting.requests) == 1000
    assert len(read_responses(served.client.received, [b"GET"] * 1000)) == 1000
    served.finish()


def test_keep_alive() -> None:
    served = Served(Collecting())
    for count in range(1, 4):
        received = served.send(GET)
        assert received.count(b"HTTP/1.1 200") == count
        served.wait(60)
    assert not served.closed
    served.finish()


# Bodies in.


def test_a_body_that_nobody_reads_stops_the_connection_at_its_bound() -> None:
    noting = Noting()
    served = Served(noting)
    served.link.chunk = 16 * 1024
    served.client.transport.write(post(b"x" * 1_000_000))
    served.settle()
    assert served.paused
    assert served.link.client.sent <= (64 + 16) * 1024
    served.wait(300)
    assert not served.closed  # nothing is the client's fault here
    reader = Reader()
    noting.requests[0].read_body(reader)
    served.settle()
    assert reader.body == b"x" * 1_000_000
    assert reader.trailers == []
    assert not served.paused
    answer(noting.requests[0])
    served.send(GET)
    assert len(noting.requests) == 2
    served.finish()


def test_a_reader_that_pauses_stops_the_connection() -> None:
    noting = Noting()
    served = Served(noting)
    served.link.chunk = 1000
    served.client.transport.write(post(b"x" * 20_000))
    reader = Reader()
    served.link.step()
    request = noting.requests[0]
    request.read_body(reader)
    request.pause_body()
    served.settle()
    assert served.paused
    before = len(reader.body)
    served.wait(100)
    assert len(reader.body) == before < 2000
    request.resume_body()
    served.settle()
    assert len(reader.body) == 20_000
    assert reader.trailers == []
    served.finish()


def test_a_body_may_be_read_after_it_is_complete() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(POST + CHUNKED + b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n" + GET)
    assert len(noting.requests) == 1
    reader = Reader()
    noting.requests[0].read_body(reader)
    assert (reader.body, reader.trailers) == (b"abc", [(b"X-Sum", b"1")])
    served.finish()


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n\r\n", CHUNKED])
def test_expect_is_answered_when_the_body_is_first_read(framing: bytes) -> None:
    noting = Noting()
    served = Served(noting)
    assert served.send(POST + EXPECT + framing) == b""
    served.wait(60)
    assert not served.closed  # waiting for the 100 is not slowness
    reader = Reader()
    noting.requests[0].read_body(reader)
    assert served.send() == b"HTTP/1.1 100 Continue\r\n\r\n"
    served.send(b"hello" if framing is not CHUNKED else b"5\r\nhello\r\n0\r\n\r\n")
    assert reader.body == b"hello"
    answer(noting.requests[0])
    assert read_responses(served.send()[25:])[0][0] == 200
    assert not served.closed
    served.finish()


def test_a_client_that_does_not_wait_is_not_told_to_continue() -> None:
    collecting = Collecting()
    served = Served(collecting)
    received = served.send(POST + EXPECT + b"Content-Length: 5\r\n\r\n", b"he", b"llo")
    assert received.count(b"100 Continue") == 1
    served.finish()
    noting = Noting()
    served = Served(noting)
    served.send(POST + EXPECT + b"Content-Length: 5\r\n\r\nhello")
    noting.requests[0].read_body(Reader())
    assert served.send() == b""
    served.finish()


def test_a_final_answer_instead_of_continue_closes() -> None:
    served = Served(Noting(answer))
    received = served.send(POST + EXPECT + b"Content-Length: 5\r\n\r\n")
    assert b"Connection: close" in received
    assert served.closed
    assert b" 100 " not in received
    served.finish()


def test_continue_is_passed_on_once() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(POST + EXPECT + b"Content-Length: 5\r\n\r\n")
    noting.requests[0].send_informational(100, b"Continue", [])
    noting.requests[0].send_informational(100, b"Continue", [])
    noting.requests[0].read_body(Reader())
    assert served.send() == b"HTTP/1.1 100 Continue\r\n\r\n"
    served.finish()


def test_an_early_answer_keeps_the_connection_when_the_rest_is_short() -> None:
    noting = Noting(answer)
    served = Served(noting)
    received = served.send(post(b"he", length=5))
    assert b"Connection: close" not in received
    assert served.send(b"llo" + GET).count(b"HTTP/1.1 200") == 2
    assert not served.closed
    served.finish()


def test_after_an_early_answer_the_body_goes_to_nobody() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(post(b"he", length=7))
    request = noting.requests[0]
    reader = Reader()
    request.read_body(reader)
    request.pause_body()
    served.send(b"l")
    assert served.paused
    answer(request)
    served.settle()
    assert not served.paused
    assert served.send(b"lo y" + GET).count(b"HTTP/1.1 200") == 1
    assert len(noting.requests) == 2
    assert (reader.body, reader.over) == (b"he", False)
    served.finish()
    assert not reader.over


def test_an_early_answer_closes_when_the_rest_is_long() -> None:
    noting = Noting(answer)
    served = Served(noting)
    received = served.send(post(b"he", length=DRAIN_BOUND + 3))
    assert b"Connection: close" in received
    assert served.closed
    served.finish()


def test_an_early_answer_to_endless_chunks_closes_after_a_bound() -> None:
    noting = Noting(answer)
    served = Served(noting)
    served.send(POST + CHUNKED)
    piece = b"400\r\n" + b"x" * 1024 + b"\r\n"
    sent = 0
    while not served.closed:
        served.send(piece)
        sent += 1024
        assert sent <= DRAIN_BOUND + 2048
    assert len(served.exchanges) == 1
    served.finish()


def test_an_early_answer_and_a_broken_rest() -> None:
    served = Served(Noting(answer))
    received = served.send(POST + CHUNKED, b"zzz\r\n")
    assert received.count(b"HTTP/1.1 ") == 1
    assert served.closed
    served.finish()
    assert len(served.exchanges) == 1


def test_what_comes_after_a_long_early_answer_is_dropped_for_a_while() -> None:
    noting = Noting(answer)
    served = Served(noting)
    served.link.client.pauseProducing()
    served.client.transport.write(post(b"", length=10 * LINGER_BOUND))
    served.link.chunk = 64 * 1024
    served.settle()
    for _ in range(64):
        served.client.transport.write(b"x" * 64 * 1024)
    served.settle()
    assert LINGER_BOUND <= served.link.client.sent <= LINGER_BOUND + 128 * 1024 + 1000
    assert served.paused
    assert served.transport.connected
    served.wait(LINGER_TIME)
    served.link.client.resumeProducing()
    served.settle()
    assert not served.transport.connected
    assert read_responses(served.client.received, ended=True)[0][0] == 200
    served.finish()


def test_a_broken_body_before_the_answer() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(POST + CHUNKED)
    reader = Reader()
    noting.requests[0].read_body(reader)
    gone: list[int] = []
    noting.requests[0].on_disconnect(lambda: gone.append(1))
    received = served.send(b"1\r\nx\r\nz\r\n")
    ((status, fields, body),) = read_responses(received, ended=True)
    assert (status, fields[b"connection"]) == (400, b"close")
    assert json.loads(body)["error"] == "bad_request"
    assert reader.error is not None
    assert reader.error.cause.code == "bad_request"
    assert gone == []  # it was answered
    (exchange,) = served.exchanges
    assert (exchange.status, exchange.error, exchange.aborted) == (400, "bad_request", False)
    answer(noting.requests[0])
    assert served.send() == received
    served.finish()


def test_a_broken_body_after_the_answer_began() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(POST + CHUNKED)
    request = noting.requests[0]
    reader = Reader()
    request.read_body(reader)
    request.send_head(200, b"OK", [], length=None)
    request.send_data(b"x")
    served.settle()
    received = served.send(b"z\r\n")
    assert not received.endswith(b"0\r\n\r\n")
    assert served.closed
    assert reader.error is not None
    (exchange,) = served.exchanges
    assert (exchange.status, exchange.error, exchange.aborted) == (200, "bad_request", True)
    served.finish()


def test_a_body_that_grows_too_large() -> None:
    noting = Noting()
    served = Served(noting, body=10)
    served.send(POST + CHUNKED, b"5\r\nhello\r\n")
    reader = Reader()
    noting.requests[0].read_body(reader)
    received = served.send(b"6\r\n")
    assert read_responses(received, ended=True)[0][0] == 413
    assert reader.body == b"hello"
    assert served.site.limit_hits["body"] == 1
    served.finish()


# Back-pressure out.


def test_a_slow_client_pauses_whoever_produces_the_response() -> None:
    noting = Noting()
    served = Served(noting)
    producer = Producer()
    served.send(GET)
    request = noting.requests[0]
    request.register_response_producer(producer)
    request.send_head(200, b"OK", [], length=None)
    served.settle()
    served.link.client.pauseProducing()
    sent = 0
    while producer.told != ["pause"]:
        request.send_data(b"x" * 10_000)
        sent += 10_000
        assert sent < 200_000
    request.send_data(b"y" * 10_000)  # what was on its way
    assert served.transport.waiting < 2 * 64 * 1024
    served.link.client.resumeProducing()
    served.settle()
    assert producer.told == ["pause", "resume"]
    request.send_end()
    ((_, _, body),) = read_responses(served.send())
    assert body == b"x" * sent + b"y" * 10_000
    served.finish()
    assert producer.told == ["pause", "resume"]


def test_a_producer_that_comes_late_is_paused_at_once() -> None:
    noting = Noting()
    served = Served(noting)
    served.link.client.pauseProducing()
    served.send(GET)
    request = noting.requests[0]
    request.send_head(200, b"OK", [], length=None)
    request.send_data(b"x" * 200_000)
    producer = Producer()
    request.register_response_producer(producer)
    assert producer.told == ["pause"]
    served.finish()
    assert producer.told == ["pause", "stop"]


def test_a_large_body_is_handed_over_in_pieces() -> None:
    body = bytes(range(256)) * 4000
    served = Served(Noting(lambda request: answer(request, body)))
    served.link.client.pauseProducing()
    served.send(GET)
    assert served.transport.waiting <= 2 * 64 * 1024 + 200
    served.link.client.resumeProducing()
    assert read_responses(served.send())[0][2] == body
    assert served.send(GET).count(b"HTTP/1.1 200") == 2
    served.finish()


def test_a_close_waits_for_a_slow_client() -> None:
    body = b"x" * 500_000
    served = Served(Noting(lambda request: answer(request, body)))
    served.link.client.pauseProducing()
    served.send(b"GET / HTTP/1.0\r\n\r\n")
    served.wait(5)
    assert served.transport.connected
    served.link.client.resumeProducing()
    served.settle()
    assert served.client.received.endswith(body)
    assert served.closed
    served.finish()


# Deadlines.


def test_header_deadline_is_absolute() -> None:
    served = Served(Collecting())
    for byte in range(9):
        served.send(GET[byte : byte + 1])
        served.wait(1)
    assert served.client.received == b""
    received = served.send(GET[9:10])
    received = served.wait(1.5)
    ((status, _, body),) = read_responses(received, ended=True)
    assert (status, json.loads(body)["error"]) == (408, "request_timeout")
    assert served.closed
    assert served.site.limit_hits["header_timeout"] == 1
    (exchange,) = served.exchanges
    assert (exchange.status, exchange.error, exchange.started) == (408, "request_timeout", 1000)
    served.finish()


def test_header_deadline_of_a_later_request_counts_from_its_first_byte() -> None:
    served = Served(Collecting())
    served.send(GET)
    served.wait(70)
    served.send(GET[:20])
    served.wait(9)
    assert not served.closed
    served.wait(1)
    assert served.client.received.count(b"HTTP/1.1 408") == 1
    served.finish()


def test_a_header_in_time_stops_its_deadline() -> None:
    served = Served(Collecting())
    served.send(GET[:20])
    served.wait(9)
    served.send(GET[20:])
    served.wait(60)
    assert not served.closed
    assert served.client.received.count(b"HTTP/1.1 ") == 1
    served.finish()


def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    served = Served(Collecting())
    served.wait(9)
    assert not served.closed
    served.wait(1)
    assert served.closed
    assert served.client.received == b""
    assert served.site.limit_hits["header_timeout"] == 1
    assert served.exchanges == []
    served.finish()


def test_an_idle_connection_is_closed_without_a_word() -> None:
    served = Served(Collecting())
    received = served.send(GET)
    served.wait(74)
    assert not served.closed
    served.wait(1)
    assert served.closed
    assert served.client.received == received
    assert served.site.limit_hits["idle_timeout"] == 1
    served.finish()
    assert len(served.exchanges) == 1


def test_empty_lines_do_not_keep_a_connection() -> None:
    served = Served(Collecting())
    served.send(GET)
    served.wait(40)
    served.send(b"\r\n")
    served.wait(35)
    assert served.closed
    served.finish()


def test_a_request_that_takes_long_has_no_deadline_here() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(GET)
    served.wait(1000)
    assert not served.closed
    answer(noting.requests[0])
    assert b"hello" in served.send()
    served.wait(75)
    assert served.closed
    served.finish()


def test_one_timer_call_at_most() -> None:
    served = Served(Collecting())
    for _ in range(10):
        served.send(GET + post(b"x") + GET[:10])
        served.send(GET[10:])
        assert len(served.clock.getDelayedCalls()) <= 1
    served.finish()


@pytest.mark.parametrize("rate", [100, 499])
def test_a_slow_body_is_refused(rate: int) -> None:
    collecting = Collecting()
    served = Served(collecting)
    served.send(post(b"", length=1_000_000))
    for _ in range(9):
        served.wait(1)
        served.send(b"x" * rate)
    assert not served.closed
    served.wait(1)
    ((status, _, body),) = read_responses(served.client.received, ended=True)
    assert (status, json.loads(body)["error"]) == (408, "request_timeout")
    assert collecting.readers[0].error is not None
    assert served.site.limit_hits["body_rate"] == 1
    served.finish()


def test_a_body_at_the_rate_goes_on() -> None:
    collecting = Collecting()
    served = Served(collecting)
    served.send(post(b"", length=60_000))
    for _ in range(120):
        served.send(b"x" * 500)
        served.wait(1)
    assert served.client.received.startswith(b"HTTP/1.1 200")
    served.finish()


def test_a_burst_does_not_pay_for_a_stall() -> None:
    served = Served(Collecting())
    served.send(post(b"x" * 50_000, length=1_000_000))
    served.wait(10)
    assert not served.closed
    served.wait(10)
    assert served.closed
    served.finish()


def test_the_rate_is_not_counted_while_we_do_not_read() -> None:
    noting = Noting()
    served = Served(noting)
    served.link.chunk = 64 * 1024
    served.client.transport.write(post(b"x" * 70_000, length=80_000))
    served.settle()
    assert served.paused
    served.wait(100)
    assert not served.closed
    reader = Reader()
    noting.requests[0].read_body(reader)
    served.settle()
    served.wait(9)
    assert not served.closed
    served.wait(1)
    assert served.closed
    served.finish()


def test_a_stalled_rest_of_an_early_answer_is_cut_off() -> None:
    served = Served(Noting(answer))
    received = served.send(post(b"", length=5))
    served.wait(10)
    assert served.closed
    assert served.client.received == received
    served.finish()


def test_write_stall() -> None:
    noting = Noting()
    served = Served(noting)
    gone: list[int] = []
    producer = Producer()
    served.link.client.pauseProducing()
    served.send(GET)
    request = noting.requests[0]
    request.on_disconnect(lambda: gone.append(1))
    request.register_response_producer(producer)
    request.send_head(200, b"OK", [], length=None)
    request.send_data(b"x" * 200_000)
    served.wait(29)
    assert served.transport.connected
    assert gone == []
    served.wait(1)
    assert not served.transport.connected
    assert gone == [1]
    assert producer.told == ["pause", "stop"]
    assert served.site.limit_hits["write_stall"] == 1
    (exchange,) = served.exchanges
    assert exchange.aborted
    served.finish()


def test_write_stall_after_the_response_is_over() -> None:
    served = Served(Noting(lambda request: answer(request, b"x" * 200_000)))
    served.link.client.pauseProducing()
    served.send(GET)
    assert len(served.exchanges) == 1
    served.wait(30)
    assert not served.transport.connected
    served.finish()
    assert len(served.exchanges) == 1


def test_a_client_that_never_takes_the_last_response_is_cut_off() -> None:
    served = Served(Noting(answer))
    served.link.client.pauseProducing()
    served.send(b"GET / HTTP/1.0\r\n\r\n")
    served.wait(29)
    assert served.transport.connected
    served.wait(1)
    assert not served.transport.connected
    served.finish()


def test_a_refused_client_that_stays_is_cut_off() -> None:
    served = Served(Noting(answer))
    served.link.client.pauseProducing()
    served.send(b"\n")
    served.wait(LINGER_TIME)
    served.link.client.resumeProducing()
    served.settle()
    assert b" 400 " in served.client.received
    assert served.closed
    served.finish()


# Clients that go away.


def leave(served: Served, how: str) -> None:
    if how == "close":
        served.client.transport.loseConnection()
    elif how == "half":
        served.client.transport.loseWriteConnection()
    else:
        served.client.transport.abortConnection()
    served.settle()


@pytest.mark.parametrize("how", ["close", "half", "abort"])
@pytest.mark.parametrize(
    ("sent", "head", "phase"),
    [
        (b"", False, "silent"),
        (GET[:10], False, "header"),
        (post(b"ab", length=5), False, "body"),
        (GET, False, "waiting"),
        (GET, True, "response"),
        (GET + GET[:10], True, "response with more behind"),
    ],
)
def test_a_client_that_goes_away(sent: bytes, head: bool, phase: str, how: str) -> None:
    noting = Noting()
    served = Served(noting)
    if sent:
        served.send(sent)
    told: list[str] = []
    reader = Reader()
    producer = Producer()
    for request in noting.requests:
        request.on_disconnect(lambda: told.append("disconnect"))
        request.notifyFinish().addErrback(lambda failure: told.append("finish"))
        request.register_response_producer(producer)
        if request.has_body:
            request.read_body(reader)
        if head:
            request.send_head(200, b"OK", [], length=10)
            request.send_data(b"x")
            served.settle()
    if phase == "response with more behind":
        # The transport is not read, so only a reset is seen: see that it does no harm.
        assert served.paused
        served.client.transport.abortConnection()
        served.settle()
    else:
        leave(served, how)
    assert not served.transport.connected
    if noting.requests:
        assert told == ["disconnect", "finish"]
        assert producer.told == ["stop"]
        assert (reader.error is not None) is (phase == "body")
        (exchange,) = served.exchanges
        assert exchange.aborted
        assert exchange.finished is not None
        # What comes too late is ignored.
        request = noting.requests[0]
        request.send_data(b"x")
        request.send_end()
        request.abort()
        request.fail(fault("internal_error", ""))
        request.pause_body()
        request.resume_body()
        if not head:
            answer(request)
            request.send_informational(103, b"", [])
    else:
        assert served.exchanges == []
    served.finish()
    assert len(served.exchanges) == len(noting.requests)


# What must not look complete.


def test_abort() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(GET)
    request = noting.requests[0]
    gone: list[int] = []
    request.on_disconnect(lambda: gone.append(1))
    request.send_head(200, b"OK", [], length=None)
    request.send_data(b"x")
    served.settle()
    request.abort()
    served.settle()
    assert served.closed
    assert not served.client.received.endswith(b"0\r\n\r\n")
    assert gone == []
    assert [exchange.aborted for exchange in served.exchanges] == [True]
    served.finish()


def test_abort_before_the_head() -> None:
    served = Served(Noting(lambda request: request.abort()))
    assert served.send(GET + GET) == b""
    assert served.closed
    assert len(served.exchanges) == 1
    served.finish()


def test_a_body_longer_than_announced() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(GET)
    request = noting.requests[0]
    request.send_head(200, b"OK", [], length=3)
    request.send_data(b"ab")
    served.settle()
    request.send_data(b"cd")
    served.settle()
    assert served.closed
    assert b"cd" not in served.client.received
    assert served.exchanges[0].error == "internal_error"
    served.finish()


def test_a_body_shorter_than_announced() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(GET)
    request = noting.requests[0]
    request.send_head(200, b"OK", [], length=3)
    request.send_data(b"ab")
    served.settle()
    request.send_end()
    served.settle()
    assert served.closed
    assert served.client.received.endswith(b"\r\n\r\nab")
    assert served.exchanges[0].aborted
    served.finish()


def test_a_close_delimited_body_is_cut_by_a_reset() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(b"GET / HTTP/1.0\r\n\r\n")
    request = noting.requests[0]
    request.send_head(200, b"OK", [], length=None)
    request.send_data(b"ab")
    served.settle()
    request.abort()
    served.settle()
    assert served.client.lost is not None
    assert served.client.lost.value.__class__.__name__ == "ConnectionLost"
    served.finish()


# The transport.


def test_no_delay() -> None:
    served = Served(Resource())
    assert served.transport.no_delay
    served.finish()


def test_the_outlet_is_a_push_producer() -> None:
    served = Served(Resource())
    assert verifyObject(IPushProducer, served.channel._outlet)
    served.finish()


def test_data_after_the_connection_was_lost_is_ignored() -> None:
    noting = Noting()
    served = Served(noting)
    channel = served.channel
    served.finish()
    channel.dataReceived(GET)
    channel.abort()
    channel.close_when_idle()
    assert noting.requests == []
    assert served.clock.getDelayedCalls() == []
