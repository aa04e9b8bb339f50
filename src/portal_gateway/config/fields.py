"""Readers that a table of keys is made of: sections, lists, mappings, numbers, choices.

A :class:`Section` is a table from key to reader. A new key is one line of its table and one field
of its dataclass, which holds the default.
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from portal_gateway.config.reading import Entry, Reader, Refused, Value
from portal_gateway.config.scalars import Text, quote
from portal_gateway.config.secret_looks import may_be_secret
from portal_gateway.config.worded import Worded, literals, reads

__all__ = [
    "Section",
    "choice",
    "list_of",
    "mapping_of",
    "name",
    "number",
    "sentence_of",
    "text",
    "true_or_false",
    "whole_number",
]

T = TypeVar("T")
K = TypeVar("K")

_WHOLE_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,99})")
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")


_KINDS = {"bool": "true or false", "int": "a number", "float": "a number", "timestamp": "a date"}

_HARMLESS = re.compile(r"[a-z_]{1,24}")
"""A key that looks like one of a configuration: no secret that was made at random does."""


class Section(Generic[T]):
    """Reads a mapping whose keys are known into ``build(**values)``.

    A key that is absent is not passed, so that the default is the model's. ``check`` looks at a
    whole section that is right in each part; it refuses values of the mapping that it is given. An
    unknown key is shown only where that helps: it may be a secret that was written as a key.
    ``fields``, ``build`` and ``required`` are for the documentation to read.
    """

    def __init__(
        self,
        build: Callable[..., T],
        fields: Mapping[str, Reader[Any]],
        *,
        required: Collection[str] = (),
        check: Callable[[T, Value], None] | None = None,
    ) -> None:
        self.fields = dict(fields)
        self._known = _listed(self.fields)
        self.build = build
        self.required = required
        self._check = check

    def __call__(self, value: Value) -> T:
        """Read the section; raises :exc:`Refused` once every fault below it is noted."""
        values: dict[str, Any] = {}
        with value.reading.all_or_refused():
            entries = value.entries(f"a mapping with {self._known}", self._may_show)
            names = {entry.name for entry in entries}
            for entry in entries:
                reader = self.fields.get(entry.name)
                if reader is None:
                    entry.key.refuse(self._unknown(entry))
                    continue
                _collect(values, entry.name, reader, entry.value)
            for name in self.required:
                if name not in names:
                    value.refuse(f"{quote(name)} is missing")
        with value.reading.all_or_refused():
            section = self.build(**values)
            if self._check is not None:
                self._check(section, value)
        return section

    def _unknown(self, entry: Entry) -> str:
        meant = _similar(entry.name, self.fields)
        if meant is not None and not may_be_secret(entry.name):
            return f"unknown key {quote(entry.name)}; did you mean {quote(meant)}?"
        if self._may_show(entry.name):
            return f"unknown key {quote(entry.name)}; known here: {self._known}"
        return f"unknown key, not shown as it may be a secret; known here: {self._known}"

    def _may_show(self, name: str) -> bool:
        return name in self.fields or _HARMLESS.fullmatch(name) is not None


def list_of(
    reader: Reader[T],
    *,
    expected: str = "a list",
    check: Callable[[Sequence[tuple[Value, T]]], None] | None = None,
) -> Worded[tuple[T, ...]]:
    """Reads each item; ``check`` compares those that are right with each other."""
    items, below = expected.removeprefix("a "), {}
    if isinstance(reader, Section):
        items, below = f"{items}, each a mapping with the keys below", {"[]": reader}
    elif isinstance(reader, Worded) and not items.endswith(f"{reader.words}s"):
        items = f"{items}, each {reader.words}"

    @reads(items, spoken=_spoken_list, below=below)
    def read(value: Value) -> tuple[T, ...]:
        found: list[tuple[Value, T]] = []
        with value.reading.all_or_refused():
            for item in value.items(expected):
                try:
                    found.append((item, reader(item)))
                except Refused:
                    continue
            if check is not None:
                check(found)
        return tuple(item for _, item in found)

    return read


def mapping_of(
    name_reader: Reader[K], reader: Reader[T], *, secret_names: bool = False
) -> Worded[Mapping[K, T]]:
    """Reads a mapping whose keys are the user's own names; faults count those that are secret."""
    of, to = (getattr(each, "words", "") for each in (name_reader, reader))
    below = {".<name>": reader} if isinstance(reader, Section) else {}

    @reads(f"mapping from {of} to {to or 'a mapping with the keys below'}", below=below)
    def read(value: Value) -> Mapping[K, T]:
        found: dict[K, T] = {}
        with value.reading.all_or_refused():
            may_show = _never if secret_names else bool
            for index, entry in enumerate(value.entries(may_show=may_show)):
                item = value.below(entry.value.node, index) if secret_names else entry.value
                try:
                    own = name_reader(Value(entry.key.node, item.path, value.reading))
                except Refused:
                    continue
                _collect(found, own, reader, item)
        return MappingProxyType(found)

    return read


def _spoken_list(found: Iterable[object]) -> str:
    return f"[{', '.join(sorted(map(str, found)))}]"


def _never(_name: str) -> bool:
    return False


def _collect(values: dict[K, T], name: K, reader: Reader[T], value: Value) -> None:
    try:
        values[name] = reader(value)
    except Refused:
        return


def text(value: Value, *, secret: bool = False, expected: str = "text") -> Text:
    """The text that stands here; what YAML would take for something else must be quoted.

    The value of a ``secret`` is not shown.
    """
    return _as_text(value, value.text(expected), expected, secret=secret)


def name(value: Value, *, secret: bool = False, expected: str = "a name") -> str:
    """The text of a key that is the user's own name for something; it holds no variables."""
    return _as_text(value, value.name(expected), expected, secret=secret).text


def _as_text(value: Value, found: Text, expected: str, *, secret: bool) -> Text:
    meaning = found.meaning
    if meaning is None:
        return found
    if secret:
        raise value.refuse(
            f"expected {expected}, found what YAML reads as {_KINDS[meaning.kind]};"
            " put it in quotes"
        )
    raise value.refuse(
        f"expected {expected}, found {meaning.words}; put it in quotes: {quote(found.written)}"
    )


def sentence_of(most: int) -> Worded[str]:
    """Reads free text for people, of at most ``most`` characters, all of them printable."""

    @reads(f"text of at most {most} characters, in one line")
    def read(value: Value) -> str:
        found = text(value).text
        if len(found) > most:
            raise value.refuse(f"at most {most} characters, found {len(found)}")
        if not found.isprintable():
            raise value.refuse("line breaks, controls and invisible characters are not allowed")
        return found

    return read


def whole_number(least: int, most: int) -> Worded[int]:
    """Reads a whole number from ``least`` to ``most``, in decimal digits and without quotes."""

    @reads(f"whole number from {least} to {most}")
    def read(value: Value) -> int:
        expected = f"a whole number from {least} to {most}"
        found = value.text(expected)
        if not _WHOLE_NUMBER.fullmatch(found.text):
            if found.meaning is None:
                raise value.refuse(f"expected {expected}, found {found.shown}")
            hint = "; write plain decimal digits" if found.meaning.kind == "int" else ""
            raise value.refuse(f"expected {expected}, found {found.meaning.words}{hint}")
        if not (found.plain or found.replaced):
            raise value.refuse(
                f"expected {expected}, found the text {found.shown}; take away the quotes"
            )
        number = int(found.text)
        if not least <= number <= most:
            shown = found.shown if found.replaced else quote(found.text, marks=False)
            raise value.refuse(f"expected {expected}, found {shown}")
        return number

    return read


def number(least: float, most: float) -> Worded[float]:
    """Reads a number from ``least`` to ``most``, in decimal digits, whole or with a point."""

    @reads(f"number from {least:.10g} to {most:.10g}")
    def read(value: Value) -> float:
        expected = f"a number from {least:.10g} to {most:.10g}"
        found = value.text(expected)
        if not _NUMBER.fullmatch(found.text):
            shown = found.shown if found.meaning is None else found.meaning.words
            raise value.refuse(f"expected {expected}, found {shown}")
        if not (found.plain or found.replaced):
            raise value.refuse(
                f"expected {expected}, found the text {found.shown}; take away the quotes"
            )
        if not least <= float(found.text) <= most:
            shown = found.shown if found.replaced else quote(found.text, marks=False)
            raise value.refuse(f"expected {expected}, found {shown}")
        return float(found.text)

    return read


@reads("``true`` or ``false``", spoken=lambda on: str(on).lower())
def true_or_false(value: Value) -> bool:
    """Reads ``true`` or ``false``, without quotes; YAML's other words for them are no better."""
    found = value.text("true or false")
    if found.text in {"true", "false"} and (found.plain or found.replaced):
        return found.text == "true"
    shown = found.shown if found.meaning is None else found.meaning.words
    raise value.refuse(f"expected true or false, found {shown}")


def choice(noun: str, known: Iterable[str]) -> Worded[str]:
    """Reads one of the words ``known``; ``noun`` is what the fault calls it."""
    words = tuple(known)

    @reads(literals(words))
    def read(value: Value) -> str:
        found = text(value, expected=f"a {noun}")
        if found.text in words:
            return found.text
        meant = None if found.replaced else _similar(found.text, words)
        end = f"known are {_listed(words)}" if meant is None else f"did you mean {quote(meant)}?"
        raise value.refuse(f"unknown {noun} {found.shown}; {end}")

    return read


def _similar(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, if there is one."""
    close = difflib.get_close_matches(name[:64].lower(), tuple(known), n=1)
    return close[0] if close else None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
