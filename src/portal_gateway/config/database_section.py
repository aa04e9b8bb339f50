"""The section ``database``: its keys."""

from typing import Any, Final, get_args

from portal_gateway.config.database import DatabaseDriver, DatabaseSection
from portal_gateway.config.fields import Section, choice, text, whole_number
from portal_gateway.config.files import state_file
from portal_gateway.config.postgres_dsn import BadDsn, dsn_parameters
from portal_gateway.config.reading import Reader, Value
from portal_gateway.config.times import duration
from portal_gateway.config.worded import reads

__all__ = ["DATABASE", "DATABASE_KEYS", "check_database"]

MAX_DSN: Final = 2000
"""Characters of a DSN."""

MOST_CONNECTIONS: Final = 50
"""Connections of one gateway: a server has some hundred for everybody."""


@reads("``postgresql://user:password@host:port/database``; secret")
def _dsn(value: Value) -> str:
    """Reads where PostgreSQL is. It has a password, so no fault quotes it."""
    written = text(value, secret=True, expected="a DSN")
    found = written.text
    expected = "postgresql://user:password@host/database"
    if len(found) > MAX_DSN or not found.isprintable():
        raise value.refuse(f"a DSN has at most {MAX_DSN} printable characters, as {expected}")
    try:
        if "password" in dsn_parameters(found):
            value.note_secret(written, what="the password")
    except BadDsn as error:
        raise value.refuse(f"{error}; write {expected}") from None
    return found


def check_database(database: DatabaseSection, value: Value) -> None:
    """Refuse what is for the other driver, or missing for this one."""
    dsn, file = value.at("dsn"), value.at("file")
    if database.driver == "postgres":
        if dsn is value:
            value.refuse('"dsn" is missing: it says where PostgreSQL is')
        if file is not value:
            file.refuse("this is for SQLite")
    elif dsn is not value:
        dsn.refuse('this is for PostgreSQL; write driver: "postgres"')


DATABASE_KEYS: dict[str, Reader[Any]] = {
    "driver": choice("driver", get_args(DatabaseDriver)),
    "file": state_file,
    "dsn": _dsn,
    "pool_size": whole_number(1, MOST_CONNECTIONS),
    "timeout": duration(0.1, 60),
}

DATABASE: Reader[DatabaseSection] = Section(DatabaseSection, DATABASE_KEYS, check=check_database)
"""The whole section."""
