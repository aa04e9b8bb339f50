"""What a service manager is told by datagrams: ready, reloading, stopping, and that all is well.

The protocol is that of systemd, sd_notify(3) and sd_watchdog_enabled(3): lines of ``NAME=value`` to
the socket that ``NOTIFY_SOCKET`` names. Without one nothing is told, and nothing else differs.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Final

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["Notifier", "Watchdog", "notifier_of", "watchdog_interval"]

_log = Logger()

_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

SEND_WITHIN: Final = 0.2
"""Seconds that a datagram may wait for a service manager that is busy: the reactor waits, too."""

MAX_STATUS: Final = 200
"""Characters of a status: it is shown in one line."""

MAX_WATCHDOG: Final = 24 * 3600 * 1_000_000
"""Microseconds of the longest watchdog that is believed."""


class Notifier:
    """Tells a service manager how the service is, by ``send``; without it, nobody.

    ``watchdog`` are the seconds within which it wants to hear that the service is `alive`, if it
    does. No method raises: that a service manager cannot be told ends no service. It is logged
    once.
    """

    def __init__(
        self, send: Callable[[bytes], object] | None = None, watchdog: float | None = None
    ) -> None:
        self._send = send
        self.watchdog = watchdog
        self._failing = False

    def ready(self, status: str = "") -> None:
        """All is there that clients need; also the end of what `reloading` began."""
        self._tell("READY=1", *_status(status))

    def reloading(self) -> None:
        """A new configuration is read, from now (the monotonic clock's) on."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={microseconds}")

    def stopping(self, status: str = "") -> None:
        """The service ends, which may take its time."""
        self._tell("STOPPING=1", *_status(status))

    def status(self, status: str) -> None:
        """Tell people what goes on, in a line."""
        self._tell(*_status(status))

    def alive(self) -> None:
        """What the watchdog waits for."""
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if self._send is None:
            return
        try:
            self._send("\n".join(lines).encode())
        except OSError as error:
            if not self._failing:
                why = error.strerror or str(error)
                _log.warn("the service manager cannot be told: {why}", why=why)
            self._failing = True
        else:
            self._failing = False


def _status(status: str) -> list[str]:
    """The line of a status. What would begin another line becomes a space."""
    shown = "".join(each if each.isprintable() else " " for each in status[:MAX_STATUS])
    return [f"STATUS={shown}"] if shown else []


def notifier_of(environ: MutableMapping[str, str]) -> Notifier:
    """Who is to be told by the environment of this process.

    The variables are taken out of ``environ``: programs that this one starts do not speak for it.
    """
    name = environ.get("NOTIFY_SOCKET", "")
    interval = watchdog_interval(environ, os.getpid())
    for variable in _VARIABLES:
        environ.pop(variable, None)
    if not name:
        return Notifier()
    if not name.startswith(("/", "@")) or len(name) == 1:
        _log.warn("NOTIFY_SOCKET is neither a path nor an abstract name: nobody is told")
        return Notifier()
    return Notifier(lambda data: _send_datagram(name, data), interval)


def watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """The seconds within which the watchdog has to hear of the process ``pid``, if there is one."""
    digits, of_process = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if of_process and of_process != str(pid):
        return None
    if not (digits.isascii() and digits.isdecimal()) or not 0 < int(digits) <= MAX_WATCHDOG:
        return None
    return int(digits) / 1_000_000


def _send_datagram(name: str, data: bytes) -> None:
    address = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(SEND_WITHIN)
        datagrams.connect(address)
        datagrams.send(data)


class Watchdog(Service):
    """Tells ``notifier`` in time, if it wants to know, that the reactor of ``clock`` runs."""

    def __init__(self, clock: IReactorTime, notifier: Notifier) -> None:
        self._clock = clock
        self._notifier = notifier
        self._call: IDelayedCall | None = None

    def startService(self) -> None:
        """Tell it, and from now on twice in the time that it waits."""
        super().startService()
        if self._notifier.watchdog is not None:
            self._tell(self._notifier.watchdog / 2)

    def _tell(self, after: float) -> None:
        self._call = self._clock.callLater(after, self._tell, after)
        self._notifier.alive()

    def stopService(self) -> None:
        """Tell it no more."""
        super().stopService()
        if self._call is not None:
            self._call.cancel()
            self._call = None
