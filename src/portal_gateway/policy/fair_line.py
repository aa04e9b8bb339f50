"""A line of requests in which those of each client wait for themselves, and take turns.

A single line is filled by whoever comes most often, and everybody else waits behind it, or finds it
full. Here every client has a line of its own, and they are served one of each in turn. So how long
a client waits depends on its own requests and on how many other clients wait, not on how many
requests those have. Where all places are taken, the client with the longest line loses its last
one to a client with a shorter line. So there is a place for a client that has none, until as many
clients wait as there are places.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from portal_gateway.policy.client_counts import ClientCounts

__all__ = ["FairLine"]

T = TypeVar("T", bound=Hashable)


class FairLine(Generic[T]):
    """Has ``places`` in all, and ``most_of_one`` for one client. Each step is of constant cost.

    An item is in the line of a client at most once.
    """

    __slots__ = ("_counts", "_held", "_lines", "_most_of_one", "_places", "_turns", "_waiting")

    def __init__(self, places: int, most_of_one: int) -> None:
        self._places = places
        self._most_of_one = most_of_one
        # In plain dicts looking for the first would cost the more, the more were taken from the
        # front.
        self._lines: dict[str, OrderedDict[T, None]] = {}
        self._turns: OrderedDict[str, None] = OrderedDict()
        self._held: set[str] = set()
        self._counts = ClientCounts()
        self._waiting = 0

    def __len__(self) -> int:
        """The number of items that wait."""
        return self._waiting

    def waiting_of(self, client: str) -> int:
        """The number of items that wait for ``client``."""
        return self._counts.of(client)

    def add(self, client: str, item: T) -> T | None:
        """Put ``item`` at the end of the client's line.

        Gives what has no place then: nothing, the last one of another client, or ``item``.
        """
        counts = self._counts
        length = counts.of(client)
        if length >= self._most_of_one:
            return item
        out: T | None = None
        if self._waiting >= self._places:
            if counts.most <= length + 1:
                return item
            # It has two at least, so that its line does not end.
            heaviest = counts.heaviest()
            out, _ = self._lines[heaviest].popitem()
            self._count_out(heaviest)
        line = self._lines.get(client)
        if line is None:
            line = self._lines[client] = OrderedDict()
            if client not in self._held:
                self._turns[client] = None
        line[item] = None
        self._waiting += 1
        counts.add(client)
        return out

    def take(self) -> T | None:
        """The next one: the first of the client whose turn it is."""
        if not self._turns:
            return None
        client, _ = self._turns.popitem(last=False)
        line = self._lines[client]
        item, _ = line.popitem(last=False)
        self._count_out(client)
        if line:
            self._turns[client] = None
        else:
            del self._lines[client]
        return item

    def discard(self, client: str, item: T) -> bool:
        """Remove an item that waits no more. Whether it was in the line of ``client``."""
        line = self._lines.get(client)
        if line is None or item not in line:
            return False
        del line[item]
        self._count_out(client)
        if not line:
            del self._lines[client]
            self._turns.pop(client, None)
        return True

    def hold(self, client: str) -> None:
        """Let ``client`` have no turn until `release`; its items keep their places."""
        self._held.add(client)
        self._turns.pop(client, None)

    def release(self, client: str) -> None:
        """Let ``client`` take turns again, behind those who wait for theirs."""
        if client in self._held:
            self._held.remove(client)
            if client in self._lines:
                self._turns[client] = None

    def _count_out(self, client: str) -> None:
        self._waiting -= 1
        self._counts.remove(client)
