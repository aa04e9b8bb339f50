"""One element of Forwarded (RFC 7239), whatever the host field held."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.wire.forwarded import FORWARDING_FIELDS, forwarded_element, forwarded_elements


@pytest.mark.parametrize(
    ("client", "host", "scheme", "element"),
    [
        ("192.0.2.43", b"gw.example", b"http", b"for=192.0.2.43;host=gw.example;proto=http"),
        ("192.0.2.43", b"gw:8080", b"https", b'for=192.0.2.43;host="gw:8080";proto=https'),
        ("2001:db8::1", b"gw", b"http", b'for="[2001:db8::1]";host=gw;proto=http'),
        ("", b"gw", b"http", b"for=unknown;host=gw;proto=http"),
        ("192.0.2.43", b"", b"http", b'for=192.0.2.43;host="";proto=http'),
        ("192.0.2.43", b'a"b\\c', b"http", b'for=192.0.2.43;host="a\\"b\\\\c";proto=http'),
        ("192.0.2.43", b"[::1]:80", b"http", b'for=192.0.2.43;host="[::1]:80";proto=http'),
    ],
)
def test_an_element_quotes_what_is_no_token(client, host, scheme, element):
    assert forwarded_element(client, host, scheme) == element


ELEMENT = re.compile(rb'for=[^;"]+;host=(?:([^;,"]+)|"((?:[^"\\]|\\.)*)");proto=http', re.DOTALL)


@given(st.binary(max_size=40))
def test_no_host_can_add_an_element_or_a_parameter(host):
    parts = ELEMENT.fullmatch(forwarded_element("192.0.2.43", host, b"http"))
    token, quoted = parts.groups()
    assert (re.sub(rb"(?s)\\(.)", rb"\1", quoted) if token is None else token) == host


def test_the_fields_that_claim_an_origin_are_named_in_lower_case():
    assert {name.lower() for name in FORWARDING_FIELDS} == FORWARDING_FIELDS
    assert b"x-forwarded-for" in FORWARDING_FIELDS


@pytest.mark.parametrize(
    ("addresses", "elements"),
    [
        ((), b"for=unknown;host=api;proto=https"),
        (("192.0.2.43",), b"for=192.0.2.43;host=api;proto=https"),
        (
            ("192.0.2.43", "10.0.0.1"),
            b"for=192.0.2.43;host=api;proto=https, for=10.0.0.1;host=gw;proto=http",
        ),
        (
            ("192.0.2.43", "2001:db8::1", "10.0.0.1"),
            (
                b'for=192.0.2.43;host=api;proto=https, for="[2001:db8::1]",'
                b" for=10.0.0.1;host=gw;proto=http"
            ),
        ),
    ],
)
def test_each_hop_has_an_element(addresses, elements):
    assert forwarded_elements(addresses, (b"api", b"https"), (b"gw", b"http")) == elements
