"""What signals do: SIGTERM and SIGINT let everything come to an end, SIGHUP reloads."""

import signal
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from twisted.logger import Logger

__all__ = ["ENDING", "Ending", "Hurried", "end_by_signals", "reload_by_signal"]

_log = Logger()

ENDING = (signal.SIGTERM, signal.SIGINT)


@runtime_checkable
class Hurried(Protocol):
    """A service whose end may take its time."""

    def hurry(self) -> None:
        """Let it take none any more."""


class Ending:
    """The end of the process: `begin` lets ``service`` come to an end, `hurry` does not wait."""

    def __init__(self, reactor: Any, service: object) -> None:
        self._reactor = reactor
        self._service = service
        self._begun = False

    def begin(self, why: str) -> None:
        """Stop the reactor, which waits for the service to stop; only the first time."""
        if not self._begun:
            self._begun = True
            _log.info("{why}: ending when the requests under way are over", why=why)
            self._reactor.stop()

    def hurry(self, why: str) -> None:
        """End now what `begin` waits for."""
        _log.info("{why} again: ending now", why=why)
        if isinstance(self._service, Hurried):
            self._service.hurry()


def end_by_signals(reactor: Any, service: object) -> Ending:
    """Have the signals in `ENDING` end the process: call it when the reactor runs.

    The first begins the end that is given back, any further one hurries it. The exit status is 0
    either way: Twisted's own way is to die of the signal, which a service manager would take for a
    failure.
    """
    heard: list[int] = []
    ending = Ending(reactor, service)

    def end(number: int) -> None:
        heard.append(number)
        name = signal.Signals(number).name
        if len(heard) == 1:
            ending.begin(name)
        else:
            ending.hurry(name)

    for number in ENDING:
        signal.signal(number, lambda number, _frame: reactor.callFromThread(end, number))
    return ending


def reload_by_signal(reactor: Any, reload: Callable[[], object]) -> None:
    """Have SIGHUP call ``reload`` in the reactor's thread."""
    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(reload))
