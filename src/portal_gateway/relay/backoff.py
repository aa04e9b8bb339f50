"""How long to wait before the next attempt to reach a relay.

The first attempt after a loss is made at once: most losses are a relay that restarts behind a
proxy, or one broken TCP connection. Then the waits grow, each drawn at random below a ceiling that
doubles, so that the gateways of one relay do not all come back in the same moment. A connection
proves nothing by being opened: only one that lasted sets the ceiling back, so a relay that accepts
and closes is not called in a loop.
"""

from random import Random

__all__ = ["MAX_WAIT", "MIN_WAIT", "STEADY", "Backoff"]

MIN_WAIT = 0.5
"""Seconds of the shortest wait."""

MAX_WAIT = 30.0
"""Seconds of the longest wait."""

STEADY = 10.0
"""Seconds that a connection lasted when the waits start anew with the next loss."""


class Backoff:
    """The waits of one relay, drawn with ``rng``."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._failures = 0
        self._at_once = True

    def failed(self) -> float:
        """Seconds to wait after an attempt that failed: ``MIN_WAIT`` to ``MAX_WAIT``."""
        self._at_once = False
        # After a few doublings MAX_WAIT is the ceiling; the power itself must not grow for ever.
        self._failures = min(self._failures + 1, 10)
        ceiling = min(MAX_WAIT, MIN_WAIT * 2.0**self._failures)
        return self._rng.uniform(MIN_WAIT, ceiling)

    def lost(self, lifetime: float) -> float:
        """Seconds to wait after the loss of a connection that was up for ``lifetime`` seconds.

        0 the first time since the start or since a connection was steady, else as after a failure.
        """
        if lifetime >= STEADY:
            self._failures = 0
            self._at_once = True
        if self._at_once:
            self._at_once = False
            return 0.0
        return self.failed()
