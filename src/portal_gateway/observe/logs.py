"""The log: Twisted's events, ours, and one line per request, all through one writer."""

import json
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import classImplements

from portal_gateway.config.model import LoggingSection
from portal_gateway.exchange import Exchange
from portal_gateway.observe.failures import failure_of, frames_of, message_of
from portal_gateway.observe.lines import FORMATS, Value, quoted, timestamp
from portal_gateway.observe.log_queue import LogQueue
from portal_gateway.observe.masking import (
    masked,
    masked_query,
    sent_secrets,
    without_each,
    without_secrets,
)

__all__ = ["CLOSE_WITHIN", "DELAY", "LEVELS", "Log", "Sink"]

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


DELAY: Final = 0.05
"""Seconds that lines wait for more of them. Each hand-over wakes a thread up, which costs a busy
reactor some hundred microseconds; 20 a second cost nothing."""

CLOSE_WITHIN: Final = 2.0
"""Seconds that the output may take for the last lines, when the process ends."""


class Sink(Protocol):
    """Where lines go: a `LogQueue`, or an open text file."""

    def write(self, text: str, /) -> object:
        """Take some lines."""

    def flush(self) -> object:
        """Pass on what was taken."""


class Log:
    """Hands lines to ``sink`` together, at the latest ``delay`` seconds after they were made.

    ``level`` and ``style`` are the configuration's, and ``query``: whether the access line has the
    query too, without what looks like a secret. ``wall_clock`` gives unix seconds. ``open_sink``
    opens another sink, for a configuration that says so. A sink that fails costs the lines it
    failed on, never a request.
    """

    def __init__(
        self,
        clock: IReactorTime,
        sink: Sink,
        *,
        level: str = "info",
        style: str = "json",
        query: bool = False,
        wall_clock: Callable[[], float] = time.time,
        delay: float = 0.0,
        open_sink: Callable[[LoggingSection], LogQueue] | None = None,
    ) -> None:
        self._clock = clock
        self._sink = sink
        self._former: list[LogQueue] = []
        self._lines: list[str] = []
        self._flushing: IDelayedCall | None = None
        self._delay = delay
        self._wall_clock = wall_clock
        self._second = -1
        self._timestamp = ""
        self._writer_thread = threading.get_ident()
        self._lost = 0
        self.open_sink = open_sink
        self.use(level, style, query=query)
        if isinstance(sink, LogQueue):
            sink.tell = self._dropped_line

    @property
    def dropped(self) -> int:
        """Lines that were lost until now, because an output did not take them."""
        queues = [each for each in (self._sink, *self._former) if isinstance(each, LogQueue)]
        return self._lost + sum(queue.dropped for queue in queues)

    def send_to(self, sink: LogQueue) -> None:
        """Have lines go elsewhere from now on; those of before still go where they went."""
        self.flush()
        before, self._sink = self._sink, sink
        sink.tell = self._dropped_line
        if isinstance(before, LogQueue):
            before.close()
            self._former.append(before)
        for queue in [each for each in self._former if each.over]:
            self._former.remove(queue)
            self._lost += queue.dropped

    def _dropped_line(self, count: int) -> str:
        fields: dict[str, Value] = {
            "timestamp": timestamp(self._wall_clock()),
            "level": "warning",
            "message": f"{count} lines of the log were lost: the output did not take them",
            "logger": __name__,
            "lines": count,
        }
        return self._format(fields)

    def close(self, seconds: float = CLOSE_WITHIN) -> None:
        """Hand over what waits, and let the sink have ``seconds`` to write it."""
        self.flush()
        until = time.monotonic() + seconds
        for queue in (*self._former, self._sink):
            if isinstance(queue, LogQueue):
                queue.drain(max(0.0, until - time.monotonic()))

    def use(self, level: str, style: str, *, query: bool = False) -> None:
        """Write what is at least of this level, in this form, from now on."""
        self._query = query
        self._threshold = _SEVERITY[level]
        self._format = FORMATS[style]
        self._is_json = style == "json"

    def __call__(self, event: LogEvent) -> None:
        """Write one event of ``twisted.logger``."""
        level = _NAMES[event.get("log_level", LogLevel.info)]
        if _SEVERITY[level] < self._threshold:
            return
        failure = failure_of(event)
        fields: dict[str, Value] = {
            "timestamp": timestamp(event.get("log_time", self._wall_clock())),
            "level": level,
            "message": masked(_message(event, failure)),
            "logger": event.get("log_namespace"),
        }
        for name, value in event.items():
            if name.startswith("log_") or name in _LEGACY:
                continue
            if isinstance(value, str):
                fields.setdefault(name, masked(value))
            elif value is None or isinstance(value, int | float | bool):
                fields.setdefault(name, value)
        if failure is not None:
            fields["error_type"] = getattr(failure.type, "__qualname__", "")
            fields["error_message"] = message_of(failure)
            fields["traceback"] = frames_of(failure)
        self._write(fields)

    def access(self, exchange: Exchange) -> None:
        """Write the one line of a request that is over."""
        level = "info" if exchange.status < _SERVER_ERROR else "warning"
        if _SEVERITY[level] < self._threshold:
            return
        sent = exchange.sent_fields
        secrets = sent_secrets(sent) if sent else []
        shown = without_each(
            [exchange.path, exchange.method, exchange.lease or "", exchange.user_agent], secrets
        )
        if self._query and exchange.query:
            query = masked_query(exchange.query)
            shown[0] += f"?{without_secrets(query, secrets) if secrets else query}"
        line = _access_json(exchange, shown, self._now(), level)
        self._write_line(line if self._is_json else self._format(json.loads(line)))

    def _now(self) -> str:
        now = int(self._wall_clock())
        if now != self._second:
            self._second = now
            self._timestamp = timestamp(now)
        return self._timestamp

    def _write(self, fields: dict[str, Value]) -> None:
        line = self._format(fields)
        if threading.get_ident() == self._writer_thread:
            self._write_line(line)
        else:
            # The clock is not for other threads, and a queue takes lines from any.
            self._hand_over(line)

    def _write_line(self, line: str) -> None:
        self._lines.append(line)
        if self._flushing is None:
            self._flushing = self._clock.callLater(self._delay, self.flush)

    def flush(self) -> None:
        """Write what waits, now."""
        if self._flushing is not None and self._flushing.active():
            self._flushing.cancel()
        self._flushing = None
        lines, self._lines = self._lines, []
        if lines:
            self._hand_over("".join(lines))

    def _hand_over(self, text: str) -> None:
        try:
            self._sink.write(text)
            self._sink.flush()
        except (OSError, ValueError):
            self._lost += text.count("\n")


classImplements(Log, ILogObserver)


def _message(event: LogEvent, failure: Failure | None) -> str:
    if failure is None or "log_failure" in event:
        return formatEvent(event) or "Unhandled error"
    # An event of twisted.python.log, whose text has the traceback and what the exception says.
    return str(event.get("why") or "Unhandled error")


def _access_json(exchange: Exchange, shown: list[str], now: str, level: str) -> str:
    """The fields of feature 3.2 in their order, and some of ours.

    ``shown`` has path, method, lease and user agent, without secrets.

    One template: each request has such a line, and ``json.dumps`` costs five times as much.
    """
    finished = exchange.started if exchange.finished is None else exchange.finished
    caller = exchange.caller
    path, method, lease, user_agent = shown
    error = "" if exchange.error is None else f', "error": {quoted(exchange.error)}'
    return (
        f'{{"timestamp": "{now}", "level": "{level}", "message": '
        f'"{"request_aborted" if exchange.aborted else "request_completed"}", '
        f'"request_id": {quoted(exchange.request_id)}, '
        f'"method": {quoted(method)}, '
        f'"path": {quoted(path)}, "status": {exchange.status}, '
        f'"duration_ms": {(finished - exchange.started) * 1000:.1f}, '
        f'"lease_id": {"null" if exchange.lease is None else quoted(lease)}, '
        f'"api_key_id": {"null" if caller is None else quoted(masked(caller.key_id))}, '
        f'"client_ip": {quoted(exchange.client_address)}, '
        f'"user_agent": {quoted(user_agent)}, '
        f'"bytes_in": {exchange.bytes_in}, "bytes_out": {exchange.bytes_out}{error}}}\n'
    )
