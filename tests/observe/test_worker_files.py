"""What workers know of each other: sums that never fall, whoever is asked and whoever ends."""

import json
import stat
from random import Random

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from portal_gateway.exchange import Caller, Exchange
from portal_gateway.observe.figures import Reading
from portal_gateway.observe.metric_list import METRICS
from portal_gateway.observe.metrics import Metrics
from portal_gateway.observe.worker_files import FRESH, WorkerFiles

KINDS = {metric.name: metric.kind for metric in METRICS}


def told(metrics):
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def is_count(name):
    return name.endswith(("_total", "_count", "_bucket", "_sum"))


class Workers:
    """Some workers, each a `Metrics`, on one clock and over one directory."""

    def __init__(self, directory, count, budget=2000):
        self.clock = Clock()
        self.directory = directory
        self.budget = budget
        self.all = [None] * count
        for index in range(count):
            self.start(index)

    def start(self, index):
        metrics = self.all[index] = Metrics(self.budget, self.clock)
        metrics.share(WorkerFiles(self.directory, index, self.clock.seconds))
        return metrics

    def request(self, index, lease="tool", **facts):
        now = self.clock.seconds()
        facts = {"method": "GET", "status": 200, **facts}
        exchange = Exchange("r", "", now, finished=now + 0.045, lease=lease, **facts)
        exchange.lease_is_known = True
        exchange.lease_prefix = b"/peer/x"
        self.all[index].requests.exchange_over(exchange)


@pytest.fixture
def directory(tmp_path):
    return tmp_path


def requests_of(found):
    return sum(value for key, value in found.items() if key[0] == "portal_gateway_requests_total")


def test_whoever_is_asked_tells_of_all(directory):
    workers = Workers(directory, 3)
    for index in range(3):
        for _ in range(index + 1):
            workers.request(index)
        workers.all[index].write()
    workers.request(2, "other", error="rate_limit_exceeded", caller=Caller("key_1"), status=429)
    workers.request(2, "other", error="upstream_timeout", status=504)
    first, last = told(workers.all[2]), told(workers.all[0])
    for found in (first, last):
        at_tool = ("/peer/{lease}", "200", "GET", "tool")
        assert found["portal_gateway_requests_total", *at_tool] == 6
        in_time = sorted(["/peer/{lease}", "GET", "tool", "0.05"])
        assert found["portal_gateway_request_duration_seconds_bucket", *in_time] == 6
        assert found["portal_gateway_rate_limit_hits_total", "key_1", "other"] == 1
        assert found["portal_gateway_errors_total", "other", "upstream_timeout"] == 1
        assert found["portal_gateway_timeouts_total", "upstream"] == 1
        assert found["portal_gateway_workers",] == 3
        assert [key for key in found if key[0] == "portal_gateway_build_info"].__len__() == 1


@pytest.mark.parametrize(
    ("name", "values", "together"),
    [
        ("portal_gateway_active_connections", (3, 4), 7),
        ("portal_gateway_pool_dials_total", (3, 4), 7),
        ("portal_gateway_redis_up", (1, 0), 0),
        ("portal_gateway_config_generation", (5, 1), 5),
        ("portal_gateway_tls_certificate_expiry_timestamp_seconds", (9, 8), 8),
    ],
)
def test_each_metric_says_what_several_come_to(directory, name, values, together):
    workers = Workers(directory, 2)
    for metrics, value in zip(workers.all, values, strict=True):
        metrics.sources.append(lambda value=value: [Reading(name, value)])
        metrics.write()
    assert told(workers.all[0])[name,] == told(workers.all[1])[name,] == together


def test_the_event_loops_are_told_together(directory):
    workers = Workers(directory, 2)
    for metrics in workers.all:
        metrics.lag.counts[0] += 2
        metrics.lag.seconds += 0.001
        metrics.write()
    found = told(workers.all[0])
    assert found["portal_gateway_event_loop_lag_seconds_count",] == 4
    assert found["portal_gateway_event_loop_lag_seconds_sum",] == 0.002


def test_one_that_takes_another_s_place_goes_on_from_what_that_had_counted(directory):
    workers = Workers(directory, 2)
    dials = [Reading("portal_gateway_pool_dials_total", 5), Reading("portal_gateway_websockets", 2)]
    workers.all[0].sources.append(lambda: dials)
    workers.all[0].lag.counts[1] += 3
    for number in range(4):
        workers.request(0, f"lease-{number}")
    workers.all[0].write()
    workers.all[1].write()
    workers.request(0, "lost with it")
    workers.start(0).sources.append(lambda: dials[:1])
    workers.request(0, "lease-0")
    for asked in (0, 1):
        found = told(workers.all[asked])
        assert requests_of(found) == 5
        assert found["portal_gateway_pool_dials_total",] == 10
        assert ("portal_gateway_websockets",) not in found
        assert found["portal_gateway_event_loop_lag_seconds_count",] == 3
        assert found["portal_gateway_workers",] == 2
    # A lease that the one before had found is known to this one.
    now = workers.clock.seconds()
    offline = Exchange("r", "", now, method="GET", lease="lease-1", status=503, finished=now)
    offline.lease_prefix = b"/peer/x"
    workers.all[0].requests.exchange_over(offline)
    at = sorted(["/peer/{lease}", "503", "GET", "lease-1"])
    assert told(workers.all[0])["portal_gateway_requests_total", *at] == 1


def test_of_one_that_is_gone_there_is_only_what_it_had_counted(directory):
    workers = Workers(directory, 3)
    for index in range(3):
        workers.request(index)
        workers.all[index].sources.append(lambda: [Reading("portal_gateway_websockets", 1)])
        workers.all[index].write()
    workers.all[2].write_last()
    found = told(workers.all[0])
    assert (found["portal_gateway_websockets",], found["portal_gateway_workers",]) == (2, 2)
    workers.clock.advance(FRESH + 1)
    found = told(workers.all[0])
    assert (found["portal_gateway_websockets",], found["portal_gateway_workers",]) == (1, 1)
    assert requests_of(found) == 3


@pytest.mark.parametrize(("budget", "writes"), [(640, 1.0), (8000, 0.3)])
@pytest.mark.parametrize("seed", range(2))
def test_whoever_is_asked_and_whoever_ends_counts_never_fall_and_are_bounded(
    directory, seed, budget, writes
):
    chance = Random(seed)
    workers = Workers(directory, 3, budget)
    before = {}
    lost = sent = 0
    since = [0] * 3
    for _ in range(40):
        workers.clock.advance(1)
        for _ in range(12):
            index = chance.randrange(3)
            workers.clock.advance(0.01)
            facts = chance.choice(
                [{}, {}, {"status": 503, "error": "lease_offline"}, {"status": 404}]
            )
            workers.request(index, f"lease-{int(chance.expovariate(0.05))}", **facts)
            sent += 1
            since[index] += 1
        ended = chance.randrange(9)
        if ended < 3:
            lost += since[ended]
            since[ended] = 0
            workers.start(ended)
        asked = chance.randrange(3)
        for index in range(3):
            if chance.random() < writes:
                workers.all[index].write()
                since[index] = 0
        since[asked] = 0
        now = told(workers.all[asked])
        assert len(now) <= budget
        assert requests_of(now) == sent - lost - sum(since)
        fallen = [
            key
            for key, value in now.items()
            if is_count(key[0]) and value < before.get(key, 0) and "process" not in key[0]
        ]
        assert not fallen
        before = now
    assert (before["portal_gateway_series_folded_total", "requests"] > 0) == (budget == 640)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"[1]",
        b"[1, {}]",
        b'["now", {}]',
        b"\xff\xfe",
        b"null",
        b'[1, {"rows": [[["GET", "/", ""], 1, [1], 1, 0, []]]}]',
    ],
)
def test_what_cannot_be_read_is_left_out(directory, content):
    workers = Workers(directory, 2)
    workers.request(0)
    workers.all[0].write()
    (directory / "worker-1.json").write_bytes(content)
    (directory / "worker-7.json").mkdir()
    assert requests_of(told(workers.all[0])) == 1
    assert requests_of(told(workers.start(1))) == 1


def test_what_another_release_tells_of_is_left_out(directory):
    workers = Workers(directory, 2)
    workers.request(1)
    workers.all[1].write()
    file = directory / "worker-1.json"
    written, content = json.loads(file.read_bytes())
    content["readings"].append(["portal_gateway_of_tomorrow", 1, []])
    file.write_text(json.dumps([written, content]), encoding="ascii")
    found = told(workers.all[0])
    assert requests_of(found) == 1
    assert not [key for key in found if "tomorrow" in key[0]]


def test_a_file_is_its_owner_s_and_has_no_half(directory):
    workers = Workers(directory, 1)
    workers.request(0)
    workers.all[0].write()
    (file,) = directory.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_that_nothing_can_be_written_is_said_once(tmp_path):
    lines = []
    workers = Workers(tmp_path / "missing", 2)
    workers.request(0)
    globalLogPublisher.addObserver(lines.append)
    try:
        for _ in range(3):
            workers.all[0].write()
        assert len(lines) == 1
        assert "metrics cannot be shared" in lines[0]["log_format"]
        assert requests_of(told(workers.all[0])) == 1
        (tmp_path / "missing").mkdir()
        workers.all[0].write()
        assert requests_of(told(workers.all[1])) == 1
        assert len(lines) == 1
    finally:
        globalLogPublisher.removeObserver(lines.append)
