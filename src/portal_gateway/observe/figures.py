"""What one process has counted and is, and what several are together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from portal_gateway.observe.metric_list import METRICS
from portal_gateway.observe.request_counts import RequestCounts

__all__ = ["COUNTERS", "Figures", "Lag", "Reading", "counted", "merged", "sum_of"]

_LISTED: Final = {listed.name: listed for listed in METRICS}

COUNTERS: Final = frozenset(listed.name for listed in METRICS if listed.kind == "counter")

_ACROSS: Final[Mapping[str, Callable[[Iterable[float]], float]]] = {
    "sum": sum,
    "least": min,
    "most": max,
}


class Reading(NamedTuple):
    """What a metric is now, for one set of its labels' values."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


class Lag(NamedTuple):
    """How late the event loop was: how often in each bucket, and the seconds in all."""

    counts: Sequence[int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that metrics tell, but in what is told as what."""

    requests: RequestCounts
    lag: Lag
    readings: Sequence[Reading]


def counted(figures: Figures) -> Figures:
    """What stays true of a process that is no more: what it has counted."""
    readings = [each for each in figures.readings if each.name in COUNTERS]
    return Figures(figures.requests, figures.lag, readings)


def sum_of(parts: Sequence[Figures], empty: RequestCounts) -> Figures:
    """All of them together, with the requests counted in ``empty``."""
    empty.add([part.requests for part in parts])
    lags = [part.lag for part in parts]
    counts = [sum(column) for column in zip(*(lag.counts for lag in lags), strict=True)]
    lag = Lag(counts, sum(lag.seconds for lag in lags))
    return Figures(empty, lag, merged(reading for part in parts for reading in part.readings))


def merged(readings: Iterable[Reading]) -> list[Reading]:
    """One reading for each metric and set of labels, by what the list says of several.

    Of what is not in the list there is none: another release wrote it.
    """
    found: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    for name, value, labels in readings:
        if name not in _LISTED:
            continue
        found.setdefault((name, labels), []).append(value)
    return [
        Reading(name, _ACROSS[_LISTED[name].across](values), labels)
        for (name, labels), values in found.items()
    ]
