"""A lease that is silent ends what waits for it, on a whole gateway."""

import json

import pytest
from gateway_world import KEY, World, head_of

from portal_gateway.relay.http_client import LEASE_SILENCE

ONE_PLACE = f"""
gateway:
  listen: "127.0.0.1:8080"
portal:
  pool:
    max_active: 1
auth:
  keys:
    - key: "{KEY}"
      id: "tester"
leases:
  tool:
    url: "http://127.0.0.1:3000"
metrics: {{listen: "127.0.0.1:9090"}}
"""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def world():
    world = World(ONE_PLACE)
    yield world
    world.stop()


def hits(world):
    page = world.ask(
        "/metrics", key=None, wire=world.connect(port=9090), authority="localhost:9090"
    ).received.decode()
    line = next(line for line in page.splitlines() if '{limit="lease_silence"}' in line)
    return float(line.rpartition(" ")[2])


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_lease_that_never_answers(world, method):
    wire = world.ask("/peer/tool/", method=method, body=b"hello" if method == "POST" else b"")
    world.reactor.advance(LEASE_SILENCE - 61)
    assert wire.received == b""
    world.reactor.advance(62)
    first, _, body = head_of(wire.received)
    assert first == b"HTTP/1.1 504 Gateway Timeout"
    assert json.loads(body)["error"] == "upstream_timeout"
    assert hits(world) == 1
    # Its place in the pool is free.
    later = world.ask("/peer/tool/")
    world.origin.wires[-1].send(OK)
    world.reactor.settle()
    assert later.received.startswith(b"HTTP/1.1 200 OK")


def test_a_download_that_stops(world):
    wire = world.ask("/peer/tool/")
    world.origin.wires[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    world.reactor.settle()
    assert wire.received.endswith(b"half")
    world.reactor.advance(LEASE_SILENCE + 1)
    assert wire.lost is not None
    assert world.origin.wires[0].lost is not None
    assert hits(world) == 1


def test_interim_answers_for_ever(world):
    wire = world.ask("/peer/tool/")
    for _ in range(25):
        world.origin.wires[0].send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        world.reactor.advance(25)
    assert b"HTTP/1.1 504 Gateway Timeout" in wire.received


def test_a_lease_that_takes_no_upload(world):
    wire = world.ask("/peer/tool/", method="PUT", fields=["Transfer-Encoding: chunked"])
    (origin,) = world.origin.wires
    origin.transport.pauseProducing()
    for _ in range(40):
        wire.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        world.reactor.settle()
    world.reactor.advance(LEASE_SILENCE + 1)
    origin.transport.resumeProducing()
    world.reactor.settle()
    assert b"HTTP/1.1 504 Gateway Timeout" in wire.received
    assert hits(world) == 1


@pytest.mark.parametrize("kind", [b"text/event-stream", b"application/octet-stream"])
def test_a_response_without_a_length_has_an_hour(world, kind):
    """`sse.idle_timeout`: a stream of events may be silent while its client waits."""
    wire = world.ask("/peer/tool/")
    world.origin.wires[0].send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: " + kind + b"\r\n\r\n"
    )
    world.reactor.settle()
    world.reactor.advance(3598)
    assert wire.lost is None
    world.reactor.advance(4)
    assert wire.lost is not None
    assert world.origin.wires[0].lost is not None
    assert hits(world) == 0
