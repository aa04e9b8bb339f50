"""What libraries tell through Python's ``logging``, and threads at their end, for our log.

Without it both would go to standard error, in a form of their own, tracebacks and all.
"""

import logging
import threading
from typing import Final

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

__all__ = ["LibraryLog", "hear_libraries"]

_log = Logger()

_LEVELS: Final = (
    (logging.CRITICAL, LogLevel.critical),
    (logging.ERROR, LogLevel.error),
    (logging.WARNING, LogLevel.warn),
    (logging.INFO, LogLevel.info),
)


class LibraryLog(logging.Handler):
    """Passes records of the level ``WARNING`` and above on to ``twisted.logger``."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one on, whatever is wrong with it."""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - its own text is told instead
            text = str(record.msg)
        level = next((ours for least, ours in _LEVELS if record.levelno >= least), LogLevel.debug)
        facts = {}
        if record.exc_info is not None and record.exc_info[1] is not None:
            kind, value, traceback = record.exc_info
            facts["log_failure"] = Failure(value, kind, traceback)
        Logger(namespace=record.name).emit(level, "{log_text}", log_text=text, **facts)


def _thread_failed(arguments: threading.ExceptHookArgs) -> None:
    value = arguments.exc_value
    if value is not None and not isinstance(value, SystemExit):
        failure = Failure(value, arguments.exc_type, arguments.exc_traceback)
        _log.failure("a thread failed", failure)


def hear_libraries() -> None:
    """Have all of it go through ``twisted.logger`` from now on."""
    root = logging.getLogger()
    if not any(isinstance(each, LibraryLog) for each in root.handlers):
        root.addHandler(LibraryLog())
    threading.excepthook = _thread_failed
