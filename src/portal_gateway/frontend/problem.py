"""The one writer of error bodies: problem+json (RFC 9457).

Beside the members of the standard a body has ``error``, the stable code of the table in
``portal_gateway.errors``, and ``request_id``. ``type`` is a tag URI (RFC 4151): a name, not a page.
Where a protocol wants its own errors, a body is a JSON-RPC error with the same two as its data.
"""

import json

from portal_gateway.errors import GatewayError

__all__ = ["problem_response"]

_NO_STORE = (b"Cache-Control", b"no-store")
_JSON = (b"Content-Type", b"application/json")
_PROBLEM_JSON = (b"Content-Type", b"application/problem+json")


def _problem(error: GatewayError, request_id: str) -> dict[str, object]:
    cause = error.cause
    return {
        "type": f"tag:portal-gateway,2026:{cause.code}",
        "title": cause.title,
        "status": cause.status,
        "detail": error.detail,
        "error": cause.code,
        "request_id": request_id,
    }


def _rpc_error(
    error: GatewayError, code: int, message_id: str | int | None, request_id: str
) -> dict[str, object]:
    data = {"error": error.cause.code, "request_id": request_id}
    return {
        "jsonrpc": "2.0",
        "id": message_id,
        "error": {"code": code, "message": error.detail, "data": data},
    }


def problem_response(
    error: GatewayError, request_id: str
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, header fields and body of the answer that tells a client about ``error``."""
    cause = error.cause
    if error.rpc is None:
        told = _problem(error, request_id)
    else:
        told = _rpc_error(error, *error.rpc, request_id)
    body = json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")
    fields = [
        _PROBLEM_JSON if error.rpc is None else _JSON,
        _NO_STORE,
        (b"X-Request-ID", request_id.encode("ascii", "replace")),
    ]
    if cause.retry_after is not None:
        fields.append((b"Retry-After", b"%d" % cause.retry_after))
    if cause.proxy_error is not None:
        # RFC 9209 section 2: our name, the type of error, and the code as a quoted string.
        status = f'portal-gateway; error={cause.proxy_error}; details="{cause.code}"'
        fields.append((b"Proxy-Status", status.encode("ascii")))
    fields.extend(error.fields)
    return cause.status, fields, body
