"""What is told of an exception."""

import pytest
from twisted.python.failure import Failure

from portal_gateway.observe.failures import MAX_FRAMES, MAX_MESSAGE, frames_of, message_of


def failure(exception):
    try:
        raise exception
    except type(exception):
        return Failure()


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("exception", "told"),
    [
        (ValueError("too many values to unpack (expected 2)"), None),
        (
            ValueError("invalid literal for int() with base 10: 'canary'"),
            "invalid literal for int()",
        ),
        (KeyError("canary"), "***"),
        (KeyError(b"can\"ary's"), "***"),
        (TypeError("\"canary\" is not it, nor 'canary'"), "***"),
        (RuntimeError("'canary", 1), "(***, 1)"),
        (RuntimeError("'canary"), "***"),
        (ValueError("it's the canary"), "it***"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (FileNotFoundError(2, "No such file", "/etc/a"), "No such file: /etc/a"),
        (OSError("canary 'canary'"), "canary ***"),
        (ValueError("sk_live_canary0123"), "***"),
        (Unspeakable(), ""),
    ],
)
def test_the_text_of_an_exception_is_told_without_what_it_quotes(exception, told):
    found = message_of(failure(exception))
    if told is None:
        assert found == str(exception)
    else:
        assert found.startswith(told)
        assert len(found) <= len(told) or "canary" not in found


def test_a_long_text_is_cut():
    assert message_of(failure(ValueError("x" * 10_000))) == "x" * MAX_MESSAGE


def dig(depth):
    if depth:
        dig(depth - 1)
    else:
        raise ValueError("deep")


def test_of_many_calls_the_innermost_are_told():
    try:
        dig(200)
    except ValueError:
        told = frames_of(Failure())
    lines = told.splitlines()
    assert len(told) <= MAX_FRAMES + 2
    assert lines[0] == "…"
    assert len(lines) > 5
    assert all(line.endswith(":dig") for line in lines[1:])


def test_of_few_calls_all_are_told():
    assert frames_of(failure(ValueError("x"))).endswith(":failure")
