"""What metrics tell of the parts of a running gateway, read from them when it is asked for."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from portal_gateway.frontend.quotas import QuotaParts
from portal_gateway.frontend.site import Site
from portal_gateway.observe.figures import Reading
from portal_gateway.observe.logs import Log
from portal_gateway.observe.reload_results import ReloadResults
from portal_gateway.observe.tallies import OTHER
from portal_gateway.policy.rate_limits import Tables
from portal_gateway.relay.lookups import Lookups
from portal_gateway.relay.lost import Loss
from portal_gateway.relay.router import Relay, Router
from portal_gateway.relay.session import State
from portal_gateway.tls.rotation import Rotation

if TYPE_CHECKING:
    from portal_gateway.frontend.stored_keys import StoredKeys
    from portal_gateway.frontend.tokens import Tokens
    from portal_gateway.store.database import Database, DatabaseFigures
    from portal_gateway.store.redis import RedisScripts

__all__ = [
    "MOST_RELAYS",
    "of_certificate",
    "of_databases",
    "of_limits",
    "of_log",
    "of_lookups",
    "of_quotas",
    "of_redis",
    "of_relays",
    "of_reloads",
    "of_sites",
    "of_stored_keys",
    "of_tokens",
]

MOST_RELAYS: Final = 20
"""Relays that are told apart; the others are told together."""

_TIMEOUTS: Final = {
    "handshake_timeout": "handshake",
    "header_timeout": "header",
    "idle_timeout": "idle",
    "body_rate": "body",
    "write_stall": "write",
}
"""The limits in time, by the kind of the timeout."""


def of_sites(sites: Sequence[Site]) -> Iterator[Reading]:
    """The connections of clients, at every listener."""
    yield Reading("portal_gateway_active_connections", sum(site.connections for site in sites))
    yield Reading("portal_gateway_websockets", sum(site.websockets for site in sites))
    yield Reading("portal_gateway_streams", sum(len(site.streams) for site in sites))
    handshakes = sum(site.handshakes for site in sites)
    yield Reading("portal_gateway_tls_handshakes_total", handshakes, ("completed",))
    failed = sum(site.failed_handshakes for site in sites)
    yield Reading("portal_gateway_tls_handshakes_total", failed, ("failed",))
    untrusted = sum(site.untrusted_peers for site in sites)
    yield Reading("portal_gateway_limit_hits_total", untrusted, ("trusted_proxies",))
    bad_headers = sum(site.bad_proxy_headers for site in sites)
    yield Reading("portal_gateway_limit_hits_total", bad_headers, ("proxy_header",))
    for limit in sites[0].limit_hits if sites else ():
        hits = sum(site.limit_hits[limit] for site in sites)
        kind = _TIMEOUTS.get(limit)
        if kind is None:
            yield Reading("portal_gateway_limit_hits_total", hits, (limit,))
        else:
            yield Reading("portal_gateway_timeouts_total", hits, (kind,))


def of_relays(router: Router) -> Iterator[Reading]:
    """The relays with a session, and the connections to all leases."""
    relays = router.relays
    for state in State:
        count = sum(relay.session.state is state for relay in relays)
        yield Reading("portal_gateway_portal_connections", count, (str(state),))
    shown: dict[str, list[Relay]] = {}
    for relay in relays:
        # Two may be at one host and port.
        name = relay.session.name
        name = name if name in shown or len(shown) < MOST_RELAYS else OTHER
        shown.setdefault(name, []).append(relay)
    for name, those in shown.items():
        yield from _of_relay((name,), those)
    unasked = sum(relay.directory.figures.unasked for relay in relays)
    yield Reading("portal_gateway_limit_hits_total", unasked, ("relay.unknown_leases",))
    losses = sum((relay.session.losses for relay in relays), Counter[Loss]())
    for loss, count in losses.items():
        yield Reading("portal_gateway_relay_losses_total", count, (str(loss),))
    pools = router.pool_figures
    for kind, count in (
        ("idle", pools.idle),
        ("active", pools.active),
        ("dialling", pools.dialling),
    ):
        yield Reading("portal_gateway_pool_connections", count, (kind,))
    yield Reading("portal_gateway_pool_queued_requests", pools.queued)
    yield Reading("portal_gateway_pool_dials_total", pools.dials)
    yield Reading("portal_gateway_pool_reuses_total", pools.reuses)
    yield Reading("portal_gateway_pool_retries_total", pools.retries)
    yield Reading("portal_gateway_limit_hits_total", pools.silences, ("lease_silence",))
    yield Reading("portal_gateway_limit_hits_total", pools.given_up, ("lease_pools",))
    yield Reading("portal_gateway_limit_hits_total", pools.idle_ended, ("idle_connections",))


def of_lookups(lookups: Lookups) -> Iterator[Reading]:
    """The requests that found no place to wait for the look-up of a lease's host name."""
    yield Reading("portal_gateway_limit_hits_total", lookups.refused, ("lookups",))


def _of_relay(labels: tuple[str], relays: Sequence[Relay]) -> Iterator[Reading]:
    sessions = [relay.session for relay in relays]
    yield Reading("portal_gateway_relay_up", all(each.connected for each in sessions), labels)
    trips = [each.round_trip for each in sessions if each.round_trip is not None]
    if trips:
        yield Reading("portal_gateway_relay_round_trip_seconds", max(trips), labels)
    connects = sum(each.connects for each in sessions)
    yield Reading("portal_gateway_relay_connects_total", connects, labels)
    attempts = sum(each.attempts for each in sessions)
    yield Reading("portal_gateway_relay_attempts_total", attempts, labels)
    leases = sum(relay.directory.figures.leases for relay in relays)
    yield Reading("portal_gateway_leases", leases, labels)


def of_limits(tables: Tables) -> Iterator[Reading]:
    """The buckets of the rate limits, and what they refused."""
    for limit, table in (
        ("rate_limit.global", tables.everything),
        ("rate_limit.per_key", tables.keys),
        ("rate_limit.per_lease", tables.leases),
        ("rate_limit.failed_auth", tables.addresses),
    ):
        yield Reading("portal_gateway_limit_hits_total", table.refused, (limit,))
    yield Reading("portal_gateway_rate_limit_buckets", len(tables))
    yield Reading("portal_gateway_rate_limit_buckets_forgotten_total", tables.forgotten)


def of_quotas(quotas: QuotaParts) -> Iterator[Reading]:
    """What the quotas refused."""
    yield Reading("portal_gateway_limit_hits_total", quotas.keeper.table.refused, ("quotas",))


def of_stored_keys(stored: "StoredKeys") -> Iterator[Reading]:
    """The requests that found no place to wait for the database."""
    yield Reading("portal_gateway_limit_hits_total", stored.questions.refused, ("key_questions",))


def of_tokens(tokens: "Tokens") -> Iterator[Reading]:
    """The requests that found no place to wait for the issuer's keys."""
    yield Reading("portal_gateway_limit_hits_total", tokens.refused, ("token_keys",))


def of_redis(redis: "RedisScripts") -> Iterator[Reading]:
    """The health of Redis."""
    figures = redis.figures
    yield Reading("portal_gateway_redis_up", bool(figures.usable))
    yield Reading("portal_gateway_redis_transitions_total", figures.transitions)
    yield Reading("portal_gateway_redis_failures_total", figures.failures)
    yield Reading("portal_gateway_redis_fallbacks_total", figures.fallbacks)
    yield Reading("portal_gateway_redis_attempts_total", figures.attempts)
    yield Reading("portal_gateway_redis_in_flight", redis.in_flight)


def of_databases(databases: "Iterable[Database]") -> Iterator[Reading]:
    """The health of the databases. Those with one driver are told together."""
    by_driver: dict[str, list[DatabaseFigures]] = {}
    for database in databases:
        by_driver.setdefault(database.driver, []).append(database.figures)
    for driver, figures in by_driver.items():
        labels = (driver,)
        up = all(each.usable for each in figures)
        yield Reading("portal_gateway_database_up", up, labels)
        done = sum(each.done for each in figures)
        yield Reading("portal_gateway_database_transactions_total", done, labels)
        failures = sum(each.failures for each in figures)
        yield Reading("portal_gateway_database_failures_total", failures, labels)
        in_flight = sum(each.in_flight for each in figures)
        yield Reading("portal_gateway_database_in_flight", in_flight, labels)


def of_certificate(rotation: Rotation) -> Iterator[Reading]:
    """When the certificate expires, once there is one."""
    if rotation.expires is not None:
        name = "portal_gateway_tls_certificate_expiry_timestamp_seconds"
        yield Reading(name, rotation.expires.timestamp())


def of_log(log: Log) -> Iterator[Reading]:
    """What the log had to leave out."""
    yield Reading("portal_gateway_log_lines_dropped_total", log.dropped)


def of_reloads(reloads: ReloadResults) -> Iterator[Reading]:
    """What came of new configurations."""
    yield Reading("portal_gateway_reload_total", reloads.successes, ("success",))
    yield Reading("portal_gateway_reload_total", reloads.failures, ("failure",))
    yield Reading("portal_gateway_config_last_reload_successful", reloads.last_succeeded)
    yield Reading("portal_gateway_config_applied_timestamp_seconds", reloads.applied)
    yield Reading("portal_gateway_config_generation", reloads.generation)
