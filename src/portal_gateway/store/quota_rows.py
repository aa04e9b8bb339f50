"""Use of quotas in the database: its tables, and the one transaction that is made with them.

A row is the use of one key in one day or month, counted by all processes. Each adds what it counted
and reads what came of it. The number of the last batch that a process added is written in the same
transaction: a batch that comes again, because nobody heard that it was written, is not added again.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    MetaData,
    String,
    Table,
    delete,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from portal_gateway.store.quota_store import Added, Totals, UsedIn

__all__ = ["QUOTA_USE", "QUOTA_WRITERS", "purge_rows", "sync_rows"]

METADATA: Final = MetaData()

QUOTA_USE: Final = Table(
    "quota_use",
    METADATA,
    # No longer than a token's holder can be called.
    Column("key_id", String(300), primary_key=True),
    Column("period", String(8), primary_key=True),
    Column("label", String(10), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
)
"""What was used; ``ends_at`` is the unix time at which the day or month is over."""

QUOTA_WRITERS: Final = Table(
    "quota_writers",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("written_at", BigInteger, nullable=False),
)
"""The last batch of each process, and when it was."""

_ROWS_AT_ONCE: Final = 500
"""Rows of one statement: SQLite takes 32,766 values in one, six of which are a row's."""

_DAY: Final = 86_400

_KEPT: Final = {"daily": 62 * _DAY, "monthly": 400 * _DAY}
"""Seconds for which use is kept when its day or month is over: for two bills, and for a year's."""

T = TypeVar("T")

_WHICH = (QUOTA_USE.c.key_id, QUOTA_USE.c.period, QUOTA_USE.c.label)

_Which = tuple[str, str, str]


def sync_rows(
    connection: Connection,
    writer: str,
    number: int,
    added: Sequence[Added],
    wanted: Sequence[UsedIn],
    now: float,
) -> list[Totals]:
    """Add, then read, as `portal_gateway.store.quota_store.QuotaStore`, in a transaction."""
    found: dict[_Which, Totals] = {}
    if added and _is_new(connection, writer, number, now):
        # In one order, so that processes do not wait for each other in a circle.
        for part in _parts(sorted(added)):
            found |= _add(connection, part)
    asked = [one.used for one in added] + list(wanted)
    for some in _parts([used for used in asked if _which(used) not in found]):
        found |= _read(connection, some)
    return [found.get(_which(used), (0, 0)) for used in asked]


def purge_rows(connection: Connection, now: float) -> None:
    """Forget what is older than it is kept."""
    old = [
        (QUOTA_USE.c.period == period) & (QUOTA_USE.c.ends_at < int(now) - kept)
        for period, kept in _KEPT.items()
    ]
    connection.execute(delete(QUOTA_USE).where(or_(*old)))
    # Nobody writes a batch again that is a day old.
    connection.execute(delete(QUOTA_WRITERS).where(QUOTA_WRITERS.c.written_at < int(now) - _DAY))


def _is_new(connection: Connection, writer: str, number: int, now: float) -> bool:
    """Note the number of a batch; whether it was not there before."""
    values = {"id": writer, "number": number, "written_at": int(now)}
    statement = _insert(connection, QUOTA_WRITERS).values(values)
    statement = statement.on_conflict_do_update(
        index_elements=["id"],
        set_={"number": statement.excluded.number, "written_at": statement.excluded.written_at},
        where=QUOTA_WRITERS.c.number < statement.excluded.number,
    ).returning(QUOTA_WRITERS.c.id)
    return connection.execute(statement).first() is not None


def _add(connection: Connection, added: Sequence[Added]) -> dict[_Which, Totals]:
    rows = [
        {
            "key_id": used.key_id,
            "period": used.period,
            "label": used.label,
            "requests": requests,
            "bytes": size,
            "ends_at": int(used.end),
        }
        for used, requests, size in added
    ]
    statement = _insert(connection, QUOTA_USE)
    statement = statement.on_conflict_do_update(
        index_elements=["key_id", "period", "label"],
        set_={
            "requests": QUOTA_USE.c.requests + statement.excluded.requests,
            "bytes": QUOTA_USE.c.bytes + statement.excluded.bytes,
        },
    ).returning(*_WHICH, QUOTA_USE.c.requests, QUOTA_USE.c.bytes)
    return _totals(connection.execute(statement, rows))


def _read(connection: Connection, wanted: Sequence[UsedIn]) -> dict[_Which, Totals]:
    rows = select(*_WHICH, QUOTA_USE.c.requests, QUOTA_USE.c.bytes).where(
        tuple_(*_WHICH).in_([_which(used) for used in wanted])
    )
    return _totals(connection.execute(rows))


def _totals(rows: Any) -> dict[_Which, Totals]:
    return {
        (key_id, period, label): (requests, size) for key_id, period, label, requests, size in rows
    }


def _which(used: UsedIn) -> _Which:
    return used.key_id, used.period, used.label


def _insert(connection: Connection, table: Table) -> Any:
    """An ``INSERT`` that may say ``ON CONFLICT``, which both databases have, each by itself."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _ROWS_AT_ONCE):
        yield items[start : start + _ROWS_AT_ONCE]
