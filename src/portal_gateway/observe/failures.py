"""What the log tells of an exception: where it came from, and nothing that somebody sent.

Tracebacks are of names and lines only, without the values of variables. The texts of exceptions
quote what they were given (``KeyError: 'sk_live_…'``), so what stands in quotes is left out.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from twisted.python.failure import Failure

from portal_gateway.observe.masking import MASK, masked

__all__ = ["MAX_FRAMES", "MAX_MESSAGE", "failure_of", "frames_of", "message_of"]

MAX_FRAMES: Final = 1800
"""Characters of a traceback, as far as it fits into one value; the innermost calls are told."""

MAX_MESSAGE: Final = 300
"""Characters of an exception's text: a sentence."""

_QUOTED: Final = re.compile(r"""b?'.*'|b?".*"|b?['"].*""", re.DOTALL)
"""From the first quotation mark to the last of its kind, or to the end."""


def failure_of(event: Mapping[str, Any]) -> Failure | None:
    """The failure of an event of ``twisted.logger``, or of the older ``twisted.python.log``."""
    failure = event.get("log_failure", event.get("failure"))
    return failure if isinstance(failure, Failure) else None


def message_of(failure: Failure) -> str:
    """The text of the exception, without what it quotes."""
    value = failure.value
    if isinstance(value, OSError) and isinstance(value.strerror, str):
        text = value.strerror if value.filename is None else f"{value.strerror}: {value.filename}"
    else:
        try:
            text = _QUOTED.sub(MASK, str(value))
        except Exception:  # noqa: BLE001 - it is told anyway, without its text
            text = ""
    return masked(text[:MAX_MESSAGE])


def frames_of(failure: Failure) -> str:
    """The calls, one a line, the innermost last: file, line, function."""
    lines: list[str] = []
    room = MAX_FRAMES
    for function, file, line, *_ in reversed(failure.frames):
        told = f"{file}:{line}:{function}"
        room -= len(told) + 1
        if room < 0:
            lines.append("…")
            break
        lines.append(told)
    return "\n".join(reversed(lines))
