"""Frames of one client, handled a turn's worth at a time.

One read can bring a hundred requests of HTTP/2, or three thousand frames that carry none. Handled
at once they keep every other client waiting for a tenth of a second. Here a turn of the reactor
handles frames until their work is `WORK`; the rest is handled in the next turns, and the others are
served between them.
"""

from collections import deque
from typing import Final

from portal_gateway.wire.http2_frames import Frame, FrameCutter

__all__ = ["REQUEST", "WORK", "FrameTurns"]

WORK: Final = 64
"""Units of work of one turn; a frame is one. They take some 2 ms."""

REQUEST: Final = 8
"""Units of a frame that begins a request, besides the one of the frame."""


class FrameTurns:
    """Bytes in, frames out, as long as there is work left in a turn.

    ``cutter`` has the frame that is not complete. Of what comes, one read of the transport is kept,
    and whatever it delivers before it pauses.
    """

    __slots__ = ("_data", "_frames", "_left", "cutter")

    def __init__(self, max_block: int) -> None:
        self.cutter = FrameCutter(max_block)
        self._data = b""
        self._frames: deque[Frame] = deque()
        self._left = WORK

    @property
    def is_over(self) -> bool:
        """Whether the turn has no work left, so that more may have come than was handled."""
        return self._left <= 0

    def add(self, data: bytes) -> None:
        """Keep bytes that came."""
        self._data += data

    def begin(self) -> None:
        """Begin a turn."""
        self._left = WORK

    def spend(self, units: int) -> None:
        """Count work that a frame has caused."""
        self._left -= units

    def take(self) -> Frame | None:
        """The next frame; ``None`` where there is none, or no work left in this turn.

        Raises `BadFrames`.
        """
        if self._left <= 0:
            return None
        if not self._frames:
            data, self._data = self._data, b""
            self._frames.extend(self.cutter.receive_data(data))
            if not self._frames:
                return None
        self._left -= 1
        return self._frames.popleft()

    def clear(self) -> None:
        """Handle none of what came."""
        self._frames.clear()
        self._data = b""
