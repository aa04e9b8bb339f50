"""A relay, its clients and its publishers in one memory reactor."""

from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from portal_gateway.errors import GatewayError
from portal_gateway.relay.endpoints import LeaseEndpoint
from portal_gateway.relay.serving import PublishedLease
from portal_gateway.relay.session import RelaySession
from portal_gateway.testing.memory_reactor import MemoryReactor
from portal_gateway.testing.relay import EmbeddedRelay
from portal_gateway.wire.identity import Credential

__all__ = ["Echo", "HalfRecorder", "Recorder", "World", "credential", "outcome"]

NOW = 1_700_000_000.0


def credential(number):
    """The same every time."""
    return Credential.from_private_bytes(bytes([number]) * 32)


def outcome(deferred):
    """What the Deferred has come to, the code of a GatewayError, or None while it waits."""
    results = []

    def failed(failure):
        if failure.check(CancelledError):
            return "cancelled"
        failure.trap(GatewayError)
        return failure.value.cause.code

    deferred.addErrback(failed).addCallback(results.append)
    return results


class Recorder(Protocol):
    """Remembers what its transport told it."""

    def __init__(self):
        self.received = bytearray()
        self.lost = None

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.lost = reason.type


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    """Hears of each half that closes."""

    def __init__(self):
        super().__init__()
        self.halves = []

    def readConnectionLost(self):
        self.halves.append("read")

    def writeConnectionLost(self):
        self.halves.append("write")


class Echo(Protocol):
    """Sends back what it gets, as fast as that is taken."""

    def connectionMade(self):
        self.transport.registerProducer(self.transport, streaming=True)

    def dataReceived(self, data):
        self.transport.write(data)

    def connectionLost(self, reason):
        self.transport.unregisterProducer()


class Keeping(Factory):
    """Remembers what it built, and for whom."""

    def __init__(self, kind):
        self.kind = kind
        self.built = []
        self.addresses = []

    def buildProtocol(self, addr):
        protocol = self.kind()
        self.built.append(protocol)
        self.addresses.append(addr)
        return protocol


class World:
    """``relay`` listens; sessions, leases and dials are made on demand.

    ``factory`` is that of the lease published last.
    """

    def __init__(self, chunk=None, **options):
        self.reactor = MemoryReactor(NOW)
        self.reactor.chunk = chunk
        self.options = options
        self.relay = self.new_relay()
        self.changes = []

    def new_relay(self, port=0):
        relay = EmbeddedRelay(self.reactor, now=self.reactor.seconds, **self.options)
        relay.listen(TCP4ServerEndpoint(self.reactor, port))
        return relay

    def stop_relay(self):
        """Stop it; returns its port."""
        port = int(self.relay.url.split(":")[2].split("/")[0])
        stopped = outcome(self.relay.stop())
        self.reactor.advance(2)
        assert stopped == [None]
        return port

    def session(self):
        session = RelaySession(self.reactor, self.relay.url)
        session.start()
        self.reactor.settle()
        assert session.connected
        return session

    def publish(self, number=1, name="agent", kind=Echo, session=None, alpns=("http/1.1",)):
        self.factory = Keeping(kind) if isinstance(kind, type) else kind
        lease = PublishedLease(
            session or self.session(),
            credential(number),
            name,
            alpns,
            self.factory,
            self.reactor,
            on_change=lambda lease: self.changes.append((lease.name, str(lease.state))),
            now=self.reactor.seconds,
        )
        lease.start()
        self.reactor.settle()
        return lease

    def endpoint(self, lease_id, session=None, **options):
        return LeaseEndpoint(
            session or self.session(),
            credential(99),
            lease_id,
            self.reactor,
            now=self.reactor.seconds,
            **options,
        )

    def dial(self, lease_id, kind=Recorder, session=None, **options):
        """The connected protocol, or the code of the error."""
        result = outcome(
            self.endpoint(lease_id, session, **options).connect(Factory.forProtocol(kind))
        )
        self.reactor.settle()
        return result[0] if result else None
