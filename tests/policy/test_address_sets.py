import time
from ipaddress import IPv4Network, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.policy.address_sets import AddressSet, address_refusal


def address_set(*networks):
    return AddressSet([ip_network(network) for network in networks])


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("203.0.112.255", False),
        ("203.0.113.0", True),
        ("203.0.113.255", True),
        ("203.0.114.0", False),
        ("198.51.100.42", True),
        ("198.51.100.41", False),
        ("198.51.100.43", False),
        ("2001:db8::", True),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", True),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", False),
        ("2001:db9::", False),
        ("::ffff:203.0.113.7", True),
        ("::ffff:203.0.114.7", False),
        ("", False),
        ("unknown", False),
        ("0.0.0.0", False),
        ("::", False),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", False),
    ],
)
def test_edges_of_networks(address, inside):
    listed = address_set("203.0.113.0/24", "198.51.100.42", "2001:db8::/32")
    assert (address in listed) == inside


def test_only_texts_are_addresses():
    assert 1 not in address_set("0.0.0.0/0", "::/0")


@pytest.mark.parametrize(
    ("network", "address"), [("0.0.0.0/0", "2001:db8::1"), ("::/0", "203.0.113.5")]
)
def test_all_of_one_version_is_none_of_the_other(network, address):
    assert address not in address_set(network)


def test_no_network_has_no_address():
    assert "203.0.113.5" not in address_set()


def networks(version):
    bits = 32 if version == 4 else 128
    return st.tuples(st.ip_addresses(v=version), st.integers(0, bits)).map(
        lambda pair: ip_network((int(pair[0]), pair[1]) if version == 4 else pair, strict=False)
    )


def slowly_inside(address, listed):
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in listed)


@given(
    st.lists(st.one_of(networks(4), networks(6)), max_size=8),
    st.ip_addresses(),
    st.data(),
)
def test_as_a_slow_reference_says(listed, address, data):
    if listed:
        # One that is near an edge, half of the time.
        network = data.draw(st.sampled_from(listed))
        near = int(network.network_address) + data.draw(st.integers(-1, 1))
        last = 2**32 if isinstance(network, IPv4Network) else 2**128
        if 0 <= near < last and data.draw(st.booleans()):
            address = type(network.network_address)(near)
    mapped = [
        network
        for network in listed
        if isinstance(network, IPv4Network)
        or network.prefixlen < 96
        or network.network_address.ipv4_mapped is None
    ]
    assert (str(address) in AddressSet(mapped)) == slowly_inside(address, mapped)


def test_ten_thousand_networks_cost_a_search_and_not_a_pass():
    many = AddressSet(ip_network((2 * n * 256, 24)) for n in range(10_000))
    first = int(ip_address("0.0.2.0"))
    addresses = [str(ip_address(first + 7 * n)) for n in range(1000)]
    for address in addresses:
        assert (address in many) == (int(ip_address(address)) // 256 % 2 == 0)
    took = []
    for _ in range(5):
        began = time.thread_time()
        for address in addresses:
            address in many  # noqa: B015 - it is the time that is looked at
        took.append(time.thread_time() - began)
    # Some 0.3 µs each; a pass over the networks would take a thousand times as long.
    assert min(took) / 1000 < 20e-6


def test_the_refusal_says_whose_list_it_was():
    error = address_refusal("this key")
    assert (error.cause.code, error.cause.status) == ("address_not_allowed", 403)
    assert "this key" in error.detail
