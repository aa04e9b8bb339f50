"""Streams forwarded through a relay to a real TCP service and back, over real sockets."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from portal_gateway.relay.endpoints import LeaseEndpoint
from portal_gateway.relay.forwarding import ForwardingFactory
from portal_gateway.relay.serving import LeaseState, PublishedLease
from portal_gateway.relay.session import RelaySession
from portal_gateway.testing.relay import EmbeddedRelay
from portal_gateway.wire.identity import Credential
from tests.relay.relayed import HalfRecorder


class Ending(HalfRecorder):
    """Tells when it has heard of the other side's half close, and when it is over."""

    def __init__(self):
        super().__init__()
        self.made = None
        self.read_ended = Deferred()
        self.over = Deferred()

    def readConnectionLost(self):
        super().readConnectionLost()
        self.read_ended.callback(self)

    def connectionLost(self, reason):
        super().connectionLost(reason)
        self.over.callback(self)


class Services(Factory):
    def __init__(self):
        self.arrivals = []

    def buildProtocol(self, addr):
        self.arrivals.append(Ending())
        return self.arrivals[-1]


class ForwardingOverSockets(TestCase):
    """expose's way: client, relay, published lease, TCP service."""

    timeout = 20

    @inlineCallbacks
    def setUp(self):
        self.services = Services()
        self.port = yield TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
            self.services
        )
        self.addCleanup(self.port.stopListening)
        self.relay = EmbeddedRelay(reactor)
        yield self.relay.listen()
        self.addCleanup(self.relay.stop)
        published = Deferred()

        def changed(lease):
            if lease.state is LeaseState.PUBLISHED and not published.called:
                published.callback(None)

        self.publisher = RelaySession(reactor, self.relay.url)
        self.forwarding = ForwardingFactory.to_tcp(reactor, "127.0.0.1", self.port.getHost().port)
        self.lease = PublishedLease(
            self.publisher,
            Credential.generate(),
            "agent",
            ("http/1.1",),
            self.forwarding,
            reactor,
            on_change=changed,
        )
        self.lease.start()
        self.publisher.start()
        self.addCleanup(self.publisher.stop)
        self.addCleanup(self.lease.stop)
        yield published
        self.session = RelaySession(reactor, self.relay.url)
        self.session.start()
        self.addCleanup(self.session.stop)
        yield self.session.when_connected()

    def dial(self):
        endpoint = LeaseEndpoint(self.session, Credential.generate(), self.lease.id, reactor)
        return endpoint.connect(Factory.forProtocol(Ending))

    @inlineCallbacks
    def test_both_halves_close_one_by_one_and_nothing_stays_open(self):
        client = yield self.dial()
        client.transport.write(b"request" * 100_000)
        client.transport.loseWriteConnection()
        while not self.services.arrivals:
            yield deferLater(reactor, 0.01)
        (service,) = self.services.arrivals
        yield service.read_ended
        self.assertEqual(service.received, b"request" * 100_000)
        service.transport.write(b"response" * 100_000)
        service.transport.loseConnection()
        yield client.over
        self.assertEqual(client.received, b"response" * 100_000)
        yield service.over
        # Twisted's TCP does not notice by itself that both halves are closed; the splice must.
        while self.forwarding.streams or self.relay.open_streams:
            yield deferLater(reactor, 0.01)

    @inlineCallbacks
    def test_a_reader_that_stops_stops_the_service(self):
        client = yield self.dial()
        client.transport.pauseProducing()
        while not self.services.arrivals:
            yield deferLater(reactor, 0.01)
        (service,) = self.services.arrivals
        size = 64 * 1024 * 1024
        service.transport.write(bytes(size))
        waiting = size
        while True:
            yield deferLater(reactor, 0.3)
            left = len(service.transport.dataBuffer) + service.transport._tempDataLen
            if left == waiting:
                break
            waiting = left
        # Kernel buffers, windows and our own buffers took some; most still waits at its source.
        self.assertGreater(waiting, size - 24 * 1024 * 1024)
        client.transport.resumeProducing()
        service.transport.loseConnection()
        yield client.read_ended
        self.assertEqual(len(client.received), size)
        client.transport.loseConnection()
        yield client.over

    @inlineCallbacks
    def test_a_service_that_is_down_ends_the_stream_without_a_byte(self):
        yield self.port.stopListening()
        client = yield self.dial()
        yield client.read_ended
        self.assertEqual(client.received, b"")
        client.transport.loseConnection()
        yield client.over

    @inlineCallbacks
    def test_a_client_that_resets_resets_the_service(self):
        client = yield self.dial()
        client.transport.write(b"x")
        while not (self.services.arrivals and self.services.arrivals[0].received):
            yield deferLater(reactor, 0.01)
        client.transport.abortConnection()
        (service,) = self.services.arrivals
        yield service.over
        self.assertEqual(service.halves, [])
        yield client.over
