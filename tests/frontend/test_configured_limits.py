"""Each limit of the configuration bites: written in the file, felt by a client of the gateway."""

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime

import pytest
from gateway_world import CONFIG, KEY, World, head_of

from portal_gateway.config.model import LimitsSection, PoolSection
from portal_gateway.frontend.limits import ChannelLimits
from portal_gateway.relay.pool import SURPLUS_TIME, PoolLimits
from tests.tls.tls_world import Certified

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def world_with(limits="", pool=""):
    config = CONFIG
    if limits:
        config = config.replace("\nauth:", f"\n  limits: {{{limits}}}\nauth:")
    if pool:
        config += f"\nportal:\n  pool: {{{pool}}}\n"
    return World(config)


def error_of(received):
    first, _, body = head_of(received)
    return first.split(b" ")[1].decode(), json.loads(body)["error"]


def head(line="GET /peer/tool/ HTTP/1.1", *fields):
    return "\r\n".join([line, "Host: h", f"X-API-Key: {KEY}", *fields, "", ""]).encode()


def test_the_defaults_of_the_file_are_those_of_the_code():
    assert asdict(LimitsSection()) == asdict(ChannelLimits())
    assert asdict(PoolSection()).items() <= asdict(PoolLimits()).items()


@pytest.mark.parametrize(
    ("limits", "fits", "exceeds", "error"),
    [
        (
            "request_line: 300",
            head(f"GET /peer/tool/{'a' * 276} HTTP/1.1"),
            head(f"GET /peer/tool/{'a' * 277} HTTP/1.1"),
            ("414", "uri_too_long"),
        ),
        (
            "header: 1KiB",
            head("GET /peer/tool/ HTTP/1.1", "A: " + "a" * 900),
            head("GET /peer/tool/ HTTP/1.1", "A: " + "a" * 1024),
            ("431", "header_fields_too_large"),
        ),
        (
            "fields: 10",
            head("GET /peer/tool/ HTTP/1.1", *["A: b"] * 8),
            head("GET /peer/tool/ HTTP/1.1", *["A: b"] * 9),
            ("431", "header_fields_too_large"),
        ),
        (
            "body: 4",
            head("POST /peer/tool/ HTTP/1.1", "Content-Length: 4") + b"1234",
            head("POST /peer/tool/ HTTP/1.1", "Content-Length: 5"),
            ("413", "content_too_large"),
        ),
        (
            "body: 4",
            head("POST /peer/tool/ HTTP/1.1", "Transfer-Encoding: chunked")
            + b"4\r\n1234\r\n0\r\n\r\n",
            head("POST /peer/tool/ HTTP/1.1", "Transfer-Encoding: chunked") + b"4\r\n1234\r\n1\r\n",
            ("413", "content_too_large"),
        ),
    ],
    ids=["request_line", "header", "fields", "body", "chunked body"],
)
def test_sizes(limits, fits, exceeds, error):
    world = world_with(limits)
    client = world.connect()
    client.send(fits)
    world.reactor.settle()
    world.origin.wires[0].send(OK)
    world.reactor.settle()
    assert head_of(client.received)[0] == b"HTTP/1.1 200 OK"
    client = world.connect()
    client.send(exceeds)
    world.reactor.settle()
    assert error_of(client.received) == error
    world.reactor.advance(5)
    assert client.lost is not None
    world.stop()


def test_header_timeout():
    world = world_with("header_timeout: 3s")
    client = world.connect()
    for _ in range(29):
        client.send(b"G")
        world.reactor.advance(0.1)
    assert client.received == b""
    world.reactor.advance(0.2)
    assert error_of(client.received) == ("408", "request_timeout")
    world.stop()


def test_handshake_timeout(tmp_path):
    now = datetime.fromtimestamp(time.time(), UTC)
    Certified("own", Certified("the root", authority=True, now=now), now=now).write(tmp_path)
    tls = f"{{cert_file: {tmp_path}/cert.pem, key_file: {tmp_path}/key.pem}}"
    tls_section = f"\n  tls: {tls}\n  limits: {{handshake_timeout: 3s}}\nauth:"
    world = World(CONFIG.replace("\nauth:", tls_section))
    client = world.connect()
    world.reactor.advance(2.9)
    assert client.lost is None
    world.reactor.advance(0.2)
    assert client.lost is not None
    world.stop()


def test_idle_timeout():
    world = world_with("idle_timeout: 4s")
    client = world.ask("/peer/tool/")
    world.origin.wires[0].send(OK)
    world.reactor.advance(3.9)
    assert client.lost is None
    world.reactor.advance(0.2)
    assert client.lost is not None
    world.stop()


def test_body_rate_and_its_window():
    world = world_with("body_rate: 10, body_rate_window: 2s")
    start = head("POST /peer/tool/ HTTP/1.1", "Content-Length: 1000")
    fast, slow = world.connect(), world.connect()
    fast.send(start)
    slow.send(start)
    world.reactor.settle()
    for _ in range(5):
        fast.send(b"x" * 10)
        slow.send(b"x" * 9)
        world.reactor.advance(1)
    assert fast.received == b""
    assert error_of(slow.received) == ("408", "request_timeout")
    world.stop()


def test_write_stall():
    world = world_with("write_stall: 2s")
    client = world.ask("/peer/tool/")
    client.transport.pauseProducing()
    world.reactor.links[0].chunk = world.reactor.links[1].chunk = 65_536
    size = 1024 * 1024
    world.origin.wires[0].send(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    )
    world.reactor.advance(1.9)
    assert world.origin.wires[0].lost is None
    world.reactor.advance(0.2)
    assert world.origin.wires[0].lost is not None
    client.transport.resumeProducing()
    world.reactor.advance(1)
    assert client.lost is not None
    world.stop()


@pytest.mark.parametrize("framing", [b"Content-Length: 100000", b"Transfer-Encoding: chunked"])
def test_write_stall_at_the_end_of_a_response(framing):
    """What the client has not taken is less than a transport would ask for a pause for."""
    world = world_with("write_stall: 2s")
    client = world.ask("/peer/tool/")
    (origin,) = world.origin.wires
    head = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n"
    pieces = [b"x" * 1000] * 100
    if b"chunked" in framing:
        pieces = [b"3e8\r\n" + piece + b"\r\n" for piece in pieces]
        pieces[-1] += b"0\r\n\r\n"
    origin.send(head + b"".join(pieces[:-1]))
    world.reactor.settle()
    client.transport.pauseProducing()
    origin.send(pieces[-1])
    world.reactor.advance(1.9)
    assert world.reactor.links[0].server.connected
    world.reactor.advance(0.2)
    assert not world.reactor.links[0].server.connected
    world.stop()


@pytest.mark.parametrize("name", ["connections", "connections_per_address"])
def test_connections(name):
    world = world_with(f"{name}: 2")
    clients = [world.connect() for _ in range(3)]
    assert [client.lost is None for client in clients] == [True, True, False]
    clients[0].transport.loseConnection()
    world.reactor.settle()
    assert world.connect().lost is None
    world.stop()


# The pool toward the leases.


def test_the_queue_is_bounded_and_its_wait_limited():
    world = world_with(pool="max_active: 1, max_idle: 1, max_queue: 1, wait_limit: 2s")
    first, second, third = (world.ask("/peer/tool/") for _ in range(3))
    assert len(world.origin.wires) == 1
    assert error_of(third.received) == ("503", "lease_busy")
    assert b"\r\nRetry-After: " in third.received
    assert second.received == b""
    world.reactor.advance(1.9)
    assert second.received == b""
    world.reactor.advance(0.2)
    assert error_of(second.received) == ("503", "lease_busy")
    world.origin.wires[0].send(OK)
    world.reactor.settle()
    assert head_of(first.received)[0] == b"HTTP/1.1 200 OK"
    world.stop()


def test_who_waits_is_served_in_turn():
    world = world_with(pool="max_active: 1, max_idle: 1, max_queue: 5, wait_limit: 10s")
    clients = [world.ask(f"/peer/tool/{number}") for number in range(4)]
    for number, client in enumerate(clients):
        wire = world.origin.wires[0]
        assert wire.received.endswith(b"\r\n\r\n")
        assert wire.received.rpartition(b"GET /")[2].startswith(b"%d " % number)
        wire.send(OK)
        world.reactor.settle()
        assert head_of(client.received)[2] == b"ok"
    assert len(world.origin.wires) == 1
    world.stop()


def test_idle_connections_are_few_and_not_for_ever():
    world = world_with(pool="max_active: 5, max_idle: 1, idle_timeout: 3s")
    for _ in range(2):
        world.ask("/peer/tool/")
    for wire in world.origin.wires:
        wire.send(OK)
    world.reactor.advance(SURPLUS_TIME)
    assert sorted(wire.lost is None for wire in world.origin.wires) == [False, True]
    world.reactor.advance(2.9 - SURPLUS_TIME)
    assert sorted(wire.lost is None for wire in world.origin.wires) == [False, True]
    world.reactor.advance(0.2)
    assert all(wire.lost is not None for wire in world.origin.wires)
    world.stop()
