"""Feature 1.2: the acceptance criteria, each through a whole gateway in memory."""

import json

import pytest
from access_world import AccessWorld, id_of
from twisted.logger import globalLogPublisher

from portal_gateway.config.loading import load_config_text
from tests.frontend.gateway_world import head_of

SNIPPET = """
lease_acl:
  "company-mcp-server":
    - "sk_live_abc123"
    - "sk_live_xyz789"

  "public-*":  # Wildcard pattern
    - "*"      # All keys can access
"""

KEYS = """
auth:
  keys:
    - {key: "sk_live_abc123", id: "abc"}
    - {key: "sk_live_xyz789", id: "xyz"}
    - {key: "sk_live_other", id: "other"}
"""

COMPANY, OTHER = "sk_live_abc123", "sk_live_other"

LEASES = ("company-mcp-server", "public-agent", "private")

DENIED = "lease_access_denied"


def world_of(config=SNIPPET, **options):
    return AccessWorld(config + KEYS, **({"published": LEASES} | options))


@pytest.fixture
def world():
    made = world_of()
    yield made
    made.stop()


def test_the_snippet_is_valid_configuration():
    assert len(load_config_text(SNIPPET, "", {}).lease_acl) == 2


@pytest.mark.parametrize(
    ("lease", "key", "allowed"),
    [
        ("company-mcp-server", COMPANY, True),
        ("company-mcp-server", "sk_live_xyz789", True),
        ("company-mcp-server", OTHER, False),
        ("public-agent", COMPANY, True),
        ("public-agent", OTHER, True),
        # Without a rule it is nobody's, whether it is there or not.
        ("private", COMPANY, False),
        ("private", OTHER, False),
        ("not-there", OTHER, False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_unauthorized_access_returns_403(world, lease, key, allowed, method):
    found = world.outcome(f"/peer/{lease}/x", key=key, method=method)
    assert found == (lease if allowed else DENIED)
    assert world.reached == ([(lease, method)] if allowed else [])


@pytest.mark.parametrize("prefix", ["/peer", "/ws"])
def test_websockets_are_held_to_the_rules_too(world, prefix):
    fields = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    ask = f"{prefix}/company-mcp-server/"
    assert world.outcome(ask, key=OTHER, fields=fields) == DENIED
    # The service is none for WebSockets, and so it answers.
    assert world.outcome(ask, key=COMPANY, fields=fields) == "company-mcp-server"


@pytest.mark.parametrize(
    ("pattern", "lease", "allowed"),
    [
        ("public-*", "public-agent", True),
        ("PUBLIC-*", "public-agent", True),
        ("public-*", "private", False),
        ("*", "private", True),
        ("*-agent", "public-agent", True),
        ("p?ivate", "private", True),
        ("p?vate", "private", False),
        ("*vat*", "private", True),
        ("priv", "private", False),
    ],
)
def test_wildcard_patterns_work(pattern, lease, allowed):
    world = world_of(f'lease_acl: {{"{pattern}": ["other"]}}')
    assert world.outcome(f"/peer/{lease}/", key=OTHER) == (lease if allowed else DENIED)
    assert world.outcome(f"/peer/{lease}/", key=COMPANY) == DENIED
    world.stop()


def test_the_most_specific_pattern_decides():
    world = world_of("""
lease_acl:
  "*": ["*"]
  "p*": ["abc"]
  "pri*": ["xyz"]
  "private": ["other"]
""")
    for lease, key in (("private", OTHER), ("public-agent", COMPANY)):
        for tried in ("sk_live_abc123", "sk_live_xyz789", "sk_live_other"):
            found = world.outcome(f"/peer/{lease}/", key=tried)
            assert found == (lease if tried == key else DENIED)
    world.stop()


@pytest.mark.parametrize("asked", ["private", "{id}", "PRIVATE"])
def test_a_pattern_is_for_no_part_of_an_id(asked):
    """An id is random: whoever had made enough of them could choose which rule holds."""
    lease_id = id_of(3)
    asked = asked.replace("{id}", lease_id)
    for part in (f"{lease_id[0]}*", f"*{lease_id[-1]}", f"*{lease_id[9:12].lower()}*", "?" * 26):
        world = world_of(f'lease_acl: {{"{part}": ["other"], "*": ["abc"]}}')
        assert world.outcome(f"/peer/{asked}/", key=OTHER) == DENIED
        assert world.outcome(f"/peer/{asked}/", key=COMPANY) == "private"
        world.stop()
    world = world_of(f'lease_acl: {{"{lease_id}": ["other"], "*": ["abc"]}}')
    assert world.outcome(f"/peer/{asked}/", key=OTHER) == "private"
    world.stop()


def test_acl_rules_hot_reloadable(world):
    """New rules take the place of the old ones between two requests, on connections of clients
    and leases that stay."""
    wire = world.ask("/peer/private/", key=OTHER)
    assert json.loads(head_of(wire.received)[2])["error"] == DENIED
    wire.received = b""
    assert world.reconfigure(f"lease_acl: {{private: [other]}}\n{KEYS}")
    world.ask("/peer/private/", key=OTHER, wire=wire)
    assert head_of(wire.received)[2] == b"private"
    wire.received = b""
    world.ask("/peer/public-agent/", key=OTHER, wire=wire)
    assert json.loads(head_of(wire.received)[2])["error"] == DENIED


def test_clear_error_messages(world):
    wire = world.ask("/peer/company-mcp-server/", key=OTHER)
    first, fields, body = head_of(wire.received)
    assert first == b"HTTP/1.1 403 Forbidden"
    problem = json.loads(body)
    request_id = dict(fields)[b"X-Request-ID"].decode()
    assert problem == {
        "type": "tag:portal-gateway,2026:lease_access_denied",
        "title": "The credential is not for this lease",
        "status": 403,
        "detail": "this credential may not use this lease",
        "error": "lease_access_denied",
        "request_id": request_id,
    }
    (line,) = [line for line in world.stop() if line.get("request_id") == request_id]
    assert (line["lease_id"], line["error"], line["api_key_id"]) == (
        "company-mcp-server",
        "lease_access_denied",
        "other",
    )
    world.stop = lambda: None


def test_without_rules_every_key_may_use_every_lease_and_the_log_says_so_once():
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        world = world_of("lease_acl: {}")
        for key in (COMPANY, OTHER):
            assert world.outcome("/peer/private/", key=key) == "private"
        world.stop()
    finally:
        globalLogPublisher.removeObserver(events.append)
    said = [event["log_format"] for event in events if "lease_acl" in str(event["log_format"])]
    assert said == ["no lease_acl is configured: every API key may use every lease"]


def test_leases_without_a_rule_may_be_open():
    world = world_of('lease_acl: {"private": []}\nlease_acl_default: allow')
    assert world.outcome("/peer/public-agent/", key=OTHER) == "public-agent"
    assert world.outcome("/peer/private/", key=OTHER) == DENIED
    assert world.outcome("/peer/not-there/", key=OTHER) == "lease_not_found"
    world.stop()


# One lease in several ways.


@pytest.mark.parametrize("asked", ["private", "PRIVATE", "Private", "%70rivate", id_of(3)])
@pytest.mark.parametrize("pattern", ["private", "Private", "priv*", id_of(3)])
def test_a_rule_is_for_the_lease_however_it_is_asked_for(asked, pattern):
    world = world_of(f'lease_acl: {{"*": ["*"], "{pattern}": ["abc"]}}')
    assert world.outcome(f"/peer/{asked}/", key=COMPANY) == "private"
    assert world.outcome(f"/peer/{asked}/", key=OTHER) == DENIED
    (line,) = [line for line in world.stop() if line.get("status") == 200]
    assert line["lease_id"] == "private"


@pytest.mark.parametrize("asked", ["mine", "MINE", "private", id_of(3)])
def test_a_name_that_the_configuration_pins_is_a_name_of_the_lease(asked):
    world = world_of(
        'lease_acl: {"*": ["*"], "mine": ["abc"]}', leases=f'  mine: {{identity: "{id_of(3)}"}}\n'
    )
    assert world.outcome(f"/peer/{asked}/", key=COMPANY) == "private"
    assert world.outcome(f"/peer/{asked}/", key=OTHER) == DENIED
    world.stop()


def test_an_id_where_only_the_relay_knows_the_names():
    world = world_of(
        'lease_acl: {"*": ["*"], "secret": ["abc"]}', published=(), by_http=("secret", "open")
    )
    assert world.outcome("/peer/open/", key=OTHER) == "open"
    assert world.outcome("/peer/secret/", key=OTHER) == DENIED
    for number, name in ((101, "secret"), (102, "open")):
        # Each id might be that of the lease that is not for this key.
        assert world.outcome(f"/peer/{id_of(number)}/", key=OTHER) == DENIED
        assert world.outcome(f"/peer/{id_of(number)}/", key=COMPANY) == name
    world.stop()


# Addresses of a lease.


@pytest.mark.parametrize("asked", ["private", "PRIVATE", id_of(3)])
def test_a_lease_may_be_held_to_addresses(asked):
    world = world_of("", leases='  Private: {ip_allow: ["203.0.113.0/24", "2001:db8::/32"]}\n')
    for host, found in (
        ("203.0.113.7", "private"),
        ("2001:db8::7", "private"),
        ("192.0.2.1", "address_not_allowed"),
    ):
        assert world.outcome(f"/peer/{asked}/", host=host, key=OTHER) == found
        assert world.outcome("/peer/public-agent/", host=host, key=OTHER) == "public-agent"
    world.stop()
