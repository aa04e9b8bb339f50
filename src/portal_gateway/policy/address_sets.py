"""Sets of addresses, made of networks once and asked for each request."""

from bisect import bisect_right
from collections.abc import Iterable

from portal_gateway.errors import GatewayError, fault
from portal_gateway.wire.ip_addresses import Network, number_ranges, read_address

__all__ = ["AddressSet", "address_refusal"]


class AddressSet:
    """The addresses of some networks. To ask costs one search among sorted numbers.

    A peer without an address, which a UNIX socket's is, is in none.
    """

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, networks: Iterable[Network]) -> None:
        self._firsts, self._lasts = number_ranges(networks)

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, str):
            return False
        read = read_address(address)
        if read is None:
            return False
        index = bisect_right(self._firsts, read.number) - 1
        return index >= 0 and read.number <= self._lasts[index]


def address_refusal(whose: str) -> GatewayError:
    """``address_not_allowed`` (403); ``whose`` says which list the address is not in."""
    return fault("address_not_allowed", f"the client's address is not one that {whose} allows")
