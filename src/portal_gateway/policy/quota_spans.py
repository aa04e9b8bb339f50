"""The days and months in which quotas are counted, by the UTC calendar."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from portal_gateway.config.quotas import QuotaPeriod as Period

__all__ = ["PERIODS", "Period", "Span", "span_at"]

PERIODS: Final[tuple[Period, ...]] = ("daily", "monthly")

_DAY: Final = 86_400
"""Seconds. Unix time has no leap seconds, so every day has as many."""


class Span(NamedTuple):
    """One day or month: from unix time ``start`` on, before ``end``; ``label`` as in RFC 3339."""

    period: Period
    label: str
    start: float
    end: float

    @property
    def spoken_end(self) -> str:
        """The moment at which the next one begins, as in RFC 3339."""
        return datetime.fromtimestamp(self.end, UTC).isoformat().replace("+00:00", "Z")


def span_at(period: Period, now: float) -> Span:
    """The day or month that ``now`` is in."""
    return _SPANS[period](int(now // _DAY))


@lru_cache(maxsize=8)
def _day(day: int) -> Span:
    start = day * _DAY
    label = datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d")
    return Span("daily", label, start, start + _DAY)


@lru_cache(maxsize=8)
def _month(day: int) -> Span:
    first = datetime.fromtimestamp(day * _DAY, UTC).replace(day=1)
    year, month = divmod(first.year * 12 + first.month, 12)
    after = first.replace(year=year, month=month + 1)
    return Span("monthly", first.strftime("%Y-%m"), first.timestamp(), after.timestamp())


_SPANS: Final[dict[Period, Callable[[int], Span]]] = {"daily": _day, "monthly": _month}
