"""Threads for what blocks: each function runs in one of a few, and its result comes as a Deferred.

They are daemons: one that hangs in a system call does not keep the process from ending. What waits
for a thread is bounded; above that a function is refused at once.
"""

import queue
import threading
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

__all__ = ["Busy", "ThisThread", "Threads", "WorkerThreads"]

MOST_WAITING: Final = 1_000
"""Functions that wait for a thread. A statement takes a millisecond, so more are late anyway."""

T = TypeVar("T")


class Busy(Exception):
    """Too much waits for a thread already, or they have been stopped."""


class Threads(Protocol):
    """Where functions run that block."""

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """What ``function`` gives, or fails with; or `Busy`. Who cancels it does not stop it."""

    def stop(self) -> None:
        """Run nothing more."""


class ThisThread:
    """No other one: for commands, which have nothing else to do meanwhile."""

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """As `Threads`."""
        return execute(function)

    def stop(self) -> None:
        """Nothing is left to stop."""


class WorkerThreads:
    """``count`` threads, each started when it is first needed."""

    def __init__(self, reactor: IReactorFromThreads, count: int, name: str) -> None:
        self._reactor = reactor
        self._count = count
        self._name = name
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._started = 0
        self._under_way = 0
        self._stopped = False

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """As `Threads`."""
        if self._stopped or self._under_way >= self._count + MOST_WAITING:
            return fail(Busy("too much waits for a thread"))
        # Whoever cancels it hears of that at once, and of nothing afterwards.
        result: Deferred[T] = Deferred()

        def over(outcome: T | Failure) -> None:
            self._under_way -= 1
            result.callback(outcome)

        def work() -> None:
            outcome: T | Failure
            try:
                # What nobody waits for any more would only keep others waiting.
                outcome = Failure(Busy("too late")) if result.called else function()
            except Exception:  # noqa: BLE001 - whatever it is, it belongs to who asked
                outcome = Failure()
            self._reactor.callFromThread(over, outcome)

        if self._under_way == self._started < self._count:
            self._started += 1
            name = f"{self._name} {self._started}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        self._under_way += 1
        self._work.put(work)
        return result

    def stop(self) -> None:
        """Run nothing more. Threads end when they have done what they were given."""
        self._stopped = True
        for _ in range(self._started):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
