import pytest
from joined import Joined, Producer, Recorder
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer
from zope.interface.verify import verifyObject

from portal_gateway.relay.substream import ACCEPTED_CLOSE_WAIT, CLOSE_WAIT, HIGH_WATER, SEND_STALL
from portal_gateway.wire.yamux_frames import INITIAL_WINDOW


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """Remembers how each half ended, in order."""

    def __init__(self):
        super().__init__()
        self.ends = []

    def readConnectionLost(self):
        self.ends.append("read")

    def writeConnectionLost(self):
        self.ends.append("write")

    def connectionLost(self, reason):
        super().connectionLost(reason)
        self.ends.append("lost")


def over(joined):
    """Whether nothing is left of any stream."""
    return joined.client.streams == joined.server.streams == 0 and joined.timers == []


def test_it_is_the_transport_that_it_says_it_is():
    from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport

    near, _far = Joined().open()
    for interface in (ITransport, IConsumer, IPushProducer):
        assert verifyObject(interface, near.transport)
    near.transport.setTcpNoDelay(enabled=True)
    near.transport.setTcpKeepAlive(enabled=True)


# Stop reading, and the sender pauses.


def test_a_reader_that_pauses_stops_the_writer_with_a_bounded_window_between():
    joined = Joined()
    near, far = joined.open()
    far.transport.pauseProducing()
    producer = Producer(near.transport, b"x" * 16384, blocks=1000)
    joined.settle()
    assert producer.paused
    written = (1000 - producer.blocks) * 16384
    assert written <= INITIAL_WINDOW + HIGH_WATER + 16384
    assert far.data == b""

    far.transport.resumeProducing()
    assert far.data == b""  # never from inside resumeProducing
    joined.settle()
    assert producer.blocks == 0
    assert not producer.paused
    assert len(far.data) == 1000 * 16384


def test_a_reader_that_pauses_in_the_midst_of_a_delivery_gets_no_more():
    joined = Joined()
    near, far = joined.open()
    take = far.dataReceived

    def pause_after_each(data):
        take(data)
        far.transport.pauseProducing()

    far.dataReceived = pause_after_each
    for letter in b"abc":
        near.transport.write(bytes((letter,)))
        joined.turn()
    joined.settle()
    for seen in ([b"a"], [b"a", b"b"], [b"a", b"b", b"c"]):
        assert far.received == seen
        far.transport.resumeProducing()
        joined.settle()


def test_the_order_holds_when_data_arrives_between_resume_and_delivery():
    joined = Joined()
    near, far = joined.open()
    far.transport.pauseProducing()
    near.transport.write(b"one")
    joined.settle()
    near.transport.write(b"two")
    joined.turn()
    far.transport.resumeProducing()
    joined.link.flush()
    joined.settle()
    assert far.data == b"onetwo"


def test_a_paused_reader_hears_of_the_end_after_the_data():
    joined = Joined()
    near, far = joined.open()
    far.transport.pauseProducing()
    near.transport.write(b"last words")
    near.transport.loseConnection()
    joined.settle()
    assert far.lost is None
    far.transport.resumeProducing()
    joined.settle()
    assert far.data == b"last words"
    assert isinstance(far.lost, ConnectionDone)
    assert isinstance(near.lost, ConnectionDone)
    assert over(joined)


# The writer.


def test_a_producer_is_paused_at_once_while_the_carrier_is_congested():
    joined = Joined()
    near, far = joined.open()
    other, _ = joined.open()
    joined.link.frozen = True
    other.transport.write(b"o" * 200_000)
    assert joined.client.outbox.congested
    producer = Producer(near.transport, b"x" * 100, blocks=50)
    assert producer.paused
    assert producer.blocks == 49
    joined.link.frozen = False
    joined.settle()
    assert producer.blocks == 0
    assert len(far.data) == 5000


def test_without_a_producer_a_write_is_kept_whole():
    joined = Joined()
    near, far = joined.open()
    data = bytes(range(256)) * 12_000
    near.transport.write(data)
    near.transport.loseConnection()
    joined.settle()
    assert far.data == data
    assert over(joined)


class Pull:
    def __init__(self, transport, blocks):
        self.transport = transport
        self.blocks = blocks
        self.stopped = False
        self.inside = False
        transport.registerProducer(self, streaming=False)

    def resumeProducing(self):
        assert not self.inside
        self.inside = True
        if self.blocks:
            self.blocks -= 1
            self.transport.write(b"p" * 100_000)
        else:
            self.transport.unregisterProducer()
        self.inside = False

    def stopProducing(self):
        self.stopped = True


def test_a_pull_producer_is_asked_whenever_nothing_waits():
    joined = Joined()
    near, far = joined.open()
    pull = Pull(near.transport, 20)
    joined.settle()
    assert pull.blocks == 0
    assert len(far.data) == 2_000_000
    near.transport.loseConnection()
    joined.settle()
    assert not pull.stopped
    assert over(joined)


def test_one_producer_at_a_time_and_none_after_the_end():
    joined = Joined()
    near, _far = joined.open()
    transport = near.transport
    Producer(transport)
    with pytest.raises(RuntimeError):
        transport.registerProducer(object(), streaming=True)
    transport.unregisterProducer()
    transport.unregisterProducer()
    transport.loseConnection()
    joined.settle()
    assert Producer(transport).stopped


def test_a_registered_producer_holds_up_loseConnection():
    joined = Joined()
    near, far = joined.open()
    producer = Producer(near.transport)
    near.transport.loseConnection()
    joined.settle()
    near.transport.write(b"still producing")
    joined.settle()
    assert far.lost is None
    near.transport.unregisterProducer()
    near.transport.write(b"too late")
    joined.settle()
    assert far.data == b"still producing"
    assert isinstance(far.lost, ConnectionDone)
    assert not producer.stopped
    assert over(joined)


def test_a_producer_is_stopped_when_the_stream_is_lost():
    joined = Joined()
    near, far = joined.open()
    producer = Producer(near.transport)
    far.transport.abortConnection()
    joined.settle()
    assert producer.stopped


# The ends.


def test_lose_connection_never_calls_back_from_inside():
    joined = Joined()
    near, far = joined.open()
    for transport, protocol in ((near.transport, near), (far.transport, far)):
        transport.loseConnection()
        transport.loseConnection()
        assert transport.disconnecting
        assert protocol.lost is None
    joined.settle()
    assert isinstance(near.lost, ConnectionDone)
    assert isinstance(far.lost, ConnectionDone)
    assert over(joined)


def test_a_peer_that_never_answers_our_fin_is_reset_after_a_while():
    joined = Joined(accept=HalfCloseable)
    near, far = joined.open()
    near.transport.write(b"bye")
    near.transport.loseConnection()
    joined.settle()
    assert far.data == b"bye"
    assert far.ends == ["read"]
    # What the peer still sends is dropped, and its credit given back.
    Producer(far.transport, b"x" * 16384, blocks=100)
    joined.settle()
    assert near.received == []
    joined.pass_time(CLOSE_WAIT)
    assert isinstance(near.lost, ConnectionDone)
    assert isinstance(far.lost, ConnectionLost)
    assert over(joined)


def test_a_peer_that_grants_no_room_is_reset_after_a_while():
    joined = Joined()
    near, far = joined.open()
    far.transport.pauseProducing()
    near.transport.write(b"x" * (INITIAL_WINDOW + 1))
    near.transport.loseConnection()
    joined.pass_time(SEND_STALL - 1)
    assert near.lost is None
    joined.pass_time(1)
    assert isinstance(near.lost, ConnectionLost)
    assert isinstance(far.lost, ConnectionLost)
    assert over(joined)


def test_a_slow_reader_gets_everything_from_whoever_accepted_the_stream():
    joined = Joined()
    near, far = joined.open()
    size = 20 * INITIAL_WINDOW
    near.transport.pauseProducing()
    far.transport.write(b"x" * size)
    far.transport.loseConnection()
    started = joined.clock.seconds()
    while near.lost is None:
        joined.pass_time(SEND_STALL * 0.3)
        near.transport.resumeProducing()
        joined.turn()
        if near.lost is None:
            near.transport.pauseProducing()
    joined.settle()
    assert joined.clock.seconds() - started > ACCEPTED_CLOSE_WAIT
    assert len(near.data) == size
    assert isinstance(near.lost, ConnectionDone)
    assert isinstance(far.lost, ConnectionDone)


def test_whoever_accepted_a_stream_does_not_wait_for_ever():
    joined = Joined()
    near, far = joined.open()
    near.transport.pauseProducing()
    far.transport.write(b"unread")
    far.transport.loseConnection()
    joined.pass_time(ACCEPTED_CLOSE_WAIT - 1)
    assert far.lost is None
    joined.pass_time(1)
    assert isinstance(far.lost, ConnectionDone)
    assert over(joined)


def test_abort_resets_and_tells_later():
    joined = Joined()
    near, far = joined.open()
    near.transport.write(b"never seen")
    near.transport.abortConnection()
    near.transport.abortConnection()
    near.transport.write(b"dropped")
    assert near.lost is None
    joined.settle()
    assert isinstance(near.lost, ConnectionAborted)
    assert isinstance(far.lost, ConnectionLost)
    assert over(joined)


def test_an_end_with_data_still_to_send_is_no_clean_end_for_the_peer():
    joined = Joined()
    near, far = joined.open()
    far.transport.pauseProducing()
    near.transport.write(b"x" * (INITIAL_WINDOW + 1))
    joined.settle()
    far.transport.loseConnection()
    joined.settle()
    # Nobody reads what near still has to send: it is not kept waiting, and sends no clean end.
    assert isinstance(near.lost, ConnectionDone)
    assert isinstance(far.lost, ConnectionLost)
    assert over(joined)


def test_half_closes_go_through_one_by_one():
    joined = Joined(accept=HalfCloseable)
    near = HalfCloseable()
    joined.client.open_stream(near)
    near.transport.write(b"question")
    near.transport.loseWriteConnection()
    near.transport.loseWriteConnection()
    near.transport.write(b"too late")
    assert near.ends == []
    joined.settle()
    far = joined.accepted[-1]
    assert (near.ends, far.ends) == (["write"], ["read"])
    far.transport.write(b"answer" * 100_000)
    far.transport.loseWriteConnection()
    joined.settle()
    assert far.data == b"question"
    assert near.data == b"answer" * 100_000
    assert near.ends == ["write", "read", "lost"]
    assert far.ends == ["read", "write", "lost"]
    assert isinstance(near.lost, ConnectionDone)
    assert isinstance(far.lost, ConnectionDone)
    assert over(joined)


def test_the_end_of_reading_is_told_once_however_often_reading_is_resumed():
    joined = Joined(accept=HalfCloseable)
    near, far = joined.open()
    near.transport.loseConnection()
    joined.settle()
    for _ in range(3):
        far.transport.pauseProducing()
        far.transport.resumeProducing()
        joined.settle()
    assert far.ends == ["read"]


def test_a_paused_reader_hears_of_the_end_even_when_its_own_half_ended_before():
    joined = Joined(accept=HalfCloseable)
    near, far = joined.open()
    far.transport.pauseProducing()
    near.transport.write(b"last words")
    near.transport.loseConnection()
    joined.settle()
    far.transport.loseWriteConnection()
    joined.settle()
    assert far.ends == ["write"]
    assert isinstance(near.lost, ConnectionDone)
    far.transport.resumeProducing()
    joined.settle()
    assert far.data == b"last words"
    assert far.ends == ["write", "read", "lost"]
    assert over(joined)


def test_a_protocol_may_lose_the_connection_when_the_peer_half_closed():
    joined = Joined(accept=HalfCloseable)
    near, far = joined.open()
    far.readConnectionLost = far.transport.loseConnection
    near.transport.loseConnection()
    joined.settle()
    assert far.ends == ["lost"]
    assert isinstance(near.lost, ConnectionDone)
    assert over(joined)


def test_half_closing_works_for_a_protocol_that_cannot_tell():
    joined = Joined()
    near, far = joined.open()
    near.transport.loseWriteConnection()
    joined.settle()
    assert isinstance(far.lost, ConnectionDone)
    assert isinstance(near.lost, ConnectionDone)
    assert over(joined)


def test_the_loss_of_the_connection_is_the_reason_of_every_stream():
    joined = Joined()
    streams = [joined.open() for _ in range(3)]
    streams[0][0].transport.pauseProducing()
    streams[0][1].transport.write(b"waits")
    streams[1][0].transport.loseConnection()
    joined.server.abort()
    joined.settle()
    for near, _far in streams[::2]:
        assert near.lost is joined.client_closed[0]
        assert near.lost.cause.code == "relay_unavailable"
    assert joined.timers == []


@pytest.mark.parametrize("method", ["dataReceived", "connectionLost", "readConnectionLost"])
def test_a_protocols_defect_costs_that_stream_only(method, tracebacks):
    joined = Joined(accept=HalfCloseable)
    near, far = joined.open()
    other_near, other_far = joined.open()

    def broken(*args):
        raise RuntimeError("a defect")

    setattr(far, method, broken)
    near.transport.write(b"question")
    near.transport.loseConnection()
    other_near.transport.write(b"fine")
    joined.settle()
    assert near.lost is not None or method == "connectionLost"
    assert other_far.data == b"fine"
    assert joined.server.connected
    if method == "connectionLost":
        far.transport.abortConnection()
        joined.settle()
    assert [str(event["log_failure"].value) for event in tracebacks] == ["a defect"]
    tracebacks.clear()
    assert joined.client.streams == joined.server.streams == 1


class BrokenProducer(Producer):
    def pauseProducing(self):
        raise RuntimeError("a defect")


def test_a_producers_defect_costs_that_stream_only(tracebacks):
    joined = Joined()
    near, far = joined.open()
    other_near, other_far = joined.open()
    far.transport.pauseProducing()
    BrokenProducer(near.transport, b"x" * 100_000, blocks=50)
    other_near.transport.write(b"fine")
    joined.settle()
    assert near.lost is not None
    assert other_far.data == b"fine"
    assert joined.client.connected
    assert joined.client.streams == 1
    assert len(tracebacks) == 1
    tracebacks.clear()
