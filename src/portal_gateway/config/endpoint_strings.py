"""Endpoint strings that the gateway can listen on, by their first word.

A string whose meaning would not reach the gateway is not among them. What wraps connections, as
``haproxy`` does, changes who the client is; so a type that is not known here is refused, though
Twisted may have a plugin for it.
"""

from typing import Final

from portal_gateway.config.model import GatewaySection
from portal_gateway.config.reading import Value

__all__ = [
    "ENDPOINT_TYPES",
    "OWN_TLS_TYPES",
    "PROXIED",
    "SOCKET_TYPES",
    "check_proxied",
    "has_own_tls",
    "is_proxied",
    "without_proxy",
]

PROXIED: Final = "haproxy"
"""The type of endpoints behind a load balancer that sends the PROXY protocol's header. What follows
is the endpoint itself; the header comes before everything else that this does, as its TLS."""

SOCKET_TYPES: Final = frozenset({"tcp", "tcp6", "unix", "systemd"})
"""Sockets, and nothing between them and the gateway."""

OWN_TLS_TYPES: Final = frozenset({"ssl", "tls", "le", "lets", "acme"})
"""Those that bring a TLS of their own."""

ENDPOINT_TYPES: Final = SOCKET_TYPES | OWN_TLS_TYPES


def is_proxied(endpoint: str) -> bool:
    """Whether connections begin with the PROXY protocol's header."""
    return endpoint.startswith(f"{PROXIED}:")


def without_proxy(endpoint: str) -> str:
    """The endpoint that is listened on."""
    return endpoint.removeprefix(f"{PROXIED}:")


def has_own_tls(endpoint: str) -> bool:
    """Whether it brings a TLS of its own."""
    return without_proxy(endpoint).partition(":")[0] in OWN_TLS_TYPES


def check_proxied(endpoint: str, gateway: GatewaySection, value: Value) -> None:
    """Refuse a listener for proxies where none of them could connect."""
    if not is_proxied(endpoint):
        return
    kind, *arguments = without_proxy(endpoint).split(":")
    by_unix = kind == "unix" or (
        kind == "systemd" and not {"UNIX", "domain=UNIX"}.isdisjoint(arguments)
    )
    if not any((network is None) == by_unix for network in gateway.trusted_proxies):
        needed = '"unix"' if by_unix else "the addresses of the proxies"
        value.refuse(
            "only gateway.trusted_proxies may send the PROXY protocol's header, and none of them"
            f" can connect here: list {needed}"
        )
