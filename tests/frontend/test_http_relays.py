"""Requests to leases at relays that are reached by HTTP, and to origins behind TLS."""

import json
from datetime import UTC, datetime

import pytest
from gateway_world import KEY, Origin, World, head_of
from twisted.internet.ssl import CertificateOptions
from twisted.logger import formatEvent, globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.relay.sni_relay import SNIRelay
from tests.tls.tls_world import Certified

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NOW = datetime.now(UTC)
AUTHORITY = Certified("an authority", authority=True, now=NOW)

AUTH = f"""
auth:
  keys:
    - key: "{KEY}"
      id: "tester"
"""


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    file.write_bytes(AUTHORITY.pem)
    return file


def behind_tls(world, origin, *hosts, issuer=AUTHORITY):
    """A factory that speaks TLS as these hosts, with ``origin`` within."""
    certified = Certified("a lease", issuer, now=NOW, hosts=hosts)
    options = CertificateOptions(privateKey=certified.key, certificate=certified.certificate)
    return TLSMemoryBIOFactory(options, isClient=False, wrappedFactory=origin, clock=world.reactor)


class RelayWorld(World):
    """A gateway in front of a relay that passes TLS through, at 127.0.0.1:5443."""

    def __init__(self, config, *, reset=True, hosts=("agent.portal.localhost",), issuer=AUTHORITY):
        super().__init__(AUTH + config, origin=False)
        self.other = Origin()
        self.relay = SNIRelay(
            {
                b"agent.portal.localhost": behind_tls(self, self.origin, *hosts, issuer=issuer),
                b"xn--hi5b23ammr76a.portal.localhost": behind_tls(
                    self, self.other, "xn--hi5b23ammr76a.portal.localhost"
                ),
            },
            reset=reset,
        )
        self.reactor.listenTCP(5443, self.relay)


def by_host(ca_file, more=""):
    return f"""
portal:
  relays:
    - url: "https://{{lease}}.portal.localhost:5443"
      tls: {{ca_file: "{ca_file}"}}
{more}
"""


def problem(wire):
    first, _, rest = head_of(wire.received)
    told = json.loads(rest)
    assert told["status"] == int(first.split(b" ")[1])
    return told["error"]


def test_name_certificate_and_host_are_the_leases_and_the_connection_is_kept(ca_file):
    world = RelayWorld(by_host(ca_file))
    wire = world.ask("/peer/agent/a%2Fb?x=1")
    (origin,) = world.origin.wires
    first, fields, _ = head_of(origin.received)
    assert first == b"GET /a%2Fb?x=1 HTTP/1.1"
    assert fields[0] == (b"Host", b"agent.portal.localhost:5443")
    assert (b"X-Forwarded-Host", b"gw.example:8080") in fields
    assert world.relay.names == [b"agent.portal.localhost"]
    origin.send(OK)
    world.reactor.settle()
    assert wire.received.endswith(b"\r\n\r\nok")
    world.ask("/peer/agent/again", wire=wire)
    assert len(world.origin.wires) == 1
    assert b"GET /again HTTP/1.1\r\n" in origin.received
    world.stop()


def test_each_lease_has_its_own_name_and_connections(ca_file):
    world = RelayWorld(by_host(ca_file))
    world.ask("/peer/agent/")
    world.ask("/peer/%EC%97%90%EC%9D%B4%EC%A0%84%ED%8A%B8/")
    assert world.relay.names == [b"agent.portal.localhost", b"xn--hi5b23ammr76a.portal.localhost"]
    assert len(world.origin.wires) == len(world.other.wires) == 1
    assert b"Host: xn--hi5b23ammr76a.portal.localhost:5443\r\n" in world.other.wires[0].received
    for wire in world.other.wires + world.origin.wires:
        wire.send(OK)
    world.reactor.settle()
    world.stop()


@pytest.mark.parametrize("reset", [True, False])
def test_an_end_before_the_handshake_is_a_lease_that_is_offline(ca_file, reset):
    world = RelayWorld(by_host(ca_file), reset=reset)
    wire = world.ask("/peer/nobody/")
    assert problem(wire) == "lease_offline"
    assert b"Retry-After: 5" in wire.received
    assert world.relay.names == [b"nobody.portal.localhost"]
    world.stop()


@pytest.mark.parametrize(
    "name",
    ["Agent", "a.b", "agent.evil.example", "evil.example:80", "my_tool", "-a", "xn--bcher-kva",
     "a@b", "a%23b", "a%3Fb", "%7Blease%7D", "a" * 64, "%E3%80%82", "agent."],
)  # fmt: skip
def test_a_name_that_is_no_label_reaches_no_host(ca_file, name):
    world = RelayWorld(by_host(ca_file))
    assert problem(world.ask(f"/peer/{name}/")) == "lease_not_found"
    assert world.relay.names == []
    assert world.reactor.links[1:] == []
    world.stop()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"hosts": ("other.portal.localhost",)}, "identity_mismatch"),
        ({"hosts": ("portal.localhost",)}, "identity_mismatch"),
        ({"hosts": ("*.portal.localhost", "*.localhost")}, None),
        ({"issuer": Certified("another", authority=True, now=NOW)}, "identity_mismatch"),
    ],
)
def test_a_certificate_is_verified_before_anything_is_sent(ca_file, options, code):
    world = RelayWorld(by_host(ca_file), **options)
    wire = world.ask("/peer/agent/")
    if code is None:
        world.origin.wires[0].send(OK)
        world.reactor.settle()
        assert wire.received.startswith(b"HTTP/1.1 200 OK")
    else:
        assert problem(wire) == code
        assert [wire.received for wire in world.origin.wires] == [b""]
    world.stop()


def test_a_port_that_does_not_speak_tls(ca_file):
    world = RelayWorld(by_host(ca_file))
    world.reactor.listeners[5443].stopListening()
    plain = Origin()
    world.reactor.listenTCP(5443, plain)
    wire = world.ask("/peer/agent/")
    plain.wires[0].send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    world.reactor.settle()
    assert problem(wire) == "upstream_tls_error"
    world.stop()


def test_a_handshake_that_does_not_end_is_a_timeout(ca_file):
    world = RelayWorld(by_host(ca_file))
    world.reactor.listeners[5443].stopListening()
    silent = Origin()
    world.reactor.listenTCP(5443, silent)
    wire = world.ask("/peer/agent/")
    world.reactor.advance(9.9)
    assert wire.received == b""
    world.reactor.advance(0.2)
    assert problem(wire) == "upstream_timeout"
    assert silent.wires[0].lost is not None
    world.stop()


def test_a_client_that_leaves_in_the_handshake_does_not_stop_the_dial_from_ending(ca_file):
    world = RelayWorld(by_host(ca_file))
    world.reactor.listeners[5443].stopListening()
    silent = Origin()
    world.reactor.listenTCP(5443, silent)
    wire = world.ask("/peer/agent/")
    wire.transport.abortConnection()
    world.reactor.advance(11)
    assert silent.wires[0].lost is not None
    world.stop()


def test_insecure_takes_any_certificate_and_is_warned_of():
    logged = []
    observer = lambda event: logged.append(formatEvent(event))  # noqa: E731
    globalLogPublisher.addObserver(observer)
    world = RelayWorld(
        """
portal:
  relays:
    - url: "https://{lease}.portal.localhost:5443"
      tls: {insecure: true}
""",
        hosts=("other.example",),
        issuer=None,
    )
    wire = world.ask("/peer/agent/")
    world.origin.wires[0].send(OK)
    world.reactor.settle()
    assert wire.received.startswith(b"HTTP/1.1 200 OK")
    globalLogPublisher.removeObserver(observer)
    (warning,) = [line for line in logged if "certificates are not verified" in line]
    assert "portal.relays[0].tls.insecure" in warning
    world.stop()


def test_a_lease_behind_tls_is_asked_for_by_its_server_name(ca_file):
    world = RelayWorld(
        f"""
leases:
  tool:
    url: "https://127.0.0.1:5443"
    host_header: "tool.example"
    tls: {{ca_file: "{ca_file}", server_name: "agent.portal.localhost"}}
"""
    )
    wire = world.ask("/peer/tool/")
    assert world.relay.names == [b"agent.portal.localhost"]
    assert b"\r\nHost: tool.example\r\n" in world.origin.wires[0].received
    world.origin.wires[0].send(OK)
    world.reactor.settle()
    assert wire.received.startswith(b"HTTP/1.1 200 OK")
    world.stop()


def test_a_relay_is_ready_whether_it_is_there_or_not(ca_file):
    world = RelayWorld(by_host(ca_file))
    assert world.ask("/health/ready", key="").received.startswith(b"HTTP/1.1 200 OK")
    world.stop()


PATH = """
portal:
  relays:
    - url: "http://127.0.0.1:3000/base/"
"""


@pytest.mark.parametrize(
    ("target", "upstream"),
    [
        ("/peer/agent/x?q", "/base/peer/agent/x?q"),
        ("/peer/agent/", "/base/peer/agent/"),
        ("/peer/my_agent.v2/", "/base/peer/my_agent.v2/"),
        ("/peer/%61gent/", "/base/peer/agent/"),
        ("/peer/%ED%95%9C/", "/base/peer/%ED%95%9C/"),
        ("/peer/a%20b,c/", "/base/peer/a%20b,c/"),
        # A configured name is asked for as it is spelled, in whichever case it is asked for.
        ("/peer/My.Tool/", "/base/peer/My.Tool/"),
        ("/peer/my.tool/", "/base/peer/My.Tool/"),
        # What a lease has behind its name passes byte for byte.
        ("/peer/agent/a%252Fb//c%2e/%25/%ED%95%9C", "/base/peer/agent/a%252Fb//c%2e/%25/%ED%95%9C"),
        ("/peer/agent/a/../b?/../..%252f", "/base/peer/agent/a/../b?/../..%252f"),
    ],
)
def test_a_relay_by_path_gets_the_lease_encoded_in_one_way(target, upstream):
    world = World(AUTH + PATH + "leases: {My.Tool: {}}\n")
    world.ask(target)
    (origin,) = world.origin.wires
    assert origin.received.startswith(b"GET " + upstream.encode() + b" HTTP/1.1\r\n")
    assert b"\r\nHost: 127.0.0.1:3000\r\n" in origin.received
    origin.send(OK)
    world.reactor.settle()
    world.stop()


UPGRADE = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]

NAMES_WITH_TWO_READINGS = [
    "s%2565cret",
    "a%2525b",
    "100%25",
    "a+b",
    "a%2Bb",
    "a%3Bb",
    "a;b",
    "a%3Fb",
    "a%23b",
    # Case, as each of several readers folds it.
    "Secret",
    "SECRET",
    "%C5%BFecret",  # a long s
    "%E2%84%AA",  # the Kelvin sign
    "stra%C3%9Fe",
    "t%C4%B1tle",  # an i without a dot
    "%C4%B0x",
    # Normalisation.
    "%EF%BD%93ecret",  # a wide s
    "%EF%AC%81x",  # a ligature
    "e%CC%81",
    "%C2%B2",
    # What is not seen.
    "secret%EF%B8%8F",
    "%E1%85%9Fsecret",
    # Trimming.
    "secret%20",
    "%20secret",
    "secret.",
    "...",
    "secret%E3%80%80",
    # An id in lower case.
    "abcdefghijklmnopqrstuvwxyz",
]


@pytest.mark.parametrize("name", NAMES_WITH_TWO_READINGS)
@pytest.mark.parametrize("space", ["peer", "ws"])
def test_a_relay_by_path_is_not_asked_for_a_name_with_two_readings(name, space):
    world = World(AUTH + PATH)
    fields = UPGRADE if space == "ws" else []
    assert problem(world.ask(f"/{space}/{name}/x", fields=fields)) in {
        "lease_not_found",
        "invalid_path",
    }
    assert world.origin.wires == []
    world.stop()


@pytest.mark.parametrize(
    "rest",
    [
        "%252e%252e/secret/",
        "..%252fsecret/",
        ".%252e/secret/",
        "%252e%252e%252fsecret/",
        "%252e%252e%255csecret/",
        "x/%252e/../../secret/",
        "%25252e%25252e/secret/",
        "%c0%ae%c0%ae/secret/",
        "%EF%BC%8E%EF%BC%8E/secret/",
        "%E2%80%A5/secret/",
        "%2%65%2%65/secret/",
        "%252e%252e;x/secret/",
        "%252e%252e%2520/secret/",
        "%252e%252e%2500/secret/",
    ],
)
def test_a_relay_by_path_is_not_sent_what_climbs_when_it_is_decoded_again(rest):
    world = World(AUTH + PATH + "leases: {plain: {url: 'http://127.0.0.1:3000'}}\n")
    assert problem(world.ask(f"/peer/agent/{rest}")) == "invalid_path"
    assert world.origin.wires == []
    # A lease with an address of its own is no neighbour of others.
    world.ask(f"/peer/plain/{rest}")
    assert f"GET /{rest} HTTP/1.1\r\n".encode() in world.origin.wires[0].received
    world.stop()


def test_all_leases_of_a_relay_by_path_share_its_connections():
    world = World(AUTH + PATH)
    wire = world.ask("/peer/one/")
    world.origin.wires[0].send(OK)
    world.reactor.settle()
    world.ask("/peer/two/", wire=wire)
    (origin,) = world.origin.wires
    assert b"GET /base/peer/two/ HTTP/1.1" in origin.received
    world.stop()


def test_a_redirect_within_a_relay_by_path_is_one_within_the_lease():
    world = World(AUTH + PATH)
    wire = world.ask("/peer/agent/")
    world.origin.wires[0].send(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:3000/base/peer/agent/x\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    world.reactor.settle()
    assert b"\r\nLocation: /peer/agent/x\r\n" in wire.received
    world.stop()
