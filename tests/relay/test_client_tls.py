"""TLS as a part of connecting."""

from datetime import UTC, datetime

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory

from portal_gateway.config.model import UpstreamTLS
from portal_gateway.errors import GatewayError
from portal_gateway.relay.client_tls import ClientTLS, TLSEndpoint, trusted_authorities
from portal_gateway.relay.relay_dialling import relay_tls
from portal_gateway.relay.tcp import tcp_endpoint
from portal_gateway.testing.memory_reactor import MemoryReactor
from tests.relay.sni_relay import SNIRelay
from tests.tls.tls_world import Certified

NOW = datetime.now(UTC)
AUTHORITY = Certified("an authority", authority=True, now=NOW)


class End(Protocol):
    """One end of a stream."""

    def __init__(self):
        self.received = b""
        self.lost = None

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.lost = reason


class Ends(Factory):
    noisy = False

    def __init__(self):
        self.made = []

    def buildProtocol(self, addr):
        self.made.append(End())
        return self.made[-1]


class Nothing(Factory):
    noisy = False

    def buildProtocol(self, addr):
        return None


class Stage:
    """A server at 127.0.0.1:443 that takes any name, and what came of one connection to it."""

    def __init__(self, tmp_path, hosts=("a.example", "127.0.0.1"), *, cut=None, issuer=AUTHORITY):
        self.reactor = MemoryReactor()
        self.reactor.chunk = cut
        self.file = tmp_path / "ca.pem"
        self.file.write_bytes(AUTHORITY.pem)
        self.servers = Ends()
        self.clients = Ends()
        certified = Certified("a server", issuer, now=NOW, hosts=hosts)
        options = CertificateOptions(privateKey=certified.key, certificate=certified.certificate)
        tls = TLSMemoryBIOFactory(
            options, isClient=False, wrappedFactory=self.servers, clock=self.reactor
        )
        self.relay = SNIRelay({b"": tls, b"a.example": tls, b"b.example": tls})
        self.reactor.listenTCP(443, self.relay)
        self.tcp = TCP4ClientEndpoint(self.reactor, "127.0.0.1", 443)

    def connect(self, name, factory=None, **settings):
        endpoint = TLSEndpoint(self.tcp, ClientTLS(UpstreamTLS(**settings)), name, self.reactor)
        connecting = endpoint.connect(factory or self.clients)
        connecting.addBoth(self.came)
        self.result = None
        return connecting

    def came(self, result):
        self.result = result

    @property
    def code(self):
        assert self.result.check(GatewayError), self.result
        return self.result.value.cause.code


@pytest.mark.parametrize("cut", [None, 1, 7])
def test_the_protocol_comes_when_the_handshake_is_over(tmp_path, cut):
    stage = Stage(tmp_path, cut=cut)
    stage.connect("a.example", ca_file=stage.file)
    assert stage.clients.made == []
    stage.reactor.settle()
    (client,) = stage.clients.made
    (server,) = stage.servers.made
    assert stage.result is client
    client.transport.write(b"up")
    server.transport.write(b"down")
    stage.reactor.settle()
    assert (server.received, client.received) == (b"up", b"down")
    server.transport.loseConnection()
    stage.reactor.settle()
    assert client.lost is not None
    assert stage.reactor.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("name", "settings", "asked"),
    [
        ("a.example", {}, b"a.example"),
        ("127.0.0.1", {}, b""),
        ("other.example", {"server_name": "a.example"}, b"a.example"),
        ("other.example", {"server_name": "127.0.0.1"}, b""),
    ],
)
def test_the_name_that_is_asked_for(tmp_path, name, settings, asked):
    stage = Stage(tmp_path)
    stage.connect(name, ca_file=stage.file, **settings)
    stage.reactor.settle()
    assert stage.relay.names == [asked]
    assert stage.result is stage.clients.made[0]


@pytest.mark.parametrize(
    ("hosts", "name"),
    [(("a.example",), "b.example"), (("a.example",), "127.0.0.1"), ((), "a.example")],
)
def test_a_certificate_for_another_name(tmp_path, hosts, name):
    stage = Stage(tmp_path, hosts)
    stage.connect(name, ca_file=stage.file)
    stage.reactor.settle()
    assert stage.code == "identity_mismatch"
    assert stage.clients.made == []
    assert all(server.received == b"" for server in stage.servers.made)


def test_a_certificate_of_an_authority_that_is_not_trusted(tmp_path):
    stage = Stage(tmp_path)
    stage.connect("a.example")
    stage.reactor.settle()
    assert stage.code == "identity_mismatch"


def test_a_certificate_that_has_expired(tmp_path):
    stage = Stage(tmp_path)
    old = Certified(
        "a server", AUTHORITY, now=datetime(2020, 1, 1, tzinfo=UTC), hosts=["a.example"]
    )
    options = CertificateOptions(privateKey=old.key, certificate=old.certificate)
    stage.relay.leases[b"a.example"] = TLSMemoryBIOFactory(
        options, isClient=False, wrappedFactory=stage.servers, clock=stage.reactor
    )
    stage.connect("a.example", ca_file=stage.file)
    stage.reactor.settle()
    assert stage.code == "identity_mismatch"


@pytest.mark.parametrize("name", ["a.example", "b.example", "127.0.0.1"])
def test_insecure_takes_any(tmp_path, name):
    stage = Stage(tmp_path, ("elsewhere.example",), issuer=None)
    stage.connect(name, insecure=True)
    stage.reactor.settle()
    assert stage.result is stage.clients.made[0]


@pytest.mark.parametrize("reset", [True, False])
def test_an_end_in_the_handshake_is_nobody_there(tmp_path, reset):
    stage = Stage(tmp_path)
    stage.relay.reset = reset
    stage.connect("nobody.example", ca_file=stage.file)
    stage.reactor.settle()
    assert stage.code == "lease_offline"


def test_an_alert_that_the_name_is_unknown_is_nobody_there(tmp_path):
    stage = Stage(tmp_path)
    stage.reactor.listeners[443].stopListening()
    servers = Ends()
    stage.reactor.listenTCP(443, servers)
    stage.connect("nobody.example", ca_file=stage.file)
    stage.reactor.settle()
    # Alert, TLS 1.2, two bytes: fatal, unrecognized_name (RFC 6066 section 3).
    servers.made[0].transport.write(bytes([21, 3, 3, 0, 2, 2, 112]))
    stage.reactor.settle()
    assert stage.code == "lease_offline"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        bytes([21, 3, 3, 0, 2, 2, 40]),
        b"\x16\x03\x03\x00\x04\xff\x00\x00\x00",
    ],
)
def test_another_failure_of_the_handshake(tmp_path, answer):
    stage = Stage(tmp_path)
    stage.reactor.listeners[443].stopListening()
    servers = Ends()
    stage.reactor.listenTCP(443, servers)
    stage.connect("a.example", ca_file=stage.file)
    stage.reactor.settle()
    servers.made[0].transport.write(answer)
    stage.reactor.settle()
    assert stage.code == "upstream_tls_error"
    assert servers.made[0].lost is not None


def test_tcp_that_fails_fails_as_tcp_does(tmp_path):
    stage = Stage(tmp_path)
    stage.reactor.listeners[443].stopListening()
    stage.connect("a.example", ca_file=stage.file)
    stage.reactor.settle()
    assert stage.result.check(ConnectError)


@pytest.mark.parametrize("steps", [0, 1])
def test_it_may_be_cancelled_at_any_time(tmp_path, steps):
    stage = Stage(tmp_path)
    stage.reactor.listeners[443].stopListening()
    servers = Ends()
    stage.reactor.listenTCP(443, servers)
    connecting = stage.connect("a.example", ca_file=stage.file)
    if steps:
        stage.reactor.settle()
    connecting.cancel()
    stage.reactor.settle()
    assert stage.result.check(CancelledError, ConnectingCancelledError)
    assert all(server.lost is not None for server in servers.made)
    assert stage.clients.made == []
    assert stage.reactor.getDelayedCalls() == []


def test_a_factory_that_builds_nothing(tmp_path):
    stage = Stage(tmp_path)
    stage.connect("a.example", Nothing(), ca_file=stage.file)
    stage.reactor.settle()
    assert stage.result.check(ConnectError)
    assert stage.servers.made[0].lost is not None


def test_files_of_authorities(tmp_path):
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no PEM certificate"):
        trusted_authorities(empty)
    with pytest.raises(OSError, match="No such file"):
        ClientTLS(UpstreamTLS(tmp_path / "none.pem"))


@pytest.mark.parametrize(
    ("settings", "works"),
    [
        ({}, False),
        ({"server_name": "a.example"}, True),
        ({"server_name": "b.example"}, False),
    ],
)
def test_a_websocket_relay_is_asked_for_by_its_server_name(tmp_path, settings, works):
    stage = Stage(tmp_path)
    creator = relay_tls("b.example", UpstreamTLS(stage.file, **settings))
    connecting = wrapClientTLS(creator, stage.tcp).connect(stage.clients)
    stage.reactor.settle()
    client = stage.clients.made[0]
    assert stage.relay.names == [settings.get("server_name", "b.example").encode()]
    assert (client.lost is None) == works
    connecting.addErrback(lambda _: None)


def test_a_websocket_relay_may_be_insecure(tmp_path):
    stage = Stage(tmp_path, ("elsewhere.example",), issuer=None)
    wrapClientTLS(relay_tls("b.example", UpstreamTLS(insecure=True)), stage.tcp).connect(
        stage.clients
    )
    stage.reactor.settle()
    assert stage.relay.names == [b"b.example"]
    assert stage.clients.made[0].lost is None
    stage.servers.made[0].transport.write(b"hello")
    stage.reactor.settle()
    assert stage.clients.made[0].received == b"hello"


@pytest.mark.parametrize(
    ("host", "dialled"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("agent.localhost", "127.0.0.1"),
        ("a.b.LOCALHOST.", "127.0.0.1"),
        # IDNA does not know these; resolvers do.
        ("my--tool.localhost", "127.0.0.1"),
        ("relay_1.localhost", "127.0.0.1"),
    ],
)
def test_names_below_localhost_are_this_machine(host, dialled):
    reactor = MemoryReactor()
    reactor.listenTCP(80, Ends())
    found = []
    tcp_endpoint(reactor, host, 80).connect(Ends()).addCallback(found.append)
    reactor.advance(1)
    assert found[0].transport.getPeer().host == dialled


def test_a_name_that_nobody_knows_is_not_found():
    reactor = MemoryReactor()
    failed = []
    tcp_endpoint(reactor, "my--tool_1.example", 80).connect(Ends()).addErrback(failed.append)
    reactor.advance(1)
    assert failed[0].check(DNSLookupError)
