"""Counts by two labels, in a bounded number of series."""

from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["OTHER", "Tallies", "Tally", "can_be_label"]

OTHER: Final = "_other"
"""The label of what has no series of its own."""

LONGEST_LABEL: Final = 200
"""Characters of a label. A token's subject may have thousands, and a name of 63 is a long one."""

Labels = tuple[str, str]


def can_be_label(value: str) -> bool:
    """Whether it is Unicode text of a bounded length; a token's claim may be neither."""
    if len(value) > LONGEST_LABEL:
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class Tally:
    """One count, and since when there is something to count."""

    def __init__(self, born: float) -> None:
        self.born = born
        self.count = 0


class Tallies:
    """Counts with ``series`` pairs of labels; what comes beyond is counted as `OTHER`.

    ``keeps_first`` says that the first label is of a short list and stays what it is then.
    ``folded`` is how much was counted as `OTHER`.
    """

    def __init__(self, series: int, *, keeps_first: bool) -> None:
        self._left = series
        self._keeps_first = keeps_first
        self._by_labels: dict[Labels, Tally] = {}
        self.folded = 0

    def items(self) -> Iterator[tuple[Labels, Tally]]:
        """Every tally by its labels, the oldest first."""
        return iter(self._by_labels.items())

    def count(self, labels: Labels, now: float, by: int = 1) -> None:
        """Count ``by`` more."""
        tally = self._by_labels.get(labels)
        if tally is None:
            tally = self._new(labels, now, by)
        tally.count += by

    def _new(self, labels: Labels, now: float, by: int) -> Tally:
        other = (labels[0] if self._keeps_first else OTHER, OTHER)
        if labels != other:
            if self._left > 0 and can_be_label(labels[0]) and can_be_label(labels[1]):
                self._left -= 1
                other = labels
            else:
                self.folded += by
        tally = self._by_labels.get(other)
        if tally is None:
            tally = self._by_labels[other] = Tally(now)
        return tally

    def add(self, others: "Iterable[Tallies]") -> None:
        """Count what they have counted, the oldest first."""
        found: list[tuple[Labels, Tally]] = []
        for tallies in others:
            self.folded += tallies.folded
            found += tallies.items()
        found.sort(key=_born)
        for labels, tally in found:
            self.count(labels, tally.born, tally.count)


def _born(found: tuple[Labels, Tally]) -> float:
    return found[1].born
