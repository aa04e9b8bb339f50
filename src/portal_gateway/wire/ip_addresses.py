"""IP addresses as text and as numbers, each in one form, and networks of them.

An IPv6 address that stands for an IPv4 one (``::ffff:203.0.113.5``, RFC 4291 section 2.5.5.2) is
that IPv4 address, whether a client, a proxy or the configuration wrote it.

What is counted for a client is counted for its network (`network_of`): an IPv4 address, or the 64
bits of an IPv6 network. Addresses of a translator or a tunnel count as the IPv4 address that they
carry. Otherwise all clients behind one translator (RFC 6052, ``64:ff9b::/96``) or one Teredo server
(RFC 4380) would be one, and one client of 6to4 (RFC 3056) would have 65,536 networks.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
)
from typing import NamedTuple

__all__ = [
    "Address",
    "Network",
    "network_of",
    "number_ranges",
    "read_address",
    "unmapped_address",
    "unmapped_network",
]

Network = IPv4Network | IPv6Network

_MAX_TEXT = 45
"""Characters of the longest text of an address: IPv6 in full, its last 32 bits as IPv4."""

_MEMORY = 8192
"""Addresses of which the reading is remembered; it costs some 2 µs, and clients come again. At some
200 bytes each that is 2 MB."""

_ABOVE_IPV4 = 2**32
"""What the number of an IPv6 address is above its own value: one line of numbers has both."""

_MAPPED_BITS = 96

_MAPPED_PREFIX = "::ffff:"
"""The beginning of a mapped address, as the system writes it."""

_HOST_BITS = 64
"""Bits of an IPv6 address that a client has to itself at least (RFC 4291 section 2.5.1)."""

_TRANSLATED = IPv6Network("64:ff9b::/96")
"""The well-known prefix of translators (RFC 6052 section 2.1)."""


class Address(NamedTuple):
    """An address: its one text, and its place among all addresses, IPv4 first."""

    text: str
    number: int


def read_address(text: str) -> Address | None:
    """The address that ``text`` is, ``None`` where it is none, or one with a zone (RFC 4007)."""
    return _read(text) if len(text) <= _MAX_TEXT else None


@lru_cache(maxsize=_MEMORY)
def _read(text: str) -> Address | None:
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except (ValueError, AddressValueError):
        return None
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        if mapped is None:
            return Address(str(address), int(address) + _ABOVE_IPV4)
        address = mapped
    return Address(str(address), int(address))


def unmapped_address(text: str) -> str:
    """``text``, or the IPv4 address where it is a mapped one, as a dual-stack socket gives it."""
    if not text.startswith(_MAPPED_PREFIX):
        return text
    read = read_address(text)
    return text if read is None else read.text


@lru_cache(maxsize=_MEMORY)
def network_of(text: str) -> str:
    """The network that the client at an address counts as; ``text`` itself if it is no address.

    A zone (``%eth0``) makes no difference: link-local clients are one network.
    """
    if ":" not in text:
        return text
    try:
        address = IPv6Address(text)
    except (ValueError, AddressValueError):
        return text
    inner = _inner_address(address)
    if inner is not None:
        return str(inner)
    return f"{IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS)}/{_HOST_BITS}"


def _inner_address(address: IPv6Address) -> IPv4Address | None:
    """The client's IPv4 address inside one that is mapped, translated or of a tunnel."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _TRANSLATED:
        return IPv4Address(int(address) & (_ABOVE_IPV4 - 1))
    return None


def unmapped_network(network: Network) -> Network:
    """The IPv4 network where ``network`` holds nothing but mapped addresses, else itself."""
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def number_ranges(networks: Iterable[Network]) -> tuple[list[int], list[int]]:
    """The first and last numbers of the networks, in order and without overlap."""
    listed = [unmapped_network(network) for network in networks]
    merged: list[Network] = [
        *collapse_addresses(network for network in listed if isinstance(network, IPv4Network)),
        *collapse_addresses(network for network in listed if isinstance(network, IPv6Network)),
    ]
    return (
        [_number(network.network_address) for network in merged],
        [_number(network.broadcast_address) for network in merged],
    )


def _number(address: IPv4Address | IPv6Address) -> int:
    return int(address) + (_ABOVE_IPV4 if isinstance(address, IPv6Address) else 0)
