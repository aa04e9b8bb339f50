"""Nodes to values: where a value stands, what it says, and why it was refused.

A reader takes a :class:`Value` and returns what it means. One that cannot calls
:meth:`Value.refuse`, which notes the fault at the value's own place, and raises what that returns.
Whoever reads several values catches that per value, so that one run finds every fault.

``${NAME}`` in a value is replaced by the environment variable of that name, once: what came from
the environment is not looked at again, is never YAML, and is never shown. ``$${`` stands for
``${``.
"""

import json
import re
from collections.abc import Callable, Iterator
from collections.abc import Mapping as EnvironmentMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import yaml

from portal_gateway.config import document
from portal_gateway.config.faults import Fault

__all__ = [
    "MAX_FAULTS",
    "Entry",
    "Meaning",
    "Reader",
    "Reading",
    "Refused",
    "Text",
    "Value",
    "quote",
]

MAX_FAULTS = 100
"""Faults that one reading reports: more than anybody mends at once."""

_MAX_QUOTED = 60
"""Characters of a value that a fault quotes."""

_TAG_PREFIX = "tag:yaml.org,2002:"
_STRING_TAGS = frozenset({None, "!", _TAG_PREFIX + "str"})
_COLLECTION_TAGS = frozenset({None, "!", _TAG_PREFIX + "map", _TAG_PREFIX + "seq"})
_MERGE = "<<"

_RESOLVER = yaml.resolver.Resolver()

_VARIABLE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_BARE_KEY = re.compile(r"[\w-]{1,64}")

T_co = TypeVar("T_co", covariant=True)
Reader = Callable[["Value"], T_co]


class Refused(Exception):
    """A value was refused, and the fault that says why is noted."""


class Meaning(NamedTuple):
    """What YAML 1.1 makes of a plain scalar: the kind, and the words for it."""

    kind: str
    words: str


class Text(NamedTuple):
    """A scalar with its variables replaced.

    ``written`` is how it stands in the file and the only form that a fault may show; ``replaced``
    whether variables were; ``plain`` whether it was written without quotes; ``meaning`` what YAML
    would make of it, ``None`` for text: a quoted one, or one that holds a variable.
    """

    text: str
    written: str
    replaced: bool
    plain: bool
    meaning: Meaning | None

    @property
    def shown(self) -> str:
        """The value for a fault: as it was written, quoted."""
        return quote(self.written) + (" (its variables replaced)" if self.replaced else "")


class Entry(NamedTuple):
    """One pair of a mapping: ``key`` and ``value`` share a place in the key path."""

    name: str
    key: "Value"
    value: "Value"


@dataclass(slots=True)
class Reading:
    """One reading of one document: what it may look at and what it found.

    ``directory`` is what relative paths are relative to.
    """

    source: str
    environ: EnvironmentMapping[str, str]
    directory: Path
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    omitted: int = 0

    def note(self, fault: Fault) -> None:
        """Keep a fault, or count it when there are too many."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(fault)
        else:
            self.omitted += 1

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
        self.reading.warnings.append(self._fault(reason))

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
            and _meaning(node.text) == _NOTHING
        )

    def below(self, node: document.Node, name: str | int) -> "Value":
        """The value of ``node``, which is the entry ``name`` or the item ``name`` of this one."""
        if isinstance(name, int):
            path = f"{self.path}[{name}]"
        elif _BARE_KEY.fullmatch(name):
            path = f"{self.path}.{name}" if self.path else name
        else:
            path = f"{self.path}[{quote(name)}]"
        return Value(node, path, self.reading)

    def at(self, name: str) -> "Value":
        """The value of the entry ``name``, or this value itself when it has none."""
        if isinstance(self.node, document.Mapping):
            for key, value in self.node.entries:
                if isinstance(key, document.Scalar) and key.text == name:
                    return self.below(value, name)
        return self

    def items(self, expected: str = "a list") -> list["Value"]:
        """The items of a list; nothing written is a list without items."""
        if self.is_nothing:
            return []
        if not isinstance(self.node, document.Sequence):
            raise self.refuse(f"expected {expected}, found {self._kind()}")
        self._check_tag(_COLLECTION_TAGS)
        return [self.below(node, index) for index, node in enumerate(self.node.items)]

    def entries(self, expected: str = "a mapping", *, guarded: bool = False) -> list[Entry]:
        """The pairs of a mapping, those of ``<<`` after its own; nothing written has none.

        A key that is no text or stands twice is noted as a fault and left out; where keys are
        ``guarded``, without its name.
        """
        if self.is_nothing:
            return []
        if not isinstance(self.node, document.Mapping):
            raise self.refuse(f"expected {expected}, found {self._kind()}")
        self._check_tag(_COLLECTION_TAGS)
        found: dict[str, Entry] = {}
        merged: list[Value] = []
        for key_node, node in self.node.entries:
            key = Value(key_node, self.path, self.reading)
            if not isinstance(key_node, document.Scalar) or key_node.tag not in _STRING_TAGS:
                key.refuse("a key must be text, without a tag")
                continue
            name = key_node.text
            if name == _MERGE and key_node.plain:
                merged.append(self.below(node, name))
            elif name in found:
                first = found[name].key.line
                twice = key if guarded else self.below(key_node, name)
                twice.refuse(f"the key stands twice, first on line {first}")
            else:
                found[name] = Entry(name, key, self.below(node, name))
        for value in merged:
            self._merge(value, found)
        return list(found.values())

    def _merge(self, value: "Value", found: dict[str, Entry]) -> None:
        """Add what ``<<`` brings; what is there already wins, and of several the first."""
        parts = value.items() if isinstance(value.node, document.Sequence) else [value]
        for part in parts:
            for entry in part.entries():
                if entry.name not in found:
                    found[entry.name] = Entry(
                        entry.name, entry.key, self.below(entry.value.node, entry.name)
                    )

    def text(self, expected: str = "text") -> Text:
        """The scalar that stands here, its variables replaced; refuses anything else."""
        node = self.node
        if not isinstance(node, document.Scalar) or self.is_nothing:
            raise self.refuse(f"expected {expected}, found {self._kind()}")
        self._check_tag(_STRING_TAGS)
        text, replaced = self._replace_variables(node.text)
        plain = node.plain and node.tag is None
        meaning = _meaning(node.text) if plain and not replaced else None
        return Text(text, node.text, replaced, plain, meaning)

    def _replace_variables(self, text: str) -> tuple[str, bool]:
        if "${" not in text:
            return text, False
        parts: list[str] = []
        end = 0
        replaced = False
        with self.reading.all_or_refused():
            for match in _VARIABLE.finditer(text):
                parts.append(text[end : match.start()])
                end = match.end()
                if match[0] == "$${":
                    parts.append("${")
                else:
                    parts.append(self._variable(match[1]))
                    replaced = True
        parts.append(text[end:])
        return "".join(parts), replaced

    def _variable(self, name: str | None) -> str:
        """The value of an environment variable; a fault is noted where there is none."""
        if name is None or not _VARIABLE_NAME.fullmatch(name):
            self.refuse(
                "${ starts the name of an environment variable, as in ${API_KEY};"
                " write $${ for the two characters themselves"
            )
            return ""
        value = self.reading.environ.get(name)
        if value is None:
            self.refuse(f"the environment variable {quote(name, marks=False)} is not set")
            return ""
        # Python keeps bytes of the environment that are not UTF-8 as lone surrogates.
        if any("\ud800" <= character <= "\udfff" for character in value):
            self.refuse(f"the environment variable {quote(name, marks=False)} is not UTF-8")
            return ""
        return value

    def _check_tag(self, allowed: frozenset[str | None]) -> None:
        # The tag is not quoted: it may be a secret that starts with ! and was not put in quotes.
        if self.node.tag not in allowed:
            raise self.refuse("YAML tags are not supported; put text that starts with ! in quotes")

    def _kind(self) -> str:
        """The kind of a node without its text, which may be a secret in the wrong place."""
        if isinstance(self.node, document.Sequence):
            return "a list"
        if isinstance(self.node, document.Mapping):
            return "a mapping"
        return "nothing" if self.is_nothing else "a single value"


def quote(text: str, *, marks: bool = True) -> str:
    """``text`` for a fault: bounded, in quotation marks, with what does not print escaped."""
    if len(text) > _MAX_QUOTED:
        text = text[:_MAX_QUOTED] + "…"
    if not text.isprintable() or '"' in text or "\\" in text:
        text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in _escaped(text))
    return f'"{text}"' if marks else text


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


_NOTHING = Meaning("null", "nothing")


def _meaning(text: str) -> Meaning | None:
    """What YAML 1.1 makes of a plain scalar, ``None`` for text."""
    tag = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))
    kind = str(tag).removeprefix(_TAG_PREFIX)
    if kind == "null":
        return _NOTHING
    if kind == "bool":
        read_as = "true" if text.lower() in {"yes", "true", "on"} else "false"
        return Meaning(kind, f"{text}, which YAML reads as {read_as}")
    if kind in {"int", "float"}:
        return Meaning(kind, f"the number {quote(text, marks=False)}")
    if kind == "timestamp":
        return Meaning(kind, f"the date {quote(text, marks=False)}")
    return None
