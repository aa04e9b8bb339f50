from pathlib import Path

import pytest

from portal_gateway.config.loading import load_config_text
from portal_gateway.config.standing import keep_standing


def config(text):
    return load_config_text(text, "", {})


def test_what_is_the_same_needs_nothing():
    wanted = config("gateway: {drain: {grace: 1s}}")
    assert keep_standing(wanted, config("gateway: {limits: {fields: 50}}")) == (wanted, [])


def test_addresses_stay_and_all_else_changes():
    running = config("gateway: {listen: '127.0.0.1:1'}\nmetrics: {listen: '127.0.0.1:2'}")
    wanted = config(
        "gateway: {listen: '127.0.0.1:3', drain: {grace: 1s}}\n"
        "metrics: {listen: '127.0.0.1:4', series_budget: 500}"
    )
    kept, changed = keep_standing(wanted, running)
    assert changed == ["gateway.listen", "metrics.listen"]
    assert kept.gateway.listen == "127.0.0.1:1"
    assert kept.gateway.listen_endpoint == running.gateway.listen_endpoint
    assert kept.gateway.drain.grace == 1
    assert kept.metrics.listen == running.metrics.listen
    assert kept.metrics.series_budget == 500


@pytest.mark.parametrize(
    ("running", "wanted", "auth"),
    [
        ("", "listen: '127.0.0.1:2'", True),
        ("listen: '0.0.0.0:2'", "listen: '127.0.0.1:2'", True),
        ("listen: '127.0.0.1:2'", "listen: '0.0.0.0:2'", True),
        ("listen: '127.0.0.1:2'", "listen: '127.0.0.1:3'", False),
        ("listen: '0.0.0.0:2'", "listen: '0.0.0.0:2', auth: false", False),
    ],
)
def test_metrics_are_not_opened_at_an_address_of_which_that_was_not_said(running, wanted, auth):
    kept, _ = keep_standing(
        config(f"metrics: {{{wanted}}}"), config(f"metrics: {{{running or 'enabled: true'}}}")
    )
    assert kept.metrics.auth is auth


def test_tls_comes_and_goes_with_a_restart(tmp_path):
    from tests.tls.tls_world import Certified

    cert, key = Certified("first").write(tmp_path)
    plain = config("gateway: {drain: {grace: 1s}}")
    secure = config(f"gateway: {{tls: {{cert_file: {cert}, key_file: {key}}}}}")
    assert secure.gateway.tls.files.cert_file == Path(cert)
    kept, changed = keep_standing(secure, plain)
    assert (kept.gateway.tls, changed) == (None, ["gateway.tls"])
    kept, changed = keep_standing(plain, secure)
    assert (kept.gateway.tls, changed) == (secure.gateway.tls, ["gateway.tls"])
    redirecting = config(
        f"gateway: {{tls: {{cert_file: {cert}, key_file: {key}, redirect_from: '127.0.0.1:81'}}}}"
    )
    kept, changed = keep_standing(redirecting, secure)
    assert (kept.gateway.tls, changed) == (secure.gateway.tls, ["gateway.tls.redirect_from"])
