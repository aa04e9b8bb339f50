"""A producer that is steered by how much of what it wrote still waits."""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProducer

__all__ = ["SteeredProducer"]


class SteeredProducer:
    """The producer of one consumer.

    A push producer is paused and resumed. A pull producer is asked again whenever nothing waits, by
    ``call_soon`` so that it is never asked from within its own writing.
    """

    __slots__ = ("_call_soon", "_gone", "_paused", "_producer", "_pull_due", "_streaming", "_waits")

    def __init__(
        self, producer: IProducer, streaming: bool, call_soon: Callable[..., object]
    ) -> None:
        self._producer: Any = producer
        self._streaming = streaming
        self._call_soon = call_soon
        self._paused = False
        self._pull_due = False
        self._waits = False
        self._gone = False

    def steer(self, *, waits: bool, full: bool) -> None:
        """``waits``: something of what was written still does; ``full``: too much of it."""
        self._waits = waits
        if not self._streaming:
            if not waits and not self._pull_due:
                self._pull_due = True
                self._call_soon(self._pull)
        elif self._paused:
            if not waits:
                self._paused = False
                self._producer.resumeProducing()
        elif full:
            self._paused = True
            self._producer.pauseProducing()

    def leave(self) -> None:
        """The producer was unregistered: leave it alone."""
        self._gone = True

    def stop(self) -> None:
        """There is nobody to produce for."""
        self._gone = True
        self._producer.stopProducing()

    def _pull(self) -> None:
        self._pull_due = False
        if not self._gone and not self._waits:
            self._producer.resumeProducing()
