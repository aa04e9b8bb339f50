"""Secrets that clients write where they do not belong: none is in the log, in whatever encoding."""

import json
import re

import pytest
from answers_world import CONFIG, OK, AnswersWorld

from tests.frontend.gateway_world import KEY, World, head_of
from tests.frontend.test_negotiation import ONE
from tests.observe.encodings_of_secrets import ENCODINGS, TOKEN
from tests.observe.encodings_of_secrets import KEY as GENERATED

PLAIN = "correct-horse-battery"
"""A key that looks like none."""

SECRETS = {"key": GENERATED, "token": TOKEN, "plain": PLAIN}

LOGGED = """
gateway:
  listen: "127.0.0.1:8080"
auth:
  keys: [{key: "%s", id: tester}, {key: "%s", id: plain}]
leases:
  tool: {url: "http://127.0.0.1:3000"}
logging: {query: true, format: %s}
"""

PLACES = {
    "the path": ("/peer/tool/{}", []),
    "the path of nobody": ("/{}", []),
    "the lease": ("/peer/{}/x", []),
    "the lease of a WebSocket": ("/ws/{}/x", []),
    "the query": ("/peer/tool/x?page={}", []),
    "the name of a parameter": ("/peer/tool/x?{}=1", []),
    "the user agent": ("/peer/tool/x", ["User-Agent: curl/8 {} x"]),
    "the referer": ("/peer/tool/x", ["Referer: https://a.example/{}"]),
    "a cookie": ("/peer/tool/x", ["Cookie: a={}"]),
    "the id": ("/peer/tool/x", ["X-Request-ID: {}"]),
    "a part of the id": ("/peer/tool/x", ["X-Request-ID: my-id:{}"]),
    "a trace": ("/peer/tool/x", ["traceparent: 00-{}"]),
    "a forwarded address": ("/peer/tool/x", ["X-Forwarded-For: {}"]),
    "another credential": ("/peer/tool/x", ["Proxy-Authorization: Basic {}"]),
    "a subprotocol": ("/ws/tool/x", ["Sec-WebSocket-Protocol: portal-key.{}"]),
    "the host": ("/peer/tool/x", ["X-Forwarded-Host: {}"]),
}


def forms_of(secret):
    return {name: encode(secret) for name, encode in ENCODINGS.items()}


def check(text, secret, encoded):
    assert secret not in text
    assert encoded not in text
    assert encoded[len(encoded) // 2 :] not in text


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("name", SECRETS)
def test_nowhere_in_no_encoding(name, style):
    secret = SECRETS[name]
    world = World(LOGGED % (KEY, PLAIN, style))
    asked = 0
    for encoded in forms_of(secret).values():
        for target, fields in PLACES.values():
            filled = [field.replace("{}", encoded) for field in fields]
            # As its own credential, and beside the good one of somebody else.
            keys = [secret] if name == "plain" else [secret, KEY]
            for key in keys:
                world.ask(target.replace("{}", encoded), key=key, fields=filled)
                asked += 1
    for encoded in forms_of(secret).values():
        # An unknown method is refused before the header is read, so only its look can tell.
        if name != "plain" and re.fullmatch("[0-9A-Za-z_.-]+", encoded):
            world.ask("/peer/tool/x", method=encoded, key=secret)
            asked += 1
    for wire in world.origin.wires:
        wire.transport.loseConnection()
    world.reactor.settle()
    told = world.log_text.getvalue()
    assert told.count("request_") - told.count("request_id") >= asked
    for encoded in forms_of(secret).values():
        check(told, secret, encoded)
    if style == "json":
        world.stop()
    else:
        world.gateway.stopService()
        world.reactor.advance(31)


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if "percent" not in name])
@pytest.mark.parametrize("client", ["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("name", SECRETS)
def test_an_id_that_is_a_secret_is_replaced_for_everybody(tmp_path, name, client, encoding):
    config = CONFIG.replace("keys: [", f'keys: [{{key: "{PLAIN}", id: plain}}, ', 1)
    world = AnswersWorld(ONE, tmp_path, config)
    encoded = ENCODINGS[encoding](SECRETS[name])
    key = PLAIN if name == "plain" else KEY
    ((status, fields),) = world.heads(
        client, "/peer/origin/x", OK, key=key, more=[("x-request-id", encoded)]
    )
    assert status == 200
    assert re.fullmatch(rb"req_[0-9a-f]{24}", dict(fields)[b"x-request-id"])
    (origin,) = world.origin.wires
    sent = dict(head_of(origin.received)[1])
    assert sent[b"X-Request-ID"] == dict(fields)[b"x-request-id"]
    check(origin.received.decode("latin-1"), SECRETS[name], encoded)
    check(world.log_text.getvalue(), SECRETS[name], encoded)
    world.stop()


@pytest.mark.parametrize(
    "offered",
    ["abc-1", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "a" * 128,
     "4bf92f3577b34da6a3ce929d0e0e4736", "req_0123456789abcdef01234567", "task_live_update_12345"],
)  # fmt: skip
def test_an_id_that_is_none_stays(offered):
    world = World(LOGGED % (KEY, PLAIN, "json"))
    world.ask("/peer/tool/x", fields=[f"X-Request-ID: {offered}"])
    world.ask("/peer/tool/x", key=PLAIN, fields=[f"X-Request-ID: {offered}"])
    for wire in world.origin.wires:
        assert f"X-Request-ID: {offered}\r\n".encode() in wire.received
        wire.send(OK)
    world.reactor.settle()
    lines = [line for line in world.stop() if "path" in line]
    assert [line["request_id"] for line in lines] == [offered] * 2


def test_a_problem_does_not_quote_an_id_that_is_a_secret():
    world = World(LOGGED % (KEY, PLAIN, "json"))
    wire = world.ask("/peer/tool/x", key="", fields=[f"X-Request-ID: {GENERATED}"])
    told = json.loads(head_of(wire.received)[2])
    assert told["error"] == "missing_api_key"
    assert GENERATED not in wire.received.decode()
    world.stop()
