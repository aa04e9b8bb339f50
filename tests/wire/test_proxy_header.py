"""Headers of the PROXY protocol, whole, byte by byte, and with bytes behind them."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.wire.proxy_header import (
    LOCAL_HEADER,
    MAX_PROXY_HEADER,
    BadProxyHeader,
    read_proxy_header,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PARIS, ROME = ("203.0.113.5", 51_000), ("192.0.2.1", 443)
PARIS_6, ROME_6 = ("2001:db8::5", 51_000), ("2001:db8:1::1", 443)


def binary(family, addresses, *, command=0x21, more=b"", length=None):
    rest = addresses + more
    length = len(rest) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, length) + rest


def inet(source, destination):
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    hosts = b"".join(socket.inet_pton(family, host) for host, _ in (source, destination))
    return hosts + struct.pack("!HH", source[1], destination[1])


V1 = b"PROXY TCP4 203.0.113.5 192.0.2.1 51000 443\r\n"
V1_6 = b"PROXY TCP6 2001:db8::5 2001:db8:1::1 51000 443\r\n"
V2 = binary(0x11, inet(PARIS, ROME))
V2_6 = binary(0x21, inet(PARIS_6, ROME_6))
UNIX = binary(0x31, b"/run/client\0".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0"))

GOOD = [
    (V1, PARIS, ROME),
    (V1_6, PARIS_6, ROME_6),
    (V2, PARIS, ROME),
    (V2_6, PARIS_6, ROME_6),
    (binary(0x11, inet(PARIS, ROME), more=b"\x03\0\x04abcd" * 100), PARIS, ROME),
    (binary(0x11, inet(PARIS, ROME), more=bytes(MAX_PROXY_HEADER - 28)), PARIS, ROME),
    (b"PROXY TCP6 ::ffff:203.0.113.5 ::1 51000 0\r\n", PARIS, ("::1", 0)),
    (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", ("0.0.0.0", 0), ("255.255.255.255", 65535)),
    (b"PROXY UNKNOWN\r\n", None, None),
    (b"PROXY UNKNOWN ffff::1 anything at all 1\r\n", None, None),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None, None),
    (LOCAL_HEADER, None, None),
    (binary(0x11, inet(PARIS, ROME), command=0x20), None, None),
    (binary(0, b""), None, None),
    (binary(0, b"more"), None, None),
    (UNIX, None, None),
]

BAD = [
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"PROXY",
    b"PROXY \r\n",
    b"PROXY\r\n",
    b"PRXY TCP4 ",
    b"POST / HTTP/1.1\r\n",
    b"PROXY TCP4 203.0.113.5 192.0.2.1 51000 443\n",
    b"PROXY TCP4 203.0.113.5 192.0.2.1 51000 443 \r\n",
    b"PROXY TCP4  203.0.113.5 192.0.2.1 51000 443\r\n",
    b"PROXY TCP4 203.0.113.5 192.0.2.1 51000\r\n",
    b"PROXY TCP4 203.0.113.5 192.0.2.1 051000 443\r\n",
    b"PROXY TCP4 203.0.113.5 192.0.2.1 +5100 443\r\n",
    b"PROXY TCP4 203.0.113.5 192.0.2.1 65536 443\r\n",
    b"PROXY TCP4 203.0.113.256 192.0.2.1 51000 443\r\n",
    b"PROXY TCP4 203.0.113.05 192.0.2.1 51000 443\r\n",
    b"PROXY TCP4 2001:db8::5 192.0.2.1 51000 443\r\n",
    b"PROXY TCP6 203.0.113.5 192.0.2.1 51000 443\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 51000 443\r\n",
    b"PROXY TCP4 unknown 192.0.2.1 51000 443\r\n",
    b"PROXY tcp4 203.0.113.5 192.0.2.1 51000 443\r\n",
    b"proxy TCP4 203.0.113.5 192.0.2.1 51000 443\r\n",
    b"PROXY UDP4 203.0.113.5 192.0.2.1 51000 443\r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"PROXY UNKNOWN a\nb\r\n",
    b"PROXY TCP4 " + b"1" * 100,
    # Datagrams, and what nobody has defined.
    binary(0x12, inet(PARIS, ROME)),
    binary(0x22, inet(PARIS_6, ROME_6)),
    binary(0x13, inet(PARIS, ROME)),
    binary(0x41, inet(PARIS, ROME)),
    binary(0x11, inet(PARIS, ROME), command=0x22),
    binary(0x11, inet(PARIS, ROME), command=0x11),
    binary(0x11, inet(PARIS, ROME), command=0x31),
    # Shorter than its addresses, and longer than there is room for.
    binary(0x11, inet(PARIS, ROME)[:-1]),
    binary(0x21, inet(PARIS, ROME)),
    binary(0x31, bytes(215)),
    binary(0x11, b"", length=MAX_PROXY_HEADER - 15),
    binary(0, b"", command=0x20, length=65_535),
    SIGNATURE[:-1] + b"\r",
]


@pytest.mark.parametrize(("data", "source", "destination"), GOOD)
@pytest.mark.parametrize("behind", [b"", b"GET / HTTP/1.1\r\n", b"PROXY TCP4 ", SIGNATURE])
def test_a_header_is_read(data, source, destination, behind):
    header = read_proxy_header(data + behind)
    assert (header.length, header.source, header.destination) == (len(data), source, destination)
    assert header.unix == (data is UNIX)


@pytest.mark.parametrize("data", [data for data, _, _ in GOOD])
def test_a_part_of_a_header_is_none_yet(data):
    for end in range(len(data)):
        assert read_proxy_header(data[:end]) is None


@pytest.mark.parametrize("data", BAD)
def test_what_is_no_header_is_refused(data):
    with pytest.raises(BadProxyHeader):
        assert read_proxy_header(data + b"\r\n" * 60)


def test_no_more_is_waited_for_than_a_header_may_have():
    with pytest.raises(BadProxyHeader):
        read_proxy_header(b"PROXY UNKNOWN " + b"x" * 93)
    assert read_proxy_header(binary(0x11, b"", length=MAX_PROXY_HEADER - 16)) is None


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", SIGNATURE, V2[:16], V1[:11]]))
def test_anything_is_read_refused_or_waited_for_whole_as_in_parts(data, begin):
    whole = begin + data

    def outcome(data):
        try:
            return read_proxy_header(data)
        except BadProxyHeader:
            return "bad"

    by_byte = None
    for end in range(1, len(whole) + 1):
        by_byte = outcome(whole[:end])
        if by_byte is not None:
            break
    if by_byte is not None:
        assert outcome(whole) == by_byte
    else:
        assert outcome(whole) is None
