"""One event is one line, whatever a stranger put into it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.observe.lines import MAX_TEXT, json_line, quoted, text_line, timestamp

HEAD = {"timestamp": "2025-11-14T02:16:31Z", "level": "info", "message": "request_completed"}


def test_a_timestamp_is_rfc_3339_in_utc():
    assert timestamp(1763086591) == "2025-11-14T02:16:31Z"


@given(st.text())
def test_a_json_line_is_one_ascii_line_that_gives_the_value_back(value):
    line = json_line({**HEAD, "user_agent": value})
    assert line.isascii()
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert json.loads(line)["user_agent"] == value


@given(st.text())
def test_a_text_line_is_one_printable_ascii_line(value):
    line = text_line({**HEAD, "message": value, "user_agent": value})
    assert line.isascii()
    assert line.endswith("\n")
    assert line[:-1].isprintable()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("n8n/1.0", "user_agent=n8n/1.0"),
        ("two words", 'user_agent="two words"'),
        ('a"b', 'user_agent="a\\"b"'),
        ("", 'user_agent=""'),
        ("\x1b[31m", 'user_agent="\\u001b[31m"'),
        (12.5, "user_agent=12.5"),
    ],
)
def test_a_text_line_quotes_what_is_not_plain(value, written):
    assert text_line({**HEAD, "user_agent": value}) == (
        f"2025-11-14T02:16:31Z info    request_completed {written}\n"
    )


def test_a_text_line_leaves_out_what_is_not_known():
    assert text_line({**HEAD, "lease_id": None}).endswith(" request_completed\n")


def test_a_long_value_is_cut_and_says_so():
    value = json.loads(json_line({**HEAD, "user_agent": "x" * 1_000_000}))["user_agent"]
    assert len(value) < MAX_TEXT + 40
    assert value.endswith("(1000000 characters)")


@given(st.none() | st.text())
def test_a_quoted_text_is_what_the_json_module_writes(text):
    assert quoted(text) == json.dumps(text)


def test_a_long_quoted_text_is_cut_and_says_so():
    assert json.loads(quoted("x" * 1_000_000)).endswith("(1000000 characters)")
