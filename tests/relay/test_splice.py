import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from portal_gateway.relay.splice import CLOSING_LIMIT, HALF_CLOSED_LIMIT, Splice
from portal_gateway.testing.transports import BUFFER_SIZE, connect
from tests.relay.relayed import HalfRecorder, Recorder


class Joined:
    """left ── near ═ far ── right: what one outer protocol writes, the other gets."""

    def __init__(self, kind=HalfRecorder, chunk=None, *, second=True):
        self.clock = Clock()
        self.over = []
        self.left, self.right = kind(), kind()
        self.splice = Splice(self.clock, lambda: self.over.append(True))
        self.chunk = chunk
        self.links = [connect(self.left, self.splice.near, chunk)]
        if second:
            self.connect_second()

    def connect_second(self):
        self.links.append(connect(self.splice.far, self.right, self.chunk))

    def settle(self):
        while sum(link.step() for link in self.links):
            pass

    def after(self, seconds):
        self.clock.advance(seconds)
        self.settle()

    @property
    def held(self):
        return sum(link.client.waiting + link.server.waiting for link in self.links)


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_bytes_go_both_ways(chunk):
    joined = Joined(chunk=chunk)
    joined.left.transport.write(b"from the left")
    joined.right.transport.write(b"from the right")
    joined.settle()
    assert joined.left.received == b"from the right"
    assert joined.right.received == b"from the left"
    assert joined.over == []


def test_nothing_is_read_before_both_sides_are_here():
    joined = Joined(second=False)
    joined.left.transport.write(b"early")
    joined.settle()
    assert joined.links[0].client.waiting == 5
    joined.connect_second()
    joined.settle()
    assert joined.right.received == b"early"


def test_half_closes_go_through_one_by_one():
    joined = Joined()
    joined.left.transport.write(b"request")
    joined.left.transport.loseWriteConnection()
    joined.settle()
    assert joined.right.received == b"request"
    assert joined.right.halves == ["read"]
    joined.right.transport.write(b"response")
    joined.settle()
    assert joined.left.received == b"response"
    assert joined.over == []
    joined.right.transport.loseWriteConnection()
    joined.settle()
    assert joined.left.lost is joined.right.lost is ConnectionDone
    assert joined.over == [True]
    assert joined.clock.getDelayedCalls() == []


def test_the_end_of_one_side_ends_the_other_after_everything_was_sent():
    joined = Joined()
    joined.left.transport.write(b"x" * 10 * BUFFER_SIZE)
    joined.left.transport.loseConnection()
    joined.settle()
    assert len(joined.right.received) == 10 * BUFFER_SIZE
    assert joined.right.halves == ["read"]
    joined.right.transport.loseConnection()
    joined.settle()
    assert joined.right.lost is ConnectionDone
    assert joined.over == [True]
    assert joined.clock.getDelayedCalls() == []


def test_sides_that_know_no_half_close_end_together():
    joined = Joined(Recorder)
    joined.left.transport.write(b"last words")
    joined.left.transport.loseConnection()
    joined.settle()
    assert joined.right.received == b"last words"
    assert joined.right.lost is ConnectionDone
    assert joined.over == [True]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_reset_goes_through_as_a_reset(side):
    joined = Joined()
    getattr(joined, side).transport.abortConnection()
    joined.settle()
    other = joined.right if side == "left" else joined.left
    assert other.lost is ConnectionLost
    assert joined.over == [True]


def test_a_reader_that_stops_stops_the_writer_and_little_is_held():
    joined = Joined()

    class Producer:
        sent = 0
        running = True

        def resumeProducing(self):
            self.running = True
            while self.running:
                self.sent += 10_000
                joined.left.transport.write(bytes(10_000))

        def pauseProducing(self):
            self.running = False

        stopProducing = pauseProducing

    producer = Producer()
    joined.right.transport.pauseProducing()
    joined.left.transport.registerProducer(producer, streaming=True)
    producer.resumeProducing()
    joined.settle()
    assert not producer.running
    assert joined.held == producer.sent <= 3 * (BUFFER_SIZE + 10_000)
    producer.resumeProducing = lambda: None
    joined.right.transport.resumeProducing()
    joined.settle()
    assert len(joined.right.received) == producer.sent


def test_a_half_closed_pair_without_a_byte_is_reset_in_time():
    joined = Joined()
    joined.left.transport.loseWriteConnection()
    joined.settle()
    joined.after(HALF_CLOSED_LIMIT - 1)
    joined.right.transport.write(b"still busy")
    joined.settle()
    joined.after(1)
    assert joined.right.lost is None
    joined.after(HALF_CLOSED_LIMIT - 1)
    assert joined.right.lost is None
    joined.after(1)
    assert joined.right.lost is ConnectionLost
    assert joined.left.lost is ConnectionLost
    assert joined.over == [True]
    assert joined.clock.getDelayedCalls() == []


def test_a_side_that_takes_nothing_after_the_other_is_gone_is_reset_in_time():
    joined = Joined(Recorder)
    joined.right.transport.pauseProducing()
    joined.left.transport.write(b"unread")
    joined.left.transport.loseConnection()
    joined.settle()
    joined.after(HALF_CLOSED_LIMIT + CLOSING_LIMIT)
    assert joined.right.lost is ConnectionLost
    assert joined.over == [True]


def test_giving_up_closes_the_side_that_is_here():
    joined = Joined(second=False)
    joined.splice.give_up()
    joined.settle()
    assert joined.left.halves == ["read"]
    joined.left.transport.loseConnection()
    joined.settle()
    assert joined.over == [True]


def test_giving_up_closes_a_side_that_comes_later():
    splice = Splice(Clock(), lambda: None)
    splice.give_up()
    left = Recorder()
    connect(left, splice.near).flush()
    assert left.lost is ConnectionDone


def test_a_side_that_comes_after_the_other_has_gone_is_reset():
    joined = Joined(second=False)
    joined.left.transport.loseConnection()
    joined.splice.near.transport.resumeProducing()
    joined.splice.near.transport.loseConnection()
    joined.settle()
    assert joined.over == [True]
    joined.connect_second()
    joined.settle()
    assert joined.right.lost is ConnectionLost


def test_aborting_resets_both():
    joined = Joined()
    joined.splice.abort()
    joined.settle()
    assert joined.left.lost is joined.right.lost is ConnectionLost
    assert joined.over == [True]


writes = st.lists(st.tuples(st.booleans(), st.binary(max_size=200)), max_size=10)


@settings(max_examples=100)
@given(writes, st.integers(1, 70), st.booleans())
def test_whatever_is_written_arrives_in_order_and_both_sides_end(script, chunk, from_left):
    joined = Joined(chunk=chunk)
    for left, data in script:
        (joined.left if left else joined.right).transport.write(data)
        joined.links[0].step()
    first, second = (joined.left, joined.right) if from_left else (joined.right, joined.left)
    first.transport.loseWriteConnection()
    joined.settle()
    second.transport.loseWriteConnection()
    joined.settle()
    assert joined.right.received == b"".join(data for left, data in script if left)
    assert joined.left.received == b"".join(data for left, data in script if not left)
    assert joined.left.lost is joined.right.lost is ConnectionDone
    assert joined.over == [True]
    assert joined.clock.getDelayedCalls() == []
    assert ConnectionAborted not in {joined.left.lost, joined.right.lost}
