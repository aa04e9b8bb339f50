"""Secrets planted wherever one can stand, and looked for in all that operators and callers see."""

import json
import socket
import subprocess
from http import HTTPStatus

import jwt
import pytest
import yaml

from portal_gateway.config.loading import load_config
from portal_gateway.config.report import describe
from tests.integration import programs
from tests.integration.calls import Client
from tests.observe.encodings_of_secrets import ENCODINGS

JWT_SECRET = "canary-jwt-secret-0123456789abcdef-0123456789"


def canary(name):
    """A secret; those that are to be known by their look begin as such do."""
    look = {"key": "sk_live_", "token": "eyJhbGciOiJub25lIn0."}.get(name.partition("-in-")[0], "")
    return f"{look}canary-{name}-7f3a91"


PLANTED = {
    name: canary(name)
    for name in (
        "file-key",
        "env-key",
        "expired-key",
        "admin-key",
        "wrong-key",
        "wrong-bearer",
        "subprotocol",
        "dsn-password",
        "redis-password",
        "cookie",
        "basic",
        "query",
        "fragment-of-path",
        "body",
        "answer-cookie",
        "referer",
        "acl-raw-key",
        "override-raw-key",
        "quota-raw-key",
        "key-in-path",
        "key-in-agent",
        "token-in-query",
        "proxy-authorization",
        "custom-header",
        "trailer",
    )
}
assert len(PLANTED) == 25


@pytest.fixture
def closed():
    """A port on which nobody answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def configuration(origin, closed):
    return {
        "gateway": {"listen": "127.0.0.1:0"},
        "auth": {
            "keys": {
                "list": [
                    {"id": "file", "key": PLANTED["file-key"], "scopes": ["read", "write"]},
                    {"id": "env", "key": "${CANARY_KEY}"},
                    {"id": "admin", "key": PLANTED["admin-key"], "scopes": ["admin"]},
                    {
                        "id": "expired",
                        "key": PLANTED["expired-key"],
                        "expires_at": "2020-01-01T00:00:00Z",
                    },
                ],
                "database": {"enabled": True},
            },
            "jwt": {
                "enabled": True,
                "secret": JWT_SECRET,
                "algorithm": "HS256",
                "claims": {"audience": "portal-gateway"},
            },
        },
        "database": {
            "driver": "postgres",
            "dsn": f"postgresql://gateway:{PLANTED['dsn-password']}@127.0.0.1:{closed}/gateway",
            "timeout": "500ms",
        },
        "leases": {
            "plain": {"url": f"http://{origin}"},
            "gone": {"url": f"http://127.0.0.1:{closed}"},
        },
        "lease_acl": {"*": [PLANTED["file-key"], PLANTED["acl-raw-key"], "env", "*"]},
        "rate_limit": {
            "global": {"requests_per_second": 1000, "burst": 1000},
            "per_key": {
                "default": {"requests_per_second": 1000, "burst": 1000},
                "overrides": {PLANTED["override-raw-key"]: {"requests_per_second": 1, "burst": 1}},
            },
            "storage": {
                "type": "redis",
                "redis": {"addr": f"127.0.0.1:{closed}", "password": PLANTED["redis-password"]},
            },
        },
        "quotas": {"monthly": {PLANTED["quota-raw-key"]: {"requests": 10}}},
        "logging": {"level": "debug", "query": True},
    }


ENVIRONMENT = {"CANARY_KEY": PLANTED["env-key"]}


ENCODED = [
    encode(PLANTED[name])
    for encode in ENCODINGS.values()
    for name in ("file-key", "key-in-path", "token-in-query")
]
"""Secrets by their look, and the one that the request carries, in every encoding."""


def texts_of_requests(address):
    """What callers get back for every way in which a secret can be sent."""
    token = jwt.encode({"sub": "a", "aud": "portal-gateway", "exp": 4e9}, JWT_SECRET)
    forged = jwt.encode({"sub": "a", "exp": 4e9}, canary("another-secret-0123456789-0123456789"))
    query = f"?token={PLANTED['query']}&api%5Fkey={PLANTED['query']}&q={PLANTED['token-in-query']}"
    ways = [
        {"X-API-Key": PLANTED["file-key"]},
        {"X-API-Key": PLANTED["env-key"]},
        {"X-API-Key": PLANTED["expired-key"]},
        {"X-API-Key": PLANTED["wrong-key"]},
        {"Authorization": f"Bearer {PLANTED['wrong-bearer']}"},
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"Bearer {forged}"},
        {"Authorization": f"Bearer {token}", "X-API-Key": PLANTED["file-key"]},
        {"Sec-WebSocket-Protocol": f"portal-key.{PLANTED['subprotocol']}"},
        {"X-API-Key": PLANTED["file-key"], "Authorization": f"Basic {PLANTED['basic']}"},
    ]
    always = {
        "Cookie": f"session={PLANTED['cookie']}",
        "Referer": f"https://a/{PLANTED['referer']}{query}",
        "User-Agent": f"curl/8 {PLANTED['key-in-agent']}",
        "Proxy-Authorization": f"Basic {PLANTED['proxy-authorization']}",
        "X-Auth-Token": PLANTED["custom-header"],
    }
    seen = []
    for lease in ("plain", "gone", "nobody"):
        for way in ways:
            with Client(address, f"/peer/{lease}") as client:
                answer = client.request(
                    "POST",
                    f"/missing{query}",
                    PLANTED["body"].encode(),
                    fields={**always, **way},
                )
            seen.append(answer)
    with Client(address) as client:
        cookie = PLANTED["answer-cookie"]
        target = f"/peer/plain/set-cookie?session={cookie}"
        given = client.request("GET", target, fields={**always, **ways[0]})
        assert given.fields["Set-Cookie"] == f"session={cookie}"
        lost = f"/peer/{PLANTED['key-in-path']}/{PLANTED['key-in-path']}{query}"
        seen.append(client.request("GET", lost, fields={**always, **ways[0]}))
        seen.append(client.request("GET", f"/whoami{query}", fields={**always, **ways[0]}))
        seen.append(client.request("GET", f"/nothing{query}", fields={**always, **ways[0]}))
        for encoded in ENCODED:
            spread = {"User-Agent": f"curl/8 {encoded}", "X-Request-ID": encoded}
            for target in (f"/peer/{encoded}/x", f"/peer/gone/{encoded}?page={encoded}"):
                fields = {**ways[0], **spread, "Referer": f"https://a/{encoded}"}
                seen.append(client.request("GET", target, fields=fields))
    return seen, [token, forged]


def test_no_secret_is_in_a_log_an_answer_or_a_report(configuration, tmp_path):
    with programs.Gateway(configuration, tmp_path, ENVIRONMENT) as gateway:
        answers, tokens = texts_of_requests(gateway.address)
        host, port = gateway.address.split(":")
        with socket.create_connection((host, int(port)), 10) as raw:
            raw.sendall(
                b"POST /peer/plain/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: %b\r\n"
                b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"1\r\nx\r\n0\r\nX-Checksum: %b\r\n\r\n"
                % (PLANTED["file-key"].encode(), PLANTED["trailer"].encode())
            )
            assert PLANTED["trailer"].encode() in b"".join(iter(lambda: raw.recv(65536), b""))
        # Broken on the wire, where errors quote what they saw.
        for broken in (b"GET /peer/plain/%b HTTP/9.9\r\n\r\n", b"X-API-Key: %b\r\n\r\n"):
            with socket.create_connection((host, int(port)), 10) as raw:
                raw.sendall(broken % PLANTED["fragment-of-path"].encode())
                answered = raw.recv(65536)
                assert PLANTED["fragment-of-path"].encode() not in answered
        with Client(gateway.address, key=PLANTED["admin-key"]) as client:
            metrics = client.request("GET", "/metrics").body.decode()
    statuses = {answer.status for answer in answers}
    assert {HTTPStatus.NOT_FOUND, HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE} <= (
        statuses
    )
    config = tmp_path / "gateway.yaml"
    validated = subprocess.run(
        programs.python("portal_gateway.cli", "validate", "--offline", "--config", config),
        env={**programs.python_path(), **ENVIRONMENT},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    loaded = load_config(config, ENVIRONMENT)
    ours = [answer for answer in answers if b'"error"' in answer.body]
    places = {
        "the log": "\n".join(gateway.lines),
        "metrics": metrics,
        "validate": validated.stdout + validated.stderr,
        "a repr": repr(loaded),
        "a description": "\n".join(describe(loaded)),
        "a problem": "\n".join(
            answer.body.decode("utf-8", "replace") + str(answer.fields) for answer in ours
        ),
    }
    assert len(ours) > 20
    assert 'lease_id="plain"' in metrics
    assert len(gateway.lines) > 30
    secrets = [
        *PLANTED.values(),
        *ENCODED,
        JWT_SECRET,
        *tokens,
        *(t.rpartition(".")[2] for t in tokens),
    ]
    found = [
        (where, secret) for where, text in places.items() for secret in secrets if secret in text
    ]
    assert found == []


def test_no_secret_is_in_a_traceback(configuration, tmp_path):
    """A defect at ``/whoami``, with every secret that a request can carry in its hands."""
    module = "tests.integration.run_defective"
    carried = [secret for name, secret in PLANTED.items() if "raw-key" not in name]
    key = PLANTED["file-key"]
    with programs.Gateway(configuration, tmp_path, ENVIRONMENT, module=module) as gateway:
        with Client(gateway.address, key=key) as client:
            answer = client.request(
                "GET",
                f"/whoami?token={PLANTED['query']}",
                fields={
                    "X-Request-ID": "req_defect",
                    **{f"X-Secret-{number}": secret for number, secret in enumerate(carried)},
                },
            )
        gateway.wait_for_line("error_type", count=6)
        lines = gateway.lines
        gateway.take_wrong()
    assert answer.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert answer.json["error"] == "internal_error"
    events = [json.loads(line) for line in lines if line.startswith("{")]
    told = [event for event in events if "error_type" in event]
    assert {event["message"] for event in told} == {
        "a resource failed",
        "a legacy event",
        "a library failed",
        "a thread failed",
        "Unhandled error",
    }
    for event in told:
        assert "run_defective.py" in event["traceback"]
        assert "***" in event["error_message"]
    (ours,) = [event for event in told if event["message"] == "a resource failed"]
    assert ours["request_id"] == "req_defect"
    (access,) = [event for event in events if event.get("path", "").startswith("/whoami")]
    assert access["request_id"] == "req_defect"
    assert access["error"] == "internal_error"
    shown = "\n".join(lines) + answer.body.decode() + str(answer.fields)
    assert [secret for secret in PLANTED.values() if secret in shown] == []


def test_faults_of_a_configuration_do_not_show_what_stands_in_the_wrong_place(
    configuration, tmp_path
):
    """Every string that is a secret, put where another kind of value belongs."""
    broken = json.loads(json.dumps(configuration))
    broken["auth"]["keys"]["list"][0]["scopes"] = PLANTED["file-key"]
    broken["auth"]["keys"]["list"][1] = PLANTED["env-key"]
    broken["auth"]["jwt"]["secret"] = {JWT_SECRET: JWT_SECRET}
    broken["rate_limit"]["storage"]["redis"]["tls"] = PLANTED["redis-password"]
    broken["database"]["dsn"] = f"mysql://a:{PLANTED['dsn-password']}@b/c"
    broken[PLANTED["wrong-key"]] = 1
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(broken), encoding="utf-8")
    file.chmod(0o640)
    done = subprocess.run(
        programs.python("portal_gateway.cli", "validate", "--offline", "--config", file),
        env={**programs.python_path(), **ENVIRONMENT},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1
    told = done.stdout + done.stderr
    assert told.count("gateway.yaml:") >= 5
    shown = [secret for secret in (*PLANTED.values(), JWT_SECRET) if secret in told]
    assert shown == []
