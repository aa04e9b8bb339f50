"""IP addresses as text and as numbers, each in one form, and networks of them.

An IPv6 address that stands for an IPv4 one (``::ffff:203.0.113.5``, RFC 4291 section 2.5.5.2) is
that IPv4 address, whether a client, a proxy or the configuration wrote it.
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

__all__ = ["Address", "Network", "number_ranges", "read_address", "unmapped_network"]

Network = IPv4Network | IPv6Network

_MAX_TEXT = 45
"""Characters of the longest text of an address: IPv6 in full, its last 32 bits as IPv4."""

_MEMORY = 8192
"""Addresses of which the reading is remembered; it costs some 2 µs, and clients come again. At some
200 bytes each that is 2 MB."""

_ABOVE_IPV4 = 2**32
"""What the number of an IPv6 address is above its own value: one line of numbers has both."""

_MAPPED_BITS = 96


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
