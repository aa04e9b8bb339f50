"""The rule of rate limits that several gateways share."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from portal_gateway.config.rate_limits import OnFailure
from portal_gateway.errors import fault
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.rate_limiter import RateLimiter, Verdict
from portal_gateway.policy.rate_limits import RateLimits
from portal_gateway.policy.request_limits import RequestLimits
from portal_gateway.store.redis import RedisUnavailable
from portal_gateway.store.shared_buckets import SharedBuckets

__all__ = ["SharedRateLimiter"]


class SharedRateLimiter(RateLimiter):
    """Decides by buckets that several gateways share, and by ``on_failure`` where that fails."""

    def __init__(
        self,
        limits: RateLimits,
        seconds: Callable[[], float],
        shared: SharedBuckets,
        on_failure: OnFailure,
    ) -> None:
        super().__init__(limits, seconds)
        self._shared = shared
        self._on_failure = on_failure

    def take(self, exchange: Exchange, limits: RequestLimits) -> Verdict | Deferred[Verdict]:
        """Ask for tokens, unless it is known that there will be no answer."""
        if not self._shared.scripts.usable:
            return self._fall_back(exchange, limits)
        return self._shared.take(limits.prepared).addCallbacks(
            self._taken,
            self._not_taken,
            callbackArgs=(exchange, limits),
            errbackArgs=(exchange, limits),
        )

    def _taken(
        self, answer: tuple[bool, list[int]], exchange: Exchange, limits: RequestLimits
    ) -> Verdict:
        admitted, until_full = answer
        exchange.response_fields += limits.fields(until_full)
        return None if admitted else limits.refusal(until_full)

    def _not_taken(self, failure: Failure, exchange: Exchange, limits: RequestLimits) -> Verdict:
        failure.trap(RedisUnavailable)
        return self._fall_back(exchange, limits)

    def _fall_back(self, exchange: Exchange, limits: RequestLimits) -> Verdict:
        self._shared.scripts.figures.fallbacks += 1
        if self._on_failure == "local":
            return self.take_from_memory(exchange, limits)
        if self._on_failure == "open":
            return None
        return fault("limits_unavailable", "the store of the rate limits cannot be asked")
