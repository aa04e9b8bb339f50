"""An open WebSocket: fragments, limits, closing, going, waiting, stopping."""

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
    Side,
    Sockets,
    close,
    deflated,
    frame,
)

CONT = 0
LIMITED = CONFIG + "websocket:\n  max_message_size: 1MiB\n  max_frame_size: 512KiB\n"


@pytest.fixture
def world():
    world = Sockets(LIMITED)
    yield world
    world.stop()


@pytest.fixture(params=["client", "lease"])
def sides(request, world):
    """The sender, the other side, and whether the sender is the client."""
    client, lease = world.open()
    return (client, lease, True) if request.param == "client" else (lease, client, False)


def code_of(farewell):
    assert farewell.opcode == CLOSE
    return int.from_bytes(farewell.payload[:2], "big")


# Frames.


def test_a_frame_is_passed_on_while_it_comes(sides):
    sender, other, from_client = sides
    data = frame(BINARY, b"a" * 1000 + b"b" * 1000, mask=from_client)
    sender.send(raw=data[:500])
    (first,) = other.frames
    assert (first.opcode, first.fin) == (BINARY, False)
    sender.send(raw=data[500:])
    (last,) = other.frames
    assert (last.opcode, last.fin) == (CONT, True)
    assert first.payload + last.payload == b"a" * 1000 + b"b" * 1000


def test_pings_between_fragments_keep_their_place(sides):
    sender, other, _ = sides
    sent = [
        Frame(TEXT, b"a", fin=False),
        Frame(PING, b"1"),
        Frame(CONT, b"b", fin=False),
        Frame(PONG, b"2"),
        Frame(CONT, b"c"),
        Frame(PING),
    ]
    for item in sent:
        sender.send(item)
    assert other.frames == sent
    sender.send(*sent)
    assert other.frames == sent
    other.send(Frame(PONG, b"1"))
    assert sender.frames == [Frame(PONG, b"1")]


def test_messages_cross(world):
    client, lease = world.open()
    client.send(Frame(TEXT, b"up", fin=False))
    lease.send(Frame(TEXT, b"down", fin=False))
    client.send(Frame(CONT, b"!"))
    lease.send(Frame(CONT, b"?"))
    assert lease.frames == [Frame(TEXT, b"up", fin=False), Frame(CONT, b"!")]
    assert client.frames == [Frame(TEXT, b"down", fin=False), Frame(CONT, b"?")]


def test_many_small_frames_in_one_read(sides):
    sender, other, _ = sides
    sent = [Frame(BINARY, b"%d" % i) for i in range(5000)]
    sender.send(*sent)
    assert other.frames == sent


# Limits.


@pytest.mark.parametrize(
    "sent",
    [
        [Frame(BINARY, b"x" * (512 * 1024 + 1))],
        [
            Frame(BINARY, b"x" * 500_000, fin=False),
            Frame(CONT, b"x" * 500_000, fin=False),
            Frame(CONT, b"x" * 48_577),
        ],
    ],
    ids=["frame", "message"],
)
def test_what_is_too_big_is_1009_for_its_sender(sides, sent):
    sender, other, from_client = sides
    sender.send(*sent)
    (farewell,) = sender.frames
    assert code_of(farewell) == 1009
    assert code_of(other.frames[-1]) == (1001 if from_client else 1011)
    assert other.ended


def test_what_is_just_not_too_big_passes(sides):
    sender, other, _ = sides
    sender.send(
        Frame(BINARY, b"x" * 524_288, fin=False),
        Frame(CONT, b"x" * 524_288),
    )
    assert sum(len(item.payload) for item in other.frames) == 2**20


def test_a_length_is_refused_before_its_payload_comes(sides):
    sender, other, from_client = sides
    head = frame(BINARY, b"", mask=from_client)[:1]
    sender.send(raw=head + bytes([127 | from_client << 7]) + (2**62).to_bytes(8, "big") + b"mask")
    assert code_of(sender.frames[-1]) == 1009
    assert code_of(other.frames[-1]) in {1001, 1011}


@pytest.mark.parametrize("from_client", [True, False])
def test_a_bomb_of_10_kb_is_1009_and_is_never_inflated(from_client):
    world = Sockets(LIMITED)
    client, lease = world.open_deflated()
    sender, other = (client, lease) if from_client else (lease, client)
    packer = zlib.compressobj(9, wbits=-15)
    packed = b"".join(packer.compress(b"\0" * 2**20) for _ in range(100))
    packed += packer.flush(zlib.Z_SYNC_FLUSH)[:-4]
    assert len(packed) < 110_000
    sender.send(Frame(BINARY, packed, rsv=4))
    assert code_of(sender.frames[-1]) == 1009
    # What went on before is below the limit, and came compressed again.
    assert sum(len(item.payload) for item in other.frames) < 10_000
    assert other.ended
    world.stop()


def test_a_compressed_message_of_the_limit_passes():
    world = Sockets(LIMITED)
    client, lease = world.open_deflated()
    client.send(Frame(BINARY, deflated(b"\0" * 2**20), rsv=4))
    found = lease.frames
    assert found[-1].fin
    packed = b"".join(item.payload for item in found)
    assert zlib.decompressobj(wbits=-15).decompress(packed) == b"\0" * 2**20
    client.send(Frame(BINARY, deflated(b"\0" * (2**20 + 1)), rsv=4))
    assert code_of(client.frames[-1]) == 1009
    world.stop()


@pytest.mark.parametrize(
    ("payload", "code"), [(b"\xff\xff\xff", 1007), (deflated(b"\xff\xfe"), 1007)]
)
def test_what_cannot_be_inflated_or_is_not_utf_8_then(payload, code):
    world = Sockets(LIMITED)
    client, lease = world.open_deflated()
    client.send(Frame(TEXT, payload, rsv=4))
    assert code_of(client.frames[-1]) == code
    assert code_of(lease.frames[-1]) == 1001
    world.stop()


# Closing.


def test_each_side_closes_as_the_other_did(sides):
    sender, other, _ = sides
    sender.send(Frame(CLOSE, close(4001, b"good bye")))
    assert other.frames == [Frame(CLOSE, close(4001, b"good bye"))]
    assert not sender.ended
    other.send(Frame(TEXT, b"last words"), Frame(CLOSE, close(1000, b"so long")))
    assert sender.frames == [Frame(TEXT, b"last words"), Frame(CLOSE, close(1000, b"so long"))]
    assert sender.ended
    assert other.ended


def test_both_may_close_at_once(world):
    client, lease = world.open()
    client.wire.send(frame(CLOSE, close(4001), mask=True))
    lease.wire.send(frame(CLOSE, close(4002)))
    world.reactor.settle()
    assert lease.frames == [Frame(CLOSE, close(4001))]
    assert client.frames == [Frame(CLOSE, close(4002))]
    assert client.ended
    assert lease.ended


def test_who_does_not_answer_a_close_is_not_waited_for_long(world, sides):
    sender, other, _ = sides
    sender.send(Frame(CLOSE, close(1000, b"x")))
    world.reactor.advance(3.9)
    assert not sender.ended
    world.reactor.advance(0.2)
    assert sender.frames == [Frame(CLOSE, close(1000, b"x"))]
    world.reactor.advance(2.0)
    assert sender.ended
    assert other.ended


def test_a_client_that_goes_without_a_word_is_told_to_the_lease_at_once(world):
    client, lease = world.open()
    client.wire.transport.abortConnection()
    world.reactor.settle()
    assert [code_of(item) for item in lease.frames] == [1001]
    assert lease.ended


def test_a_lease_that_goes_without_a_word_is_told_to_the_client_at_once(world):
    client, lease = world.open()
    lease.wire.transport.abortConnection()
    world.reactor.settle()
    (farewell,) = client.frames
    assert farewell.payload == close(1011, b"The lease closed the connection")
    client.wire.transport.loseConnection()
    world.reactor.settle()
    assert client.ended


def test_a_lease_that_hangs_up_instead_of_answering_a_close(world):
    client, lease = world.open()
    client.send(Frame(CLOSE, close(3000, b"x")))
    lease.wire.transport.loseConnection()
    world.reactor.settle()
    assert client.frames == [Frame(CLOSE, close(3000, b"x"))]
    assert client.ended


def test_a_client_that_says_good_bye_and_hangs_up(world):
    client, lease = world.open()
    client.wire.send(frame(CLOSE, close(3000), mask=True))
    client.wire.transport.loseConnection()
    world.reactor.settle()
    assert lease.frames == [Frame(CLOSE, close(3000))]
    assert lease.ended


def test_nothing_said_for_too_long_is_1001_for_both(world):
    client, lease = world.open()
    for _ in range(3):
        world.reactor.advance(899)
        client.send(Frame(PING))
        assert [item.opcode for item in lease.frames] == [PING]
    world.reactor.advance(900.1)
    assert [code_of(item) for item in client.frames + lease.frames] == [1001, 1001]
    client.send(Frame(CLOSE, close(1001)))
    lease.send(Frame(CLOSE, close(1001)))
    assert client.ended
    assert lease.ended


def test_a_gateway_that_stops_closes_both_with_1001():
    world = Sockets()
    client, lease = world.open()
    stopped = []
    world.gateway.stopService().addBoth(stopped.append)
    world.reactor.settle()
    assert client.frames == [Frame(CLOSE, close(1001, b"The gateway is stopping"))]
    assert lease.frames == [Frame(CLOSE, close(1001, b"The gateway is stopping"))]
    assert not stopped
    client.send(Frame(CLOSE, close(1001)))
    lease.send(Frame(CLOSE, close(1001)))
    assert stopped
    assert client.ended
    assert lease.ended
    assert world.reactor.getDelayedCalls() == []


def test_one_that_opens_while_the_gateway_stops_is_closed_with_1001_too():
    world = Sockets()
    wire = world.ask_upgrade()
    stopped = []
    world.gateway.stopService().addBoth(stopped.append)
    world.reactor.settle()
    origin = world.accept()
    world.reactor.advance(0)
    assert wire.received.startswith(b"HTTP/1.1 101 ")
    client = Side(world, wire, is_client=True)
    lease = Side(world, origin, is_client=False)
    for side in (client, lease):
        side._read = side.wire.received.index(b"\r\n\r\n") + 4
    assert client.frames == [Frame(CLOSE, close(1001, b"The gateway is stopping"))]
    assert lease.frames == [Frame(CLOSE, close(1001, b"The gateway is stopping"))]
    client.send(Frame(CLOSE, close(1001)))
    lease.send(Frame(CLOSE, close(1001)))
    assert stopped
    assert world.reactor.getDelayedCalls() == []


def test_a_gateway_that_stops_does_not_wait_for_ever():
    world = Sockets()
    client, lease = world.open()
    stopped = []
    world.gateway.stopService().addBoth(stopped.append)
    world.reactor.advance(6)
    assert stopped
    assert client.ended
    assert lease.ended
    assert world.reactor.getDelayedCalls() == []


# Back-pressure.


def test_a_slow_side_holds_the_other_back_and_nothing_is_lost(world, sides):
    sender, other, _ = sides
    other.wire.transport.pauseProducing()
    piece = b"0123456789abcdef" * 1024
    total = 200
    sent = 0
    for _ in range(total):
        sender.send(Frame(BINARY, piece))
        sent += len(piece)
    # Both transports of the gateway and the sender's own hold the rest.
    link = sender.wire.transport
    assert link.waiting > sent - 512 * 1024
    sender.send(Frame(CLOSE, close(1000)))
    other.wire.transport.resumeProducing()
    world.reactor.settle()
    found = other.frames
    assert b"".join(item.payload for item in found[:-1]) == piece * total
    assert found[-1] == Frame(CLOSE, close(1000))


def test_a_client_that_takes_nothing_is_cut_off_at_the_write_stall(world):
    client, lease = world.open()
    client.wire.transport.pauseProducing()
    lease.send(*[Frame(BINARY, b"x" * 65536) for _ in range(20)])
    assert not client.ended
    world.reactor.advance(31)
    assert [code_of(item) for item in lease.frames] == [1001]
    assert lease.ended


def test_a_lease_that_takes_nothing_is_cut_off_at_the_same_limit(world):
    client, lease = world.open()
    lease.wire.transport.pauseProducing()
    client.send(*[Frame(BINARY, b"x" * 65536) for _ in range(20)])
    world.reactor.advance(29)
    assert not client.ended
    world.reactor.advance(2)
    assert [code_of(item) for item in client.frames] == [1011]
    assert client.ended
    assert lease.ended
    (line,) = world.access_lines()
    assert line["error"] == "upstream_timeout"


def test_a_lease_that_is_slow_is_waited_for(world):
    client, lease = world.open()
    for _ in range(3):
        lease.wire.transport.pauseProducing()
        client.send(*[Frame(BINARY, b"x" * 65536) for _ in range(20)])
        world.reactor.advance(29)
        lease.wire.transport.resumeProducing()
        world.reactor.advance(2)
        assert b"".join(item.payload for item in lease.frames) == b"x" * 65536 * 20
    assert not client.ended


def test_a_client_that_leaves_a_lease_that_takes_nothing(world):
    client, lease = world.open()
    lease.wire.transport.pauseProducing()
    client.send(*[Frame(BINARY, b"x" * 65536) for _ in range(20)])
    client.wire.transport.abortConnection()
    world.reactor.advance(6)
    assert lease.ended
    (line,) = world.access_lines()
    assert line["message"] == "request_aborted"
    assert "error" not in line


# The record.


def test_the_access_log_has_one_line_when_it_ends():
    world = Sockets()
    client, lease = world.open(target="/ws/tool/chat")
    assert "request_completed" not in world.log_text.getvalue()
    world.reactor.advance(2)
    client.send(Frame(TEXT, b"12345"))
    lease.send(Frame(TEXT, b"123"))
    client.send(Frame(CLOSE, close(1000)))
    lease.send(Frame(CLOSE, close(1000)))
    (line,) = world.access_lines()
    assert (line["message"], line["status"]) == ("request_completed", 101)
    assert (line["path"], line["lease_id"]) == ("/ws/tool/chat", "tool")
    assert line["api_key_id"] == "tester"
    assert line["duration_ms"] == 2000.0
    assert line["bytes_in"] == (2 + 4 + 5) + (2 + 4 + 2)
    assert line["bytes_out"] == (2 + 3) + (2 + 2)
    assert "error" not in line


@pytest.mark.parametrize(
    ("ending", "message", "error"),
    [
        (lambda client, _lease: client.send(Frame(3)), "request_completed", "bad_request"),
        (
            lambda client, _lease: client.send(Frame(BINARY, b"x" * 2_000_000)),
            "request_completed",
            "content_too_large",
        ),
        (
            lambda _client, lease: lease.send(Frame(3)),
            "request_completed",
            "upstream_protocol_error",
        ),
        (
            lambda _client, lease: lease.wire.transport.loseConnection(),
            "request_completed",
            "upstream_closed",
        ),
        (
            lambda client, _lease: client.wire.transport.loseConnection(),
            "request_aborted",
            None,
        ),
    ],
    ids=["fault", "size", "lease", "lease gone", "client gone"],
)
def test_the_line_says_what_went_wrong(ending, message, error):
    world = Sockets(LIMITED)
    client, lease = world.open()
    ending(client, lease)
    world.reactor.settle()
    (line,) = world.access_lines()
    assert (line["message"], line["status"], line.get("error")) == (message, 101, error)


def test_a_websocket_counts_as_a_connection_of_its_pool():
    world = Sockets(CONFIG + "portal:\n  pool: {max_active: 1, max_idle: 1, wait_limit: 1s}\n")
    client, lease = world.open()
    busy = world.ask("/peer/tool/")
    world.reactor.advance(1.1)
    assert busy.received.startswith(b"HTTP/1.1 503 ")
    client.send(Frame(CLOSE, close(1000)))
    lease.send(Frame(CLOSE, close(1000)))
    world.ask("/peer/tool/")
    assert len(world.origin.wires) == 2
    world.stop()
