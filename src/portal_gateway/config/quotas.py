"""The section ``quotas`` as a value: how much each key may use in a day and in a month.

A field that is not in the file has the default that stands here, as in
:mod:`portal_gateway.config.model`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

__all__ = [
    "KeyQuotas",
    "PlanQuotas",
    "QuotaPeriod",
    "QuotaSection",
    "QuotaStorage",
    "QuotasSection",
]

QuotaStorage = Literal["database", "redis"]


@dataclass(frozen=True, slots=True)
class QuotaSection:
    """One quota: ``requests`` that are admitted, ``bandwidth`` in bytes of bodies both ways.

    At least one of them is there; ``None`` is no limit.
    """

    requests: int | None = None
    bandwidth: int | None = None


@dataclass(frozen=True, slots=True)
class KeyQuotas:
    """``quotas.daily`` or ``quotas.monthly``. A quota that is ``None`` is no limit.

    The keys of ``keys`` are SHA-256 digests of what is written there: the id of an API key, or the
    key itself. ``default`` is for all others.
    """

    default: QuotaSection | None = None
    keys: Mapping[bytes, QuotaSection | None] = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )


QuotaPeriod = Literal["daily", "monthly"]

PlanQuotas = Mapping[QuotaPeriod, QuotaSection | None]
"""``quotas.plans.<name>``: what holds for the keys of a plan, in the place of the default."""


@dataclass(frozen=True, slots=True)
class QuotasSection:
    """``quotas``. ``storage`` is where use is counted, ``None`` for where rate limits are."""

    daily: KeyQuotas = field(default_factory=KeyQuotas)
    monthly: KeyQuotas = field(default_factory=KeyQuotas)
    plans: Mapping[str, PlanQuotas] = field(default_factory=lambda: MappingProxyType({}))
    storage: QuotaStorage | None = None

    @property
    def any(self) -> bool:
        """Whether there is a quota at all."""
        return bool(
            self.daily.keys
            or self.monthly.keys
            or self.plans
            or self.daily.default
            or self.monthly.default
        )
