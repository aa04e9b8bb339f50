"""Where in a stream of server-sent events a comment can be put without changing what it says.

An event ends with an empty line; a line ends with CR LF, LF or CR (WHATWG HTML, section 9.2.5). The
bytes come cut anywhere. Between events, and before the first, a comment is a no-op for every
reader; anywhere else it would tear a line, or an event, apart.
"""

import re

__all__ = ["BOM", "COMMENT", "EventBoundaries"]

BOM = b"\xef\xbb\xbf"

COMMENT = b": keepalive\n\n"
"""The comment. The empty line makes it a block of its own, which dispatches nothing; readers that
split a stream at empty lines see a block without data instead of an event with a line too many."""

_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventBoundaries:
    """Follows one stream.

    A byte order mark counts only as the very first thing of a stream. When a comment has taken that
    place, the mark behind it would become part of a field's name; it is taken away then, since all
    it ever says is that the stream is in UTF-8, as every event stream is.
    """

    __slots__ = ("_after_cr", "_in_event", "_in_line", "_kept", "_mark_due", "_started")

    def __init__(self) -> None:
        self._started = False
        self._mark_due = False
        self._kept = b""
        self._in_line = False
        self._in_event = False
        self._after_cr = False

    @property
    def at_boundary(self) -> bool:
        """Whether no event has begun since the last one ended."""
        return not (self._in_line or self._in_event or self._kept)

    def comment(self) -> bytes:
        """The comment to send now. Raises ValueError in the middle of an event."""
        if not self.at_boundary:
            raise ValueError("a comment goes between events")
        self._mark_due = not self._started
        return COMMENT

    def receive_data(self, data: bytes) -> bytes:
        """Note bytes of the stream; returns what is to be sent: the same, but for a mark."""
        self._started = True
        if self._mark_due:
            data = self._kept + data
            self._kept = b""
            if len(data) < len(BOM) and BOM.startswith(data):
                self._kept = data
                return b""
            self._mark_due = False
            data = data.removeprefix(BOM)
        if data:
            self._follow(data)
        return data

    def receive_end(self) -> bytes:
        """The stream is over; returns what was kept back of it, the beginning of a mark."""
        kept, self._kept = self._kept, b""
        return kept

    def _follow(self, data: bytes) -> None:
        # The second half of a CR LF that was cut ends no line of its own.
        start = 1 if self._after_cr and data.startswith(b"\n") else 0
        self._after_cr = data.endswith(b"\r")
        *complete, rest = _LINE_END.split(data[start:])
        if complete:
            goes_on = self._in_line and len(complete) == 1
            self._in_event = goes_on or bool(complete[-1])
            self._in_line = False
        if rest:
            self._in_line = True
