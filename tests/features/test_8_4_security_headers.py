"""Feature 8.4: header fields that tell browsers to be careful."""

import pytest

from portal_gateway.config.loading import load_config_text
from tests.frontend.gateway_world import CONFIG, head_of
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
