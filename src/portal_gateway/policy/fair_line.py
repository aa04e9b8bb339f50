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

__all__ = ["FairLine"]

T = TypeVar("T")


class FairLine(Generic[T]):
    """Has ``places`` in all, and ``most_of_one`` for one client. Each step is of constant cost."""

    __slots__ = (
        "_by_length",
        "_lines",
        "_longest",
        "_most_of_one",
        "_places",
        "_turns",
        "_waiting",
    )

    def __init__(self, places: int, most_of_one: int) -> None:
        self._places = places
        self._most_of_one = most_of_one
        self._lines: dict[str, deque[T]] = {}
        self._turns: deque[str] = deque()
        self._waiting = 0
        # The clients whose lines have a length, and the greatest length that there is.
        self._by_length: list[dict[str, None]] = [{} for _ in range(most_of_one + 1)]
        self._longest = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._waiting

    def waiting_of(self, client: str) -> int:
        """How many wait for ``client``."""
        line = self._lines.get(client)
        return 0 if line is None else len(line)

    def add(self, client: str, item: T) -> T | None:
        """Put ``item`` at the end of the client's line.

        Gives what has no place then: nothing, the last one of another client, or ``item``.
        """
        line = self._lines.get(client)
        length = 0 if line is None else len(line)
        if length >= self._most_of_one:
            return item
        out: T | None = None
        if self._waiting >= self._places:
            if self._longest <= length + 1:
                return item
            out = self._push_out()
        if line is None:
            line = self._lines[client] = deque()
            self._turns.append(client)
        line.append(item)
        self._waiting += 1
        self._resize(client, length, length + 1)
        return out

    def take(self) -> T | None:
        """The next one: the first of the client whose turn it is."""
        if not self._turns:
            return None
        client = self._turns.popleft()
        line = self._lines[client]
        item = line.popleft()
        self._waiting -= 1
        self._resize(client, len(line) + 1, len(line))
        if line:
            self._turns.append(client)
        else:
            del self._lines[client]
        return item

    def _push_out(self) -> T:
        """Give up the last one of a client with the longest line, which has two at least."""
        client = next(iter(self._by_length[self._longest]))
        line = self._lines[client]
        item = line.pop()
        self._waiting -= 1
        self._resize(client, len(line) + 1, len(line))
        return item

    def _resize(self, client: str, before: int, after: int) -> None:
        by_length = self._by_length
        if before:
            del by_length[before][client]
        if after:
            by_length[after][client] = None
        if after > self._longest:
            self._longest = after
        elif before == self._longest and not by_length[before]:
            # The client itself has the next length now.
            self._longest = after
