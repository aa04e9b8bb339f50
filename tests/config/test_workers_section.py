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


@pytest.mark.parametrize("header", ["", "haproxy:"])
@pytest.mark.parametrize(
    "listen",
    ["tcp:0", "tcp6:80", "unix:/run/a.sock", "systemd:INET:name=web", "systemd:UNIX:name=a"],
)
def test_addresses_that_workers_can_share(listen, header):
    load(f"gateway: {{workers: 2, listen: '{header}{listen}', trusted_proxies: [127.0.0.1, unix]}}")
    load("gateway: {workers: 2, listen: '127.0.0.1:0'}")


def test_reuse_port_is_for_tcp():
    assert load("gateway: {reuse_port: true}").gateway.reuse_port
    assert load("gateway: {reuse_port: true, workers: 4, listen: '[::1]:80'}").gateway.reuse_port
    trusted = "trusted_proxies: [127.0.0.1, unix]"
    load(f"gateway: {{reuse_port: true, listen: 'haproxy:tcp:80', {trusted}}}")
    for listen, why in [("unix:/run/a.sock", "is for TCP"), ("systemd:INET:index=0", "systemd's")]:
        for header in ("", "haproxy:"):
            with pytest.raises(ConfigInvalid, match=why):
                load(f"gateway: {{reuse_port: true, listen: '{header}{listen}', {trusted}}}")


def test_the_report_tells_how_many():
    assert "  - 3 workers" in describe(load("gateway: {workers: 3}"))
    assert "  - one worker for each core" in describe(load("gateway: {workers: auto}"))
    assert not any("worker" in line for line in describe(load("gateway: {workers: 1}")))


@pytest.mark.parametrize(
    ("listen", "trusted", "needed"),
    [
        ("haproxy:tcp:80", "[]", "the addresses of the proxies"),
        ("haproxy:tcp:80", "[unix]", "the addresses of the proxies"),
        ("haproxy:systemd:INET:name=a", "[unix]", "the addresses of the proxies"),
        ("haproxy:unix:/run/a.sock", "[127.0.0.1]", '"unix"'),
        ("haproxy:systemd:UNIX:name=a", "[127.0.0.1]", '"unix"'),
        ("haproxy:systemd:name=a:domain=UNIX", "[127.0.0.1]", '"unix"'),
    ],
)
def test_a_listener_for_proxies_needs_some(listen, trusted, needed):
    with pytest.raises(ConfigInvalid) as caught:
        load(f"gateway: {{listen: '{listen}', trusted_proxies: {trusted}}}")
    (fault,) = caught.value.faults
    assert fault.path == "gateway.listen"
    assert fault.reason.endswith(f"none of them can connect here: list {needed}")
    with pytest.raises(ConfigInvalid, match=r"metrics\.listen: only gateway\.trusted_proxies"):
        load(
            f"gateway: {{trusted_proxies: {trusted}}}\n"
            f"metrics: {{enabled: true, listen: '{listen}'}}"
        )
