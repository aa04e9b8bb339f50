"""Events of the poll, passed on to their sockets without Twisted's logging context.

Twisted wraps each event into `twisted.python.log.callWithLogger`, so that old log messages can name
the protocol that they come from. That is five calls, 1.4 µs, twice for each small request, and
nothing here logs by it. What it does with an exception that gets this far is done here too.
"""

from collections.abc import Callable
from errno import EINTR
from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["pass_events_directly"]

_log = Logger(__name__)


_PARTS: Final = ("_poller", "_selectables", "_doReadOrWrite")
"""What is needed of the reactor. They are not public: a version without one of them is left alone.
"""


def pass_events_directly(reactor: Any) -> None:
    """Have ``reactor`` do so from now on, if it is Twisted's own for epoll; others stay as is."""
    try:
        from twisted.internet.epollreactor import EPollReactor  # noqa: PLC0415 - Linux has it
    except ImportError:
        return
    if isinstance(reactor, EPollReactor) and type(reactor).doIteration is EPollReactor.doPoll:
        parts: list[Any] = [getattr(reactor, name, None) for name in _PARTS]
        if None not in parts:
            polling = _Polling(*parts)
            reactor.doIteration = polling.poll  # type: ignore[method-assign] # of this one only


class _Polling:
    """What takes the place of a reactor's ``doIteration``."""

    __slots__ = ("_poller", "_read_or_write", "_selectables")

    def __init__(
        self,
        poller: Any,
        selectables: dict[int, Any],
        read_or_write: Callable[[Any, int, int], object],
    ) -> None:
        self._poller = poller
        self._selectables = selectables
        self._read_or_write = read_or_write

    def poll(self, timeout: float | None) -> None:
        """Wait for events, ``timeout`` seconds at most, and have each socket read or write."""
        selectables = self._selectables
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, len(selectables))
        except OSError as error:
            if error.errno != EINTR:
                raise
            return
        for descriptor, event in events:
            selectable = selectables.get(descriptor)
            # One of the events before may have closed it.
            if selectable is not None:
                try:
                    self._read_or_write(selectable, descriptor, event)
                except KeyboardInterrupt:
                    raise
                except BaseException:  # noqa: BLE001 - the other sockets have no part in it
                    _log.failure("an event could not be dealt with", failure=Failure())
