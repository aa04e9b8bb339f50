"""Where a call of the Model Context Protocol may be told from its body, and what it may hold."""

import json

import pytest

from portal_gateway.frontend.body import UNREAD_BOUND
from tests.frontend.lease_view_world import BOTH, LEASES, READER, VERSIONS, LeaseView

JSON = ("Content-Type", "application/json")


def call(method="ping", **more):
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, **more}).encode()


@pytest.fixture
def make():
    made = []

    def build(*arguments, **options):
        made.append(LeaseView(*arguments, **options))
        return made[-1]

    yield build
    for world in made:
        world.stop()


def passes(world, way="HTTP/1.1", path="/mcp", *, fields=(), body=None, key=READER):
    """Whether a POST reaches the lease; what does not is refused for its scope."""
    before = [len(wire.received) for wire in world.origin.wires]
    told = world.request(
        way,
        method="POST",
        target=f"/peer/tool{path}",
        fields=[JSON, *fields],
        body=call() if body is None else body,
        key=key,
    )
    if told.status is not None:
        assert told.status == 403
        assert b"insufficient_scope" in told.body
        assert [len(wire.received) for wire in world.origin.wires] == before
        return False
    assert [len(wire.received) for wire in world.origin.wires] != before
    return True


@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("way", VERSIONS)
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/mcp", True),
        ("/mcp/", True),
        ("/", True),
        ("/sse", True),
        ("/message?sessionId=1", True),
        ("/messages/?session_id=1", True),
        ("/api/users?_method=DELETE", False),
        ("/api/users", False),
        ("/mcp/x", False),
        ("/MCP", False),
        ("/m%63p", False),
        ("/mcp;x", False),
        ("//mcp", False),
        ("/mcp/.", False),
        ("/x/../mcp", False),
        ("/mcp?_method=DELETE", False),
        ("/mcp?a=1&%5Fmethod=DELETE", False),
        ("/?method=DELETE", False),
    ],
)
def test_a_call_reads_at_an_endpoint_only(make, way, lease, path, expected):
    world = make(lease, mcp="true")
    assert passes(world, way, path) is expected
    assert passes(world, way, path, key=BOTH)


@pytest.mark.parametrize(
    ("mcp", "there"),
    [
        ('{path: "/rpc/v1"}', {"/rpc/v1"}),
        ('{path: ["/a", "/b/"]}', {"/a", "/b/"}),
        ("false", set()),
    ],
)
@pytest.mark.parametrize("lease", LEASES)
def test_the_endpoints_are_those_of_the_configuration(make, lease, mcp, there):
    world = make(lease, mcp=mcp)
    found = {
        path for path in ("/", "/mcp", "/rpc/v1", "/a", "/b", "/b/") if passes(world, path=path)
    }
    assert found == there


@pytest.mark.parametrize("way", VERSIONS)
@pytest.mark.parametrize(
    "body",
    [
        call(role="admin"),
        call(result={}),
        call(Method="tools/call"),
        call(params=[]),
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1,"a":2}}',
        b"[" + call() + b"]",
        b"\xef\xbb\xbf" + call(),
        call().decode().encode("utf-16"),
        call("tools/call"),
    ],
)
def test_a_message_with_anything_else_writes(make, way, body):
    world = make(mcp="true")
    assert not passes(world, way, body=body)
    assert passes(world, way)


def test_a_message_that_is_longer_than_is_looked_at_writes(make):
    assert not passes(make(mcp="true"), body=call("ping", params={"a": "x" * UNREAD_BOUND}))


@pytest.mark.parametrize("way", VERSIONS)
@pytest.mark.parametrize(
    "field",
    [
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-HTTP-Method", "GET"),
        ("X-Method", "PUT"),
        ("Content-Encoding", "gzip"),
        ("Content-Type", "application/json"),
    ],
)
def test_a_field_that_makes_something_else_of_it_writes(make, way, field):
    assert not passes(make(mcp="true"), way, fields=[field])


def test_a_lease_gets_what_was_judged_to_be_json_as_json(make):
    assert not passes(make(mcp="true"), fields=[("Connection", "Content-Type")])


@pytest.mark.parametrize("way", VERSIONS)
def test_the_name_of_the_lease_alone_is_its_root(make, way):
    world = make(mcp="true")
    told = world.request(
        way, method="POST", target="/peer/tool", fields=[JSON], body=call(), key=READER
    )
    assert told.status == 308
    told = world.request(
        way, method="POST", target="/peer/tool", fields=[JSON], body=b"x", key=READER
    )
    assert told.status == 403


@pytest.mark.parametrize(
    ("body", "ends"), [(call("tools/call"), True), (b"{}", True), (call("tools/list"), False)]
)
def test_who_loses_write_loses_calls_that_write(make, body, ends):
    world = make(mcp="true")
    key = READER if not ends else BOTH
    told = world.request(method="POST", target="/peer/tool/mcp", fields=[JSON], body=body, key=key)
    assert world.reached
    assert told.status is None
    assert world.reconfigure(world.config.replace("id: both", "id: both, scopes: [read]"))
    assert told.status == (403 if ends else None)
