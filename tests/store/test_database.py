import sqlite3
import stat
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from twisted.python.failure import Failure

import portal_gateway.store.api_key_rows  # noqa: F401 - its tables are of METADATA too
from portal_gateway.config.database import DatabaseSection
from portal_gateway.store.api_key_rows import API_KEYS
from portal_gateway.store.database import (
    Database,
    DatabaseUnavailable,
    open_engine,
    postgres_parameters,
    threads_of,
)
from portal_gateway.store.migrations import migrate
from portal_gateway.store.quota_database import DatabaseQuotas
from portal_gateway.store.quota_rows import METADATA, QUOTA_USE
from portal_gateway.store.quota_store import Added, StoreUnavailable, UsedIn
from portal_gateway.testing.threads import NoThreads


@pytest.fixture
def section(tmp_path):
    return DatabaseSection(file=tmp_path / "state.sqlite", timeout=0.2)


@pytest.fixture
def database(section):
    database = Database(section, NoThreads())
    yield database
    database.close()


def result(deferred):
    results = []
    deferred.addBoth(results.append)
    (found,) = results
    if isinstance(found, Failure):
        found.raiseException()
    return found


def count_rows(connection):
    return connection.scalar(text("SELECT count(*) FROM quota_use"))


def add_row(connection):
    connection.execute(text("INSERT INTO quota_use VALUES ('a', 'daily', '2026-11-25', 1, 2, 3)"))


def test_the_first_work_makes_the_file_and_its_tables(database, section):
    assert not section.file.exists()
    assert result(database.run(count_rows)) == 0
    assert stat.S_IMODE(section.file.stat().st_mode) == 0o600


def test_work_is_committed_when_it_returns(database):
    result(database.run(add_row))
    assert result(database.run(count_rows)) == 1


def test_work_is_rolled_back_when_it_raises(database):
    def work(connection):
        add_row(connection)
        raise KeyError("a defect")

    with pytest.raises(KeyError):
        result(database.run(work))
    assert result(database.run(count_rows)) == 0


def test_it_is_kept_as_it_should_be(database):
    def pragmas(connection):
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.scalar(text(f"PRAGMA {name}")) for name in names]

    assert result(database.run(pragmas)) == ["wal", 2, 1]


def test_the_steps_lead_to_the_tables_that_are_used(section):
    engine = open_engine(section)
    migrate(engine)
    migrate(engine)
    assert {table.metadata for table in (API_KEYS, QUOTA_USE)} == {METADATA}, "all are compared"
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_several_may_bring_it_up_at_once(section):
    section = DatabaseSection(file=section.file, timeout=10)
    databases = [Database(section, NoThreads()) for _ in range(4)]
    failed = []

    def start(database):
        try:
            database.run_here(add_row if database is databases[0] else count_rows)
        except DatabaseUnavailable as error:
            failed.append(error)

    threads = [threading.Thread(target=start, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    assert databases[1].run_here(count_rows) == 1
    for database in databases:
        database.close()


def test_another_process_that_holds_it_is_waited_for_and_then_given_up(database, section):
    result(database.run(add_row))
    other = sqlite3.connect(section.file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseUnavailable, match=r"^OperationalError \(SQLITE_BUSY\)$"):
        result(database.run(count_rows))
    other.execute("COMMIT")
    other.close()
    assert result(database.run(count_rows)) == 1


def test_what_became_of_work_is_counted(section):
    threads = NoThreads()
    database = Database(section, threads)
    figures = database.figures
    assert (figures.usable, figures.done, figures.failures, figures.in_flight) == (None, 0, 0, 0)
    result(database.run(count_rows))
    assert (figures.usable, figures.done, figures.failures, figures.in_flight) == (True, 1, 0, 0)
    with pytest.raises(KeyError):
        result(database.run(lambda connection: {}["a defect is not the database's"]))
    assert (figures.usable, figures.done, figures.failures, figures.in_flight) == (True, 1, 0, 0)
    threads.held = True
    waiting = database.run(count_rows)
    assert figures.in_flight == 1
    threads.release()
    assert result(waiting) == 0
    other = sqlite3.connect(section.file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseUnavailable):
        result(database.run(count_rows))
    other.close()
    assert (figures.usable, figures.done, figures.failures, figures.in_flight) == (False, 2, 1, 0)
    result(database.run(count_rows))
    assert (figures.usable, figures.done, figures.failures) == (True, 3, 1)
    database.close()


def test_a_file_that_is_none(section):
    section.file.mkdir()
    database = Database(section, NoThreads())
    with pytest.raises(DatabaseUnavailable, match="IsADirectoryError"):
        result(database.run(count_rows))


def test_tables_of_a_later_version(database, section):
    database.run_here(count_rows)
    with sqlite3.connect(section.file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    later = Database(section, NoThreads())
    with pytest.raises(DatabaseUnavailable, match=r"^a later version of the gateway has changed"):
        later.run_here(count_rows)
    later.close()


def test_a_file_that_is_no_database(database, section):
    section.file.write_bytes(b"canary " * 1000)
    with pytest.raises(DatabaseUnavailable, match=r"^DatabaseError \(SQLITE_NOTADB\)$"):
        result(database.run(count_rows))
    section.file.unlink()
    assert result(database.run(count_rows)) == 0, "it is tried anew"


def test_no_password_is_told(section):
    dsn = "postgresql://user:canary-password@127.0.0.1:1/gateway"
    section = DatabaseSection("postgres", dsn=dsn, timeout=0.2)
    database = Database(section, NoThreads())
    with pytest.raises(DatabaseUnavailable) as caught:
        result(database.run(count_rows))
    assert str(caught.value) == "OperationalError"
    for told in (repr(section), repr(database), repr(database._engine), str(caught.value)):
        assert "canary-password" not in told


def test_connections_are_made_by_what_the_dsn_says_and_otherwise_by_what_is_right_for_most():
    section = DatabaseSection("postgres", dsn="postgresql://u@h/d", timeout=1.5)
    assert postgres_parameters(section) == {
        "user": "u",
        "host": "h",
        "dbname": "d",
        "connect_timeout": "2",
        "application_name": "portal-gateway",
        "options": "-c statement_timeout=1500 -c lock_timeout=1500",
    }
    dsn = "postgresql://h/d?options=-c%20search_path%3Dkeys&application_name=x&connect_timeout=9"
    assert postgres_parameters(DatabaseSection("postgres", dsn=dsn, timeout=1.5)) == {
        "host": "h",
        "dbname": "d",
        "connect_timeout": "9",
        "application_name": "x",
        "options": "-c statement_timeout=1500 -c lock_timeout=1500 -c search_path=keys",
    }


def test_commands_run_work_in_their_own_thread(database):
    database.run_here(add_row)
    assert database.run_here(count_rows) == 1
    with pytest.raises(DatabaseUnavailable):
        database.run_here(lambda connection: connection.execute(text("SELECT nothing")))
    with pytest.raises(KeyError):
        database.run_here(lambda _connection: {}["a defect"])


@pytest.mark.parametrize(("driver", "threads"), [("sqlite", 1), ("postgres", 4)])
def test_threads(driver, threads):
    assert threads_of(DatabaseSection(driver)) == threads


# Quotas in it.


def test_quotas_are_kept_there(database):
    used = UsedIn("a", "monthly", "2026-11", 2_000_000_000.0)
    now = [1_795_608_000.0]
    one, two = (DatabaseQuotas(database, lambda: now[0]) for _ in range(2))
    assert result(one.sync(1, [Added(used, 3, 40)], [])) == [(3, 40)]
    assert result(two.sync(1, [Added(used, 1, 2)], [used])) == [(4, 42), (4, 42)]
    now[0] += 86_400
    assert result(one.sync(0, [], [used])) == [(4, 42)]
    now[0] += 400 * 86_400 + 86_400 * 3000
    result(one.sync(0, [], [used]))
    assert result(one.sync(0, [], [used])) == [(0, 0)], "so old that it is forgotten"


def test_that_the_database_is_away_is_that_the_store_is(section):
    section.file.mkdir()
    quotas = DatabaseQuotas(Database(section, NoThreads()), lambda: 0.0)
    with pytest.raises(StoreUnavailable, match="IsADirectoryError"):
        result(quotas.sync(1, [], []))
