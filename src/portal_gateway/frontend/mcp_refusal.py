"""Refusing a call of the Model Context Protocol in its own words.

Agents look for the answer to their message; a problem document is none, and many take it for a
lease that is broken. So where a limit refuses a call, the answer is a JSON-RPC error with the id of
the message, under the same status and header fields.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred

from portal_gateway.errors import GatewayError
from portal_gateway.frontend.mcp_scope import is_at_endpoint
from portal_gateway.frontend.request import Request
from portal_gateway.policy.lease_settings import LeasePaths
from portal_gateway.policy.mcp_calls import told_as_rpc

__all__ = ["refused_as_rpc"]

Verdict = GatewayError | None
Rule = Callable[[Request, float], Verdict | Deferred[Verdict]]

_MOST_READ: Final = 16 * 1024
"""Bytes of a body that is read only to be refused: reading JSON takes some 10 µs for each KiB."""


def refused_as_rpc(rule: Rule, endpoints: LeasePaths) -> Rule:
    """The same rule, whose refusals of calls at ``endpoints`` are told as JSON-RPC."""

    def decide(request: Request, now: float) -> Verdict | Deferred[Verdict]:
        verdict = rule(request, now)
        if isinstance(verdict, Deferred):
            return verdict.addCallback(tell, request)
        return tell(verdict, request)

    def tell(verdict: Verdict, request: Request) -> Verdict | Deferred[Verdict]:
        if verdict is None or not is_at_endpoint(endpoints, request):
            return verdict
        head = request.head
        # Nobody is asked for a body that is of no use.
        if head.method != b"POST" or request.awaits_continue:
            return verdict
        if not 0 < (head.content_length or 0) <= _MOST_READ:
            return verdict
        return request.peek_body().addCallback(partial(told_as_rpc, verdict, head))

    return decide
