"""A line of requests in which those of each client wait for themselves, and take turns.

A single line is filled by whoever comes most often, and everybody else waits behind it, or finds it
full. Here every client has a line of its own, and they are served one of each in turn. So how long
a client waits depends on its own requests and on how many other clients wait, not on how many
requests those have. Where all places are taken, the client with the longest line loses its last
one to a client with a shorter line. So there is a place for a client that has none, until as many
clients wait as there are places.
"""

from collections import deque
from typing import Generic, TypeVar

from portal_gateway.policy.client_counts import ClientCounts

__all__ = ["FairLine"]

T = TypeVar("T")


class FairLine(Generic[T]):
    """Has ``places`` in all, and ``most_of_one`` for one client. Each step is of constant cost."""

    __slots__ = ("_counts", "_lines", "_most_of_one", "_places", "_turns", "_waiting")

    def __init__(self, places: int, most_of_one: int) -> None:
        self._places = places
        self._most_of_one = most_of_one
        self._lines: dict[str, deque[T]] = {}
        self._turns: deque[str] = deque()
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
            out = self._lines[heaviest].pop()
            self._count_out(heaviest)
        line = self._lines.get(client)
        if line is None:
            line = self._lines[client] = deque()
            self._turns.append(client)
        line.append(item)
        self._waiting += 1
        counts.add(client)
        return out

    def take(self) -> T | None:
        """The next one: the first of the client whose turn it is."""
        if not self._turns:
            return None
        client = self._turns.popleft()
        line = self._lines[client]
        item = line.popleft()
        self._count_out(client)
        if line:
            self._turns.append(client)
        else:
            del self._lines[client]
        return item

    def _count_out(self, client: str) -> None:
        self._waiting -= 1
        self._counts.remove(client)
