"""Connections with a PROXY header before them, to a whole gateway in memory."""

import socket
import struct

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import MemoryReactor as RecordingReactor
from twisted.logger import formatEvent, globalLogPublisher

from portal_gateway.frontend.deadlines import LAST_HEAD
from portal_gateway.frontend.proxied_connection import ProxiedConnections, ProxiedReactor
from portal_gateway.policy.client_address import TrustedProxies
from portal_gateway.testing.transports import connect
from portal_gateway.wire.proxy_header import LOCAL_HEADER
from tests.frontend.gateway_world import KEY, World, head_of
from tests.frontend.serving import GET, Client, Noting, Served

BALANCER = "10.1.2.3"
CLIENT = "203.0.113.5"

CONFIG = f"""
gateway:
  listen: "haproxy:tcp:8080"
  trusted_proxies: ["10.0.0.0/8", "127.0.0.1"]
  limits: {{connections_per_address: 3, header_timeout: 5s}}
auth:
  keys: [{{key: "{KEY}", id: tester, scopes: [read, write, admin]}}]
rate_limit:
  failed_auth: {{requests_per_minute: 1, burst: 2}}
health: {{local_details: true}}
leases:
  tool: {{url: "http://127.0.0.1:3000"}}
"""

WHITELIST = "ip_whitelist: {cidrs: [203.0.113.0/24, '2001:db8::/32']}\n"


def v1(client=CLIENT, balancer=BALANCER):
    family = "TCP6" if ":" in client else "TCP4"
    return f"PROXY {family} {client} {balancer} 51000 443\r\n".encode()


def v2(client=CLIENT, balancer=BALANCER, more=b""):
    family, code = (socket.AF_INET6, 0x21) if ":" in client else (socket.AF_INET, 0x11)
    addresses = b"".join(socket.inet_pton(family, each) for each in (client, balancer))
    rest = addresses + struct.pack("!HH", 51_000, 443) + more
    return b"\r\n\r\n\0\r\nQUIT\n\x21" + struct.pack("!BH", code, len(rest)) + rest


def opened(world, header, host=BALANCER):
    wire = world.connect(host)
    wire.send(header)
    world.reactor.settle()
    return wire


def status_of(wire):
    return int(head_of(wire.received)[0].split()[1]) if wire.received else None


def details(world, header, host=BALANCER, **ask):
    """The status of what only this machine may see without a key."""
    wire = opened(world, header, host)
    ask = {"key": "", "authority": "127.0.0.1:8080", **ask}
    return status_of(world.ask("/health/details", wire=wire, **ask))


@pytest.fixture
def world():
    world = World(CONFIG)
    yield world
    world.stop()


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (v1(), CLIENT),
        (v2(), CLIENT),
        (v2(more=b"\x20\0\x05" + b"\0" * 5), CLIENT),
        (v1("2001:db8::5", "::1"), "2001:db8::5"),
        (v2("2001:db8::5", "::1"), "2001:db8::5"),
        (v2("::ffff:203.0.113.5", "::1"), CLIENT),
        (b"PROXY UNKNOWN\r\n", BALANCER),
        (LOCAL_HEADER, BALANCER),
    ],
)
@pytest.mark.parametrize("cut", [None, 1])
def test_the_client_is_who_the_header_names(header, client, cut):
    world = World(CONFIG)
    world.reactor.chunk = cut
    wire = world.ask("/peer/tool/x", wire=opened(world, header))
    (origin,) = world.origin.wires
    _, fields, _ = head_of(origin.received)
    assert (b"X-Forwarded-For", client.encode()) in fields
    origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    world.reactor.settle()
    assert wire.received.endswith(b"ok")
    # The connection is used as any other.
    world.ask("/peer/tool/y", wire=wire)
    assert origin.received.count(b"X-Forwarded-For: " + client.encode()) == 2
    lines = world.stop()
    told = [line["client_ip"] for line in lines if line.get("path", "").startswith("/peer")]
    assert told == [client, client]


def test_the_header_and_the_first_request_in_one_write(world):
    wire = world.connect(BALANCER)
    world.ask("/health", wire=wire, key="", body=b"")
    assert wire.lost is not None, "no header"
    wire = world.connect(BALANCER)
    wire.send(v2() + b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    world.reactor.settle()
    assert wire.received.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (v1("198.51.100.1"), 403),
        (v1(), 401),
        (v2("2001:db8::9", "::1"), 401),
        (v1("127.0.0.1"), 403),
        (LOCAL_HEADER, 403),
    ],
)
def test_the_list_of_addresses_is_about_the_client(header, status):
    world = World(CONFIG + WHITELIST)
    assert status_of(world.ask("/peer/tool/x", wire=opened(world, header), key="")) == status
    world.stop()


def test_who_comes_through_a_balancer_on_this_machine_is_not_here(world):
    assert details(world, v1(), "127.0.0.1") == 401
    assert details(world, v2("2001:db8::9", "::1"), "127.0.0.1") == 401
    assert details(world, LOCAL_HEADER, "127.0.0.1") == 200


def test_fields_are_believed_of_a_client_that_is_a_proxy_and_of_no_other(world):
    fields = ["X-Forwarded-For: 198.51.100.7"]
    world.ask("/peer/tool/a", wire=opened(world, v1()), fields=fields)
    world.ask("/peer/tool/b", wire=opened(world, v1("10.9.9.9")), fields=fields)
    first, second = (head_of(wire.received)[1] for wire in world.origin.wires)
    assert (b"X-Forwarded-For", CLIENT.encode()) in first
    assert (b"X-Forwarded-For", b"198.51.100.7, 10.9.9.9") in second


def test_failed_attempts_are_counted_for_the_client(world):
    def statuses(client, count):
        return [
            status_of(world.ask("/peer/tool/x", wire=opened(world, v1(client, "::1")), key="x"))
            for _ in range(count)
        ]

    assert statuses("2001:db8::1", 2) == [401, 401]
    assert statuses("2001:db8::2", 1) == [429]
    assert statuses("2001:db8:0:1::1", 1) == [401]


def test_connections_are_counted_for_the_network_of_the_client(world):
    kept = [opened(world, v2(f"2001:db8::{number:x}", "::1")) for number in range(1, 6)]
    assert [wire.lost is None for wire in kept] == [True] * 3 + [False] * 2
    others = [opened(world, v2(f"2001:db8:0:{number:x}::1", "::1")) for number in range(1, 9)]
    assert all(wire.lost is None for wire in others), "the balancer's address is no limit"
    site = world.gateway.site
    assert (site.connections, site.limit_hits["connections_per_address"]) == (11, 2)


@pytest.mark.parametrize("host", [CLIENT, "192.0.2.9", "::ffff:192.0.2.9", "2001:db8::1"])
def test_nobody_but_a_trusted_proxy_may_say_who_it_is(world, host):
    wire = world.connect(host)
    assert wire.lost is not None
    wire = world.ask("/health", wire=opened(world, v1("127.0.0.1"), host), key="")
    assert (wire.received, wire.lost is None) == (b"", False)
    assert world.gateway.site.untrusted_peers == 2
    assert world.gateway.site.connections == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PROXY TCP4 203.0.113.5 10.1.2.3 51000\r\n",
        b"PROXY TCP4 " + b"1" * 100_000,
        b"PROXY UNKNOWN " + b" " * 100,
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c" + bytes(12),
    ],
)
def test_what_is_no_header_ends_the_connection(world, sent):
    wire = opened(world, sent)
    assert (wire.received, wire.lost is None) == (b"", False)
    assert world.gateway.site.bad_proxy_headers == 1
    assert world.gateway.site.connections == 0


def test_many_refused_connections_are_one_line_a_minute_in_the_log(world):
    lines = []
    observer = lambda event: lines.append(formatEvent(event))  # noqa: E731
    globalLogPublisher.addObserver(observer)
    for _ in range(200):
        world.connect("::ffff:192.0.2.9")
        opened(world, b"nonsense")
    world.reactor.advance(60)
    opened(world, b"nonsense")
    globalLogPublisher.removeObserver(observer)
    refused = "connections for the PROXY protocol were refused:"
    assert lines == [
        f"{refused} 1, the last one from 192.0.2.9: it is not among gateway.trusted_proxies",
        f"{refused} 400, the last one from {BALANCER}: no PROXY header",
    ]


@pytest.mark.parametrize("sent", [b"", b"PROXY TCP4 203", v2()[:20]])
def test_a_header_has_its_time_however_it_trickles(world, sent):
    wire = opened(world, sent)
    world.reactor.advance(4.9)
    assert wire.lost is None
    assert world.gateway.site.connections == 1, "it counts among all connections"
    world.reactor.advance(0.2)
    assert wire.lost is not None
    assert world.gateway.site.limit_hits["header_timeout"] == 1
    assert world.gateway.site.connections == 0


def test_one_byte_after_the_other_is_not_a_second_more(world):
    wire = world.connect(BALANCER)
    for byte in v2(more=bytes(600))[:-1]:
        wire.send(bytes([byte]))
        world.reactor.advance(0.0085)
    assert wire.lost is not None


def test_connections_without_a_header_yet_are_bounded_with_the_others():
    config = CONFIG.replace("connections_per_address: 3", "connections: 4")
    world = World(config)
    wires = [world.connect(BALANCER) for _ in range(6)]
    assert [wire.lost is None for wire in wires] == [True] * 4 + [False] * 2
    for wire in wires[:4]:
        wire.send(v1())
    world.reactor.settle()
    assert [wire.lost is None for wire in wires[:4]] == [True] * 4, "each keeps its place"
    assert world.gateway.site.connections == 4
    world.stop()


def test_a_reload_changes_who_is_trusted(world):
    assert world.reconfigure(CONFIG.replace("10.0.0.0/8", "192.0.2.0/24"))
    assert world.connect(BALANCER).lost is not None
    assert opened(world, v1(), "192.0.2.1").lost is None


def test_a_websocket_comes_from_the_client(world):
    wire = opened(world, v2())
    world.ask(
        "/peer/tool/ws",
        wire=wire,
        fields=[
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ],
    )
    (origin,) = world.origin.wires
    assert (b"X-Forwarded-For", CLIENT.encode()) in head_of(origin.received)[1]
    assert b"Upgrade: websocket" in origin.received


def test_a_connection_whose_header_is_on_its_way_is_served_when_the_gateway_ends():
    world = World(CONFIG)
    early, silent = world.connect(BALANCER), world.connect(BALANCER)
    stopped = []
    world.gateway.stopService().addBoth(stopped.append)
    world.reactor.settle()
    early.send(v1() + b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    world.reactor.settle()
    assert early.received.startswith(b"HTTP/1.1 200 OK")
    assert b"Connection: close" in early.received
    world.reactor.advance(LAST_HEAD + 2)
    assert silent.lost is not None
    assert len(stopped) == 1
    assert world.reactor.getDelayedCalls() == []


def test_the_listener_for_metrics_has_it_too():
    metrics = 'metrics: {enabled: true, listen: "haproxy:tcp:9100", auth: false}\n'
    world = World(CONFIG + metrics)
    assert world.connect(CLIENT, 9100).lost is not None
    wire = world.connect(BALANCER, 9100)
    wire.send(v1())
    text = world.ask("/metrics", wire=wire, key="").received.decode()
    assert 'portal_gateway_limit_hits_total{limit="trusted_proxies"} 1' in text
    assert 'portal_gateway_limit_hits_total{limit="proxy_header"} 0' in text
    world.stop()


@pytest.mark.parametrize(
    ("header", "client"),
    [(v1(), CLIENT), (b"PROXY UNKNOWN\r\n", ""), (LOCAL_HEADER, "")],
)
def test_a_balancer_by_a_unix_socket(header, client):
    served = Served(Noting())
    served.site.use(
        served.site.limits, served.site.streams.rules, TrustedProxies([], unix=True), None, "drop"
    )
    peer, sender = UNIXAddress(b""), Client()
    channel = ProxiedConnections(served.site, served.site).buildProtocol(peer)
    served.link = connect(sender, channel, client_address=peer)
    served.links.append(served.link)
    sender.transport.write(header + GET)
    served.settle()
    assert [request.client_address for request in served.site.resource.requests] == [client]
    served.finish()


def test_a_client_of_a_balancer_s_unix_socket_has_no_address():
    served = Served(Noting())
    served.site.use(
        served.site.limits, served.site.streams.rules, TrustedProxies([], unix=True), None, "drop"
    )
    peer, sender = UNIXAddress(b""), Client()
    channel = ProxiedConnections(served.site, served.site).buildProtocol(peer)
    served.link = connect(sender, channel, client_address=peer)
    served.links.append(served.link)
    header = b"\r\n\r\n\0\r\nQUIT\n\x21\x31" + struct.pack("!H", 216) + bytes(216)
    sender.transport.write(header + GET)
    served.settle()
    assert [request.client_address for request in served.site.resource.requests] == [""]
    served.finish()


def test_every_way_to_listen_has_the_header_outermost():
    """Below the TLS that an endpoint brings."""
    served, recorder = Served(Noting()), RecordingReactor()
    reactor = ProxiedReactor(recorder, served.site)
    reactor.listenTCP(1, served.site, 7, interface="::1")
    reactor.listenSSL(2, served.site, CertificateOptions(), backlog=8)
    reactor.listenUNIX("/run/a.sock", served.site, mode=0o600)
    reactor.adoptStreamPort(5, socket.AF_INET, served.site)
    (tcp, tls), (unix,), (adopted,) = (
        recorder.tcpServers,
        recorder.unixServers,
        recorder.adoptedPorts,
    )
    assert (tcp[0], tcp[2:], tls[0], tls[2]) == (1, (7, "::1"), 2, 8)
    assert recorder.sslServers == []
    for factory in (tcp[1], tls[1], unix[1], adopted[2]):
        assert isinstance(factory, ProxiedConnections)
    assert reactor.tcpClients is recorder.tcpClients, "all else is the reactor's"
    served.finish()
