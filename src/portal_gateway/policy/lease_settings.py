"""What the configuration says of single leases, found by any of their names."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial

from portal_gateway.policy.address_sets import AddressSet
from portal_gateway.wire.ip_addresses import Network
from portal_gateway.wire.lease_names import folded

__all__ = ["LeaseAddresses", "LeasePaths"]

_MOST_KNOWN = 4096
"""Leases whose lists are kept once they were found, as in `portal_gateway.policy.lease_access`."""


class LeaseAddresses:
    """The lists of leases, by the names that the configuration has. Every list of a lease holds.

    Where only a relay knows the names of a lease, every list that there is does.
    """

    __slots__ = ("_lists", "_lists_of")

    def __init__(self, lists: Mapping[str, Iterable[Network]]) -> None:
        self._lists: dict[str, list[AddressSet]] = {}
        for name, networks in lists.items():
            self._lists.setdefault(folded(name), []).append(AddressSet(networks))
        self._lists_of = lru_cache(maxsize=_MOST_KNOWN)(partial(_lists_of, self._lists))

    def __len__(self) -> int:
        return len(self._lists)

    def admits(self, address: str, names: tuple[str, ...], *, hides_names: bool = False) -> bool:
        """Whether a client may reach the lease that has these names."""
        return all(address in allowed for allowed in self._lists_of(names, hides_names))


# Functions, not methods: what remembers a method of an object is a cycle with it.


def _lists_of(
    lists: Mapping[str, Sequence[AddressSet]], names: tuple[str, ...], hides_names: bool
) -> list[AddressSet]:
    keys = lists if hides_names else dict.fromkeys(map(folded, names))
    return [allowed for key in keys for allowed in lists.get(key, ())]


def _paths_of(paths: Mapping[str, frozenset[bytes]], names: tuple[str, ...]) -> frozenset[bytes]:
    return frozenset().union(*(paths.get(name, ()) for name in map(folded, names)))


class LeasePaths:
    """Paths of leases for which something is switched on under one of the lease's names.

    A path is compared as it goes to the lease, byte for byte: one that is spelt otherwise may be
    another one there.
    """

    __slots__ = ("_paths", "_paths_of")

    def __init__(self, paths: Mapping[str, Iterable[str]]) -> None:
        found: dict[str, frozenset[bytes]] = {}
        for name, those in paths.items():
            key = folded(name)
            encoded = frozenset(path.encode("ascii") for path in those)
            found[key] = found.get(key, frozenset()) | encoded
        self._paths = {name: those for name, those in found.items() if those}
        self._paths_of = lru_cache(maxsize=_MOST_KNOWN)(partial(_paths_of, self._paths))

    def __len__(self) -> int:
        return len(self._paths)

    def has(self, names: tuple[str, ...], path: bytes) -> bool:
        """Whether ``path`` is one of them at the lease that has these names."""
        return path in self._paths_of(names)
