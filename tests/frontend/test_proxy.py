"""The way of a request from a client's bytes to a lease's and back, all real in between."""

import gc
import json

import pytest
from gateway_world import CONFIG, KEY, World, head_of
from twisted.internet.error import ConnectionDone

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def world():
    world = World()
    yield world
    world.stop()


def test_the_request_goes_up_as_its_parts_say_and_the_answer_comes_down(world):
    wire = world.ask(
        "/peer/tool/a%2Fb/../c?x=%20&y=..",
        fields=[
            "Accept: */*",
            "User-Agent: t",
            "Connection: keep-alive, X-Hop",
            "X-Hop: 1",
            "Keep-Alive: 5",
            "TE: gzip",
            "Upgrade: h2c",
            "Proxy-Authorization: Basic eA==",
            "X-Forwarded-For: 203.0.113.9",
            "Forwarded: for=203.0.113.9",
            "X-Real-IP: 203.0.113.9",
            "X-Request-ID: abc-1",
            "Via: 1.0 before",
            "Accept: text/html",
        ],
    )
    (origin,) = world.origin.wires
    first, fields, rest = head_of(origin.received)
    assert first == b"GET /a%2Fb/../c?x=%20&y=.. HTTP/1.1"
    assert rest == b""
    assert fields == [
        (b"Host", b"gw.example:8080"),
        (b"Accept", b"*/*"),
        (b"User-Agent", b"t"),
        (b"Accept", b"text/html"),
        (b"Via", b"1.0 before, 1.1 portal-gateway"),
        (b"X-Forwarded-For", b"127.0.0.1"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"gw.example:8080"),
        (b"X-Forwarded-Prefix", b"/peer/tool"),
        (b"Forwarded", b'for=127.0.0.1;host="gw.example:8080";proto=http'),
        (b"X-Request-ID", b"abc-1"),
    ]
    origin.send(
        b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\nConnection: X-Up\r\nX-Up: 1\r\n"
        b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nVia: 1.1 inner\r\nX-Request-ID: theirs\r\n\r\nok"
    )
    world.reactor.settle()
    assert wire.received == (
        b"HTTP/1.1 201 Made\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"Via: 1.1 inner, 1.1 portal-gateway\r\nX-Request-ID: abc-1\r\n"
        b"X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n"
        b"X-XSS-Protection: 1; mode=block\r\nContent-Length: 2\r\n\r\nok"
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"])
def test_every_method_goes_up(world, method):
    wire = world.ask("/peer/tool/", method=method, body=b"hello")
    (origin,) = world.origin.wires
    assert origin.received.startswith(method.encode() + b" / HTTP/1.1\r\n")
    assert origin.received.endswith(b"\r\nContent-Length: 5\r\n\r\nhello")
    origin.send(OK)
    world.reactor.settle()
    assert wire.received.startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_key_stays_here_and_the_lease_own_authorization_goes_up(world):
    world.ask("/peer/tool/", fields=["Authorization: Basic dTpw"])
    world.ask("/peer/tool/", key="", fields=[f"Authorization: bearer {KEY}"])
    first, second = (wire.received for wire in world.origin.wires)
    assert b"Authorization: Basic dTpw\r\n" in first
    assert b"uthorization" not in second
    for received in (first, second):
        assert KEY.encode() not in received


def test_bodies_stream_in_both_directions(world):
    wire = world.connect()
    wire.send(
        b"POST /peer/tool/ HTTP/1.1\r\nHost: h\r\nX-API-Key: %b\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" % KEY.encode()
    )
    world.reactor.settle()
    (origin,) = world.origin.wires
    assert origin.received.endswith(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    origin.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    world.reactor.settle()
    assert wire.received.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    wire.send(b"2;ext=1\r\nde\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n")
    world.reactor.settle()
    assert origin.received.endswith(b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n")
    origin.send(b"2\r\nyz\r\n0\r\nX-Total: 3\r\n\r\n")
    world.reactor.settle()
    assert wire.received.endswith(b"1\r\nx\r\n2\r\nyz\r\n0\r\nX-Total: 3\r\n\r\n")


def test_a_response_that_ends_with_its_connection_is_chunked_for_the_client(world):
    wire = world.ask("/peer/tool/")
    (origin,) = world.origin.wires
    origin.send(b"HTTP/1.0 200 OK\r\n\r\nabc")
    origin.transport.loseConnection()
    world.reactor.settle()
    assert wire.received.endswith(b"3\r\nabc\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "answer", "ending"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"Content-Length: 9\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"\r\n\r\n"),
        ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n', b"\r\n\r\n"),
    ],
)
def test_a_response_without_a_body_has_none_and_the_connections_go_on(
    world, method, answer, ending
):
    wire = world.ask("/peer/tool/", method=method)
    (origin,) = world.origin.wires
    origin.send(answer)
    world.reactor.settle()
    assert wire.received.endswith(ending)
    assert b"Transfer-Encoding" not in wire.received
    seen = len(wire.received)
    world.ask("/peer/tool/next", wire=wire)
    origin.send(OK)
    world.reactor.settle()
    assert wire.received[seen:].endswith(b"Content-Length: 2\r\n\r\nok")
    assert len(world.origin.wires) == 1


def test_informational_responses_are_passed_on(world):
    wire = world.ask("/peer/tool/")
    (origin,) = world.origin.wires
    origin.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    world.reactor.settle()
    assert wire.received.startswith(
        b"HTTP/1.1 103 Early Hints\r\nLink: </peer/tool/a>\r\n\r\nHTTP/1.1 200 OK"
    )


def test_a_client_that_expects_a_100_gets_it_once_the_lease_is_there(world):
    wire = world.connect()
    wire.send(
        b"POST /peer/tool/ HTTP/1.1\r\nHost: h\r\nX-API-Key: %b\r\n"
        b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n" % KEY.encode()
    )
    world.reactor.settle()
    assert wire.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"hi")
    world.reactor.settle()
    (origin,) = world.origin.wires
    assert origin.received.endswith(b"\r\n\r\nhi")
    assert b"Expect" not in origin.received


def test_a_client_that_expects_a_100_is_refused_without_its_body(world):
    wire = world.connect()
    wire.send(
        b"POST /peer/tool/ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    world.reactor.settle()
    assert wire.received.startswith(b"HTTP/1.1 401 ")
    assert world.origin.wires == []


def test_a_lease_that_reads_no_more_stops_the_client(world):
    wire = world.connect()
    size = 5_000_000
    wire.send(
        b"PUT /peer/tool/ HTTP/1.1\r\nHost: h\r\nX-API-Key: %b\r\nContent-Length: %d\r\n\r\n"
        % (KEY.encode(), size)
    )
    world.reactor.settle()
    (origin,) = world.origin.wires
    origin.transport.pauseProducing()
    world.reactor.links[0].chunk = 65_536
    wire.send(bytes(size))
    world.reactor.settle()
    assert wire.transport.waiting > size - 1_000_000
    origin.transport.resumeProducing()
    world.reactor.settle()
    assert wire.transport.waiting == 0
    assert len(head_of(origin.received)[2]) == size


def test_a_body_that_ended_while_the_lease_read_nothing_does_not_stop_the_next_request(world):
    wire = world.connect()
    wire.send(
        b"PUT /peer/tool/ HTTP/1.1\r\nHost: h\r\nX-API-Key: %b\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" % KEY.encode()
    )
    world.reactor.settle()
    (origin,) = world.origin.wires
    origin.transport.pauseProducing()
    wire.send(b"%x\r\n" % 300_000 + bytes(300_000) + b"\r\n0\r\n\r\n")
    world.reactor.settle()
    origin.transport.resumeProducing()
    world.reactor.settle()
    origin.send(OK)
    world.reactor.settle()
    world.ask("/peer/tool/next", wire=wire)
    assert b"GET /next HTTP/1.1" in origin.received


def test_a_client_that_reads_no_more_stops_the_lease(world):
    wire = world.ask("/peer/tool/")
    (origin,) = world.origin.wires
    size = 5_000_000
    wire.transport.pauseProducing()
    world.reactor.links[0].chunk = world.reactor.links[1].chunk = 65_536
    origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    world.reactor.settle()
    assert origin.transport.waiting > size - 1_000_000
    wire.transport.resumeProducing()
    world.reactor.settle()
    assert origin.transport.waiting == 0
    assert len(head_of(wire.received)[2]) == size


def test_a_client_that_goes_away_ends_the_exchange_upstream_at_once(world):
    wire = world.ask("/peer/tool/")
    (origin,) = world.origin.wires
    wire.transport.abortConnection()
    world.reactor.settle()
    assert origin.lost is not None


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ],
)
def test_a_response_that_is_cut_short_does_not_look_complete(world, answer):
    wire = world.ask("/peer/tool/")
    (origin,) = world.origin.wires
    origin.send(answer)
    world.reactor.settle()
    assert b"half" in wire.received
    origin.transport.loseConnection()
    world.reactor.settle()
    assert wire.lost is not None
    assert wire.lost.check(ConnectionDone) is None
    assert not wire.received.endswith(b"0\r\n\r\n")


def problem(wire):
    first, fields, rest = head_of(wire.received)
    names = {name.lower(): value for name, value in fields}
    assert names[b"content-type"] == b"application/problem+json"
    told = json.loads(rest)
    assert told["status"] == int(first.split(b" ")[1])
    assert told["request_id"].encode() == names[b"x-request-id"]
    assert told["type"].endswith(told["error"])
    return told["error"], told["status"], names


def test_an_origin_that_refuses_is_offline():
    world = World(origin=False)
    wire = world.ask("/peer/tool/")
    world.reactor.advance(1)
    error, status, names = problem(wire)
    assert (error, status) == ("lease_offline", 503)
    assert names[b"retry-after"] == b"5"
    assert names[b"proxy-status"] == (
        b'portal-gateway; error=destination_unavailable; details="lease_offline"'
    )
    world.stop()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "upstream_closed"),
        (b"HTTP/1.1 200", "upstream_closed"),
        (b"SSH-2.0-x\r\n", "upstream_protocol_error"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "upstream_protocol_error",
        ),
    ],
)
def test_a_lease_that_breaks_the_protocol_is_a_502(world, answer, code):
    wire = world.ask("/peer/tool/")
    (origin,) = world.origin.wires
    origin.send(answer)
    origin.transport.loseConnection()
    world.reactor.settle()
    error, status, names = problem(wire)
    assert (error, status) == (code, 502)
    assert names[b"proxy-status"].startswith(b"portal-gateway; error=")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"key": ""}, "missing_api_key"),
        ({"key": "sk_live_wrong"}, "invalid_api_key"),
        ({"key": "sk_live_old"}, "expired_api_key"),
        ({"fields": ["Authorization: Bearer other"]}, "ambiguous_credentials"),
    ],
)
def test_who_is_not_let_in_hears_why_and_reaches_nobody(world, options, code):
    error, status, names = problem(world.ask("/peer/tool/", **options))
    assert error == code
    assert (status == 401) == (b"www-authenticate" in names and code != "ambiguous_credentials")
    assert world.origin.wires == []


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/", "not_found"),
        ("/peer", "not_found"),
        ("/peer/", "not_found"),
        ("/nothing/here", "not_found"),
        ("/peer/nobody/", "lease_not_found"),
        ("/peer/..%2fhealth/", "invalid_path"),
        ("/peer/tool/../other/", "invalid_path"),
        ("/peer/to%2fol/", "invalid_path"),
    ],
)
def test_a_path_that_leads_nowhere_is_told(world, target, code):
    assert problem(world.ask(target))[0] == code
    assert world.origin.wires == []


def test_a_lease_without_its_slash_is_redirected_once_the_caller_is_known(world):
    first, fields, _ = head_of(world.ask("/peer/%74ool?a=b").received)
    assert first == b"HTTP/1.1 308 Permanent Redirect"
    assert (b"Location", b"/peer/%74ool/?a=b") in fields
    assert problem(world.ask("/peer/tool", key=""))[0] == "missing_api_key"


def test_a_lease_with_a_name_of_another_script(world):
    world.ask("/peer/%ED%95%9C%EA%B8%80/x")
    (origin,) = world.origin.wires
    assert b"X-Forwarded-Prefix: /peer/%ED%95%9C%EA%B8%80\r\n" in origin.received


def test_connections_are_kept_on_both_sides_and_an_idempotent_request_is_repeated_once(world):
    wire = world.ask("/peer/tool/1")
    (origin,) = world.origin.wires
    origin.send(OK)
    world.reactor.settle()
    world.ask("/peer/tool/2", wire=wire)
    assert origin.received.count(b"GET /") == 2
    origin.send(OK)
    world.reactor.settle()
    world.ask("/peer/tool/3", wire=wire)
    origin.transport.loseConnection()
    world.reactor.settle()
    _, fresh = world.origin.wires
    assert fresh.received.startswith(b"GET /3 ")
    fresh.send(OK)
    world.reactor.settle()
    assert wire.received.count(b"HTTP/1.1 200 OK") == 3


def test_a_request_that_is_not_idempotent_is_never_repeated(world):
    wire = world.ask("/peer/tool/1")
    (origin,) = world.origin.wires
    origin.send(OK)
    world.reactor.settle()
    wire.received = b""
    world.ask("/peer/tool/2", method="POST", body=b"x", wire=wire)
    origin.transport.loseConnection()
    world.reactor.settle()
    assert problem(wire)[0] == "upstream_closed"
    assert len(world.origin.wires) == 1


def test_health_asks_nobody_and_readiness_knows_the_way_up(world):
    assert world.ask("/health", key="").received.endswith(b'\r\n\r\n{"status": "ok"}')
    assert world.ask("/health/ready", key="").received.endswith(b'{"status": "ready"}')
    assert world.ask("/health", key="", method="HEAD").received.startswith(b"HTTP/1.1 200 OK\r\n")
    error, status, names = problem(world.ask("/health", key="", method="POST"))
    assert (error, status) == ("method_not_allowed", 405)
    assert b"GET" in names[b"allow"]


def test_without_a_way_up_the_gateway_is_not_ready():
    config = (
        CONFIG.partition("leases:")[0] + "portal: {relays: [{url: 'ws://127.0.0.1:4017/relay'}]}"
    )
    world = World(config)
    wire = world.ask("/health/ready", key="")
    assert wire.received.startswith(b"HTTP/1.1 503 ")
    assert b"no relay session" in wire.received
    error, status, names = problem(world.ask("/peer/agent/"))
    assert (error, status) == ("relay_unavailable", 503)
    assert names[b"retry-after"] == b"5"
    world.stop()


def test_each_request_leaves_one_line_that_says_who_and_what():
    world = World()
    wire = world.ask(
        "/peer/tool/a?token=s3cret", fields=["User-Agent: n8n/1.0", "X-Request-ID: r1"]
    )
    world.origin.wires[0].send(OK)
    world.reactor.settle()
    world.ask("/peer/tool/a", key="sk_live_wrong", wire=wire)
    lines = world.stop()
    done = [line for line in lines if line["message"] == "request_completed"]
    assert [line["status"] for line in done] == [200, 401]
    first = {name: done[0][name] for name in ("request_id", "method", "path", "lease_id")}
    assert first == {
        "request_id": "r1",
        "method": "GET",
        "path": "/peer/tool/a",
        "lease_id": "tool",
    }
    assert done[0]["api_key_id"] == "tester"
    assert done[0]["client_ip"] == "127.0.0.1"
    assert done[0]["user_agent"] == "n8n/1.0"
    assert done[0]["bytes_out"] == 2
    assert done[1]["api_key_id"] is None
    assert done[1]["error"] == "invalid_api_key"
    text = world.log_text.getvalue()
    assert "s3cret" not in text
    assert "sk_live" not in text


def test_the_url_is_announced(world):
    assert world.announced == ["http://127.0.0.1:8080/"]


def test_a_request_that_is_over_leaves_nothing_for_the_garbage_collector(world):
    def exchange():
        world.ask("/peer/tool/x", wire=wire)
        world.origin.wires[0].send(OK)
        world.reactor.settle()

    wire = world.connect()
    exchange()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            exchange()
        collected = gc.collect()
    finally:
        gc.enable()
    assert wire.received.count(b"200 OK") == 21
    assert collected < 20
