"""The open connections of a site, and whose they are.

A connection without a request under way can be given up for somebody else. That is what idle
clients have, and those who did not say who they are yet. So such clients do not use up the
connections that others need.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from portal_gateway.policy.client_counts import ClientCounts
from portal_gateway.wire.ip_addresses import network_of

if TYPE_CHECKING:
    from portal_gateway.frontend.site import Connection

__all__ = ["OpenConnections"]

_LOOKED_AT: Final = 64
"""Connections of a network, the oldest first, among which one without a request is looked for. One
that has a request goes to the end, so that the next search finds others."""


class OpenConnections:
    """The connections, by the network of their clients."""

    __slots__ = ("_all", "_by_network", "_counts")

    def __init__(self) -> None:
        self._all: set[Connection] = set()
        self._by_network: dict[str, OrderedDict[Connection, None]] = {}
        self._counts = ClientCounts()

    def __len__(self) -> int:
        """The number of open connections."""
        return len(self._all)

    def __iter__(self) -> Iterator["Connection"]:
        """As they are now: some may end meanwhile."""
        return iter(list(self._all))

    def of(self, host: str) -> int:
        """The number of open connections from the network of ``host``."""
        return self._counts.of(network_of(host))

    def add(self, connection: "Connection") -> None:
        """It is open."""
        self._all.add(connection)
        network = network_of(connection.client_host)
        self._by_network.setdefault(network, OrderedDict())[connection] = None
        self._counts.add(network)

    def discard(self, connection: "Connection") -> None:
        """It has ended, or is as good as that."""
        if connection not in self._all:
            return
        self._all.discard(connection)
        network = network_of(connection.client_host)
        those = self._by_network[network]
        del those[connection]
        if not those:
            del self._by_network[network]
        self._counts.remove(network)

    def to_give_up(self, host: str) -> "Connection | None":
        """One to be closed for a new one from ``host``.

        It has no request under way, and is of the network that has the most, and more than the new
        one's will have.
        """
        if self._counts.most <= self.of(host) + 1:
            return None
        those = self._by_network[self._counts.heaviest()]
        for _ in range(min(_LOOKED_AT, len(those))):
            connection = next(iter(those))
            if not any(True for _ in connection.requests()):
                return connection
            those.move_to_end(connection)
        return None
