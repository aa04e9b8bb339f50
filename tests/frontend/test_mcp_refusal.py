"""A call that a limit refuses is told so in the words of its protocol, where that can be read."""

import json

import pytest
from gateway_world import KEY, World, head_of

CONFIG = f"""
auth:
  keys: [{{id: tester, key: "{KEY}"}}]
leases:
  tool: {{url: "http://127.0.0.1:3000", mcp: true}}
  plain: {{url: "http://127.0.0.1:3000"}}
rate_limit:
  global: {{requests_per_minute: 6, burst: 1}}
"""

JSON = "Content-Type: application/json"


def call(**more):
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {}, **more}
    return json.dumps(message).encode()


@pytest.fixture
def world():
    made = World(CONFIG)
    made.ask("/peer/tool/")
    yield made
    made.stop()


def refused(world, body=None, *, target="/peer/tool/mcp", fields=(JSON,), **options):
    """What a refused client got: status, fields, and the body as JSON."""
    body = call() if body is None else body
    options = {"method": "POST", **options}
    wire = world.ask(target, body=body, fields=[*fields, "Connection: close"], **options)
    first, found, rest = head_of(wire.received)
    assert first == b"HTTP/1.1 429 Too Many Requests"
    return dict(found), json.loads(rest)


def test_a_call_is_refused_as_json_rpc(world):
    fields, told = refused(world)
    assert fields[b"Content-Type"] == b"application/json"
    assert fields[b"Retry-After"] == b"10"
    assert fields[b"RateLimit"] == b'"global";r=0;t=10'
    request_id = told["error"]["data"].pop("request_id")
    assert request_id.encode() == fields[b"X-Request-ID"]
    assert told == {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {
            "code": -32000,
            "message": "the limit of 6 requests a minute to the gateway is reached; wait 10 s",
            "data": {"error": "rate_limit_exceeded"},
        },
    }


@pytest.mark.parametrize("message_id", ["a", "", 0, -5, 2**62])
def test_the_id_is_that_of_the_message(world, message_id):
    assert refused(world, call(id=message_id))[1]["id"] == message_id


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        b"[]",
        b"[" + call() + b"]",
        call(id=None),
        call(id=True),
        call(id=1.5),
        call(id="x" * 300),
        json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode(),
        json.dumps({"jsonrpc": "1.0", "id": 7, "method": "ping"}).encode(),
        b'{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}',
        call(padding="x" * 20_000),
    ],
)
def test_what_is_no_call_is_refused_as_ever(world, body):
    fields, told = refused(world, body)
    assert fields[b"Content-Type"] == b"application/problem+json"
    assert told["error"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    "options",
    [
        {"target": "/peer/plain/mcp"},
        {"method": "PUT"},
        {"fields": ()},
        {"fields": ("Content-Type: text/plain",)},
    ],
)
def test_other_requests_are_refused_as_ever(world, options):
    assert refused(world, **options)[0][b"Content-Type"] == b"application/problem+json"


def test_a_client_that_waits_for_its_turn_is_not_asked_for_its_body(world):
    wire = world.connect()
    wire.send(
        b"POST /peer/tool/ HTTP/1.1\r\nHost: h\r\nX-API-Key: " + KEY.encode() + b"\r\n"
        b"Content-Type: application/json\r\nContent-Length: 60\r\nExpect: 100-continue\r\n\r\n"
    )
    world.reactor.settle()
    assert wire.received.startswith(b"HTTP/1.1 429 ")
    assert b"application/problem+json" in wire.received


def test_a_body_that_is_still_to_come_is_waited_for(world):
    body = call()
    wire = world.connect()
    wire.send(
        b"POST /peer/tool/ HTTP/1.1\r\nHost: h\r\nX-API-Key: %b\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (KEY.encode(), len(body))
    )
    world.reactor.settle()
    assert wire.received == b""
    wire.send(body)
    world.reactor.settle()
    assert json.loads(head_of(wire.received)[2])["id"] == 7
