"""The log: Twisted's events, ours, and one line per request, all through one writer."""

import json
import threading
import time
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import classImplements

from portal_gateway.exchange import Exchange
from portal_gateway.observe.lines import FORMATS, Value, quoted, timestamp

__all__ = ["LEVELS", "Log", "Sink"]

LEVELS = ("debug", "info", "warning", "error")
"""The levels of the configuration, from most to least."""

_SEVERITY = {"debug": 0, "info": 1, "warning": 2, "error": 3, "critical": 4}

_NAMES = {
    LogLevel.debug: "debug",
    LogLevel.info: "info",
    LogLevel.warn: "warning",
    LogLevel.error: "error",
    LogLevel.critical: "critical",
}

_SERVER_ERROR = 500

_LEGACY = frozenset({"format", "isError", "message", "system", "time", "failure", "why", "debug"})
"""Keys of Twisted's older log events that are not facts of ours."""


class Sink(Protocol):
    """Where lines go: an open text file."""

    def write(self, text: str, /) -> object:
        """Take some lines."""

    def flush(self) -> object:
        """Pass on what was taken."""


class Log:
    """Writes the lines of one reactor turn together, after the turn's own work.

    ``level`` and ``style`` are the configuration's; ``wall_clock`` gives unix seconds. A sink that
    fails costs the lines it failed on (``lost`` counts those writes), never a request.
    """

    def __init__(
        self,
        clock: IReactorTime,
        sink: Sink,
        *,
        level: str = "info",
        style: str = "json",
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._sink = sink
        self.use(level, style)
        self._wall_clock = wall_clock
        self._lines: list[str] = []
        self._flushing: IDelayedCall | None = None
        self._second = -1
        self._timestamp = ""
        self._writer_thread = threading.get_ident()
        self.lost = 0

    def use(self, level: str, style: str) -> None:
        """Write what is at least of this level, in this form, from now on."""
        self._threshold = _SEVERITY[level]
        self._format = FORMATS[style]
        self._is_json = style == "json"

    def __call__(self, event: LogEvent) -> None:
        """Write one event of ``twisted.logger``."""
        level = _NAMES[event.get("log_level", LogLevel.info)]
        if _SEVERITY[level] < self._threshold:
            return
        fields: dict[str, Value] = {
            "timestamp": timestamp(event.get("log_time", self._wall_clock())),
            "level": level,
            "message": formatEvent(event),
            "logger": event.get("log_namespace"),
        }
        for name, value in event.items():
            if name.startswith("log_") or name in _LEGACY:
                continue
            if value is None or isinstance(value, str | int | float | bool):
                fields.setdefault(name, value)
        failure = event.get("log_failure")
        if failure is not None:
            fields["error_type"] = failure.type.__qualname__
            # Files, lines and names of functions; never the values of variables.
            fields["traceback"] = failure.getBriefTraceback()
        self._write(fields)

    def access(self, exchange: Exchange) -> None:
        """Write the one line of a request that is over."""
        level = "info" if exchange.status < _SERVER_ERROR else "warning"
        if _SEVERITY[level] < self._threshold:
            return
        line = _access_json(exchange, self._now(), level)
        self._write_line(line if self._is_json else self._format(json.loads(line)))

    def _now(self) -> str:
        now = int(self._wall_clock())
        if now != self._second:
            self._second = now
            self._timestamp = timestamp(now)
        return self._timestamp

    def _write(self, fields: dict[str, Value]) -> None:
        self._write_line(self._format(fields))

    def _write_line(self, line: str) -> None:
        self._lines.append(line)
        # The clock is not for other threads; a line of theirs leaves with the next one of ours.
        if self._flushing is None and threading.get_ident() == self._writer_thread:
            self._flushing = self._clock.callLater(0, self.flush)

    def flush(self) -> None:
        """Write what waits, now."""
        if self._flushing is not None and self._flushing.active():
            self._flushing.cancel()
        self._flushing = None
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            self._sink.write("".join(lines))
            self._sink.flush()
        except (OSError, ValueError):
            self.lost += 1


classImplements(Log, ILogObserver)


def _access_json(exchange: Exchange, now: str, level: str) -> str:
    """The fields of feature 3.2 in their order, and some of ours.

    One template: each request has such a line, and ``json.dumps`` costs five times as much.
    """
    finished = exchange.started if exchange.finished is None else exchange.finished
    caller = exchange.caller
    error = "" if exchange.error is None else f', "error": {quoted(exchange.error)}'
    return (
        f'{{"timestamp": "{now}", "level": "{level}", "message": '
        f'"{"request_aborted" if exchange.aborted else "request_completed"}", '
        f'"request_id": {quoted(exchange.request_id)}, "method": {quoted(exchange.method)}, '
        f'"path": {quoted(exchange.path)}, "status": {exchange.status}, '
        f'"duration_ms": {(finished - exchange.started) * 1000:.1f}, '
        f'"lease_id": {quoted(exchange.lease)}, '
        f'"api_key_id": {"null" if caller is None else quoted(caller.key_id)}, '
        f'"client_ip": {quoted(exchange.client_address)}, '
        f'"user_agent": {quoted(exchange.user_agent)}, '
        f'"bytes_in": {exchange.bytes_in}, "bytes_out": {exchange.bytes_out}{error}}}\n'
    )
