"""Guarded resources: each asks one rule whether a request may pass, and wraps what it guards.

A rule is a pure decision of ``policy``; it gets the facts of the request and the time, and gives
``None`` to let the request pass or the error to answer with. `GUARDS` is their order, outermost
first. To add a guard is to write its rule and to add a line there.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from portal_gateway.errors import GatewayError
from portal_gateway.exchange import Caller, Exchange
from portal_gateway.frontend.request import Request
from portal_gateway.policy.credentials import KeyTable
from portal_gateway.wire.http_fields import Headers

__all__ = ["GUARDS", "GuardedResource", "Rule", "Rules", "guarded"]

Rule = Callable[[Exchange, Headers, float], GatewayError | None]
"""Exchange, header fields and unix time to a refusal, or ``None``."""


class Rules(NamedTuple):
    """What the guards decide by, compiled from the configuration."""

    keys: KeyTable


def _authentication(rules: Rules) -> Rule:
    authenticate = rules.keys.authenticate

    def decide(exchange: Exchange, headers: Headers, now: float) -> GatewayError | None:
        caller = authenticate(headers, now)
        if isinstance(caller, Caller):
            exchange.caller = caller
            return None
        return caller

    return decide


GUARDS: Sequence[Callable[[Rules], Rule]] = (_authentication,)
"""Every guard in front of a lease, outermost first."""


class GuardedResource(Resource):
    """Renders the resource within for requests that the rule admits, an error for the others."""

    isLeaf = True

    def __init__(self, rule: Rule, within: IResource, wall_clock: Callable[[], float]) -> None:
        super().__init__()
        self._rule = rule
        self._within = within
        self._wall_clock = wall_clock

    def render(self, request: Request) -> Any:
        """Decide, then answer or pass on."""
        refusal = self._rule(request.exchange, request.head.headers, self._wall_clock())
        if refusal is None:
            return self._within.render(request)
        request.fail(refusal)
        return NOT_DONE_YET


def guarded(within: IResource, rules: Rules, wall_clock: Callable[[], float]) -> IResource:
    """The resource behind every guard, in their order."""
    for make_rule in reversed(GUARDS):
        within = GuardedResource(make_rule(rules), within, wall_clock)
    return within
