"""Little that a peer of a WebSocket sends and that becomes much: in memory, and in one turn."""

import gc
import tracemalloc
import zlib

import pytest
from websocket_world import (
    BINARY,
    CLOSE,
    CONFIG,
    PING,
    PONG,
    TEXT,
    Frame,
    Sockets,
    close,
    deflated,
    frame,
)

from portal_gateway.frontend.websocket_deflate import PIECE
from portal_gateway.frontend.websocket_end import READ
from portal_gateway.frontend.websocket_turns import WORK

CONT = 0
MIB = 1024 * 1024
MOST = 256 * 1024
"""Bytes that one WebSocket may hold."""

TURN = 64 * 1024
"""Bytes that are inflated in one turn."""

OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"


def bomb(size):
    """The payload of a compressed message of zeros: a thousandth of them."""
    packer = zlib.compressobj(9, wbits=-15)
    return (packer.compress(bytes(size)) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def noise(size):
    """What cannot be compressed, and always is the same."""
    state, found = 1, bytearray()
    while len(found) < size:
        state = state * 6364136223846793005 + 1442695040888963407 & 2**64 - 1
        found += (state >> 24).to_bytes(5, "big")
    return bytes(found[:size])


def one_turn(reactor):
    """One turn of the reactor: the calls that are due now, and one read of each connection."""
    due = [call for call in reactor.calls if call.getTime() <= reactor.seconds()]
    for call in due:
        reactor.calls.remove(call)
        call.called = 1
        call.func(*call.args, **call.kw)
    moved = [link.step() for link in reactor.links]
    return bool(due) or any(moved)


def gateway_end(world, side):
    """The gateway's transport of the connection to ``side``."""
    for link in world.reactor.links:
        if link.client.protocol is side.wire:
            return link.server
        if link.server.protocol is side.wire:
            return link.client
    raise AssertionError("there is no such connection")


def protocol_end(world, side):
    """The `End` toward ``side``."""
    protocol = gateway_end(world, side).protocol
    protocol = getattr(protocol, "_wrappedProtocol", protocol)
    taken = getattr(protocol, "_taken", None)
    return protocol.exchange.receiver if taken is None else taken._receiver


def held(world, *sides):
    """Bytes that the gateway holds of one WebSocket, by its own counters and its transports'."""
    return sum(protocol_end(world, s).held + gateway_end(world, s).waiting for s in sides)


def deaf(side):
    side.wire.transport.pauseProducing()


def hits(world, limit):
    return sum(site.limit_hits[limit] for site in world.gateway._sites)


@pytest.fixture
def world():
    world = Sockets()
    yield world
    world.stop()


@pytest.fixture(params=["client", "lease"])
def from_client(request):
    return request.param == "client"


@pytest.fixture(params=["both", "sender"])
def compressing(request):
    """Who agreed on permessage-deflate."""
    return request.param


def opened(world, *, from_client, compressing):
    """An open WebSocket: sender and receiver of what is compressed."""
    if compressing == "sender" and from_client:
        client, lease = world.open(client_fields=[OFFER])
    else:
        client, lease = world.open_deflated()
    return (client, lease) if from_client else (lease, client)


# Memory.


def test_who_sends_bombs_to_a_peer_that_does_not_read_is_held(world, from_client, compressing):
    sender, other = opened(world, from_client=from_client, compressing=compressing)
    deaf(other)
    payload = bomb(16 * MIB)
    for _ in range(4):
        sender.send(Frame(BINARY, payload, rsv=4))
    for _ in range(60):
        world.reactor.advance(0.1)
        assert held(world, sender, other) <= MOST
    assert not sender.ended


@pytest.mark.parametrize("data", [bytes(4 * MIB), noise(MIB)], ids=["zeros", "noise"])
def test_a_websocket_costs_what_it_may_when_neither_peer_reads(data):
    world = Sockets()
    client, lease = world.open_deflated()
    # What is made once, such as caches, is not this WebSocket's.
    for side in (client, lease):
        side.send(Frame(BINARY, deflated(b"warm"), rsv=4))
    gc.collect()
    payload = deflated(data)[:MIB]
    frames = [frame(BINARY, payload, rsv=4, fin=False, mask=mask) for mask in (True, False)]
    sent = [wire.transport for wire in (client.wire, lease.wire)]
    deaf(client)
    deaf(lease)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for side, made in zip((client, lease), frames, strict=True):
            side.wire.send(made)
        while one_turn(world.reactor):
            pass
        gc.collect()
        cost = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # What the peers' own transports still have is theirs.
    cost -= sum(transport.waiting for transport in sent)
    assert held(world, client, lease) <= cost <= MOST
    for side in (client, lease):
        side.wire.transport.abortConnection()
    world.reactor.settle()
    world.stop()


@pytest.mark.parametrize("size", [1, 100, 4_000, 16_384, 50_000, MIB])
def test_a_websocket_without_compression_holds_what_it_may_when_neither_peer_reads(world, size):
    client, lease = world.open()
    flood = [frame(BINARY, bytes(size), mask=mask) * (MIB // size) for mask in (True, False)]
    ends = [protocol_end(world, side) for side in (client, lease)]
    deaf(client)
    deaf(lease)
    for side, made in zip((client, lease), flood, strict=True):
        side.wire.send(made)
    while one_turn(world.reactor):
        # A frame that a read has cut goes on under one header more.
        assert held(world, client, lease) <= 4 * (READ + 14)
        # What was read of a piece is not kept with its rest.
        assert all(len(end._input) <= end.held for end in ends)
    assert all(gateway_end(world, side).waiting >= READ for side in (client, lease))


def test_a_message_that_is_only_begun_costs_little(world):
    client, lease = world.open_deflated()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        start = deflated(b"x" * 300)[:-1]
        client.send(Frame(BINARY, start, rsv=4, fin=False))
        lease.send(Frame(BINARY, start, rsv=4, fin=False))
        gc.collect()
        cost = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert cost <= MOST * 5 // 8


@pytest.mark.parametrize("payload", [b"", b"x"])
def test_tiny_frames_to_a_peer_that_does_not_read_cost_what_they_are(world, from_client, payload):
    client, lease = world.open()
    sender, other = (client, lease) if from_client else (lease, client)
    deaf(other)
    flood = frame(PING, payload, mask=from_client) * 100_000
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        sender.wire.send(flood)
        while one_turn(world.reactor):
            pass
        cost = tracemalloc.get_traced_memory()[0] - before - sender.wire.transport.waiting
    finally:
        tracemalloc.stop()
    assert cost <= MOST
    assert sender.wire.transport.waiting > len(flood) - MOST
    other.wire.transport.resumeProducing()
    world.reactor.settle()
    assert len(other.frames) == 100_000


def test_pings_and_closes_wait_behind_a_peer_that_does_not_read(world, from_client):
    client, lease = world.open()
    sender, other = (client, lease) if from_client else (lease, client)
    deaf(other)
    sent = [Frame(BINARY, b"x" * 40_000), *[Frame(PING, b"p" * 125)] * 3000]
    sender.send(*sent, Frame(CLOSE, close(1000)))
    assert held(world, sender, other) <= MOST
    other.wire.transport.resumeProducing()
    world.reactor.settle()
    found = other.frames
    assert b"".join(item.payload for item in found if item.opcode < CLOSE) == b"x" * 40_000
    assert [item.opcode for item in found if item.opcode > PING - 2][-1] == CLOSE
    assert sum(item.opcode == PING for item in found) == 3000


# Work in one turn.


def test_a_bomb_takes_many_turns(world, from_client):
    sender, other = opened(world, from_client=from_client, compressing="both")
    other.frames  # noqa: B018 - what came before is read
    sender.wire.send(frame(BINARY, bomb(4 * MIB), rsv=4, mask=from_client))
    inflater = zlib.decompressobj(wbits=-15)
    total, turns, most = 0, 0, 0
    while one_turn(world.reactor):
        made = 0
        for item in other.frames:
            made += len(inflater.decompress(item.payload))
        most = max(most, made)
        total += made
        turns += 1
    assert total == 4 * MIB
    # In one turn it may have its own, and a read of what came then.
    assert most <= 2 * TURN
    assert turns >= 4 * MIB // (2 * TURN)
    assert hits(world, "websocket_turn") >= 4 * MIB // (2 * TURN) - 1


@pytest.mark.parametrize(
    "item",
    [Frame(PING), Frame(PONG), Frame(TEXT, b"a"), Frame(CONT, b"a", fin=False)],
    ids=["pings", "pongs", "messages", "fragments"],
)
def test_small_frames_take_many_turns(world, from_client, item):
    client, lease = world.open()
    sender, other = (client, lease) if from_client else (lease, client)
    if item.opcode == CONT:
        sender.send(Frame(TEXT, b"a", fin=False))
        assert len(other.frames) == 1
    sender.wire.send(frame(*item[:2], fin=item.fin, mask=from_client) * 5000)
    total, most = 0, 0
    while one_turn(world.reactor):
        made = other.frames
        total += len(made)
        most = max(most, len(made))
    assert total == 5000
    assert most <= WORK
    assert hits(world, "websocket_turn") > 0


def test_empty_fragments_take_many_turns_and_go_no_further(world, from_client):
    client, lease = world.open()
    sender, other = (client, lease) if from_client else (lease, client)
    sender.send(Frame(TEXT, b"a", fin=False))
    assert len(other.frames) == 1
    sender.wire.send(frame(CONT, fin=False, mask=from_client) * 5000)
    turns = 0
    while one_turn(world.reactor):
        turns += 1
    assert turns >= 5000 // WORK
    assert other.frames == []
    sender.send(Frame(CONT, b"b"))
    assert other.frames == [Frame(CONT, b"b")]


def test_others_have_their_turn_between_those_of_a_bomb(world):
    attackers = [world.open_deflated()[0] for _ in range(5)]
    client, lease = world.open()
    for attacker in attackers:
        attacker.wire.send(frame(BINARY, bomb(8 * MIB), rsv=4, mask=True))
    for _ in range(3):
        one_turn(world.reactor)
    # A turn has one piece of work of those that wait: here a message needs two, to the gateway and
    # to the lease.
    client.wire.send(frame(TEXT, b"hello", mask=True))
    for _ in range(3):
        one_turn(world.reactor)
    assert lease.frames == [Frame(TEXT, b"hello")]
    assert all(protocol_end(world, attacker).held for attacker in attackers)
    world.reactor.settle()


def test_one_that_waits_for_its_turn_is_not_read(world):
    client, _ = world.open()
    client.wire.send(frame(PING, mask=True) * 50_000)
    one_turn(world.reactor)
    before = client.wire.transport.waiting
    one_turn(world.reactor)
    assert client.wire.transport.waiting == before
    world.reactor.settle()
    assert client.wire.transport.waiting == 0


@pytest.mark.parametrize("who", ["client", "lease"])
def test_nothing_is_left_when_it_ends_before_its_turn(who):
    world = Sockets()
    client, lease = world.open_deflated()
    client.wire.send(frame(BINARY, bomb(8 * MIB), rsv=4, mask=True))
    for _ in range(3):
        one_turn(world.reactor)
    assert protocol_end(world, client).held
    (client if who == "client" else lease).wire.transport.abortConnection()
    world.reactor.settle()
    world.stop()


def test_a_peer_that_pauses_in_the_midst_of_a_turn_gets_no_more_pieces(world, from_client):
    if not from_client:
        client, lease = world.open_deflated()
        sender, other = lease, client
    else:
        sender, other = opened(world, from_client=True, compressing="sender")
    deaf(other)
    sender.wire.send(frame(BINARY, bomb(MIB), rsv=4, mask=from_client))
    waiting = 0
    while one_turn(world.reactor):
        added = gateway_end(world, other).waiting - waiting
        waiting += added
        assert waiting <= 2 * PIECE + 64
    other.wire.transport.resumeProducing()
    world.reactor.settle()
    assert other.frames[-1].fin


# What is inflated counts.


@pytest.mark.parametrize("extra", [0, 1])
def test_the_limit_of_a_message_is_exact_when_it_is_inflated(from_client, extra):
    world = Sockets(CONFIG + "websocket: {max_message_size: 1MiB}\n")
    client, lease = world.open_deflated()
    sender, other = (client, lease) if from_client else (lease, client)
    sender.send(Frame(BINARY, deflated(bytes(MIB + extra)), rsv=4))
    if extra:
        assert sender.frames[-1].payload[:2] == close(1009)
        assert hits(world, "websocket_size") == 1
    else:
        assert sender.frames == []
        assert other.frames[-1].fin
    world.stop()


def test_what_stands_behind_a_final_block_is_read_and_not_kept(world, from_client):
    client, lease = world.open_deflated()
    sender, other = (client, lease) if from_client else (lease, client)
    packer = zlib.compressobj(wbits=-15)
    first = packer.compress(b"one, ") + packer.flush(zlib.Z_FINISH)
    sender.send(Frame(TEXT, first + deflated(b"two"), rsv=4))
    inflater = zlib.decompressobj(wbits=-15)
    assert b"".join(inflater.decompress(f.payload) for f in other.frames) == b"one, two"
    # Garbage there was ignored, and kept, once.
    sender.send(Frame(TEXT, first + b"\xff" * 100_000, rsv=4))
    assert sender.frames[-1].payload[:2] == close(1007)
