"""Use of quotas in the database, for all processes that are on it."""

from collections.abc import Callable, Sequence
from functools import partial
from secrets import token_hex
from typing import Final

from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from portal_gateway.store.database import Database, DatabaseUnavailable
from portal_gateway.store.quota_rows import purge_rows, sync_rows
from portal_gateway.store.quota_store import Added, StoreUnavailable, Totals, UsedIn

__all__ = ["DatabaseQuotas"]

_PURGE_INTERVAL: Final = 86_400.0
"""Seconds from one time that old rows are looked for to the next."""


class DatabaseQuotas:
    """Adds up what processes count; ``wall_clock`` gives the unix time."""

    def __init__(self, database: Database, wall_clock: Callable[[], float]) -> None:
        self._database = database
        self._wall_clock = wall_clock
        self._writer = token_hex(16)
        self._purged = 0.0

    def sync(
        self, number: int, added: Sequence[Added], wanted: Sequence[UsedIn]
    ) -> Deferred[list[Totals]]:
        """As `portal_gateway.store.quota_store.QuotaStore`."""
        now = self._wall_clock()
        work: Callable[[Connection], list[Totals]] = partial(
            sync_rows,
            writer=self._writer,
            number=number,
            added=added,
            wanted=wanted,
            now=now,
        )
        if abs(now - self._purged) < _PURGE_INTERVAL:
            return self._database.run(work).addErrback(_store_unavailable)

        def purge_too(connection: Connection) -> list[Totals]:
            purge_rows(connection, now)
            return work(connection)

        def purged(totals: list[Totals]) -> list[Totals]:
            self._purged = now
            return totals

        done = self._database.run(purge_too).addCallback(purged)
        return done.addErrback(_store_unavailable)


def _store_unavailable(failure: Failure) -> Failure:
    failure.trap(DatabaseUnavailable)
    return Failure(StoreUnavailable(str(failure.value)))
