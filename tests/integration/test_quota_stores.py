"""Quotas with real clients, a real database and a real Redis."""

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPException

import pytest
from sqlalchemy import create_engine

from portal_gateway.config.database import DatabaseSection
from portal_gateway.store.database import Database
from portal_gateway.store.quota_database import DatabaseQuotas
from portal_gateway.store.quota_rows import METADATA, sync_rows
from portal_gateway.store.quota_store import Added, UsedIn
from portal_gateway.store.shared_quotas import ADD, COUNT
from portal_gateway.testing.threads import NoThreads
from tests.integration import programs
from tests.integration.calls import Client
from tests.integration.conftest import missing
from tests.store.test_database import result

CLIENTS = 8

WINDOW = 1.0
"""Seconds of use that a gateway which is killed may forget, or not have seen of another."""

MONTH = UsedIn("a", "monthly", "2026-11", 2_000_000_000.0)


@pytest.fixture(scope="session")
def postgres():
    if programs.postgres_tool("initdb") is None:
        missing("there is no PostgreSQL server")
    with programs.Postgres() as program:
        yield program


@pytest.fixture
def dsn(postgres):
    return postgres.new_database()


@pytest.fixture
def redis():
    if shutil.which("redis-server") is None:
        missing("there is no redis-server")
    with programs.Redis() as program:
        yield program


def gateway_with(origin, directory, requests, **sections):
    directory.mkdir(exist_ok=True)
    return programs.Gateway(
        {
            "leases": {"plain": {"url": f"http://{origin}"}},
            "quotas": {"monthly": {"default": {"requests": requests}}},
            **sections,
        },
        directory,
    )


class Clients:
    """So many at once, each with a connection of its own, until all are told that it is enough."""

    def __init__(self, addresses, per_client):
        self.statuses = Counter()
        self.admitted_at = []
        self._lock = threading.Lock()
        with ThreadPoolExecutor(CLIENTS) as executor:
            for done in [
                executor.submit(self._run, addresses[n % len(addresses)], per_client)
                for n in range(CLIENTS)
            ]:
                done.result()

    def _run(self, address, count):
        statuses = Counter()
        admitted_at = []
        with Client(address, "/peer/plain", programs.API_KEY) as client:
            for _ in range(count):
                status = client.request("GET", "/echo/x").status
                statuses[status] += 1
                if status == HTTPStatus.OK:
                    admitted_at.append(time.monotonic())
        with self._lock:
            self.statuses += statuses
            self.admitted_at += admitted_at

    def most_within(self, seconds):
        """The most that were admitted in any so many seconds."""
        moments = sorted(self.admitted_at)
        first = most = 0
        for count, moment in enumerate(moments, 1):
            while moment - moments[first] > seconds:
                first += 1
            most = max(most, count - first)
        return most


def whoami(address):
    with Client(address, "", programs.API_KEY) as client:
        return json.loads(client.request("GET", "/whoami").body)


def used(address):
    (quota,) = whoami(address)["quotas"]
    return quota["requests"]["used"]


def call(address):
    with Client(address, "/peer/plain", programs.API_KEY) as client:
        return client.request("GET", "/echo/x").status


def test_r22_quota_of_10000_hit_by_8_clients_admits_exactly_10000(origin, tmp_path):
    """R22: one instance, to the request; and what was used is there after a restart."""
    with gateway_with(origin, tmp_path, 10_000) as gateway:
        began = time.monotonic()
        statuses = Clients([gateway.address], 10_400 // CLIENTS).statuses
        took = time.monotonic() - began
        assert statuses == {HTTPStatus.OK: 10_000, HTTPStatus.TOO_MANY_REQUESTS: 400}
        assert used(gateway.address) == 10_000
        print(f"\n10,400 requests of {CLIENTS} clients in {took:.1f} s")
    with gateway_with(origin, tmp_path, 10_000) as again:
        assert used(again.address) == 10_000
        assert call(again.address) == HTTPStatus.TOO_MANY_REQUESTS


def test_r22_a_gateway_that_is_killed_forgets_at_most_a_second(origin, tmp_path):
    """R22: ``kill -9`` under load."""
    with gateway_with(origin, tmp_path, 1_000_000) as gateway:
        answered = []
        over = threading.Event()

        def run():
            with Client(gateway.address, "/peer/plain", programs.API_KEY) as client:
                while not over.is_set():
                    try:
                        client.request("GET", "/echo/x")
                    except (OSError, HTTPException):
                        # Cut wherever it was, perhaps behind the head.
                        return
                    answered.append(time.monotonic())

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        programs.wait_until(lambda: time.monotonic() > began + 3.4, 60, "some load")
        killed = time.monotonic()
        gateway.kill()
        over.set()
        for thread in threads:
            thread.join()
        total = len(answered)
        before = sum(moment < killed - WINDOW - 0.25 for moment in answered)
    with gateway_with(origin, tmp_path, 1_000_000) as again:
        kept = used(again.address)
    assert 0 < before <= kept <= total + len(threads)
    print(f"\nof {total} answers {total - kept} were forgotten, {total - before} at most")


def both_hold(one, two, quota):
    """Clients of two gateways, who ask at once and for far more than the quota that both have."""
    clients = Clients([one.address, two.address], 3 * quota // CLIENTS)
    statuses = clients.statuses
    assert statuses[HTTPStatus.TOO_MANY_REQUESTS] > 0
    assert sum(statuses.values()) == statuses[HTTPStatus.OK] + statuses[429]
    return clients


@pytest.mark.parametrize("driver", ["sqlite", "postgres"])
def test_r22_two_gateways_on_one_database_differ_by_a_window(origin, tmp_path, driver, request):
    """R22: two instances; what is admitted too much is less than what one second has."""
    database = {"file": str(tmp_path / "state.sqlite")}
    if driver == "postgres":
        database = {"driver": "postgres", "dsn": request.getfixturevalue("dsn")}
    quota = 3000
    with (
        gateway_with(origin, tmp_path / "one", quota, database=database) as one,
        gateway_with(origin, tmp_path / "two", quota, database=database) as two,
    ):
        clients = both_hold(one, two, quota)
        admitted = clients.statuses[HTTPStatus.OK]
        most = clients.most_within(WINDOW + 0.25)
        assert quota <= admitted <= quota + most
        for gateway in (one, two):
            programs.wait_until(
                lambda gateway=gateway: used(gateway.address) == admitted, 5, "all being written"
            )
            assert call(gateway.address) == HTTPStatus.TOO_MANY_REQUESTS
    print(f"\n{driver}: {admitted} of {quota}, {most} at most in a window")


def test_two_gateways_hold_a_quota_in_redis_to_the_request(redis, origin, tmp_path):
    """2.4 with 2.5: exactly, by two instances; ``kill -9`` of both forgets nothing."""
    storage = {
        "storage": {"type": "redis", "redis": {"addr": redis.address, "timeout": "1s"}},
    }
    quota = 3000
    with (
        gateway_with(origin, tmp_path / "one", quota, rate_limit=storage) as one,
        gateway_with(origin, tmp_path / "two", quota, rate_limit=storage) as two,
    ):
        for gateway in (one, two):
            gateway.wait_for_line(r"Redis at \S+ answers")
        assert both_hold(one, two, quota).statuses[HTTPStatus.OK] == quota
        for gateway in (one, two):
            gateway.kill()
            assert gateway.count_lines("cannot be asked") == 0
    with gateway_with(origin, tmp_path / "one", quota, rate_limit=storage) as again:
        again.wait_for_line(r"Redis at \S+ answers")
        assert used(again.address) == quota
        assert call(again.address) == HTTPStatus.TOO_MANY_REQUESTS
    shown = show(tmp_path / "one" / "gateway.yaml")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["quotas"][0]["requests"]["used"] == quota
    redis.kill()
    shown = show(tmp_path / "one" / "gateway.yaml")
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr.startswith("portal-gateway: Redis cannot be used: Redis cannot be asked")
    redis.restart()


def show(file):
    """What ``portal-gateway quota show`` says."""
    return subprocess.run(
        programs.python(
            "portal_gateway.cli", "quota", "show", "tester", "--json", "--config", file
        ),
        env={**os.environ, **programs.python_path()},
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=60,
    )


def test_what_passed_while_redis_was_stopped_is_added_afterwards(redis, origin, tmp_path):
    """Nobody sees a 5xx, and what Redis has at the end is what was admitted."""
    storage = {"storage": {"type": "redis", "redis": {"addr": redis.address}}}
    with gateway_with(origin, tmp_path, 100_000, rate_limit=storage) as gateway:
        gateway.wait_for_line(r"Redis at \S+ answers")
        statuses = Counter()
        with Client(gateway.address, "/peer/plain", programs.API_KEY) as client:
            for number in range(900):
                if number == 300:
                    redis.signal(signal.SIGSTOP)
                if number == 600:
                    redis.signal(signal.SIGCONT)
                    gateway.wait_for_line(r"Redis at \S+ answers again")
                statuses[client.request("GET", "/echo/x").status] += 1
        assert statuses == {HTTPStatus.OK: 900}

        def total():
            (key,) = redis.ask("KEYS", "*:quota:monthly:*")
            return int(redis.ask("HGET", key, "requests"))

        # The one that was under way when Redis was stopped may have been counted twice.
        programs.wait_until(lambda: total() in {900, 901}, 5, "all being added")


# The scripts and the statements.


def test_the_scripts_do_as_the_database_does(redis):
    """The same additions, sent once or twice, by two writers."""
    choose = random.Random(7)
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    numbers = Counter()
    for _ in range(200):
        writer = choose.choice("xy")
        keys = choose.sample("abcd", choose.randint(1, 4))
        added = [Added(MONTH._replace(key_id=key), choose.randint(0, 9), 7) for key in keys]
        numbers[writer] += choose.randint(0, 1)
        number = numbers[writer] or 1
        with engine.begin() as connection:
            expected = sync_rows(connection, writer, number, added, [], 0.0)
        arguments = [str(number)]
        for _, requests, size in added:
            arguments += [str(requests), str(size), "2000000000"]
        names = [f"{{t}}:writer:{writer}", *(f"{{t}}:{key}" for key in keys)]
        answer = redis.ask("EVAL", ADD.source, str(len(names)), *names, *arguments)
        told = [int(found) for found in answer.split()]
        assert list(zip(told[::2], told[1::2], strict=True)) == expected
    engine.dispose()


def test_the_script_that_counts(redis):
    def count(*limits):
        keys = [f"{{t}}:{index}" for index in range(len(limits))]
        arguments = [str(word) for limit in limits for word in (*limit, 2_000_000_000)]
        answer = redis.ask("EVAL", COUNT.source, str(len(keys)), *keys, *arguments)
        return [int(found) for found in answer.split()]

    assert count((3, -1), (2, 100)) == [1, 1, 0, 1, 0]
    assert count((3, -1), (2, 100)) == [1, 2, 0, 2, 0]
    assert count((3, -1), (2, 100)) == [0, 2, 0, 2, 0], "all or nothing"
    assert count((3, -1)) == [1, 3, 0]
    assert count((3, -1)) == [0, 3, 0]
    redis.ask("HINCRBY", "{t}:1", "bytes", "100")
    assert count((-1, -1), (-1, 100)) == [0, 3, 0, 2, 100]
    assert count((-1, -1), (-1, 101)) == [1, 4, 0, 3, 100]
    assert redis.ask("EXPIRETIME", "{t}:0") == 2_000_000_000
    large = 2**53
    redis.ask("HSET", "{t}:9", "bytes", str(large))
    assert redis.ask("HGET", "{t}:9", "bytes") == str(large)


def test_the_statements_do_in_postgres_as_in_sqlite(dsn):
    database = Database(DatabaseSection("postgres", dsn=dsn), NoThreads())
    one, two = (DatabaseQuotas(database, lambda: 1.0) for _ in range(2))
    other = MONTH._replace(key_id="jwt:" + "x" * 255)
    assert result(one.sync(1, [Added(MONTH, 3, 40), Added(other, 1, 2**60)], [])) == [
        (3, 40),
        (1, 2**60),
    ]
    assert result(one.sync(1, [Added(MONTH, 3, 40)], [])) == [(3, 40)]
    assert result(two.sync(1, [Added(MONTH, 1, 2)], [other])) == [(4, 42), (1, 2**60)]
    many = [Added(MONTH._replace(key_id=f"many-{n}"), n, n) for n in range(1200)]
    assert result(one.sync(2, many, [MONTH])) == [*((n, n) for n in range(1200)), (4, 42)]
    database.close()


def test_processes_that_add_the_same_keys_do_not_block_each_other(dsn):
    """They take the rows in one order, so none waits for another in a circle."""
    failed = []

    def add(seed):
        choose = random.Random(seed)
        database = Database(DatabaseSection("postgres", dsn=dsn), NoThreads())
        quotas = DatabaseQuotas(database, lambda: 1.0)
        keys = [f"circle-{n}" for n in range(200)]
        try:
            for number in range(1, 20):
                choose.shuffle(keys)
                added = [Added(MONTH._replace(key_id=key), 1, 1) for key in keys]
                result(quotas.sync(number, added, []))
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            failed.append(error)
        database.close()

    threads = [threading.Thread(target=add, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    database = Database(DatabaseSection("postgres", dsn=dsn), NoThreads())
    quotas = DatabaseQuotas(database, lambda: 1.0)
    assert result(quotas.sync(0, [], [MONTH._replace(key_id="circle-7")])) == [(76, 76)]
    database.close()


def test_postgres_that_is_stopped_costs_a_first_request_a_second_and_no_other(
    postgres, dsn, origin, tmp_path
):
    """R10: it hangs instead of refusing; what was used meanwhile is there afterwards."""
    database = {"driver": "postgres", "dsn": dsn}
    quotas = {"daily": {"default": {"requests": 1_000_000}}}
    with gateway_with(origin, tmp_path, 1, database=database, quotas=quotas) as gateway:
        assert call(gateway.address) == HTTPStatus.OK
        programs.wait_until(lambda: used(gateway.address) == 1, 5, "the first being written")
        postgres.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            times = []
            while time.monotonic() < began + 4:
                start = time.monotonic()
                assert call(gateway.address) == HTTPStatus.OK
                times.append(time.monotonic() - start)
        finally:
            postgres.signal(signal.SIGCONT)
        assert max(times) < 0.5
        gateway.wait_for_line("the store of the quotas does not answer")
        gateway.wait_for_line("the store of the quotas answers again")
        total = 1 + len(times)
        programs.wait_until(lambda: used(gateway.address) == total, 10, "all being written")
