"""Leases that break HTTP, seen from a client of the whole gateway.

Whatever they send, the client gets one well-formed answer or a response that is visibly cut, and
the connection that brought it is never used again.
"""

import json

import pytest
from gateway_world import World, head_of
from twisted.internet.error import ConnectionDone

from portal_gateway.wire.http1_response import MAX_INFORMATIONAL
from tests.frontend.serving import read_responses

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\n"
LENGTH = HEAD + b"Content-Length: 10\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n"
BODY = b"honestbody"

REFUSED = {
    "length twice": LENGTH * 2 + b"\r\n" + BODY,
    "lengths as a list": HEAD + b"Content-Length: 10, 10\r\n\r\n" + BODY,
    "lengths that differ": LENGTH + b"Content-Length: 11\r\n\r\n" + BODY,
    "length and chunked": LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "length of letters": HEAD + b"Content-Length: ten\r\n\r\n" + BODY,
    "length below zero": HEAD + b"Content-Length: -1\r\n\r\n" + BODY,
    "length of 5,000 digits": HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + BODY,
    "unknown coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\n" + BODY,
    "two codings": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "coding twice": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "flood of 1xx": b"HTTP/1.1 102 Processing\r\n\r\n" * 10_000,
    "1xx and nothing": b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MAX_INFORMATIONAL + 1),
    "switching unasked": b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "header of 1 MB": HEAD + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "header of 1 MB without end": HEAD + b"X: " + b"x" * 1_000_000,
    "2,000 fields": HEAD + b"X: y\r\n" * 2000 + b"\r\n",
    "NUL in a field": LENGTH + b"X: a\0b\r\n\r\n" + BODY,
    "NUL in a name": LENGTH + b"X\0: a\r\n\r\n" + BODY,
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 10\r\n\r\n" + BODY,
    "bare CR": LENGTH + b"X: a\rSet-Cookie: b=c\r\n\r\n" + BODY,
    "bare LF": LENGTH + b"X: a\nSet-Cookie: b=c\r\n\r\n" + BODY,
    "only LFs": LENGTH.replace(b"\r\n", b"\n") + b"\n" + BODY,
    "folded field": LENGTH + b"X: a\r\n b\r\n\r\n" + BODY,
    "space before the colon": HEAD + b"Content-Length : 10\r\n\r\n" + BODY,
    "field without a colon": LENGTH + b"X\r\n\r\n" + BODY,
    "HTTP/0.9": BODY,
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n" + BODY,
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n" + BODY,
    "status 600": b"HTTP/1.1 600 OK\r\n\r\n" + BODY,
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
}
"""Answers with a wrong head: 502 ``upstream_protocol_error``, whole or byte by byte."""

CUT = {
    "chunk longer than its size": CHUNKED + b"\r\n2\r\nhonest\r\n0\r\n\r\n",
    "chunk size that is none": CHUNKED + b"\r\nzz\r\n",
    "chunk size of 17 digits": CHUNKED + b"\r\n" + b"f" * 17 + b"\r\n" + BODY,
    "chunk size below zero": CHUNKED + b"\r\n-1\r\n" + BODY,
    "LF after a chunk size": CHUNKED + b"\r\n2\nho\r\n0\r\n\r\n",
    "NUL in a trailer": CHUNKED + b"\r\n0\r\nX: a\0b\r\n\r\n",
    "endless extension": CHUNKED + b"\r\n1;" + b"a" * 100_000,
    "endless trailers": CHUNKED + b"\r\n0\r\n" + b"X: y\r\n" * 20_000,
}
"""Answers whose body goes wrong after a head that was right: cut, where the head had left."""

EXTRA = {
    "extra bytes": ("GET", LENGTH + b"\r\n" + BODY + b"x"),
    "an empty line": ("GET", LENGTH + b"\r\n" + BODY + b"\r\n"),
    "another answer": ("GET", OK + OK),
    "bytes after chunks": ("GET", CHUNKED + b"\r\n0\r\n\r\nx"),
    "body of HEAD": ("HEAD", LENGTH + b"\r\n" + BODY),
    "body of 204": ("GET", b"HTTP/1.1 204 No\r\n\r\n" + BODY),
    "body of 304": ("GET", b"HTTP/1.1 304 No\r\nContent-Length: 10\r\n\r\n" + BODY),
}
"""Answers with bytes behind them. At once they are a fault; later they find the answer complete."""


@pytest.fixture
def world():
    world = World()
    yield world
    world.stop()


def send(world, wire, data, *, bytewise=False):
    """The lease sends ``data``, as far as the gateway takes it."""
    if not bytewise:
        wire.send(data)
        world.reactor.settle()
        return
    for start in range(len(data)):
        if wire.lost is not None:
            return
        wire.send(data[start : start + 1])
        world.reactor.settle()


def is_never_reused(world):
    """Another request has a connection of its own, and gets what is sent on that one only."""
    before = len(world.origin.wires)
    assert all(wire.lost is not None for wire in world.origin.wires)
    client = world.ask("/peer/tool/next")
    assert len(world.origin.wires) == before + 1
    world.origin.wires[-1].send(OK)
    world.reactor.settle()
    assert head_of(client.received)[2] == b"ok"


def refusal(client, method="GET"):
    """The code of the one answer that there is."""
    ((status, _, body),) = read_responses(client.received, [method.encode()])
    assert status == 502
    return json.loads(body)["error"] if method != "HEAD" else "upstream_protocol_error"


SHORT = [name for name, data in REFUSED.items() if len(data) < 6000]


@pytest.mark.parametrize(
    ("name", "bytewise"), [*((name, False) for name in REFUSED), *((name, True) for name in SHORT)]
)
def test_a_wrong_head_is_a_502(world, name, bytewise):
    client = world.ask("/peer/tool/")
    (origin,) = world.origin.wires
    send(world, origin, REFUSED[name], bytewise=bytewise)
    received = client.received
    while received.startswith(b"HTTP/1.1 10"):
        # Those before the fault were passed on, up to the bound.
        received = received.partition(b"\r\n\r\n")[2]
    assert client.received.count(b"HTTP/1.1 10") <= MAX_INFORMATIONAL
    client.received = received
    assert refusal(client) == "upstream_protocol_error"
    assert b"Set-Cookie" not in received
    assert client.lost is None
    is_never_reused(world)


@pytest.mark.parametrize(
    ("name", "bytewise"),
    [*((name, False) for name in CUT), *((name, True) for name in CUT if "endless" not in name)],
)
def test_a_wrong_body_never_looks_complete(world, name, bytewise):
    data = CUT[name]
    client = world.ask("/peer/tool/")
    (origin,) = world.origin.wires
    head, mark, rest = data.partition(b"\r\n\r\n")
    send(world, origin, head + mark)
    send(world, origin, rest, bytewise=bytewise)
    assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.lost is not None
    assert not client.lost.check(ConnectionDone)
    assert not client.received.endswith(b"\r\n0\r\n\r\n")
    is_never_reused(world)


@pytest.mark.parametrize("name", CUT)
def test_a_wrong_body_along_with_its_head(world, name):
    client = world.ask("/peer/tool/")
    send(world, world.origin.wires[0], CUT[name])
    if name != "endless extension":
        # The head had not left yet.
        assert refusal(client) == "upstream_protocol_error"
        assert client.lost is None
    else:
        assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert client.lost is not None
        assert not client.received.endswith(b"\r\n0\r\n\r\n")
    is_never_reused(world)


def test_a_connection_goes_on_after_a_head_that_was_taken_back(world):
    client = world.ask("/peer/tool/")
    send(world, world.origin.wires[0], CUT["chunk longer than its size"])
    assert refusal(client) == "upstream_protocol_error"
    size = len(head_of(client.received)[2])
    client.received = b""
    world.ask("/peer/tool/", wire=client)
    send(world, world.origin.wires[-1], OK)
    ((status, fields, body),) = read_responses(client.received)
    assert (status, body) == (200, b"ok")
    assert b"transfer-encoding" not in fields
    first, second = [line for line in world.stop() if line["message"].startswith("request_")]
    assert (first["status"], first["error"]) == (502, "upstream_protocol_error")
    assert first["bytes_out"] == size
    assert (second["status"], second["bytes_out"]) == (200, 2)


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize("name", EXTRA)
def test_bytes_behind_an_answer(world, name, bytewise):
    method, data = EXTRA[name]
    client = world.ask("/peer/tool/", method=method)
    send(world, world.origin.wires[0], data, bytewise=bytewise)
    if bytewise:
        ((status, _, body),) = read_responses(client.received, [method.encode()])
        assert status in {200, 204, 304}
        assert body in {b"", b"ok", BODY}
    else:
        assert refusal(client, method) == "upstream_protocol_error"
    is_never_reused(world)


ANSWERS = {
    "length": LENGTH + b"X: y\r\n\r\n" + BODY,
    "chunks": CHUNKED + b"\r\n6;a=b\r\nhonest\r\n4\r\nbody\r\n0\r\nX: y\r\n\r\n",
    "hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + LENGTH + b"\r\n" + BODY,
}


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_cut_at_every_byte(world, name, how):
    data = ANSWERS[name]
    for cut in range(len(data)):
        client = world.ask("/peer/tool/")
        origin = world.origin.wires[-1]
        send(world, origin, data[:cut])
        if how == "end":
            origin.transport.loseConnection()
        else:
            origin.transport.abortConnection()
        world.reactor.settle()
        received = client.received
        if received.startswith(b"HTTP/1.1 103"):
            received = received.partition(b"\r\n\r\n")[2]
        if received.startswith(b"HTTP/1.1 200"):
            assert client.lost is not None, cut
            assert not client.lost.check(ConnectionDone)
            assert len(head_of(received)[2]) < len(BODY) or name == "chunks"
            assert not received.endswith(b"\r\n0\r\n\r\n")
            assert b"X: y\r\n\r\n" not in head_of(received)[2]
        else:
            client.received = received
            assert refusal(client) == "upstream_closed", cut
    assert len(world.origin.wires) == len(data)
    is_never_reused(world)


def test_a_body_shorter_than_announced_and_then_silence(world):
    """Nothing is made up: the client waits for the rest as long as its lease is there."""
    client = world.ask("/peer/tool/")
    (origin,) = world.origin.wires
    send(world, origin, LENGTH + b"\r\n" + BODY[:5])
    world.reactor.advance(60)
    assert head_of(client.received)[2] == BODY[:5]
    assert client.lost is None
    send(world, origin, BODY[5:])
    assert head_of(client.received)[2] == BODY
