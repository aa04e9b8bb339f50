"""Counts of something for each client, and the client that has the most.

Each step is of constant cost, however many clients there are.
"""

from collections import OrderedDict

__all__ = ["ClientCounts"]


class ClientCounts:
    """A client is a string, such as its network. ``most`` is the greatest count that there is."""

    __slots__ = ("_by_count", "_counts", "most")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        # The clients that have as many. In a plain dict looking for the first would cost the more,
        # the more were taken from the front.
        self._by_count: dict[int, OrderedDict[str, None]] = {}
        self.most = 0

    def __len__(self) -> int:
        """Clients that have any."""
        return len(self._counts)

    def of(self, client: str) -> int:
        """The count of ``client``."""
        return self._counts.get(client, 0)

    def heaviest(self) -> str:
        """A client that has the most. Raises ``KeyError`` where nobody has any."""
        return next(iter(self._by_count[self.most]))

    def add(self, client: str) -> None:
        """It has one more."""
        before = self._counts.get(client, 0)
        self._move(client, before, before + 1)
        if before == self.most:
            self.most = before + 1

    def remove(self, client: str) -> None:
        """It has one less, of those that it has."""
        before = self._counts[client]
        self._move(client, before, before - 1)
        if before == self.most and before not in self._by_count:
            # The client itself has the next count now.
            self.most = before - 1

    def _move(self, client: str, before: int, after: int) -> None:
        by_count = self._by_count
        if before:
            those = by_count[before]
            del those[client]
            if not those:
                del by_count[before]
        if after:
            self._counts[client] = after
            by_count.setdefault(after, OrderedDict())[client] = None
        else:
            del self._counts[client]
