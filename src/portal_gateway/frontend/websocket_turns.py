"""The turns of the reactor, shared among connections that have more to do than one turn allows.

An end of a WebSocket parses what came up to `WORK`, then waits in one queue with all others that
were not done; connections of HTTP have a queue as well. Each turn of the reactor one of them
continues, so the others of the gateway wait for one such piece of work at most.
"""

from collections import deque
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime

__all__ = ["FRAME", "INFLATED_UNIT", "WORK", "Turns", "Worker"]

WORK: Final = 64
"""Units of work that one end does in one turn. A unit is one step of autobahn's reader, of which a
frame takes two, or `INFLATED_UNIT` inflated bytes: 32 frames or 64 KiB, half a millisecond."""

FRAME: Final = 2
"""Units of a message that is read without autobahn: as many as its frame takes there, so a turn is
32 frames of whatever kind."""

INFLATED_UNIT: Final = 1024
"""Inflated bytes that cost as much as one step of the reader: 5 µs, compressed again on their way
out."""


class Worker(Protocol):
    """An end that waits."""

    def turn_came(self) -> None:
        """Work for one turn, and ask for another if there is more."""


class Turns:
    """The queue of those who wait for a turn."""

    __slots__ = ("_clock", "_queue")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._queue: deque[Worker] = deque()

    def __len__(self) -> int:
        """Ends that wait."""
        return len(self._queue)

    def add(self, worker: Worker) -> None:
        """Give ``worker`` one turn, after those who wait already."""
        self._queue.append(worker)
        if len(self._queue) == 1:
            self._clock.callLater(0, self._give)

    def _give(self) -> None:
        worker = self._queue.popleft()
        if self._queue:
            self._clock.callLater(0, self._give)
        worker.turn_came()
