"""What ``validate`` prints: a configuration, or what is wrong with one, as lines for people."""

from collections.abc import Sequence
from datetime import UTC, datetime

from portal_gateway.config.faults import Fault
from portal_gateway.config.jwt_tokens import JWTSection
from portal_gateway.config.model import Config
from portal_gateway.config.rate_limits import RateLimitSection
from portal_gateway.config.scalars import quote
from portal_gateway.tls.acme_settings import AutoCert
from portal_gateway.wire.ip_addresses import Network

__all__ = ["describe", "describe_faults"]

_SHOWN = 4
"""Networks of a list that are shown: enough to tell which list it is."""


def describe(config: Config, now: datetime | None = None) -> list[str]:
    """Lines that say what was loaded, without any secret; warnings last.

    ``now`` (aware) decides which keys have expired; without it, the clock does.
    """
    if now is None:
        now = datetime.now(UTC)
    lines = ["Configuration valid", f"  - {_keys(config, now)}"]
    if config.auth.jwt is not None:
        lines.append(f"  - {_tokens(config.auth.jwt)}")
    gateway = config.gateway
    secure = " with TLS" if gateway.tls is not None else ""
    lines.append(f"  - listens on {gateway.listen}{secure}")
    if gateway.workers != 1:
        number = gateway.workers
        lines.append(
            f"  - {'one worker for each core' if number == 'auto' else f'{number} workers'}"
        )
    if gateway.tls is not None and gateway.tls.redirect_from is not None:
        lines.append(f"  - redirects to HTTPS from {gateway.tls.redirect_from[0]}")
    if gateway.tls is not None and gateway.tls.auto_cert is not None:
        lines.append(f"  - {_certificate(gateway.tls.auto_cert)}")
    if config.metrics.enabled and config.metrics.listen is not None:
        lines.append(f"  - metrics at {config.metrics.listen[0]}")
    if gateway.trusted_proxies:
        lines.append(f"  - proxies trusted: {_shown(gateway.trusted_proxies)}")
    if config.ip_whitelist.enabled:
        lines.append(f"  - clients allowed: {_shown(config.ip_whitelist.cidrs)}")
    lines.append(f"  - {_count(len(config.portal.relays), 'relay')} configured")
    lines += [f"    {relay.url}" for relay in config.portal.relays]
    if config.leases:
        origins = sum(1 for lease in config.leases.values() if lease.url is not None)
        pinned = sum(1 for lease in config.leases.values() if lease.identity is not None)
        lines.append(
            f"  - {_count(len(config.leases), 'lease')} configured"
            f" ({_count(origins, 'plain origin')}, {pinned} pinned to an identity)"
        )
    lines.append(f"  - {_access(config)}")
    lines += _limits(config.rate_limit)
    lines += _quotas(config)
    lines += [f"  - Warning: {warning}" for warning in config.warnings]
    return lines


def describe_faults(faults: Sequence[Fault]) -> list[str]:
    """Lines that say what is wrong and where, in the order of ``faults``."""
    return ["Configuration invalid:", *(f"  - {fault}" for fault in faults)]


def _keys(config: Config, now: datetime) -> str:
    keys = config.auth.keys
    expired = sum(1 for key in keys if key.expires_at is not None and key.expires_at <= now)
    note = f" ({expired} expired)" if expired else ""
    where = config.auth.database
    others = "" if where is None else f", others in {where.database(config.database).driver}"
    return f"{_count(len(keys), 'API key')} loaded{note}{others}"


def _access(config: Config) -> str:
    if not config.lease_acl:
        return "every key may use every lease (there is no lease_acl)"
    others = "open to every key" if config.lease_acl_default == "allow" else "closed"
    return f"{_count(len(config.lease_acl), 'rule')} in lease_acl, other leases are {others}"


def _tokens(jwt: JWTSection) -> str:
    claims = jwt.claims
    parties = [
        f"{name} {quote(value)}"
        for name, value in (("issuer", claims.issuer), ("audience", claims.audience))
        if value is not None
    ]
    return ", ".join([f"JWTs by {jwt.algorithm}", *parties])


def _certificate(auto: AutoCert) -> str:
    # Without its query, which may hold a secret.
    authority = auto.authority.directory_url.partition("?")[0]
    names = ", ".join(auto.domains[:_SHOWN])
    more = f" and {len(auto.domains) - _SHOWN} more" if len(auto.domains) > _SHOWN else ""
    return f"certificate for {names}{more} by {auto.challenge} from {authority}"


def _shown(networks: Sequence[Network | None]) -> str:
    """Some networks; ``None`` is for UNIX sockets."""
    shown = ["UNIX sockets" if network is None else str(network) for network in networks]
    more = len(shown) - _SHOWN
    return ", ".join(shown[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _limits(section: RateLimitSection) -> list[str]:
    per_key = section.per_key
    found = [
        *(["global"] if section.everything is not None else []),
        *(["per key"] if per_key.default is not None else []),
        *([_count(len(per_key.plans), "plan")] if per_key.plans else []),
        *([_count(len(per_key.overrides), "override")] if per_key.overrides else []),
        *([_count(len(section.per_lease), "lease")] if section.per_lease else []),
    ]
    if not found:
        return []
    redis = section.storage.redis
    where = "" if redis is None else f", counted in Redis at {redis.host}:{redis.port}"
    return [f"  - rate limits: {', '.join(found)}{where}"]


def _quotas(config: Config) -> list[str]:
    quotas = config.quotas
    if not quotas.any:
        return []
    found = [
        f"{period} {words}"
        for period, of_keys in (("daily", quotas.daily), ("monthly", quotas.monthly))
        for words in (
            *(["default"] if of_keys.default is not None else []),
            *([f"of {_count(len(of_keys.keys), 'key')}"] if of_keys.keys else []),
        )
    ]
    found += [_count(len(quotas.plans), "plan")] if quotas.plans else []
    return [f"  - quotas: {', '.join(found)}, counted in {_where_quotas_are(config)}"]


def _where_quotas_are(config: Config) -> str:
    redis, database = config.rate_limit.storage.redis, config.database
    if redis is not None and config.quotas.storage != "database":
        return f"Redis at {redis.host}:{redis.port}"
    return "PostgreSQL" if database.driver == "postgres" else str(database.file)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
