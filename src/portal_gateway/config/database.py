"""The section ``database`` as a value: where the gateway keeps what it must not forget.

A field that is not in the file has the default that stands here, as in
:mod:`portal_gateway.config.model`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["DatabaseDriver", "DatabaseSection"]

DatabaseDriver = Literal["sqlite", "postgres"]


@dataclass(frozen=True, slots=True)
class DatabaseSection:
    """``database``. ``file`` is that of SQLite, ``dsn`` where PostgreSQL is, and as whom to ask.

    ``pool_size`` are connections to PostgreSQL; SQLite has one. ``timeout`` is seconds for a
    connection, for a statement, and for a lock that another process has.
    """

    driver: DatabaseDriver = "sqlite"
    file: Path = Path("portal-gateway.sqlite")
    dsn: str = field(default="", repr=False)
    pool_size: int = 4
    timeout: float = 5.0
