"""Keeps what keys have used: reads it from a store when it is needed, and writes it there.

Each second the bytes of all exchanges under way are counted, and what is new is added to what the
store has. The answer to that is what all processes together have counted. A key's count is read
when its first request comes, and the request waits for it. One question is under way at a time, so
what is read has everything that was written before.

While the store is away nobody waits for it: requests are admitted by what this process knows, and
what they use is written when the store is back. It is away from a question that failed, or has no
answer for `PATIENCE`, until one is answered.
"""

from collections.abc import Callable, Sequence
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.exchange import Exchange
from portal_gateway.policy.quota_counts import Account, Count, Totals
from portal_gateway.policy.quota_table import Batch, Flow, QuotaTable
from portal_gateway.store.quota_store import Added, QuotaStore, StoreUnavailable, UsedIn

__all__ = ["FLUSH_INTERVAL", "PATIENCE", "QuotaKeeper", "used_in"]

FLUSH_INTERVAL: Final = 1.0
"""Seconds between two writes: what a process that is killed loses at most."""

PATIENCE: Final = 1.0
"""Seconds after which a question without an answer holds no request up any longer."""

STOP_PATIENCE: Final = 5.0
"""Seconds for the last writing when the gateway stops."""

_log = Logger(__name__)


class QuotaKeeper(Service):
    """Keeps the counts of ``table``. ``wall_clock``, which is ``now``, gives the unix time."""

    def __init__(
        self,
        table: QuotaTable,
        store: QuotaStore,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
    ) -> None:
        self.table = table
        self._store = store
        self._clock = clock
        self.now = wall_clock
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = clock
        self._wanted: dict[Count, None] = {}
        self._waiting: list[Deferred[None]] = []
        self._asking = False
        self._patience: IDelayedCall | None = None
        self._failing = False
        self._slow = False
        self._told = False
        self._stopped: Deferred[None] | None = None

    def startService(self) -> None:
        """Write each second from now on."""
        super().startService()
        self._ticks.start(FLUSH_INTERVAL, now=False)

    def stopService(self) -> Deferred[None]:
        """Write what is left; fires when that is over, or is given up."""
        super().stopService()
        if self._ticks.running:
            self._ticks.stop()
        _release(self._waiting)
        self.table.count_flows(self.now())
        stopped: Deferred[None] = Deferred()
        self._stopped = stopped
        stopped.addTimeout(STOP_PATIENCE, self._clock)
        self._sync()
        return stopped.addErrback(lambda _timeout: self._end_patience())

    @property
    def away(self) -> bool:
        """Whether the store is not waited for."""
        return self._failing or self._slow

    # For the guard.

    def ask(self, account: Account, *, anew: bool = False) -> Deferred[None] | None:
        """Read those of the account's counts that are not known, or all of them ``anew``.

        Nothing is read while the store is away.

        The Deferred fires when that is over, whatever came of it, and may be cancelled.
        """
        if self.away or not self.running:
            return None
        for _, count in account.current:
            if anew or not count.known:
                self._wanted[count] = None
        # Without a canceller: who has gone is released with the others, and hears nothing.
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        self._sync()
        return waiting

    def exchange_over(self, exchange: Exchange) -> None:
        """Count what is left of an exchange whose bytes are counted."""
        flow = exchange.quota_flow
        if isinstance(flow, Flow):
            exchange.quota_flow = None
            self.table.end(flow, self.now())

    # The store.

    def _tick(self) -> None:
        self.table.count_flows(self.now())
        self._sync()

    def _sync(self) -> None:
        """Ask the store, if there is something to ask and nothing is under way."""
        if self._asking or (self._stopped is not None and self._stopped.called):
            return
        batch = self.table.batch()
        wanted = tuple(self._wanted)
        if batch is None and not wanted:
            self._nothing_left()
            return
        self._wanted.clear()
        waiting, self._waiting = self._waiting, []
        self._asking = True
        self._patience = self._clock.callLater(PATIENCE, self._late, waiting)
        asked = self._ask(batch, wanted).addCallback(self._answered, batch, wanted)
        asked.addErrback(self._failed).addCallback(self._over, waiting)

    def _ask(self, batch: Batch | None, wanted: Sequence[Count]) -> Deferred[list[Totals]]:
        added: list[Added] = []
        number = 0
        if batch is not None:
            number = batch.number
            added = [Added(used_in(one.count), one.requests, one.bytes) for one in batch.deltas]
        return self._store.sync(number, added, [used_in(count) for count in wanted])

    def _late(self, waiting: list[Deferred[None]]) -> None:
        self._patience = None
        self._slow = True
        self._tell("does not answer")
        _release(waiting)
        _release(self._waiting)

    def _tell(self, what: str) -> None:
        """Say once that the store is away."""
        if not self._told:
            self._told = True
            _log.warn("the store of the quotas {what}; use is counted here meanwhile", what=what)

    def _answered(self, totals: list[Totals], batch: Batch | None, wanted: Sequence[Count]) -> None:
        written = 0 if batch is None else len(batch.deltas)
        if len(totals) != written + len(wanted):
            raise StoreUnavailable("it answers something else")
        if batch is not None:
            self.table.written(totals[:written])
        for count, total in zip(wanted, totals[written:], strict=True):
            count.learn(total)
        if self._told:
            self._told = False
            _log.info("the store of the quotas answers again")
        self._failing = self._slow = False

    def _failed(self, failure: Failure) -> None:
        self._failing = True
        self._slow = False
        error = failure.value
        if not isinstance(error, StoreUnavailable):
            _log.failure("the quotas cannot be kept", failure=failure)
        elif not error.told:
            self._tell(f"cannot be used: {error}")

    def _over(self, _result: None, waiting: list[Deferred[None]]) -> None:
        self._end_patience()
        self._asking = False
        _release(waiting)
        if self._failing:
            _release(self._waiting)
            self._nothing_left()
        elif self._wanted or self._stopped is not None:
            self._sync()

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _nothing_left(self) -> None:
        if self._stopped is not None and not self._stopped.called:
            self._stopped.callback(None)


def _release(waiting: list[Deferred[None]]) -> None:
    """Let everybody go on who waits."""
    while waiting:
        waiting.pop().callback(None)


def used_in(count: Count) -> UsedIn:
    """A count as stores know it."""
    span = count.span
    return UsedIn(count.key_id, span.period, span.label, span.end)
