"""How much that serves no purpose a yamux peer may send.

There is no clock here; frames are weighed against what explains them.

- **Answers.** A ping or a SYN makes us queue 12 bytes. At most ``ANSWERS_PER_TURN`` between two
  calls of ``data_to_send``: this bounds what a peer can make us hold when it does not read.
- **Unexplained frames**, counted since the last frame that carried something, or the last time that
  we opened a stream, sent data or a ping: a ping while an earlier answer still waits, a pong nobody
  asked for, credit that returns nothing that was sent, an ACK again, an empty data frame, a SYN
  beyond the backlog, another go-away. More than ``MAX_UNEXPLAINED_FRAMES``
  end the session. The pings of the genuine relay (every 30 s) are not counted even on a session
  that is idle for days, as each was answered before the next.
- **Late frames**, for a stream that is gone: it went while they were under way. Each stream that
  goes explains a few; what exceeds them is unexplained. Their payload is discarded and must fit the
  credit that was left on the streams that went, so over a session no byte is taken that was not
  granted.
"""

from portal_gateway.wire.errors import FloodDetected, WindowExceeded
from portal_gateway.wire.yamux_frames import (
    ANSWERS_PER_TURN,
    LATE_FRAMES_PER_STREAM,
    MAX_LATE_BYTES,
    MAX_LATE_FRAMES,
    MAX_UNEXPLAINED_FRAMES,
)

__all__ = ["FloodGuard"]


class FloodGuard:
    """The counts of one session; ``unexplained`` and ``answers`` are reset by the session."""

    __slots__ = ("_late_bytes", "_late_frames", "answers", "unexplained")

    def __init__(self) -> None:
        self.answers = 0
        self.unexplained = 0
        self._late_frames = 0
        self._late_bytes = 0

    def answer_owed(self) -> None:
        """Count a frame that makes us queue an answer; raises FloodDetected."""
        self.answers += 1
        if self.answers > ANSWERS_PER_TURN:
            raise FloodDetected(
                f"{self.answers} frames that ask for an answer before one could leave,"
                f" at most {ANSWERS_PER_TURN}"
            )

    def frame_unexplained(self) -> None:
        """Count a frame that serves no purpose; raises FloodDetected."""
        self.unexplained += 1
        if self.unexplained > MAX_UNEXPLAINED_FRAMES:
            raise FloodDetected(
                f"{self.unexplained} frames in a row that serve no purpose,"
                f" at most {MAX_UNEXPLAINED_FRAMES}"
            )

    def stream_gone(self, credit: int) -> None:
        """Expect late frames for a stream that went with ``credit`` bytes of window left."""
        self._late_frames = min(self._late_frames + LATE_FRAMES_PER_STREAM, MAX_LATE_FRAMES)
        self._late_bytes = min(self._late_bytes + credit, MAX_LATE_BYTES)

    def late_frame(self) -> None:
        """Count a frame without payload for a stream that is gone; raises FloodDetected."""
        if self._late_frames:
            self._late_frames -= 1
        else:
            self.frame_unexplained()

    def late_data(self, length: int) -> None:
        """Account payload for a stream that is gone; raises WindowExceeded."""
        if length > self._late_bytes:
            raise WindowExceeded(
                f"{length} bytes for streams that are gone, which had {self._late_bytes} left"
            )
        self._late_bytes -= length
