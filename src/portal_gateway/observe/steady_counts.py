"""Counts that go on when the part that counts is replaced by one that begins anew."""

from typing import Final

from portal_gateway.observe.figures import Reading

__all__ = ["SteadyCounts"]

_MOST: Final = 1_000
"""Counts that are followed. There are some hundred, and a few more with each relay that is ever
configured; above it all are forgotten, which looks as a restart does."""


class SteadyCounts:
    """Follows counts from one reading to the next."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, tuple[str, ...]], tuple[float, float]] = {}

    def told(self, reading: Reading) -> Reading:
        """What to tell: all that was counted, by whomever."""
        name, value, labels = reading
        last, before = self._last.get((name, labels), (0, 0))
        if value < last:
            before += last
        if len(self._last) >= _MOST and (name, labels) not in self._last:
            self._last.clear()
        self._last[name, labels] = (value, before)
        return Reading(name, before + value, labels) if before else reading
