"""The configuration as a value: frozen, checked, holding no secret that could be printed.

Sections are named as in the file. A field that is not in the file has the default that stands here,
and only here. Durations are seconds, times are aware and in UTC, paths are absolute.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from portal_gateway.config.database import DatabaseSection
from portal_gateway.config.faults import Fault
from portal_gateway.config.jwt_tokens import JWTSection
from portal_gateway.config.key_database import KeyDatabase
from portal_gateway.config.quotas import QuotasSection
from portal_gateway.config.rate_limits import RateLimitSection
from portal_gateway.config.security_headers import SecurityHeadersSection
from portal_gateway.config.upstream_tls import UpstreamTLS
from portal_gateway.tls.acme_settings import AutoCert
from portal_gateway.tls.files import TLSFiles
from portal_gateway.wire.ip_addresses import Network

__all__ = [
    "DEFAULT_PORTS",
    "DEFAULT_SCOPES",
    "LEASE_LABEL",
    "MAX_API_KEY_LENGTH",
    "SCOPES",
    "AddressListSection",
    "ApiKey",
    "AuthSection",
    "Config",
    "DrainSection",
    "ForwardedField",
    "GatewaySection",
    "HealthSection",
    "LeaseDefault",
    "LeaseRule",
    "LeaseSection",
    "LimitsSection",
    "LogFormat",
    "LogLevel",
    "LogStreamName",
    "LoggingSection",
    "MetricsSection",
    "Origin",
    "PoolSection",
    "PortalSection",
    "RelaySection",
    "SSESection",
    "TLSSection",
    "UnderscoreFields",
    "UpstreamTLS",
    "WebSocketSection",
    "Workers",
    "key_digest",
]

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "text"]
LogStreamName = Literal["stdout", "stderr"]
LeaseDefault = Literal["allow", "deny"]
ForwardedField = Literal["either", "x-forwarded-for", "forwarded"]
UnderscoreFields = Literal["drop", "refuse", "pass"]
Workers = int | Literal["auto"]

SCOPES = frozenset({"read", "write", "admin"})
"""Every scope that a key can have."""

DEFAULT_SCOPES = frozenset({"read", "write"})
"""The scopes of a key that names none: everything but the administration."""

MAX_API_KEY_LENGTH = 512
"""The longest API key, in bytes: far above any real one, far below what costs time to hash."""

_DERIVED_ID_DIGITS = 12
"""Hexadecimal digits of a derived key id: 48 bits tell keys apart and do not help to guess one."""


DEFAULT_PORTS = {"http": 80, "https": 443}

LEASE_LABEL = "{lease}."
"""What stands for a lease's own label at the front of a host name."""


def key_digest(key: bytes) -> bytes:
    """The SHA-256 of an API key, by which it is stored and looked up."""
    return hashlib.sha256(key).digest()


class Origin(NamedTuple):
    """The three parts of a plain origin (RFC 6454 section 4); ``host`` without brackets."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TLSSection:
    """``gateway.tls``, where it is enabled: HTTPS.

    ``redirect_from`` is the address of a plain listener that redirects, as it was written and as a
    Twisted endpoint string; ``redirect_port`` the port that it redirects to, ``None`` for the one
    that is listened on. With ``auto_cert`` the files are those that it brings.
    """

    files: TLSFiles
    redirect_from: tuple[str, str] | None = None
    redirect_port: int | None = None
    auto_cert: AutoCert | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSection:
    """``gateway.limits``: what one client may cost. Sizes are bytes, times are seconds.

    ``request_line``, ``header`` and ``body`` bound the parts of a request, ``fields`` is a count;
    ``body`` None is no limit. ``handshake_timeout`` (of TLS), ``header_timeout``, ``idle_timeout``
    and ``write_stall`` bound the waiting, ``body_rate`` is bytes a second over each
    ``body_rate_window``. ``connections`` are open ones, in all and from one address.
    ``http2_idle_frames`` are those in a row that carry nothing, ``http2_resets`` streams of one
    connection, ``informational`` the 1xx of a lease that a request's client gets.
    """

    request_line: int = 8 * 1024
    header: int = 32 * 1024
    fields: int = 100
    body: int | None = None
    handshake_timeout: float = 10.0
    header_timeout: float = 10.0
    idle_timeout: float = 75.0
    body_rate: int = 500
    body_rate_window: float = 10.0
    write_stall: float = 30.0
    connections: int = 10_000
    connections_per_address: int = 2_000
    http2_idle_frames: int = 500
    http2_resets: int = 200
    informational: int = 16


@dataclass(frozen=True, slots=True)
class DrainSection:
    """``gateway.drain``: how the gateway ends. Times are seconds.

    ``grace`` is how long requests are still taken while ``/health/ready`` says that there will be
    no more, ``timeout`` how long those that are under way then may take.
    """

    grace: float = 0.0
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class GatewaySection:
    """``gateway``: what the gateway is to its clients.

    ``listen`` is the address as it was written, ``listen_endpoint`` the same as a Twisted endpoint
    string. ``tls`` is ``None`` where clients come in without it. ``lease_host`` starts with
    `LEASE_LABEL` and goes on with a host name in lower case. What ``trusted_proxies`` say in
    ``forwarded_field`` of the client's address is believed; ``None`` stands for peers on UNIX
    sockets. ``workers`` is the number of processes, ``"auto"`` for one for each core.
    ``reuse_port`` lets other processes listen on the same address. ``underscore_fields`` says what
    becomes of request fields whose names hold other characters than letters, digits and hyphens.
    """

    listen: str = "127.0.0.1:8080"
    listen_endpoint: str = "tcp:8080:interface=127.0.0.1:backlog=4096"
    limits: LimitsSection = field(default_factory=LimitsSection)
    tls: TLSSection | None = None
    lease_host: str | None = None
    drain: DrainSection = field(default_factory=DrainSection)
    trusted_proxies: tuple[Network | None, ...] = ()
    forwarded_field: ForwardedField = "either"
    workers: Workers = 1
    reuse_port: bool = False
    underscore_fields: UnderscoreFields = "drop"


@dataclass(frozen=True, slots=True)
class RelaySection:
    """``portal.relays[]``: one relay, by its URL, whose scheme is in lower case.

    With ``ws`` or ``wss`` it speaks Portal's protocol and lists its leases. With ``http`` or
    ``https`` each lease is an HTTP service, at a host name of its own where the URL's host starts
    with `LEASE_LABEL`, else at the path ``/peer/<lease>/``.
    """

    url: str
    tls: UpstreamTLS = field(default_factory=UpstreamTLS)

    @property
    def by_http(self) -> bool:
        """Whether it is reached by HTTP, and does not list its leases."""
        return self.url.startswith("http")


@dataclass(frozen=True, slots=True)
class PoolSection:
    """``portal.pool``: bounds of the connections to each lease, and of waiting for one of them.

    Times are seconds.
    """

    max_idle: int = 100
    max_active: int = 1000
    idle_timeout: float = 300.0
    max_queue: int = 1000
    wait_limit: float = 5.0


@dataclass(frozen=True, slots=True)
class PortalSection:
    """``portal``: the relays and how they are used.

    ``credential_file`` keeps the gateway's own Ed25519 key; without it every start makes a fresh
    one.
    """

    relays: tuple[RelaySection, ...] = ()
    credential_file: Path | None = None
    pool: PoolSection = field(default_factory=PoolSection)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """``auth.keys[]``: one API key, of which only the SHA-256 is kept.

    ``id`` is what logs show. ``expires_at`` is aware and in UTC; from that moment on the key is
    refused. ``ip_allow`` are the networks that it may be used from, none for any.
    """

    id: str
    digest: bytes = field(repr=False)
    description: str = ""
    scopes: frozenset[str] = DEFAULT_SCOPES
    expires_at: datetime | None = None
    ip_allow: tuple[Network, ...] = ()

    @classmethod
    def of(
        cls,
        key: str,
        *,
        id: str | None = None,  # noqa: A002 - named as in the configuration file
        description: str = "",
        scopes: Iterable[str] = DEFAULT_SCOPES,
        expires_at: datetime | None = None,
        ip_allow: Iterable[Network] = (),
    ) -> "ApiKey":
        """The entry for the secret ``key``; without ``id`` that is derived from the digest."""
        return cls.of_digest(
            key_digest(key.encode("ascii")),
            id=id,
            description=description,
            scopes=scopes,
            expires_at=expires_at,
            ip_allow=ip_allow,
        )

    @classmethod
    def of_digest(
        cls,
        digest: bytes,
        *,
        id: str | None = None,  # noqa: A002 - named as in the configuration file
        description: str = "",
        scopes: Iterable[str] = DEFAULT_SCOPES,
        expires_at: datetime | None = None,
        ip_allow: Iterable[Network] = (),
    ) -> "ApiKey":
        """The entry for a key of which only the SHA-256 is at hand."""
        if id is None:
            id = f"key_{digest.hex()[:_DERIVED_ID_DIGITS]}"  # noqa: A001 - as above
        return cls(id, digest, description, frozenset(scopes), expires_at, tuple(ip_allow))


@dataclass(frozen=True, slots=True)
class AuthSection:
    """``auth``: who may call. Without keys or tokens every request is refused.

    ``keys`` are those of the file, ``database`` says where more are.
    """

    keys: tuple[ApiKey, ...] = ()
    jwt: JWTSection | None = None
    database: KeyDatabase | None = None

    @property
    def knows_all_ids(self) -> bool:
        """Whether nobody can call whose id is not among ``keys``."""
        return self.jwt is None and self.database is None


@dataclass(frozen=True, slots=True)
class AddressListSection:
    """``ip_whitelist``: the networks that clients may come from, if it is ``enabled``."""

    enabled: bool = False
    cidrs: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class LeaseRule:
    """One entry of ``lease_acl``: who may use the leases whose names ``pattern`` matches.

    That is ``everybody`` with a key, or those ``keys`` of which a digest stands here: the SHA-256
    of a key or of a key's id.
    """

    pattern: str
    keys: frozenset[bytes] = field(default=frozenset(), repr=False)
    everybody: bool = False


@dataclass(frozen=True, slots=True)
class LeaseSection:
    """``leases.<name>``: what differs from looking the name up at the relays.

    ``url`` is a plain origin that takes the relay's place, ``tls`` is for that one; ``identity`` is
    the only lease id that is accepted under this name. At most one of ``url`` and ``identity`` is
    set. ``host_header`` is what the lease gets as ``Host``; ``rewrite`` says whether fields of its
    answers are made to point below the path by which the client reaches it. ``ip_allow`` are the
    networks that it may be reached from, none for any. ``mcp`` are the paths, below the
    lease, at which it speaks the Model Context Protocol: there the call in the body of a POST says
    which scope it needs.
    """

    url: str | None = None
    identity: str | None = None
    host_header: str | None = None
    rewrite: bool = True
    mcp: tuple[str, ...] = ()
    ip_allow: tuple[Network, ...] = ()
    tls: UpstreamTLS = field(default_factory=UpstreamTLS)

    @property
    def origin(self) -> Origin | None:
        """The parts of ``url``, with the port that its scheme implies."""
        if self.url is None:
            return None
        parts = urlsplit(self.url)
        return Origin(
            parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
        )


@dataclass(frozen=True, slots=True)
class SSESection:
    """``sse``: how responses without a length are kept, such as streams of server-sent events.

    Times are seconds. ``keepalive`` None is no comments.
    """

    keepalive: float | None = None
    idle_timeout: float = 3600.0


@dataclass(frozen=True, slots=True)
class WebSocketSection:
    """``websocket``: what one WebSocket may cost. Sizes in bytes, times in seconds.

    ``max_message_size`` counts what a message is when inflated, ``max_frame_size`` what a frame is
    on the wire. ``idle_timeout`` is without a byte from either side, pings included.
    ``open_timeout`` is how long the lease may take to answer the opening handshake.
    ``messages_per_second`` of the client, ``None`` for any number, and ``message_burst`` at once,
    ``None`` for those of a second.
    """

    max_message_size: int = 16 * 1024 * 1024
    max_frame_size: int = 16 * 1024 * 1024
    idle_timeout: float = 900.0
    open_timeout: float = 10.0
    compression: bool = True
    messages_per_second: float | None = None
    message_burst: int | None = None


@dataclass(frozen=True, slots=True)
class LoggingSection:
    """``logging``: the least severe level that is written, the form of a line, and where it goes.

    ``query``: with the query of a request, without what looks like a secret there. ``output`` is
    ``stdout``, ``stderr`` or a file; ``None`` for where the command that runs sends it. A file is
    rotated at ``rotate_size`` bytes, ``None`` for never, and ``rotate_keep`` old ones are kept.
    """

    level: LogLevel = "info"
    format: LogFormat = "json"
    query: bool = False
    output: LogStreamName | Path | None = None
    rotate_size: int | None = None
    rotate_keep: int = 5


@dataclass(frozen=True, slots=True)
class MetricsSection:
    """``metrics``: whether ``/metrics`` is there, where, for whom, and how much it tells at most.

    ``listen`` is the address of a listener of its own, as it was written and as a Twisted endpoint
    string; ``None`` for the gateway's. ``auth``: only for a key with the scope ``admin``.
    """

    enabled: bool = True
    listen: tuple[str, str] | None = None
    auth: bool = True
    series_budget: int = 2000


@dataclass(frozen=True, slots=True)
class HealthSection:
    """``health``: ``local_details`` lets clients on this machine see the details without a key."""

    local_details: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration. ``source`` is the path it was read from.

    ``warnings`` are what is allowed but hardly meant, located like faults; they do not stop a
    start. Without a rule in ``lease_acl`` every key may use every lease.
    """

    gateway: GatewaySection = field(default_factory=GatewaySection)
    portal: PortalSection = field(default_factory=PortalSection)
    auth: AuthSection = field(default_factory=AuthSection)
    ip_whitelist: AddressListSection = field(default_factory=AddressListSection)
    lease_acl: tuple[LeaseRule, ...] = ()
    lease_acl_default: LeaseDefault = "deny"
    leases: Mapping[str, LeaseSection] = field(default_factory=lambda: MappingProxyType({}))
    sse: SSESection = field(default_factory=SSESection)
    websocket: WebSocketSection = field(default_factory=WebSocketSection)
    rate_limit: RateLimitSection = field(default_factory=RateLimitSection)
    quotas: QuotasSection = field(default_factory=QuotasSection)
    database: DatabaseSection = field(default_factory=DatabaseSection)
    logging: LoggingSection = field(default_factory=LoggingSection)
    metrics: MetricsSection = field(default_factory=MetricsSection)
    security_headers: SecurityHeadersSection = field(default_factory=SecurityHeadersSection)
    health: HealthSection = field(default_factory=HealthSection)
    source: str = ""
    warnings: tuple[Fault, ...] = ()
