"""Text in parts: together it is what it is as a whole."""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from portal_gateway.observe.exposition import written_in_parts


def families():
    requests = CounterMetricFamily("requests", "Requests\nof # HELP requests.", labels=["a"])
    for number in range(7):
        requests.add_metric([f"# EOF\n{number}"], number)
    nothing = GaugeMetricFamily("nothing", "Nothing.")
    one = GaugeMetricFamily("one", "One.")
    one.add_metric([], 1)
    return [nothing, requests, one, nothing, requests]


def whole(encode):
    registry = CollectorRegistry()
    registry.register(type("All", (), {"collect": staticmethod(families)})())
    return encode(registry)


@pytest.mark.parametrize("encode", [generate_latest, openmetrics])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 100])
def test_parts_are_together_the_whole(encode, size):
    parts = [write() for write in written_in_parts(families(), encode, size)]
    assert b"".join(parts) == whole(encode)
    assert len(parts) == -(-15 // size)
    for part in parts:
        series = [line for line in part.splitlines() if not line.startswith(b"#")]
        assert len(series) <= size


@pytest.mark.parametrize("encode", [generate_latest, openmetrics])
def test_of_nothing_there_is_one_part(encode):
    (write,) = written_in_parts([], encode)
    assert write() == encode(CollectorRegistry())
