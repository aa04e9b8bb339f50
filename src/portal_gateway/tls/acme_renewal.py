"""The service that keeps certificates issued: it looks what is due, and has it done in a thread."""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.tls.acme_schedule import due
from portal_gateway.tls.acme_settings import AutoCert, Wanted
from portal_gateway.tls.acme_store import Store

if TYPE_CHECKING:
    from portal_gateway.tls.acme_attempt import Outcome

__all__ = ["LOOK_EVERY", "Renewal"]

_log = Logger()

T = TypeVar("T")

LOOK_EVERY = 5.0
"""Seconds between two looks at most, each a few small files: a name that is asked for by a file is
seen within that, and so is what another process has done."""

LOOK_AFTER = 0.2
"""Seconds between two looks at least."""

STOP_WITHIN = 5.0
"""Seconds that an attempt has to end when the service stops. It leaves nothing half done."""

_PAUSE = timedelta(seconds=1)
"""From the end of one attempt to the next for the same certificate, at least."""

_AFTER_FAULT = timedelta(hours=1)
"""The same after a fault of our own, such as a store that cannot be written."""


def _now() -> datetime:
    return datetime.now(UTC)


class _Threads(Protocol):
    def run(self, work: Callable[[], T]) -> Deferred[T]: ...

    def stop(self) -> None: ...


def _attempt(
    store: Store,
    settings: AutoCert,
    wanted: Wanted,
    now: Callable[[], datetime],
    chance: float,
    stopping: Event,
) -> "Outcome":
    # Its libraries take a quarter of a second to import, which the reactor need not wait for.
    from portal_gateway.tls.acme_attempt import Attempt  # noqa: PLC0415

    return Attempt(store, settings, wanted, now, chance, stopping)()


class Renewal(Service):
    """Has the certificates that ``wanted`` gives issued, and renewed in time.

    ``threads`` runs an ``attempt`` at a time, off the reactor's thread.
    """

    def __init__(
        self,
        clock: IReactorTime,
        threads: _Threads,
        store: Store,
        settings: AutoCert,
        wanted: Callable[[], Sequence[Wanted]],
        *,
        now: Callable[[], datetime] = _now,
        attempt: Callable[..., "Outcome"] = _attempt,
    ) -> None:
        self._clock = clock
        self._threads = threads
        self._store = store
        self._settings = settings
        self._wanted = wanted
        self._now = now
        self._attempt = attempt
        self._stopping = Event()
        self._chances: dict[str, float] = {}
        self._not_before: dict[str, datetime] = {}
        self._call: IDelayedCall | None = None
        self._under_way: Deferred[None] | None = None

    def expiries(self) -> Mapping[str, datetime]:
        """When each certificate in the store expires, by the name of its file."""
        held = {wanted.stem: self._store.held(wanted.stem) for wanted in self._wanted()}
        return {stem: each.until for stem, each in held.items() if each is not None}

    def startService(self) -> None:
        """Look from now on."""
        super().startService()
        self._stopping.clear()
        self._look_in(0.0)

    def stopService(self) -> Deferred[Any]:
        """Look no more; fires when no attempt is under way, or takes too long to end."""
        super().stopService()
        self._stopping.set()
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._under_way is None:
            self._threads.stop()
            return succeed(None)
        stopped: Deferred[Any] = Deferred()
        late = self._clock.callLater(STOP_WITHIN, stopped.callback, None)

        def ended(_result: object) -> None:
            self._threads.stop()
            if late.active():
                late.cancel()
                stopped.callback(None)

        self._under_way.addBoth(ended)
        return stopped

    def _look_in(self, seconds: float) -> None:
        self._call = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        self._call = None
        now = self._now()
        wait = LOOK_EVERY
        try:
            due_at = [(self._due_at(wanted, now), wanted) for wanted in self._wanted()]
        except OSError as error:
            _log.warn("ACME: the store cannot be looked at: {why}", why=str(error))
            due_at = []
        for at, wanted in due_at:
            if at <= now:
                self._start(wanted)
                return
            wait = min(wait, max((at - now).total_seconds(), LOOK_AFTER))
        self._look_in(wait)

    def _due_at(self, wanted: Wanted, now: datetime) -> datetime:
        stem = wanted.stem
        store = self._store
        next_ = due(
            store.held(stem), wanted.domains, store.history(stem), now, self._chance_of(stem)
        )
        # The store may be full and forget: what this process knows holds too.
        return max(next_.at, self._not_before.get(stem, next_.at))

    def _chance_of(self, stem: str) -> float:
        return self._chances.setdefault(stem, random.random())  # noqa: S311 - no secret

    def _start(self, wanted: Wanted) -> None:
        work = self._threads.run(
            lambda: self._attempt(
                self._store,
                self._settings,
                wanted,
                self._now,
                self._chance_of(wanted.stem),
                self._stopping,
            )
        )
        self._under_way = work.addCallbacks(self._done, self._failed, (wanted,), {}, (wanted,), {})

    def _done(self, outcome: "Outcome", wanted: Wanted) -> None:
        for note in outcome.notes:
            _log.info("ACME: {note}", note=note)
        for warning in outcome.warnings:
            _log.warn("ACME: {warning}", warning=warning)
        # Whatever came of it, the next one is not asked for at once.
        pause = self._now() + _PAUSE
        self._not_before[wanted.stem] = max(pause, outcome.not_before or pause)
        self._go_on()

    def _failed(self, failure: Failure, wanted: Wanted) -> None:
        if failure.check(OSError):
            _log.warn("ACME: the store cannot be used: {why}", why=str(failure.value))
        else:
            _log.failure("an attempt to have a certificate issued failed", failure=failure)
        self._not_before[wanted.stem] = self._now() + _AFTER_FAULT
        self._go_on()

    def _go_on(self) -> None:
        self._under_way = None
        if self.running:
            self._look_in(LOOK_AFTER)
