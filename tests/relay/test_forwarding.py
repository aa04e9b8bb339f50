import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol

from portal_gateway.relay.forwarding import CONNECT_TIMEOUT, ForwardingFactory
from portal_gateway.testing.memory_reactor import MemoryReactor
from portal_gateway.testing.transports import connect
from tests.relay.relayed import Echo, HalfRecorder, Keeping, Recorder, World

PORT = 3000


class Forwarded:
    """A stream to a service in memory, through the protocols of a ForwardingFactory."""

    def __init__(self, service=HalfRecorder):
        self.reactor = MemoryReactor()
        self.services = Keeping(service)
        self.listener = None
        self.factory = ForwardingFactory.to_tcp(self.reactor, "127.0.0.1", PORT)

    def listen(self):
        self.listener = self.reactor.listenTCP(PORT, self.services)

    def stream(self, kind=HalfRecorder):
        client = kind()
        self.reactor.links.append(connect(client, self.factory.buildProtocol(None)))
        return client


def test_a_stream_is_copied_to_the_service_and_back():
    forwarded = Forwarded(Echo)
    forwarded.listen()
    client = forwarded.stream()
    client.transport.write(b"hello")
    forwarded.reactor.settle()
    assert client.received == b"hello"
    assert forwarded.factory.streams == 1
    assert forwarded.reactor.links[1].client.no_delay
    client.transport.loseConnection()
    forwarded.reactor.settle()
    assert forwarded.factory.streams == 0
    assert forwarded.reactor.getDelayedCalls() == []


def test_half_closes_are_carried():
    forwarded = Forwarded()
    forwarded.listen()
    client = forwarded.stream()
    client.transport.write(b"request")
    client.transport.loseWriteConnection()
    forwarded.reactor.settle()
    (service,) = forwarded.services.built
    assert (service.received, service.halves) == (b"request", ["read"])
    service.transport.write(b"response")
    service.transport.loseConnection()
    forwarded.reactor.settle()
    assert client.received == b"response"
    assert client.lost is ConnectionDone
    assert forwarded.factory.streams == 0


def test_a_service_that_is_down_ends_the_stream_at_once_without_a_byte(logged):
    forwarded = Forwarded()
    clients = [forwarded.stream(Recorder) for _ in range(3)]
    forwarded.reactor.settle()
    assert [client.lost for client in clients] == [ConnectionDone] * 3
    assert forwarded.factory.streams == 0
    warnings = [event for event in logged if event["log_namespace"].endswith("forwarding")]
    assert len(warnings) == 1
    forwarded.listen()
    forwarded.stream()
    forwarded.reactor.settle()
    assert [event["log_level"].name for event in logged if "forward" in event["log_namespace"]] == [
        "warn",
        "info",
    ]


def test_a_service_with_a_name_is_reached_or_found_down():
    forwarded = Forwarded(Echo)
    forwarded.factory = ForwardingFactory.to_tcp(forwarded.reactor, "localhost", PORT)
    client = forwarded.stream(Recorder)
    forwarded.reactor.advance(0.1)
    assert client.lost is ConnectionDone
    forwarded.listen()
    client = forwarded.stream(Recorder)
    client.transport.write(b"hello")
    forwarded.reactor.settle()
    assert client.received == b"hello"


def test_a_service_that_does_not_answer_ends_the_stream_in_time():
    forwarded = Forwarded()
    forwarded.reactor.silent_ports.add(PORT)
    client = forwarded.stream(Recorder)
    forwarded.reactor.advance(CONNECT_TIMEOUT - 0.1)
    assert client.lost is None
    forwarded.reactor.advance(0.2)
    assert client.lost is ConnectionDone
    assert forwarded.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("how", ["abortConnection", "loseConnection"])
def test_a_client_that_leaves_while_the_service_is_dialled_leaves_nothing(how, logged):
    forwarded = Forwarded()
    forwarded.reactor.silent_ports.add(PORT)
    client = forwarded.stream(Recorder)
    forwarded.reactor.settle()
    getattr(client.transport, how)()
    forwarded.reactor.advance(CONNECT_TIMEOUT)
    assert client.lost is not None
    assert forwarded.factory.streams == 0
    assert forwarded.reactor.getDelayedCalls() == []


def test_a_dial_that_fails_before_the_stream_is_connected_ends_it():
    reactor = MemoryReactor()
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", PORT)
    factory = ForwardingFactory(endpoint, reactor)
    protocol = factory.buildProtocol(None)
    reactor.settle()  # refused, and nobody is connected yet
    client = Recorder()
    connect(client, protocol).flush()
    assert client.lost is ConnectionDone
    assert factory.streams == 0


def test_closing_resets_what_is_open():
    forwarded = Forwarded()
    forwarded.listen()
    client = forwarded.stream()
    forwarded.reactor.settle()
    forwarded.factory.close()
    forwarded.reactor.settle()
    (service,) = forwarded.services.built
    assert client.lost is service.lost is ConnectionLost


def test_a_service_that_reads_nothing_stops_the_sender():
    class Deaf(Protocol):
        def connectionMade(self):
            self.transport.pauseProducing()

    forwarded = Forwarded(Deaf)
    forwarded.listen()
    client = forwarded.stream()
    forwarded.reactor.settle()
    client.transport.write(bytes(10_000_000))
    forwarded.reactor.links[0].chunk = 10_000
    forwarded.reactor.settle()
    assert forwarded.reactor.links[0].client.waiting > 9_800_000


def test_a_lease_published_through_a_relay_is_the_service():
    world = World()
    services = Keeping(Echo)
    world.reactor.listenTCP(PORT, services)
    lease = world.publish(kind=ForwardingFactory.to_tcp(world.reactor, "127.0.0.1", PORT))
    client = world.dial(lease.id, HalfRecorder)
    client.transport.write(b"through it all")
    world.reactor.settle()
    assert client.received == b"through it all"
    services.built[0].transport.unregisterProducer()
    services.built[0].transport.loseConnection()
    world.reactor.settle()
    assert client.halves == ["read"]
    client.transport.loseConnection()
    world.reactor.settle()
    assert client.lost is ConnectionDone
    assert world.relay.open_streams == {}


def test_a_lease_whose_service_is_down_accepts_and_then_ends_cleanly():
    world = World()
    lease = world.publish(kind=ForwardingFactory.to_tcp(world.reactor, "127.0.0.1", PORT))
    client = world.dial(lease.id)
    assert isinstance(client, Recorder)
    assert client.lost is ConnectionDone
    assert client.received == b""
