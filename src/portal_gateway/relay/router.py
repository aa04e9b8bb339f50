"""From the lease that a request names to the way that leads to it.

A configured origin comes first. Then come the relays that list their leases, in the order of the
configuration: the first that lists the lease now has it, and the first that lists the name for
several leases, so that it is nobody's, ends the search. Then come the relays without a list, which
may have it: one that has a connection to it at once, else, when the connected relays with a list
were asked anew and know nothing of it, the first whose leases can have such a name. Only that one
is tried. A lease whose identity is pinned is never looked for where there is no identity to check.

A name is looked for as the configuration spells it, in whichever case it was asked for; one that a
lenient reader could take for a configured one (`portal_gateway.wire.lease_names`) is nobody's.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.python.failure import Failure

from portal_gateway.config.model import LeaseSection
from portal_gateway.errors import ContestedName, GatewayError, fault
from portal_gateway.relay.configured_names import ConfiguredNames
from portal_gateway.relay.directory import Directory
from portal_gateway.relay.lease_pools import LeasePools, PoolFigures, sum_of
from portal_gateway.relay.origins import HTTPRelay
from portal_gateway.relay.pool import Pool, PoolLimits
from portal_gateway.relay.route import Route
from portal_gateway.relay.session import RelaySession
from portal_gateway.wire.messages import ListedLease

__all__ = ["Relay", "Router"]

_GRAVITY = ("lease_not_found", "relay_unavailable", "lease_offline", "identity_mismatch")
"""When no relay has the lease, the answer that says most, last. A relay that is away may hold the
lease that the others do not know, so its absence outweighs their ignorance."""


_MOST_KNOWN = 4096
"""Leases for which it is kept what the configuration says of them. Who has a key can ask for any
name."""


class Relay:
    """One relay: its session, its directory, and a pool for each lease in use there."""

    def __init__(
        self, session: RelaySession, directory: Directory, make_pool: Callable[[str], Pool]
    ) -> None:
        self.session = session
        self.directory = directory
        self._pools = LeasePools(make_pool)
        session.on_connected.append(lambda _connection: directory.start())
        session.on_lost.append(lambda _reason: directory.stop())

    def start(self) -> None:
        """Connect, and keep connected; the directory is read while the session is up."""
        self.session.start()

    @property
    def unused(self) -> bool:
        """Whether there is no connection to a lease."""
        return self._pools.unused

    def use(self, limits: PoolLimits) -> None:
        """Hold each pool to other limits from now on."""
        self._pools.use(limits)

    def retire(self) -> None:
        """Close each connection to a lease as soon as it carries nothing."""
        self._pools.retire()

    def close(self) -> Deferred[None]:
        """Close every connection of this relay; fires when the session is gone."""
        self.directory.stop()
        self._pools.close()
        return self.session.stop()

    @property
    def pool_figures(self) -> PoolFigures:
        """Those of its connections."""
        return self._pools.figures

    def route(self, lease: ListedLease) -> Route:
        """The way to a lease that this relay lists."""
        return Route(self._pools.get, lease.id, self.directory.names_of(lease))


class Router:
    """Finds the way to a lease. The arguments are those of `use`."""

    def __init__(
        self,
        origins: Mapping[str, Pool] = MappingProxyType({}),
        relays: Sequence[Relay] = (),
        http_relays: Sequence[HTTPRelay] = (),
        leases: Mapping[str, LeaseSection] | None = None,
    ) -> None:
        self.use(origins, relays, http_relays, leases)

    def use(
        self,
        origins: Mapping[str, Pool],
        relays: Sequence[Relay],
        http_relays: Sequence[HTTPRelay],
        leases: Mapping[str, LeaseSection] | None,
    ) -> None:
        """Find these ways from now on.

        ``origins`` are the pools of the leases that have a ``url``; ``leases`` what the
        configuration says of leases.
        """
        self._leases = dict(leases or {})
        self._configured = ConfiguredNames(others=(*self._leases, *origins))
        self._spelled = lru_cache(maxsize=_MOST_KNOWN)(self._configured.spelled)
        self._pinned: dict[str, list[str]] = {}
        for name, section in self._leases.items():
            if section.identity is not None:
                self._pinned.setdefault(section.identity, []).append(name)
        self._section = lru_cache(maxsize=_MOST_KNOWN)(self._find_section)
        pools = dict(origins).__getitem__
        self._origins = {name: self._as_configured(Route(pools, name, (name,))) for name in origins}
        self._origin_pools = tuple(origins.values())
        self._relays = tuple(relays)
        self._http_relays = tuple(http_relays)

    @property
    def relays(self) -> tuple[Relay, ...]:
        """Those with a session."""
        return self._relays

    @property
    def pool_figures(self) -> PoolFigures:
        """Those of the connections to all leases."""
        return sum_of(
            [
                *map(PoolFigures.of, self._origin_pools),
                *(relay.pool_figures for relay in self._relays),
                *(relay.pool_figures for relay in self._http_relays),
            ]
        )

    @property
    def ready(self) -> bool:
        """Whether there is any way upstream: relays reached by HTTP are taken to be there."""
        return bool(self._origins or self._http_relays) or any(
            relay.session.connected for relay in self._relays
        )

    def find(self, lease: str) -> Route | Deferred[Route]:
        """The way to ``lease``, at once where the lease is known, else after asking the relays.

        The Deferred fails with a `GatewayError`: ``lease_not_found``, ``lease_offline``,
        ``identity_mismatch`` or ``relay_unavailable``.
        """
        origin = self._origins.get(lease)
        if origin is not None:
            return origin
        asked, spelled = lease, self._spelled(lease)
        if spelled is None:
            return fail(fault("lease_not_found", "the name is too much like a configured one"))
        lease = spelled
        if lease != asked and lease in self._origins:
            return self._origins[lease]
        for relay in self._relays:
            if relay.session.connected:
                listed = relay.directory.find(lease)
                if listed is not None:
                    return self._as_configured(relay.route(listed))
                if relay.directory.is_contested(lease):
                    return fail(ContestedName())
        section = self._leases.get(lease)
        if self._http_relays and (section is None or section.identity is None):
            return self._find_by_http(lease)
        return self._ask(lease, self._relays)

    def _as_configured(self, route: Route) -> Route:
        section = self._section(route.names) if self._leases else None
        if section is None:
            return route
        header = section.host_header
        host = route.host if header is None else header.encode("ascii")
        return route._replace(host=host, rewrite=section.rewrite)

    def _find_section(self, names: tuple[str, ...]) -> LeaseSection | None:
        """What is configured for a lease under one of its names, if anything is."""
        found = (self._spelled(name) for name in names)
        return next((self._leases[name] for name in found if name in self._leases), None)

    def _find_by_http(self, lease: str) -> Route | Deferred[Route]:
        connected = [relay for relay in self._relays if relay.session.connected]
        is_configured = lease in self._leases
        if not connected or any(
            relay.is_used(lease, is_configured=is_configured) for relay in self._http_relays
        ):
            route = self._http_route(lease)
            return self._ask(lease, self._relays) if route is None else route
        # A lease that just came to a relay with a list is not in the list that we have.
        return self._ask(lease, connected).addErrback(self._not_listed, lease)

    def _not_listed(self, failure: Failure, lease: str) -> Route:
        failure.trap(GatewayError)
        route = None if failure.check(ContestedName) else self._http_route(lease)
        if route is None:
            failure.raiseException()
        return route

    def _http_route(self, lease: str) -> Route | None:
        for relay in self._http_relays:
            route = relay.route(lease, is_configured=lease in self._leases)
            if route is None:
                continue
            if route.hides_names:
                route = route._replace(names=(*self._pinned.get(lease, ()), lease))
            return self._as_configured(route)
        return None

    def _ask(self, lease: str, relays: Sequence[Relay]) -> Deferred[Route]:
        if not relays:
            detail = (
                "no relay can be asked for the lease by its name: in a URL a name has no capital"
                " letters, unless leases lists it, and no character with a meaning of its own"
                if self._http_relays
                else "no lease of that name is configured"
            )
            return fail(fault("lease_not_found", detail))
        questions = [self._ask_one(relay, lease) for relay in relays]
        answers = DeferredList(questions, fireOnOneCallback=True, consumeErrors=True)
        return answers.addCallback(_first_or_gravest).addCallback(self._as_configured)

    @staticmethod
    def _ask_one(relay: Relay, lease: str) -> Deferred[Route | ContestedName]:
        found = relay.directory.resolve(lease).addCallback(relay.route)
        return found.addErrback(_contested)


def _contested(failure: Failure) -> ContestedName:
    """The error as an answer: it ends the search, as a route does."""
    failure.trap(ContestedName)
    error: ContestedName = failure.value  # type: ignore[assignment] # it was just trapped
    return error


def _first_or_gravest(
    answers: tuple[Route | ContestedName, int] | list[tuple[bool, Failure]],
) -> Route:
    """What `DeferredList` gives: the first success, or all failures where there was none."""
    if isinstance(answers, tuple):
        if isinstance(answers[0], ContestedName):
            raise answers[0]
        return answers[0]
    errors = [failure.value for _success, failure in answers if failure.value is not None]
    raise max(errors, key=_gravity)


def _gravity(error: BaseException) -> int:
    code = error.cause.code if isinstance(error, GatewayError) else ""
    return _GRAVITY.index(code) if code in _GRAVITY else len(_GRAVITY)
