"""The errors that a client or an operator can see: one table from cause to answer.

::

    GatewayError               carries a Cause of the table, a public detail, extra header fields
    ├── ClientFault            4xx, 501: the caller can mend it; never counts against a lease
    ├── GatewayFault           500: a defect of ours; 503: a store of ours is away
    └── UpstreamFault          502, 503, 504: the relay or the lease
        ├── RelayFault         … no way to the relay, or it broke its protocol
        └── LeaseFault         … the lease is away, or broke its protocol

A ``detail`` is written for the caller: it never holds a secret, a traceback or a stranger's raw
text. ``frontend/problem.py`` is the only writer of error bodies; it reads this table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

__all__ = [
    "CAUSES",
    "Cause",
    "ClientFault",
    "ContestedName",
    "GatewayError",
    "GatewayFault",
    "LeaseFault",
    "RelayFault",
    "UpstreamFault",
    "fault",
]


@dataclass(frozen=True, slots=True)
class Cause:
    """One row of the table.

    ``code`` is the stable name that clients match on; ``status`` the HTTP status code; ``title``
    the summary that is the same for every occurrence (RFC 9457 section 3.1.3); ``retry_after`` the
    seconds after which the same request may succeed (RFC 9110 section 10.2.3), ``None`` when
    waiting does not help; ``proxy_error`` the RFC 9209 section 2.3 error type, ``None`` when no
    upstream was involved; ``closes`` whether the client's connection can be used no further.
    """

    code: str
    status: int
    title: str
    retry_after: int | None = None
    proxy_error: str | None = None
    closes: bool = False


_ROWS = (
    # What the caller sent.
    Cause("bad_request", 400, "The request cannot be read in one way only", closes=True),
    Cause("invalid_path", 400, "The path does not name one lease in one way only"),
    Cause("ambiguous_credentials", 400, "Two different credentials were sent"),
    Cause(
        "ambiguous_forwarding", 400, "Where the request came from cannot be told in one way only"
    ),
    Cause("ambiguous_field", 400, "A header field that could be taken for another one"),
    Cause("mcp_header_mismatch", 400, "A header field does not agree with the message"),
    Cause("missing_api_key", 401, "An API key is needed"),
    Cause("invalid_api_key", 401, "The API key is not valid"),
    Cause("expired_api_key", 401, "The API key has expired"),
    Cause("invalid_token", 401, "The token is not valid"),
    Cause("expired_token", 401, "The token has expired"),
    Cause("address_not_allowed", 403, "The client's address is not allowed"),
    Cause("insufficient_scope", 403, "The credential's scopes do not reach that far"),
    Cause("lease_access_denied", 403, "The credential is not for this lease"),
    Cause("not_found", 404, "There is nothing here"),
    Cause("lease_not_found", 404, "No such lease"),
    Cause("method_not_allowed", 405, "The method is not allowed here"),
    Cause("request_timeout", 408, "The request did not arrive in time", closes=True),
    Cause("content_too_large", 413, "The request body is too large", closes=True),
    Cause("uri_too_long", 414, "The request target is too long", closes=True),
    Cause("upgrade_required", 426, "Another protocol is spoken here"),
    Cause("rate_limit_exceeded", 429, "Too many requests"),
    Cause("quota_exceeded", 429, "The quota is used up"),
    Cause("header_fields_too_large", 431, "The request header is too large", closes=True),
    # What the gateway did.
    Cause("internal_error", 500, "The gateway failed", None, "proxy_internal_error"),
    Cause("method_not_implemented", 501, "The method is not supported", closes=True),
    Cause("gateway_stopping", 503, "The gateway is stopping", 1, "proxy_internal_error"),
    Cause("keys_unavailable", 503, "Keys cannot be looked up", 5, "proxy_internal_error"),
    Cause("token_keys_unavailable", 503, "Tokens cannot be verified", 5, "proxy_internal_error"),
    Cause("limits_unavailable", 503, "Limits cannot be counted", 5, "proxy_internal_error"),
    # What the relay or the lease did.
    Cause("upstream_closed", 502, "The lease closed the connection", None, "connection_terminated"),
    Cause("upstream_protocol_error", 502, "The lease broke HTTP", None, "http_protocol_error"),
    Cause(
        "relay_protocol_error", 502, "The relay broke its protocol", None, "connection_terminated"
    ),
    Cause("upstream_tls_error", 502, "No TLS with the lease", None, "tls_protocol_error"),
    Cause("identity_mismatch", 502, "The lease is another's", None, "tls_certificate_error"),
    Cause("relay_unavailable", 503, "The relay cannot be reached", 5, "destination_unavailable"),
    Cause("lease_offline", 503, "The lease is offline", 5, "destination_unavailable"),
    Cause("lease_busy", 503, "The lease takes no more connections", 1, "connection_limit_reached"),
    Cause("upstream_timeout", 504, "The lease did not answer in time", None, "connection_timeout"),
)

CAUSES = {cause.code: cause for cause in _ROWS}
"""Every cause by its code."""


class GatewayError(Exception):
    """A request ends with an answer of the gateway's own.

    ``fields`` are further header fields of the answer, such as ``WWW-Authenticate``. ``rpc`` is for
    an answer in the form of a JSON-RPC error: its code, and the id of the message that it is about.
    """

    def __init__(
        self,
        cause: Cause,
        detail: str,
        fields: Sequence[tuple[bytes, bytes]] = (),
        rpc: tuple[int, str | int | None] | None = None,
    ) -> None:
        super().__init__(f"{cause.code}: {detail}")
        self.cause = cause
        self.detail = detail
        self.fields = tuple(fields)
        self.rpc = rpc


class ClientFault(GatewayError):
    """The caller can do something about it."""


class ContestedName(ClientFault):
    """``lease_not_found``: a relay lists the name, but it is nobody's there, nor anywhere else."""

    def __init__(self) -> None:
        super().__init__(
            CAUSES["lease_not_found"],
            "Several leases have that name. Spell it as the lease does, or ask by the lease's id.",
        )


class GatewayFault(GatewayError):
    """A defect of the gateway's own, or something is away that only the gateway needs."""


class UpstreamFault(GatewayError):
    """What is behind the gateway failed."""


class RelayFault(UpstreamFault):
    """There is no way to the relay, or it broke its protocol."""


class LeaseFault(UpstreamFault):
    """The lease is away, or broke its protocol."""


def fault(
    code: str,
    detail: str,
    fields: Sequence[tuple[bytes, bytes]] = (),
    rpc: tuple[int, str | int | None] | None = None,
) -> GatewayError:
    """The error for a ``code`` of the table, in the class that says whose fault it is.

    Raises ``KeyError`` for a code that the table does not have.
    """
    cause = CAUSES[code]
    kind: type[GatewayError]
    if cause.status < HTTPStatus.INTERNAL_SERVER_ERROR or code == "method_not_implemented":
        kind = ClientFault
    elif cause.proxy_error == "proxy_internal_error":
        kind = GatewayFault
    elif code.startswith("relay_"):
        kind = RelayFault
    else:
        kind = LeaseFault
    return kind(cause, detail, fields, rpc)
