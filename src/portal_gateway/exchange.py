"""The exchange: everything known about one request, from its first byte to its log line.

Guards and the proxy read and write it; the access log is drawn from it once, when it is over.
"""

from dataclasses import dataclass, field

__all__ = ["Caller", "Exchange"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, as authentication found it: a key's id, never the key."""

    key_id: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    description: str = ""


@dataclass(slots=True)
class Exchange:
    """One request and its answer.

    Times are seconds of the reactor's monotonic clock; byte counts are of bodies, as carried on the
    client's side. ``lease_prefix`` is the part of the raw path by which the client addresses the
    lease, without its last slash; ``upstream_target`` what the lease gets as its request target,
    ``None`` where that slash is missing.
    """

    request_id: str
    client_address: str
    started: float
    method: str = ""
    path: str = ""
    user_agent: str = ""
    lease: str | None = None
    lease_prefix: bytes = b""
    upstream_target: bytes | None = None
    caller: Caller | None = None
    status: int = 0
    error: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    aborted: bool = False
    first_byte: float | None = None
    finished: float | None = None
    reused_connection: bool = False
    attempts: int = 0
