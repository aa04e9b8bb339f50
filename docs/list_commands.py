"""Prints docs/commands.rst: every command and its options, from the parsers that read them.

``make modules`` writes the page; a test compares it with the parsers.
"""

import argparse
import sys
import textwrap
from collections.abc import Iterator

from portal_gateway.cli import make_parser
from portal_gateway.service import Options

WIDTH = 110
"""Columns of the page."""

INDENT = "    "

HEAD = """\
Commands
========

``portal-gateway`` (``gateway`` is the same) is one program with these commands. It ends with status
0 when all went well, 1 when a configuration is invalid or something could not be done, 2 when the
command line itself is wrong. ``--help`` behind any command tells what stands here. ``make modules``
writes this page.
"""


def _choices(parser: argparse.ArgumentParser) -> argparse._SubParsersAction | None:  # type: ignore[type-arg]
    """What chooses among a parser's own commands, if it has any."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action
    return None


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each command that can be given, with what tells of it."""
    chosen = _choices(parser)
    if chosen is None:
        yield parser.description or "", parser
        return
    told = {choice.dest: choice.help for choice in chosen._choices_actions}
    for name, below in chosen.choices.items():
        for description, command in _commands(below):
            yield description or f"{(told[name] or '').capitalize()}.", command


def _shown(action: argparse.Action) -> str:
    """An argument as it is written."""
    value = action.metavar or action.dest.upper()
    if not action.option_strings:
        return str(value)
    option = action.option_strings[-1]
    return option if action.nargs == 0 else f"{option} {value}"


def _section(description: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    title = f"``{parser.prog}``"
    yield from ("", title, "-" * len(title), "", textwrap.fill(description, WIDTH))
    arguments = [action for action in parser._actions if action.dest != "help"]
    usage = [
        _shown(action) if action.required else f"[{_shown(action)}]"
        for action in sorted(arguments, key=lambda action: not action.required)
    ]
    # An option and its value stay on one line.
    whole = " ".join([parser.prog, *(part.replace(" ", "\0") for part in usage)])
    lines = textwrap.wrap(whole, WIDTH - 10, initial_indent=INDENT, subsequent_indent=INDENT * 3)
    yield from ("", "::", "", *(line.replace("\0", " ") for line in lines), "")
    for action in arguments:
        yield f"``{_shown(action)}``"
        if action.help is None:
            raise TypeError(f"{parser.prog}: {_shown(action)} has no help")
        yield textwrap.fill(action.help, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)


def _twistd() -> Iterator[str]:
    title = "``twistd portal-gateway``"
    yield from ("", title, "-" * len(title), "")
    yield "The same as ``portal-gateway run``, with what twistd has for users, process ids and log"
    yield "files (``twistd --help``). Those options stand before ``portal-gateway``."
    yield from ("", "::", "", "    twistd [TWISTD'S OPTIONS] portal-gateway --config FILE", "")
    for name, _short, _default, told in Options.optParameters:
        yield f"``--{name} FILE``"
        yield f"    {told[0].lower()}{told[1:].rstrip('.')}"


def page() -> str:
    """The whole page."""
    lines = [HEAD.rstrip()]
    for description, parser in _commands(make_parser()):
        lines += _section(description, parser)
    return "\n".join([*lines, *_twistd()]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
