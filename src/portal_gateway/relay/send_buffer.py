"""Bytes that wait for room to be sent."""

from collections import deque
from collections.abc import Callable

__all__ = ["SendBuffer"]


class SendBuffer:
    """A queue of what was written, taken from its front in any pieces without a copy.

    Truth is whether anything waits; ``size`` is how many bytes do.
    """

    __slots__ = ("_waiting", "size")

    def __init__(self) -> None:
        self._waiting: deque[bytes | memoryview] = deque()
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def append(self, data: bytes | memoryview) -> None:
        """Let ``data``, at least one byte, wait behind the rest."""
        self._waiting.append(data)
        self.size += len(data)

    def clear(self) -> None:
        """Drop what waits."""
        self._waiting.clear()
        self.size = 0

    def give(self, send: Callable[[bytes | memoryview], int], limit: int) -> int:
        """Call ``send`` with the front, as long as it takes all of it; at most ``limit`` bytes.

        Returns how many bytes were taken.
        """
        waiting = self._waiting
        given = 0
        while waiting and given < limit:
            front = waiting[0]
            offered = front if len(front) <= limit - given else memoryview(front)[: limit - given]
            taken = send(offered)
            given += taken
            if taken == len(front):
                waiting.popleft()
            elif taken:
                waiting[0] = memoryview(front)[taken:]
            if taken < len(offered):
                break
        self.size -= given
        return given
