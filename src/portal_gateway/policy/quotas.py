"""Which quotas hold for a caller.

For each period that is the quota that is written for the key, by its id or by itself; else that of
its plan; else the default.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from portal_gateway.config.model import key_digest
from portal_gateway.config.quotas import KeyQuotas, PlanQuotas, QuotaSection, QuotasSection
from portal_gateway.exchange import Caller
from portal_gateway.policy.quota_spans import PERIODS, Period

__all__ = ["WARNED_FROM", "Quota", "Quotas"]

WARNED_FROM: Final = 0.8
"""The part of a quota from which on answers warn that it comes to its end."""

_MOST_PUT_TOGETHER: Final = 10_000
"""Callers whose quotas are kept put together. Above it all are dropped and made again as they are
needed, a microsecond each."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What may be used in each span of a period; ``None`` is no limit.

    ``warned_requests`` and ``warned_bytes`` are how much is used when warnings begin.
    """

    period: Period
    requests: int | None
    bandwidth: int | None
    warned_requests: float = field(init=False)
    warned_bytes: float = field(init=False)

    def __post_init__(self) -> None:
        for name, limit in (("warned_requests", self.requests), ("warned_bytes", self.bandwidth)):
            object.__setattr__(self, name, float("inf") if limit is None else limit * WARNED_FROM)

    @classmethod
    def of(cls, period: Period, section: QuotaSection) -> "Quota":
        """The quota that the configuration has."""
        return cls(period, section.requests, section.bandwidth)


_NO_PLAN: Final[PlanQuotas] = MappingProxyType({})


class Quotas:
    """The quotas of a configuration."""

    def __init__(self, section: QuotasSection) -> None:
        self.any = section.any
        self._by_period: tuple[tuple[Period, KeyQuotas], ...] = (
            ("daily", section.daily),
            ("monthly", section.monthly),
        )
        assert [period for period, _ in self._by_period] == list(PERIODS)
        self._plans = section.plans
        self._known: dict[tuple[str, bytes, str], tuple[Quota, ...]] = {}

    def of(self, caller: Caller) -> tuple[Quota, ...]:
        """The caller's quotas; the same object as long as it is known. Empty where none hold."""
        which = (caller.key_id, caller.digest, caller.plan)
        try:
            return self._known[which]
        except KeyError:
            if len(self._known) >= _MOST_PUT_TOGETHER:
                self._known.clear()
            found = self._known[which] = tuple(self._put_together(*which))
            return found

    def _put_together(self, key_id: str, digest: bytes, plan: str) -> Iterable[Quota]:
        written_as = (key_digest(key_id.encode("utf-8", "surrogatepass")), digest)
        of_plan = self._plans.get(plan, _NO_PLAN)
        for period, quotas in self._by_period:
            section = of_plan.get(period, quotas.default)
            for written in written_as:
                if written in quotas.keys:
                    section = quotas.keys[written]
                    break
            if section is not None:
                yield Quota.of(period, section)
