"""Threads that are none: what blocks runs at once, or when a test says so."""

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, execute

__all__ = ["NoThreads"]

T = TypeVar("T")


class NoThreads:
    """Runs functions where they are called, or where it is ``held``, when it is `release`\\ d."""

    def __init__(self) -> None:
        self.held = False
        self._waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """What the function gives."""
        if not self.held:
            return execute(function)
        result: Deferred[T] = Deferred()
        self._waiting.append((function, result))
        return result

    def release(self) -> None:
        """Run what waits, and hold nothing more."""
        self.held = False
        waiting, self._waiting = self._waiting, []
        for function, result in waiting:
            execute(function).chainDeferred(result)

    def stop(self) -> None:
        """Nothing is left to stop."""
