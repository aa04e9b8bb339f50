import pytest
from twisted.internet import error
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
)
from twisted.internet.interfaces import IReactorPluggableNameResolver, IReactorTCP, IReactorTime
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from zope.interface.verify import verifyObject

from portal_gateway.testing.memory_reactor import MemoryReactor


class Echo(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)


class Recorder(Protocol):
    def __init__(self):
        self.received = b""
        self.lost = None

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.lost = reason.type


def result_of(deferred):
    results = []
    deferred.addBoth(results.append)
    return results


def test_it_provides_the_interfaces():
    reactor = MemoryReactor()
    for interface in (IReactorTCP, IReactorTime, IReactorPluggableNameResolver):
        assert verifyObject(interface, reactor)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("chunk", [None, 1])
def test_a_client_reaches_a_server(host, chunk):
    reactor = MemoryReactor()
    reactor.chunk = chunk
    ports = result_of(TCP4ServerEndpoint(reactor, 0).listen(Factory.forProtocol(Echo)))
    port = ports[0].getHost().port
    client = Recorder()
    connected = result_of(connectProtocol(HostnameEndpoint(reactor, host, port), client))
    assert connected == []
    reactor.settle()
    assert connected == [client]
    client.transport.write(b"hello")
    reactor.settle()
    assert client.received == b"hello"
    reactor.links[0].server.loseConnection()
    reactor.settle()
    assert client.lost is error.ConnectionDone


def test_a_port_without_listener_refuses():
    reactor = MemoryReactor()
    failed = result_of(connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", 1), Protocol()))
    reactor.settle()
    assert failed[0].check(error.ConnectionRefusedError)


def test_a_listener_that_stopped_refuses_and_its_port_is_free_again():
    reactor = MemoryReactor()
    listener = reactor.listenTCP(7, Factory.forProtocol(Echo))
    with pytest.raises(error.CannotListenError):
        reactor.listenTCP(7, Factory.forProtocol(Echo))
    listener.stopListening()
    failed = result_of(connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", 7), Protocol()))
    reactor.settle()
    assert failed[0].check(error.ConnectionRefusedError)
    reactor.listenTCP(7, Factory.forProtocol(Echo))


def test_a_silent_port_times_out():
    reactor = MemoryReactor()
    reactor.silent_ports.add(7)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", 7, timeout=10)
    failed = result_of(connectProtocol(endpoint, Protocol()))
    reactor.advance(9)
    assert failed == []
    reactor.advance(1)
    assert failed[0].check(error.TimeoutError)


def test_an_attempt_can_be_cancelled():
    reactor = MemoryReactor()
    reactor.silent_ports.add(7)
    attempt = connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", 7), Protocol())
    failed = result_of(attempt)
    attempt.cancel()
    assert failed[0].check(error.ConnectingCancelledError)
    assert reactor.getDelayedCalls() == []


def test_a_name_that_is_not_an_address_does_not_resolve():
    reactor = MemoryReactor()
    endpoint = HostnameEndpoint(reactor, "relay.example.com", 7)
    failed = result_of(connectProtocol(endpoint, Protocol()))
    reactor.settle()
    assert failed[0].check(error.DNSLookupError)


def test_a_server_that_builds_no_protocol_closes_at_once():
    class Refusing(Factory):
        def buildProtocol(self, addr):
            return None

    reactor = MemoryReactor()
    reactor.listenTCP(7, Refusing())
    client = Recorder()
    connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", 7), client)
    reactor.settle()
    assert client.lost is error.ConnectionDone


def test_a_client_factory_hears_of_its_connection():
    class Telling(ClientFactory):
        protocol = Recorder
        told = ()

        def startedConnecting(self, connector):
            self.told += ("started",)

        def buildProtocol(self, addr):
            return Recorder()

        def clientConnectionLost(self, connector, reason):
            self.told += ("lost",)

    reactor = MemoryReactor()
    reactor.listenTCP(7, Factory.forProtocol(Echo))
    factory = Telling()
    connector = reactor.connectTCP("127.0.0.1", 7, factory)
    reactor.settle()
    connector.disconnect()
    reactor.settle()
    assert factory.told == ("started", "lost")


def test_bytes_move_between_the_calls_of_one_advance():
    reactor = MemoryReactor()
    reactor.listenTCP(7, Factory.forProtocol(Echo))
    client = Recorder()
    connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", 7), client)
    reactor.settle()
    seen = []
    reactor.callLater(1, client.transport.write, b"a")
    reactor.callLater(2, lambda: seen.append((reactor.seconds(), client.received)))
    reactor.advance(5)
    assert seen == [(2.0, b"a")]
    assert reactor.seconds() == 5.0


@pytest.mark.parametrize("host", ["203.0.113.5", "2001:db8::5"])
def test_a_client_may_be_on_another_machine(host):
    reactor = MemoryReactor()
    ports = result_of(TCP4ServerEndpoint(reactor, 0).listen(Factory.forProtocol(Echo)))
    reactor.host = host
    client = Recorder()
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", ports[0].getHost().port)
    result_of(connectProtocol(endpoint, client))
    reactor.settle()
    assert reactor.links[0].server.getPeer().host == host
    client.transport.loseConnection()
    reactor.settle()
