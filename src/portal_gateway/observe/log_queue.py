"""Between the log and its output: a bounded queue, and a thread that empties it.

Whoever logs never waits: not for a pipe that nobody reads, nor for a disk. When the queue is full
lines are dropped and counted, and when the output moves again a line says how many.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from portal_gateway.observe.log_output import Output

__all__ = ["MOST_QUEUED", "RETRY_AFTER", "LogQueue"]

MOST_QUEUED: Final = 16 * 1024 * 1024
"""Bytes of lines that wait: some 50,000 lines, seconds of a busy gateway."""

RETRY_AFTER: Final = 1.0
"""Seconds after a write that failed: a full disk is not asked for each line."""


class LogQueue:
    """Writes to ``output`` in a thread of its own, which does not keep the process from ending.

    ``dropped`` counts the lines that did not get there: for want of room, or because the output
    failed until the end. ``tell`` makes the line that says how many they are.
    """

    def __init__(
        self,
        output: Output,
        tell: Callable[[int], str] = lambda count: f"{count} lines were lost\n",
        *,
        most: int = MOST_QUEUED,
        retry_after: float = RETRY_AFTER,
    ) -> None:
        self._output = output
        self.tell = tell
        self._most = most
        self._retry_after = retry_after
        self._process = 0
        self._changed = threading.Condition()
        self._batches: deque[bytes] = deque()
        self._waiting = 0
        self._held = 0
        self._closing = False
        self._told = 0
        self.dropped = 0
        self.over = False

    def write(self, text: str) -> None:
        """Take whole lines, from any thread; they are dropped where there is no room."""
        data = text.encode("utf-8", "backslashreplace")
        if self._process != os.getpid():
            self._start()
        with self._changed:
            if self._closing or self._waiting + self._held + len(data) > self._most:
                self.dropped += data.count(b"\n")
            else:
                self._batches.append(data)
                self._waiting += len(data)
            self._changed.notify_all()

    def _start(self) -> None:
        """Start the thread: a process that was forked has none, and perhaps a lock that it held."""
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._held = 0
        threading.Thread(target=self._serve, name="log", daemon=True).start()

    def flush(self) -> None:
        """Nothing: the thread is at it already."""

    def drain(self, seconds: float) -> bool:
        """Wait until everything is written, for ``seconds`` at most; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.over or not self._busy(), seconds)

    def _busy(self) -> bool:
        return bool(self._waiting or self._held or self.dropped != self._told)

    def close(self) -> None:
        """Take nothing any more; what was taken is still written. It does not wait.

        ``over`` tells when that is done and the output is closed.
        """
        if self._process != os.getpid():
            self._start()
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    # In the thread.

    def _serve(self) -> None:
        left = b""
        while data := self._next(left):
            try:
                left = self._output.write(data)
            except (OSError, ValueError):
                left = data
            if left and not self._stays(left):
                break
        self._output.close()
        with self._changed:
            self.over = True
            self._changed.notify_all()

    def _next(self, left: bytes) -> bytes:
        """What to write now: what is left and what has come; nothing when all is over."""
        with self._changed:
            self._held = len(left)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._busy() or self._closing)
            data = left + b"".join(self._batches)
            self._batches.clear()
            if not left and self.dropped != self._told:
                # The output moves: what was dropped came after what waited.
                data += self.tell(self.dropped - self._told).encode()
                self._told = self.dropped
            self._waiting, self._held = 0, len(data)
            return data

    def _stays(self, left: bytes) -> bool:
        """Wait before the next attempt; whether there is one. At the end nobody waits."""
        with self._changed:
            self._held = len(left)
            if not self._changed.wait_for(lambda: self._closing, self._retry_after):
                return True
            lost = left + b"".join(self._batches)
            self.dropped += lost.count(b"\n")
            self._batches.clear()
            self._waiting = self._held = 0
            return False
