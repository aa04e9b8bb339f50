"""The requests that wait for a connection of a pool, the one that waits longest first.

All of them may leave at once, and those whose dial was refused come back to the place of their age,
so a step must not search the others: a heap gives the oldest, and one that left is only struck out.
"""

from heapq import heapify, heappop, heappush
from typing import Final

from portal_gateway.relay.http_client import UpstreamExchange

__all__ = ["WaitingRequests"]

_MOST_STRUCK_OUT: Final = 64
"""Requests that left whose entries are kept, beside as many as there are waiting ones."""


class WaitingRequests:
    """Exchanges by their ``waiting_since``, which is not to change while they are here.

    Of those of one age the one that was added first is first.
    """

    __slots__ = ("_added", "_entries", "_numbers")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, UpstreamExchange]] = []
        # The number of each exchange's entry; an entry with another number is struck out.
        self._numbers: dict[UpstreamExchange, int] = {}
        self._added = 0

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._numbers)

    @property
    def first(self) -> UpstreamExchange:
        """The exchange that waits longest. Raises ``IndexError`` where none waits."""
        return self._entries[0][2]

    def add(self, exchange: UpstreamExchange) -> None:
        """Let an exchange wait, behind those that have waited as long."""
        self._added += 1
        self._numbers[exchange] = self._added
        heappush(self._entries, (exchange.waiting_since, self._added, exchange))

    def take(self) -> UpstreamExchange:
        """Remove the exchange that waits longest. Raises ``IndexError`` where none waits."""
        exchange = heappop(self._entries)[2]
        del self._numbers[exchange]
        self._drop_struck_out()
        return exchange

    def discard(self, exchange: UpstreamExchange) -> bool:
        """Remove an exchange that waits no more. Whether it was here."""
        if self._numbers.pop(exchange, None) is None:
            return False
        self._drop_struck_out()
        return True

    def take_all(self) -> list[UpstreamExchange]:
        """Remove all of them, and return them in their order."""
        taken = [entry[2] for entry in sorted(filter(self._is_here, self._entries))]
        self._entries.clear()
        self._numbers.clear()
        return taken

    def _is_here(self, entry: tuple[float, int, UpstreamExchange]) -> bool:
        return self._numbers.get(entry[2]) == entry[1]

    def _drop_struck_out(self) -> None:
        """Have an entry of an exchange that waits in front, and not too many of others."""
        entries = self._entries
        if len(entries) > 2 * len(self._numbers) + _MOST_STRUCK_OUT:
            self._entries = entries = list(filter(self._is_here, entries))
            heapify(entries)
        while entries and not self._is_here(entries[0]):
            heappop(entries)
