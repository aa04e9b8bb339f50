"""Feature 1.1: the acceptance criteria, each through a whole gateway in memory."""

import json

import pytest

from portal_gateway.config.loading import load_config_text
from tests.frontend.gateway_world import World, head_of

SNIPPET = """
auth:
  keys:
    - key: "sk_live_abc123..."
      description: "Production API key"
      scopes: ["read", "write"]
      expires_at: "2025-12-31T23:59:59Z"
"""

GOOD = """
    - key: "sk_live_good"
      id: "good"
"""

LEASES = """
leases: {tool: {url: "http://127.0.0.1:3000"}}
"""


@pytest.fixture
def world():
    world = World(SNIPPET + GOOD + LEASES)
    yield world
    world.stop()


def problem(wire):
    first, fields, rest = head_of(wire.received)
    return first, dict(fields), json.loads(rest)


def test_1_1_the_snippet_is_valid_as_it_stands():
    config = load_config_text(SNIPPET, "gateway.yaml", {})
    (key,) = config.auth.keys
    assert (key.description, key.scopes) == ("Production API key", {"read", "write"})


def test_1_1_requests_without_an_api_key_return_401(world):
    first, fields, body = problem(world.ask("/peer/tool/", key=None))
    assert first.startswith(b"HTTP/1.1 401 ")
    assert body["error"] == "missing_api_key"
    assert fields[b"WWW-Authenticate"] == b'Bearer realm="portal-gateway"'
    assert world.origin.wires == []


def test_1_1_invalid_api_keys_return_401(world):
    first, _, body = problem(world.ask("/peer/tool/", key="sk_live_wrong"))
    assert first.startswith(b"HTTP/1.1 401 ")
    assert body["error"] == "invalid_api_key"
    assert world.origin.wires == []


@pytest.mark.parametrize("field", ["X-API-Key: sk_live_good", "Authorization: Bearer sk_live_good"])
def test_1_1_valid_api_keys_pass_through_and_do_not_reach_the_lease(world, field):
    world.ask("/peer/tool/", key=None, fields=[field])
    (origin,) = world.origin.wires
    assert origin.received.startswith(b"GET / HTTP/1.1\r\n")
    assert b"sk_live_good" not in origin.received


def test_1_1_expired_keys_are_rejected_with_a_clear_message(world):
    first, fields, body = problem(world.ask("/peer/tool/", key="sk_live_abc123..."))
    assert first.startswith(b"HTTP/1.1 401 ")
    assert body["error"] == "expired_api_key"
    assert body["detail"] == "the API key expired at 2025-12-31T23:59:59Z"
    assert b"expired at 2025-12-31T23:59:59Z" in fields[b"WWW-Authenticate"]


def test_1_1_what_is_known_of_the_key_is_in_the_requests_context(world):
    world.ask("/peer/tool/", key="sk_live_good")
    (origin,) = world.origin.wires
    origin.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    world.reactor.settle()
    (line,) = [
        json.loads(line)
        for line in world.log_text.getvalue().splitlines()
        if "request_completed" in line
    ]
    assert line["api_key_id"] == "good"
    assert "sk_live" not in world.log_text.getvalue()
