"""Looking into a call of the Model Context Protocol, for a caller who may only read."""

from twisted.internet.defer import Deferred

from portal_gateway.errors import GatewayError
from portal_gateway.frontend.request import Request
from portal_gateway.policy.lease_settings import LeasePaths
from portal_gateway.policy.mcp_calls import may_be_call, only_reads
from portal_gateway.policy.scopes import WRITE, scope_refusal

__all__ = ["is_at_endpoint", "judge_call", "may_be_call"]


def is_at_endpoint(endpoints: LeasePaths | None, request: Request) -> bool:
    """Whether a request goes to a path at which its lease speaks the protocol.

    One without the slash behind the lease is judged as the redirect will have it repeated.
    """
    if not endpoints:
        return False
    exchange = request.exchange
    target = exchange.upstream_target
    path = b"/" if target is None else target.partition(b"?")[0]
    return endpoints.has(exchange.lease_names, path)


def judge_call(request: Request) -> Deferred[GatewayError | None]:
    """The refusal, or nothing, once the body is there; the exchange knows then that it only reads.

    It goes to the lease as it came. One that is longer than is kept of a body that nobody reads, or
    never complete, needs ``write`` whatever it says.
    """

    def judge(body: bytes | None) -> GatewayError | None:
        reads = only_reads(request.head, body)
        if isinstance(reads, GatewayError):
            return reads
        request.exchange.only_reads = reads
        return None if reads else scope_refusal(WRITE)

    return request.peek_body().addCallback(judge)
