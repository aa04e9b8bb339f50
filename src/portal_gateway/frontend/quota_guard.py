"""The rule of quotas: counts a request, or refuses it."""

from twisted.internet.defer import Deferred

from portal_gateway.errors import GatewayError, fault
from portal_gateway.exchange import Caller, Exchange
from portal_gateway.frontend.quota_keeper import QuotaKeeper
from portal_gateway.frontend.request import Request
from portal_gateway.policy.quota_counts import Account, Current, comes_to_its_end
from portal_gateway.policy.quota_words import quota_refusal, warning_fields
from portal_gateway.policy.quotas import Quota, Quotas

__all__ = ["QuotaGuard"]

Verdict = GatewayError | None


def _no_room() -> GatewayError:
    return fault("limits_unavailable", "too many keys are in use to count for another one")


class QuotaGuard:
    """Decides from memory, once the use of the caller is known there."""

    def __init__(self, quotas: Quotas, keeper: QuotaKeeper) -> None:
        self._quotas = quotas
        self._keeper = keeper
        self._table = keeper.table

    def decide(self, request: Request, now: float) -> Verdict | Deferred[Verdict]:
        """Count the request in each quota of its caller, or give the refusal."""
        exchange = request.exchange
        caller = exchange.caller
        quotas = () if caller is None else self._quotas.of(caller)
        if caller is None or not quotas:
            return None
        account = self._table.account(caller.key_id, quotas, now)
        if account is not None and not account.is_known:
            asked = self.ask(account)
            if asked is not None:
                return asked.addCallback(self._asked, exchange, caller, quotas, now)
        return _no_room() if account is None else self.take(exchange, account, now)

    def ask(self, account: Account) -> Deferred[None] | None:
        """Read what the caller has used, if that has to be read and can be."""
        return self._keeper.ask(account)

    def _asked(
        self, _over: None, exchange: Exchange, caller: Caller, quotas: tuple[Quota, ...], now: float
    ) -> Verdict | Deferred[Verdict]:
        """The use of the caller is known now, or cannot be."""
        account = self._table.account(caller.key_id, quotas, now)
        return _no_room() if account is None else self.take(exchange, account, now)

    # For ``/whoami``.

    def refresh(self, caller: Caller) -> Deferred[None] | None:
        """Read what the caller has used, other processes' part too, if that can be read."""
        account = self._account(caller)
        return None if account is None else self._keeper.ask(account, anew=True)

    def current(self, caller: Caller) -> Current:
        """The caller's quotas, with what is known to be used."""
        account = self._account(caller)
        return () if account is None else account.current

    def _account(self, caller: Caller) -> Account | None:
        quotas = self._quotas.of(caller)
        return self._table.account(caller.key_id, quotas, self._keeper.now()) if quotas else None

    # Counting.

    def take(self, exchange: Exchange, account: Account, now: float) -> Verdict | Deferred[Verdict]:
        """Decide about a request of a caller who has quotas."""
        return self.take_from_memory(exchange, account, now)

    def take_from_memory(self, exchange: Exchange, account: Account, now: float) -> Verdict:
        """Decide by what is in memory."""
        admitted = self._table.admit(account)
        return self.told(exchange, account, account.current, now, admitted=admitted)

    def told(
        self, exchange: Exchange, account: Account, current: Current, now: float, *, admitted: bool
    ) -> Verdict:
        """The verdict, and what goes with it: bytes are counted, warnings are given."""
        if admitted:
            exchange.quota_flow = self._table.begin(exchange, account)
        else:
            self._table.refused += 1
        if comes_to_its_end(current):
            exchange.response_fields += warning_fields(current, now)
        return None if admitted else quota_refusal(current, now)
