"""The section ``metrics``: its keys."""

import re
from typing import Any, Final

from portal_gateway.config.addresses import ListenAddress, listen_address
from portal_gateway.config.endpoint_strings import check_proxied
from portal_gateway.config.fields import Section, true_or_false, whole_number
from portal_gateway.config.model import Config, MetricsSection
from portal_gateway.config.reading import Value

__all__ = ["METRICS", "check_metrics"]

LEAST_SERIES: Final = 500
"""Series below which hardly a lease could be told apart."""

MOST_SERIES: Final = 10_000
"""Series that are told in a tenth of a second or two, of which a busy gateway has few to spare."""

_LOCAL: Final = re.compile(
    r"(?:127(?:\.[0-9]{1,3}){3}|\[::1\]|localhost):[0-9]+|unix:.*", re.DOTALL
)
"""Addresses that only this machine can reach."""


def _metrics(
    listen: ListenAddress | None = None, auth: bool | None = None, **others: Any
) -> MetricsSection:
    if auth is None:
        auth = listen is None or _LOCAL.fullmatch(listen[0]) is None
    return MetricsSection(listen=listen, auth=auth, **others)


def check_metrics(config: Config, value: Value) -> None:
    """Refuse the address of another listener, and warn of metrics for everybody."""
    metrics = config.metrics
    written = value.at("metrics")
    if not metrics.enabled or written is value:
        return
    listen = metrics.listen
    gateway = config.gateway
    if listen is not None:
        check_proxied(listen[1], gateway, written.at("listen"))
    if listen is not None and not listen[0].endswith(":0"):
        redirect = None if gateway.tls is None else gateway.tls.redirect_from
        if listen == (gateway.listen, gateway.listen_endpoint):
            written.at("listen").refuse("the same address as gateway.listen; leave it out for that")
        if listen == redirect:
            written.at("listen").refuse("the same address as gateway.tls.redirect_from")
    reached = gateway.listen if listen is None else listen[0]
    if not metrics.auth and _LOCAL.fullmatch(reached) is None:
        written.at("auth").warn("everybody who reaches this address can read the metrics")


METRICS = Section(
    _metrics,
    {
        "enabled": true_or_false,
        "listen": listen_address,
        "auth": true_or_false,
        "series_budget": whole_number(LEAST_SERIES, MOST_SERIES),
    },
)
