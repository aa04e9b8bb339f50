from ipaddress import ip_network

import pytest

from portal_gateway.config.loading import ConfigInvalid, load_config_text
from portal_gateway.config.networks import ip_allow, network, trusted_proxies


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.0/24", "203.0.113.0/24"),
        ('"198.51.100.42"', "198.51.100.42/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ('"2001:db8::/32"', "2001:db8::/32"),
        ('"2001:DB8::1"', "2001:db8::1/128"),
        ('"::/0"', "::/0"),
        ('"::ffff:203.0.113.0/120"', "203.0.113.0/24"),
        ('"::ffff:203.0.113.5"', "203.0.113.5/32"),
    ],
)
def test_a_network_is_read(read, text, expected):
    assert read(network, text) == ip_network(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("203.0.113.5/24", "has bits behind its prefix; did you mean"),
        ('"2001:db8::1/32"', 'did you mean "2001:db8::/32"?'),
        ("203.0.113.0/33", "too long for its address"),
        ('"2001:db8::/129"', "too long for its address"),
        ("203.0.113.0/255.255.255.0", "expected an address or a network"),
        ("203.0.113.0/024", "expected an address or a network"),
        ("203.0.113.0/", "expected an address or a network"),
        ("203.0.113.0/-1", "expected an address or a network"),
        ("203.0.113/24", "expected an address or a network"),
        ("0313.0.113.5", "expected an address or a network"),
        ("3405803781", "put it in quotes"),
        ('"3405803781"', "expected an address or a network"),
        ('"fe80::1%eth0"', "expected an address or a network"),
        ("example.com", "expected an address or a network"),
        ("unix", "expected an address or a network"),
        ('""', "expected an address or a network"),
    ],
)
def test_what_is_no_network_is_refused(read, text, reason):
    assert reason in read.reason(network, text)


def test_a_value_from_the_environment_is_not_shown(read):
    read.environ["NET"] = "203.0.113.5/24"
    reason = read.reason(network, '"${NET}"')
    assert "203" not in reason
    assert "bits behind its prefix" in reason


def test_proxies_may_be_on_unix_sockets(read):
    assert read(trusted_proxies, "[unix, 10.0.0.0/8]") == (None, ip_network("10.0.0.0/8"))
    assert read(trusted_proxies, "[]") == ()


@pytest.mark.parametrize("text", ["[]", "~"])
def test_a_list_of_nobody_is_refused(read, text):
    assert "allows nobody" in read.reason(ip_allow, text)


def loaded(text):
    return load_config_text(text, "file.yaml", {})


@pytest.mark.parametrize(
    ("text", "enabled", "count"),
    [
        ("{}", False, 0),
        ("{ip_whitelist: {}}", False, 0),
        ("{ip_whitelist: {enabled: false}}", False, 0),
        ("{ip_whitelist: {cidrs: [10.0.0.0/8]}}", True, 1),
        ("{ip_whitelist: {enabled: true, cidrs: [10.0.0.0/8, '::1']}}", True, 2),
        ("{ip_whitelist: {enabled: false, cidrs: [10.0.0.0/8]}}", False, 1),
    ],
)
def test_the_whitelist_is_on_where_it_has_networks(text, enabled, count):
    section = loaded(text).ip_whitelist
    assert (section.enabled, len(section.cidrs)) == (enabled, count)


@pytest.mark.parametrize("text", ["{enabled: true}", "{cidrs: []}", "{enabled: true, cidrs: []}"])
def test_a_whitelist_of_nobody_is_refused(text):
    with pytest.raises(ConfigInvalid, match="nobody would be allowed"):
        loaded(f"ip_whitelist: {text}")


def test_what_was_read_is_in_the_model():
    config = loaded("""
gateway: {trusted_proxies: [10.0.0.1, unix], forwarded_field: forwarded}
auth: {keys: [{key: sk_live_a_long_one, ip_allow: [10.0.0.0/8]}, {key: sk_live_another}]}
""")
    assert config.gateway.trusted_proxies == (ip_network("10.0.0.1/32"), None)
    assert config.gateway.forwarded_field == "forwarded"
    assert [key.ip_allow for key in config.auth.keys] == [(ip_network("10.0.0.0/8"),), ()]
