"""Looking into a call of the Model Context Protocol, for a caller who may only read."""

from twisted.internet.defer import Deferred

from portal_gateway.errors import GatewayError
from portal_gateway.frontend.request import Request
from portal_gateway.policy.mcp_calls import only_reads
from portal_gateway.policy.scopes import WRITE, asks_for_another_method, scope_refusal

__all__ = ["judge_call", "may_be_call"]


def may_be_call(request: Request) -> bool:
    """Whether a request is such that its body can say that it only reads."""
    head = request.head
    return head.method == b"POST" and not asks_for_another_method(head.index)


def judge_call(request: Request) -> Deferred[GatewayError | None]:
    """The refusal, or nothing, once the body is there.

    It goes to the lease as it came. One that is longer than is kept of a body that nobody reads, or
    never complete, needs ``write`` whatever it says.
    """

    def judge(body: bytes | None) -> GatewayError | None:
        reads = only_reads(request.head, body)
        if isinstance(reads, GatewayError):
            return reads
        return None if reads else scope_refusal(WRITE)

    return request.peek_body().addCallback(judge)
