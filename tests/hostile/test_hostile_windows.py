"""A relay or a lease that does not read, does not accept, or sends what nobody reads: what it can
make the gateway hold is bounded, and nobody waits for ever.
"""

import tracemalloc

import pytest
from hostile_world import LEASE, NOTHING, RELAY_PORT, Answer, HostileWorld, answer, listed
from twisted.internet.protocol import Protocol

from portal_gateway.relay.connection import DRAIN_LIMIT
from portal_gateway.relay.endpoints import CONNECT_TIMEOUT
from portal_gateway.relay.record_memory import RECORD_MEMORY, UNCOUNTED
from portal_gateway.relay.session import PING_INTERVAL, PING_TIMEOUT
from portal_gateway.relay.substream import CLOSE_WAIT
from portal_gateway.testing.hostile import RESPONSE, Script
from portal_gateway.testing.hostile_faults import (
    Message,
    instead,
    silent,
)
from portal_gateway.wire import secure_records
from portal_gateway.wire.limits import MAX_RECORD, MAX_RECORD_PLAINTEXT
from portal_gateway.wire.yamux import StreamOpened
from portal_gateway.wire.yamux_frames import (
    DATA,
    GO_AWAY,
    INITIAL_WINDOW,
    MAX_RECEIVE_WINDOW,
    MAX_UNACKNOWLEDGED,
    encode,
)
from tests.frontend.gateway_world import Client, Wire

READ = 65_536
"""Bytes of one read, as from a socket."""

MEGABYTE = 1_000_000


@pytest.fixture
def script():
    return Script(LEASE, (listed(LEASE, "newcomer"),))


@pytest.fixture
def world(script):
    world = HostileWorld(script)
    assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
    yield world
    world.stop()


def in_reads(world):
    for link in world.reactor.links:
        link.chunk = READ


def start_upload(world, size):
    """A client whose request announces ``size`` bytes of body, and which has sent all of them."""
    wire = world.ask("/peer/newcomer/", method="PUT", fields=[f"Content-Length: {size}"])
    in_reads(world)
    wire.send(bytes(size))
    world.reactor.settle()
    return wire


class Endless:
    """A push producer that never has enough."""

    def __init__(self, stream, piece):
        self.stream = stream
        self.piece = piece
        self.sent = 0
        self.going = True
        stream.registerProducer(self, streaming=True)
        stream._connection.call_soon(self.run)

    def run(self):
        while self.going:
            self.stream.write(self.piece)
            self.sent += len(self.piece)

    def pauseProducing(self):
        self.going = False

    def resumeProducing(self):
        self.going = True
        self.run()

    stopProducing = pauseProducing


def test_tiny_frames_that_nobody_reads_take_little_more_memory_than_their_bytes(world, script):
    streams = []
    script.response = (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", bytes(150_000))
    script.faults[Message.LATER_RECORD] = lambda turn: (
        streams.append(turn.stream.stream_id),
        turn.stream.write(turn.honest),
    )
    wire = world.connect()
    wire.transport.pauseProducing()
    world.ask("/peer/newcomer/", wire=wire)
    (stream_id,) = streams
    size = 50_000
    frames = (encode(DATA, stream_id, 2) + b"xy") * (size // 2)
    in_reads(world)
    before = world.held["buffered"]
    tracemalloc.start()
    world.relay.send_frames(frames)
    world.reactor.settle()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert world.held["buffered"] - before == size
    assert held < 3 * size
    wire.transport.abortConnection()
    world.reactor.settle()
    assert world.held == NOTHING


def test_a_record_of_many_chunks_waits_as_the_bytes_that_it_is(world, script, monkeypatch):
    # An honest sealer makes several records of it.
    monkeypatch.setattr(secure_records, "RECORD_PLAINTEXT", MAX_RECORD_PLAINTEXT)
    chunks = b"2\r\nxx\r\n" * 150_000
    script.response = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunks)
    wire = world.connect()
    in_reads(world)
    wire.transport.pauseProducing()
    tracemalloc.start()
    world.ask("/peer/newcomer/", wire=wire)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    # Here and with the relay, which has no more than its send buffer and the test's own copies.
    assert held < 4 * len(chunks)
    wire.transport.abortConnection()
    world.reactor.settle()
    assert world.held == NOTHING


def test_records_that_are_never_complete_share_what_memory_there_is(world, script, monkeypatch):
    monkeypatch.setattr(RECORD_MEMORY, "limit", MEGABYTE)

    def begun(size):
        """The first bytes of the largest record there may be."""
        return instead(MAX_RECORD.to_bytes(4, "big") + bytes(size))

    script.response = (RESPONSE[0],)
    wires = []
    for size in (300_000, 500_000, 100_000, 400_000, UNCOUNTED // 2):
        script.faults[Message.FIRST_RECORD] = begun(size)
        wires.append(world.ask("/peer/newcomer/"))
        assert RECORD_MEMORY.total <= MEGABYTE
    fault = Answer(502, "upstream_protocol_error")
    assert [answer(world, wire) for wire in wires] == [None, fault, None, None, None]
    assert RECORD_MEMORY.total == 800_000 + 3 * 4
    for wire in wires:
        wire.transport.abortConnection()
    world.reactor.settle()
    assert RECORD_MEMORY.total == 0
    # One that is large, and honest.
    script.faults.clear()
    monkeypatch.setattr(secure_records, "RECORD_PLAINTEXT", MAX_RECORD_PLAINTEXT)
    script.response = (RESPONSE[0].replace(b"10", b"900000"), bytes(900_000))
    in_reads(world)
    wire = world.ask("/peer/newcomer/")
    assert len(wire.received) > 900_000
    assert RECORD_MEMORY.total == 0


class Sated(Wire):
    """A client that reads so many bytes and no more."""

    def __init__(self, appetite):
        super().__init__()
        self.left = appetite

    def dataReceived(self, data):
        self.left -= len(data)
        if self.left <= 0:
            self.transport.pauseProducing()


@pytest.mark.parametrize(
    ("appetite", "least"), [(1, INITIAL_WINDOW // 2), (24 * MEGABYTE, INITIAL_WINDOW)]
)
def test_a_lease_without_an_end_is_a_window_ahead_of_its_reader(world, script, appetite, least):
    script.response = (b"HTTP/1.1 200 OK\r\n\r\n", bytes(30_000))
    # The same record again and again, which nothing forbids, and which saves the time to seal it.
    script.faults[Message.LATER_RECORD] = lambda turn: Endless(turn.stream, turn.honest)
    wire = Sated(appetite)
    world.reactor.connectTCP("127.0.0.1", 8080, Client(wire))
    world.reactor.settle()
    in_reads(world)
    world.ask("/peer/newcomer/", wire=wire)
    assert wire.left <= 0
    assert least <= world.held["buffered"] <= MAX_RECEIVE_WINDOW
    wire.transport.abortConnection()
    world.reactor.settle()
    assert world.held == NOTHING


def test_a_relay_that_grants_no_window_stops_the_client(world, script):
    script.faults[Message.HANDSHAKE] = lambda turn: (
        turn.stream.write(turn.honest),
        turn.stream.pauseProducing(),
    )
    size = 5 * MEGABYTE
    wire = start_upload(world, size)
    # A window is with the relay; another here at most, and what the sockets hold.
    assert size - wire.transport.waiting < 2 * INITIAL_WINDOW + 2 * READ
    world.reactor.advance(120)
    assert answer(world, wire) is None
    assert world.held["requests"] == 1
    wire.transport.abortConnection()
    world.reactor.settle()
    assert world.held == NOTHING


def test_a_relay_that_accepts_no_stream_is_given_up_for_each(world):
    """The SYNs above its backlog wait here, and each request has its ten seconds all the same."""
    world.relay.connections[-1]._reactions[StreamOpened] = lambda _event: None
    count = MAX_UNACKNOWLEDGED + 44
    wires = [world.ask("/peer/newcomer/") for _ in range(count)]
    assert world.held["streams"] == count
    world.reactor.advance(CONNECT_TIMEOUT - 0.5)
    assert [wire for wire in wires if wire.received] == []
    world.reactor.advance(0.5)
    late = Answer(504, "upstream_timeout")
    assert [answer(world, wire) for wire in wires] == [late] * count
    # At most a question of the directory's is left.
    held = world.held
    assert held["streams"] <= 1
    assert held | {"streams": 0} == NOTHING


def test_a_relay_that_has_stopped_is_noticed_within_the_pings_limits(world, script):
    """Whatever a request waits for: the answer to a dial, a response, room to send, the rest."""
    world.reactor.advance(PING_INTERVAL)
    half = world.connect()
    script.faults[Message.LATER_RECORD] = silent
    world.ask("/peer/newcomer/", wire=half)
    script.faults[Message.FIRST_RECORD] = silent
    waiting = world.ask("/peer/newcomer/")
    script.faults.clear()
    link = world.reactor.links[0]
    assert link.server.getHost().port == RELAY_PORT
    link.frozen = True
    size = 5 * MEGABYTE
    sending = start_upload(world, size)
    dialling = world.ask("/peer/newcomer/")
    assert link.client.waiting < 4 * READ
    assert size - sending.transport.waiting < 4 * READ
    world.reactor.advance(CONNECT_TIMEOUT)
    for wire in (sending, dialling):
        assert answer(world, wire) == Answer(504, "upstream_timeout")
    world.reactor.advance(PING_INTERVAL + PING_TIMEOUT - CONNECT_TIMEOUT)
    assert answer(world, waiting) == Answer(503, "relay_unavailable")
    assert answer(world, half) == Answer(200, "relay_unavailable", cut=True)
    assert not world.session.connected or world.session.connects == 2
    link.frozen = False


def test_streams_that_a_relay_opens_a_few_at_a_time_are_refused_and_forgotten(world):
    """Never so many that it is a flood."""
    connection = world.session.connection
    for _ in range(100):
        for _ in range(100):
            world.relay.connections[-1].open_stream(Protocol())
        world.reactor.settle()
    assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
    assert world.session.connection is connection
    table = connection._session._table
    assert (table.offered, len(table.ids._skipped)) == (0, 0)
    world.reactor.advance(CLOSE_WAIT)
    assert len(table.streams) == 0


def test_a_relay_that_goes_away_finishes_what_it_began(world, script):
    script.faults[Message.LATER_RECORD] = silent
    old = world.session.connection
    wire = world.ask("/peer/newcomer/")
    stream_id = old._streams and max(old._streams)
    world.relay.send_frames(encode(GO_AWAY, 0, 0))
    script.faults.clear()
    world.reactor.advance(1)
    assert world.session.connection is not old
    assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
    assert stream_id in old._streams
    assert answer(world, wire) is None
    # One that never finishes is cut, and so is its client.
    world.reactor.advance(DRAIN_LIMIT)
    assert answer(world, wire) == Answer(200, "relay_unavailable", cut=True)
    assert not old.connected


@pytest.mark.parametrize("message", Message)
def test_a_client_that_leaves_a_silent_peer_leaves_nothing_behind(script, message):
    world = HostileWorld(script)
    later = list(Message)[list(Message).index(message) :]
    script.faults = dict.fromkeys(later, silent)
    script.leases = (listed(LEASE, "agent"),)
    wire = world.ask("/peer/agent/")
    assert answer(world, wire) is None
    wire.transport.abortConnection()
    world.reactor.settle()
    # A dial goes on for whoever comes next, as long as it may.
    assert sum(world.held.values()) <= 2
    world.reactor.advance(CONNECT_TIMEOUT)
    script.faults.clear()
    world.reactor.advance(CONNECT_TIMEOUT)
    assert world.held == NOTHING
    world.stop()
