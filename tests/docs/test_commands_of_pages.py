"""Every command line of the gateway on a page is one that its parsers take."""

import re
import shlex
from pathlib import Path

import pytest

from portal_gateway.cli import make_parser

ROOT = Path(__file__).parents[2]

# What is on docs/commands.rst is made from the parsers, and says what may be left out.
PAGES = [
    page
    for pattern in ("*.rst", "docs/**/*.rst", "systemd/*.rst", "deploy/**/*.rst")
    for page in sorted(ROOT.glob(pattern))
    if page.name != "commands.rst"
]

LINE = re.compile(r"^ +(?:\S+/)?portal-gateway ((?:.*\\\n)*.*)$", re.MULTILINE)
"""A line of a block that begins with the program, and those that it goes on in."""

INLINE = re.compile(r"``(?:\S+/)?portal-gateway ((?:[a-z]+ )*[a-z]+ --[^`]+)``")
"""The same within a sentence, where options are given."""


def commands(page):
    text = page.read_text(encoding="utf-8")
    found = [line.replace("\\\n", " ") for line in LINE.findall(text)]
    found += [" ".join(line.split()) for line in INLINE.findall(text)]
    return [re.split(r" (?:&&|&$|&\s|\||#)", line)[0].strip() for line in found]


ALL = [
    pytest.param(command, id=f"{page.relative_to(ROOT)}: {command}")
    for page in PAGES
    for command in commands(page)
]


@pytest.mark.parametrize("command", ALL)
def test_the_parsers_take_it(command):
    arguments = [word for word in shlex.split(command) if word != "…"]
    assert callable(make_parser().parse_args(arguments).command)


def test_there_are_command_lines_on_the_pages():
    assert len(ALL) >= 20
    for words in ("run", "validate", "expose", "keys create", "keys revoke", "quota show"):
        assert any(case.values[0].startswith(words) for case in ALL), words
