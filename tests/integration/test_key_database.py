"""API keys in a real database: two gateways on one, keys made and revoked beside them."""

import json
import queue
import signal
import subprocess
import threading
import time
from functools import partial
from http import HTTPStatus

import psutil
import psycopg
import pytest
from sqlalchemy import text

from portal_gateway.config.database import DatabaseSection
from portal_gateway.store.api_key_rows import (
    CHANNEL,
    Changes,
    StoredKey,
    changes_since,
    insert_key,
    revoke_key,
)
from portal_gateway.store.database import Database, open_engine, postgres_parameters
from portal_gateway.store.notifications import Notifications
from portal_gateway.testing.threads import NoThreads
from tests.integration import programs
from tests.integration.calls import Client
from tests.integration.conftest import missing

REVOKED_WITHIN = 1.0
"""Seconds from the end of ``keys revoke`` to the last gateway that refuses the key."""


class Site:
    """Two gateways and a command line on one database."""

    def __init__(self, database, origin, directory):
        self.gateways = []
        for name in ("one", "two"):
            (directory / name).mkdir()
            self.gateways.append(
                programs.Gateway(
                    {
                        "database": database,
                        "auth": {"keys": {"database": {"enabled": True, "cache_ttl": "3s"}}},
                        "leases": {"plain": {"url": f"http://{origin}"}},
                    },
                    directory / name,
                )
            )
        self.config = directory / "one" / "gateway.yaml"
        self._options = ("--json", "--config", self.config)

    def keys(self, *arguments):
        done = subprocess.run(
            [*programs.python("portal_gateway.cli", "keys", *arguments), *self._options],
            env=programs.python_path(),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ask(self, key, gateway=0):
        with Client(self.gateways[gateway].address, "/peer/plain", key) as client:
            answer = client.request("GET", "/echo")
        return answer.status, answer.json.get("error")

    def stop(self):
        return [gateway.stop() for gateway in self.gateways]


@pytest.fixture
def sqlite(origin, tmp_path):
    site = Site({"file": str(tmp_path / "state.sqlite")}, origin, tmp_path)
    yield site
    assert site.stop() == [0, 0]


@pytest.fixture
def postgres():
    if programs.postgres_tool("initdb") is None:
        missing("there is no PostgreSQL server")
    with programs.Postgres() as server:
        yield server


@pytest.fixture
def on_postgres(postgres, origin, tmp_path):
    # The server asks for no password; it is here to be looked for.
    dsn = postgres.dsn().replace("gateway@", "gateway:not-checked@")
    site = Site({"driver": "postgres", "dsn": dsn, "timeout": "1s"}, origin, tmp_path)
    site.server = postgres
    yield site
    assert site.stop() == [0, 0]


@pytest.fixture(params=["sqlite", "on_postgres"])
def site(request):
    return request.getfixturevalue(request.param)


GOOD = (HTTPStatus.OK, None)
UNKNOWN = (HTTPStatus.UNAUTHORIZED, "invalid_api_key")
AWAY = (HTTPStatus.SERVICE_UNAVAILABLE, "keys_unavailable")


def test_1_5_a_key_is_revoked_in_two_gateways_within_a_second(site):
    key = site.keys("create", "--description", "a friend")
    assert [site.ask(key["key"], number) for number in (0, 1)] == [GOOD, GOOD]
    site.keys("revoke", key["id"])
    start = time.monotonic()
    taken = [
        programs.wait_until(
            lambda number=number: site.ask(key["key"], number) == UNKNOWN, 5, "the key refused"
        )
        for number in (0, 1)
    ]
    assert time.monotonic() - start < REVOKED_WITHIN, taken


def test_1_5_a_rotated_key_is_good_by_both_secrets_for_the_grace(site):
    key = site.keys("create")
    assert site.ask(key["key"]) == GOOD
    rotated = site.keys("rotate", key["id"], "--grace", "6s")
    assert [site.ask(secret["key"]) for secret in (key, rotated)] == [GOOD, GOOD]
    expired = (HTTPStatus.UNAUTHORIZED, "expired_api_key")
    programs.wait_until(lambda: site.ask(key["key"]) == expired, 15, "the old secret expired")
    assert site.ask(rotated["key"]) == GOOD


def test_1_5_a_keys_leases_and_scopes_hold(site):
    key = site.keys("create", "--lease", "other", "--scopes", "read")
    assert site.ask(key["key"]) == (HTTPStatus.FORBIDDEN, "lease_access_denied")


def test_the_last_use_is_written_when_the_gateway_stops(site):
    key = site.keys("create")
    assert site.keys("show", key["id"])["last_used_at"] is None
    assert site.ask(key["key"]) == GOOD
    site.gateways[0].signal(signal.SIGTERM)
    assert site.gateways[0].process.wait(10) == 0
    assert site.keys("show", key["id"])["last_used_at"] is not None


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_1_5_with_the_database_away_known_keys_go_on_and_unknown_are_503(on_postgres, how):
    site, server = on_postgres, on_postgres.server
    known, unknown = site.keys("create"), site.keys("create")
    assert site.ask(known["key"]) == GOOD
    workers = psutil.Process(server.pid).children()
    if how == signal.SIGKILL:
        server.kill()
    else:
        server.signal(how)
    start = time.monotonic()
    while time.monotonic() - start < 2:
        assert site.ask(known["key"]) == GOOD
        assert site.ask(unknown["key"]) == AWAY
    programs.wait_until(lambda: site.ask(known["key"]) == AWAY, 5, "what is known being over")
    if how == signal.SIGKILL:
        start_again(server, workers)
    else:
        server.signal(signal.SIGCONT)
    programs.wait_until(lambda: site.ask(unknown["key"]) == GOOD, 10, "the database being back")
    assert site.ask(known["key"]) == GOOD


def test_1_5_what_was_revoked_while_a_gateway_could_not_hear_is_revoked(on_postgres):
    site, server = on_postgres, on_postgres.server
    key = site.keys("create")
    assert site.ask(key["key"], 1) == GOOD
    # The other gateway is stopped, so that neither a call nor a poll reaches it.
    site.gateways[1].signal(signal.SIGSTOP)
    site.keys("revoke", key["id"])
    workers = psutil.Process(server.pid).children()
    server.kill()
    start_again(server, workers)
    site.gateways[1].signal(signal.SIGCONT)
    programs.wait_until(lambda: site.ask(key["key"], 1) == UNKNOWN, 6, "the key refused")


def test_1_5_changes_are_seen_in_the_order_of_their_numbers(postgres):
    """A lower number that is committed after a higher one would never be looked for."""
    section = DatabaseSection("postgres", dsn=postgres.new_database())
    database = Database(section, NoThreads())
    for number, key_id in enumerate(("key_a", "key_b")):
        key = StoredKey(key_id, "", frozenset({"read"}), "", None, 1)
        database.run_here(partial(insert_key, key=key, digest=bytes([number]) * 32))
    seen = database.run_here(partial(changes_since, number=None)).number
    engine = open_engine(section)
    second = threading.Thread(
        target=database.run_here, args=(partial(revoke_key, key_id="key_b", now=2),)
    )
    with engine.begin() as first:
        revoke_key(first, "key_a", 2)
        second.start()
        with engine.begin() as other:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            programs.wait_until(lambda: other.scalar(waiting), 5, "the second one waiting")
            assert changes_since(other, seen) == Changes((), seen), "it is seen before the first"
    second.join(10)
    assert database.run_here(partial(changes_since, number=seen)).key_ids == ("key_a", "key_b")
    engine.dispose()
    database.close()


def test_the_options_of_a_dsn_hold_for_each_connection(postgres):
    plain = postgres.new_database()
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA apart")
    dsn = f"{plain}?options=-c%20search_path%3Dapart&application_name=of-the-dsn"
    section = DatabaseSection("postgres", dsn=dsn, timeout=2.0)
    database = Database(section, NoThreads())

    def shown(connection):
        names = ("search_path", "statement_timeout", "lock_timeout", "application_name")
        return [connection.scalar(text(f"SHOW {name}")) for name in names]

    assert database.run_here(shown) == ["apart", "2s", "2s", "of-the-dsn"]
    heard, calls = queue.SimpleQueue(), []
    notifications = Notifications(
        postgres_parameters(section), CHANNEL, Reactor(heard), lambda: calls.append(1)
    )
    notifications.start()
    heard.get(timeout=10)()
    with psycopg.connect(plain) as connection:
        named = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'of-the-dsn'"
        assert connection.execute(named).fetchone() == (2,)
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'apart'"
        assert connection.execute(tables).fetchone()[0] > 3
    key = StoredKey("key_a", "", frozenset({"read"}), "", None, 1)
    database.run_here(partial(insert_key, key=key, digest=bytes(32)))
    heard.get(timeout=10)()
    assert calls == [1, 1], "once as it listens, and once for the key"
    ended = notifications.stop()
    heard.get(timeout=10)()
    assert ended.called
    database.close()


class Reactor:
    """Keeps what a thread wants to be called."""

    def __init__(self, wanted):
        self.callFromThread = wanted.put


def test_no_secret_is_printed_or_logged(site):
    key = site.keys("create")
    assert site.ask(key["key"]) == GOOD
    shown = json.dumps(site.keys("list")) + json.dumps(site.keys("show", key["id"]))
    validated = subprocess.run(
        programs.python("portal_gateway.cli", "validate", "--config", site.config),
        env=programs.python_path(),
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    written = "".join("".join(gateway.lines) for gateway in site.gateways)
    for told in (shown, validated, written):
        assert key["key"] not in told
        assert "not-checked" not in told, "the password of the DSN"


def start_again(server, workers):
    """Once those that it had for each connection have seen that it is gone."""
    psutil.wait_procs(workers, 10)
    server.restart()
    server.wait_for_line("ready to accept connections", count=2)
