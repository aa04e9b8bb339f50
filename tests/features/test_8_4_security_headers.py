"""Feature 8.4: header fields that tell browsers to be careful."""

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived

from portal_gateway.config.loading import load_config_text
from tests.frontend.gateway_world import CONFIG, KEY, head_of
from tests.frontend.test_negotiation import CONFIG as SECURE
from tests.frontend.test_negotiation import ONE, SecureWorld
from tests.frontend.websocket_world import Sockets

SNIPPET = {
    b"X-Content-Type-Options": b"nosniff",
    b"X-Frame-Options": b"DENY",
    b"X-XSS-Protection": b"1; mode=block",
    b"Content-Security-Policy": b"default-src 'self'",
}

HSTS = b"Strict-Transport-Security"

OF_LEASES = {name: value for name, value in SNIPPET.items() if b"Policy" not in name}

CONFIGURED = (
    CONFIG
    + """
security_headers:
  headers:
    Referrer-Policy: no-referrer
    X-XSS-Protection: null
  paths:
    - path: /peer/tool/page*
      override: true
      headers:
        X-Frame-Options: SAMEORIGIN
        Content-Security-Policy: "default-src 'none'"
"""
)


@pytest.fixture
def worlds():
    made = []

    def make(config=CONFIG):
        made.append(Sockets(config))
        return made[-1]

    yield make
    for world in made:
        world.stop()


def security(wire):
    fields = dict(head_of(wire.received)[1])
    known = {*SNIPPET, HSTS, b"Referrer-Policy"}
    return {name: value for name, value in fields.items() if name in known}


@pytest.fixture
def secure(tmp_path):
    world = SecureWorld(SECURE % ONE.write(tmp_path))
    yield world
    world.stop()


def from_lease(world, fields=b"", target="/peer/tool/"):
    wire = world.ask(target)
    world.origin.wires[-1].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + fields + b"\r\n")
    world.reactor.settle()
    return wire


@pytest.mark.parametrize(
    "ask",
    [
        lambda world: world.ask("/health"),
        lambda world: world.ask("/whoami"),
        lambda world: world.ask("/nothing/here"),
        lambda world: world.ask("/peer/tool/", key="sk_live_wrong"),
        lambda world: world.ask("/peer/none/"),
        lambda world: world.ask("/health", method="DELETE"),
        lambda world: world.ask("/bad path"),
        lambda world: world.ask("/" + "x" * 10_000),
    ],
    ids=["health", "whoami", "404", "401", "no lease", "405", "400", "414"],
)
def test_security_headers_in_all_responses_of_the_gateways_own(worlds, ask):
    assert security(ask(worlds())) == SNIPPET


def test_security_headers_in_all_responses_of_leases(worlds):
    world = worlds()
    assert security(from_lease(world)) == OF_LEASES
    # A page of a lease with scripts of others goes on to work.
    assert b"Content-Security-Policy" not in security(from_lease(world))
    own = b"X-Frame-Options: SAMEORIGIN\r\nContent-Security-Policy: default-src *\r\n"
    found = security(from_lease(world, own))
    assert found[b"X-Frame-Options"] == b"SAMEORIGIN"
    assert found[b"Content-Security-Policy"] == b"default-src *"


def test_the_opening_of_a_websocket_has_them_too(worlds):
    world = worlds()
    wire = world.ask_upgrade()
    world.accept()
    assert security(wire) == OF_LEASES


def test_an_answer_in_the_place_of_a_lease_is_the_gateways_own(worlds):
    world = worlds()
    wire = world.ask("/peer/tool/")
    world.origin.wires[-1].send(b"nonsense\r\n\r\n")
    world.reactor.settle()
    assert wire.received.startswith(b"HTTP/1.1 502 ")
    assert security(wire) == SNIPPET


def test_configurable_per_path(worlds):
    world = worlds(CONFIGURED)
    assert security(from_lease(world, target="/peer/tool/x")) == {
        b"X-Content-Type-Options": b"nosniff",
        b"X-Frame-Options": b"DENY",
        b"Referrer-Policy": b"no-referrer",
    }
    lease = b"X-Frame-Options: ALLOWALL\r\nContent-Security-Policy: default-src *\r\n"
    assert security(from_lease(world, lease, "/peer/tool/page?x=1")) == {
        b"X-Content-Type-Options": b"nosniff",
        b"X-Frame-Options": b"SAMEORIGIN",
        b"Content-Security-Policy": b"default-src 'none'",
        b"Referrer-Policy": b"no-referrer",
    }


def test_csp_configurable(worlds):
    world = worlds(
        CONFIG + "security_headers: {headers: {Content-Security-Policy: \"default-src 'none'\"}}\n"
    )
    found = security(world.ask("/health"))
    assert found[b"Content-Security-Policy"] == b"default-src 'none'"
    assert b"Content-Security-Policy" not in security(from_lease(world))


def test_hsts_with_subdomains(worlds):
    """Over TLS only; what a trusted proxy says of its side counts."""
    behind = CONFIG.replace("gateway:", "gateway:\n  trusted_proxies: [127.0.0.1]")
    world = worlds(behind)
    fields = ["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"]
    found = security(world.ask("/health", fields=fields))
    assert found[HSTS] == b"max-age=31536000; includeSubDomains"
    assert HSTS not in security(world.ask("/health", fields=fields[:1]))
    assert HSTS not in security(worlds().ask("/health", fields=fields))


def test_they_can_be_switched_off_and_on_by_a_reload(worlds):
    world = worlds(CONFIG + "security_headers: {enabled: false}\n")
    assert security(world.ask("/health")) == {}
    assert world.reconfigure(CONFIG)
    assert security(world.ask("/health")) == SNIPPET


def test_the_configuration_is_valid():
    section = load_config_text(CONFIGURED, "", {}).security_headers
    assert section.headers["X-XSS-Protection"] is None
    assert section.paths[0].override is True


EVERYWHERE = {**SNIPPET, HSTS: b"max-age=31536000; includeSubDomains"}


def test_over_tls_there_is_hsts_and_on_the_plain_listener_there_is_not(secure):
    assert security(secure.ask_tls("/health", secure.connect_tls())) == EVERYWHERE
    wire = secure.ask("/health", wire=secure.plain(80))
    assert wire.received.startswith(b"HTTP/1.1 308 ")
    assert security(wire) == SNIPPET


class HTTP2:
    """A client of HTTP/2 on a wire."""

    def __init__(self, world):
        self.world = world
        self.wire = world.connect_tls(b"h2")
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self.h2.initiate_connection()
        self.seen = 0

    def ask(self, target, answer=b"", **more):
        stream = self.h2.get_next_available_stream_id()
        fields = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"gw.example"),
            (b":path", target),
            (b"x-api-key", KEY.encode()),
        ]
        fields += [(name.encode(), value) for name, value in more.items()]
        self.h2.send_headers(stream, fields, end_stream=True)
        if not answer:
            return self.turn()
        self.turn()
        self.world.origin.wires[-1].send(answer)
        return self.turn()

    def turn(self):
        """Exchange bytes; the fields of the response that came, by their names in lower case."""
        self.wire.send(self.h2.data_to_send())
        for _ in range(3):
            self.world.reactor.settle()
            self.world.reactor.advance(0)
        news, self.seen = self.wire.received[self.seen :], len(self.wire.received)
        events = self.h2.receive_data(news)
        heads = [dict(event.headers) for event in events if isinstance(event, ResponseReceived)]
        return heads[0] if heads else {}


def test_security_headers_in_all_responses_of_http2(secure):
    client = HTTP2(secure)
    own = {name.lower(): value for name, value in EVERYWHERE.items()}
    health = client.ask(b"/health")
    assert health[b":status"] == b"200"
    assert own.items() <= health.items()
    # Refused before it became a request.
    refused = client.ask(b"/health", x=b"y" * 40_000)
    assert refused[b":status"] == b"431"
    assert own.items() <= refused.items()
    head = b"HTTP/1.1 200 OK\r\nX-Frame-Options: SAMEORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n"
    streamed = client.ask(b"/peer/tool/", head)
    assert streamed[b":status"] == b"200"
    assert streamed[b"x-frame-options"] == b"SAMEORIGIN"
    assert streamed[b"x-content-type-options"] == b"nosniff"
    assert streamed[b"strict-transport-security"] == EVERYWHERE[HSTS]
    assert b"content-security-policy" not in streamed


def test_a_stream_of_events_has_them_before_its_first_event(worlds):
    world = worlds()
    wire = world.ask("/peer/tool/events")
    world.origin.wires[-1].send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    world.reactor.settle()
    assert security(wire) == OF_LEASES


@pytest.mark.parametrize("target", ["/peer/%74ool/page", "/peer/tool/p%61ge", "/peer/tool/PAGE"])
def test_no_spelling_of_a_path_goes_past_what_is_configured_for_it(worlds, target):
    found = security(from_lease(worlds(CONFIGURED), target=target))
    assert found[b"Content-Security-Policy"] == b"default-src 'none'"


def test_a_lease_at_a_host_of_its_own_has_those_of_its_path(worlds):
    hosts = CONFIGURED.replace("gateway:", 'gateway:\n  lease_host: "{lease}.gw.example"', 1)
    world = worlds(hosts)
    wire = world.connect()
    wire.send(f"GET /page HTTP/1.1\r\nHost: tool.gw.example\r\nX-API-Key: {KEY}\r\n\r\n".encode())
    world.reactor.settle()
    world.origin.wires[-1].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    world.reactor.settle()
    assert security(wire)[b"Content-Security-Policy"] == b"default-src 'none'"
