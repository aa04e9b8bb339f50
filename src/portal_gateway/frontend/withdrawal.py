"""What becomes of requests under way when the rules change.

They go on, but for those whose caller would not be let in any more: a key was revoked, in the file
or in the database, or a rule lost.
Those end with the refusal that a new request would get: as the answer where none has begun, else as
the last words that the protocol has room for.
"""

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from portal_gateway.errors import GatewayError, fault
from portal_gateway.exchange import Caller
from portal_gateway.frontend.guards import ASKED_AGAIN, ASKED_AGAIN_AT_LEASES, MakeRule, Rule, Rules
from portal_gateway.frontend.request import Request

if TYPE_CHECKING:
    from portal_gateway.frontend.stored_keys import StoredKeys

__all__ = ["make_judge", "withdraw", "withdraw_by_keys"]

Judge = Callable[[Request, float], GatewayError | None]


def make_judge(before: Rules, after: Rules) -> Judge:
    """What says whether a request that ``before`` let in would be let in by ``after``."""
    of_all = _made(ASKED_AGAIN, after)
    at_leases = _made(ASKED_AGAIN_AT_LEASES, after)
    tokens_hold = before.tokens is after.tokens
    stored_hold = before.stored_keys is after.stored_keys

    def judge(request: Request, now: float) -> GatewayError | None:
        caller = request.exchange.caller
        source = "" if caller is None else caller.source
        # The credential itself was not kept. What it was judged by is another one now.
        if source == "jwt" and not tokens_hold:
            return fault("invalid_token", "tokens are judged by another configuration now")
        if source == "database" and not stored_hold:
            return fault("invalid_api_key", "API keys are looked up elsewhere now")
        for rule in of_all if request.route is None else (*of_all, *at_leases):
            verdict = rule(request, now)
            if isinstance(verdict, GatewayError):
                return verdict
        later = None if after.later is None else after.later.judge
        return None if later is None else later(request, now)

    return judge


def withdraw_by_keys(
    requests: Iterable[Request],
    stored: "StoredKeys",
    key_ids: tuple[str, ...] | None,
    judge: Judge,
    wall_clock: Callable[[], float],
) -> None:
    """Ask again about requests with those keys of a database (``None``: with any of them).

    A key that cannot be looked up now ends nothing: it may be as good as before.
    """

    def found_again(found: Caller | GatewayError, request: Request) -> None:
        if request.over:
            return
        if isinstance(found, Caller):
            request.exchange.caller = found
            withdraw([request], judge, wall_clock())
        elif found.cause.status == HTTPStatus.UNAUTHORIZED:
            request.withdraw(found)

    for request in list(requests):
        caller = request.exchange.caller
        if request.over or request.route is None or caller is None or caller.source != "database":
            continue
        if key_ids is None or caller.key_id in key_ids:
            found = stored.look_up_again(caller.digest, wall_clock())
            if isinstance(found, Deferred):
                found.addCallback(found_again, request)
            else:
                found_again(found, request)


def _made(guards: Sequence[MakeRule], rules: Rules) -> list[Rule]:
    return [rule for make_rule in guards if (rule := make_rule(rules)) is not None]


def withdraw(requests: Iterable[Request], judge: Judge, now: float) -> int:
    """End those of ``requests`` that ``judge`` refuses; how many they are.

    One that still is before the guards' last verdict is theirs to judge.
    """
    ended = 0
    for request in list(requests):
        if request.over or request.route is None:
            continue
        refusal = judge(request, now)
        if refusal is not None:
            request.withdraw(refusal)
            ended += 1
    return ended
