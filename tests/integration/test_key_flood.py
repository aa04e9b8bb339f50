"""Random keys over many connections of one address, and good keys that were not asked for yet."""

import http.client
import json
import os
import statistics
import subprocess
import time
from http import HTTPStatus

import pytest

from portal_gateway.config.database import DatabaseSection
from portal_gateway.config.model import key_digest
from portal_gateway.policy.api_key_text import key_text
from portal_gateway.store.api_key_rows import StoredKey, insert_key
from portal_gateway.store.database import Database
from portal_gateway.testing.threads import NoThreads
from tests.integration import programs
from tests.integration.conftest import missing

CONNECTIONS = 1_500
GOOD_KEYS = 60

WITHIN = 0.25
"""Seconds for a good key of another address, as a rule; on a machine that others use, too."""


class Flood:
    """The program, for as long as the test has it."""

    def __init__(self, address, connections, source):
        module = programs.python(
            "tests.integration.run_key_flood", address, str(connections), source
        )
        self._process = subprocess.Popen(
            module,
            env=programs.python_path(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def __enter__(self):
        assert self._process.stdout.readline() == "all are connected\n"
        return self

    def __exit__(self, *_):
        self.statuses = json.loads(self._process.communicate(timeout=30)[0])


@pytest.fixture(params=["sqlite", "postgres"])
def gateway(request, origin, tmp_path):
    """With the good keys in its database."""
    if request.param == "sqlite":
        server = None
        written = {"file": str(tmp_path / "state.sqlite")}
        section = DatabaseSection(file=tmp_path / "state.sqlite")
    else:
        if programs.postgres_tool("initdb") is None:
            missing("there is no PostgreSQL server")
        server = programs.Postgres()
        dsn = server.dsn()
        written = {"driver": "postgres", "dsn": dsn}
        section = DatabaseSection("postgres", dsn=dsn)
    database = Database(section, NoThreads())
    secrets = [key_text(number.to_bytes(32)) for number in range(1, GOOD_KEYS + 1)]

    def insert(connection):
        for number, secret in enumerate(secrets):
            key = StoredKey(f"key_{number}", "", frozenset({"read"}), "", None, 1)
            insert_key(connection, key, key_digest(secret.encode()))

    database.run_here(insert)
    database.close()
    gateway = programs.Gateway(
        {
            "database": written,
            "auth": {"keys": {"database": {"enabled": True}}},
            "leases": {"plain": {"url": f"http://{origin}"}},
        },
        tmp_path,
    )
    gateway.good_keys = secrets
    yield gateway
    assert gateway.stop() == 0
    if server is not None:
        server.stop()


def ask(gateway, key, source):
    """The status for a key that was not asked for before, and the seconds until it came."""
    client = http.client.HTTPConnection(gateway.address, timeout=30, source_address=(source, 0))
    start = time.monotonic()
    client.request("GET", "/peer/plain/echo", headers={"X-API-Key": key})
    status = client.getresponse().status
    taken = time.monotonic() - start
    client.close()
    return status, taken


def test_a_good_key_waits_for_no_flood_of_random_ones(gateway):
    with Flood(gateway.address, CONNECTIONS, "127.0.0.1") as flood:
        programs.wait_until(lambda: is_over(gateway), 10, "the flood being over its limit")
        keys = iter(gateway.good_keys)
        others = [ask(gateway, next(keys), "127.0.0.2") for _ in range(GOOD_KEYS - 5)]
        own = [ask(gateway, key, "127.0.0.1") for key in keys]
    assert [status for status, _ in others] == [HTTPStatus.OK] * len(others)
    assert statistics.median(taken for _, taken in others) < WITHIN
    assert max(taken for _, taken in others) < 4 * WITHIN
    assert [status for status, _ in own] == [HTTPStatus.OK] * len(own), "of the same address, too"
    assert set(flood.statuses) <= {"401", "429"}, flood.statuses


def is_over(gateway):
    """Whether the address of the flood is over its limit of failed attempts."""
    status, _ = ask(gateway, key_text(os.urandom(32)), "127.0.0.1")
    return status == HTTPStatus.TOO_MANY_REQUESTS
