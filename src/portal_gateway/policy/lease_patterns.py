"""Finding the patterns of lease names that are for a lease.

A pattern is for a whole name, without case (`portal_gateway.wire.lease_names`). A lease id is
compared with case, and matched by the pattern that is the id and by ``*`` alone: it is random, so
that a pattern which matched a part of it would be for leases that nobody meant. The time of a match
is linear in the length of the name.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

from portal_gateway.wire.identity import is_lease_id
from portal_gateway.wire.lease_names import caseless, folded, is_exact, normal_pattern

__all__ = ["PatternIndex", "matches"]

T = TypeVar("T")

_WILD = re.compile(r"[*?]")

_REMEMBERED = 1024
"""Lists of patterns that callers bring along, and decisions by them, that are kept."""


def _compile(pattern: str) -> re.Pattern[str]:
    """An expression for a normal pattern that is not exact.

    What stands between two stars is looked for once, from the left, and never again (the group is
    atomic): any later place for it would leave less for the rest to be found in.
    """
    first, *rest = [
        "".join("." if c == "?" else re.escape(c) for c in part) for part in pattern.split("*")
    ]
    if not rest:
        return re.compile(first, re.DOTALL)
    *between, last = rest
    found = "".join(f"(?>.*?{part})" for part in between)
    return re.compile(f"{first}{found}.*{last}", re.DOTALL)


class _Pattern(NamedTuple, Generic[T]):
    """A pattern with wildcards. ``expression`` is None where its place in the index says it all."""

    length: int
    expression: re.Pattern[str] | None
    value: T


class PatternIndex(Generic[T]):
    """Values by patterns of lease names.

    Patterns with wildcards are found by what stands before the first one, or where that is nothing,
    behind the last one: of thousands of patterns few are tried for a name.
    """

    __slots__ = ("_any", "_ends", "_exact", "_lengths_of_ends", "_lengths_of_starts", "_starts")

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[str, T] = {}
        self._starts: dict[str, list[_Pattern[T]]] = {}
        self._ends: dict[str, list[_Pattern[T]]] = {}
        for written, value in entries:
            pattern = normal_pattern(written)
            if is_exact(pattern):
                self._exact[pattern] = value
            else:
                self._add(pattern, value)
        self._any = [entry for entry in self._ends.get("", ()) if entry.expression is None]
        self._lengths_of_starts = sorted({len(start) for start in self._starts})
        self._lengths_of_ends = sorted({len(end) for end in self._ends})

    def _add(self, pattern: str, value: T) -> None:
        start = _WILD.split(pattern, maxsplit=1)[0]
        if start:
            expression = None if pattern == start + "*" else _compile(pattern)
            entry = _Pattern(len(pattern), expression, value)
            self._starts.setdefault(start, []).append(entry)
            return
        end = _WILD.split(pattern)[-1]
        expression = None if pattern == "*" + end else _compile(pattern)
        self._ends.setdefault(end, []).append(_Pattern(len(pattern), expression, value))

    def most_specific(self, names: Sequence[str]) -> list[T]:
        """The values of the patterns that say most about a lease with these names.

        An exact one says more than one with wildcards, a longer one of those more than a shorter;
        several say equally much. Which of the names it is that matches makes no difference, but an
        id is matched by itself and by ``*`` alone.
        """
        found = self.exact(names)
        if found:
            return found
        most = 0
        for name in {caseless(name) for name in names if not is_lease_id(name)}:
            for pattern in self._candidates(name):
                if pattern.length >= most and (
                    pattern.expression is None or pattern.expression.fullmatch(name) is not None
                ):
                    if pattern.length > most:
                        most = pattern.length
                        found = []
                    found.append(pattern.value)
        if not found and names:
            found = [pattern.value for pattern in self._any]
        # One pattern may be for several of the names.
        return list({id(value): value for value in found}.values())

    def exact(self, names: Iterable[str]) -> list[T]:
        """The values of the patterns that are one of these names."""
        if not self._exact:
            return []
        keys = {folded(name) for name in names}
        return [self._exact[key] for key in keys if key in self._exact]

    def _candidates(self, name: str) -> Iterable[_Pattern[T]]:
        size = len(name)
        for length in self._lengths_of_starts:
            if length > size:
                break
            yield from self._starts.get(name[:length], ())
        for length in self._lengths_of_ends:
            if length > size:
                break
            yield from self._ends.get(name[size - length :], ())


@lru_cache(maxsize=_REMEMBERED)
def matches(patterns: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether any of ``patterns`` is for any of a lease's ``names``; it is remembered."""
    return bool(_index(patterns).most_specific(names))


@lru_cache(maxsize=_REMEMBERED)
def _index(patterns: tuple[str, ...]) -> PatternIndex[bool]:
    return PatternIndex((pattern, True) for pattern in patterns)
