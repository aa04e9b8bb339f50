"""Questions about keys: each is asked once, however many wait for it, and few at the same time.

Whoever sends random keys that look right makes a question of each. Those wait here, in a line that
has an end, and not in front of the threads of the database: what else is asked there, such as which
keys were revoked, is behind a few of them at most.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from twisted.internet.defer import Deferred

__all__ = ["MOST_ASKED", "MOST_IN_LINE", "KeyQuestions"]

MOST_ASKED: Final = 64
"""Questions at the same time: more than a database has connections, and some 30 ms of SQLite's."""

MOST_IN_LINE: Final = 1_000
"""Questions that wait for those. A thousand keys at once are those of a gateway that has begun."""

T = TypeVar("T")


class KeyQuestions(Generic[T]):
    """Asks by ``ask``, which gives a Deferred that never fails."""

    __slots__ = ("_ask", "_asked", "_going_on", "_line", "_waiting")

    def __init__(self, ask: Callable[[bytes], Deferred[T]]) -> None:
        self._ask = ask
        self._waiting: dict[bytes, list[Deferred[T]]] = {}
        self._line: deque[bytes] = deque()
        self._asked = 0
        self._going_on = False

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, digest: bytes) -> Deferred[T] | None:
        """The answer about a key. ``None`` where too many wait already."""
        waiting = self._waiting.get(digest)
        if waiting is None:
            if len(self._line) >= MOST_IN_LINE:
                return None
            waiting = self._waiting[digest] = []
            self._line.append(digest)
        # Who asks no more does not keep the others from being answered.
        answer: Deferred[T] = Deferred(waiting.remove)
        waiting.append(answer)
        self._go_on()
        return answer

    def _go_on(self) -> None:
        if self._going_on:
            # An answer that came at once: what follows is asked below, and not one in another.
            return
        self._going_on = True
        while self._line and self._asked < MOST_ASKED:
            digest = self._line.popleft()
            if self._waiting[digest]:
                self._asked += 1
                self._ask(digest).addCallback(self._answered, digest)
            else:
                del self._waiting[digest]
        self._going_on = False

    def _answered(self, answer: T, digest: bytes) -> None:
        self._asked -= 1
        waiting = self._waiting.pop(digest)
        while waiting:
            waiting.pop(0).callback(answer)
        self._go_on()
