"""The collector, which makes the metrics of `METRICS` when they are scraped.

What requests are counted in is `RequestCounts`; everything else is read from the parts of the
gateway themselves, by functions that give `Reading`.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

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
from portal_gateway.observe.figures import COUNTERS, Figures, Lag, Reading, counted, merged, sum_of
from portal_gateway.observe.loop_lag import LoopLag
from portal_gateway.observe.metric_list import DURATIONS, LAGS, METRICS, Listed
from portal_gateway.observe.request_counts import RequestCounts
from portal_gateway.observe.steady_counts import SteadyCounts
from portal_gateway.observe.tallies import OTHER
from portal_gateway.observe.worker_files import WorkerFiles

__all__ = ["FIXED_SERIES", "Metrics", "Reading", "Source"]

FIXED_SERIES: Final = 250
"""Series of the budget that are for everything but requests; a test counts that they suffice."""


Source = Callable[[], Iterable[Reading]]


class Metrics(Collector):
    """What is measured of one gateway, in a registry of its own.

    ``requests`` counts what is over, ``lag`` is the service that feels the event loop; ``sources``
    are asked at each scrape. What they count may begin anew.
    """

    def __init__(self, series_budget: int, clock: IReactorTime) -> None:
        self._series_budget = series_budget
        self.requests = _counts(series_budget)
        self.lag = LoopLag(clock, LAGS)
        self.sources: list[Source] = []
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._steady = SteadyCounts()
        self._process = ProcessCollector(registry=None)
        self._files: WorkerFiles | None = None
        self._before: Sequence[Reading] = ()
        compiled = str(not request_counts.__file__.endswith(".py")).lower()
        self._build = (__version__, platform.python_version(), twisted.__version__, compiled)

    def keep_to(self, series_budget: int) -> None:
        """Tell at most so many series from now on; what was counted is still counted."""
        if series_budget != self._series_budget:
            self._series_budget = series_budget
            before, self.requests = self.requests, _counts(series_budget)
            self.requests.add([before])

    def share(self, files: WorkerFiles) -> None:
        """Go on from what the worker before had counted, and tell of all workers together."""
        self._files = files
        before = files.before()
        if before is not None:
            self.requests.add([before.requests])
            self.lag.go_on_from(*before.lag)
            self._before = before.readings

    def write(self) -> None:
        """Have the other workers know."""
        if self._files is not None:
            self._files.write(self._own())

    def write_last(self) -> None:
        """Have them know what was counted, now that the rest is over."""
        if self._files is not None:
            self._files.write(counted(self._own()))

    def collect(self) -> Iterator[Metric]:
        """Every metric of `METRICS` that has something to tell, or will when leases are called."""
        figures = self._figures()
        readings: dict[str, list[Reading]] = {}
        for reading in [*_of_requests(figures.requests), *figures.readings]:
            readings.setdefault(reading.name, []).append(reading)
        for listed in METRICS:
            if listed.kind == "histogram":
                yield _histogram(listed, figures)
            elif listed.name in readings or "lease_id" in listed.labels:
                yield _family(listed, readings.get(listed.name, ()))

    def _figures(self) -> Figures:
        own = self._own()
        if self._files is None:
            return own
        # In this order: see there.
        self._files.write(own)
        return sum_of([own, *self._files.others()], _counts(self._series_budget))

    def _own(self) -> Figures:
        readings = [*self._before, *self._read()]
        lag = Lag(self.lag.counts, self.lag.seconds)
        return Figures(self.requests, lag, merged(readings) if self._before else readings)

    def _read(self) -> Iterator[Reading]:
        yield Reading("portal_gateway_build_info", 1, self._build)
        yield Reading("portal_gateway_workers", 1)
        for source in self.sources:
            for reading in source():
                yield self._steady.told(reading) if reading.name in COUNTERS else reading
        for family in self._process.collect():
            for sample in family.samples:
                yield Reading(sample.name, sample.value)


def _counts(series_budget: int) -> RequestCounts:
    return RequestCounts(series_budget - FIXED_SERIES, DURATIONS)


def _of_requests(requests: RequestCounts) -> Iterator[Reading]:
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


def _histogram(listed: Listed, figures: Figures) -> Metric:
    family = HistogramMetricFamily(listed.name, listed.help, labels=listed.labels)
    bounds = [*map(floatToGoString, listed.buckets), "+Inf"]
    if listed.labels:
        for labels, row in figures.requests.rows.items():
            if any(row.counts):
                family.add_metric(labels, _cumulated(bounds, row.counts), row.seconds)
    else:
        lag = figures.lag
        family.add_metric((), _cumulated(bounds, lag.counts), lag.seconds)
    return family


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
