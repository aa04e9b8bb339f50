"""What arrived, delivered in order while its reader wants it; then how it ended."""

from collections import deque
from collections.abc import Callable

__all__ = ["JOINED", "MANY", "Delivery"]

MANY = 64
"""Pieces that wait as they came; small ones beyond them are joined."""

JOINED = 4096
"""Bytes up to which they are joined. Python needs 60 bytes for a piece of two: a peer could make
us hold thirty times what its window allows."""


class Delivery:
    """Calls ``deliver`` with what is received, at once or, after a pause, in a later turn.

    A reader may pause at any moment, also in the midst of a delivery, and is never called from
    inside ``resume``: ``call_soon`` puts that off. ``resumed`` is called when reading goes on and
    nothing waits here any more. How much may wait is bounded by whoever calls ``receive``, who
    knows from ``paused`` or from ``resumed`` that nothing more is wanted.
    """

    __slots__ = ("_call_soon", "_deliver", "_due", "_end", "_resumed", "_waiting", "paused")

    def __init__(
        self,
        deliver: Callable[[bytes], object],
        call_soon: Callable[[Callable[[], None]], object],
        resumed: Callable[[], object] | None = None,
    ) -> None:
        self.paused = False
        self._deliver = deliver
        self._call_soon = call_soon
        self._resumed = resumed
        self._waiting: deque[bytes] = deque()
        self._end: Callable[[], object] | None = None
        self._due = False

    def receive(self, data: bytes) -> None:
        """Deliver ``data``, after what waits."""
        waiting = self._waiting
        if not self.paused and not waiting:
            self._deliver(data)
        elif len(waiting) >= MANY and len(waiting[-1]) + len(data) <= JOINED:
            waiting[-1] += data
        else:
            waiting.append(data)

    def finish(self, end: Callable[[], object]) -> None:
        """Call ``end``, after what waits. Nothing is received any more."""
        if self.paused or self._waiting:
            self._end = end
        else:
            end()

    def pause(self) -> None:
        """Deliver nothing until ``resume``."""
        self.paused = True

    def resume(self) -> None:
        """Deliver again."""
        self.paused = False
        if not self._waiting and self._end is None:
            if self._resumed is not None:
                self._resumed()
        elif not self._due:
            self._due = True
            self._call_soon(self._deliver_waiting)

    def drop(self) -> int:
        """Forget what waits and how it ended; returns how many bytes waited."""
        dropped = sum(map(len, self._waiting))
        self._waiting.clear()
        self._end = None
        self.paused = False
        return dropped

    def _deliver_waiting(self) -> None:
        self._due = False
        waiting = self._waiting
        while waiting and not self.paused:
            self._deliver(waiting.popleft())
        if self.paused:
            return
        end, self._end = self._end, None
        if end is not None:
            end()
        elif self._resumed is not None:
            self._resumed()
