"""A running gateway gets another configuration: what changes, and for whom."""

import gc
import json
from collections import Counter

import pytest
from twisted.logger import formatEvent, globalLogPublisher

from portal_gateway.policy.token_bucket import SECOND
from portal_gateway.relay.retirement import LOOK_EVERY
from tests.frontend.gateway_world import CONFIG, KEY, head_of
from tests.frontend.raw_frames import CLOSE
from tests.frontend.websocket_world import Sockets

OTHERS = CONFIG.replace(f'"{KEY}"', '"sk_live_other"')
"""The key of the tests is none any more."""

REFUSED = "the API key is not one that this gateway knows"

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def logged():
    lines = []

    def note(event):
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(note)
    yield lines
    globalLogPublisher.removeObserver(note)


@pytest.fixture
def world():
    made = Sockets()
    yield made
    made.stop()


def code_of(wire):
    return json.loads(head_of(wire.received)[2])["error"]


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def stream_of(world, head=STREAM, target="/peer/tool/events"):
    wire = world.ask(target)
    lease = world.origin.wires[-1]
    lease.send(head)
    world.reactor.settle()
    return wire, lease


# Whose key was revoked.


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"", f": {REFUSED}\n\n"),
        (b"data: 1\n\n", f": {REFUSED}\n\n"),
        (b"data: 1\r\n\r\n", f": {REFUSED}\n\n"),
        (b"data: 1\r\r", f": {REFUSED}\n\n"),
        # What has begun is never told as if it were complete: no empty line follows.
        (b"data: 1\n", f": {REFUSED}\n"),
        (b"data: 1\r\n", f": {REFUSED}\n"),
        (b"data: 1", f"\n: {REFUSED}\n"),
    ],
)
def test_a_stream_of_events_ends_with_a_comment(world, sent, told):
    wire, lease = stream_of(world)
    if sent:
        lease.send(chunk(sent))
        world.reactor.settle()
    before = len(wire.received)
    assert world.reconfigure(OTHERS)
    assert wire.received[before:] == chunk(told.encode()) + b"0\r\n\r\n"
    assert lease.lost is not None
    line = json.loads(world.log_text.getvalue().splitlines()[-1])
    assert (line["message"], line["error"]) == ("request_completed", "invalid_api_key")


def test_a_stream_that_gets_comments_anyway(world):
    assert world.reconfigure(CONFIG + 'sse: {keepalive: "5s"}\n')
    wire, lease = stream_of(world)
    lease.send(chunk(b"data: 1\n\n"))
    world.reactor.settle()
    world.reactor.advance(6)
    assert wire.received.endswith(chunk(b": keepalive\n\n"))
    before = len(wire.received)
    assert world.reconfigure(OTHERS)
    assert wire.received[before:] == chunk(f": {REFUSED}\n\n".encode()) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        STREAM.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_has_no_place_for_words_is_cut(world, head):
    wire, lease = stream_of(world, head)
    lease.send(chunk(b"12345"))
    world.reactor.settle()
    assert world.reconfigure(OTHERS)
    assert wire.lost is not None
    assert not wire.received.endswith(b"0\r\n\r\n")
    assert lease.lost is not None


def test_a_request_without_an_answer_gets_the_refusal(world):
    wire = world.ask("/peer/tool/slow")
    (lease,) = world.origin.wires
    assert world.reconfigure(OTHERS)
    assert (head_of(wire.received)[0], code_of(wire)) == (
        b"HTTP/1.1 401 Unauthorized",
        "invalid_api_key",
    )
    assert lease.lost is not None
    # The connection is as good as before.
    wire.received = b""
    world.ask("/health", wire=wire)
    assert wire.received.startswith(b"HTTP/1.1 200 OK")


def test_a_websocket_is_closed_with_1008(world):
    client, lease = world.open()
    assert world.reconfigure(OTHERS)
    (frame,) = client.frames
    assert (frame.opcode, frame.payload) == (CLOSE, b"\x03\xf0" + REFUSED.encode())
    (frame,) = lease.frames
    assert (frame.opcode, frame.payload) == (CLOSE, b"\x03\xe9")
    # Peers that do not answer have their time, and no more.
    world.reactor.advance(5)
    assert client.ended
    assert lease.ended


def test_a_websocket_that_is_being_opened_is_refused(world):
    wire = world.ask_upgrade()
    (lease,) = world.origin.wires
    assert world.reconfigure(OTHERS)
    assert code_of(wire) == "invalid_api_key"
    assert lease.lost is not None


# Whose rights went otherwise.


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("lease_acl: {tool: [somebody]}", "lease_access_denied"),
        ("lease_acl: {other: ['*']}", "lease_access_denied"),
        ("ip_whitelist: {enabled: true, cidrs: [10.0.0.0/8]}", "address_not_allowed"),
    ],
)
def test_rules_that_are_lost(world, change, code):
    wire = world.ask("/peer/tool/slow")
    assert world.reconfigure(f"{CONFIG}\n{change}\n")
    assert code_of(wire) == code


@pytest.mark.parametrize(
    ("key", "lease", "code"),
    [
        ("scopes: [read]", "", None),
        ("scopes: [admin]", "", "insufficient_scope"),
        ('expires_at: "2025-01-01T00:00:00Z"', "", "expired_api_key"),
        ("ip_allow: [10.0.0.0/8]", "", "address_not_allowed"),
        ("", "ip_allow: [10.0.0.0/8]", "address_not_allowed"),
        ("", "ip_allow: [127.0.0.0/8]", None),
    ],
)
def test_what_a_key_or_a_lease_is_held_to(world, key, lease, code):
    wire = world.ask("/peer/tool/slow")
    config = CONFIG.replace('id: "tester"', f'id: "tester"\n      {key}')
    config = config.replace("  tool:\n", f"  tool:\n    {lease}\n")
    assert world.reconfigure(config)
    assert wire.received == b"" if code is None else code_of(wire) == code


def test_a_scope_that_a_call_of_mcp_does_not_need(world):
    """`required_scope` alone would refuse the POST."""
    config = CONFIG.replace("  tool:\n", "  tool:\n    mcp: true\n")
    config = config.replace('id: "tester"', 'id: "tester"\n      scopes: [read]')
    assert world.reconfigure(config)
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
    fields = ["Content-Type: application/json"]
    wire = world.ask("/peer/tool/mcp", method="POST", fields=fields, body=body)
    assert world.reconfigure(config + "sse: {idle_timeout: 10s}\n")
    assert wire.received == b""


def test_others_go_on(world):
    stream, lease = stream_of(world)
    client, _ = world.open()
    slow = world.ask("/peer/tool/slow")
    assert world.reconfigure(CONFIG.replace("sk_live_old", "sk_live_older"))
    lease.send(chunk(b"data: 1\n\n"))
    world.origin.wires[-1].send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    world.reactor.settle()
    assert stream.received.endswith(chunk(b"data: 1\n\n"))
    assert slow.received.endswith(b"ok")
    assert client.frames == []
    assert not client.ended


def test_a_request_that_waits_for_a_guard_is_judged_by_what_holds_then(tmp_path):
    """It was let in by the key before. The wait for its quota outlasts the reload."""
    quotas = "quotas: {daily: {default: {requests: 5}}}\n"
    world = Sockets(CONFIG + quotas, directory=tmp_path)
    world.threads.held = True
    wire = world.ask("/peer/tool/")
    assert wire.received == b""
    gateway = world.gateway
    later = gateway.prepare(world.gateway._config)
    gateway.use(later)
    assert world.origin.wires == []
    world.config = OTHERS + quotas
    gateway.use(gateway.prepare(world._load()))
    world.threads.release()
    world.reactor.settle()
    assert code_of(wire) == "invalid_api_key"
    assert world.origin.wires == []
    world.stop()


# What outlives a configuration.


def test_buckets_are_as_empty_as_before(world):
    limits = "rate_limit: {global: {requests_per_second: 1, burst: 2}}\n"
    assert world.reconfigure(CONFIG + limits)
    for _ in range(2):
        world.ask("/peer/tool/")
    assert len(world.origin.wires) == 2
    assert world.reconfigure(CONFIG + limits + "sse: {idle_timeout: 10s}\n")
    assert code_of(world.ask("/peer/tool/")) == "rate_limit_exceeded"
    assert world.gateway.sources.tables.everything.moments[""] > SECOND


def test_connections_to_leases_are_used_again(world):
    wire = world.ask("/peer/tool/")
    (lease,) = world.origin.wires
    lease.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    world.reactor.settle()
    assert world.reconfigure(CONFIG + "portal: {pool: {max_idle: 5}}\n")
    world.ask("/peer/tool/", wire=wire)
    assert len(world.origin.wires) == 1
    lease.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    world.reactor.settle()
    # None is kept that is above what may be.
    assert world.reconfigure(CONFIG + "portal: {pool: {max_idle: 0}}\n")
    assert lease.lost is not None


def test_a_lease_that_is_gone_carries_to_the_end_what_it_carries(world):
    wire, lease = stream_of(world)
    assert world.reconfigure(CONFIG.replace("  tool:", "  other:"))
    assert code_of(world.ask("/peer/tool/")) == "lease_not_found"
    world.reactor.advance(3 * LOOK_EVERY)
    lease.send(chunk(b"data: 1\n\n") + b"0\r\n\r\n")
    world.reactor.settle()
    assert wire.received.endswith(chunk(b"data: 1\n\n") + b"0\r\n\r\n")
    assert lease.lost is not None
    world.reactor.advance(LOOK_EVERY)
    assert len(world.gateway.upstreams._retirement) == 0


def test_a_lease_that_moves(world):
    """Requests after the reload go to the new place, those before it end at the old one."""
    wire, lease = stream_of(world)
    world.reactor.listenTCP(3001, type(world.origin)())
    assert world.reconfigure(CONFIG.replace("127.0.0.1:3000", "127.0.0.1:3001"))
    world.ask("/peer/tool/")
    assert world.origin.wires == [lease]
    lease.send(b"0\r\n\r\n")
    world.reactor.settle()
    assert wire.received.endswith(b"0\r\n\r\n")


def test_limits_hold_for_connections_from_then_on(world):
    old = world.connect()
    assert world.reconfigure(CONFIG.replace("gateway:", "gateway:\n  limits: {fields: 10}"))
    fields = [f"X-{number}: 1" for number in range(10)]
    new = world.ask("/health", fields=fields)
    assert code_of(new) == "header_fields_too_large"
    world.ask("/health", fields=fields, wire=old)
    assert old.received.startswith(b"HTTP/1.1 200 OK")


def test_proxies_logging_and_drain(world):
    config = CONFIG.replace(
        "gateway:", "gateway:\n  trusted_proxies: [127.0.0.1]\n  drain: {grace: 3s}"
    )
    assert world.reconfigure(config + "logging: {level: info, format: text}\n")
    world.ask("/peer/tool/", fields=["X-Forwarded-For: 192.0.2.7"])
    assert b"X-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n" in world.origin.wires[-1].received
    world.ask("/health")
    assert not world.log_text.getvalue().splitlines()[-1].startswith("{")
    assert [listener._drain.grace for listener in world.gateway._listeners] == [3.0]
    assert world.reconfigure(CONFIG)
    world.log_text.seek(0)
    world.log_text.truncate()


# What does not change.


@pytest.mark.parametrize(
    "config",
    [
        "",
        "gateway: [",
        CONFIG + "ip_whitelist: {enabled: true, cidrs: [10.0.0.0/33]}\n",
        CONFIG[: len(CONFIG) // 2] + ": {",
        CONFIG + "unknown: 1\n",
        CONFIG + "portal: {credential_file: /nowhere/there.pem}\n",
    ],
)
def test_what_is_wrong_changes_nothing(world, config):
    tree, rules, now = (
        world.gateway.site.resource,
        world.gateway._rules,
        world.gateway.sources.now,
    )
    assert not world.reconfigure(config)
    assert world.gateway.site.resource is tree
    assert world.gateway._rules is rules
    assert world.gateway.sources.now is now
    world.ask("/peer/tool/")
    assert len(world.origin.wires) == 1
    assert world.gateway.reloads.results.failures == 1
    assert "test.yaml" in world.gateway.reloads.last_failure or "/nowhere" in (
        world.gateway.reloads.last_failure
    )


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (('"127.0.0.1:8080"', '"127.0.0.1:8081"'), "gateway.listen"),
        (("auth:", "metrics: {listen: '127.0.0.1:9000'}\nauth:"), "metrics.listen"),
    ],
)
def test_an_address_needs_a_restart_and_the_rest_holds(world, logged, change, key):
    assert world.reconfigure(OTHERS.replace(*change))
    assert code_of(world.ask("/peer/tool/")) == "invalid_api_key"
    told = f"test.yaml: {key} has changed, which needs a restart; all else is in use"
    assert [line for line in logged if "restart" in line] == [told]
    # It is said of each configuration that has it, and not of one that is as what runs.
    logged.clear()
    assert world.reconfigure(OTHERS)
    assert not any("restart" in line for line in logged)


RICH = (
    CONFIG.replace("  tool:\n", "  tool:\n    mcp: true\n    ip_allow: [127.0.0.0/8]\n")
    + """
lease_acl: {tool: [tester], "other-*": ["*"]}
ip_whitelist: {enabled: true, cidrs: [127.0.0.0/8]}
portal: {relays: [{url: "ws://127.0.0.1:4017/relay"}]}
rate_limit:
  global: {requests_per_second: 1000}
  per_key: {default: {requests_per_second: 1000}}
  per_lease: {tool: {requests_per_second: 1000}}
  failed_auth: {requests_per_second: 10}
websocket: {messages_per_second: 100}
"""
)


def test_what_was_replaced_leaves_no_cycle_behind():
    """The collector does not look at what is frozen, and a reload freezes."""
    world = Sockets(RICH)

    def counted():
        gc.unfreeze()
        kinds = (type(each) for each in gc.get_objects())
        return Counter(str(kind) for kind in kinds if "portal_gateway" in str(kind))

    world.ask("/peer/tool/")
    gc.collect()
    gc.disable()
    try:
        found = []
        for level in ("info", "debug", "info", "debug"):
            assert world.reconfigure(f"{RICH}logging: {{level: {level}}}\n")
            found.append(counted())
        assert found[-1] == found[0]
    finally:
        gc.enable()
    world.stop()
