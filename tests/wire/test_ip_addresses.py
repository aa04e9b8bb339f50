from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.wire.ip_addresses import (
    network_of,
    number_ranges,
    read_address,
    unmapped_address,
    unmapped_network,
)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("::FFFF:cb00:7105", "203.0.113.5"),
        ("0:0:0:0:0:ffff:203.0.113.5", "203.0.113.5"),
        ("0000:0000:0000:0000:0000:ffff:203.000.113.005", None),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
        ("::", "::"),
        # Compatible, not mapped: another address.
        ("::203.0.113.5", "::cb00:7105"),
        ("", None),
        ("unknown", None),
        ("0177.0.0.1", None),
        ("2130706433", None),
        ("127.1", None),
        ("1.2.3.4.", None),
        (" 1.2.3.4", None),
        ("1.2.3.4\n", None),
        ("1.2.3.4/32", None),
        ("fe80::1%eth0", None),
        ("1.2.3.256", None),
        ("1.2.3.4:80", None),
        ("[::1]", None),
        ("١.٢.٣.٤", None),
        ("1" * 46, None),
        ("::1" + " " * 60, None),
    ],
)
def test_an_address_has_one_text_or_is_none(text, same):
    read = read_address(text)
    assert (None if read is None else read.text) == same


@given(st.ip_addresses())
def test_every_address_is_read_in_whatever_form(address):
    read = read_address(str(address))
    assert read_address(address.exploded) == read
    assert read_address(str(address).upper()) == read
    mapped = getattr(address, "ipv4_mapped", None)
    assert read.text == str(mapped or address)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_the_ipv4_one(address):
    assert read_address(f"::ffff:{address}") == read_address(str(address))


@given(st.ip_addresses(), st.ip_addresses())
def test_numbers_tell_addresses_apart(one, other):
    first, second = read_address(str(one)), read_address(str(other))
    assert (first.number == second.number) == (first.text == second.text)


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("::ffff:203.0.113.5/128", "203.0.113.5/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
        ("::/0", "::/0"),
        ("2001:db8::/120", "2001:db8::/120"),
        ("203.0.113.0/24", "203.0.113.0/24"),
    ],
)
def test_a_network_of_mapped_addresses_is_the_ipv4_one(written, network):
    assert unmapped_network(ip_network(written)) == ip_network(network)


def test_ranges_are_sorted_and_merged_over_both_versions():
    written = ["::/1", "10.0.1.0/24", "10.0.0.0/24", "10.0.0.7", "8000::/1", "::ffff:9.0.0.0/104"]
    firsts, lasts = number_ranges(ip_network(network) for network in written)
    assert firsts == [int(ip_address("9.0.0.0")), int(ip_address("10.0.0.0")), 2**32]
    assert lasts == [
        int(ip_address("9.255.255.255")),
        int(ip_address("10.0.1.255")),
        2**128 - 1 + 2**32,
    ]


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:DB8:0:0:ffff:1:2:3", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        # A link-local address, with and without its interface.
        ("fe80::1", "fe80::/64"),
        ("fe80::2%eth0", "fe80::/64"),
        # By a translator, by 6to4 and by Teredo: the IPv4 client's.
        ("64:ff9b::203.0.113.5", "203.0.113.5"),
        ("64:ff9b:1::1", "64:ff9b:1::/64"),
        ("2002:cb00:7105::1", "203.0.113.5"),
        ("2002:cb00:7105:ffff::1", "203.0.113.5"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45"),
        ("::1", "::/64"),
        # What is no address is counted for itself.
        ("", ""),
        ("not:an:address", "not:an:address"),
    ],
)
def test_what_a_client_counts_as(text, network):
    assert network_of(text) == network


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_all_addresses_of_a_network_of_64_bits_are_one_client(address, host):
    first = ip_address(int(address) >> 64 << 64 | host)
    # An address within which another one is read is the exception.
    if str(address).startswith(("2001:0:", "2001::", "64:ff9b::", "::")):
        return
    assert network_of(str(first)) == network_of(str(address))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("::ffff:cb00:7105", "203.0.113.5"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::ffff:1.2.3.256", "::ffff:1.2.3.256"),
        ("", ""),
    ],
)
def test_a_mapped_address_is_the_ipv4_address(text, same):
    assert unmapped_address(text) == same
