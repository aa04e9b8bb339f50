"""``metrics``: where it is safe to tell without a key."""

from datetime import UTC, datetime

import pytest

from portal_gateway.config.loading import ConfigInvalid, load_config_text
from portal_gateway.config.report import describe


def load(text):
    return load_config_text(text, "", {})


def warnings(config):
    """Those about metrics: there are neither keys nor leases here."""
    return [str(warning) for warning in config.warnings if "metrics" in str(warning)]


def test_without_the_section_metrics_are_there_and_need_a_key():
    metrics = load("auth: {keys: []}").metrics
    assert (metrics.enabled, metrics.listen, metrics.auth, metrics.series_budget) == (
        True,
        None,
        True,
        2000,
    )


@pytest.mark.parametrize(
    ("address", "auth"),
    [
        ("127.0.0.1:9090", False),
        ("127.1.2.3:0", False),
        ("[::1]:9090", False),
        ("localhost:9090", False),
        ("unix:/run/metrics.sock", False),
        ("0.0.0.0:9090", True),
        (":9090", True),
        ("[::]:9090", True),
        ("10.0.0.1:9090", True),
        ("127.example.com:9090", True),
        # What an endpoint string means is not guessed.
        ("tcp:9090:interface=127.0.0.1", True),
    ],
)
def test_an_address_that_others_reach_needs_a_key(address, auth):
    config = load(f'metrics: {{listen: "{address}"}}')
    assert config.metrics.auth is auth
    assert warnings(config) == []


def test_what_is_written_about_auth_holds():
    assert load('metrics: {listen: "127.0.0.1:9", auth: true}').metrics.auth
    assert not load('metrics: {listen: "0.0.0.0:9", auth: false}').metrics.auth


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ('metrics: {listen: "0.0.0.0:9", auth: false}', True),
        ('gateway: {listen: "0.0.0.0:8"}\nmetrics: {auth: false}', True),
        ("metrics: {auth: false}", False),
        ('gateway: {listen: "0.0.0.0:8"}\nmetrics: {enabled: false, auth: false}', False),
    ],
)
def test_metrics_for_everybody_are_warned_of(text, warned):
    found = warnings(load(text))
    assert len(found) == warned
    assert all("metrics.auth: everybody who reaches" in warning for warning in found)


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ('metrics: {listen: "127.0.0.1:8080"}', "metrics.listen", "the same address as gateway."),
        ("metrics: {series_budget: 499}", "metrics.series_budget", "500"),
        ("metrics: {series_budget: 10001}", "metrics.series_budget", "10000"),
    ],
)
def test_what_cannot_be_is_refused(text, key, reason):
    with pytest.raises(ConfigInvalid) as caught:
        load(text)
    (fault,) = caught.value.faults
    assert key in str(fault)
    assert reason in str(fault).replace(",000", "000")


def test_the_report_names_a_listener_of_their_own():
    lines = describe(load('metrics: {listen: "127.0.0.1:9090"}'), datetime.now(UTC))
    assert "  - metrics at 127.0.0.1:9090" in lines
