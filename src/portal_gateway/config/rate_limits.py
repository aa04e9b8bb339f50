"""The section ``rate_limit`` as a value: how often requests may come, and where that is counted.

A field that is not in the file has the default that stands here, as in
:mod:`portal_gateway.config.model`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from portal_gateway.config.upstream_tls import UpstreamTLS

__all__ = [
    "KeyRates",
    "RateLimitSection",
    "RateSection",
]


OnFailure = Literal["local", "open", "closed"]


@dataclass(frozen=True, slots=True)
class RateSection:
    """``requests`` in every ``seconds`` (1, 60 or 3600), and ``burst`` of them at once."""

    requests: float
    seconds: int
    burst: int


@dataclass(frozen=True, slots=True)
class KeyRates:
    """``rate_limit.per_key``. A rate that is ``None`` is no limit.

    The keys of ``overrides`` are SHA-256 digests of what is written there: the id of an API key, or
    the key itself. ``plans`` are by the name of a plan.
    """

    default: RateSection | None = None
    plans: Mapping[str, RateSection | None] = field(default_factory=lambda: MappingProxyType({}))
    overrides: Mapping[bytes, RateSection | None] = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSection:
    """``rate_limit.storage.redis``: one Redis, or what speaks like it.

    ``timeout`` is seconds for one answer. ``prefix`` is what its keys begin with. ``tls`` is
    ``None`` where it is reached without TLS.
    """

    host: str
    port: int
    db: int = 0
    pool_size: int = 2
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: UpstreamTLS | None = None
    prefix: str = "portal-gateway"
    timeout: float = 0.05


@dataclass(frozen=True, slots=True)
class StorageSection:
    """``rate_limit.storage``: where tokens are counted; in memory where ``redis`` is ``None``.

    ``on_failure`` is what holds while Redis cannot be asked.
    """

    redis: RedisSection | None = None
    on_failure: OnFailure = "local"


@dataclass(frozen=True, slots=True)
class RateLimitSection:
    """``rate_limit``. A rate that is ``None``, or is not there, is no limit.

    ``everything`` is what the file calls ``global``. ``failed_auth`` is for requests without a
    valid credential, per address.
    """

    everything: RateSection | None = None
    per_key: KeyRates = field(default_factory=KeyRates)
    per_lease: Mapping[str, RateSection | None] = field(
        default_factory=lambda: MappingProxyType({})
    )
    failed_auth: RateSection | None = RateSection(10, 1, 100)
    storage: StorageSection = field(default_factory=StorageSection)
