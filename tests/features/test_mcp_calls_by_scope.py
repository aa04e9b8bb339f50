"""Calls of the Model Context Protocol by keys that may only read, through a whole gateway."""

import json

import pytest
from access_world import AccessWorld

from portal_gateway.frontend.body import UNREAD_BOUND
from tests.frontend.gateway_world import head_of
from tests.frontend.serving import read_responses

CONFIG = """
auth:
  keys:
    - {key: "sk_live_readonly", scopes: ["read"]}
    - {key: "sk_live_writeonly", scopes: ["write"]}
    - {key: "sk_live_both"}
"""

READER, WRITER, BOTH = "sk_live_readonly", "sk_live_writeonly", "sk_live_both"

NEW = "MCP-Protocol-Version: 2026-07-28"


def call(method, **more):
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, **more}).encode()


@pytest.fixture
def world():
    made = AccessWorld(CONFIG, published=("Tools", "plain"), leases="  tools: {mcp: true}\n")
    yield made
    made.stop()


def outcome(world, body, *, key=READER, lease="tools", fields=(), method="POST", target="/mcp"):
    fields = ["Content-Type: application/json", *fields]
    return world.outcome(f"/peer/{lease}{target}", key=key, fields=fields, body=body, method=method)


@pytest.mark.parametrize(
    ("method", "found"),
    [
        ("tools/list", "Tools"),
        ("resources/read", "Tools"),
        ("server/discover", "Tools"),
        ("initialize", "Tools"),
        ("tools/call", "insufficient_scope"),
        ("company/list", "insufficient_scope"),
    ],
)
@pytest.mark.parametrize("lease", ["tools", "TOOLS"])
def test_a_reader_may_list_and_read_and_not_call(world, method, found, lease):
    assert outcome(world, call(method), lease=lease) == found
    mirrored = [f"Mcp-Method: {method}", NEW]
    assert outcome(world, call(method), lease=lease, fields=mirrored) == found


@pytest.mark.parametrize(
    "message",
    [
        {"id": 5, "result": {}},
        {"id": "a", "error": {"code": -32601, "message": "no such method"}},
        {"method": "notifications/roots/list_changed"},
        {"id": 1, "method": "tools/list", "params": None},
    ],
)
def test_a_reader_answers_its_server_at_the_endpoint(world, message):
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    assert outcome(world, body) == "Tools"
    assert outcome(world, body, target="/api/users") == "insufficient_scope"
    assert outcome(world, body, target="/mcp?_method=DELETE") == "insufficient_scope"


@pytest.mark.parametrize("key", [WRITER, BOTH])
def test_who_may_write_may_call(world, key):
    assert outcome(world, call("tools/call"), key=key) == "Tools"
    # Nothing of theirs is looked at: the lease is to judge it.
    assert outcome(world, b"nonsense", key=key, fields=["Mcp-Method: a", NEW]) == "Tools"


def test_who_may_only_write_is_not_asked_for_read(world):
    assert outcome(world, call("tools/list"), key=WRITER) == "Tools"
    assert outcome(world, b"", key=WRITER, method="GET") == "insufficient_scope"


def test_other_leases_and_other_methods_are_as_ever(world):
    assert outcome(world, call("tools/list"), lease="plain") == "insufficient_scope"
    for method in ("PUT", "DELETE", "PATCH"):
        assert outcome(world, call("tools/list"), method=method) == "insufficient_scope"
    fields = ["X-HTTP-Method-Override: DELETE"]
    assert outcome(world, call("tools/list"), fields=fields) == "insufficient_scope"
    assert outcome(world, b"") == "insufficient_scope"
    assert outcome(world, b"", method="GET") == "Tools"


def test_a_mismatch_is_told_as_the_protocol_wants_it(world):
    wire = world.ask(
        "/peer/tools/mcp",
        method="POST",
        key=READER,
        fields=["Content-Type: application/json", "Mcp-Method: tools/list", NEW],
        body=call("tools/call"),
    )
    first, fields, body = head_of(wire.received)
    assert first == b"HTTP/1.1 400 Bad Request"
    header = dict(fields)
    assert header[b"Content-Type"] == b"application/json"
    assert json.loads(body) == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {
            "code": -32020,
            "message": "Mcp-Method is not the method of the message",
            "data": {
                "error": "mcp_header_mismatch",
                "request_id": header[b"X-Request-ID"].decode(),
            },
        },
    }
    # The connection goes on.
    wire.received = b""
    world.ask("/peer/tools/mcp", key=READER, wire=wire)
    assert head_of(wire.received)[2] == b"Tools"
    assert world.reached == [("Tools", "GET")]


def test_the_body_goes_to_the_lease_as_it_came(world):
    body = b" " * 5000 + call("tools/list", params={"cursor": "x" * 20_000}) + b"\n"
    wire = world.connect()
    head = (
        "POST /peer/tools/mcp HTTP/1.1\r\nHost: gw.example\r\nContent-Type: application/json\r\n"
        f"X-API-Key: {READER}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    wire.send(head + body[:10])
    world.reactor.settle()
    for start in range(10, len(body), 3000):
        assert world.reached == []
        wire.send(body[start : start + 3000])
        world.reactor.settle()
    assert world.reached == [("Tools", "POST")]
    assert world.bodies == [body]
    assert read_responses(wire.received, [b"POST"])[0][2] == b"Tools"


@pytest.mark.parametrize("length", [UNREAD_BOUND, UNREAD_BOUND + 1])
@pytest.mark.parametrize("chunked", [False, True])
def test_only_so_much_of_a_body_is_looked_at(world, length, chunked):
    body = call("tools/list")
    body += b" " * (length - len(body))
    wire = world.connect()
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {length}"
    wire.send(
        f"POST /peer/tools/mcp HTTP/1.1\r\nHost: gw.example\r\nX-API-Key: {READER}\r\n"
        f"Content-Type: application/json\r\n{framing}\r\n\r\n".encode()
    )
    world.reactor.settle()
    if chunked:
        wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (length, body))
    elif length <= UNREAD_BOUND:
        wire.send(body)
    world.reactor.settle()
    # One that is announced to be too long is not waited for.
    status = int(head_of(wire.received)[0].split()[1])
    assert status == (200 if length <= UNREAD_BOUND else 403)
    assert len(world.reached) == (status == 200)


def test_a_client_that_waits_for_a_100_gets_it(world):
    body = call("tools/list")
    wire = world.connect()
    wire.send(
        f"POST /peer/tools/mcp HTTP/1.1\r\nHost: gw.example\r\nX-API-Key: {READER}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Expect: 100-continue\r\n\r\n".encode()
    )
    world.reactor.settle()
    assert wire.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(body)
    world.reactor.settle()
    assert wire.received.count(b"100 Continue") == 1
    assert wire.received.endswith(b"Tools")


@pytest.mark.parametrize("how", ["leaves", "breaks the framing", "is too slow"])
def test_a_body_that_never_comes_whole_reaches_nobody(world, how):
    wire = world.connect()
    wire.send(
        f"POST /peer/tools/mcp HTTP/1.1\r\nHost: gw.example\r\nX-API-Key: {READER}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        '5\r\n{"jso\r\n'.encode()
    )
    world.reactor.settle()
    if how == "leaves":
        wire.transport.abortConnection()
    elif how == "breaks the framing":
        wire.send(b"nonsense\r\n")
    else:
        world.reactor.advance(11)
    world.reactor.settle()
    assert world.reached == []
    if how != "leaves":
        status = {"breaks the framing": b"400", "is too slow": b"408"}[how]
        assert head_of(wire.received)[0].split()[1] == status
