"""Writes what the code says of each key into docs/configuration.rst, and prints docs/settings.rst.

The tables of keys (``config/schema.py`` and the modules that it is made of) say what each reads,
whether it is needed, and what its default is. ``:Type:`` and ``:Default:`` of a key on the page are
theirs; what is said about a key below that, and of a default that is no value behind it, is written
by hand. ``make modules`` writes both pages; tests compare them with the tables.
"""

import dataclasses
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from portal_gateway.config.fields import Section
from portal_gateway.config.schema import CONFIG
from portal_gateway.config.worded import Worded

CONFIGURATION = Path(__file__).parent / "configuration.rst"

WIDTH = 110
"""Columns of a page."""

HEAD = """\
All settings
============

Every key of the configuration, what it reads, and its default, each with a link to what it means.
``make modules`` writes this page.
"""


class Setting(NamedTuple):
    """One key: its name with those of its sections, its type, and its default if that is a value.

    ``default`` is None where there is no value, or it depends on others.
    """

    name: str
    words: str
    required: bool
    default: str | None


def settings(section: Section[Any] = CONFIG, path: str = "") -> Iterator[Setting]:
    """Every key below a section, in the order of its table."""
    for key, reader in section.fields.items():
        name = f"{path}.{key}" if path else key
        if isinstance(reader, Section):
            yield from settings(reader, name)
            continue
        if not isinstance(reader, Worded):
            raise TypeError(f"{name}: its reader does not say what it reads; put @reads above it")
        if reader.words:
            default = None if key in section.required else _default(section, key, reader)
            yield Setting(name, reader.words, key in section.required, default)
        for more, below in reader.below.items():
            yield from settings(below, name + more)


def _default(section: Section[Any], key: str, reader: Worded[Any]) -> str | None:
    """What is passed on, or stands in the model, when the key is not written; None for no value."""
    build = section.build
    given = inspect.signature(build).parameters.get(key)
    value = _of_field(build, key) if given is None else given.default
    if type(value) not in {bool, int, float, str, tuple} or value in {"", ()}:
        return None
    return reader.spoken(value)


def _of_field(build: Any, key: str) -> object:
    """The default of a field of the dataclass that a function builds."""
    hints = typing.get_type_hints(build) if inspect.isfunction(build) else {}
    for kind in (hints.get("return"), *typing.get_args(hints.get("return"))):
        if dataclasses.is_dataclass(kind):
            for field in dataclasses.fields(kind):
                if field.name == key and field.default is not dataclasses.MISSING:
                    return field.default
    return None


_ENTRY = re.compile(
    r"^(?:``(?P<key>[^`\n]+)``\n~+|(?P<section>[a-z_]+)\n-+)\n\n"
    r"(?P<fields>(?::.*\n(?:    .*\n)*)+)",
    re.MULTILINE,
)
"""The title of a key and the fields below it."""

_LITERAL = re.compile(r"``[^`]*``(.*)")


def with_facts(page: str) -> str:
    """The page of the configuration with the types and defaults that the code has.

    Raises ``LookupError`` for a key, or a default, that one of both does not have.
    """
    known = {setting.name: setting for setting in settings()}
    seen = []

    def entry(match: re.Match[str]) -> str:
        name = match["key"] or match["section"]
        seen.append(name)
        if name not in known:
            raise LookupError(f"{CONFIGURATION.name} has a key that there is not: {name}")
        start = match.start("fields") - match.start()
        return match[0][:start] + _facts(known[name], match["fields"])

    written = _ENTRY.sub(entry, page)
    missing = [name for name in known if name not in seen]
    if missing:
        raise LookupError(f"{CONFIGURATION.name} does not describe {', '.join(missing)}")
    return written


def _facts(setting: Setting, fields: str) -> str:
    by_hand = dict(re.findall(r"^:(\w+): ((?:.*\n)(?:    .*\n)*)", fields, re.MULTILINE))
    lines = [_field("Type", setting.words)]
    if setting.required:
        rest = " ".join(by_hand.get("Required", "yes").split()).removeprefix("yes")
        lines.append(_field("Required", f"yes{rest}"))
    elif setting.default is not None:
        rest = _LITERAL.match(" ".join(by_hand.get("Default", "").split()))
        lines.append(_field("Default", f"``{setting.default}``{rest[1] if rest else ''}"))
    else:
        ((name, words),) = [pair for pair in by_hand.items() if pair[0] != "Type"] or [
            ("Default", "none")
        ]
        rest = _LITERAL.fullmatch(" ".join(words.split()))
        if name == "Default" and rest is not None and not rest[1]:
            raise LookupError(
                f"{setting.name}: the code has no default that is a value, and"
                f" {CONFIGURATION.name} says {words.strip()}; say when it is that"
            )
        lines.append(_field(name, " ".join(words.split())))
    return "".join(lines)


def _field(name: str, words: str) -> str:
    text = f":{name}: {words}"
    return "\n".join(textwrap.wrap(text, WIDTH, subsequent_indent="    ", **_UNBROKEN)) + "\n"


_UNBROKEN: Any = {"break_long_words": False, "break_on_hyphens": False}


def page() -> str:
    """The page of all settings."""
    lines = [
        *HEAD.splitlines(),
        "",
        ".. list-table::",
        "    :header-rows: 1",
        "    :widths: 40 40 20",
        "",
    ]
    for row in (("Key", "Type", "Default"), *map(_row, settings())):
        lines += [f"    {'-' if not index else ' '} - {cell}" for index, cell in enumerate(row)]
    return "\n".join(line.replace("    - -", "    * -").rstrip() for line in lines) + "\n"


def _row(setting: Setting) -> tuple[str, str, str]:
    section = re.sub(r"[^a-z0-9]+", "-", setting.name).strip("-")
    default = "" if setting.default is None else f"``{setting.default}``"
    if setting.required:
        default = "required"
    return f"`{setting.name} <configuration.rst#{section}>`_", setting.words, default


if __name__ == "__main__":
    CONFIGURATION.write_text(
        with_facts(CONFIGURATION.read_text(encoding="utf-8")), encoding="utf-8"
    )
    sys.stdout.write(page())
