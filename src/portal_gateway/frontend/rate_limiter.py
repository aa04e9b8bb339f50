"""The rules of rate limits: what takes tokens for a request, and notes what its answer tells."""

from collections.abc import Callable
from functools import partial
from typing import Final

from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from portal_gateway.errors import GatewayError
from portal_gateway.exchange import Caller, Exchange
from portal_gateway.frontend.request import Request
from portal_gateway.policy.failed_attempts import FailedAttempts
from portal_gateway.policy.rate_limits import RateLimits, Tables
from portal_gateway.policy.request_limits import RequestLimits
from portal_gateway.policy.token_bucket import SECOND, take

__all__ = ["RateLimiter", "Verdict", "failures_over", "limit_failures", "sweeping"]

Verdict = GatewayError | None

_SWEEP_INTERVAL: Final = 1.0

_SWEPT_AT_ONCE: Final = 5_000
"""Buckets of each table that are looked at in one turn: some 2 ms of work. A million of them are
gone through in 200 s."""

_NOBODY = Caller("")

_NOT_WHO_THEY_SAY: Final = frozenset({400, 401})
"""The answers to no credential, to a wrong one, and to two of them."""


class RateLimiter:
    """Decides from memory. ``seconds`` is a clock that never goes back."""

    def __init__(self, limits: RateLimits, seconds: Callable[[], float]) -> None:
        self._limits = limits
        self._seconds = seconds

    def decide(self, request: Request, _now: float) -> Verdict | Deferred[Verdict]:
        """Take a token of every limit of the request, or give the refusal."""
        exchange = request.exchange
        limits = self._limits.of(
            exchange.caller or _NOBODY, exchange.lease_names, hides_names=exchange.hides_names
        )
        return None if limits is None else self.take(exchange, limits)

    def take(self, exchange: Exchange, limits: RequestLimits) -> Verdict | Deferred[Verdict]:
        """Decide about a request for which there are limits."""
        return self.take_from_memory(exchange, limits)

    def take_from_memory(self, exchange: Exchange, limits: RequestLimits) -> Verdict:
        """Decide by the buckets of this process."""
        admitted, until_full = take(limits.buckets, int(self._seconds() * SECOND))
        exchange.response_fields += limits.fields(until_full)
        return None if admitted else limits.refusal(until_full)


def limit_failures(
    authenticate: Callable[[Request, float], Verdict | Deferred[Verdict]],
    attempts: FailedAttempts,
    seconds: Callable[[], float],
) -> Callable[[Request, float], Verdict | Deferred[Verdict]]:
    """The rule ``authenticate``, whose refusals are counted for the client's address.

    One too many is answered with that instead. That keys cannot be looked up is nobody's failure.
    """

    return partial(_decide_and_count, authenticate, attempts, seconds)


def _decide_and_count(
    authenticate: Callable[[Request, float], Verdict | Deferred[Verdict]],
    attempts: FailedAttempts,
    seconds: Callable[[], float],
    request: Request,
    now: float,
) -> Verdict | Deferred[Verdict]:
    verdict = authenticate(request, now)
    if verdict is None:
        return None
    if isinstance(verdict, Deferred):
        return verdict.addCallback(_counted, attempts, seconds, request)
    return _counted(verdict, attempts, seconds, request)


def _counted(
    verdict: Verdict, attempts: FailedAttempts, seconds: Callable[[], float], request: Request
) -> Verdict:
    if verdict is None or verdict.cause.status not in _NOT_WHO_THEY_SAY:
        return verdict
    address = request.exchange.client_address
    return attempts.refusal(address, int(seconds() * SECOND)) or verdict


def failures_over(attempts: FailedAttempts, seconds: Callable[[], float]) -> Callable[[str], bool]:
    """Whether a network is over its limit of failed attempts now."""
    return partial(_is_over, attempts, seconds)


def _is_over(attempts: FailedAttempts, seconds: Callable[[], float], network: str) -> bool:
    return attempts.is_over(network, int(seconds() * SECOND))


def sweeping(tables: Tables, clock: IReactorTime) -> TimerService:
    """The service that drops buckets that are full, a part of them each second."""

    def sweep() -> None:
        tables.sweep(int(clock.seconds() * SECOND), _SWEPT_AT_ONCE)

    service = TimerService(_SWEEP_INTERVAL, sweep)
    service.clock = clock
    return service
