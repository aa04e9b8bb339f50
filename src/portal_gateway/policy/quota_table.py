"""What all keys have used: the accounts in memory, and what of them is to be written.

Accounts are kept in two halves. An account that is used moves to the young half; when that is full,
the old half is dropped and the young one becomes old. Only what was used lately is kept, then, and
what is dropped is read from the store again. An account is never dropped while it has something
that was not written, or an exchange under way.

What is to be written is handed out as a `Batch`. It is the only one until it is `written`; if that
fails the same batch is to be written again, so that a store can tell one that it has already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from portal_gateway.exchange import Exchange
from portal_gateway.policy.quota_counts import Account, Count, Totals
from portal_gateway.policy.quotas import Quota

__all__ = ["MOST_ACCOUNTS", "Batch", "Delta", "Flow", "QuotaTable"]

MOST_ACCOUNTS: Final = 50_000
"""Keys whose use is kept in memory. With a daily and a monthly count each they take 60 MB, which
``benchmarks/quota_cost.py`` measures."""


_LEAST_ROOM: Final = 8
"""The part of the young half, an eighth, that must become free for the halves to change places.
With one place free they would do so for every new key, each time at the cost of all accounts."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What is to be added to a count in the store."""

    count: Count
    requests: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be added, under a number that no other batch of this process has."""

    number: int
    deltas: Sequence[Delta]


class Flow:
    """An exchange under way whose bytes are counted as they come; ``counted`` of them were."""

    __slots__ = ("account", "counted", "exchange")

    def __init__(self, exchange: Exchange, account: Account) -> None:
        self.exchange = exchange
        self.account = account
        self.counted = 0


class QuotaTable:
    """The accounts. They outlive a configuration. ``capacity`` is how many there are at most.

    ``refused`` counts requests for which a quota was used up.
    """

    def __init__(self, capacity: int = MOST_ACCOUNTS) -> None:
        self._half = max(1, capacity // 2)
        self._young: dict[str, Account] = {}
        self._old: dict[str, Account] = {}
        self._changed: set[Account] = set()
        self._flows: set[Flow] = set()
        # Accounts that must stay, and for how many reasons: each of their exchanges, and that they
        # have something to be written.
        self._used: dict[Account, int] = {}
        self._batch: Batch | None = None
        self._batches = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @property
    def flows(self) -> int:
        """Exchanges under way."""
        return len(self._flows)

    def account(self, key_id: str, quotas: tuple[Quota, ...], now: float) -> Account | None:
        """The account of a key at ``now``, its counts known or not.

        ``None`` where there is no room: every account has something to be written, or is in use.
        """
        account = self._young.get(key_id) or self._from_old(key_id)
        if account is not None and not account.is_current(quotas, now):
            account.bring_up(quotas, now)
        return account

    def _from_old(self, key_id: str) -> Account | None:
        """Move an account to the young half, or make it there."""
        account = self._old.pop(key_id, None)
        if len(self._young) >= self._half and not self._drop_old():
            if account is not None:
                self._old[key_id] = account
            return account
        if account is None:
            account = Account(key_id)
        self._young[key_id] = account
        return account

    def _drop_old(self) -> bool:
        """Make the young half the old one, but for what must stay. Whether there is room then."""
        used = self._used
        if len(used) >= self._half - self._half // _LEAST_ROOM:
            # Each request with another key comes here while nothing can be written.
            return False
        stay = {account.key_id: account for account in used}
        self._old = {key: account for key, account in self._young.items() if key not in stay}
        self._young = stay
        return True

    # What is used.

    def admit(self, account: Account) -> bool:
        """Count a request, or refuse it."""
        admitted = account.admit()
        if admitted:
            self._change(account)
        return admitted

    def _change(self, account: Account) -> None:
        if account not in self._changed:
            self._changed.add(account)
            self._use(account)

    def _use(self, account: Account) -> None:
        self._used[account] = self._used.get(account, 0) + 1

    def _leave(self, account: Account) -> None:
        uses = self._used[account] - 1
        if uses:
            self._used[account] = uses
        else:
            del self._used[account]

    def begin(self, exchange: Exchange, account: Account) -> Flow:
        """Count the bytes of an exchange from now on; it must be ended."""
        flow = Flow(exchange, account)
        self._flows.add(flow)
        self._use(account)
        return flow

    def end(self, flow: Flow, now: float) -> None:
        """The exchange is over."""
        if flow in self._flows:
            self._flows.discard(flow)
            self._leave(flow.account)
        self._count(flow, now)

    def count_flows(self, now: float) -> None:
        """Count what came of every exchange under way."""
        for flow in self._flows:
            self._count(flow, now)

    def _count(self, flow: Flow, now: float) -> None:
        exchange = flow.exchange
        size = exchange.bytes_in + exchange.bytes_out - flow.counted
        if size:
            flow.counted += size
            account = flow.account
            if not account.is_current(account.quotas, now):
                account.bring_up(account.quotas, now)
            account.add_bytes(size)
            self._change(account)

    # What is written.

    def batch(self) -> Batch | None:
        """What is to be written next; ``None`` where there is nothing."""
        if self._batch is None and self._changed:
            deltas = []
            for account in self._changed:
                for count in account.counts:
                    if count.is_new:
                        deltas.append(Delta(count, count.new_requests, count.new_bytes))
                        count.new_requests = count.new_bytes = 0
                self._leave(account)
            self._changed.clear()
            self._batches += 1
            self._batch = Batch(self._batches, deltas)
        return self._batch

    def written(self, totals: Sequence[Totals]) -> None:
        """The batch was written; ``totals`` is what the store has now, for each of its deltas."""
        assert self._batch is not None
        for delta, total in zip(self._batch.deltas, totals, strict=True):
            delta.count.learn(total)
        self._batch = None
