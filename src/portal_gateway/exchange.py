"""The exchange: everything known about one request, from its first byte to its log line.

Guards and the proxy read and write it; the access log is drawn from it once, when it is over.
"""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Caller", "Exchange", "Passage"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, as authentication found it: a key's id, never the key.

    ``plan`` names what the caller is entitled to, empty for nothing in particular. ``leases`` are
    the patterns of lease names that the caller is held to, ``None`` where only the configuration's
    rules hold. ``addresses`` are those that the caller may come from, ``None`` for any. ``source``
    says where the caller is known from: ``file``, ``database`` or ``jwt``. ``digest`` is the
    SHA-256 of the key, where there is one: rules may name a key by it.
    """

    key_id: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    description: str = ""
    plan: str = ""
    leases: tuple[str, ...] | None = None
    addresses: Container[str] | None = None
    source: str = "file"
    digest: bytes = field(default=b"", repr=False)


class Passage(NamedTuple):
    """How a request came through trusted proxies.

    ``addresses`` are whom each hop was asked by, the client's first, the peer's of our own
    connection last, where it has one. ``scheme`` and ``host`` are what the client asked for as the
    proxies tell it, empty where they do not.
    """

    addresses: tuple[str, ...]
    scheme: bytes = b""
    host: bytes = b""


class Exchange:
    """One request and its answer.

    ``sent_fields`` is the request's header by names in lower case: the log must not show the
    credentials in it, wherever else the client wrote them. ``query`` is what follows the path, as
    it was sent. Times are seconds of the reactor's monotonic clock; byte counts are of bodies, as
    carried on the client's side. ``client_address`` is the peer's, or where that is a trusted proxy
    the one that ``passage`` begins with; ``is_from_proxy`` says that the peer is a trusted proxy,
    whether it told a passage or not. ``has_odd_fields`` says that some of the header's fields may
    not be a client's to send. ``lease`` is what the client calls the lease until it is looked up,
    and then what it is called (``lease_is_known``); ``lease_names`` are all that rules may know it
    by, its id among them where it is known, and ``hides_names`` says that it may have others.
    ``lease_prefix`` is the part of the raw path by which the client addresses the lease,
    without its last slash; ``upstream_target`` what the lease gets as its request target, ``None``
    where that slash is missing. ``is_secure`` (the request came over TLS) and ``is_websocket`` (it
    asks for one) are known from the first guard on. ``only_reads`` says that the body is a call of
    MCP that was found to read only. ``response_fields`` are what guards have to tell: they go on
    the final answer, whoever gives it. ``quota_flow`` is by what the quotas count the bytes.
    """

    # No dataclass: what a class of its own has costs a compiled request 1 µs less.
    sent_fields: dict[bytes, bytes] | None = None
    passage: Passage | None = None
    is_from_proxy: bool = False
    has_odd_fields: bool = False
    is_secure: bool = False
    is_websocket: bool = False
    only_reads: bool = False
    lease: str | None = None
    lease_is_known: bool = False
    lease_names: tuple[str, ...] = ()
    hides_names: bool = False
    lease_prefix: bytes = b""
    upstream_target: bytes | None = None
    caller: Caller | None = None
    quota_flow: object | None = None
    status: int = 0
    error: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    aborted: bool = False
    first_byte: float | None = None
    finished: float | None = None
    reused_connection: bool = False
    attempts: int = 0

    def __init__(
        self,
        request_id: str,
        client_address: str,
        started: float,
        method: str = "",
        path: str = "",
        query: str = "",
        user_agent: str = "",
        **facts: Any,
    ) -> None:
        self.request_id = request_id
        self.client_address = client_address
        self.started = started
        self.method = method
        self.path = path
        self.query = query
        self.user_agent = user_agent
        self.response_fields: list[tuple[bytes, bytes]] = []
        for name, value in facts.items():
            setattr(self, name, value)
