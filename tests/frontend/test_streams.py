"""Streams through the whole gateway: what the lease sends arrives at once, and as it was sent."""

import pytest
from gateway_world import CONFIG, World, head_of

from portal_gateway.frontend.outlet import STREAM_HELD
from portal_gateway.frontend.response_stream import TICK
from portal_gateway.relay.http_connection import STREAM_READ
from portal_gateway.wire.http1_writing import CHUNK_END, LAST_CHUNK, chunk
from portal_gateway.wire.sse_boundaries import COMMENT

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def world():
    world = World()
    yield world
    world.stop()


def open_stream(world, head=EVENTS + CHUNKED, fields=()):
    """A client and the origin that streams to it; what the client has got so far is taken away."""
    client = world.ask("/peer/tool/events", fields=["Accept: text/event-stream", *fields])
    origin = world.origin.wires[-1]
    origin.send(head)
    world.reactor.settle()
    status, fields, _ = head_of(client.received)
    assert status == b"HTTP/1.1 200 OK"
    client.received = b""
    return client, origin, fields


def configured(sse):
    return World(f"{CONFIG}\nsse: {{{sse}}}\n")


class Writes:
    """Each write to a transport of the gateway."""

    def __init__(self, transport):
        self.all = []
        write = transport.write

        def noted(data):
            self.all.append(data)
            write(data)

        transport.write = noted


def test_each_chunk_arrives_at_once_in_one_write(world):
    client, origin, _ = open_stream(world)
    writes = Writes(world.reactor.links[0].server)
    events = [b"data: %d\n\n" % number for number in range(20)]
    for number, event in enumerate(events, 1):
        origin.send(chunk(event))
        world.reactor.settle()
        assert client.received == b"".join(map(chunk, events[:number]))
        assert writes.all == [chunk(event) for event in events[:number]]
    origin.send(LAST_CHUNK)
    world.reactor.settle()
    assert client.received.endswith(LAST_CHUNK)


def test_events_that_come_together_are_not_joined(world):
    _, origin, _ = open_stream(world)
    writes = Writes(world.reactor.links[0].server)
    events = [b"data: %d\n\n" % number for number in range(20)]
    origin.send(b"".join(map(chunk, events)))
    world.reactor.settle()
    assert writes.all == [chunk(event) for event in events]


@pytest.mark.parametrize(
    "head",
    [EVENTS + b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n"],
    ids=["events", "no type", "another type"],
)
def test_each_byte_of_a_stream_arrives_when_it_comes(world, head):
    """A body that ends with its connection: every byte is a piece of its own."""
    client, origin, _ = open_stream(world, head)
    body = b"id: 1\ndata: {}\r\n\r\nevent: \xe2\x82\xac\rdata\r\r"
    for number in range(len(body)):
        origin.send(body[number : number + 1])
        world.reactor.settle()
        assert client.received == b"".join(chunk(body[i : i + 1]) for i in range(number + 1))
    origin.transport.loseConnection()
    world.reactor.settle()
    assert client.received.endswith(LAST_CHUNK)


def test_each_byte_of_a_chunked_stream_arrives_when_it_comes(world):
    """Chunks cut anywhere: their framing says nothing to the client, their bytes arrive at once."""
    client, origin, _ = open_stream(world)
    raw = chunk(b"data: a\n\n") + chunk(b"data: b\n\n")
    due = b""
    bodies = {raw.index(b"data: a") + i for i in range(9)} | {
        raw.index(b"data: b") + i for i in range(9)
    }
    for number in range(len(raw)):
        origin.send(raw[number : number + 1])
        world.reactor.settle()
        if number in bodies:
            due += chunk(raw[number : number + 1])
        assert client.received == due


def test_the_head_does_not_wait_for_the_first_event(world):
    _, _, fields = open_stream(
        world,
        EVENTS + b"X-Accel-Buffering: no\r\nCache-Control: no-cache\r\nETag: x\r\n" + CHUNKED,
        ["Accept-Encoding: gzip"],
    )
    assert (b"X-Accel-Buffering", b"no") in fields
    assert (b"Cache-Control", b"no-cache") in fields
    assert (b"Content-Type", b"text/event-stream") in fields
    assert b"content-encoding" not in {name.lower() for name, _ in fields}
    assert b"content-length" not in {name.lower() for name, _ in fields}


def test_a_stream_is_not_held_to_a_time_in_all():
    world = configured("idle_timeout: 10s")
    client, origin, _ = open_stream(world)
    for number in range(1, 500):
        world.reactor.advance(9)
        origin.send(chunk(b"data: x\n\n"))
        world.reactor.settle()
        assert client.received == chunk(b"data: x\n\n") * number
    assert client.lost is None
    world.stop()


@pytest.mark.parametrize("head", [EVENTS + CHUNKED, b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_stream_that_falls_silent_is_cut(head):
    world = configured("idle_timeout: 10s")
    client, origin, _ = open_stream(world, head)
    world.reactor.advance(9.9)
    assert client.lost is None
    world.reactor.advance(TICK + 0.1)
    assert client.lost is not None
    assert origin.lost is not None
    assert CHUNK_END + b"0" not in client.received
    line = next(line for line in world.stop() if line.get("error"))
    assert line["error"] == "upstream_timeout"


def test_a_response_with_a_length_is_no_stream():
    world = configured("idle_timeout: 10s, keepalive: 1s")
    client, origin, _ = open_stream(world, EVENTS + b"Content-Length: 9\r\n\r\n")
    world.reactor.advance(60)
    origin.send(b"data: x\n\n")
    world.reactor.settle()
    assert client.received == b"data: x\n\n"
    assert client.lost is None
    world.stop()


def test_nothing_is_watched_once_a_stream_is_over(world):
    client, origin, _ = open_stream(world)
    origin.send(LAST_CHUNK)
    world.reactor.advance(TICK)
    assert world.reactor.calls
    world.ask("/peer/tool/", wire=client)
    world.reactor.advance(10)
    assert client.lost is None


# Comments.


def test_comments_only_between_events():
    world = configured("keepalive: 5s")
    client, origin, _ = open_stream(world)
    world.reactor.advance(5)
    assert client.received == chunk(COMMENT)
    world.reactor.advance(5)
    assert client.received == chunk(COMMENT) * 2
    client.received = b""
    for piece in (b"da", b"ta: 1\r", b"\n"):
        origin.send(chunk(piece))
        world.reactor.settle()
        world.reactor.advance(20)
    assert client.received == chunk(b"da") + chunk(b"ta: 1\r") + chunk(b"\n")
    client.received = b""
    origin.send(chunk(b"\r\n"))
    world.reactor.settle()
    world.reactor.advance(4)
    assert client.received == chunk(b"\r\n")
    world.reactor.advance(1)
    assert client.received == chunk(b"\r\n") + chunk(COMMENT)
    origin.send(chunk(b"data: 2\n\n") + LAST_CHUNK)
    world.reactor.settle()
    assert client.received.endswith(chunk(b"data: 2\n\n") + LAST_CHUNK)
    world.reactor.advance(60)
    world.stop()


def test_a_mark_behind_a_comment_is_taken_away():
    world = configured("keepalive: 5s")
    client, origin, _ = open_stream(world)
    world.reactor.advance(5)
    client.received = b""
    origin.send(chunk(b"\xef\xbb") + chunk(b"\xbfdata: 1\n\n") + LAST_CHUNK)
    world.reactor.settle()
    assert client.received == chunk(b"data: 1\n\n") + LAST_CHUNK
    world.stop()


@pytest.mark.parametrize(
    "head",
    [
        EVENTS + b"Content-Encoding: gzip\r\n" + CHUNKED,
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + CHUNKED,
        b"HTTP/1.1 200 OK\r\n" + CHUNKED,
        EVENTS + b"Content-Type: text/plain\r\n" + CHUNKED,
    ],
    ids=["compressed", "other type", "no type", "two types"],
)
def test_no_comments_into_what_is_no_plain_stream_of_events(head):
    world = configured("keepalive: 1s")
    client, _, _ = open_stream(world, head)
    world.reactor.advance(60)
    assert client.received == b""
    world.stop()


def test_no_comments_by_default(world):
    client, _, _ = open_stream(world)
    world.reactor.advance(600)
    assert client.received == b""


def test_the_type_may_have_a_parameter():
    world = configured("keepalive: 5s")
    head = b"HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream ; charset=utf-8\r\n" + CHUNKED
    client, _, _ = open_stream(world, head)
    world.reactor.advance(5)
    assert client.received == chunk(COMMENT)
    world.stop()


# Slow readers.


def held(world, link=0):
    """Bytes in the gateway that one client has not taken."""
    channel = world.reactor.links[link].server.protocol
    outlet = channel._outlet
    waiting = sum(len(piece) for piece in outlet._queue) + outlet._held_size
    return world.reactor.links[link].server.waiting + waiting


@pytest.mark.parametrize("piece", [1, 100, 5000, 200_000])
def test_a_slow_reader_slows_the_lease_and_costs_little(piece):
    world = configured("keepalive: 1s, idle_timeout: 5s")
    client, origin, _ = open_stream(world)
    client.transport.pauseProducing()
    total = 80_000 if piece == 1 else 400_000
    origin.send(chunk(b"x" * piece) * (total // piece))
    world.reactor.settle()
    assert origin.transport.waiting > total - 65_536
    assert STREAM_HELD < held(world) < 65_536
    outlet = world.reactor.links[0].server.protocol._outlet
    assert len(outlet._queue) < 20
    # Neither comments nor the end for silence: the lease is not to blame.
    before = held(world)
    world.reactor.advance(29)
    assert held(world) == before
    client.transport.resumeProducing()
    world.reactor.settle()
    body = client.received.replace(b"\r\n", b"")
    assert body.count(b"x") == total
    world.stop()


def test_many_slow_readers():
    """None of them holds much, and none misses anything."""
    world = World()
    clients = [open_stream(world) for _ in range(20)]
    for client, origin, _ in clients:
        client.transport.pauseProducing()
        origin.send(chunk(b"data: " + b"x" * 60 + b"\n\n") * 3000)
    world.reactor.settle()
    links = [
        number
        for number, link in enumerate(world.reactor.links)
        if hasattr(link.server.protocol, "_outlet")
    ]
    assert len(links) == 20
    assert all(held(world, number) < 65_536 for number in links)
    for client, _, _ in clients:
        client.transport.resumeProducing()
    world.reactor.settle()
    assert all(client.received.count(b"data: ") == 3000 for client, _, _ in clients)
    world.stop()


def test_the_buffers_are_as_before_when_a_stream_is_over(world):
    client, origin, _ = open_stream(world)
    ours, upstream = world.reactor.links[0].server, world.reactor.links[1].client
    assert (ours.bufferSize, upstream.bufferSize) == (STREAM_HELD, STREAM_READ)
    origin.send(chunk(b"data: x\n\n") + LAST_CHUNK)
    world.reactor.settle()
    assert (ours.bufferSize, upstream.bufferSize) == (65_536, 65_536)
    world.ask("/peer/tool/", wire=client)
    origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    world.reactor.settle()
    assert (ours.bufferSize, upstream.bufferSize) == (65_536, 65_536)


def test_a_reader_that_stops_is_cut_off_at_the_write_stall(world):
    client, origin, _ = open_stream(world)
    client.transport.pauseProducing()
    origin.send(chunk(b"x" * 100) * 3000)
    world.reactor.advance(29)
    assert origin.lost is None
    world.reactor.advance(2)
    assert origin.lost is not None
    client.transport.resumeProducing()
    world.reactor.settle()
    assert client.lost is not None


def test_a_client_that_leaves_ends_the_stream_at_the_lease(world):
    client, origin, _ = open_stream(world)
    client.transport.loseConnection()
    world.reactor.advance(0.1)
    assert origin.lost is not None
