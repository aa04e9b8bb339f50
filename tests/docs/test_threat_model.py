"""The tables of ``docs/security.rst``: the tests and counters that they name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PAGE = (ROOT / "docs" / "security.rst").read_text(encoding="utf-8")

ROWS = [
    [cell.strip() for cell in re.split(r"\n {5}- ", row)]
    for row in re.split(r"\n {3}\* - ", PAGE.partition("Between gateway and lease\n")[0])[1:]
]
"""Threat, limit, counter and tests of each row, the rows of headings among them."""

THREATS = [row for row in ROWS if row[0] != "May try"]

SOURCE = "\n".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py") if path.is_file()
)


def test_every_row_is_whole():
    assert len(THREATS) >= 25
    assert all(len(row) == 4 for row in ROWS)


@pytest.mark.parametrize("row", THREATS, ids=lambda row: row[0][:40])
def test_what_a_row_names_exists(row):
    _, _, counter, tests = row
    # The last cell of a table is followed by the next heading.
    named = re.findall(r"``(\w+/test_\w+\.py)(?:::(\w+))?``", tests)
    assert named
    for file, test in named:
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in text, (file, test)
    for name in re.findall(r"``([\w.]+)``", counter):
        assert f'"{name}"' in SOURCE, name
