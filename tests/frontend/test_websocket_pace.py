"""Limits of a client's messages on a WebSocket: what is too much waits."""

import pytest
from websocket_world import BINARY, CLOSE, CONFIG, PING, PONG, TEXT, Frame, Sockets, close, frame

from portal_gateway.frontend.readings import of_sites
from portal_gateway.frontend.websocket_ends import FREE_FRAGMENT

BURST = 5

PACED = CONFIG + f"websocket: {{messages_per_second: 2, message_burst: {BURST}}}\n"


@pytest.fixture
def world():
    world = Sockets(PACED)
    yield world
    world.stop()


def sent(count, start=0):
    return [Frame(TEXT, b"%d" % number) for number in range(start, start + count)]


def through(lease):
    """What the lease got since the last look."""
    return lease.frames


def test_a_burst_passes_and_then_messages_come_at_their_rate(world):
    client, lease = world.open()
    for message in sent(20):
        client.send(message)
    assert through(lease) == sent(BURST)
    for number in range(BURST, 10):
        world.reactor.advance(0.25)
        assert through(lease) == []
        world.reactor.advance(0.25)
        assert through(lease) == sent(1, number)
    # What waits is not lost, and is in order.
    world.reactor.advance(10)
    assert through(lease) == sent(10, 10)


def test_what_waits_is_left_in_the_network(world):
    client, lease = world.open()
    for message in sent(BURST):
        client.send(message)
    before = client.wire.transport.waiting
    for _ in range(50):
        client.send(Frame(BINARY, b"x" * 1000))
    assert client.wire.transport.waiting - before >= 49_000
    assert through(lease) == sent(BURST)


@pytest.mark.parametrize("payload", [b"", b"a", b"x" * 200, b"y" * 70_000])
def test_messages_that_come_in_one_piece_are_held_to_it_too(world, payload):
    client, lease = world.open()
    client.send(raw=b"".join(frame(TEXT, payload, mask=True) for _ in range(50)))
    assert sum(item.fin for item in through(lease)) == BURST
    world.reactor.advance(10.1)
    assert sum(item.fin for item in through(lease)) == 20
    world.reactor.advance(60)


@pytest.mark.parametrize("size", [1, 2, 5, 7, 13])
def test_messages_are_counted_in_whatever_pieces_they_come(world, size):
    client, lease = world.open()
    data = b"".join(
        frame(TEXT, b"z" * length, mask=True) for length in (0, 1, 130, 0, 70_000, 3, 4)
    )
    for position in range(0, 300, size):
        client.send(raw=data[position : position + size])
    client.send(raw=data[position + size :])
    assert sum(item.fin for item in through(lease)) == BURST
    world.reactor.advance(1.1)
    assert sum(item.fin for item in through(lease)) == 2


def test_pings_and_pongs_count(world):
    client, lease = world.open()
    client.send(*[Frame(PING, b"p"), Frame(PONG, b"q")] * 5)
    assert len(through(lease)) == BURST
    world.reactor.advance(0.51)
    assert len(through(lease)) == 1
    world.reactor.advance(60)


FRAGMENTS = {
    "of a byte": Frame(0, b"b", fin=False),
    "empty": Frame(0, fin=False),
    "just too small": Frame(0, b"b" * (FREE_FRAGMENT - 1), fin=False),
}


@pytest.mark.parametrize("fragment", FRAGMENTS.values(), ids=FRAGMENTS)
def test_each_small_fragment_counts_as_a_message(world, fragment):
    client, lease = world.open()
    client.send(Frame(TEXT, b"a", fin=False), *[fragment] * 20, Frame(0, b"c"))
    client.send(*sent(1))
    # 23 frames, of which a burst passes at once.
    world.reactor.advance((23 - BURST - 1) / 2 + 0.1)
    assert sum(item.opcode == TEXT for item in through(lease)) == 1
    world.reactor.advance(0.5)
    assert through(lease) == sent(1)


def test_a_message_of_100000_fragments_does_not_pass_faster_than_others():
    world = Sockets(CONFIG + "websocket: {messages_per_second: 5}\n")
    client, lease = world.open()
    client.wire.send(
        frame(TEXT, b"a", fin=False, mask=True)
        + frame(0, b"b", fin=False, mask=True) * 100_000
        + frame(0, b"c", mask=True)
    )
    world.reactor.settle()
    assert len(through(lease)) == 5
    world.reactor.advance(4.01)
    assert len(through(lease)) == 20
    assert client.wire.transport.waiting > 600_000
    world.stop()


def test_large_fragments_are_free_until_their_message_ends(world):
    client, lease = world.open()
    large = b"x" * FREE_FRAGMENT
    for _ in range(BURST):
        client.send(Frame(BINARY, large, fin=False), *[Frame(0, large, fin=False)] * 50, Frame(0))
    assert sum(len(item.payload) for item in through(lease)) == 51 * BURST * FREE_FRAGMENT
    client.send(*sent(1))
    assert through(lease) == []
    world.reactor.advance(0.51)
    assert through(lease) == sent(1)


def test_being_held_is_counted(world):
    client, _ = world.open()
    client.send(*sent(BURST - 1))
    (site,) = {site for site in world.gateway._sites if site.websockets}
    assert site.limit_hits["websocket_messages"] == 0
    client.send(*sent(1))
    assert site.limit_hits["websocket_messages"] == 1
    told = {reading.labels: reading.value for reading in of_sites([site])}
    assert told["websocket_messages",] == 1
    world.reactor.advance(5)


def test_the_lease_is_not_counted(world):
    client, lease = world.open()
    lease.send(*sent(100))
    assert len(client.frames) == 100


def test_large_and_compressed_messages_are_counted(world):
    client, lease = world.open_deflated()
    for _ in range(BURST + 2):
        client.send(Frame(BINARY, bytes(100_000)))
    assert sum(item.fin for item in through(lease)) == BURST
    world.reactor.advance(1.1)
    assert sum(item.fin for item in through(lease)) == 2


def test_a_lease_that_takes_no_more_holds_the_client_as_well(world):
    client, lease = world.open()
    lease.wire.transport.pauseProducing()
    client.send(*[Frame(BINARY, b"x" * 200_000)] * BURST)
    client.send(*sent(3))
    world.reactor.advance(20)
    held = client.wire.transport.waiting
    assert held
    lease.wire.transport.resumeProducing()
    world.reactor.settle()
    assert sum(item.fin for item in through(lease)) == BURST
    world.reactor.advance(1.5)
    assert through(lease) == sent(3)


def test_a_client_that_is_too_fast_while_the_lease_takes_no_more(world):
    client, lease = world.open()
    client.send(*sent(BURST + 4))
    assert through(lease) == sent(BURST)
    lease.wire.transport.pauseProducing()
    world.reactor.advance(10)
    lease.wire.transport.resumeProducing()
    world.reactor.settle()
    assert through(lease) == sent(4, BURST)


def test_a_close_waits_for_its_turn(world):
    client, lease = world.open()
    client.send(*sent(BURST + 1))
    client.send((CLOSE, close(1000, b"bye")))
    assert through(lease) == sent(BURST)
    world.reactor.advance(0.51)
    assert through(lease) == sent(1, BURST)
    world.reactor.advance(0.51)
    (farewell,) = through(lease)
    assert farewell.opcode == CLOSE
    lease.send((CLOSE, close(1000, b"bye")))
    assert client.ended


@pytest.mark.parametrize("who", ["client", "lease", "gateway"])
def test_nothing_is_left_when_it_ends_while_it_waits(who):
    world = Sockets(PACED)
    client, lease = world.open()
    client.send(*sent(BURST + 5))
    if who == "client":
        client.wire.transport.abortConnection()
    elif who == "lease":
        lease.wire.transport.abortConnection()
    world.reactor.settle()
    world.stop()


def test_each_websocket_has_a_pace_of_its_own(world):
    for _ in range(3):
        client, lease = world.open()
        client.send(*sent(BURST + 1))
        assert through(lease) == sent(BURST)
    world.reactor.advance(1)


def test_without_a_burst_it_is_that_of_a_second():
    world = Sockets(CONFIG + "websocket: {messages_per_second: 2.5}\n")
    client, lease = world.open()
    client.send(*sent(10))
    assert through(lease) == sent(3)
    world.reactor.advance(10)
    world.stop()
