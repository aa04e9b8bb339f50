"""Who gets where: the whole table of the rules, asked of a gateway that runs.

Each row is a request: a method, a key with its scopes and its place in ``lease_acl``, a lease, an
address. What must come of it is worked out here from the rules as they are written down in the
documentation; what did come of it is told by the gateway's answer, and by the services behind it,
which count the requests that arrived.
"""

import contextlib
import http.client
import json
from collections.abc import Iterator
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

import pytest

from portal_gateway.relay.credential_file import load_or_create_credential
from tests.integration import programs
from tests.integration.calls import Answer, Client

SCOPES = ("read", "write", "read write", "admin", "read write admin")

STATES = ("valid", "expired", "unknown", "missing")

PLACES = ("insider", "outsider", "lab")
"""Where a key stands in the rules; the lab's is an insider's that is used from there only."""

ADDRESSES = {
    "203.0.113.7": True,
    "203.0.113.200": True,
    "2001:db8::7": True,
    "192.0.2.1": False,
    "::ffff:198.51.100.1": False,
}
"""Where requests come from, and whether the gateway lets them in."""

LAB = "203.0.113.0/25"
IN_THE_LAB = {"203.0.113.7"}


class Method(NamedTuple):
    """A way to ask. ``calls`` is the method of the MCP message in the body, if that is one."""

    verb: str
    fields: dict[str, str]
    scope: str
    calls: str = ""


JSON = {"Content-Type": "application/json"}

METHODS = {
    "GET": Method("GET", {}, "read"),
    "HEAD": Method("HEAD", {}, "read"),
    "OPTIONS": Method("OPTIONS", {}, "read"),
    "POST": Method("POST", {}, "write"),
    "PUT": Method("PUT", {}, "write"),
    "PATCH": Method("PATCH", {}, "write"),
    "DELETE": Method("DELETE", {}, "write"),
    "PROPFIND": Method("PROPFIND", {}, "write"),
    "websocket": Method(
        "GET",
        {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
        "write",
    ),
    "override": Method("GET", {"X-HTTP-Method-Override": "DELETE"}, "write"),
    "tools/list": Method("POST", JSON, "write", "tools/list"),
    "tools/call": Method("POST", JSON, "write", "tools/call"),
}

LEASES = {
    # Rule, whether it speaks MCP, whether only the lab's addresses may reach it.
    "guarded": ("insider", False, False),
    "public-x": ("everybody", False, False),
    "closed": ("nobody", False, False),
    "tools": ("everybody", True, False),
    "lab": ("everybody", False, True),
    # One lease at a relay, in three ways.
    "Agent": ("insider", False, False),
    "AGENT": ("insider", False, False),
    "id": ("insider", False, False),
}


class Row(NamedTuple):
    """One request."""

    method: str
    state: str
    scopes: str
    place: str
    lease: str
    address: str


def rows() -> Iterator[Row]:
    valid = product(METHODS, ("valid",), SCOPES, PLACES, LEASES, ADDRESSES)
    others = product(METHODS, STATES[1:], SCOPES[:1], PLACES[:1], LEASES, ADDRESSES)
    return (Row(*row) for row in chain(valid, others))


def expected(row: Row) -> str:
    """The code of the refusal, or ``reaches``: the rules in the order of the guards."""
    rule, speaks_mcp, only_lab = LEASES[row.lease]
    method = METHODS[row.method]
    if not ADDRESSES[row.address]:
        return "address_not_allowed"
    if row.state != "valid":
        return {
            "expired": "expired_api_key",
            "unknown": "invalid_api_key",
            "missing": "missing_api_key",
        }[row.state]
    if row.place == "lab" and row.address not in IN_THE_LAB:
        return "address_not_allowed"
    scope = "read" if speaks_mcp and method.calls == "tools/list" else method.scope
    if not {scope, method.scope} & set(row.scopes.split()):
        return "insufficient_scope"
    if rule == "nobody" or (rule == "insider" and row.place == "outsider"):
        return "lease_access_denied"
    if only_lab and row.address not in IN_THE_LAB:
        return "address_not_allowed"
    return "reaches"


def key_id(scopes: str, place: str) -> str:
    return f"{place}-{scopes.replace(' ', '-')}"


def key_of(row: Row) -> str | None:
    if row.state == "missing":
        return None
    if row.state == "valid":
        return f"sk_test_{key_id(row.scopes, row.place)}_0123456789"
    return f"sk_test_{row.state}_0123456789"


def keys() -> list[dict[str, object]]:
    return [
        {
            "id": key_id(scopes, place),
            "key": key_of(Row("", "valid", scopes, place, "", "")),
            "scopes": scopes.split(),
            **({"ip_allow": [LAB]} if place == "lab" else {}),
        }
        for scopes, place in product(SCOPES, PLACES)
    ] + [{"id": "old", "key": "sk_test_expired_0123456789", "expires_at": "2025-01-01T00:00:00Z"}]


@pytest.fixture
def origin() -> Iterator[str]:
    """A service of this test's own: the one that all share would remember too many requests."""
    program, address = programs.origin()
    yield address
    program.stop()


def seen_by(address: str) -> set[str]:
    """The calls that arrived there; more than the client of the tests keeps of an answer."""
    with contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as connection:
        connection.request("GET", "/seen")
        return set(json.load(connection.getresponse())["calls"])


@pytest.fixture
def served(origin: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The gateway's address, and the id of the lease at its relay."""
    credential_file = tmp_path / "lease.pem"
    lease_id = load_or_create_credential(credential_file).identity.id
    insiders = [key_id(scopes, place) for scopes in SCOPES for place in ("insider", "lab")]
    with (
        programs.embedded_relay() as relay,
        programs.expose(relay, "Agent", origin, credential_file),
        programs.Gateway(
            {
                "gateway": {
                    "listen": "127.0.0.1:0",
                    "trusted_proxies": ["127.0.0.0/8"],
                },
                "auth": {"keys": keys()},
                "rate_limit": {"failed_auth": {"enabled": False}},
                "ip_whitelist": {"enabled": True, "cidrs": ["203.0.113.0/24", "2001:db8::/32"]},
                "portal": {"relays": [{"url": relay.url}]},
                "leases": {
                    "guarded": {"url": f"http://{origin}"},
                    "public-x": {"url": f"http://{origin}"},
                    "closed": {"url": f"http://{origin}"},
                    "tools": {"url": f"http://{origin}", "mcp": {"path": "/echo"}},
                    "lab": {"url": f"http://{origin}", "ip_allow": [LAB]},
                },
                "lease_acl": {
                    "guarded": insiders,
                    "agent": insiders,
                    "public-*": ["*"],
                    "t??ls": ["*"],
                    "lab": ["*"],
                },
            },
            tmp_path,
        ) as gateway,
    ):
        gateway.wait_ready()
        yield gateway.address, lease_id


def test_the_table(served: tuple[str, str], origin: str) -> None:
    address, lease_id = served
    wrong = []
    asked = 0
    reached = set()
    with Client(address) as client:
        for row in rows():
            method = METHODS[row.method]
            client.key = key_of(row)
            body = None
            if method.calls:
                message = {"jsonrpc": "2.0", "id": asked, "method": method.calls}
                body = json.dumps(message).encode()
            lease = lease_id if row.lease == "id" else row.lease
            answer = client.request(
                method.verb,
                f"/peer/{lease}/echo",
                body,
                fields={**method.fields, "X-Forwarded-For": row.address},
            )
            asked += 1
            told = "reaches" if answer.status == 200 else _code(answer, row)
            if told == "reaches":
                reached.add(answer.call)
            if told != expected(row):
                wrong.append((row, told, expected(row)))
    assert wrong == []
    assert asked > 4000
    # Not one request more arrived than the gateway says.
    assert seen_by(origin) == reached


def _code(answer: Answer, row: Row) -> str:
    """The code of a problem. HEAD is answered without one: its status has to do."""
    if METHODS[row.method].verb == "HEAD":
        code = expected(row)
        status = {"reaches": 200, "address_not_allowed": 403, "insufficient_scope": 403}
        status |= {"lease_access_denied": 403}
        return code if answer.status == status.get(code, 401) else str(answer.status)
    return str(answer.json["error"])


def test_every_outcome_is_in_the_table() -> None:
    outcomes = {expected(row) for row in rows()}
    assert outcomes == {
        "reaches",
        "address_not_allowed",
        "missing_api_key",
        "invalid_api_key",
        "expired_api_key",
        "insufficient_scope",
        "lease_access_denied",
    }
