"""Leases with hosts of their own, and what is rewritten for those that have none."""

import json

import pytest
from gateway_world import CONFIG, KEY, World, head_of

HOSTS = CONFIG.replace('listen: "127', 'lease_host: "{lease}.gw.example.com"\n  listen: "127')

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def world():
    world = World(HOSTS)
    yield world
    world.stop()


def send(world, target, host, *, method="GET", key=KEY, fields=(), version="1.1"):
    wire = world.connect()
    lines = [f"{method} {target} HTTP/{version}", *fields]
    if host is not None:
        lines.insert(1, f"Host: {host}")
    if key:
        lines.append(f"X-API-Key: {key}")
    wire.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
    world.reactor.settle()
    return wire


def problem(wire):
    return json.loads(head_of(wire.received)[2])["error"]


@pytest.mark.parametrize(
    "host",
    [
        "tool.gw.example.com",
        "tool.gw.example.com:8443",
        "TOOL.gw.Example.com",
        "tool.gw.example.com.",
        "tool.gw.example.com.:80",
    ],
)
def test_a_host_leads_to_its_lease_without_a_prefix(world, host):
    wire = send(world, "/a%2Fb/?x=1", host)
    (origin,) = world.origin.wires
    first, fields, _ = head_of(origin.received)
    assert first == b"GET /a%2Fb/?x=1 HTTP/1.1"
    assert fields[0] == (b"Host", host.encode())
    assert b"X-Forwarded-Prefix" not in dict(fields)
    assert KEY.encode() not in origin.received
    origin.send(OK)
    world.reactor.settle()
    assert wire.received.endswith(b"\r\n\r\nok")


def test_the_log_names_the_lease(world):
    send(world, "/", "tool.gw.example.com", key="")
    lines = [json.loads(line) for line in world.log_text.getvalue().splitlines()]
    assert [line["lease_id"] for line in lines if "lease_id" in line] == ["tool"]


def test_a_label_is_read_as_idna(world):
    send(world, "/", "xn--bj0bj06e.gw.example.com")
    (origin,) = world.origin.wires
    assert origin.received.startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "target", ["/health", "/health/ready", "/peer/other/x", "/ws/a", "//", "/"]
)
def test_every_path_is_the_leases(world, target):
    send(world, target, "tool.gw.example.com")
    (origin,) = world.origin.wires
    assert origin.received.startswith(f"GET {target} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize("key", ["", "sk_live_wrong", "sk_live_old"])
def test_the_guards_are_the_same(world, key):
    wire = send(world, "/", "tool.gw.example.com", key=key)
    assert wire.received.startswith(b"HTTP/1.1 401 ")
    assert world.origin.wires == []


@pytest.mark.parametrize("host", ["gw.example.com", "gw.example:8080", "127.0.0.1", "[::1]:80"])
def test_other_hosts_are_the_gateways(world, host):
    assert send(world, "/health", host, key="").received.startswith(b"HTTP/1.1 200 OK")
    send(world, "/peer/tool/x", host)
    (origin,) = world.origin.wires
    assert origin.received.startswith(b"GET /x HTTP/1.1\r\n")
    assert b"\r\nX-Forwarded-Prefix: /peer/tool\r\n" in origin.received


def test_a_request_without_a_host_is_the_gateways(world):
    assert send(world, "/health", None, key="", version="1.0").received.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("a.tool.gw.example.com", "lease_not_found"),
        (".gw.example.com", "lease_not_found"),
        ("nobody_there.gw.example.com", "lease_not_found"),
        ("no~body.gw.example.com", "lease_not_found"),
        ("xn--a.gw.example.com", "lease_not_found"),
        ("nobody.gw.example.com", "lease_not_found"),
        ("tool.gw.example.com@evil.example", "bad_request"),
        ("evil.example/.gw.example.com", "bad_request"),
        ("tool.gw.example.com:x", "bad_request"),
        ("tool.gw.example.com, gw.example.com", "bad_request"),
        ("tool%2egw.example.com", "bad_request"),
        ("", "bad_request"),
    ],
)
def test_hosts_that_name_no_lease(world, host, code):
    wire = send(world, "/health", host)
    assert problem(wire) == code
    assert world.origin.wires == []


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("http://tool.gw.example.com/x", "gw.example.com"),
        ("HTTPS://Tool.gw.example.com:444/x", "other.gw.example.com"),
    ],
)
def test_the_host_of_an_absolute_target_wins(world, target, host):
    send(world, target, host)
    (origin,) = world.origin.wires
    assert origin.received.startswith(b"GET /x HTTP/1.1\r\n")
    assert b"ool.gw.example.com" in head_of(origin.received)[1][0][1]


def test_an_absolute_target_for_the_gateway_does_not_reach_the_lease_of_the_host(world):
    wire = send(world, "http://gw.example.com/health", "tool.gw.example.com", key="")
    assert wire.received.startswith(b"HTTP/1.1 200 OK")
    assert world.origin.wires == []


@pytest.mark.parametrize("target", ["/../x", "/a/%2e%2e/../x", "/a%00", "/..%2fx", "/%5c..%5c"])
def test_paths_are_held_to_what_they_are_below_peer(world, target):
    assert problem(send(world, target, "tool.gw.example.com")) == "invalid_path"
    assert world.origin.wires == []


ANSWER = (
    b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Location: http://gw.example:8080/y\r\n"
    b"Refresh: 5; url=/z\r\nSet-Cookie: a=1; Path=/\r\nset-cookie: b=2; Domain=gw.example\r\n"
    b"Service-Worker-Allowed: /\r\nLink: </l>\r\nContent-Length: 0\r\n\r\n"
)


def answer(world, wire):
    world.origin.wires[0].send(ANSWER)
    world.reactor.settle()
    return head_of(wire.received)[1][:-6]


def test_below_peer_places_are_rewritten_in_order(world):
    assert answer(world, world.ask("/peer/tool/")) == [
        (b"Location", b"/peer/tool/x"),
        (b"Content-Location", b"/peer/tool/y"),
        (b"Refresh", b"5; url=/peer/tool/z"),
        (b"Set-Cookie", b"a=1; Path=/peer/tool/"),
        (b"set-cookie", b"b=2"),
        (b"Link", b"</peer/tool/l>"),
    ]


def test_the_prefix_is_the_one_that_the_client_wrote(world):
    fields = answer(world, world.ask("/peer/%ED%95%9c%EA%B8%80/"))
    assert fields[0] == (b"Location", b"/peer/%ED%95%9c%EA%B8%80/x")


def test_at_the_host_of_a_lease_nothing_is_rewritten(world):
    fields = answer(world, send(world, "/", "tool.gw.example.com"))
    assert fields == [
        (b"Location", b"/x"),
        (b"Content-Location", b"http://gw.example:8080/y"),
        (b"Refresh", b"5; url=/z"),
        (b"Set-Cookie", b"a=1; Path=/"),
        (b"set-cookie", b"b=2; Domain=gw.example"),
        (b"Service-Worker-Allowed", b"/"),
        (b"Link", b"</l>"),
    ]


def test_a_lease_may_do_without():
    world = World(HOSTS.replace('3000"', '3000"\n    rewrite: false', 1))
    fields = answer(world, world.ask("/peer/tool/"))
    assert (b"Location", b"/x") in fields
    assert (b"Set-Cookie", b"a=1; Path=/") in fields
    assert b"Service-Worker-Allowed" not in dict(fields)
    world.stop()


def test_a_host_header_is_what_the_lease_gets_and_what_it_means_by_itself():
    world = World(HOSTS.replace('3000"', '3000"\n    host_header: "Tool.example:81"', 1))
    wire = world.ask("/peer/tool/")
    (origin,) = world.origin.wires
    assert head_of(origin.received)[1][0] == (b"Host", b"Tool.example:81")
    assert b"\r\nX-Forwarded-Host: gw.example:8080\r\n" in origin.received
    origin.send(
        b"HTTP/1.1 302 Found\r\nLocation: https://tool.EXAMPLE:81/x\r\nContent-Length: 0\r\n\r\n"
    )
    world.reactor.settle()
    assert b"\r\nLocation: /peer/tool/x\r\n" in wire.received
    world.stop()
