"""Which lease a host names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.errors import GatewayError
from portal_gateway.policy.lease_host import LeaseHosts

HOSTS = LeaseHosts("{lease}.gw.example.com")


@pytest.mark.parametrize(
    ("host", "lease"),
    [
        (b"tool.gw.example.com", "tool"),
        (b"tool.gw.example.com:8443", "tool"),
        (b"Tool.GW.Example.COM", "tool"),
        (b"tool.gw.example.com.", "tool"),
        (b"tool.gw.example.com.:443", "tool"),
        (b"xn--hi5b23ammr76a.gw.example.com", "에이전트"),
        (b"XN--Hi5b23ammr76a.gw.example.com", "에이전트"),
        (b"my--tool.gw.example.com", "my--tool"),
    ],
)
def test_hosts_of_leases(host, lease):
    assert HOSTS.lease(host) == lease


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"gw.example.com",
        b"gw.example.com.",
        b"GW.example.com:443",
        b"example.com",
        b"toolgw.example.com",
        b"tool.gw.example.com.evil",
        b"tool.gw.example.co",
        b"127.0.0.1",
        b"127.0.0.1:8080",
        b"[::1]",
        b"[::1]:8080",
        b"localhost",
        b":8080",
    ],
)
def test_hosts_of_the_gateway(host):
    assert HOSTS.lease(host) is None


@pytest.mark.parametrize(
    "host",
    [
        b".gw.example.com",
        b"a.b.gw.example.com",
        b"tool..gw.example.com",
        b"my_tool.gw.example.com",
        b"-tool.gw.example.com",
        b"xn--.gw.example.com",
        b"xn--a.gw.example.com",
        b"xn--tool-.gw.example.com",
        b"to~ol.gw.example.com",
        b"t%6fol.gw.example.com",
        b"evil.example:80.gw.example.com",
        b"a" * 64 + b".gw.example.com",
        b"\xe9.gw.example.com",
    ],
)
def test_hosts_of_no_lease(host):
    found = HOSTS.lease(host)
    assert isinstance(found, GatewayError)
    assert found.cause.code == "lease_not_found"


@given(
    st.from_regex(rb"[A-Za-z0-9._~:-]{0,40}(\.gw\.example\.com)?(:[0-9]{1,5})?\.?", fullmatch=True)
)
def test_a_lease_is_named_by_one_label_only(host):
    found = HOSTS.lease(host)
    if isinstance(found, str):
        assert "." not in found
        assert ":" not in found
