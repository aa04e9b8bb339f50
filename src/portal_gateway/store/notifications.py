"""Being called by PostgreSQL: ``LISTEN`` on a connection of its own, in a thread of its own.

Whoever asks for changes from time to time anyway is told to ask now. So nothing is lost while there
is no connection, and all that this has to be is quick.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import psycopg
from psycopg import sql
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

__all__ = ["Notifications"]

_log = Logger()

_ATTENTION: Final = 0.25
"""Seconds after which a thread that waits for a notification sees that it is to end."""

_CONNECT_TIMEOUT: Final = "5"
"""Seconds for a connection, for which the end of the gateway may have to wait."""

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
"""Seconds before a connection that was lost is made anew; twice as long each time."""


class Notifications:
    """Calls ``heard`` in the reactor's thread for each notification on ``channel``.

    It connects by ``parameters``, but does not wait for that as long as they may say.
    """

    def __init__(
        self,
        parameters: Mapping[str, str],
        channel: str,
        reactor: Any,
        heard: Callable[[], object],
    ) -> None:
        self._parameters: dict[str, Any] = {**parameters, "connect_timeout": _CONNECT_TIMEOUT}
        self._channel = channel
        self._reactor = reactor
        self._heard = heard
        self._stopping = threading.Event()
        self._ended: Deferred[None] | None = None
        self.connected = False

    def start(self) -> None:
        """Listen, from a moment later on."""
        self._ended = Deferred()
        threading.Thread(target=self._run, name="notifications", daemon=True).start()

    def stop(self) -> Deferred[None]:
        """Listen no more; fires when the thread is over."""
        self._stopping.set()
        return succeed(None) if self._ended is None else self._ended

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            try:
                with psycopg.connect(autocommit=True, **self._parameters) as connection:
                    listen = sql.SQL("LISTEN {}").format(sql.Identifier(self._channel))
                    connection.execute(listen)
                    self.connected = True
                    pause = _FIRST_PAUSE
                    # What was missed while nobody listened is asked for.
                    self._call()
                    while not self._stopping.is_set():
                        for _ in connection.notifies(timeout=_ATTENTION, stop_after=1):
                            self._call()
            except psycopg.Error:
                # Its words may say where the server is and as whom to ask; who asks for changes
                # logs that the database is away.
                pass
            if self.connected and not self._stopping.is_set():
                _log.warn("the connection on which the database calls was lost")
            self.connected = False
            self._stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        self._reactor.callFromThread(self._over)

    def _call(self) -> None:
        self._reactor.callFromThread(self._heard)

    def _over(self) -> None:
        if self._ended is not None:
            self._ended.callback(None)
