import pytest
from joined import Joined, Producer, Recorder
from twisted.internet.error import ConnectionDone

from portal_gateway.errors import GatewayError
from portal_gateway.relay.connection import DRAIN_LIMIT
from portal_gateway.relay.lost import Loss, RelayLost
from portal_gateway.relay.outbox import MESSAGE_SIZE, SLICE
from portal_gateway.wire.yamux_frames import GO_AWAY, INITIAL_WINDOW, MAX_STREAM_ID, encode
from portal_gateway.wire.yamux_ids import Role


def messages(joined):
    """Record the messages that the client sends from now on."""
    sent = []
    send = joined.client_carrier.send_message

    def send_message(data):
        sent.append(data)
        send(data)

    joined.client_carrier.send_message = send_message
    return sent


def test_streams_of_both_sides_carry_bytes_both_ways():
    joined = Joined()
    near, far = joined.open()
    near.transport.write(b"question")
    joined.settle()
    assert far.data == b"question"
    far.transport.writeSequence([b"an", b"swer"])
    joined.settle()
    assert near.data == b"answer"

    called = []
    joined.client.on_stream = lambda stream: called.append(Recorder()) or called[-1]
    back = Recorder()
    joined.server.open_stream(back)
    back.transport.write(b"call")
    joined.settle()
    assert called[0].data == b"call"
    assert joined.client.streams == joined.server.streams == 2
    assert joined.client.bytes_in == joined.server.bytes_out
    assert joined.client.bytes_out == joined.server.bytes_in


@pytest.mark.parametrize("chunk", [1, 13])
def test_the_way_is_the_same_in_small_pieces(chunk):
    joined = Joined(chunk=chunk)
    near, far = joined.open()
    near.transport.write(b"question" * 20)
    far.transport.write(b"answer" * 20)
    joined.settle()
    assert far.data == b"question" * 20
    assert near.data == b"answer" * 20


def test_what_is_ready_in_one_turn_leaves_as_one_message():
    joined = Joined()
    streams = [joined.open()[0] for _ in range(20)]
    sent = messages(joined)
    for number, stream in enumerate(streams):
        stream.transport.write(b"%02d" % number)
        stream.transport.write(b"..")
    joined.client.ping()
    fresh = Recorder()
    joined.client.open_stream(fresh)
    fresh.transport.write(b"new")
    assert sent == []
    joined.turn()
    assert len(sent) == 1
    joined.settle()
    assert len(sent) == 1
    assert [far.data for far in joined.accepted[:20]] == [b"%02d.." % n for n in range(20)]
    assert joined.accepted[20].data == b"new"


def test_much_that_is_ready_does_not_wait_for_the_turns_end():
    joined = Joined()
    near, far = joined.open()
    sent = messages(joined)
    near.transport.write(b"x" * (MESSAGE_SIZE - 1))
    assert sent == []
    near.transport.write(b"y")
    assert len(sent) == 1
    joined.settle()
    assert len(far.data) == MESSAGE_SIZE


def test_nothing_is_framed_while_the_carrier_is_congested_and_then_streams_take_turns():
    joined = Joined()
    joined.link.frozen = True
    bulk, small = Recorder(), Recorder()
    joined.client.open_stream(bulk)
    joined.client.open_stream(small)
    joined.turn()
    bulk.transport.write(b"b" * 200_000)
    joined.turn()
    assert joined.client.outbox.congested
    waiting = joined.link.client.waiting
    assert waiting < 2 * MESSAGE_SIZE
    small.transport.write(b"s" * 100)
    bulk.transport.write(b"b" * 40_000)
    joined.turn()
    assert joined.link.client.waiting == waiting

    order = []
    joined.accept = lambda: Order(order)
    joined.link.frozen = False
    joined.settle()
    assert sum(size for kind, size in order if kind == b"b") == 240_000
    # Before the whole of the bulk, and at most a message and a slice of it later.
    ahead = sum(size for kind, size in order[: order.index((b"s", 100))])
    assert ahead <= waiting + SLICE + MESSAGE_SIZE


class Order(Recorder):
    def __init__(self, order):
        super().__init__()
        self.order = order

    def dataReceived(self, data):
        super().dataReceived(data)
        self.order.append((data[:1], len(data)))


def test_streams_that_wait_share_the_carrier_fairly():
    joined = Joined(chunk=4096)
    order = []
    joined.accept = lambda: Order(order)
    nears = [Recorder() for _ in range(4)]
    for near in nears:
        joined.client.open_stream(near)
    joined.settle()
    joined.link.frozen = True
    for letter, near in zip(b"abcd", nears, strict=True):
        near.transport.write(bytes((letter,)) * 200_000)
    joined.link.frozen = False
    joined.settle()
    assert [len(far.data) for far in joined.accepted] == [200_000] * 4
    # Once all of them wait, none gets more than a message ahead of another.
    seen = dict.fromkeys((b"a", b"b", b"c", b"d"), 0)
    worst = 0
    for kind, size in order:
        seen[kind] += size
        if all(seen.values()) and max(seen.values()) < 200_000:
            behind = sorted(seen.values())
            worst = max(worst, behind[2] - behind[0])
    assert worst <= 2 * SLICE


def test_a_ping_measures_the_round_trip():
    joined = Joined()
    answers = []
    joined.client.ping().addCallback(answers.append)
    joined.turn()
    joined.clock.advance(0.25)
    joined.settle()
    assert answers == [0.25]


def test_a_ping_that_is_cancelled_or_lost_harms_nobody():
    joined = Joined()
    errors = []
    ping = joined.client.ping()
    ping.addErrback(errors.append)
    ping.cancel()
    lost = []
    joined.client.ping().addErrback(lambda reason: lost.append(reason.value))
    joined.link.frozen = True
    joined.client.abort(Loss.PING_TIMEOUT, "no answer")
    assert len(errors) == 1
    assert lost[0].loss is Loss.PING_TIMEOUT
    joined.client.ping().addErrback(lambda reason: lost.append(reason.value))
    assert lost[1] is lost[0]


def test_a_stream_that_is_not_wanted_is_reset():
    joined = Joined(accept=lambda: None)
    near = Recorder()
    joined.client.open_stream(near)
    near.transport.write(b"question")
    joined.settle()
    assert near.lost is not None
    assert not isinstance(near.lost, ConnectionDone)
    assert joined.client.streams == joined.server.streams == 0
    assert joined.client.usable


def test_a_defect_in_accepting_costs_that_stream_only(tracebacks):
    joined = Joined(accept=lambda: 1 // 0)
    near = Recorder()
    joined.client.open_stream(near)
    joined.settle()
    assert near.lost is not None
    assert joined.server.connected
    assert len(tracebacks) == 1
    tracebacks.clear()


def test_closing_tells_everybody_on_both_sides():
    joined = Joined()
    near, far = joined.open()
    gone = []
    joined.client.gone.addCallback(gone.append)
    joined.client.close()
    assert joined.client_closed[0].loss is Loss.STOPPED
    assert near.lost is joined.client_closed[0]
    joined.settle()
    assert joined.server_closed[0].loss is Loss.CLOSED
    assert isinstance(far.lost, RelayLost)
    assert far.lost.cause.code == "relay_unavailable"
    assert gone == [None]
    assert not joined.link.connected
    assert joined.timers == []
    with pytest.raises(RelayLost):
        joined.client.open_stream(Recorder())


def test_aborting_is_seen_as_a_loss_by_the_other_side():
    joined = Joined()
    _near, far = joined.open()
    joined.client.abort()
    joined.client.abort()
    joined.settle()
    assert [lost.loss for lost in joined.server_closed] == [Loss.DROPPED]
    assert far.lost is joined.server_closed[0]
    assert joined.timers == []


def test_a_broken_multiplexer_ends_in_a_named_fault_and_a_go_away(logged):
    joined = Joined()
    near, far = joined.open()
    joined.server_carrier.send_message(b"\xff" * 64)
    joined.settle()
    assert joined.client_closed[0].loss is Loss.YAMUX_FAULT
    assert joined.client_closed[0].cause.code == "relay_protocol_error"
    assert near.lost is joined.client_closed[0]
    assert far.lost is not None
    # The go-away with its code ended the other side, before the carrier did.
    assert joined.server_closed[0].loss is Loss.YAMUX_FAULT
    assert not joined.link.connected
    assert joined.timers == []
    assert logged == []


def test_what_came_before_a_fault_is_delivered():
    joined = Joined()
    near, far = joined.open()
    sent = []
    joined.server_carrier.send_message, send = sent.append, joined.server_carrier.send_message
    far.transport.write(b"good")
    joined.turn()
    send(sent[0] + b"\xff" * 12)
    joined.settle()
    assert near.data == b"good"
    assert joined.client_closed[0].loss is Loss.YAMUX_FAULT


def test_after_the_peers_go_away_old_streams_go_on_and_new_ones_are_refused():
    joined = Joined()
    near, far = joined.open()
    going = []
    joined.client.on_going_away = lambda: going.append(True)
    joined.server_carrier.send_message(encode(GO_AWAY, 0, 0))
    joined.settle()
    assert going == [True]
    assert not joined.client.usable
    assert joined.client.connected
    with pytest.raises(GatewayError) as caught:
        joined.client.open_stream(Recorder())
    assert caught.value.cause.code == "relay_unavailable"
    far.transport.write(b"still")
    joined.settle()
    assert near.data == b"still"
    near.transport.loseConnection()
    joined.settle()
    assert isinstance(near.lost, ConnectionDone)
    assert joined.client_closed[0].loss is Loss.STOPPED
    assert not joined.link.connected
    assert joined.timers == []


def test_a_connection_that_goes_away_is_not_kept_for_ever():
    joined = Joined()
    near, _far = joined.open()
    joined.server_carrier.send_message(encode(GO_AWAY, 0, 0))
    joined.settle()
    joined.pass_time(DRAIN_LIMIT - 1)
    assert near.lost is None
    joined.pass_time(1)
    assert near.lost is not None
    assert not joined.link.connected
    assert joined.timers == []


def test_a_go_away_with_no_streams_closes_at_once():
    joined = Joined()
    joined.server_carrier.send_message(encode(GO_AWAY, 0, 0))
    joined.settle()
    assert joined.client_closed[0].loss is Loss.STOPPED
    assert not joined.link.connected


def test_when_the_stream_ids_are_used_up_the_connection_goes_away():
    joined = Joined()
    joined.open()
    joined.client._session._table.ids._next = MAX_STREAM_ID + 1 + Role.CLIENT.value
    going = []
    joined.client.on_going_away = lambda: going.append(True)
    with pytest.raises(GatewayError) as caught:
        joined.client.open_stream(Recorder())
    assert caught.value.cause.code == "relay_unavailable"
    assert going == [True]


def test_a_peer_that_floods_while_it_does_not_read_is_cut_off():
    joined = Joined()
    joined.open()
    joined.link.client._reading = True
    joined.client.pause_sending()
    ping = encode(2 << 16 | 1, 0, 7)
    for _ in range(100):
        joined.server_carrier.send_message(ping * 100)
        joined.link.flush()
    assert joined.client_closed[0].loss is Loss.YAMUX_FAULT


def test_windows_are_given_back_as_they_are_consumed():
    joined = Joined()
    near, far = joined.open()
    producer = Producer(near.transport, b"x" * 16384, blocks=200)
    joined.settle()
    assert producer.blocks == 0
    assert len(far.data) == 200 * 16384 > 10 * INITIAL_WINDOW


def test_repr_shows_no_more_than_names():
    joined = Joined()
    near, _far = joined.open()
    assert repr(joined.client) == "<RelayConnection relay.test:4017 streams=1 lost=None>"
    assert repr(near.transport) == "<Substream 1 of relay.test:4017>"
    assert near.transport.getPeer().host == "relay.test:4017"
    assert near.transport.getHost().port == 1


def test_a_defect_in_starting_costs_that_stream_only(tracebacks):
    class Broken(Recorder):
        def connectionMade(self):
            raise RuntimeError("a defect")

    joined = Joined(accept=Broken)
    streams = [Recorder(), Recorder()]
    for near in streams:
        joined.client.open_stream(near)
    joined.settle()
    assert [near.lost is not None for near in streams] == [True, True]
    assert joined.server.connected
    assert len(tracebacks) == 2
    tracebacks.clear()
