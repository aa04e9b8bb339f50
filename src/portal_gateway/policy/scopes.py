"""Which scope a request needs, and the refusal of a caller who does not have it.

Each scope stands for itself: ``write`` does not include ``read``, and ``admin`` includes neither. A
WebSocket is opened with GET and then carries anything, so it needs ``write``. So does a GET that
asks for another method in a field or a parameter of its own: a lease may heed it.
"""

from collections.abc import Mapping
from types import MappingProxyType

from portal_gateway.errors import GatewayError, fault
from portal_gateway.exchange import Caller
from portal_gateway.policy.credentials import REALM
from portal_gateway.wire.method_overrides import fields_name_a_method, query_names_a_method

__all__ = [
    "ADMIN",
    "EVERYTHING_AT_LEASES",
    "READ",
    "WRITE",
    "required_scope",
    "scope_refusal",
    "scopes_of",
]

READ, WRITE, ADMIN = "read", "write", "admin"

EVERYTHING_AT_LEASES = frozenset({READ, WRITE})
"""The scopes with which no request to a lease has to be looked at any closer."""

_NONE: frozenset[str] = frozenset()

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""The methods of ``read``. Methods are compared with case (RFC 9110 section 9.1): ``get`` is none
of them."""


def scopes_of(caller: Caller | None) -> frozenset[str]:
    """What a caller may do; nobody may do nothing."""
    return _NONE if caller is None else caller.scopes


def required_scope(
    method: str, header: Mapping[bytes, bytes], *, is_websocket: bool, query: bytes = b""
) -> str:
    """The scope for a request to a lease; ``header`` has its fields by their names in lower case.

    An unknown method is one that writes.
    """
    if (
        method not in _READING
        or is_websocket
        or fields_name_a_method(header)
        or query_names_a_method(query)
    ):
        return WRITE
    return READ


def _refusal(scope: str, detail: str) -> tuple[str, tuple[tuple[bytes, bytes], ...]]:
    # RFC 6750 section 3.1; the order is that of its example.
    challenge = (
        f'Bearer realm="{REALM}", error="insufficient_scope",'
        f' error_description="The scope {scope} is needed", scope="{scope}"'
    )
    return detail, ((b"WWW-Authenticate", challenge.encode("ascii")),)


_REFUSALS = MappingProxyType(
    {
        READ: _refusal(READ, "this needs the scope read"),
        WRITE: _refusal(
            WRITE,
            "this needs the scope write: read is for GET, HEAD and OPTIONS that open no WebSocket"
            " and name no other method in a field or the query, and for calls of MCP that read",
        ),
        ADMIN: _refusal(ADMIN, "this needs the scope admin"),
    }
)


def scope_refusal(scope: str) -> GatewayError:
    """``insufficient_scope`` (403) with the challenge that names the missing ``scope``."""
    return fault("insufficient_scope", *_REFUSALS[scope])
