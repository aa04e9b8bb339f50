import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.wire.forwarded import forwarded_element
from portal_gateway.wire.forwarded_hops import (
    BadForwarded,
    Hop,
    read_forwarded,
    read_node,
    x_forwarded_for,
)


@pytest.mark.parametrize(
    ("node", "address"),
    [
        (b"203.0.113.5", "203.0.113.5"),
        (b"203.0.113.5:8080", "203.0.113.5"),
        (b"2001:db8::1", "2001:db8::1"),
        (b"2001:DB8::1", "2001:db8::1"),
        (b"[2001:db8::1]", "2001:db8::1"),
        (b"[2001:db8::1]:443", "2001:db8::1"),
        (b"::ffff:203.0.113.5", "203.0.113.5"),
        (b"[::ffff:203.0.113.5]:1", "203.0.113.5"),
        (b"unknown", None),
        (b"_hidden", None),
        (b"203.0.113.5:_port", None),
        (b"203.0.113.5:", None),
        (b"203.0.113.5:123456", None),
        (b"[203.0.113.5]", None),
        (b"[2001:db8::1", None),
        (b"2001:db8::1]", None),
        (b"[2001:db8::1]443", None),
        (b"[2001:db8::1]:", None),
        (b"[2001:db8::1]:https", None),
        (b"[fe80::1%eth0]", None),
        (b"fe80::1%25eth0", None),
        (b"0177.0.0.1", None),
        (b"2130706433", None),
        (b"0x7f000001", None),
        (b"127.1", None),
        (b"localhost", None),
        (b"", None),
        (b"203.0.113.5 203.0.113.6", None),
        ("203.0.113.5".encode("utf-16-le"), None),
        (b"\xff\xff", None),
        (b"[" + b":" * 100 + b"]", None),
        (b"1" * 10_000, None),
    ],
)
def test_a_node_is_an_address_or_nothing(node, address):
    assert read_node(node) == address


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ([], []),
        ([b""], []),
        ([b" , ,, "], []),
        ([b"198.51.100.1"], ["198.51.100.1"]),
        ([b"198.51.100.1, 198.51.100.2"], ["198.51.100.2", "198.51.100.1"]),
        ([b"198.51.100.1,\t198.51.100.2 ,"], ["198.51.100.2", "198.51.100.1"]),
        (
            [b"198.51.100.1, x", b"198.51.100.3,198.51.100.4"],
            ["198.51.100.4", "198.51.100.3", None, "198.51.100.1"],
        ),
        # There are no quoted strings in this field.
        ([b'"198.51.100.1"'], [None]),
    ],
)
def test_x_forwarded_for_is_read_from_the_right_over_all_fields(values, read):
    assert list(x_forwarded_for(values)) == read


def test_reading_a_long_list_takes_no_longer_than_its_length():
    def seconds(count):
        value = b", ".join([b"198.51.100.1"] * count)
        began = time.perf_counter()
        assert sum(1 for _ in x_forwarded_for([value])) == count
        return time.perf_counter() - began

    # Nobody reads more than the first few: the walk ends at the first hop that is not trusted.
    assert next(x_forwarded_for([b", ".join([b"198.51.100.1"] * 10_000)])) == "198.51.100.1"
    assert min(seconds(2000) for _ in range(3)) < 0.5


@pytest.mark.parametrize(
    ("values", "hops"),
    [
        ([], []),
        ([b""], []),
        ([b" , ;, "], []),
        ([b"for=198.51.100.1"], [Hop("198.51.100.1")]),
        ([b"FOR=198.51.100.1;PROTO=HTTPS"], [Hop("198.51.100.1", b"", b"https")]),
        (
            [b'for=198.51.100.1, for="[2001:db8::1]:4711";host="a:1";proto=http;by=_x'],
            [Hop("2001:db8::1", b"a:1", b"http"), Hop("198.51.100.1")],
        ),
        ([b"for=198.51.100.1", b"for=198.51.100.2"], [Hop("198.51.100.2"), Hop("198.51.100.1")]),
        ([b"for=unknown"], [Hop(None)]),
        ([b'for="_gazonk"'], [Hop(None)]),
        ([b"proto=https"], [Hop(None, b"", b"https")]),
        ([b"for=[2001:db8::1]"], BadForwarded),
        ([b'for="198.51.100.1, for=198.51.100.2'], BadForwarded),
        ([b"for=198.51.100.1 for=198.51.100.2"], BadForwarded),
        ([b"for=198.51.100.1;for=198.51.100.2"], BadForwarded),
        ([b"For=198.51.100.1;fOR=198.51.100.1"], BadForwarded),
        ([b"198.51.100.1"], BadForwarded),
        ([b"for = 198.51.100.1"], BadForwarded),
        ([b"for="], BadForwarded),
        ([b"=198.51.100.1"], BadForwarded),
        ([b'for="198.51.100.1"x'], BadForwarded),
        ([b'for="198.51.100.1\\"'], BadForwarded),
        # A quoted string may hold what divides elements, and escapes.
        ([b'by=",;\\"", for="198\\.51.100.1"'], [Hop("198.51.100.1"), Hop(None)]),
    ],
)
def test_forwarded_is_read_from_the_right_over_all_fields(values, hops):
    if hops is BadForwarded:
        with pytest.raises(BadForwarded):
            read_forwarded(values)
    else:
        assert read_forwarded(values) == hops


@pytest.mark.parametrize(
    "value",
    [
        b'for="' + b"\\a" * 8000,
        b'for="' + b"a" * 16_000,
        b" \t" * 8000,
        b"for" * 5000,
        b";" * 16_000,
        b"a=b;" * 4000,
    ],
)
def test_no_value_takes_longer_than_its_length(value):
    began = time.perf_counter()
    with suppress(BadForwarded):
        read_forwarded([value])
    assert time.perf_counter() - began < 0.2


HOSTS = st.binary(max_size=20).map(lambda host: host.translate(None, bytes(range(32)) + b"\x7f"))


@given(st.lists(st.tuples(st.ip_addresses(), HOSTS), max_size=5))
def test_what_we_write_we_read(hops):
    written = b", ".join(forwarded_element(str(ip), host, b"https") for ip, host in hops)
    read = read_forwarded([written])
    assert [(hop.address, hop.host, hop.proto) for hop in reversed(read)] == [
        (read_node(str(ip).encode()), host, b"https") for ip, host in hops
    ]


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_anything_is_read_or_refused(values):
    list(x_forwarded_for(values))
    with suppress(BadForwarded):
        read_forwarded(values)
