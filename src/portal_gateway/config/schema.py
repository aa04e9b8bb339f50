"""Every key of the configuration: the tables that say how each is read.

A key's default is the default of its field in :mod:`portal_gateway.config.model`. A new key is one
line here, one field there, and one entry in ``docs/configuration.rst``.
"""

from collections.abc import Sequence
from typing import Any, get_args

from portal_gateway.config.addresses import (
    ListenAddress,
    host_header,
    lease_host,
    listen_address,
    origin_url,
    relay_url,
)
from portal_gateway.config.auth_section import AUTH
from portal_gateway.config.database_section import DATABASE
from portal_gateway.config.fields import (
    Section,
    choice,
    list_of,
    mapping_of,
    number,
    true_or_false,
    whole_number,
)
from portal_gateway.config.files import state_file
from portal_gateway.config.lease_acl_section import lease_acl, lease_acl_names_keys
from portal_gateway.config.logging_section import LOGGING
from portal_gateway.config.mcp_section import mcp_paths
from portal_gateway.config.metrics_section import METRICS, check_metrics
from portal_gateway.config.model import (
    LEASE_LABEL,
    Config,
    DrainSection,
    ForwardedField,
    GatewaySection,
    HealthSection,
    LeaseDefault,
    LeaseSection,
    LimitsSection,
    PoolSection,
    PortalSection,
    RelaySection,
    SSESection,
    UnderscoreFields,
    UpstreamTLS,
    WebSocketSection,
)
from portal_gateway.config.names import lease_identity, lease_name
from portal_gateway.config.networks import IP_WHITELIST, ip_allow, trusted_proxies
from portal_gateway.config.quota_section import QUOTAS, check_quotas
from portal_gateway.config.rate_limit_section import (
    MOST_BURST,
    MOST_REQUESTS,
    RATE_LIMIT,
    overrides_name_keys,
)
from portal_gateway.config.reading import Value
from portal_gateway.config.security_headers_section import SECURITY_HEADERS
from portal_gateway.config.sizes import size
from portal_gateway.config.times import duration
from portal_gateway.config.tls_section import TLS, check_listeners
from portal_gateway.config.upstream_tls_section import UPSTREAM_TLS
from portal_gateway.config.workers_section import check_processes, workers
from portal_gateway.wire.http1_response import MAX_INFORMATIONAL
from portal_gateway.wire.lease_names import lenient_form

__all__ = ["CONFIG"]

MAX_POOL_CONNECTIONS = 65_536
"""Connections to one lease: a process cannot have more sockets to one address than ports."""

MAX_QUEUE = 1_000_000
"""Requests that wait for a connection: at some KiB each, more than that is no queue but a leak."""


_GATEWAY = GatewaySection()


def _gateway(
    listen: ListenAddress = (_GATEWAY.listen, _GATEWAY.listen_endpoint), **others: Any
) -> GatewaySection:
    return GatewaySection(*listen, **others)


def _tls_is_used(relay: RelaySection, value: Value) -> None:
    if relay.tls != UpstreamTLS() and not relay.url.startswith(("wss:", "https:")):
        value.at("tls").refuse(
            "tls is for a wss:// or https:// relay; this one is reached without TLS"
        )
    if relay.tls.server_name is not None and LEASE_LABEL in relay.url:
        value.at("tls").at("server_name").refuse(
            f"each lease of this relay has a server name of its own, by the {LEASE_LABEL[:-1]} of"
            " its url"
        )


def _relays_differ(found: Sequence[tuple[Value, RelaySection]]) -> None:
    by_url: dict[str, Value] = {}
    for value, relay in found:
        earlier = by_url.setdefault(relay.url, value)
        if earlier is not value:
            value.at("url").refuse(
                f"the same relay as {earlier.path} on line {earlier.at('url').line}"
            )


def _idle_fits_active(pool: PoolSection, value: Value) -> None:
    idle, active = value.at("max_idle"), value.at("max_active")
    if pool.max_idle > pool.max_active and idle is not value and active is not value:
        idle.refuse(f"more idle connections than max_active allows on line {active.line}")


def _one_way_only(lease: LeaseSection, value: Value) -> None:
    if lease.tls != UpstreamTLS() and not (lease.url or "").startswith("https:"):
        value.at("tls").refuse("tls is for a lease with an https:// url")
    if lease.url is not None and lease.identity is not None:
        line = value.at("url").line
        value.at("identity").refuse(
            f"url (line {line}) and identity exclude each other: an origin has no identity to pin"
        )


def _leases_have_names_of_their_own(config: Config, value: Value) -> None:
    if not config.leases:
        return
    first: dict[str, Value] = {}
    for entry in value.at("leases").entries():
        earlier = first.setdefault(lenient_form(entry.key.text().text), entry.key)
        if earlier is not entry.key:
            entry.key.refuse(
                f"the same name as on line {earlier.line}, but for case or characters that some"
                " readers take for the same"
            )


def _check_all(config: Config, value: Value) -> None:
    if not config.lease_acl and config.lease_acl_default == "deny":
        written = value.at("lease_acl_default")
        if written is not value:
            written.refuse("without a rule in lease_acl every key may use every lease")
    _leases_have_names_of_their_own(config, value)
    overrides_name_keys(config, value)
    lease_acl_names_keys(config, value)
    check_quotas(config, value)
    check_metrics(config, value)
    check_processes(config, value)


def _burst_of_a_rate(websocket: WebSocketSection, value: Value) -> None:
    if websocket.message_burst is not None and websocket.messages_per_second is None:
        value.at("message_burst").refuse("means nothing without messages_per_second")


_RELAY = Section(
    RelaySection,
    {"url": relay_url, "tls": UPSTREAM_TLS},
    required=["url"],
    check=_tls_is_used,
)

_POOL = Section(
    PoolSection,
    {
        "max_idle": whole_number(0, MAX_POOL_CONNECTIONS),
        "max_active": whole_number(1, MAX_POOL_CONNECTIONS),
        "idle_timeout": duration(1, 86_400),
        "max_queue": whole_number(0, MAX_QUEUE),
        "wait_limit": duration(0.001, 3600),
    },
    check=_idle_fits_active,
)

_LIMITS = Section(
    LimitsSection,
    {
        # Below these a browser could not get in, above them one request is an attack.
        "request_line": size(256, 1024**2),
        "header": size(1024, 1024**2),
        "fields": whole_number(10, 10_000),
        "body": size(0, 2**50),
        "handshake_timeout": duration(0.1, 3600),
        "header_timeout": duration(0.1, 3600),
        "idle_timeout": duration(0.1, 86_400),
        "body_rate": size(1, 2**30),
        "body_rate_window": duration(0.1, 3600),
        "write_stall": duration(0.1, 3600),
        "connections": whole_number(1, 1_000_000),
        "connections_per_address": whole_number(1, 1_000_000),
        "http2_idle_frames": whole_number(10, 100_000),
        "http2_resets": whole_number(1, 100_000),
        "informational": whole_number(0, MAX_INFORMATIONAL),
    },
)

_PORTAL = Section(
    PortalSection,
    {
        "relays": list_of(_RELAY, expected="a list of relays", check=_relays_differ),
        "credential_file": state_file,
        "pool": _POOL,
    },
)

_WEBSOCKET = Section(
    WebSocketSection,
    {
        "max_message_size": size(1024, 2**30),
        "max_frame_size": size(1024, 2**30),
        "idle_timeout": duration(1, 86_400),
        "open_timeout": duration(1, 300),
        "compression": true_or_false,
        "messages_per_second": number(0.001, MOST_REQUESTS),
        "message_burst": whole_number(1, MOST_BURST),
    },
    check=_burst_of_a_rate,
)

CONFIG = Section(
    Config,
    {
        "gateway": Section(
            _gateway,
            {
                "listen": listen_address,
                "limits": _LIMITS,
                "lease_host": lease_host,
                "tls": TLS,
                "trusted_proxies": trusted_proxies,
                "forwarded_field": choice("field", get_args(ForwardedField)),
                "underscore_fields": choice("rule", get_args(UnderscoreFields)),
                "drain": Section(
                    DrainSection, {"grace": duration(0, 3600), "timeout": duration(0.1, 86_400)}
                ),
                "workers": workers,
                "reuse_port": true_or_false,
            },
            check=check_listeners,
        ),
        "portal": _PORTAL,
        "auth": AUTH,
        "ip_whitelist": IP_WHITELIST,
        "lease_acl": lease_acl,
        "lease_acl_default": choice("default", get_args(LeaseDefault)),
        "leases": mapping_of(
            lease_name,
            Section(
                LeaseSection,
                {
                    "url": origin_url,
                    "identity": lease_identity,
                    "host_header": host_header,
                    "rewrite": true_or_false,
                    "mcp": mcp_paths,
                    "ip_allow": ip_allow,
                    "tls": UPSTREAM_TLS,
                },
                check=_one_way_only,
            ),
        ),
        "sse": Section(
            SSESection, {"keepalive": duration(1, 3600), "idle_timeout": duration(1, 604_800)}
        ),
        "websocket": _WEBSOCKET,
        "rate_limit": RATE_LIMIT,
        "quotas": QUOTAS,
        "database": DATABASE,
        "logging": LOGGING,
        "metrics": METRICS,
        "security_headers": SECURITY_HEADERS,
        "health": Section(HealthSection, {"local_details": true_or_false}),
    },
    check=_check_all,
)
"""The whole document."""
