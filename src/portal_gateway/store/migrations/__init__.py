"""How the tables of the database came to be: each version is a step from the one before.

`migrate` takes the steps that a database has not taken. Several processes may start at once: one
takes the steps, the others wait for it.
"""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Engine, text

__all__ = ["LaterVersion", "migrate"]

_LOCK: Final = 0x706F7274616C67
"""What the advisory lock is called under which PostgreSQL's tables are changed."""


class LaterVersion(Exception):
    """The tables have taken steps that this version does not know."""


def migrate(engine: Engine) -> None:
    """Bring the tables up to date.

    Raises `LaterVersion`, and what SQLAlchemy does when the database is away.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError:
            # All steps are ours and lead to one end: what it cannot find is the one taken last.
            raise LaterVersion from None
