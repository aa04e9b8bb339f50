"""The thread that talks to authorities, so that the reactor's never waits for one."""

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

__all__ = ["Threads"]

T = TypeVar("T")


class Threads:
    """A pool of one thread of its own: orders come one after the other.

    The thread does not keep the process from ending.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool: ThreadPool | None = None

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """Call ``work`` in the thread; fires with what it returns."""
        if self._pool is None:
            self._pool = ThreadPool(0, 1, "acme")
            self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment] # its hook
            self._pool.start()
        return deferToThreadPool(self._reactor, self._pool, work)

    def stop(self) -> None:
        """Let the thread go; to be called when no work is under way."""
        if self._pool is not None:
            self._pool.stop()
            self._pool = None
