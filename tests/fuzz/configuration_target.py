"""The text of a configuration: any bytes, and documents of the keys that it knows."""

import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeAlias

from portal_gateway.config.loading import ConfigInvalid, load_config, load_config_text
from portal_gateway.config.model import Config
from portal_gateway.config.report import describe, describe_faults
from tests.fuzz.dice import Dice

__all__ = ["configuration_text", "configuration_words"]

SETTINGS = Path(__file__).parents[2] / "docs" / "settings.rst"

ENVIRONMENT = {"HOME": "/home/of somebody", "KEY": "sk_live_0123456789abcdef"}

Tree: TypeAlias = "dict[str, Tree] | list[Tree] | str"

VALUES = (
    "true",
    "false",
    "0",
    "-1",
    "1",
    "100",
    "10s",
    "64KiB",
    "0.5",
    "1e999",
    "99999999999999999999",
    "''",
    "'*'",
    "[]",
    "{}",
    "~",
    "[read, write]",
    "{low: 5, 'secret*': unlimited}",
    "http://127.0.0.1:3000",
    "'http://u:p@[::1]:80/a?b#c'",
    "ws://relay.example:4017/relay",
    "127.0.0.1:8080",
    "'[::1]:80'",
    "'{lease}.example.com'",
    "[10.0.0.0/8, '::/0']",
    "${HOME}",
    "${NOWHERE}",
    "${KEY}",
    "'2025-01-01T00:00:00Z'",
    "sk_live_0123456789abcdef",
    "'\\u0000'",
    "'u:secret@host:1'",
    "&a x",
    "*a",
    "!!python/object x",
    "unlimited",
    "auto",
    "/dev/null",
    "'%zz'",
    "\u200bx",
    "postgresql://u:p@h/d",
    "{requests_per_minute: 5, burst: 1}",
    "3.5.7",
    "HS256",
)


@cache
def _paths() -> tuple[tuple[str, ...], ...]:
    """Every setting, as the keys that lead to it."""
    text = SETTINGS.read_text(encoding="utf-8")
    found = re.findall(r"`(\S+) <configuration\.rst", text)
    assert len(found) > 100
    return tuple(tuple(path.split(".")) for path in found)


def _put(dice: Dice, tree: dict[str, Tree], path: tuple[str, ...], value: str) -> None:
    """Put a value where its keys lead; names are made up."""
    for key in path[:-1]:
        name = key.removesuffix("[]")
        if name.startswith("<"):
            name = dice.pick(("tool", "Tool", "'*'", "'a b'", "한글", "''", "1"))
        inner = tree.get(name)
        if key.endswith("[]"):
            if not isinstance(inner, list):
                inner = tree[name] = []
            if not inner or dice.odds(4):
                inner.append({})
            inner = inner[-1]
        elif not isinstance(inner, dict):
            inner = tree[name] = {}
        assert isinstance(inner, dict)
        tree = inner
    tree[path[-1].removesuffix("[]")] = value


def _written(tree: Tree, depth: int = 0) -> str:
    """A tree as YAML; what it ends with stands as it is."""
    if isinstance(tree, str):
        return f" {tree}\n"
    pad = "  " * depth
    if isinstance(tree, list):
        return "\n" + "".join(f"{pad}-{_written(each, depth + 1)}" for each in tree)
    return "\n" + "".join(f"{pad}{key}:{_written(each, depth + 1)}" for key, each in tree.items())


def _judge(load: Callable[[], Config]) -> None:
    """A configuration, or at least one fault; both can be told."""
    try:
        config = load()
    except ConfigInvalid as invalid:
        faults = invalid.faults
    else:
        assert describe(config)
        return
    assert faults
    assert len(describe_faults(faults)) >= len(faults)


def configuration_text(data: bytes) -> None:
    """Any bytes, as the file that they are in."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        _judge(lambda: load_config(Path(file.name), ENVIRONMENT))


def configuration_words(data: bytes) -> None:
    """A document of keys that there are, with values of many kinds."""
    dice = Dice(data)
    paths = _paths()
    tree: dict[str, Tree] = {}
    while dice.left:
        path = dice.pick(paths)
        if dice.odds(16):
            path = (*path[: dice.below(len(path) + 1)], dice.pick(paths)[-1])
        value = dice.pick(VALUES)
        if dice.odds(16):
            value = dice.take(20).decode("latin-1")
        _put(dice, tree, path, value)
    text, nowhere = _written(tree), Path("/nonexistent")
    _judge(lambda: load_config_text(text, "fuzz.yaml", ENVIRONMENT, directory=nowhere))
