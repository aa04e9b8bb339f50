"""Where log lines go: a stream of the process, or a file that may be renamed and rotated.

Bytes are written with the system's own calls, so that nothing of a line stays in a buffer when a
write fails, and what was written is known.
"""

import fcntl
import os
import select
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from twisted.logger import Logger

from portal_gateway.config.model import LoggingSection

__all__ = [
    "FILE_MODE",
    "STDERR",
    "STDOUT",
    "AtOnce",
    "LogFile",
    "LogStream",
    "Output",
    "open_output",
]

_log = Logger()

STDOUT: Final = 1
STDERR: Final = 2

FILE_MODE: Final = 0o640
"""Of a log file that is made: addresses of clients are nobody else's matter."""


class Output(Protocol):
    """Takes whole lines."""

    def write(self, data: bytes) -> bytes:
        """Write it, however long that takes; what could not be written is given back.

        That begins with a whole line. Raises OSError when nothing could be written.
        """

    def close(self) -> None:
        """Write no more."""


def _put(descriptor: int, data: bytes) -> int:
    """How many bytes of ``data`` could be written. It waits where the descriptor does not."""
    done = 0
    while done < len(data):
        try:
            done += os.write(descriptor, data[done:])
        except BlockingIOError:
            ready = select.poll()
            ready.register(descriptor, select.POLLOUT)
            ready.poll()
        except OSError:
            if not done:
                raise
            break
    return done


class _Lines:
    """Writes lines to a descriptor.

    The rest of a line that a full disk cut waits here, and is written before anything else.
    """

    def __init__(self) -> None:
        self._size = 0
        self._line = b""
        self._rest = b""

    def write(self, descriptor: int, data: bytes) -> bytes:
        """As `Output`."""
        self.mend(descriptor)
        done = _put(descriptor, data)
        left = data[done:]
        if not left or data[done - 1 : done] == b"\n":
            return left
        end = left.index(b"\n") + 1
        self._line = data[data.rfind(b"\n", 0, done) + 1 : done + end]
        self._rest = left[:end]
        self._size = os.fstat(descriptor).st_size
        return left[end:]

    def mend(self, descriptor: int) -> None:
        """Complete the line that was cut. Raises OSError while there is no room."""
        while self._rest:
            if os.fstat(descriptor).st_size != self._size:
                # Somebody else has written there: the line stays cut, and ends.
                self._line = self._rest = b"\n"
            self._rest = self._rest[_put(descriptor, self._rest) :]
            self._size = os.fstat(descriptor).st_size

    def leave(self, descriptor: int) -> bytes:
        """Go on in another file: gives the line that could not be completed in this one."""
        try:
            self.mend(descriptor)
        except OSError:
            self._rest = b""
            return self._line.removeprefix(b"\n")
        return b""


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        # It was closed before the process began: each write will tell.
        return False


class LogStream:
    """A descriptor that is open already, such as standard error. It stays open.

    Several processes may have it. A file takes what one call writes in one piece. Anything else
    gets pieces of whole lines, of the size that a pipe takes at once (POSIX, write): each costs the
    other threads of the process some ten microseconds, since a call gives Python's lock away.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_file = _is_file(descriptor)
        self._lines = _Lines()

    def write(self, data: bytes) -> bytes:
        """As `Output`."""
        if self._is_file:
            return self._lines.write(self._descriptor, data)
        start = 0
        while start < len(data):
            end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1
            if end == 0:
                # A line that is longer.
                end = data.index(b"\n", start) + 1
            try:
                left = self._lines.write(self._descriptor, data[start:end])
            except OSError:
                if start == 0:
                    raise
                return data[start:]
            if left:
                return left + data[end:]
            start = end
        return b""

    def takes_now(self) -> bool:
        """Whether a few lines could be written without waiting."""
        ready = select.poll()
        ready.register(self._descriptor, select.POLLOUT)
        return bool(ready.poll(0))

    def close(self) -> None:
        """As `Output`; the descriptor is not ours to close."""


class LogFile:
    """A file that lines are appended to.

    When the file was renamed or removed a new one is begun before the next write, so whatever
    rotates logs needs no word to the gateway. With ``rotate_size`` bytes it rotates by itself: to
    ``.1``, what was there to ``.2``, and so on, of which ``keep`` are kept. Several processes may
    write one file: lines are written whole, and one of them rotates.

    Raises OSError when the file cannot be opened.
    """

    def __init__(self, path: Path, rotate_size: int | None = None, keep: int = 5) -> None:
        self.path = path
        self._rotate_size = rotate_size
        self._keep = keep
        self._descriptor = self._open()
        self._lines = _Lines()
        self._again = b""

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self.path, flags, FILE_MODE)

    def write(self, data: bytes) -> bytes:
        """As `Output`."""
        self._follow()
        left = self._lines.write(self._descriptor, self._again + data)
        self._again = b""
        if self._rotate_size is not None and not left:
            self._rotate(self._rotate_size)
        return left

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._descriptor))
        except OSError:
            # Removed; or, on a file system of another machine, known there no more.
            return False

    def _follow(self) -> None:
        """Begin a new file where the one that is open is not the one of the path any more."""
        if self._is_there():
            return
        try:
            descriptor = self._open()
        except OSError:
            # As somebody else's user, perhaps. What was renamed is still a place for lines.
            if not os.fstat(self._descriptor).st_nlink:
                raise
            return
        self._again = self._lines.leave(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _rotate(self, size: int) -> None:
        if os.fstat(self._descriptor).st_size < size:
            return
        # Who has the lock of the file that is at the path moves it; others find another one there.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            if self._is_there():
                for number in range(self._keep - 1, 0, -1):
                    with suppress(FileNotFoundError):
                        self._numbered(number).rename(self._numbered(number + 1))
                if self._keep:
                    self.path.rename(self._numbered(1))
                else:
                    self.path.unlink()
        except OSError as error:
            # It is not tried again at each write: the directory is perhaps not ours to change.
            self._rotate_size = None
            _log.error("the log is not rotated any more: {why}", why=error.strerror)
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def close(self) -> None:
        """As `Output`."""
        os.close(self._descriptor)


class AtOnce:
    """Writes to ``output`` at once, for a process without a thread that could wait for it.

    What a stream does not take just now is lost.
    """

    def __init__(self, output: Output) -> None:
        self._output = output

    def write(self, text: str) -> None:
        """Write whole lines. Raises OSError when they are lost."""
        if isinstance(self._output, LogStream) and not self._output.takes_now():
            raise BlockingIOError("nobody reads the log")
        if self._output.write(text.encode("utf-8", "backslashreplace")):
            raise OSError("the log is full")

    def flush(self) -> None:
        """Nothing: it is written."""

    def close(self) -> None:
        """Write no more."""
        self._output.close()


def open_output(logging: LoggingSection, elsewhere: Callable[[], Output]) -> Output:
    """Where the lines of a configuration go; ``elsewhere`` is for one that does not say.

    Raises OSError for a file that cannot be opened.
    """
    if isinstance(logging.output, Path):
        return LogFile(logging.output, logging.rotate_size, logging.rotate_keep)
    if logging.output is None:
        return elsewhere()
    return LogStream(STDOUT if logging.output == "stdout" else STDERR)
