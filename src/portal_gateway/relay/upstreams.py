"""The relays and origins of a configuration, made: everything that leads to leases."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint

from portal_gateway.config.model import Config, LeaseSection, Origin, RelaySection, UpstreamTLS
from portal_gateway.relay.client_tls import ClientTLS
from portal_gateway.relay.conversations import ask_relay_info
from portal_gateway.relay.credential_file import load_or_create_credential
from portal_gateway.relay.directory import Directory
from portal_gateway.relay.endpoints import LeaseEndpoint
from portal_gateway.relay.origins import HTTPRelay, HTTPRelayURL, origin_endpoint
from portal_gateway.relay.pool import Pool, PoolLimits
from portal_gateway.relay.router import Relay, Router
from portal_gateway.relay.session import RelaySession
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.messages import RelayInfo

__all__ = ["Upstreams", "make_upstreams"]


class Upstreams(NamedTuple):
    """``router`` leads to them; ``relays`` are to be started and stopped, and ``close_pools``
    called at the end to close the connections to the others."""

    router: Router
    relays: list[Relay]
    close_pools: list[Callable[[], None]]


def make_upstreams(reactor: Any, config: Config) -> Upstreams:
    """What ``config`` has of relays and origins. Nothing is connected yet.

    Raises ``CredentialFileError`` for a file that cannot be used.
    """
    credential_file = config.portal.credential_file
    credential = (
        Credential.generate()
        if credential_file is None
        else load_or_create_credential(credential_file)
    )
    limits = PoolLimits(**asdict(config.portal.pool))
    relays = [
        _make_relay(reactor, section, config.leases, credential, limits)
        for section in config.portal.relays
        if not section.by_http
    ]
    http_relays = [
        _make_http_relay(reactor, section, limits)
        for section in config.portal.relays
        if section.by_http
    ]
    origins = {
        name: Pool(_lease_endpoint(reactor, lease.origin, lease.tls), reactor, limits)
        for name, lease in config.leases.items()
        if lease.origin is not None
    }
    close_pools: list[Callable[[], None]] = [pool.close for pool in origins.values()]
    close_pools += [relay.close for relay in http_relays]
    router = Router(origins, relays, http_relays, config.leases)
    return Upstreams(router, relays, close_pools)


def _make_relay(
    reactor: Any,
    section: RelaySection,
    leases: Mapping[str, LeaseSection],
    credential: Credential,
    limits: PoolLimits,
) -> Relay:
    session = RelaySession(reactor, section.url, tls=section.tls)

    def ask() -> Deferred[RelayInfo]:
        return ask_relay_info(session.require(), reactor)

    def make_pool(lease_id: str) -> Pool:
        return Pool(LeaseEndpoint(session, credential, lease_id, reactor), reactor, limits)

    pins = {name: lease.identity for name, lease in leases.items() if lease.identity is not None}
    directory = Directory(ask, reactor, pins, configured=frozenset(leases))
    return Relay(session, directory, make_pool)


def _make_http_relay(reactor: Any, section: RelaySection, limits: PoolLimits) -> HTTPRelay:
    url = HTTPRelayURL.parse(section.url)
    tls = ClientTLS(section.tls) if url.secure else None

    def make_pool(host: str) -> Pool:
        return Pool(origin_endpoint(reactor, host, url.port, tls), reactor, limits)

    return HTTPRelay(url, make_pool)


def _lease_endpoint(reactor: Any, origin: Origin, tls: UpstreamTLS) -> IStreamClientEndpoint:
    secure = ClientTLS(tls) if origin.scheme == "https" else None
    return origin_endpoint(reactor, origin.host, origin.port, secure)
