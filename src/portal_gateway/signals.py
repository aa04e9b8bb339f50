"""What signals do: SIGTERM and SIGINT let everything come to an end, SIGHUP reloads."""

import signal
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from twisted.logger import Logger

__all__ = ["Hurried", "end_by_signals", "reload_by_signal"]

_log = Logger()

ENDING = (signal.SIGTERM, signal.SIGINT)


@runtime_checkable
class Hurried(Protocol):
    """A service whose end may take its time."""

    def hurry(self) -> None:
        """Let it take none any more."""


def end_by_signals(reactor: Any, service: object) -> None:
    """Have the signals in `ENDING` end the process: call it when the reactor runs.

    The first stops ``reactor``, which waits for ``service`` to stop. Any further one tells
    ``service`` to `hurry`. The exit status is 0 either way: Twisted's own way is to die of the
    signal, which a service manager would take for a failure.
    """
    heard: list[int] = []

    def end(number: int) -> None:
        heard.append(number)
        name = signal.Signals(number).name
        if len(heard) == 1:
            _log.info("{signal}: ending when the requests under way are over", signal=name)
            reactor.stop()
        else:
            _log.info("{signal} again: ending now", signal=name)
            if isinstance(service, Hurried):
                service.hurry()

    for number in ENDING:
        signal.signal(number, lambda number, _frame: reactor.callFromThread(end, number))


def reload_by_signal(reactor: Any, reload: Callable[[], object]) -> None:
    """Have SIGHUP call ``reload`` in the reactor's thread."""
    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(reload))
