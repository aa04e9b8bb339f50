"""The table from cause to answer."""

import pytest

from portal_gateway.errors import (
    CAUSES,
    ClientFault,
    GatewayFault,
    LeaseFault,
    RelayFault,
    UpstreamFault,
    fault,
)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("bad_request", ClientFault),
        ("method_not_implemented", ClientFault),
        ("internal_error", GatewayFault),
        ("relay_unavailable", RelayFault),
        ("relay_protocol_error", RelayFault),
        ("lease_offline", LeaseFault),
        ("upstream_timeout", LeaseFault),
    ],
)
def test_an_error_says_whose_fault_it_is(code, kind):
    error = fault(code, "detail", [(b"Allow", b"GET")])
    assert type(error) is kind
    assert error.cause is CAUSES[code]
    assert error.detail == "detail"
    assert error.fields == ((b"Allow", b"GET"),)


def test_every_5xx_of_what_is_behind_has_a_proxy_status_and_every_503_a_retry_after():
    for code, cause in CAUSES.items():
        if isinstance(fault(code, ""), UpstreamFault | GatewayFault):
            assert cause.proxy_error
        assert (cause.retry_after is not None) == (cause.status == 503)


def test_a_code_that_is_not_in_the_table_is_a_defect():
    with pytest.raises(KeyError):
        fault("no_such_code", "")
