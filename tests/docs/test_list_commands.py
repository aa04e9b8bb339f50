"""What the page of commands says is what the parsers say."""

import argparse
import re
from pathlib import Path

import pytest

from docs import list_commands
from portal_gateway.cli import make_parser

PAGE = (Path(list_commands.__file__).parent / "commands.rst").read_text("utf-8")


def test_the_page_is_that_of_the_parsers():
    assert list_commands.page() == PAGE, "run: make modules"


def test_every_command_can_be_asked_for_help(capsys):
    commands = re.findall(r"^``portal-gateway (.+)``\n-+$", PAGE, re.MULTILINE)
    assert {"run", "keys create", "quota show"} <= set(commands)
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            make_parser().parse_args([*command.split(), "--help"])
        assert ended.value.code == 0
        assert f"usage: portal-gateway {command}" in capsys.readouterr().out


def test_an_argument_without_help_is_refused():
    parser = argparse.ArgumentParser(prog="x", description="X.")
    parser.add_argument("--silent", required=True)
    with pytest.raises(TypeError, match=r"^x: --silent SILENT has no help$"):
        list(list_commands._section("X.", parser))
