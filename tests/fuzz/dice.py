"""The choices of one fuzzed conversation, read from the fuzzer's bytes.

The same bytes make the same conversation. After the last byte every choice is the first one.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

__all__ = ["Dice"]

T = TypeVar("T")


class Dice:
    """Choices from ``data``; ``left`` is the number of bytes that no choice has used."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def byte(self) -> int:
        if not self.left:
            return 0
        self._at += 1
        return self._data[self._at - 1]

    def below(self, most: int) -> int:
        """A number from 0 to ``most`` - 1, from as many bytes as it needs."""
        number = 0
        for _ in range(((most - 1).bit_length() + 7) // 8):
            number = number << 8 | self.byte()
        return number % most

    def odds(self, one_in: int) -> bool:
        """Whether a rare thing happens; never when there are no bytes left."""
        return self.below(one_in) == one_in - 1

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def do(self, choices: Sequence[Callable[..., Any]], *arguments: object) -> None:
        """Call one of ``choices``."""
        self.pick(choices)(*arguments)

    def take(self, most: int) -> bytes:
        """Up to ``most`` bytes as they are."""
        size = min(self.below(most + 1), self.left)
        data = self._data[self._at : self._at + size]
        self._at += size
        return data
