"""When keys were last used: noted in memory, and written to the database now and then."""

from functools import partial
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.store.api_key_rows import note_use
from portal_gateway.store.database import Database, DatabaseUnavailable

__all__ = ["USE_INTERVAL", "KeyUse"]

_log = Logger()

USE_INTERVAL: Final = 60.0
"""Seconds from one time that the last uses of keys are written down to the next."""


class KeyUse(Service):
    """Writes to ``database``; what it does not take is kept for the next time.

    There is one entry for a key that the database knows, so it has no more of them than that.
    """

    def __init__(self, database: Database, clock: IReactorTime) -> None:
        self._database = database
        self._used: dict[str, int] = {}
        self._writing = LoopingCall(self._write)
        self._writing.clock = clock

    def note(self, key_id: str, now: float) -> None:
        """A key was used."""
        self._used[key_id] = int(now)

    def startService(self) -> None:
        """Write from now on."""
        super().startService()
        self._writing.start(USE_INTERVAL, now=False)

    def stopService(self) -> Deferred[None]:
        """Write for the last time."""
        super().stopService()
        if self._writing.running:
            self._writing.stop()
        return self._write()

    def _write(self) -> Deferred[None]:
        used, self._used = self._used, {}
        if not used:
            return succeed(None)
        written: Deferred[Any] = self._database.run(partial(note_use, used=list(used.items())))

        def failed(failure: Failure) -> None:
            failure.trap(DatabaseUnavailable)
            self._used = {**used, **self._used}

        return written.addErrback(failed).addErrback(_defect)


def _defect(failure: Failure) -> None:
    """It must not end what is done again and again."""
    _log.failure("the last use of keys could not be written", failure)
