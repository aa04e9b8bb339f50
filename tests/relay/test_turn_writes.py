"""Writes of a turn, on a transport of Twisted's whose socket is a pair in this process."""

import socket

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from portal_gateway.relay.turn_writes import write_in_turn

MANY = 4 * 1024 * 1024


class Reactor(Clock):
    """The reactor, as far as a transport and its writing ask it; `poll` does what epoll would."""

    def __init__(self):
        super().__init__()
        self.writers = []
        self.added = 0

    def addReader(self, reader):
        pass

    def removeReader(self, reader):
        pass

    def addWriter(self, writer):
        self.added += 1
        self.writers.append(writer)

    def removeWriter(self, writer):
        if writer in self.writers:
            self.writers.remove(writer)

    def turn(self):
        self.advance(0)

    def poll(self):
        for writer in list(self.writers):
            end = writer.doWrite()
            if end is not None:
                known = {CONNECTION_DONE: ConnectionDone(), CONNECTION_LOST: ConnectionLost()}
                self.removeWriter(writer)
                writer.connectionLost(Failure(known[end]))


class Peer(Protocol):
    ended = None

    def connectionLost(self, reason):
        self.ended = reason.type


class Producer:
    def __init__(self):
        self.calls = []

    def pauseProducing(self):
        self.calls.append("pause")

    def resumeProducing(self):
        self.calls.append("resume")

    def stopProducing(self):
        self.calls.append("stop")


class TurnWritesTest(SynchronousTestCase):
    def setUp(self):
        self.reactor = Reactor()
        self.handles = []
        self.transport, self.peer = self.connect()
        self.protocol = self.transport.protocol

    def tearDown(self):
        for handle in self.handles:
            handle.close()

    def connect(self):
        near, peer = socket.socketpair()
        near.settimeout(0)
        peer.settimeout(0)
        transport = Connection(near, Peer(), self.reactor)
        transport.connected = 1
        transport.protocol.makeConnection(transport)
        self.handles += (near, peer)
        write_in_turn(transport)
        return transport, peer

    def received(self, peer=None):
        data = b""
        try:
            while more := (peer or self.peer).recv(1024 * 1024):
                data += more
        except BlockingIOError:
            return data
        return data + b"(end)"

    def test_what_is_written_leaves_in_one_piece_at_the_end_of_the_turn_and_is_not_polled_for(self):
        self.transport.write(b"head ")
        self.transport.writeSequence([b"and", b" body"])
        self.assertEqual(self.received(), b"")
        self.reactor.turn()
        self.assertEqual(self.received(), b"head and body")
        self.assertEqual(self.reactor.added, 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_all_sockets_of_a_turn_share_one_call(self):
        other, other_peer = self.connect()
        self.transport.write(b"one")
        other.write(b"two")
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.turn()
        self.assertEqual((self.received(), self.received(other_peer)), (b"one", b"two"))

    def test_what_the_socket_does_not_take_is_polled_for(self):
        self.transport.write(b"x" * MANY)
        self.reactor.turn()
        self.assertEqual(self.reactor.writers, [self.transport])
        got = len(self.received())
        while self.reactor.writers:
            self.reactor.poll()
            got += len(self.received())
        self.assertEqual(got, MANY)
        self.transport.write(b"more")
        self.reactor.turn()
        self.assertEqual(self.received(), b"more")
        self.assertEqual(self.reactor.added, 1)

    def test_producers_are_paused_and_resumed_as_ever(self):
        producer = Producer()
        self.transport.registerProducer(producer, streaming=True)
        self.transport.write(b"x" * MANY)
        self.assertEqual(producer.calls, ["pause"])
        self.reactor.turn()
        while self.reactor.writers:
            self.received()
            self.reactor.poll()
        self.assertEqual(producer.calls, ["pause", "resume"])

    def test_a_connection_that_is_closed_ends_after_what_was_written(self):
        self.transport.write(b"last")
        self.transport.loseConnection()
        self.reactor.turn()
        self.reactor.poll()
        self.assertEqual(self.protocol.ended, ConnectionDone)
        self.assertEqual(self.received(), b"last(end)")
        self.assertEqual(self.reactor.writers, [])

    def test_a_half_that_is_closed_ends_after_what_was_written(self):
        self.transport.write(b"last")
        self.transport.loseWriteConnection()
        self.reactor.turn()
        self.reactor.poll()
        self.assertEqual(self.received(), b"last(end)")
        self.assertIsNone(self.protocol.ended)

    def test_an_aborted_connection_sends_nothing(self):
        self.transport.write(b"never")
        self.transport.abortConnection()
        self.reactor.turn()
        self.assertEqual(self.received(), b"(end)")
        self.assertEqual(self.reactor.writers, [])

    def test_a_connection_whose_peer_is_gone_is_lost_through_the_reactor(self):
        self.peer.close()
        self.transport.write(b"to nobody")
        self.reactor.turn()
        self.reactor.poll()
        self.assertEqual(self.protocol.ended, ConnectionLost)
        self.assertEqual(self.reactor.writers, [])

    def test_one_that_fails_is_left_to_the_reactor_and_the_others_are_written(self):
        other, other_peer = self.connect()
        self.transport.write(b"one")
        other.write(b"two")

        def fail():
            raise RuntimeError("a defect")

        self.transport.doWrite = fail
        self.reactor.turn()
        self.assertEqual(self.received(other_peer), b"two")
        self.assertEqual(self.reactor.writers, [self.transport])

    def test_other_transports_are_left_alone(self):
        class Stream:
            pass

        stream = Stream()
        write_in_turn(stream)
        self.assertEqual(vars(stream), {})
