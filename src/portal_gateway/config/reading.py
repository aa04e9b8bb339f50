"""Nodes to values: where a value stands, what it says, and why it was refused.

A reader takes a :class:`Value` and returns what it means. One that cannot calls
:meth:`Value.refuse`, which notes the fault at the value's own place, and raises what that returns.
Whoever reads several values catches that per value, so that one run finds every fault.
"""

import re
from collections.abc import Callable, Iterator
from collections.abc import Mapping as EnvironmentMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from portal_gateway.config import document
from portal_gateway.config.faults import Fault
from portal_gateway.config.scalars import NOTHING, Text, meaning_of, quote, replace_variables
from portal_gateway.config.secret_looks import looks_secret

__all__ = ["MAX_FAULTS", "Entry", "Reader", "Reading", "Refused", "Value", "read_argument"]

MAX_FAULTS = 100
"""Faults, and warnings, that one reading reports: more than anybody mends at once."""

_TAGS = frozenset({None, "!", *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))})
"""Tags that say nothing but what the node is read as anyway."""

_MERGE = "<<"

_BARE_KEY = re.compile(r"[\w-]{1,64}")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Reader = Callable[["Value"], T_co]


class Refused(Exception):
    """A value was refused, and the fault that says why is noted."""


class Entry(NamedTuple):
    """One pair of a mapping: ``key`` and ``value`` share a place in the key path."""

    name: str
    key: "Value"
    value: "Value"


@dataclass(slots=True)
class Reading:
    """One reading of one document: what it may look at and what it found.

    ``directory`` is what relative paths are relative to. ``secrets`` are the places where secrets
    stand in the document itself, each with what they are called there.
    """

    source: str
    environ: EnvironmentMapping[str, str]
    directory: Path
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    omitted: int = 0

    def note(self, fault: Fault) -> None:
        """Keep a fault, or count it when there are too many."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(fault)
        else:
            self.omitted += 1

    def note_warning(self, warning: Fault) -> None:
        """Keep a warning, unless there are too many."""
        if len(self.warnings) < MAX_FAULTS:
            self.warnings.append(warning)

    @contextmanager
    def all_or_refused(self) -> Iterator[None]:
        """Run a body that reads several values; at its end, raise if any of them was refused."""
        before = len(self.faults) + self.omitted
        yield
        if len(self.faults) + self.omitted > before:
            raise Refused


@dataclass(frozen=True, slots=True)
class Value:
    """A node at its place in the document."""

    node: document.Node
    path: str
    reading: Reading

    def refuse(self, reason: str) -> Refused:
        """Note that this value cannot be used; the caller raises what is returned."""
        self.reading.note(self._fault(reason))
        return Refused()

    def warn(self, reason: str) -> None:
        """Note that this value can be used but is hardly meant."""
        self.reading.note_warning(self._fault(reason))

    def note_secret(self, found: Text, where: str = "", what: str = "the secret") -> None:
        """Note that ``found`` here is a secret; one that came from the environment is elsewhere."""
        if not found.replaced:
            self.reading.secrets.setdefault(where or self.path, what)

    def _fault(self, reason: str) -> Fault:
        return Fault(self.reading.source, self.node.line, self.node.column, self.path, reason)

    @property
    def line(self) -> int:
        """The line on which the value starts, from 1."""
        return self.node.line

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was written, as after ``leases:`` when all below it is a comment."""
        node = self.node
        return (
            isinstance(node, document.Scalar)
            and node.plain
            and node.tag is None
            and meaning_of(node.text) == NOTHING
        )

    @property
    def is_mapping(self) -> bool:
        """Whether a mapping was written."""
        return isinstance(self.node, document.Mapping)

    @property
    def is_single(self) -> bool:
        """Whether a single value was written, and no list, mapping or nothing."""
        return isinstance(self.node, document.Scalar) and not self.is_nothing

    def below(self, node: document.Node, name: str | int) -> "Value":
        """The value of ``node``, which is the entry ``name`` or the item ``name`` of this one."""
        if isinstance(name, int):
            path = f"{self.path}[{name}]"
        elif _BARE_KEY.fullmatch(name) and not looks_secret(name):
            path = f"{self.path}.{name}" if self.path else name
        else:
            path = f"{self.path}[{quote(name)}]"
        return Value(node, path, self.reading)

    def at(self, name: str) -> "Value":
        """The value of the entry ``name``, or this value itself when it has none."""
        if isinstance(self.node, document.Mapping):
            merges = False
            for key, value in self.node.entries:
                if isinstance(key, document.Scalar):
                    if key.text == name:
                        return self.below(value, name)
                    merges |= key.text == _MERGE and key.plain
            if merges:
                return next((e.value for e in self.entries() if e.name == name), self)
        return self

    def items(self, expected: str = "a list") -> list["Value"]:
        """The items of a list; nothing written is a list without items."""
        self._check_tag()
        if self.is_nothing:
            return []
        if not isinstance(self.node, document.Sequence):
            raise self.refuse(f"expected {expected}, found {self._kind()}")
        return [self.below(node, index) for index, node in enumerate(self.node.items)]

    def entries(
        self, expected: str = "a mapping", may_show: Callable[[str], object] = bool
    ) -> list[Entry]:
        """The pairs of a mapping, those of ``<<`` after its own; nothing written has none.

        A key that is no text or stands twice is noted as a fault and left out; its name is shown
        only if ``may_show`` says so.
        """
        self._check_tag()
        if self.is_nothing:
            return []
        if not isinstance(self.node, document.Mapping):
            raise self.refuse(f"expected {expected}, found {self._kind()}")
        found: dict[str, Entry] = {}
        merged: list[Value] = []
        for key_node, node in self.node.entries:
            key = Value(key_node, self.path, self.reading)
            if not isinstance(key_node, document.Scalar) or key_node.tag not in _TAGS:
                key.refuse("a key must be text, without a tag")
                continue
            name = key_node.text
            if name == _MERGE and key_node.plain:
                merged.append(self.below(node, name))
            elif name in found:
                first = found[name].key.line
                twice = self.below(key_node, name) if may_show(name) else key
                twice.refuse(f"written twice, first on line {first}")
            else:
                found[name] = Entry(name, key, self.below(node, name))
        for value in merged:
            self._merge(value, found, may_show)
        return list(found.values())

    def _merge(
        self, value: "Value", found: dict[str, Entry], may_show: Callable[[str], object]
    ) -> None:
        """Add what ``<<`` brings; what is there already wins, and of several the first."""
        parts = value.items() if isinstance(value.node, document.Sequence) else [value]
        for part in parts:
            for entry in part.entries(may_show=may_show):
                if entry.name not in found:
                    found[entry.name] = Entry(
                        entry.name, entry.key, self.below(entry.value.node, entry.name)
                    )

    def text(self, expected: str = "text") -> Text:
        """The scalar that stands here, its variables replaced; refuses anything else."""
        node = self._scalar(expected)
        text, replaced, problems = replace_variables(node.text, self.reading.environ)
        with self.reading.all_or_refused():
            for problem in problems:
                self.refuse(problem)
        plain = node.plain and node.tag is None
        meaning = meaning_of(node.text) if plain and not replaced else None
        return Text(text, node.text, meaning, plain=plain, replaced=replaced)

    def name(self, expected: str) -> Text:
        """The scalar that stands here as a key, where variables have no place."""
        node = self._scalar(expected)
        if "${" in node.text:
            raise self.refuse("variables are replaced in values, not in names")
        plain = node.plain and node.tag is None
        meaning = meaning_of(node.text) if plain else None
        return Text(node.text, node.text, meaning, plain=plain, replaced=False)

    def _scalar(self, expected: str) -> document.Scalar:
        self._check_tag()
        if not isinstance(self.node, document.Scalar) or self.is_nothing:
            raise self.refuse(f"expected {expected}, found {self._kind()}")
        return self.node

    def _check_tag(self) -> None:
        # The tag is not quoted: it may be a secret that starts with ! and was not put in quotes.
        if self.node.tag not in _TAGS:
            raise self.refuse("YAML tags are not supported; put text that starts with ! in quotes")

    def _kind(self) -> str:
        """The kind of a node without its text, which may be a secret in the wrong place."""
        if isinstance(self.node, document.Sequence):
            return "a list"
        if isinstance(self.node, document.Mapping):
            return "a mapping"
        return "nothing" if self.is_nothing else "a single value"


def read_argument(reader: Reader[T], text: str) -> T:
    """What ``reader`` makes of an argument of a command, as of the same in quotes in a file.

    Raises :exc:`ValueError` with the reason where it refuses it.
    """
    reading = Reading("", {}, Path())
    try:
        return reader(Value(document.Scalar(line=0, column=0, text=text, plain=False), "", reading))
    except Refused:
        raise ValueError(reading.faults[0].reason) from None
