"""The section ``rate_limit`` as a value: how often requests may come, and where that is counted.

A field that is not in the file has the default that stands here, as in
:mod:`portal_gateway.config.model`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = [
    "KeyRates",
    "RateLimitSection",
    "RateSection",
]


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
