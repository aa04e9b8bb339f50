"""The keys ``gateway.workers`` and ``gateway.reuse_port``, and what several processes need."""

from collections.abc import Iterator
from typing import Final

from portal_gateway.config.endpoint_strings import without_proxy
from portal_gateway.config.fields import whole_number
from portal_gateway.config.model import Config, Workers
from portal_gateway.config.reading import Value
from portal_gateway.config.worded import reads

__all__ = ["MOST_WORKERS", "check_processes", "workers"]

MOST_WORKERS: Final = 256
"""More processes than a machine has cores are only in each other's way."""

_count = whole_number(1, MOST_WORKERS)

_SHARED: Final = ("tcp:", "tcp6:", "unix:", "systemd:")
"""Endpoint strings of sockets that processes can take connections from together."""


@reads(f"whole number from 1 to {MOST_WORKERS}, or ``auto``")
def workers(value: Value) -> Workers:
    """Reads a number of processes, or ``auto`` for one for each core."""
    found = value.text("a whole number or auto")
    if found.text == "auto":
        return "auto"
    return _count(value)


def check_processes(config: Config, value: Value) -> None:
    """Refuse what would be wrong in several processes, or with two on one address."""
    gateway = config.gateway
    written = value.at("gateway")
    if written is value:
        return
    listeners = list(_listeners(config, value))
    if gateway.workers != 1:
        for endpoint, place in listeners:
            if not endpoint.startswith(_SHARED):
                place.refuse("several workers cannot share this endpoint; write host:port")
        _check_counts(config, value)
    if gateway.reuse_port:
        for endpoint, place in listeners:
            if endpoint.startswith("systemd:"):
                place.refuse(
                    "the socket is systemd's: with gateway.reuse_port write host:port, or write"
                    " ReusePort=yes in the socket unit in its place"
                )
            elif not endpoint.startswith(_SHARED[:2]):
                place.refuse("gateway.reuse_port is for TCP: write host:port")


def _listeners(config: Config, value: Value) -> Iterator[tuple[str, Value]]:
    gateway = value.at("gateway")
    yield without_proxy(config.gateway.listen_endpoint), gateway.at("listen")
    tls = config.gateway.tls
    if tls is not None and tls.redirect_from is not None:
        yield without_proxy(tls.redirect_from[1]), gateway.at("tls").at("redirect_from")
    if config.metrics.enabled and config.metrics.listen is not None:
        yield without_proxy(config.metrics.listen[1]), value.at("metrics").at("listen")


def _check_counts(config: Config, value: Value) -> None:
    """Refuse limits that each worker would count for itself."""
    limits = config.rate_limit
    if limits.storage.redis is not None:
        return
    per_key = limits.per_key
    limited = {
        "global": limits.everything,
        "per_key": per_key.default or per_key.plans or per_key.overrides,
        "per_lease": limits.per_lease,
    }
    written = value.at("rate_limit")
    for key, rates in limited.items():
        if rates:
            written.at(key).refuse(
                "each of several workers would count for itself, and the limit hold for each:"
                " have them share it (rate_limit.storage with type: redis), or set"
                f" gateway.workers (line {value.at('gateway').at('workers').line}) to 1"
            )
