"""The hosts by which a client on this machine may ask without a key."""

import pytest

from portal_gateway.config.loading import load_config_text
from portal_gateway.policy.local_hosts import LOOPBACK, LocalHosts, configured_hosts

LOCAL = [
    b"localhost",
    b"LOCALHOST:8080",
    b"localhost.",
    b"localhost.:80",
    b"gateway.localhost:9090",
    b"a.b.LocalHost",
    b"127.0.0.1",
    b"127.0.0.1:9090",
    b"127.1.2.3",
    b"[::1]",
    b"[::1]:8080",
    b"[0:0:0:0:0:0:0:1]:8080",
    b"[::ffff:127.0.0.1]:80",
]

OTHERS = [
    b"",
    b":8080",
    b"evil.example",
    b"evil.example:9090",
    b"localhost.evil.example",
    b"127.0.0.1.evil.example",
    b"127.0.0.1.nip.io:9090",
    b"evillocalhost",
    b".evil",
    b"127.1",
    b"2130706433",
    b"0x7f000001",
    b"0.0.0.0:9090",
    b"[::]:9090",
    b"[::2]",
    b"10.0.0.1",
    b"128.0.0.1",
    b"[::ffff:10.0.0.1]",
    b"[fe80::1%25lo]",
    b"[::1",
    b"evil.example@localhost",
    b"localhost@evil.example",
    b"loc\xc3\xa4lhost",
    b"\xff",
]


@pytest.mark.parametrize("authority", LOCAL)
def test_names_and_addresses_of_this_machine(authority):
    assert LocalHosts().includes(authority)


@pytest.mark.parametrize("authority", OTHERS)
def test_names_and_addresses_of_others(authority):
    assert not LocalHosts().includes(authority)


GATEWAY = """
gateway:
  listen: "gw-1.example:8443"
  lease_host: "{lease}.leases.example.com"
  tls:
    auto_cert: {enabled: true, domains: [gw.example.com], email: a@example.com}
metrics:
  listen: "192.0.2.5:9090"
auth:
  keys: [{key: "sk_live_abc123...", id: tester}]
leases:
  tool: {url: "http://127.0.0.1:3000"}
"""


def test_the_hosts_of_a_configuration():
    hosts = configured_hosts(load_config_text(GATEWAY, "test.yaml", {}))
    for authority in (b"gw-1.example", b"GW.example.com.:1", b"leases.example.com", b"192.0.2.5:9"):
        assert hosts.includes(authority)
    for authority in (b"gw-2.example", b"a.leases.example.com", b"example.com", b"192.0.2.6", b""):
        assert not hosts.includes(authority)
    assert hosts.includes(b"localhost")


@pytest.mark.parametrize(
    ("listen", "authority"),
    [
        ("unix:/run/gateway.sock", b"unix"),
        ("tcp:8080:interface=127.0.0.1", b"tcp"),
        ("systemd:domain=INET:index=0", b"systemd"),
    ],
)
def test_an_endpoint_string_is_no_host(listen, authority):
    config = GATEWAY.replace("gw-1.example:8443", listen)
    assert not configured_hosts(load_config_text(config, "test.yaml", {})).includes(authority)


def test_the_addresses_of_this_machine():
    for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert address in LOOPBACK
    for address in ("", None, "10.0.0.1", "::2", "0.0.0.0"):
        assert address not in LOOPBACK
