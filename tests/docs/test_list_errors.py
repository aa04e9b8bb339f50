"""What the page of errors says is what the table of causes says."""

import re

import pytest

from docs import list_errors
from portal_gateway.errors import CAUSES

PAGE = list_errors.PAGE.read_text(encoding="utf-8")


def test_the_page_is_that_of_the_table():
    assert list_errors.with_facts(PAGE) == PAGE, "run: make modules"


def test_every_cause_says_when_it_comes_and_what_to_do():
    entries = re.split(r"^``([a-z_]+)``\n~+\n", PAGE, flags=re.MULTILINE)[1:]
    told = dict(zip(entries[::2], entries[1::2], strict=True))
    assert told.keys() == CAUSES.keys()
    for code, text in told.items():
        assert re.match(r"\n(?::.*\n)+\n[^*:][^*]+\n\n\*What to do:\* ", text), code


def test_what_has_changed_is_written_anew():
    changed = PAGE.replace(":Status: 429\n", ":Status: 503\n:Retry-After: 2\n")
    changed = changed.replace("      - The gateway failed\n", "")
    assert changed != PAGE
    assert list_errors.with_facts(changed) == PAGE


@pytest.mark.parametrize("code", ["lease_offline", "no_such_code"])
def test_a_code_that_one_of_both_does_not_have_is_found(code):
    title = f"``{code}``\n{'~' * (len(code) + 4)}\n\n"
    changed = PAGE.replace(title, "", 1) if title in PAGE else PAGE + title
    with pytest.raises(LookupError, match=f"differ in {code}$"):
        list_errors.with_facts(changed)
