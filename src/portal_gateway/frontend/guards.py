"""The guards: each asks one rule whether a request may pass, before what they stand in front of.

A rule takes the request and the unix time. It gives ``None`` to let the request pass, or the error
to answer with; what it finds out it notes on the exchange. It decides by a pure function of
``policy``, from memory and at once. Only a rule that has to ask somebody else gives a Deferred of
the same. `GUARDS` is the order of the rules. To add a guard is to write what it decides, in
``deciding``, how its rule is made, and a line there.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from portal_gateway.errors import GatewayError
from portal_gateway.frontend import deciding
from portal_gateway.frontend.authentication import authentication
from portal_gateway.frontend.mcp_refusal import refused_as_rpc
from portal_gateway.frontend.quota_guard import QuotaGuard
from portal_gateway.frontend.rate_limiter import RateLimiter, failures_over, limit_failures
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.tokens import Tokens
from portal_gateway.policy.address_sets import AddressSet
from portal_gateway.policy.credentials import KeyTable
from portal_gateway.policy.failed_attempts import FailedAttempts
from portal_gateway.policy.lease_access import LeaseAccess
from portal_gateway.policy.lease_settings import LeaseAddresses, LeasePaths
from portal_gateway.policy.websocket_opening import wants_websocket
from portal_gateway.relay.route import Route

if TYPE_CHECKING:
    from portal_gateway.frontend.stored_keys import StoredKeys

__all__ = [
    "ADMIN_GUARDS",
    "ASKED_AGAIN",
    "ASKED_AGAIN_AT_LEASES",
    "GUARDS",
    "WHOAMI_GUARDS",
    "GuardedResource",
    "Later",
    "MakeRule",
    "Rule",
    "Rules",
    "Verdict",
    "guarded",
]

_log = Logger(__name__)

Verdict = GatewayError | None
"""A refusal, or nothing against it."""

Rule = Callable[[Request, float], Verdict | Deferred[Verdict]]
"""Request and unix time to a verdict.

A Deferred may also fail, with the refusal or with a defect. It is cancelled when the request is
over before it fires. Meanwhile nobody reads the request's body: of it no more is kept than
`portal_gateway.frontend.body.UNREAD_BOUND`.
"""


class Later:
    """What became of some rules: ``judge`` is the last word once others are in their place.

    A request that waits for a verdict meanwhile must not pass by what held when it came.
    """

    judge: Callable[[Request, float], Verdict] | None = None


class Rules(NamedTuple):
    """What the guards decide by, compiled from the configuration.

    What is ``None`` decides nothing. ``monotonic`` is a clock that never goes back. ``later`` tells
    of the rules that came after these.
    """

    keys: KeyTable
    tokens: Tokens | None = None
    stored_keys: "StoredKeys | None" = None
    addresses: AddressSet | None = None
    limiter: RateLimiter | None = None
    quotas: QuotaGuard | None = None
    failed_attempts: FailedAttempts | None = None
    access: LeaseAccess | None = None
    lease_addresses: LeaseAddresses | None = None
    mcp: LeasePaths | None = None
    find: Callable[[str], Route | Deferred[Route]] | None = None
    monotonic: Callable[[], float] = time.monotonic
    later: Later | None = None


def _addresses(rules: Rules) -> Rule | None:
    return None if rules.addresses is None else partial(deciding.by_address, rules.addresses)


def _authentication(rules: Rules) -> Rule:
    attempts = rules.failed_attempts
    if attempts is None:
        return authentication(rules.keys, rules.tokens, rules.stored_keys)
    is_over = failures_over(attempts, rules.monotonic)
    decide = authentication(rules.keys, rules.tokens, rules.stored_keys, is_over)
    return limit_failures(decide, attempts, rules.monotonic)


def _addresses_of_caller(_rules: Rules) -> Rule:
    return deciding.by_callers_addresses


def _lease(rules: Rules) -> Rule | None:
    return None if rules.find is None else partial(deciding.find_lease, rules.find)


def _lease_scope(rules: Rules) -> Rule:
    return partial(deciding.by_scope, rules.mcp)


def _addresses_of_lease(rules: Rules) -> Rule | None:
    lists = rules.lease_addresses
    return partial(deciding.by_leases_addresses, lists) if lists else None


def _lease_access(rules: Rules) -> Rule:
    return partial(deciding.by_access, rules.access)


def _admin_scope(_rules: Rules) -> Rule:
    return deciding.by_admin_scope


def _same_caller(rules: Rules) -> Rule:
    return partial(deciding.by_known_key, rules.keys)


def _same_scope(rules: Rules) -> Rule:
    return partial(deciding.by_scope_again, rules.mcp)


def _limits(rules: Rules) -> Rule | None:
    if rules.limiter is None:
        return None
    return _told_as_rpc(rules, rules.limiter.decide)


def _quota(rules: Rules) -> Rule | None:
    return None if rules.quotas is None else _told_as_rpc(rules, rules.quotas.decide)


def _told_as_rpc(rules: Rules, decide: Rule) -> Rule:
    return refused_as_rpc(decide, rules.mcp) if rules.mcp else decide


MakeRule = Callable[[Rules], Rule | None]

GUARDS: Sequence[MakeRule] = (
    _addresses,
    _authentication,
    _addresses_of_caller,
    _lease,
    _lease_scope,
    _lease_access,
    _addresses_of_lease,
    _limits,
    _quota,
)
"""Every guard in front of a lease, in the order in which they are asked.

That is: the client's address, who it is, which lease is meant, whether the caller's scopes allow
the request, whether it may use the lease, the limits of everybody, of the key and of the lease
(taken together or not at all), the quota. What makes no rule (``None``) has nothing to decide in
this configuration.
"""

ADMIN_GUARDS: Sequence[MakeRule] = (
    _addresses,
    _authentication,
    _addresses_of_caller,
    _admin_scope,
)
"""Every guard in front of the administration, likewise."""


ASKED_AGAIN: Sequence[MakeRule] = (_addresses, _same_caller, _addresses_of_caller)
ASKED_AGAIN_AT_LEASES: Sequence[MakeRule] = (_same_scope, _lease_access, _addresses_of_lease)
"""What is asked again about a request that was admitted by other rules than those of now."""


WHOAMI_GUARDS: Sequence[MakeRule] = (_addresses, _authentication, _addresses_of_caller, _limits)
"""Every guard in front of what a caller is told about itself, likewise."""


class GuardedResource(Resource):
    """Renders the resource within for requests that every rule admits, an error for the others."""

    isLeaf = True

    def __init__(
        self,
        rules: Sequence[Rule],
        within: IResource,
        wall_clock: Callable[[], float],
        later: Later | None = None,
    ) -> None:
        super().__init__()
        self._later = later or Later()
        self._rules = tuple(rules)
        self._within = within
        self._wall_clock = wall_clock

    def render(self, request: Request) -> Any:
        """Decide, then answer or pass on."""
        exchange = request.exchange
        exchange.is_secure = request.is_secure
        exchange.is_websocket = wants_websocket(request.head)
        return self._ask(iter(self._rules), request)

    def _ask(self, rules: Iterator[Rule], request: Request) -> Any:
        now = self._wall_clock()
        for rule in rules:
            verdict = rule(request, now)
            if verdict is None:
                continue
            if isinstance(verdict, Deferred):
                self._wait(verdict, rules, request)
            else:
                request.fail(verdict)
            return NOT_DONE_YET
        judge = self._later.judge
        if judge is not None:
            refusal = judge(request, now)
            if refusal is not None:
                request.fail(refusal)
                return NOT_DONE_YET
        return self._within.render(request)

    def _wait(self, verdict: Deferred[Verdict], rules: Iterator[Rule], request: Request) -> None:
        """Go on when there is a verdict, or never if the request is over by then."""

        def decided(result: Verdict | Failure) -> None:
            if not request.over:
                request.site.render_by(partial(self._resume, result, rules), request)
            elif isinstance(result, Failure) and not result.check(CancelledError, GatewayError):
                # Nobody can be answered any more, and a defect is to be known all the same.
                request_id = request.exchange.request_id
                _log.failure("a guard failed", failure=result, request_id=request_id)

        request.notifyFinish().addBoth(lambda _over: verdict.cancel())
        verdict.addBoth(decided)

    def _resume(self, result: Verdict | Failure, rules: Iterator[Rule], request: Request) -> Any:
        """Raises the refusal, or the defect, that the rule came to."""
        if isinstance(result, Failure):
            result.raiseException()
        if result is not None:
            raise result
        return self._ask(rules, request)


def guarded(
    within: IResource,
    rules: Rules,
    wall_clock: Callable[[], float],
    guards: Sequence[MakeRule] | None = None,
) -> IResource:
    """The resource behind those of ``guards`` that have something to decide, in their order.

    Without them, behind `GUARDS`.
    """
    made = [make_rule(rules) for make_rule in (GUARDS if guards is None else guards)]
    rules_made = [rule for rule in made if rule is not None]
    return GuardedResource(rules_made, within, wall_clock, rules.later)
