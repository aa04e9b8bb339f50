"""The relays and origins of a configuration, made: everything that leads to leases.

What two configurations have in common is made once: sessions, directories and connections outlive a
reload. What the next one has no more carries to the end what it carries already.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IStreamClientEndpoint

from portal_gateway.config.model import Config, LeaseSection, Origin, RelaySection, UpstreamTLS
from portal_gateway.relay.client_tls import ClientTLS
from portal_gateway.relay.configured_names import ConfiguredNames
from portal_gateway.relay.conversations import ask_relay_info
from portal_gateway.relay.credential_file import load_or_create_credential
from portal_gateway.relay.directory import Directory
from portal_gateway.relay.endpoints import LeaseEndpoint
from portal_gateway.relay.lookups import LookedUpEndpoint, Lookups, MakeLine
from portal_gateway.relay.origins import HTTPRelay, HTTPRelayURL, origin_endpoint
from portal_gateway.relay.pool import Pool, PoolLimits
from portal_gateway.relay.retirement import Retirement, Retiring
from portal_gateway.relay.router import Relay, Router
from portal_gateway.relay.session import RelaySession
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.messages import RelayInfo

__all__ = ["PreparedUpstreams", "Upstreams"]

_OriginKey = tuple[str, Origin, UpstreamTLS]
_RelayKey = tuple[RelaySection, bytes]


class PreparedUpstreams(NamedTuple):
    """What a configuration will be served with; the parts in use already are among it."""

    leases: Mapping[str, LeaseSection]
    credential_is_of: object
    credential: Credential
    limits: PoolLimits
    origins: dict[_OriginKey, Pool]
    relays: dict[_RelayKey, Relay]
    http_relays: dict[RelaySection, HTTPRelay]


class Upstreams:
    """``router`` leads to them all, by whichever configuration is in use.

    ``lookups`` are shared by all relays whose host names are made of what clients ask for;
    ``make_line`` makes the lines of those that wait.

    `prepare` makes, which can fail and changes nothing; `use` takes it up, which cannot fail.
    """

    def __init__(self, reactor: Any, make_line: MakeLine) -> None:
        self._reactor = reactor
        self.router = Router()
        self.lookups = Lookups(reactor, make_line)
        self._now: PreparedUpstreams | None = None
        self._running = False
        self._retirement = Retirement(reactor)

    # From one configuration to the next.

    def prepare(self, config: Config) -> PreparedUpstreams:
        """Make what ``config`` has of relays and origins that there is not yet.

        Nothing is connected. It may be called in another thread. Raises ``CredentialFileError`` for
        a file that cannot be used, ``OSError`` and ``ValueError`` for one of authorities.
        """
        before = self._now
        file = config.portal.credential_file
        if file is not None:
            credential = load_or_create_credential(file)
        elif before is not None and before.credential_is_of is None:
            credential = before.credential
        else:
            credential = Credential.generate()
        limits = PoolLimits(**asdict(config.portal.pool))
        made = PreparedUpstreams(config.leases, file, credential, limits, {}, {}, {})
        for name, lease in config.leases.items():
            if lease.origin is not None:
                which = (name, lease.origin, lease.tls)
                pool = None if before is None else before.origins.get(which)
                made.origins[which] = pool or Pool(
                    self._endpoint(*which[1:]), self._reactor, limits
                )
        for section in config.portal.relays:
            if section.by_http:
                found = None if before is None else before.http_relays.get(section)
                made.http_relays[section] = found or self._make_http_relay(section, limits)
            else:
                key = (section, credential.identity.public_key)
                relay = None if before is None else before.relays.get(key)
                made.relays[key] = relay or self._make_relay(section, credential, limits)
        return made

    def use(self, prepared: PreparedUpstreams) -> None:
        """Lead to these from now on; the others come to their end."""
        before, self._now = self._now, prepared
        configured = _names(prepared.leases)
        for pool in prepared.origins.values():
            pool.use(prepared.limits)
        for http_relay in prepared.http_relays.values():
            http_relay.use(prepared.limits)
        for relay in prepared.relays.values():
            relay.use(prepared.limits)
            relay.directory.use(configured)
            if self._running:
                # One that has started already does not start again.
                relay.start()
        self.router.use(
            {which[0]: pool for which, pool in prepared.origins.items()},
            list(prepared.relays.values()),
            list(prepared.http_relays.values()),
            prepared.leases,
        )
        if before is not None:
            self._retire(before.origins, prepared.origins)
            self._retire(before.relays, prepared.relays)
            self._retire(before.http_relays, prepared.http_relays)

    # Life.

    def start(self) -> None:
        """Connect to the relays, and keep connected."""
        self._running = True
        if self._now is not None:
            for relay in self._now.relays.values():
                relay.start()

    def stop(self) -> Deferred[Any]:
        """Close every connection; fires when the sessions are gone."""
        self._running = False
        now = self._now
        ended: list[Deferred[Any]] = [self._retirement.close()]
        if now is not None:
            for pool in now.origins.values():
                pool.close()
            for http_relay in now.http_relays.values():
                http_relay.close()
            ended += [relay.close() for relay in now.relays.values()]
        return gatherResults(ended, consumeErrors=True)

    def _retire(self, before: Mapping[Any, Retiring], now: Mapping[Any, Retiring]) -> None:
        for which, part in before.items():
            if now.get(which) is not part:
                self._retirement.add(part)

    # Making.

    def _make_relay(
        self, section: RelaySection, credential: Credential, limits: PoolLimits
    ) -> Relay:
        reactor = self._reactor
        session = RelaySession(reactor, section.url, tls=section.tls)

        def ask() -> Deferred[RelayInfo]:
            return ask_relay_info(session.require(), reactor)

        def make_pool(lease_id: str) -> Pool:
            return Pool(LeaseEndpoint(session, credential, lease_id, reactor), reactor, limits)

        return Relay(session, Directory(ask, reactor), make_pool)

    def _make_http_relay(self, section: RelaySection, limits: PoolLimits) -> HTTPRelay:
        reactor = self._reactor
        url = HTTPRelayURL.parse(section.url)
        tls = ClientTLS(section.tls) if url.secure else None

        def make_pool(host: str) -> Pool:
            def connecting(by: Any) -> IStreamClientEndpoint:
                return origin_endpoint(by, host, url.port, tls)

            if not url.by_host:
                return Pool(connecting(reactor), reactor, limits)
            endpoint = LookedUpEndpoint(self.lookups, reactor, host, url.port, connecting)
            return Pool(endpoint, reactor, limits)

        return HTTPRelay(url, make_pool)

    def _endpoint(self, origin: Origin, tls: UpstreamTLS) -> IStreamClientEndpoint:
        secure = ClientTLS(tls) if origin.scheme == "https" else None
        return origin_endpoint(self._reactor, origin.host, origin.port, secure)


def _names(leases: Mapping[str, LeaseSection]) -> ConfiguredNames:
    return ConfiguredNames(
        {name: lease.identity for name, lease in leases.items() if lease.identity is not None},
        [name for name, lease in leases.items() if lease.origin is not None],
        leases,
    )
