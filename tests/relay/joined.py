"""Two relay connections joined in memory by real WebSocket carriers, on one clock; and a lease."""

from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock

from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.secure_stream import SecureStream
from portal_gateway.relay.websocket import ClientCarrierFactory, ServerCarrierFactory
from portal_gateway.testing.transports import connect
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.messages import (
    PacketReader,
    ResponseCode,
    connection_response,
    read_connection_request,
)
from portal_gateway.wire.secure_channel import SecureChannel
from portal_gateway.wire.yamux import Role

__all__ = ["CLIENT", "LEASE", "NOW", "Joined", "Lease", "Producer", "Recorder", "Scripted"]

CLIENT = Credential.from_private_bytes(bytes(range(32)))
LEASE = Credential.from_private_bytes(bytes(range(1, 33)))
NOW = 1_800_000_000.0


class Recorder(Protocol):
    """Remembers what its transport told it."""

    def __init__(self):
        self.received = []
        self.lost = None

    @property
    def data(self):
        return b"".join(self.received)

    def dataReceived(self, data):
        self.received.append(data)

    def connectionLost(self, reason):
        assert self.lost is None
        self.lost = reason.value


class Producer:
    """A push producer that remembers what it was told, and writes ``block`` while it may."""

    def __init__(self, transport, block=b"", blocks=0):
        self.transport = transport
        self.block = block
        self.blocks = blocks
        self.paused = False
        self.stopped = False
        self.told = []
        transport.registerProducer(self, streaming=True)
        self.run()

    def run(self):
        while self.blocks and not self.paused and not self.stopped:
            self.blocks -= 1
            self.transport.write(self.block)

    def pauseProducing(self):
        assert not self.paused
        self.told.append("pause")
        self.paused = True

    def resumeProducing(self):
        assert self.paused
        self.told.append("resume")
        self.paused = False
        self.run()

    def stopProducing(self):
        self.stopped = True


class Scripted(Recorder):
    """Answers the first bytes it gets with ``answer`` and, if told so, an end."""

    def __init__(self, answer=b"", end=None):
        super().__init__()
        self.answer = answer
        self.end = end

    def dataReceived(self, data):
        first = not self.received
        super().dataReceived(data)
        if first:
            self.transport.write(self.answer)
            if self.end is not None:
                getattr(self.transport, self.end)()


class Lease(Protocol):
    """The app's end of a stream: accepts the connection request, then serves ``protocol``."""

    def __init__(self, protocol, credential=LEASE, now=NOW, code=ResponseCode.ACCEPTED):
        self.protocol = protocol
        self.credential = credential
        self.now = now
        self.code = code
        self.reader = PacketReader(65536, once=True)
        self.request = None

    def dataReceived(self, data):
        for packet in self.reader.receive_data(data):
            self.request = read_connection_request(packet)
            self.transport.write(connection_response(self.code))
            if self.code is ResponseCode.ACCEPTED:
                self.shake_hands()
            else:
                self.transport.loseConnection()

    def shake_hands(self):
        channel = SecureChannel.server(self.credential, alpns=["http/1.1"], clock=lambda: self.now)
        secure = SecureStream(
            channel,
            self.transport._connection.clock,
            lambda stream: stream.start(self.protocol),
            lambda reason: self.transport.abortConnection(),
        )
        self.transport.start(secure)
        if self.reader.trailing_data:
            secure.dataReceived(self.reader.trailing_data)


class Joined:
    """``client`` and ``server`` are the connections; ``accepted`` the server's protocols.

    ``accept`` makes the protocol for each stream that the client opens; None refuses.
    """

    def __init__(self, chunk=None, accept=Recorder):
        self.clock = Clock()
        self.clock.advance(1000)
        self.failures = []
        self.accepted = []
        self.accept = accept
        self.client_closed = []
        self.server_closed = []
        self.client = self.server = None
        self.client_carrier = ClientCarrierFactory(
            "ws://relay.test:4017/relay", self.clock, self._client_opened, self.failures.append
        ).buildProtocol(None)
        self.server_carrier = ServerCarrierFactory(self.clock, self._server_opened).buildProtocol(
            None
        )
        self.link = connect(self.client_carrier, self.server_carrier, chunk)
        self.settle()

    def _client_opened(self, carrier):
        self.client = RelayConnection(carrier, Role.CLIENT, self.clock, name="relay.test:4017")
        self.client.closed.addCallback(self.client_closed.append)
        return self.client

    def _server_opened(self, carrier):
        self.server = RelayConnection(carrier, Role.SERVER, self.clock, name="client")
        self.server.closed.addCallback(self.server_closed.append)
        self.server.on_stream = self._on_stream
        return self.server

    def _on_stream(self, stream):
        protocol = self.accept() if self.accept is not None else None
        if protocol is not None:
            self.accepted.append(protocol)
        return protocol

    def settle(self):
        """Let everything happen that needs no time."""
        for _ in range(100_000):
            self.clock.advance(0)
            moved = self.link.flush()
            now = self.clock.seconds()
            due = any(call.getTime() <= now for call in self.clock.getDelayedCalls())
            if not moved and not due:
                return
        raise AssertionError("does not settle")

    def turn(self):
        """One turn of the reactor, without a byte moving."""
        self.clock.advance(0)

    def pass_time(self, seconds):
        """Let time pass, in steps that let bytes move."""
        end = self.clock.seconds() + seconds
        self.settle()
        while self.clock.seconds() < end:
            self.clock.advance(min(1.0, end - self.clock.seconds()))
            self.settle()

    def open(self):
        """A stream of the client: (the client's protocol, the server's)."""
        near = Recorder()
        self.client.open_stream(near)
        self.settle()
        return near, self.accepted[-1]

    @property
    def timers(self):
        return self.clock.getDelayedCalls()
