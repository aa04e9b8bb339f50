"""Answers of the gateway's own, each sent whole."""

from collections.abc import Sequence

from portal_gateway.errors import GatewayError
from portal_gateway.frontend.problem import REASONS, problem_response
from portal_gateway.frontend.request import Request

__all__ = ["send_answer", "send_problem"]


def send_answer(
    request: Request, status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes = b""
) -> None:
    """Send a complete answer; a ``HEAD`` request gets the same header and no body."""
    request.send_head(status, REASONS[status], list(fields), length=len(body))
    if body:
        request.send_data(body)
    request.send_end()


def send_problem(request: Request, error: GatewayError) -> None:
    """Answer with what went wrong, and note it on the exchange."""
    request.exchange.error = error.cause.code
    status, fields, body = problem_response(error, request.exchange.request_id)
    send_answer(request, status, fields, body)
