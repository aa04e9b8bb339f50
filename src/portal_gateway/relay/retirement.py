"""What a configuration had and the next one has not: it carries to the end what it carries."""

from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["LOOK_EVERY", "Retirement", "Retiring"]

LOOK_EVERY: Final = 1.0
"""Seconds between two looks whether anything carries nothing any more."""


class Retiring(Protocol):
    """Something that can come to its end by itself."""

    @property
    def unused(self) -> bool:
        """Whether it carries nothing."""

    def retire(self) -> None:
        """Take no more than what is needed for what is under way."""

    def close(self) -> Deferred[Any] | None:
        """End it now; a Deferred fires when it has ended."""


class Retirement:
    """Closes what has retired as soon as it is unused, or when everything ends."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._retired: list[Retiring] = []
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._retired)

    def add(self, part: Retiring) -> None:
        """Let it come to its end."""
        part.retire()
        self._retired.append(part)
        if self._call is None:
            self._call = self._clock.callLater(LOOK_EVERY, self._look)

    def close(self) -> Deferred[Any]:
        """End everything that is left; fires when it has ended."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        retired, self._retired = self._retired, []
        ended = [part.close() for part in retired]
        return gatherResults([each for each in ended if each is not None], consumeErrors=True)

    def _look(self) -> None:
        self._call = None
        for part in [part for part in self._retired if part.unused]:
            self._retired.remove(part)
            part.close()
        if self._retired:
            self._call = self._clock.callLater(LOOK_EVERY, self._look)
