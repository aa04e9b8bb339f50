"""Messages that come whole in one frame: read without autobahn, by the same rules."""

import pytest
from websocket_world import (
    BINARY,
    CLOSE,
    CONFIG,
    PING,
    TEXT,
    Frame,
    Sockets,
    close,
    deflated,
    frame,
)

from portal_gateway.frontend.websocket_ends import ClientEnd, LeaseEnd
from portal_gateway.frontend.websocket_turns import FRAME, WORK

SIZES = [0, 1, 125, 126, 1024, 1025, 5000]


@pytest.fixture
def world():
    world = Sockets()
    yield world
    world.stop()


@pytest.fixture(params=["client", "lease"])
def from_client(request):
    return request.param == "client"


@pytest.fixture
def sides(world, from_client):
    client, lease = world.open()
    return (client, lease) if from_client else (lease, client)


@pytest.fixture
def no_steps(monkeypatch):
    """Steps of autobahn's reader are a failure."""

    def fail(_end):
        raise AssertionError("autobahn was asked to read")

    monkeypatch.setattr(ClientEnd, "processData", fail)
    monkeypatch.setattr(LeaseEnd, "processData", fail)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_they_are_read_without_autobahn(sides, no_steps, opcode, size):
    sender, other = sides
    sent = [Frame(opcode, b"m" * size)] * 3
    sender.send(*sent)
    assert other.frames == sent


@pytest.mark.parametrize("here", [1, 2, 5, 6, 50])
def test_a_small_one_that_is_cut_waits_for_its_rest(sides, no_steps, from_client, here):
    sender, other = sides
    made = frame(TEXT, b"m" * 100, mask=from_client)
    sender.send(raw=made + made[:here])
    assert other.frames == [Frame(TEXT, b"m" * 100)]
    sender.send(raw=made[here:] + made)
    assert other.frames == [Frame(TEXT, b"m" * 100)] * 2


def test_behind_a_large_one_that_was_cut_they_are_read_without_autobahn(
    sides, from_client, request
):
    sender, other = sides
    made = frame(BINARY, b"m" * 10_000, mask=from_client)
    sender.send(raw=made[:6_000])
    assert [item.fin for item in other.frames] == [False]
    small = frame(TEXT, b"a", mask=from_client) * 5
    sender.send(raw=made[6_000:] + small[:-1])
    assert other.frames[1:] == [Frame(TEXT, b"a")] * 4
    request.getfixturevalue("no_steps")
    sender.send(raw=small[-1:] + small)
    assert other.frames == [Frame(TEXT, b"a")] * 6


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "wrong", [b"\xc3", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"]
)
def test_text_that_is_not_utf_8_is_1007(sides, no_steps, size, wrong):
    sender, other = sides
    good = "ü€𝄞".encode() * size
    sender.send(Frame(TEXT, good), Frame(BINARY, wrong), Frame(TEXT, good + wrong))
    assert other.frames[:2] == [Frame(TEXT, good), Frame(BINARY, wrong)]
    assert sender.frames[-1].payload[:2] == close(1007)


@pytest.mark.parametrize("limit", ["max_message_size", "max_frame_size"])
def test_the_limits_of_size_are_exact(no_steps, from_client, limit):
    world = Sockets(CONFIG + f"websocket: {{{limit}: 2KiB}}\n")
    client, lease = world.open()
    sender, other = (client, lease) if from_client else (lease, client)
    sender.send(*[Frame(BINARY, b"m" * 2048)] * 2)
    assert other.frames == [Frame(BINARY, b"m" * 2048)] * 2
    sender.send(Frame(BINARY, b"m" * 2049))
    assert sender.frames[-1].payload[:2] == close(1009)
    assert [item.opcode for item in other.frames] == [CLOSE]
    world.stop()


def test_one_behind_a_compressed_one(world, from_client):
    client, lease = world.open_deflated()
    sender, other = (client, lease) if from_client else (lease, client)
    sender.send(Frame(TEXT, deflated(b"one"), rsv=4), Frame(TEXT, b"two"), Frame(PING, b"p"))
    first, second, third = other.frames
    assert first.rsv == 4
    # As its sender judged it, who had the choice.
    assert second == Frame(TEXT, b"two")
    assert third == Frame(PING, b"p")


def test_those_of_one_turn_are_written_together(world, sides, from_client):
    sender, other = sides
    count = WORK // FRAME
    writes = []

    def watch(transport):
        write = transport.write

        def noted(data):
            writes.append(len(data))
            write(data)

        transport.write = noted

    for link in world.reactor.links:
        for transport in (link.client, link.server):
            if transport.protocol not in (sender.wire, other.wire):
                watch(transport)
    sender.wire.send(frame(TEXT, b"m" * 100, mask=from_client) * count)
    world.reactor.settle()
    assert other.frames == [Frame(TEXT, b"m" * 100)] * count
    assert len(writes) == 1
