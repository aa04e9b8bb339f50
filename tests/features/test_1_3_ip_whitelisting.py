"""Feature 1.3: the acceptance criteria, each through a whole gateway in memory."""

import json

import pytest

from portal_gateway.config.loading import load_config_text
from tests.frontend.gateway_world import KEY, World, head_of

SNIPPET = """
ip_whitelist:
  enabled: true
  cidrs:
    - "203.0.113.0/24"  # Company network
    - "198.51.100.42"   # OpenAI webhook IP
"""

REST = f"""
    - "2001:db8::/32"
auth:
  keys:
    - {{key: "{KEY}"}}
    - {{key: "sk_live_office", ip_allow: ["203.0.113.128/25", "2001:db8:5::/48"]}}
leases:
  tool: {{url: "http://127.0.0.1:3000"}}
"""

BALANCER = "10.0.0.1"

BALANCED = f"""
gateway:
  trusted_proxies: ["10.0.0.0/8", "2001:db8:ffff::/48"]
{SNIPPET}{REST}
"""


@pytest.fixture
def world():
    made = World(SNIPPET + REST)
    yield made
    made.stop()


@pytest.fixture
def balanced():
    made = World(BALANCED)
    yield made
    made.stop()


def outcome(wire):
    """Whether the lease got the request; the code of the refusal otherwise."""
    if not wire.received:
        return "lease"
    _, _, body = head_of(wire.received)
    return json.loads(body)["error"]


def test_the_snippet_is_valid_configuration():
    section = load_config_text(SNIPPET, "", {}).ip_whitelist
    assert section.enabled
    assert [str(network) for network in section.cidrs] == ["203.0.113.0/24", "198.51.100.42/32"]


@pytest.mark.parametrize("host", ["192.0.2.1", "203.0.112.255", "198.51.100.43", "127.0.0.1"])
@pytest.mark.parametrize("key", [KEY, "sk_live_unknown", None])
def test_requests_from_unlisted_ips_return_403(world, host, key):
    wire = world.ask("/peer/tool/x", host=host, key=key)
    first, _, body = head_of(wire.received)
    assert first == b"HTTP/1.1 403 Forbidden"
    assert json.loads(body)["error"] == "address_not_allowed"
    assert world.origin.wires == []


def test_health_is_open_to_everybody(world):
    assert b" 200 " in world.ask("/health", host="192.0.2.1", key=None).received


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("203.0.113.0", "lease"),
        ("203.0.113.255", "lease"),
        ("198.51.100.42", "lease"),
        ("203.0.114.0", "address_not_allowed"),
        ("198.51.100.41", "address_not_allowed"),
    ],
)
def test_cidr_notation_supported(world, host, expected):
    assert outcome(world.ask("/peer/tool/x", host=host)) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("203.0.113.7", "lease"),
        ("2001:db8::1", "lease"),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "lease"),
        ("2001:db9::1", "address_not_allowed"),
        # What a listener for both versions sees of an IPv4 client.
        ("::ffff:203.0.113.7", "lease"),
        ("::ffff:203.0.114.7", "address_not_allowed"),
    ],
)
def test_ipv4_and_ipv6_supported(world, host, expected):
    assert outcome(world.ask("/peer/tool/x", host=host)) == expected


@pytest.mark.parametrize(
    ("host", "fields", "expected"),
    [
        (BALANCER, ["X-Forwarded-For: 203.0.113.7"], "lease"),
        (BALANCER, ["X-Forwarded-For: 192.0.2.1"], "address_not_allowed"),
        (BALANCER, ["X-Forwarded-For: 203.0.113.7, 192.0.2.1"], "address_not_allowed"),
        (BALANCER, ["X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 192.0.2.1"], None),
        (BALANCER, ["X-Forwarded-For: 192.0.2.1, 203.0.113.7:5000, 10.2.3.4"], "lease"),
        (BALANCER, ["x-forwarded-for: [2001:db8::1]:443"], "lease"),
        ("2001:db8:ffff::1", ["X-Forwarded-For: 203.0.113.7"], "lease"),
        (BALANCER, ['Forwarded: for="[2001:db8::1]:443";proto=https'], "lease"),
        (BALANCER, ["Forwarded: for=192.0.2.1"], "address_not_allowed"),
        (BALANCER, ["X-Forwarded-For: 203.0.113.7", "Forwarded: for=192.0.2.1"], "400"),
        (BALANCER, [], "address_not_allowed"),
        (BALANCER, ["X-Forwarded-For: unknown"], "address_not_allowed"),
        (BALANCER, ["X-Real-IP: 203.0.113.7"], "address_not_allowed"),
        # Not from a balancer: nobody asked.
        ("192.0.2.1", ["X-Forwarded-For: 203.0.113.7"], "address_not_allowed"),
        ("192.0.2.1", ["Forwarded: for=203.0.113.7"], "address_not_allowed"),
        ("203.0.113.7", ["X-Forwarded-For: 192.0.2.1"], "lease"),
    ],
)
def test_x_forwarded_for_header_respected(balanced, host, fields, expected):
    found = outcome(balanced.ask("/peer/tool/x", host=host, fields=fields))
    expected = {None: "address_not_allowed", "400": "ambiguous_forwarding"}.get(expected, expected)
    assert found == expected


def test_without_trusted_proxies_the_header_is_not_respected(world):
    fields = ["X-Forwarded-For: 203.0.113.7"]
    assert outcome(world.ask("/peer/tool/x", host="192.0.2.1", fields=fields)) == (
        "address_not_allowed"
    )


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("203.0.113.127", "address_not_allowed"),
        ("203.0.113.128", "lease"),
        ("2001:db8:5::1", "lease"),
        ("2001:db8:6::1", "address_not_allowed"),
    ],
)
def test_a_key_may_be_held_to_addresses_of_its_own(world, host, expected):
    assert outcome(world.ask("/peer/tool/x", host=host, key="sk_live_office")) == expected
    assert outcome(world.ask("/peer/tool/x", host=host)) == "lease"


def test_the_log_and_the_lease_know_the_client_and_not_the_balancer():
    world = World(BALANCED)
    world.ask(
        "/peer/tool/x",
        host=BALANCER,
        fields=[
            "X-Forwarded-For: 198.51.100.1, 203.0.113.7, 10.9.9.9",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: api.example",
            "X-Real-IP: 198.51.100.1",
        ],
    )
    (origin,) = world.origin.wires
    _, fields, _ = head_of(origin.received)
    told = {name: value for name, value in fields if b"orwarded" in name or b"Real" in name}
    assert told == {
        b"X-Forwarded-For": b"203.0.113.7, 10.9.9.9, 10.0.0.1",
        b"X-Forwarded-Proto": b"https",
        b"X-Forwarded-Host": b"api.example",
        b"X-Forwarded-Prefix": b"/peer/tool",
        b"Forwarded": (
            b"for=203.0.113.7;host=api.example;proto=https, for=10.9.9.9,"
            b' for=10.0.0.1;host="gw.example:8080";proto=http'
        ),
    }
    world.ask("/health", host=BALANCER, fields=["X-Forwarded-For: 192.0.2.77"])
    world.ask("/health", host="192.0.2.5", fields=["X-Forwarded-For: 192.0.2.77"])
    origin.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    world.reactor.settle()
    lines = [line for line in world.stop() if line["message"] == "request_completed"]
    assert [(line["path"], line["client_ip"]) for line in lines] == [
        ("/health", "192.0.2.77"),
        ("/health", "192.0.2.5"),
        ("/peer/tool/x", "203.0.113.7"),
    ]


def test_a_client_that_cannot_be_told_is_refused_everywhere(balanced):
    fields = ['Forwarded: for="192.0.2.1, for=203.0.113.7']
    for target in ("/peer/tool/x", "/health", "/nothing"):
        wire = balanced.ask(target, host=BALANCER, fields=fields)
        assert outcome(wire) == "ambiguous_forwarding"
        assert wire.lost is None
