"""Feature 1.4: the acceptance criteria, each through a whole gateway in memory."""

import json

import pytest
from twisted.web.resource import Resource

from portal_gateway.config.loading import load_config_text
from portal_gateway.frontend.guards import ADMIN_GUARDS, Rules, guarded
from portal_gateway.policy.credentials import KeyTable
from tests.frontend.gateway_world import World, head_of
from tests.frontend.serving import HOST, Served, read_responses
from tests.frontend.websocket_world import Sockets

CONFIG = """
auth:
  keys:
    - key: "sk_live_readonly"
      scopes: ["read"]  # GET requests only

    - key: "sk_live_fullaccess"
      scopes: ["read", "write", "admin"]

    - {key: "sk_live_writeonly", scopes: ["write"]}
    - {key: "sk_live_default"}
leases:
  tool: {url: "http://127.0.0.1:3000"}
"""

WRITING = ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"]


@pytest.fixture
def world():
    made = Sockets(CONFIG)
    yield made
    made.stop()


def passes(world: World, method: str, key: str, **options) -> bool:
    """Whether a request gets to the lease; if not, it is refused for its scope."""
    before = sum(len(wire.received) for wire in world.origin.wires)
    wire = world.ask("/peer/tool/x", method=method, key=key, **options)
    if sum(len(wire.received) for wire in world.origin.wires) > before:
        return True
    first, fields, body = head_of(wire.received)
    assert first.split()[1] == b"403"
    assert method == "HEAD" or json.loads(body)["error"] == "insufficient_scope"
    assert any(name == b"WWW-Authenticate" for name, _ in fields)
    return False


@pytest.mark.parametrize("method", WRITING)
def test_read_only_keys_cannot_make_write_requests(world, method):
    assert not passes(world, method, "sk_live_readonly", body=b"x")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_read_only_keys_can_read(world, method):
    assert passes(world, method, "sk_live_readonly")
    assert not passes(world, method, "sk_live_writeonly")


def test_write_attempts_return_403(world):
    wire = world.ask("/peer/tool/x", method="POST", key="sk_live_readonly", body=b"x")
    first, fields, body = head_of(wire.received)
    assert first == b"HTTP/1.1 403 Forbidden"
    challenge = (
        b'Bearer realm="portal-gateway", error="insufficient_scope",'
        b' error_description="The scope write is needed", scope="write"'
    )
    assert (b"WWW-Authenticate", challenge) in fields
    problem = json.loads(body)
    assert (problem["status"], problem["error"]) == (403, "insufficient_scope")
    assert "write" in problem["detail"]
    assert world.origin.wires == []


@pytest.mark.parametrize("method", WRITING)
@pytest.mark.parametrize("key", ["sk_live_fullaccess", "sk_live_default"])
def test_keys_that_may_write_can(world, method, key):
    assert passes(world, method, key, body=b"x")


def test_a_websocket_needs_write(world):
    assert b" 403 " in world.ask_upgrade(key="sk_live_readonly").received
    assert world.origin.wires == []
    world.ask_upgrade(key="sk_live_writeonly")
    assert len(world.origin.wires) == 1


def test_another_method_in_a_field_needs_write(world):
    fields = ["X-HTTP-Method-Override: DELETE"]
    assert not passes(world, "GET", "sk_live_readonly", fields=fields)


@pytest.mark.parametrize(
    ("key", "status"),
    [
        ("sk_live_fullaccess", 200),
        ("sk_live_default", 403),
        ("sk_live_readonly", 403),
        ("sk_live_writeonly", 403),
        ("sk_live_unknown", 401),
        (None, 401),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE"])
def test_admin_endpoints_require_admin_scope(key, status, method):
    class Keys(Resource):
        isLeaf = True

        def render(self, request):
            return b"keys"

    config = load_config_text(CONFIG, "", {})
    admin = guarded(Keys(), Rules(KeyTable(config.auth.keys)), lambda: 0.0, ADMIN_GUARDS)
    root = Resource()
    root.putChild(b"admin", admin)
    site = Served(root)
    fields = b"" if key is None else b"X-API-Key: " + key.encode() + b"\r\n"
    received = site.send(method + b" /admin/keys HTTP/1.1\r\n" + HOST + fields + b"\r\n")
    ((answered, header, body),) = read_responses(received, [method])
    assert answered == status
    assert (body == b"keys") == (status == 200)
    if status == 403:
        assert b'scope="admin"' in header[b"www-authenticate"]
    site.finish()
