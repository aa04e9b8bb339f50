"""The collector, which makes the metrics of `METRICS` when they are scraped.

What requests are counted in is `RequestCounts`; everything else is read from the parts of the
gateway themselves, by functions that give `Reading`.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from twisted.internet.interfaces import IReactorTime

import twisted
from portal_gateway import __version__
from portal_gateway.observe import request_counts
from portal_gateway.observe.loop_lag import LoopLag
from portal_gateway.observe.metric_list import DURATIONS, LAGS, METRICS, Listed
from portal_gateway.observe.request_counts import RequestCounts
from portal_gateway.observe.tallies import OTHER

__all__ = ["FIXED_SERIES", "Metrics", "Reading", "Source"]

FIXED_SERIES: Final = 200
"""Series of the budget that are for everything but requests; a test counts that they suffice."""


class Reading(NamedTuple):
    """What a metric is now, for one set of its labels' values."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


Source = Callable[[], Iterable[Reading]]


class Metrics(Collector):
    """What is measured of one gateway, in a registry of its own.

    ``requests`` counts what is over, ``lag`` is the service that feels the event loop; ``sources``
    are asked at each scrape.
    """

    def __init__(self, series_budget: int, clock: IReactorTime) -> None:
        self._series_budget = series_budget
        self.requests = _counts(series_budget)
        self.lag = LoopLag(clock, LAGS)
        self.sources: list[Source] = []
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        compiled = str(not request_counts.__file__.endswith(".py")).lower()
        self._build = (__version__, platform.python_version(), twisted.__version__, compiled)

    def keep_to(self, series_budget: int) -> None:
        """Tell at most so many series from now on; what was counted is still counted."""
        if series_budget != self._series_budget:
            self._series_budget = series_budget
            before, self.requests = self.requests, _counts(series_budget)
            self.requests.add([before])

    def collect(self) -> Iterator[Metric]:
        """Every metric of `METRICS` that has something to tell."""
        readings: dict[str, list[Reading]] = {}
        for reading in self._read():
            readings.setdefault(reading.name, []).append(reading)
        for listed in METRICS:
            if listed.kind == "histogram":
                family = self._histogram(listed)
                if family.samples:
                    yield family
            elif listed.name in readings:
                yield _family(listed, readings[listed.name])

    def _read(self) -> Iterator[Reading]:
        requests = self.requests
        for (method, path, lease), row in requests.rows.items():
            name = "portal_gateway_requests_total"
            for status, tally in row.statuses.items():
                yield Reading(name, tally.count, (method, path, str(status), lease))
            if row.others:
                yield Reading(name, row.others, (method, path, OTHER, lease))
        for pair, tally in requests.errors.items():
            yield Reading("portal_gateway_errors_total", tally.count, pair)
        for pair, tally in requests.limit_hits.items():
            yield Reading("portal_gateway_rate_limit_hits_total", tally.count, pair)
        for metric, count in (
            ("requests", requests.folded_rows),
            ("errors", requests.errors.folded),
            ("rate_limit_hits", requests.limit_hits.folded),
        ):
            yield Reading("portal_gateway_series_folded_total", count, (metric,))
        yield Reading("portal_gateway_timeouts_total", requests.upstream_timeouts, ("upstream",))
        yield Reading("portal_gateway_build_info", 1, self._build)
        for source in self.sources:
            yield from source()

    def _histogram(self, listed: Listed) -> Metric:
        family = HistogramMetricFamily(listed.name, listed.help, labels=listed.labels)
        bounds = [*map(floatToGoString, listed.buckets), "+Inf"]
        if listed.labels:
            for labels, row in self.requests.rows.items():
                if any(row.counts):
                    family.add_metric(labels, _cumulated(bounds, row.counts), row.seconds)
        else:
            family.add_metric((), _cumulated(bounds, self.lag.counts), self.lag.seconds)
        return family


def _counts(series_budget: int) -> RequestCounts:
    return RequestCounts(series_budget - FIXED_SERIES, DURATIONS)


def _cumulated(bounds: Sequence[str], counts: Sequence[int]) -> list[tuple[str, float]]:
    """The buckets as Prometheus has them: each with all that is below its bound."""
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


def _family(listed: Listed, readings: Iterable[Reading]) -> Metric:
    make = CounterMetricFamily if listed.kind == "counter" else GaugeMetricFamily
    family = make(listed.name, listed.help, labels=listed.labels)
    for reading in readings:
        family.add_metric(reading.labels, reading.value)
    return family
