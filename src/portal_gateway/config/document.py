"""YAML text to a tree of located nodes, bounded before anything is built from it.

The tree is made from the parser's events and never from Python objects, so no tag can construct
anything, every node knows its line, and a plain ``no`` is still the two letters that were written.
The bounds refuse what is small as text and large as a tree: aliases of aliases, deep nesting.
"""

import re
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import yaml

__all__ = [
    "MAX_DEPTH",
    "MAX_FILE_BYTES",
    "MAX_NODES",
    "Mapping",
    "Node",
    "Scalar",
    "Sequence",
    "UnusableDocument",
    "compose",
]

MAX_FILE_BYTES = 10_000_000
"""The largest file that is read: a hundred times a large configuration."""

MAX_NODES = 1_000_000
"""Nodes of a document with every alias replaced: some 50,000 API keys with all their fields."""

MAX_DEPTH = 32
"""Levels of nesting: four times what the schema has, far below what recursion stands."""

_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
"""What YAML 1.1 section 4.1.1 does not allow in a stream, and a byte order mark inside of it."""

_QUOTED = re.compile("'([^']*)'")
"""What a problem quotes: characters, PyYAML's names of tokens, and pieces of the text."""

# libyaml is some fifty times faster; it is in every wheel of PyYAML.
_LOADER: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)


class _Mark(Protocol):
    """What both parsers' marks have in common; they count from 0."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class UnusableDocument(Exception):
    """The text is not one bounded YAML document; ``line`` and ``column`` count from 1."""

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.column = column


@dataclass(slots=True, kw_only=True)
class Node:
    """One node: where it starts, counted from 1, its explicit tag, its nodes with all below it."""

    line: int
    column: int
    tag: str | None = None
    size: int = 1


@dataclass(slots=True, kw_only=True)
class Scalar(Node):
    """A single value as it was written, without its quotes; ``plain`` when it had none.

    Its ``repr`` does not show the text, which may be a secret.
    """

    text: str = field(repr=False)
    plain: bool


@dataclass(slots=True, kw_only=True)
class Sequence(Node):
    """A list."""

    items: list[Node] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Mapping(Node):
    """Pairs of key and value in the order of the text; keys may repeat."""

    entries: list[tuple[Node, Node]] = field(default_factory=list)


_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"


def compose(text: str) -> Node:
    """The root node of the one document in ``text``.

    An alias is the node of its anchor itself, not a copy. Raises :exc:`UnusableDocument` when the
    text is not YAML, holds no document or more than one, or passes a bound.
    """
    text = text.removeprefix("\ufeff")
    bad = _UNPRINTABLE.search(text)
    if bad is not None:
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - text.rfind("\n", 0, bad.start())
        raise UnusableDocument(
            f"not valid YAML: the character U+{ord(bad[0]):04X} is not allowed", line, column
        )
    try:
        root = _Composer().compose(text)
    except yaml.MarkedYAMLError as error:
        # The lines around the mark, which could show a secret, are left out.
        line, column = _place(error.problem_mark or error.context_mark)
        if "nesting depth" in (error.problem or ""):
            # Newer parsers have a bound of their own, far above ours, and may come to it first.
            raise UnusableDocument(_TOO_DEEP, line, column) from None
        problem = _QUOTED.sub(_unless_text, error.problem or error.context or "")
        raise UnusableDocument(
            f"not valid YAML: {problem} (column {column})", line, column
        ) from None
    if root is None:
        raise UnusableDocument("the document is empty", 1, 1)
    return root


class _Composer:
    """Builds the tree of one document. The stack holds the collections that are still open."""

    def __init__(self) -> None:
        self._root: Node | None = None
        self._open: list[Sequence | Mapping] = []
        self._keys: list[Node | None] = []
        self._anchors: dict[str, Node] = {}
        self._nodes = 0

    def compose(self, text: str) -> Node | None:
        documents = 0
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.AliasEvent):
                self._add(self._resolve(event), event)
            elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
                self._start(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    _refuse("more than one document: only one is read", event)
        return self._root

    def _start(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        line, column = _place(event.start_mark)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = Scalar(
                line=line,
                column=column,
                tag=event.tag,
                text=event.value,
                plain=event.style is None or event.style == "",
            )
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Sequence(line=line, column=column, tag=event.tag)
        else:
            node = Mapping(line=line, column=column, tag=event.tag)
        if event.anchor is not None:
            if event.anchor in self._anchors:
                _refuse("this anchor is already defined above", event)
            self._anchors[event.anchor] = node
        self._nodes += 1
        if self._nodes > MAX_NODES:
            _refuse(f"more than {MAX_NODES} values", event)
        self._add(node, event)
        if isinstance(node, Sequence | Mapping):
            if len(self._open) == MAX_DEPTH:
                _refuse(_TOO_DEEP, event)
            self._open.append(node)
            self._keys.append(None)

    def _resolve(self, event: yaml.AliasEvent) -> Node:
        node = self._anchors.get(event.anchor or "")
        if node is None:
            _refuse("this alias has no anchor above it", event)
        if any(node is parent for parent in self._open):
            _refuse("this alias contains itself", event)
        return node

    def _add(self, node: Node, event: yaml.Event) -> None:
        """Put a node into the collection that is open.

        Collections are added before they are filled: their own size is counted when they end.
        """
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif (key := self._keys[-1]) is None:
            self._keys[-1] = node
        else:
            parent.entries.append((key, node))
            self._keys[-1] = None
        if not isinstance(event, yaml.CollectionStartEvent):
            self._grow(node.size, event)

    def _end(self, event: yaml.Event) -> None:
        node = self._open.pop()
        self._keys.pop()
        if self._open:
            self._grow(node.size, event)

    def _grow(self, size: int, event: yaml.Event) -> None:
        parent = self._open[-1]
        parent.size += size
        if parent.size > MAX_NODES:
            _refuse(f"more than {MAX_NODES} values once the aliases are replaced", event)


def _unless_text(quoted: re.Match[str]) -> str:
    """A quotation of a problem as it is, unless it could be a piece of a secret."""
    return quoted[0] if len(quoted[1]) <= 1 or quoted[1].startswith("<") else "'…'"


def _refuse(reason: str, event: yaml.Event) -> NoReturn:
    raise UnusableDocument(reason, *_place(event.start_mark))


def _place(mark: _Mark | None) -> tuple[int, int]:
    """Line and column of a mark, from 1; the start where the parser gives none."""
    return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
