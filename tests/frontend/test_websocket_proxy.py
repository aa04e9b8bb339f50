"""Opening handshakes: what goes up, what comes down, and who is refused before any dial."""

import json

import pytest
from twisted.logger import globalLogPublisher
from websocket_world import (
    CLIENT_KEY,
    CLOSE,
    CONFIG,
    KEY,
    PING,
    TEXT,
    Frame,
    Side,
    Sockets,
    accept_of,
    deflated,
    frame,
    head_of,
    inflated,
)

from portal_gateway.frontend.websocket_ends import ClientEnd

UPGRADE = ["Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {CLIENT_KEY}"]


@pytest.fixture
def world():
    world = Sockets()
    yield world
    world.stop()


def problem(wire):
    first, fields, body = head_of(wire.received)
    return int(first.split()[1]), json.loads(body)["error"], dict(fields)


def test_the_lease_gets_an_opening_of_its_own_with_what_is_the_client_s(world):
    wire = world.ask_upgrade(
        "/peer/tool/chat?room=%20&x",
        fields=[
            "Origin: https://app.example",
            "Cookie: a=1",
            "X-Custom: yes",
            "Authorization: Basic dTpw",
            "Sec-WebSocket-Protocol: chat.v2, chat.v1",
            "Sec-WebSocket-Extensions: x-unknown; a=1",
            "X-Forwarded-For: 203.0.113.9",
            "User-Agent: t",
            "X-Request-ID: abc-1",
        ],
    )
    (origin,) = world.origin.wires
    first, fields, rest = head_of(origin.received)
    assert (first, rest) == (b"GET /chat?room=%20&x HTTP/1.1", b"")
    named = dict(fields)
    key = named.pop(b"Sec-WebSocket-Key")
    assert key != CLIENT_KEY.encode()
    assert named == {
        b"Host": b"gw.example:8080",
        b"Origin": b"https://app.example",
        b"Cookie": b"a=1",
        b"X-Custom": b"yes",
        b"Authorization": b"Basic dTpw",
        b"User-Agent": b"t",
        b"Via": b"1.1 portal-gateway",
        b"X-Forwarded-For": b"127.0.0.1",
        b"X-Forwarded-Proto": b"http",
        b"X-Forwarded-Host": b"gw.example:8080",
        b"X-Forwarded-Prefix": b"/peer/tool",
        b"Forwarded": b'for=127.0.0.1;host="gw.example:8080";proto=http',
        b"X-Request-ID": b"abc-1",
        b"Upgrade": b"websocket",
        b"Connection": b"Upgrade",
        b"Sec-WebSocket-Version": b"13",
        b"Sec-WebSocket-Protocol": b"chat.v2, chat.v1",
    }
    assert len(fields) == len(named) + 1
    assert wire.received == b""
    world.accept(
        fields=[
            b"Sec-WebSocket-Protocol: chat.v1",
            b"Set-Cookie: s=1",
            b"Set-Cookie: t=\xc3\xa9",
            b"Server: lease",
            b"Via: 1.1 inner",
            b"Keep-Alive: 5",
        ]
    )
    first, fields, rest = head_of(wire.received)
    assert (first, rest) == (b"HTTP/1.1 101 Switching Protocols", b"")
    assert sorted(fields) == [
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", accept_of(CLIENT_KEY.encode())),
        (b"Sec-WebSocket-Protocol", b"chat.v1"),
        (b"Server", b"lease"),
        (b"Set-Cookie", b"s=1"),
        (b"Set-Cookie", b"t=\xc3\xa9"),
        (b"Upgrade", b"WebSocket"),
        (b"Via", b"1.1 inner, 1.1 portal-gateway"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"X-Frame-Options", b"DENY"),
        (b"X-Request-ID", b"abc-1"),
        (b"X-XSS-Protection", b"1; mode=block"),
    ]


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("/ws/tool/chat?x=1", b"GET /chat?x=1 HTTP/1.1"),
        ("/ws/tool", b"GET / HTTP/1.1"),
        ("/peer/tool?x=1", b"GET /?x=1 HTTP/1.1"),
        ("/ws/tool/", b"GET / HTTP/1.1"),
    ],
)
def test_both_prefixes_lead_to_the_lease_and_a_missing_slash_is_forgiven(world, target, seen):
    world.open(target=target)
    first, fields, _ = head_of(world.origin.wires[0].received)
    assert first == seen
    prefix = target.partition("?")[0].rstrip("/").removesuffix("/chat").encode()
    assert dict(fields)[b"X-Forwarded-Prefix"] == prefix


def test_names_and_options_are_compared_without_case(world):
    wire = world.ask_upgrade(
        replaced={"Upgrade": "h2c, WebSocket", "Connection": "keep-alive, upgrade"}
    )
    world.accept()
    assert wire.received.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("replaced", "status", "code"),
    [
        ({"Sec-WebSocket-Version": "12"}, 426, "upgrade_required"),
        ({"Sec-WebSocket-Version": None}, 426, "upgrade_required"),
        ({"Sec-WebSocket-Version": "013"}, 426, "upgrade_required"),
        ({"Sec-WebSocket-Version": "13, 8"}, 426, "upgrade_required"),
        ({"Sec-WebSocket-Key": None}, 400, "bad_request"),
        ({"Sec-WebSocket-Key": ""}, 400, "bad_request"),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400, "bad_request"),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=!"}, 400, "bad_request"),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZSEh"}, 400, "bad_request"),
        ({"Connection": None}, 400, "bad_request"),
        ({"Connection": "close"}, 400, "bad_request"),
        ({"Content-Length": "1"}, 400, "bad_request"),
        ({"Sec-WebSocket-Protocol": "a, a"}, 400, "bad_request"),
        ({"Sec-WebSocket-Protocol": "a b"}, 400, "bad_request"),
        ({"Sec-WebSocket-Protocol": ",".join(map(str, range(33)))}, 400, "bad_request"),
    ],
)
def test_a_bad_opening_is_refused_before_anything_is_dialled(world, replaced, status, code):
    wire = world.ask_upgrade(replaced=replaced)
    found, error, fields = problem(wire)
    assert (found, error) == (status, code)
    if status == 426:
        assert fields[b"Sec-WebSocket-Version"] == b"13"
    assert world.origin.wires == []


def test_a_key_is_sent_once(world):
    wire = world.ask_upgrade(fields=[f"Sec-WebSocket-Key: {CLIENT_KEY}"])
    assert problem(wire)[:2] == (400, "bad_request")
    assert world.origin.wires == []


def test_open_ones_are_counted_and_their_bytes_while_they_are_open(world):
    client, lease = world.open()
    site = world.gateway.site
    client.send((TEXT, b"a question"))
    (exchange,) = site.under_way
    assert site.websockets == 1
    assert exchange.bytes_in > len(b"a question")
    client.wire.transport.loseConnection()
    world.reactor.settle()
    lease.wire.transport.loseConnection()
    world.reactor.settle()
    assert site.websockets == 0
    assert list(site.under_way) == []


def test_only_get_opens_one(world):
    wire = world.ask("/peer/tool/", method="POST", fields=["Upgrade: websocket", *UPGRADE])
    assert problem(wire)[:2] == (400, "bad_request")
    assert world.origin.wires == []


@pytest.mark.parametrize("upgrade", [[], ["Upgrade: h2c", "Connection: Upgrade"]])
def test_other_requests_below_ws_are_told_what_it_is_for(world, upgrade):
    wire = world.ask("/ws/tool/", fields=upgrade)
    status, error, fields = problem(wire)
    assert (status, error) == (426, "upgrade_required")
    assert fields[b"Upgrade"] == b"websocket"
    assert fields[b"Connection"] == b"Upgrade"
    assert world.origin.wires == []
    again = world.ask("/ws/tool/", wire=wire)
    assert again.received.count(b"HTTP/1.1 426 ") == 2


def test_http_1_0_knows_no_upgrade(world):
    wire = world.connect()
    wire.send(
        b"GET /peer/tool/ HTTP/1.0\r\nHost: h\r\nX-API-Key: %b\r\nUpgrade: websocket\r\n%b\r\n\r\n"
        % (KEY.encode(), "\r\n".join(UPGRADE).encode())
    )
    world.reactor.settle()
    assert b"pgrade" not in world.origin.wires[0].received


# Who may.


@pytest.mark.parametrize(
    ("key", "fields", "status", "code"),
    [
        ("", [], 401, "missing_api_key"),
        ("wrong", [], 401, "invalid_api_key"),
        ("sk_live_old", [], 401, "expired_api_key"),
        ("", ["Sec-WebSocket-Protocol: portal-key.wrong"], 401, "invalid_api_key"),
        ("", ["Sec-WebSocket-Protocol: portal-key."], 401, "invalid_api_key"),
        (KEY, ["Sec-WebSocket-Protocol: portal-key.other"], 400, "ambiguous_credentials"),
        (
            "",
            [f"Sec-WebSocket-Protocol: portal-key.{KEY}, portal-key.other"],
            400,
            "ambiguous_credentials",
        ),
    ],
)
def test_without_a_good_key_nothing_is_dialled(world, key, fields, status, code):
    for target in ("/peer/tool/", "/ws/tool/"):
        wire = world.ask_upgrade(target, key=key, fields=fields)
        assert problem(wire)[:2] == (status, code)
    assert world.origin.wires == []


def test_a_browser_s_key_among_its_subprotocols_stays_here(world):
    wire = world.ask_upgrade(
        key="", fields=[f"Sec-WebSocket-Protocol: chat.v1, portal-key.{KEY}, chat.v2"]
    )
    origin = world.accept(fields=[b"Sec-WebSocket-Protocol: chat.v2"])
    assert b"Sec-WebSocket-Protocol: chat.v1, chat.v2\r\n" in origin.received
    assert KEY.encode() not in origin.received
    assert b"Sec-WebSocket-Protocol: chat.v2\r\n" in wire.received
    assert KEY not in world.log_text.getvalue()


def test_a_browser_that_offers_only_its_key_has_it_confirmed(world):
    """Browsers drop a connection whose answer chooses none of what they offered."""
    wire = world.ask_upgrade(key="", fields=[f"Sec-WebSocket-Protocol: portal-key.{KEY}"])
    origin = world.accept()
    assert b"Sec-WebSocket-Protocol" not in origin.received
    assert b"Sec-WebSocket-Protocol: portal-key.%b\r\n" % KEY.encode() in wire.received


def test_a_lease_that_chooses_none_of_several_leaves_it_at_that(world):
    wire = world.ask_upgrade(key="", fields=[f"Sec-WebSocket-Protocol: a, portal-key.{KEY}"])
    world.accept()
    assert wire.received.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Protocol" not in wire.received


def test_a_plain_request_with_a_key_there_does_not_pass_it_on_either(world):
    world.ask("/peer/tool/", key="", fields=[f"Sec-WebSocket-Protocol: portal-key.{KEY}, b"])
    assert b"Sec-WebSocket-Protocol: b\r\n" in world.origin.wires[0].received
    assert KEY.encode() not in world.origin.wires[0].received


# Leases that do not want one.


@pytest.mark.parametrize(
    "status", [b"200 OK", b"401 No", b"404 Not Found", b"426 Upgrade Required"]
)
def test_another_answer_is_passed_on_and_the_connections_go_on(world, status):
    wire = world.ask_upgrade()
    (origin,) = world.origin.wires
    origin.send(b"HTTP/1.1 %b\r\nWWW-Authenticate: Basic\r\nContent-Length: 4\r\n\r\nbody" % status)
    world.reactor.settle()
    assert wire.received.startswith(b"HTTP/1.1 %b\r\n" % status)
    assert b"WWW-Authenticate: Basic\r\n" in wire.received
    assert wire.received.endswith(b"\r\n\r\nbody")
    wire.received = b""
    world.ask("/peer/tool/next", wire=wire)
    assert len(world.origin.wires) == 1
    origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    world.reactor.settle()
    assert wire.received.endswith(b"ok")


def test_what_was_sent_behind_an_opening_that_failed_is_a_request_and_not_tunnelled(world):
    smuggled = b"GET /peer/tool/secret HTTP/1.1\r\nHost: h\r\n\r\n"
    wire = world.ask_upgrade(rest=smuggled)
    (origin,) = world.origin.wires
    before = origin.received
    origin.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    world.reactor.settle()
    assert origin.received == before
    assert b"HTTP/1.1 401 " in wire.received


def test_what_was_sent_behind_an_opening_that_succeeds_waits_for_the_101(world):
    wire = world.ask_upgrade(rest=frame(TEXT, b"early", mask=True))
    (origin,) = world.origin.wires
    assert origin.received.endswith(b"\r\n\r\n")
    lease = Side(world, origin, is_client=False)
    world.accept(rest=frame(TEXT, b"with the 101"))
    assert lease.frames == [Frame(TEXT, b"early")]
    assert wire.received.endswith(frame(TEXT, b"with the 101"))


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        (
            b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        ),
        (
            b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n"
        ),
        b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n",
        b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n\r\n",
        (
            b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: never\r\n\r\n"
        ),
        (
            b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        ),
        (
            b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Extensions: \xff\r\n\r\n"
        ),
        b"nonsense\r\n\r\n",
    ],
)
def test_a_101_that_is_no_websocket_s_is_502(world, head):
    wire = world.ask_upgrade(rest=frame(TEXT, b"secret", mask=True))
    (origin,) = world.origin.wires
    _, fields, _ = head_of(origin.received)
    if b"%b" in head:
        head = head % accept_of(dict(fields)[b"Sec-WebSocket-Key"])
    before = origin.received
    origin.send(head)
    world.reactor.settle()
    assert wire.received.startswith(b"HTTP/1.1 502 ")
    assert b"upstream_protocol_error" in wire.received
    assert origin.lost is not None
    assert origin.received == before


def test_a_lease_that_is_not_there():
    world = Sockets(origin=False)
    wire = world.ask_upgrade()
    assert problem(wire)[:2] == (503, "lease_offline")
    world.stop()


def test_an_unknown_lease(world):
    assert problem(world.ask_upgrade("/ws/nobody/"))[:2] == (404, "lease_not_found")


def test_a_lease_that_does_not_answer_in_time(world):
    wire = world.ask_upgrade()
    world.reactor.advance(9.9)
    assert wire.received == b""
    world.reactor.advance(0.2)
    assert problem(wire)[:2] == (504, "upstream_timeout")
    assert world.origin.wires[0].lost is not None


def test_a_client_that_leaves_before_the_101_ends_it_at_the_lease(world):
    wire = world.ask_upgrade()
    wire.transport.loseConnection()
    world.reactor.settle()
    assert world.origin.wires[0].lost is not None


def test_a_lease_that_hangs_up_before_it_answers(world):
    wire = world.ask_upgrade()
    world.origin.wires[0].transport.loseConnection()
    world.reactor.settle()
    assert problem(wire)[:2] == (502, "upstream_closed")


def test_a_defect_of_ours_leaves_no_connection_open(world, monkeypatch):
    def fail(*_arguments):
        raise RuntimeError("a defect")

    monkeypatch.setattr(ClientEnd, "accept", fail)
    wire = world.ask_upgrade()
    origin = world.accept()
    assert wire.received == b""
    assert wire.lost is not None
    assert origin.lost is not None


def test_a_defect_while_a_websocket_is_read_is_told_with_the_id_of_its_request(world, monkeypatch):
    def fail(*_arguments):
        raise RuntimeError("a defect")

    client, lease = world.open(client_fields=["X-Request-ID: abc-2"])
    monkeypatch.setattr(ClientEnd, "_dataReceived", fail)
    heard = []
    globalLogPublisher.addObserver(heard.append)
    try:
        client.send((PING, b"x"))
    finally:
        globalLogPublisher.removeObserver(heard.append)
    assert client.frames[-1].opcode == CLOSE
    assert lease.frames[-1].opcode == CLOSE
    (event,) = [event for event in heard if "log_failure" in event]
    assert event["request_id"] == "abc-2"


# permessage-deflate (RFC 7692).

OFFER = "Sec-WebSocket-Extensions: permessage-deflate"


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("", b"client_no_context_takeover"),
        ("; client_max_window_bits", b"client_no_context_takeover"),
        (
            "; server_no_context_takeover; server_max_window_bits=10",
            b"server_no_context_takeover; server_max_window_bits=10; client_no_context_takeover",
        ),
        ("; server_max_window_bits=99, permessage-deflate", b"client_no_context_takeover"),
    ],
)
def test_each_side_has_its_own_compression(world, offer, answer):
    wire = world.ask_upgrade(fields=[OFFER + offer])
    origin = world.accept()
    assert (
        b"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; "
        b"client_max_window_bits; server_no_context_takeover\r\n" in origin.received
    )
    assert b"Sec-WebSocket-Extensions: permessage-deflate; %b\r\n" % answer in wire.received


@pytest.mark.parametrize("offer", ["; server_max_window_bits=99", "; x=1", "-frame", "; a=1; a=1"])
def test_an_offer_that_is_not_valid_is_declined(world, offer):
    wire = world.ask_upgrade(fields=[OFFER + offer])
    origin = world.accept()
    assert b"Extensions" not in origin.received
    assert wire.received.startswith(b"HTTP/1.1 101 ")
    assert b"Extensions" not in wire.received


def test_compression_can_be_switched_off():
    world = Sockets(CONFIG + "websocket:\n  compression: false\n")
    wire = world.ask_upgrade(fields=[OFFER])
    origin = world.accept()
    assert b"Extensions" not in origin.received
    assert b"Extensions" not in wire.received
    world.stop()


def test_a_compressed_message_is_compressed_on_both_sides(world):
    client, lease = world.open_deflated()
    text = b"again and again and " * 20
    for _ in range(2):
        client.send(Frame(TEXT, deflated(text), rsv=4))
        (seen,) = lease.frames
        assert (seen.fin, seen.rsv, inflated(seen.payload)) == (True, 4, text)
        lease.send(Frame(TEXT, text))
        assert client.frames == [Frame(TEXT, text)]
    lease.send(Frame(TEXT, deflated(b""), rsv=4))
    (seen,) = client.frames
    assert (seen.rsv, seen.payload) == (4, b"\x00")


def test_only_one_side_may_have_it(world):
    client, lease = world.open(client_fields=[OFFER])
    text = b"x" * 1000
    client.send(Frame(TEXT, deflated(text), rsv=4))
    assert lease.frames == [Frame(TEXT, text)]
    lease.send(Frame(TEXT, text), Frame(TEXT, b"short"))
    long, short = client.frames
    assert (long.rsv, inflated(long.payload)) == (4, text)
    assert short == Frame(TEXT, b"short")


def test_the_fragments_of_a_compressed_message_are_there_at_once(world):
    client, lease = world.open_deflated()
    packed = deflated(b"first part, " * 10 + b"second part")
    client.send(Frame(TEXT, packed[:-4], fin=False, rsv=4))
    (first,) = lease.frames
    assert (first.opcode, first.fin, first.rsv) == (TEXT, False, 4)
    assert inflated(first.payload[:-4]).startswith(b"first part")
    client.send(Frame(0, packed[-4:]))
    (last,) = lease.frames
    assert (last.opcode, last.fin, last.rsv) == (0, True, 0)
    assert inflated(first.payload + last.payload) == b"first part, " * 10 + b"second part"
