"""Metrics of a running gateway, as Prometheus's own tools read them."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import psutil
import pytest
import yaml

from tests.integration.calls import Client
from tests.integration.conftest import missing
from tests.integration.crowd import SCRAPER, Crowd, configuration, send_crowd
from tests.integration.programs import (
    API_KEY,
    START,
    Gateway,
    Program,
    free_port,
    wait_listening,
    wait_until,
)

WORKERS = "portal_gateway_workers"

KEYS = [
    {"id": "tester", "key": API_KEY},
    {"id": "prometheus", "key": SCRAPER, "scopes": ["admin"]},
]


def tool(name):
    path = shutil.which(name)
    if path is None:
        missing(f"there is no {name}")
    return path


class Prometheus(Program):
    """A Prometheus that scrapes one gateway twice a second, and keeps it in ``directory``."""

    def __init__(self, target, directory):
        self.port = free_port()
        file = directory / "prometheus.yml"
        job = {
            "job_name": "gateway",
            "scrape_interval": "500ms",
            "scrape_timeout": "500ms",
            "authorization": {"credentials": SCRAPER},
            "static_configs": [{"targets": [target]}],
        }
        file.write_text(yaml.safe_dump({"scrape_configs": [job]}), encoding="utf-8")
        super().__init__(
            "prometheus",
            [
                tool("prometheus"),
                f"--config.file={file}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
        )
        wait_listening(self, self.port)
        wait_until(self._is_ready, START, "Prometheus being ready")

    def _is_ready(self):
        """It refuses questions for some time after it listens."""
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=10).close()
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True

    def ask(self, path, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.load(answer)
        assert found["status"] == "success"
        return found["data"]

    def value(self, query):
        """What a query comes to, if it comes to one number."""
        result = self.ask("query", query=query)["result"]
        return float(result[0]["value"][1]) if len(result) == 1 else None


@pytest.fixture
def gateway(origin, tmp_path):
    leases = {"tool": {"url": f"http://{origin}"}, "away": {"url": "http://127.0.0.1:1"}}
    with Gateway({"auth": {"keys": KEYS}, "leases": leases}, tmp_path) as program:
        yield program


def send(gateway, *paths):
    with Client(gateway.address, key=API_KEY) as client:
        return [client.request("GET", path).status for path in paths]


def test_3_1_promtool_has_nothing_to_complain_of(gateway):
    check = [tool("promtool"), "check", "metrics"]
    send(gateway, "/peer/tool/echo", "/peer/away/", "/peer/nobody/", "/no-such-path")
    text = scrape(gateway)
    assert b"portal_gateway_requests_total{" in text
    checked = subprocess.run(check, input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def scrape(gateway):
    url = f"http://{gateway.address}/metrics"
    request = urllib.request.Request(url, headers={"X-API-Key": SCRAPER})
    with urllib.request.urlopen(request, timeout=10) as opened:
        return opened.read()


def scraped(gateway):
    lines = [line.rpartition(" ") for line in scrape(gateway).decode().splitlines()]
    return {name: float(value) for name, _, value in lines if not name.startswith("#")}


def test_m7_a_crowd_makes_no_more_series_than_there_may_be(origin, tmp_path):
    # The whole crowd, 100,000 of them, comes in tests/soak.
    crowd = Crowd(paths=2_000, leases=1_000, keys=400, found=100)
    with Gateway(configuration(origin, crowd), tmp_path) as gateway:
        statuses, scraped = send_crowd(gateway, crowd)
    admitted = crowd.keys + crowd.found
    assert statuses == {404: crowd.paths + crowd.leases, 200: admitted, 429: crowd.keys}
    assert 1_200 < scraped.series <= 2_000
    assert scraped.folded > 100
    assert scraped.seconds <= 0.1


def test_workers_tell_of_each_other_and_one_that_is_killed_is_not_forgotten(origin, tmp_path):
    settings = {
        "gateway": {"listen": "127.0.0.1:0", "workers": 2},
        "auth": {"keys": KEYS},
        "leases": {"tool": {"url": f"http://{origin}"}},
    }
    labels = 'lease_id="tool",method="GET",path="/peer/{lease}",status="200"'
    with Gateway(settings, tmp_path) as gateway:

        def told(count):
            """Whether both have answered as one, whichever of them it was that answered."""
            found = [scraped(gateway) for _ in range(8)]
            cpu = [each["process_cpu_seconds_total"] for each in found]
            assert cpu == sorted(cpu)
            return {
                (each.get(f"portal_gateway_requests_total{{{labels}}}"), each[WORKERS])
                for each in found
            } == {(count, 2)}

        for _ in range(20):
            send(gateway, "/peer/tool/echo")
        wait_until(lambda: told(20), START, "what all have counted")
        killed, _ = psutil.Process(gateway.pid).children()
        killed.kill()
        psutil.wait_procs([killed], START)
        wait_until(lambda: told(20), START, "the same from the one in its place")
        for _ in range(10):
            send(gateway, "/peer/tool/echo")
        wait_until(lambda: told(30), START, "what all have counted")


def test_3_1_a_prometheus_answers_rate_errors_and_percentiles(gateway, tmp_path):
    with Prometheus(gateway.address, tmp_path) as prometheus:

        def up():
            targets = prometheus.ask("targets")["activeTargets"]
            return [target["health"] for target in targets] == ["up"]

        wait_until(up, START, "the first scrape")
        # A rate is told between two scrapes that have the series: the first requests make them.
        first = send(gateway, "/peer/tool/echo", "/peer/away/", "/peer/tool/slow?seconds=0.3")
        assert first == [200, 503, 200]
        at_tool = 'portal_gateway_requests_total{lease_id="tool",status="200"}'
        wait_until(lambda: prometheus.value(at_tool) == 2, START, "the first requests")
        start = time.monotonic()
        fast = ["/peer/tool/echo"] * 90
        assert send(gateway, *fast, *["/peer/away/"] * 10) == [200] * 90 + [503] * 10
        send(gateway, *["/peer/tool/slow?seconds=0.3"] * 4)
        wait_until(lambda: prometheus.value(at_tool) == 96, START, "the other requests")
        wait_until(lambda: time.monotonic() - start > 2, 5, "two scrapes")
        of_leases = 'portal_gateway_requests_total{lease_id=~"tool|away"}'
        assert prometheus.value(f"sum(increase({of_leases}[1m]))") > 80
        rate = prometheus.value(f"sum(rate({of_leases}[1m]))")
        assert rate > 1
        failed = f'sum(rate(portal_gateway_requests_total{{status="503"}}[1m])) / {rate}'
        assert 0.05 < prometheus.value(failed) < 0.2
        buckets = 'portal_gateway_request_duration_seconds_bucket{lease_id="tool"}'
        p99, p50 = (
            prometheus.value(f"histogram_quantile({part}, sum by (le) (rate({buckets}[1m])))")
            for part in (0.99, 0.5)
        )
        assert 0.25 < p99 <= 0.5
        assert p50 < 0.25
        errors = 'portal_gateway_errors_total{lease_id="away",type="lease_offline"}'
        assert prometheus.value(errors) == 11
        assert prometheus.value('up{job="gateway"}') == 1
        (target,) = prometheus.ask("targets")["activeTargets"]
        assert target["lastError"] == ""
