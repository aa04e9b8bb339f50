"""Made-up names at a relay by host, and a resolver that never answers for them."""

import http.client
import re
import socket
import time
from http import HTTPStatus

import pytest

from portal_gateway.relay.lookups import MAX_NEW_NAMES, MAX_OF_ONE, MOST_OF_ONE_WAITING
from tests.integration import programs

KEYS = {name: f"sk_test_{name}_0123456789abcdef" for name in ("low", "boss", "other")}

SCOPES = {"scopes": ["read", "admin"]}

PROMPT = 5.0
"""Seconds in which who is not to wait is answered, on a busy machine; a dial may take 10."""


@pytest.fixture
def gateway(origin, tmp_path):
    port = origin.rpartition(":")[2]
    gateway = programs.Gateway(
        {
            "auth": {"keys": [{"id": name, "key": key, **SCOPES} for name, key in KEYS.items()]},
            "portal": {"relays": [{"url": f"http://{{lease}}.made-up.test:{port}"}]},
            "leases": {"tool": {"url": f"http://tool.test:{port}"}},
        },
        tmp_path,
        module="tests.integration.run_silent_resolver",
    )
    yield gateway
    assert gateway.stop() == 0


def made_up(gateway, key, start, count):
    """Connections, each of which asks for another name and waits."""
    host, _, port = gateway.address.rpartition(":")
    clients = []
    for number in range(start, start + count):
        client = socket.create_connection((host, int(port)), timeout=30)
        client.sendall(
            f"GET /peer/n{number}/ HTTP/1.1\r\nHost: h\r\nX-API-Key: {KEYS[key]}\r\n\r\n".encode()
        )
        clients.append(client)
    return clients


def looked_up(gateway):
    return [
        found[1] for line in gateway.lines if (found := re.search(r"a thread looks up (\S+)", line))
    ]


def ask_tool(gateway, key):
    """The status of a request to an origin by its name, on a connection that is dialled for it."""
    client = http.client.HTTPConnection(gateway.address, timeout=30)
    start = time.monotonic()
    client.request("GET", "/peer/tool/echo", headers={"X-API-Key": KEYS[key]})
    status = client.getresponse().status
    client.close()
    return status, time.monotonic() - start


def hits(gateway):
    client = http.client.HTTPConnection(gateway.address, timeout=30)
    client.request("GET", "/metrics", headers={"X-API-Key": KEYS["other"]})
    page = client.getresponse().read().decode()
    client.close()
    found = re.search(r'^portal_gateway_limit_hits_total\{limit="lookups"\} (\S+)$', page, re.M)
    return float(found[1])


def test_made_up_names_stop_nobody_elses_dials(gateway):
    clients = made_up(gateway, "low", 0, 60)
    programs.wait_until(lambda: len(looked_up(gateway)) >= MAX_OF_ONE, 10, "the look-ups")
    for key in ("boss", "low"):
        status, taken = ask_tool(gateway, key)
        assert (status, taken < PROMPT) == (HTTPStatus.OK, True), taken
    assert len(looked_up(gateway)) == MAX_OF_ONE
    # A name of another key has a place, and a third key has to wait.
    clients += made_up(gateway, "boss", 1000, 3)
    programs.wait_until(lambda: len(looked_up(gateway)) == MAX_NEW_NAMES, 10, "another's look-up")
    assert looked_up(gateway)[-1].startswith("n100")
    clients += made_up(gateway, "low", 100, MOST_OF_ONE_WAITING)
    programs.wait_until(lambda: hits(gateway) >= 1, 10, "a refusal")
    # Who gave up has left the line, and the threads are still used.
    for client in clients:
        client.close()
    assert len(looked_up(gateway)) == MAX_NEW_NAMES
    status, taken = ask_tool(gateway, "other")
    assert (status, taken < PROMPT) == (HTTPStatus.OK, True), taken
