"""The section ``logging``: what is written of what happens, and where."""

from pathlib import Path
from typing import Final, cast, get_args

from portal_gateway.config.fields import Section, choice, text, true_or_false, whole_number
from portal_gateway.config.files import state_file
from portal_gateway.config.model import LogFormat, LoggingSection, LogLevel, LogStreamName
from portal_gateway.config.reading import Value
from portal_gateway.config.sizes import size
from portal_gateway.config.worded import reads

__all__ = ["LOGGING"]

_MOST_KEPT: Final = 1000


@reads("``stdout``, ``stderr`` or the path of a file")
def _output(value: Value) -> LogStreamName | Path:
    found = text(value, expected="stdout, stderr or the path of a file").text
    return cast("LogStreamName", found) if found in get_args(LogStreamName) else state_file(value)


def _rotates_a_file(logging: LoggingSection, value: Value) -> None:
    if logging.rotate_size is not None and not isinstance(logging.output, Path):
        value.at("rotate_size").refuse("only a file is rotated; name one as output")


LOGGING = Section(
    LoggingSection,
    {
        "level": choice("level", get_args(LogLevel)),
        "format": choice("format", get_args(LogFormat)),
        "query": true_or_false,
        "output": _output,
        "rotate_size": size(1_000_000, 100_000_000_000),
        "rotate_keep": whole_number(0, _MOST_KEPT),
    },
    check=_rotates_a_file,
)
