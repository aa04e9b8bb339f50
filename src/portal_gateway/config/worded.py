"""Readers that say in words what they read: the types of ``docs/configuration.rst``.

The pages of the documentation are made from the tables of keys (``docs/list_settings.py``), so that
a bound or a default that changes there changes on the page.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from portal_gateway.config.reading import Reader, Value

if TYPE_CHECKING:
    from portal_gateway.config.fields import Section

__all__ = ["Worded", "literals", "reads"]

T = TypeVar("T")


class Worded(Generic[T]):
    """A reader that says what it reads.

    ``words`` are reStructuredText for "the type of this key"; without any, a key is described by
    those below it alone. ``spoken`` writes a value as the file would have it. ``below`` are the
    sections that stand in what is read, by what follows the key's own name there: nothing for a
    mapping with known keys, ``[]`` for the items of a list, ``.<name>`` for a user's own names.
    """

    def __init__(
        self,
        words: str,
        read: Reader[T],
        spoken: Callable[[Any], str],
        below: Mapping[str, "Section[Any]"],
    ) -> None:
        self.words = words
        self.spoken = spoken
        self.below = below
        self._read = read

    def __call__(self, value: Value) -> T:
        """Read it."""
        return self._read(value)


def reads(
    words: str,
    *,
    spoken: Callable[[Any], str] = str,
    below: Mapping[str, "Section[Any]"] = MappingProxyType({}),
) -> Callable[[Reader[T]], Worded[T]]:
    """Let a reader say what it reads; the arguments are those of :class:`Worded`."""

    def worded(read: Reader[T]) -> Worded[T]:
        return Worded(words, read, spoken, below)

    return worded


def literals(words: "tuple[str, ...]") -> str:
    """Words that are written as they stand, with ``or`` before the last."""
    shown = [f"``{word}``" for word in words]
    return " or ".join([*([", ".join(shown[:-1])] if shown[1:] else []), shown[-1]])
