"""The metrics: one list of them all, and the collector that reads them when they are scraped.

What requests are counted in is `RequestCounts`; everything else is read from the parts of the
gateway themselves, by functions that give `Reading`.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

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
from portal_gateway.observe.request_counts import OTHER, RequestCounts

__all__ = ["FIXED_SERIES", "METRICS", "Listed", "Metrics", "Reading", "Source"]

FIXED_SERIES: Final = 200
"""Series of the budget that are for everything but requests; a test counts that they suffice."""

DURATIONS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Seconds of requests: from a lease nearby to a model that thinks for two minutes."""

LAGS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
"""Seconds that the event loop is late."""

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Listed:
    """One metric: its name as it is told, what it is, its labels, and the bounds of its buckets."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


METRICS: Final = (
    # Requests.
    Listed(
        "portal_gateway_requests_total",
        "counter",
        "Requests that are over; status 0 for those without an answer.",
        ("method", "path", "status", "lease_id"),
    ),
    Listed(
        "portal_gateway_request_duration_seconds",
        "histogram",
        "Time from the first byte of a request to the end of its answer, of a WebSocket to its"
        " opening.",
        ("method", "path", "lease_id"),
        DURATIONS,
    ),
    Listed(
        "portal_gateway_errors_total",
        "counter",
        "Requests that ended with an error of the gateway's own, by its code.",
        ("type", "lease_id"),
    ),
    Listed(
        "portal_gateway_rate_limit_hits_total",
        "counter",
        "Requests that a rate limit refused; without a key for failed attempts.",
        ("key", "lease_id"),
    ),
    Listed(
        "portal_gateway_request_body_bytes_total", "counter", "Bytes of bodies that clients sent."
    ),
    Listed(
        "portal_gateway_response_body_bytes_total",
        "counter",
        "Bytes of bodies that were sent to clients.",
    ),
    Listed(
        "portal_gateway_series_folded_total",
        "counter",
        "Requests counted under _other because the series budget is used up.",
        ("metric",),
    ),
    # Connections of clients.
    Listed("portal_gateway_active_connections", "gauge", "Connections of clients that are open."),
    Listed("portal_gateway_websockets", "gauge", "WebSockets that are open."),
    Listed(
        "portal_gateway_streams", "gauge", "Responses without a length that are under way, as SSE."
    ),
    Listed(
        "portal_gateway_limit_hits_total",
        "counter",
        "Times that a limit of gateway.limits was met, by its name.",
        ("limit",),
    ),
    Listed(
        "portal_gateway_timeouts_total",
        "counter",
        "Times that somebody was too slow: a client, by the limit's name, or the lease (upstream).",
        ("kind",),
    ),
    # Relays and leases.
    Listed(
        "portal_gateway_portal_connections",
        "gauge",
        "Relays by the state of the session with them.",
        ("status",),
    ),
    Listed(
        "portal_gateway_relay_up", "gauge", "Whether the session with a relay is up.", ("relay",)
    ),
    Listed(
        "portal_gateway_relay_round_trip_seconds",
        "gauge",
        "The last ping's round trip to a relay.",
        ("relay",),
    ),
    Listed(
        "portal_gateway_relay_connects_total",
        "counter",
        "Sessions with a relay that came up.",
        ("relay",),
    ),
    Listed(
        "portal_gateway_relay_attempts_total",
        "counter",
        "Attempts to connect to a relay.",
        ("relay",),
    ),
    Listed("portal_gateway_leases", "gauge", "Leases that a relay lists now.", ("relay",)),
    Listed(
        "portal_gateway_pool_connections",
        "gauge",
        "Connections to leases, by what they are doing.",
        ("state",),
    ),
    Listed("portal_gateway_pool_queued_requests", "gauge", "Requests that wait for a connection."),
    Listed("portal_gateway_pool_dials_total", "counter", "Connections to leases that were begun."),
    Listed(
        "portal_gateway_pool_reuses_total", "counter", "Requests that took a connection of before."
    ),
    Listed(
        "portal_gateway_pool_retries_total",
        "counter",
        "Requests sent again because a connection of before had ended.",
    ),
    # Limits and their store.
    Listed("portal_gateway_rate_limit_buckets", "gauge", "Buckets of rate limits in memory."),
    Listed(
        "portal_gateway_rate_limit_buckets_forgotten_total",
        "counter",
        "Buckets given up while they were not full, for want of room.",
    ),
    Listed("portal_gateway_redis_up", "gauge", "Whether Redis can be asked."),
    Listed(
        "portal_gateway_redis_transitions_total", "counter", "Times that Redis went or came back."
    ),
    Listed("portal_gateway_redis_failures_total", "counter", "Questions to Redis that failed."),
    Listed("portal_gateway_redis_fallbacks_total", "counter", "Requests decided without Redis."),
    Listed("portal_gateway_redis_attempts_total", "counter", "Attempts to connect to Redis."),
    Listed("portal_gateway_redis_in_flight", "gauge", "Questions to Redis without an answer."),
    # The process.
    Listed(
        "portal_gateway_tls_certificate_expiry_timestamp_seconds",
        "gauge",
        "When the certificate that is served expires, in Unix time.",
    ),
    Listed(
        "portal_gateway_event_loop_lag_seconds",
        "histogram",
        "How late a heartbeat of four a second came.",
        (),
        LAGS,
    ),
    Listed(
        "portal_gateway_build_info",
        "gauge",
        "Always 1; the labels say what runs.",
        ("version", "python", "twisted", "compiled"),
    ),
)
"""Every metric of the gateway's own, in the order in which they are told."""


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
        self.requests = RequestCounts(series_budget - FIXED_SERIES, DURATIONS)
        self.lag = LoopLag(clock, LAGS)
        self.sources: list[Source] = []
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        compiled = str(not request_counts.__file__.endswith(".py")).lower()
        self._build = (__version__, platform.python_version(), twisted.__version__, compiled)

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
            for status, count in row.statuses.items():
                yield Reading(name, count, (method, path, str(status), lease))
            if row.others:
                yield Reading(name, row.others, (method, path, OTHER, lease))
        for labels, count in requests.errors.items():
            yield Reading("portal_gateway_errors_total", count, labels)
        for labels, count in requests.limit_hits.items():
            yield Reading("portal_gateway_rate_limit_hits_total", count, labels)
        yield Reading("portal_gateway_request_body_bytes_total", requests.bytes_in)
        yield Reading("portal_gateway_response_body_bytes_total", requests.bytes_out)
        for metric, count in (
            ("requests", requests.folded_rows),
            ("errors", requests.folded_errors),
            ("rate_limit_hits", requests.folded_hits),
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
