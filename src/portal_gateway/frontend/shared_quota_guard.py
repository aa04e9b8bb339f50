"""The rule of quotas that several gateways share."""

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from portal_gateway.config.rate_limits import OnFailure
from portal_gateway.errors import fault
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.quota_guard import QuotaGuard, Verdict
from portal_gateway.frontend.quota_keeper import QuotaKeeper, used_in
from portal_gateway.policy.quota_counts import Account, Current, Totals
from portal_gateway.policy.quotas import Quotas
from portal_gateway.store.redis import RedisUnavailable
from portal_gateway.store.shared_quotas import QuotaCall, SharedQuotas

__all__ = ["SharedQuotaGuard"]


class SharedQuotaGuard(QuotaGuard):
    """Counts in Redis, and by ``on_failure`` where that fails."""

    def __init__(
        self, quotas: Quotas, keeper: QuotaKeeper, shared: SharedQuotas, on_failure: OnFailure
    ) -> None:
        super().__init__(quotas, keeper)
        self._shared = shared
        self._on_failure = on_failure

    def ask(self, account: Account) -> None:
        """What is used is read together with counting the request."""

    def take(self, exchange: Exchange, account: Account, now: float) -> Verdict | Deferred[Verdict]:
        """Count the request in Redis, unless it is known that there will be no answer."""
        if not self._shared.scripts.usable:
            return self._fall_back(exchange, account, now)
        return self._shared.take(self._prepared(account)).addCallbacks(
            self._taken,
            self._not_taken,
            callbackArgs=(exchange, account, account.current, now),
            errbackArgs=(exchange, account, now),
        )

    def _prepared(self, account: Account) -> QuotaCall:
        call = account.prepared
        if not isinstance(call, QuotaCall):
            call = account.prepared = self._shared.prepare(
                [
                    (used_in(count), quota.requests, quota.bandwidth)
                    for quota, count in account.current
                ]
            )
        return call

    def _taken(
        self,
        answer: tuple[bool, list[Totals]],
        exchange: Exchange,
        account: Account,
        current: Current,
        now: float,
    ) -> Verdict:
        admitted, totals = answer
        for (_, count), total in zip(current, totals, strict=True):
            count.learn(total)
        return self.told(exchange, account, current, now, admitted=admitted)

    def _not_taken(
        self, failure: Failure, exchange: Exchange, account: Account, now: float
    ) -> Verdict:
        failure.trap(RedisUnavailable)
        return self._fall_back(exchange, account, now)

    def _fall_back(self, exchange: Exchange, account: Account, now: float) -> Verdict:
        self._shared.scripts.figures.fallbacks += 1
        if self._on_failure == "local":
            return self.take_from_memory(exchange, account, now)
        if self._on_failure == "open":
            return None
        return fault("limits_unavailable", "the store of the quotas cannot be asked")
