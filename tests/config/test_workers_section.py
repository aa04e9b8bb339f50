"""The keys for several processes, and what validate says of them."""

import pytest

from portal_gateway.config.loading import ConfigInvalid, load_config_text
from portal_gateway.config.report import describe

REDIS = "  storage: {type: redis, redis: {addr: 'redis:6379'}}\n"

LIMITS = [
    "  global: {requests_per_second: 5, burst: 6}\n",
    "  per_key: {default: {requests_per_second: 5, burst: 6}}\n",
    "  per_lease: {a: 5}\n",
]


def load(text):
    return load_config_text(text, "gateway.yaml", {})


@pytest.mark.parametrize(("written", "workers"), [("3", 3), ("auto", "auto"), ('"auto"', "auto")])
def test_workers(written, workers):
    assert load(f"gateway: {{workers: {written}}}").gateway.workers == workers


@pytest.mark.parametrize("written", ["0", "257", "many", "-1", "1.5", "[]", '"2"'])
def test_what_is_no_number_of_workers(written):
    with pytest.raises(ConfigInvalid, match="expected a whole number"):
        load(f"gateway: {{workers: {written}}}")


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("workers", ["2", "auto"])
def test_limits_in_memory_would_hold_for_each_of_several_workers(limit, workers):
    with pytest.raises(ConfigInvalid, match=r"type: redis") as caught:
        load(f"gateway: {{workers: {workers}}}\nrate_limit:\n{limit}")
    assert "line 1) to 1" in str(caught.value.faults[0])
    load(f"gateway: {{workers: {workers}}}\nrate_limit:\n{limit}{REDIS}")
    load(f"gateway: {{workers: 1}}\nrate_limit:\n{limit}")


def test_the_limit_of_failed_attempts_may_hold_for_each():
    load("gateway: {workers: 2}\nrate_limit: {failed_auth: {requests_per_second: 5}}")


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:0", "[::1]:80", "unix:/run/a.sock", "systemd:INET:name=web"]
)
def test_addresses_that_workers_can_share(listen):
    load(f"gateway: {{workers: 2, listen: '{listen}'}}")


def test_reuse_port_is_for_tcp():
    assert load("gateway: {reuse_port: true}").gateway.reuse_port
    assert load("gateway: {reuse_port: true, workers: 4, listen: '[::1]:80'}").gateway.reuse_port
    for listen, why in [("unix:/run/a.sock", "is for TCP"), ("systemd:INET:index=0", "systemd's")]:
        with pytest.raises(ConfigInvalid, match=why):
            load(f"gateway: {{reuse_port: true, listen: '{listen}'}}")


def test_the_report_tells_how_many():
    assert "  - 3 workers" in describe(load("gateway: {workers: 3}"))
    assert "  - one worker for each core" in describe(load("gateway: {workers: auto}"))
    assert not any("worker" in line for line in describe(load("gateway: {workers: 1}")))
