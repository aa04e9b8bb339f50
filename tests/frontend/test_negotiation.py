"""A whole gateway behind TLS, in memory: handshakes, redirects, deadlines."""

import contextlib
from datetime import UTC, datetime

import pytest
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory

from portal_gateway.frontend.deadlines import LAST_HEAD
from tests.frontend.gateway_world import Client, Wire, World, head_of
from tests.tls.tls_world import Certified

ONE = Certified(now=datetime.now(UTC))

CONFIG = """
gateway:
  listen: "127.0.0.1:8080"
  tls: {cert_file: "%s", key_file: "%s", redirect_from: "127.0.0.1:80"}
auth:
  keys: [{key: "sk_live_abc123...", id: tester}]
leases:
  tool: {url: "http://127.0.0.1:3000"}
"""


class ClientTLS:
    def __init__(self, alpn, name=None):
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.alpn = alpn
        self.name = name

    def clientConnectionForTLS(self, protocol):
        connection = SSL.Connection(self.context, None)
        if self.alpn:
            connection.set_alpn_protos(self.alpn)
        if self.name is not None:
            connection.set_tlsext_host_name(self.name)
        return connection


class SecureWorld(World):
    def connect_tls(self, *alpn, name=None, settle=True):
        wire = Wire()
        factory = TLSMemoryBIOFactory(
            implementing(ClientTLS(alpn, name)),
            isClient=True,
            wrappedFactory=Client(wire),
            clock=self.reactor,
        )
        self.reactor.connectTCP("127.0.0.1", 8080, factory)
        if settle:
            self.reactor.settle()
            self.reactor.advance(0)
        return wire

    def ask_tls(self, target, wire, **more):
        wire = self.ask(target, wire=wire, **more)
        self.reactor.advance(0)
        return wire

    def plain(self, port):
        wire = Wire()
        self.reactor.connectTCP("127.0.0.1", port, Client(wire))
        self.reactor.settle()
        return wire


def implementing(creator):
    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
    from zope.interface import directlyProvides

    directlyProvides(creator, IOpenSSLClientConnectionCreator)
    return creator


@pytest.fixture
def world(tmp_path):
    return SecureWorld(CONFIG % ONE.write(tmp_path))


def test_the_url_is_https(world):
    assert world.announced == ["https://127.0.0.1:8080/"]
    world.stop()


@pytest.mark.parametrize("alpn", [[], [b"http/1.1"], [b"foo", b"http/1.1"]])
def test_a_request_over_tls(world, alpn):
    wire = world.ask_tls("/peer/tool/x", world.connect_tls(*alpn))
    (origin,) = world.origin.wires
    first, fields, _ = head_of(origin.received)
    assert first == b"GET /x HTTP/1.1"
    assert (b"X-Forwarded-Proto", b"https") in fields
    assert any(name == b"Forwarded" and b"proto=https" in value for name, value in fields)
    origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    world.reactor.settle()
    world.reactor.advance(0)
    assert wire.received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert wire.received.endswith(b"\r\n\r\nok")
    world.stop()


def test_a_client_of_another_protocol_gets_no_connection(world):
    wire = world.connect_tls(b"imap")
    assert wire.received == b""
    assert isinstance(wire.lost.value, SSL.Error)
    assert "no application protocol" in str(wire.lost.value)
    world.stop()


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_a_handshake_has_ten_seconds_however_it_trickles(world, sent):
    wire = world.plain(8080)
    wire.send(sent)
    world.reactor.advance(9.9)
    assert wire.lost is None
    world.reactor.advance(0.2)
    assert wire.lost is not None
    world.stop()


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\0" * 99])
def test_what_is_not_tls_is_closed_at_once(world, sent):
    wire = world.plain(8080)
    wire.send(sent)
    world.reactor.settle()
    assert wire.lost is not None
    assert b"HTTP/" not in wire.received
    world.stop()


def test_after_the_handshake_the_deadlines_are_those_of_the_channel(world):
    wire = world.connect_tls()
    world.reactor.advance(9.9)
    assert wire.lost is None
    world.reactor.advance(0.2)
    assert wire.lost is not None
    world.stop()


def test_handshakes_are_counted_and_the_certificate_s_end_is_told(tmp_path):
    config = CONFIG % ONE.write(tmp_path) + 'metrics: {listen: "127.0.0.1:9090"}\n'
    world = SecureWorld(config)
    world.connect_tls()
    world.connect_tls(b"h2")
    world.connect_tls(b"imap")
    world.plain(8080).send(b"GET / HTTP/1.1\r\n")
    world.plain(8080)
    world.reactor.settle()
    world.reactor.advance(10.1)
    wire = world.ask("/metrics", key=None, wire=world.plain(9090), authority="localhost:9090")
    told = head_of(wire.received)[2].decode().splitlines()
    name = "portal_gateway_tls_handshakes_total"
    assert f'{name}{{result="completed"}} 2.0' in told
    assert f'{name}{{result="failed"}} 3.0' in told
    assert 'portal_gateway_timeouts_total{kind="handshake"} 1.0' in told
    expiry = "portal_gateway_tls_certificate_expiry_timestamp_seconds"
    (expires,) = [float(line.split()[1]) for line in told if line.startswith(f"{expiry} ")]
    assert expires == ONE.certificate.not_valid_after_utc.timestamp()
    world.stop()


def test_stopping_ends_handshakes(world):
    wire = world.plain(8080)
    world.stop()
    assert wire.lost is not None


def test_a_handshake_that_has_begun_is_finished_and_its_request_answered(world):
    wire = world.connect_tls(settle=False)
    # Only the call that connects: nothing is said yet.
    Clock.advance(world.reactor, 0)
    site = world.gateway.site
    assert (site.connections, site.handshakes) == (1, 0)
    stopped = []
    world.gateway.stopService().addBoth(stopped.append)
    world.reactor.settle()
    world.reactor.advance(1.0)
    assert (site.handshakes, stopped) == (1, [])
    world.ask_tls("/health", wire)
    assert wire.received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close" in wire.received
    world.reactor.advance(3)
    assert len(stopped) == 1
    assert world.reactor.getDelayedCalls() == []


def test_a_handshake_that_does_not_go_on_is_waited_for_shortly(world):
    wire = world.plain(8080)
    stopped = []
    world.gateway.stopService().addBoth(stopped.append)
    world.reactor.advance(LAST_HEAD - 0.1)
    assert wire.lost is None
    world.reactor.advance(0.2)
    assert wire.lost is not None
    assert len(stopped) == 1


@pytest.mark.parametrize(
    ("request_line", "host", "location"),
    [
        ("GET /", "gw.example", "https://gw.example:8080/"),
        ("GET /peer/a/b?c=d%20e", "gw.example:80", "https://gw.example:8080/peer/a/b?c=d%20e"),
        ("POST /x", "GW.example", "https://GW.example:8080/x"),
        ("GET //other.example/x", "gw.example", "https://gw.example:8080//other.example/x"),
        ("GET /", "[::1]:80", "https://[::1]:8080/"),
        ("GET http://named.example/x", "gw.example", "https://named.example:8080/x"),
    ],
)
def test_plain_http_is_redirected(world, request_line, host, location):
    wire = world.plain(80)
    wire.send(f"{request_line} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    world.reactor.settle()
    first, fields, _ = head_of(wire.received)
    assert first == b"HTTP/1.1 308 Permanent Redirect"
    assert dict(fields)[b"Location"] == location.encode()
    world.stop()


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.0\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n",
        b"GET / HTTP/1.1\r\nHost: a@b\r\n",
        b"GET /\\a HTTP/1.1\r\nHost: a\r\n",
    ],
)
def test_without_one_host_there_is_no_redirect(world, head):
    wire = world.plain(80)
    wire.send(head + b"\r\n")
    world.reactor.settle()
    assert wire.received.startswith(b"HTTP/1.1 400 ")
    assert b"Location" not in wire.received
    world.stop()


def test_the_port_of_redirects_can_be_another(tmp_path):
    config = (CONFIG % ONE.write(tmp_path)).replace(
        'redirect_from: "127.0.0.1:80"', 'redirect_from: "127.0.0.1:80", redirect_port: 443'
    )
    world = SecureWorld(config)
    wire = world.plain(80)
    wire.send(b"GET /x HTTP/1.1\r\nHost: gw.example\r\n\r\n")
    world.reactor.settle()
    assert b"Location: https://gw.example/x\r\n" in wire.received
    world.stop()


class Handshake:
    """A TLS client by hand, which goes on when it is told."""

    def __init__(self, world, wire):
        self.world = world
        self.wire = wire
        self.tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self.tls.set_connect_state()

    def go_on(self):
        """One step; whether the handshake is done."""
        try:
            self.tls.do_handshake()
        except SSL.WantReadError:
            done = False
        else:
            done = True
        self.send_pending()
        return done

    def send_pending(self):
        with contextlib.suppress(SSL.WantReadError):
            self.wire.send(self.tls.bio_read(65536))
        self.world.reactor.settle()
        self.world.reactor.advance(0)
        received, self.wire.received = self.wire.received, b""
        self.tls.bio_write(received)


def test_a_handshake_that_crosses_the_stop_ends_and_its_request_is_answered(world):
    client = Handshake(world, world.plain(8080))
    assert not client.go_on()
    world.gateway.stopService()
    world.reactor.advance(LAST_HEAD / 2)
    assert client.go_on()
    client.tls.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    client.send_pending()
    answer = client.tls.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer.lower()
    world.stop()


def test_a_handshake_that_does_not_go_on_does_not_keep_what_stops(world):
    wire = world.plain(8080)
    world.gateway.stopService()
    world.reactor.advance(LAST_HEAD - 0.1)
    assert wire.lost is None
    world.reactor.advance(0.2)
    assert wire.lost is not None
    assert world.gateway.site.limit_hits["handshake_timeout"] == 0
    world.stop()
