"""Ways to HTTP services: plain origins, and relays that are reached by HTTP."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from twisted.internet.interfaces import IStreamClientEndpoint

from portal_gateway.config.model import DEFAULT_PORTS, LEASE_LABEL
from portal_gateway.relay.client_tls import ClientTLS, TLSEndpoint
from portal_gateway.relay.lease_pools import LeasePools, PoolFigures
from portal_gateway.relay.pool import Pool, PoolLimits
from portal_gateway.relay.route import Route
from portal_gateway.relay.tcp import tcp_endpoint
from portal_gateway.wire.dns_label import label_of
from portal_gateway.wire.identity import is_lease_id
from portal_gateway.wire.lease_names import has_one_reading

__all__ = ["HTTPRelay", "HTTPRelayURL", "origin_endpoint"]

_MAX_HOST_NAME = 253  # RFC 1035 section 2.3.4, without the root's label

_SEGMENT_SAFE = "!$&'()*,=:@-._~"
"""Characters that stay as they are in a path segment (RFC 3986 section 3.3). Names with ``;`` or
``+`` are not sent."""


def origin_endpoint(
    reactor: Any, host: str, port: int, tls: ClientTLS | None
) -> IStreamClientEndpoint:
    """The way to an HTTP service, TLS included where there is some."""
    endpoint = tcp_endpoint(reactor, host, port)
    return endpoint if tls is None else TLSEndpoint(endpoint, tls, host, reactor)


@dataclass(frozen=True, slots=True)
class HTTPRelayURL:
    """The URL of a relay that is reached by HTTP, taken apart.

    ``host`` is a whole host name, or, when ``by_host``, what follows the lease's label, with its
    dot. ``authority_port`` is what a Host field needs after the name. ``base`` is the path before
    ``/peer/``, without a slash at its end; by host it is empty.
    """

    text: str
    secure: bool
    by_host: bool
    host: str
    port: int
    authority_port: str
    base: str

    @classmethod
    def parse(cls, text: str) -> "HTTPRelayURL":
        """Take a URL apart that the configuration has checked."""
        parts = urlsplit(text)
        default = DEFAULT_PORTS[parts.scheme]
        host = parts.hostname or ""
        port = parts.port or default
        by_host = host.startswith(LEASE_LABEL)
        return cls(
            text,
            parts.scheme == "https",
            by_host,
            "." + host.removeprefix(LEASE_LABEL) if by_host else host,
            port,
            "" if port == default else f":{port}",
            "" if by_host else parts.path.rstrip("/"),
        )


class HTTPRelay:
    """A relay without a list of its leases: a request finds out whether a lease is there.

    By host, each lease has a host name of its own, and a pool. By path, all leases share the
    connections to the one host there is.

    ``make_pool`` makes the pool for a host name.
    """

    def __init__(self, url: HTTPRelayURL, make_pool: Callable[[str], Pool]) -> None:
        self.url = url
        self._pools = LeasePools(make_pool)

    def route(self, lease: str, *, is_configured: bool = False) -> Route | None:
        """The way to ``lease``, which may be there; ``None`` where it cannot be by its name.

        By path only a name with one reading is sent: the relay could otherwise answer by another
        lease than the one that the rules were asked about. Portal 1.2.0 decodes the name twice and
        compares it with case. A configured name (``is_configured``) is sent as it is spelled, and
        by host in lower case.
        """
        url = self.url
        if url.by_host:
            label = label_of(lease, in_any_case=is_configured)
            if label is None or len(label) + len(url.host) > _MAX_HOST_NAME:
                return None
            host = label + url.host
            return Route(
                self._pools.get,
                host,
                (lease,),
                host=(host + url.authority_port).encode("ascii"),
                is_listed=is_configured,
            )
        authority = f"[{url.host}]" if ":" in url.host else url.host
        if not has_one_reading(lease, in_any_case=is_configured):
            return None
        # Encoded in one way only, whatever way the client chose: a relay that tells two ways
        # apart has another lease under the second, and the guards have seen one name.
        base = f"{url.base}/peer/{quote(lease, safe=_SEGMENT_SAFE)}"
        return Route(
            self._pools.get,
            url.host,
            (lease,),
            hides_names=is_lease_id(lease),
            host=(authority + url.authority_port).encode("ascii"),
            base=base.encode("ascii"),
            is_listed=is_configured,
        )

    def is_used(self, lease: str, *, is_configured: bool = False) -> bool:
        """Whether there is a connection to ``lease``, or a request for it under way."""
        if not self.url.by_host:
            return False
        label = label_of(lease, in_any_case=is_configured)
        return label is not None and self._pools.is_used(label + self.url.host)

    @property
    def pool_figures(self) -> PoolFigures:
        """Those of its connections."""
        return self._pools.figures

    @property
    def unused(self) -> bool:
        """Whether there is no connection."""
        return self._pools.unused

    def use(self, limits: PoolLimits) -> None:
        """Hold each pool to other limits from now on."""
        self._pools.use(limits)

    def retire(self) -> None:
        """Close each connection as soon as it carries nothing."""
        self._pools.retire()

    def close(self) -> None:
        """Close every connection."""
        self._pools.close()
