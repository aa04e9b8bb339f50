"""What is measured, switched on and off while it is used."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.address import UNIXAddress
from twisted.internet.task import Clock

from portal_gateway.config.model import MetricsSection
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.guards import Rules
from portal_gateway.frontend.keyless_pages import KeylessPage
from portal_gateway.frontend.measured import Measured
from portal_gateway.observe.figures import Reading
from portal_gateway.observe.loop_lag import BEAT
from portal_gateway.observe.worker_files import WRITE_INTERVAL, WorkerFiles
from portal_gateway.policy.credentials import KeyTable
from portal_gateway.policy.local_hosts import LocalHosts

OPEN = MetricsSection(auth=False)
OFF = MetricsSection(enabled=False)


class Asked:
    """As much of a request as the page needs."""

    postpath = ()
    method = b"GET"

    def __init__(self):
        self.head = self

    def values(self, _name):
        return []

    def setHeader(self, name, value):
        pass

    def getClientAddress(self):
        return UNIXAddress(None)


def told(measured):
    page = measured.page(OPEN, Rules(KeyTable([])), LocalHosts())
    text = page.render(Asked()).decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def requests(measured):
    return sum(v for k, v in told(measured).items() if k[0] == "portal_gateway_requests_total")


def over(measured):
    exchange = Exchange("r", "", 1.0, method="GET", path="/health", status=200, finished=1.1)
    measured.exchange_over(exchange)


@pytest.fixture
def clock():
    return Clock()


def test_it_counts_while_it_is_switched_on_and_keeps_what_it_counted(clock):
    measured = Measured(OFF, clock, clock.seconds)
    measured.startService()
    over(measured)
    assert clock.getDelayedCalls() == []
    measured.use(OPEN, None)
    over(measured)
    clock.advance(BEAT)
    assert requests(measured) == 1
    assert told(measured)["portal_gateway_event_loop_lag_seconds_count",] == 1
    measured.use(MetricsSection(auth=False, series_budget=500), None)
    over(measured)
    assert requests(measured) == 2
    measured.use(OFF, None)
    assert clock.getDelayedCalls() == []
    over(measured)
    measured.use(OPEN, None)
    assert requests(measured) == 2
    measured.stopService()
    assert clock.getDelayedCalls() == []


def test_workers_write_each_second_while_it_is_switched_on(clock, tmp_path):
    measured = Measured(OFF, clock, clock.seconds)
    measured.share(WorkerFiles(tmp_path, 1, clock.seconds))
    measured.startService()
    clock.advance(WRITE_INTERVAL)
    assert list(tmp_path.iterdir()) == []
    measured.use(OPEN, None)
    over(measured)
    clock.advance(WRITE_INTERVAL)
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    over(measured)
    measured.stopService()
    assert file.read_bytes() != before
    other = Measured(OPEN, clock, clock.seconds)
    other.share(WorkerFiles(tmp_path, 2, clock.seconds))
    found = told(other)
    assert requests(other) == 2
    assert found["portal_gateway_workers",] == 1, "the first has ended"
    assert clock.getDelayedCalls() == []


def test_a_part_is_looked_for_at_each_scrape(clock):
    measured = Measured(OPEN, clock, clock.seconds)
    parts = [None, 3, 4]
    measured.read(
        lambda part: [Reading("portal_gateway_redis_in_flight", part)], lambda: parts.pop(0)
    )
    name = ("portal_gateway_redis_in_flight",)
    assert [told(measured).get(name) for _ in range(3)] == [None, 3, 4]


def test_reloads_are_told(clock):
    measured = Measured(OPEN, clock, clock.seconds)
    clock.advance(1000)
    measured.reloads.succeeded()
    measured.reloads.failed()
    found = told(measured)
    assert found["portal_gateway_reload_total", "success"] == 1
    assert found["portal_gateway_reload_total", "failure"] == 1
    assert found["portal_gateway_config_generation",] == 2
    assert found["portal_gateway_config_applied_timestamp_seconds",] == 1000
    assert found["portal_gateway_config_last_reload_successful",] == 0


@pytest.mark.parametrize(
    ("section", "is_told", "at_its_own"),
    [
        (OPEN, True, False),
        (OFF, False, False),
        (MetricsSection(auth=False, listen=("127.0.0.1:9", "tcp:9")), True, True),
        (MetricsSection(enabled=False, listen=("127.0.0.1:9", "tcp:9")), False, False),
    ],
)
def test_the_page_is_where_the_section_says(clock, section, is_told, at_its_own):
    measured = Measured(OPEN, clock, clock.seconds)
    rules = Rules(KeyTable([]))
    for before in (OPEN, MetricsSection(auth=False, listen=("127.0.0.1:9", "tcp:9"))):
        measured.use(before, measured.page(before, rules, LocalHosts()))
        page = measured.page(section, rules, LocalHosts())
        measured.use(section, page)
        assert (page is not None) == is_told
        own = measured.root.getStaticEntity(b"metrics")
        assert isinstance(own, KeylessPage) == at_its_own
