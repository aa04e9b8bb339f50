"""The database: SQLite in a file, or PostgreSQL, in threads so that the reactor never waits for it.

Work is a function of a connection, run whole in a transaction: it is committed when the function
returns and rolled back when it raises. The first work of a process brings the tables up to date.
Whatever goes wrong is `DatabaseUnavailable`, in words without a secret.

SQLite is written to by one connection at a time. Its transactions begin with ``BEGIN IMMEDIATE``,
so that one which reads and then writes is not refused because another wrote in between.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from portal_gateway.config.database import DatabaseSection
from portal_gateway.config.postgres_dsn import dsn_parameters
from portal_gateway.store.threads import Busy, Threads

__all__ = [
    "Database",
    "DatabaseFigures",
    "DatabaseUnavailable",
    "open_engine",
    "postgres_parameters",
    "threads_of",
]

T = TypeVar("T")

_MILLISECOND: Final = 0.001

_OWNER_ONLY: Final = 0o600

_BUSY_PAUSE: Final = 0.01
"""Seconds until a file that others are bringing up is tried again."""


class DatabaseUnavailable(Exception):
    """The database cannot be used now. The argument says why, for the log."""


@dataclass(slots=True)
class DatabaseFigures:
    """What there is to measure.

    ``usable`` is what came of the last work, ``None`` before there was any; ``done`` counts what
    was done, ``failures`` what could not be, ``in_flight`` is what is under way or waits.
    """

    usable: bool | None = None
    done: int = 0
    failures: int = 0
    in_flight: int = 0


class Database:
    """Runs work in ``threads``. With a ``clock`` nobody waits for longer than the section says.

    A server that does not answer holds the threads all the same; what waits for them fails in time.
    """

    def __init__(
        self, section: DatabaseSection, threads: Threads, clock: IReactorTime | None = None
    ) -> None:
        self.driver = section.driver
        self.figures = DatabaseFigures()
        self._threads = threads
        self._clock = clock
        self._timeout = section.timeout
        self._engine = open_engine(section)
        self._up_to_date = False
        self._bringing_up = threading.Lock()

    def run(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """What ``work`` gives, once it is committed. Fails with `DatabaseUnavailable`."""
        self.figures.in_flight += 1
        done: Deferred[T] = self._threads.run(partial(self._in_transaction, work))
        if self._clock is not None:
            done.addTimeout(self._timeout, self._clock)
        return done.addErrback(_unavailable).addBoth(self._over)

    def _over(self, result: T) -> T:
        figures = self.figures
        figures.in_flight -= 1
        if not isinstance(result, Failure):
            figures.usable = True
            figures.done += 1
        elif result.check(DatabaseUnavailable):
            figures.usable = False
            figures.failures += 1
        return result

    def run_here(self, work: Callable[[Connection], T]) -> T:
        """The same in this thread, for commands. Raises `DatabaseUnavailable`."""
        try:
            return self._in_transaction(work)
        except Exception:
            _unavailable(Failure()).raiseException()
            raise

    def close(self) -> None:
        """Give up the connections that nobody uses."""
        self._engine.dispose()

    def _in_transaction(self, work: Callable[[Connection], T]) -> T:
        if not self._up_to_date:
            self._bring_up()
        with self._engine.begin() as connection:
            return work(connection)

    def _bring_up(self) -> None:
        """Bring the tables up to date, once, whoever comes first."""
        # It takes a tenth of a second to import, which only who has a database pays.
        from portal_gateway.store.migrations import LaterVersion, migrate  # noqa: PLC0415

        with self._bringing_up:
            if not self._up_to_date:
                try:
                    migrate(self._engine)
                except LaterVersion:
                    raise DatabaseUnavailable(
                        "a later version of the gateway has changed its tables"
                    ) from None
                self._up_to_date = True


def threads_of(section: DatabaseSection) -> int:
    """How many threads there is work for."""
    return 1 if section.driver == "sqlite" else section.pool_size


def open_engine(section: DatabaseSection) -> Engine:
    """The engine for a section. Nothing is connected yet."""
    return _sqlite(section) if section.driver == "sqlite" else _postgres(section)


def _sqlite(section: DatabaseSection) -> Engine:
    engine = create_engine(
        f"sqlite:///{section.file}",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=section.timeout,
        # A connection is used by one thread at a time, but not always by the same.
        connect_args={"timeout": section.timeout, "check_same_thread": False},
    )

    @event.listens_for(engine, "do_connect")
    def _make_file(*_: Any) -> None:
        # It has digests of keys, and who used how much.
        os.close(os.open(section.file, os.O_CREAT | os.O_RDWR, _OWNER_ONLY))

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        # Transactions are begun below, and not by the driver before it thinks that one is needed.
        connection.isolation_level = None
        cursor = connection.cursor()
        _use_wal(cursor, section.timeout)
        for pragma in ("synchronous = FULL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _use_wal(cursor: sqlite3.Cursor, timeout: float) -> None:
    """Have a log beside the file. SQLite itself waits for nobody here, but fails at once."""
    until = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            pause.wait(_BUSY_PAUSE)
        else:
            return


def _postgres(section: DatabaseSection) -> Engine:
    return create_engine(
        "postgresql+psycopg://",
        poolclass=QueuePool,
        pool_size=section.pool_size,
        max_overflow=0,
        pool_timeout=section.timeout,
        # A server that was restarted has closed what is in the pool.
        pool_pre_ping=True,
        connect_args=postgres_parameters(section),
        hide_parameters=True,
    )


def postgres_parameters(section: DatabaseSection) -> dict[str, str]:
    """How to connect to PostgreSQL: what the DSN says goes before what is right for most."""
    found = dsn_parameters(section.dsn)
    milliseconds = round(section.timeout / _MILLISECOND)
    options = f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
    return {
        "connect_timeout": str(max(2, round(section.timeout))),
        "application_name": "portal-gateway",
        **found,
        # Of an option that is there twice the last one holds.
        "options": f"{options} {found.get('options', '')}".rstrip(),
    }


def _unavailable(failure: Failure) -> Failure:
    error = failure.value
    if isinstance(error, DeferredTimeout):
        return Failure(DatabaseUnavailable("no answer in time"))
    if isinstance(error, Busy):
        return Failure(DatabaseUnavailable(str(error)))
    if isinstance(error, DBAPIError):
        # The driver's own words may hold values, and where the server is.
        words = type(error.orig).__name__
        state = getattr(error.orig, "sqlstate", None) or getattr(
            error.orig, "sqlite_errorname", None
        )
        return Failure(DatabaseUnavailable(words if state is None else f"{words} ({state})"))
    if isinstance(error, SQLAlchemyError | OSError):
        return Failure(DatabaseUnavailable(type(error).__name__))
    return failure
