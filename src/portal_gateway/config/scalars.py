"""What a scalar says: its text, what YAML would make of it, and its variables.

``${NAME}`` in a value is replaced by the environment variable of that name, once: what came from
the environment is not looked at again, is never YAML, and is never shown. ``$${`` stands for
``${``.
"""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

import yaml

from portal_gateway.config.secret_looks import looks_secret, may_be_secret

__all__ = ["HIDDEN", "NOTHING", "Meaning", "Text", "meaning_of", "quote", "replace_variables"]

_MAX_QUOTED = 60
"""Characters of a value that a fault quotes."""

HIDDEN = "***"
"""Stands for a value that may be a secret."""

_TAG_PREFIX = "tag:yaml.org,2002:"
_RESOLVER = yaml.resolver.Resolver()

_VARIABLE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Meaning(NamedTuple):
    """What YAML 1.1 makes of a plain scalar that is no text: the kind, and the words for it."""

    kind: str
    words: str


NOTHING = Meaning("null", "nothing")


class Text(NamedTuple):
    """A scalar with its variables replaced.

    ``written`` is how it stands in the file and the only form that a fault may show; ``meaning``
    what YAML would make of it, ``None`` for text: a quoted one, or one that holds a variable;
    ``plain`` whether it was written without quotes; ``replaced`` whether variables were.
    """

    text: str
    written: str
    meaning: Meaning | None
    plain: bool
    replaced: bool

    @property
    def shown(self) -> str:
        """The value for a fault: as it was written, quoted, unless it may be a secret."""
        shown = quote(HIDDEN if may_be_secret(self.written) else self.written)
        return shown + (" (its variables replaced)" if self.replaced else "")


def meaning_of(text: str) -> Meaning | None:
    """What YAML 1.1 makes of a plain scalar, ``None`` for text."""
    tag = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))
    kind = str(tag).removeprefix(_TAG_PREFIX)
    if kind == "null":
        return NOTHING
    if kind == "bool":
        read_as = "true" if text.lower() in {"yes", "true", "on"} else "false"
        return Meaning(kind, f"{text}, which YAML reads as {read_as}")
    if kind in {"int", "float"}:
        return Meaning(kind, f"the number {quote(text, marks=False)}")
    if kind == "timestamp":
        return Meaning(kind, f"the date {quote(text, marks=False)}")
    return None


def quote(text: str, *, marks: bool = True) -> str:
    """``text`` for a fault: bounded, in quotation marks, with what does not print escaped.

    What looks like a secret is `HIDDEN`.
    """
    if looks_secret(text):
        text = HIDDEN
    if len(text) > _MAX_QUOTED:
        text = text[:_MAX_QUOTED] + "…"
    if not text.isprintable() or '"' in text or "\\" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
        text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    return f'"{text}"' if marks else text


def replace_variables(text: str, environ: Mapping[str, str]) -> tuple[str, bool, list[str]]:
    """``text`` with its variables replaced, whether there were any, and what is wrong with them."""
    if "${" not in text:
        return text, False, []
    parts: list[str] = []
    problems: list[str] = []
    replaced = False
    end = 0
    for match in _VARIABLE.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        if match[0] == "$${":
            parts.append("${")
            continue
        replaced = True
        value = _look_up(match[1], environ, problems)
        if value is not None:
            parts.append(value)
    parts.append(text[end:])
    return "".join(parts), replaced, problems


def _look_up(name: str | None, environ: Mapping[str, str], problems: list[str]) -> str | None:
    if name is None or not _VARIABLE_NAME.fullmatch(name):
        problems.append(
            "${ starts the name of an environment variable, as in ${API_KEY};"
            " write $${ for the two characters themselves"
        )
        return None
    value = environ.get(name)
    if value is None:
        problems.append(f"the environment variable {quote(name, marks=False)} is not set")
        return None
    # Python keeps bytes of the environment that are not UTF-8 as lone surrogates.
    if any("\ud800" <= character <= "\udfff" for character in value):
        problems.append(f"the environment variable {quote(name, marks=False)} is not UTF-8")
        return None
    return value
