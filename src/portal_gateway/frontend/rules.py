"""The rules of a configuration, put together for the guards."""

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from portal_gateway.config.model import Config, GatewaySection
from portal_gateway.config.rate_limits import RedisSection
from portal_gateway.frontend.guards import Later, Rules
from portal_gateway.frontend.quota_guard import QuotaGuard
from portal_gateway.frontend.rate_limiter import RateLimiter
from portal_gateway.frontend.tokens import Tokens
from portal_gateway.policy.address_sets import AddressSet
from portal_gateway.policy.client_address import TrustedProxies
from portal_gateway.policy.credentials import KeyTable
from portal_gateway.policy.failed_attempts import FailedAttempts
from portal_gateway.policy.lease_access import LeaseAccess
from portal_gateway.policy.lease_settings import LeaseAddresses, LeasePaths
from portal_gateway.policy.rate_limits import RateLimits, Tables
from portal_gateway.relay.client_tls import ClientTLS
from portal_gateway.relay.origins import origin_endpoint
from portal_gateway.relay.router import Router

if TYPE_CHECKING:
    from portal_gateway.store.redis import RedisScripts

__all__ = ["make_rate_limiter", "make_redis", "make_rules", "make_trusted_proxies"]

_log = Logger()


def make_rules(
    config: Config,
    tokens: Tokens | None,
    limiter: RateLimiter | None,
    quotas: QuotaGuard | None,
    tables: Tables,
    router: Router,
    reactor: Any,
) -> Rules:
    """What the guards decide by."""
    failed = config.rate_limit.failed_auth
    whitelist = config.ip_whitelist
    return Rules(
        KeyTable(config.auth.keys),
        tokens=tokens,
        addresses=AddressSet(whitelist.cidrs) if whitelist.enabled else None,
        access=_lease_access(config),
        lease_addresses=LeaseAddresses(
            {name: lease.ip_allow for name, lease in config.leases.items() if lease.ip_allow}
        ),
        mcp=LeasePaths({name: lease.mcp for name, lease in config.leases.items()}),
        limiter=limiter,
        quotas=quotas,
        failed_attempts=None if failed is None else FailedAttempts(failed, tables.addresses),
        find=router.find,
        monotonic=reactor.seconds,
        later=Later(),
    )


def _lease_access(config: Config) -> LeaseAccess | None:
    """The rules, or None where every key may use every lease."""
    if not config.lease_acl:
        _log.info("no lease_acl is configured: every API key may use every lease")
        return None
    return LeaseAccess(config.lease_acl, default_allow=config.lease_acl_default == "allow")


def make_rate_limiter(
    config: Config, tables: Tables, redis: "RedisScripts | None", reactor: Any
) -> RateLimiter | None:
    """What takes tokens, from Redis if there is one; ``None`` where nothing is limited."""
    section = config.rate_limit
    if redis is None:
        limits = RateLimits(section, tables)
        return RateLimiter(limits, reactor.seconds) if limits.any else None
    # As below.
    from portal_gateway.frontend.shared_rate_limiter import SharedRateLimiter  # noqa: PLC0415
    from portal_gateway.store.shared_buckets import SharedBuckets  # noqa: PLC0415

    shared = SharedBuckets(redis)
    limits = RateLimits(section, tables, shared.prepare)
    on_failure = section.storage.on_failure
    return SharedRateLimiter(limits, reactor.seconds, shared, on_failure) if limits.any else None


def make_redis(settings: RedisSection, reactor: Any) -> "RedisScripts":
    """What asks Redis, once it is started."""
    # Its library imports the reactor, which twistd has chosen by now.
    from portal_gateway.store.redis import RedisScripts  # noqa: PLC0415

    tls = None if settings.tls is None else ClientTLS(settings.tls)
    endpoint = origin_endpoint(reactor, settings.host, settings.port, tls)
    return RedisScripts(endpoint, settings, reactor)


def make_trusted_proxies(gateway: GatewaySection) -> TrustedProxies | None:
    """What finds out the clients behind proxies, if any are trusted."""
    listed = gateway.trusted_proxies
    if not listed:
        return None
    networks = [network for network in listed if network is not None]
    return TrustedProxies(networks, unix=None in listed, field=gateway.forwarded_field)
