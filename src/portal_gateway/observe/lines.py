"""How a log event becomes one line, JSON or text, whatever a stranger put into it."""

import json
import time
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii
from math import isfinite

__all__ = ["FORMATS", "Formatter", "Value", "json_line", "quoted", "text_line", "timestamp"]

Value = str | int | float | bool | None
"""What a field of a log line may hold."""

MAX_TEXT = 2048
"""Characters of one value; a longer one is cut and marked, so that no client can flood the log."""

Formatter = Callable[[Mapping[str, Value]], str]


def timestamp(now: float) -> str:
    """Unix seconds ``now`` as RFC 3339 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))


def json_line(fields: Mapping[str, Value]) -> str:
    """One JSON object in ASCII: every control character and line separator is escaped."""
    return json.dumps({name: _cut(value) for name, value in fields.items()}) + "\n"


def quoted(text: str | None) -> str:
    """A text as a part of a JSON line, ``null`` where there is none."""
    if text is None:
        return "null"
    return encode_basestring_ascii(text if len(text) <= MAX_TEXT else str(_cut(text)))


def text_line(fields: Mapping[str, Value]) -> str:
    """For people: time, level, message, then the other fields that have a value as ``name=value``.

    A value that is not plain printable text is written as a JSON string.
    """
    rest = " ".join(
        f"{name}={_plain(_cut(value))}"
        for name, value in fields.items()
        if name not in {"timestamp", "level", "message"} and value is not None
    )
    head = f"{fields['timestamp']} {fields['level']:<7} {_plain_sentence(fields['message'])}"
    return f"{head} {rest}\n" if rest else f"{head}\n"


FORMATS: Mapping[str, Formatter] = {"json": json_line, "text": text_line}
"""The formats by their names in the configuration."""


def _cut(value: Value) -> Value:
    if isinstance(value, float) and not isfinite(value):
        # JSON has none of these (RFC 8259, section 6).
        return str(value)
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"{value[:MAX_TEXT]}… ({len(value)} characters)"
    return value


def _plain(value: Value) -> str:
    if isinstance(value, str):
        safe = value.isascii() and value.isprintable() and value and not set(value) & {" ", '"'}
        return value if safe else json.dumps(value)
    return json.dumps(value)


def _plain_sentence(value: Value) -> str:
    text = str(_cut(value))
    return text if text.isascii() and text.isprintable() else json.dumps(text)
