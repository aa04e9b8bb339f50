"""Readers of durations and of moments."""

import re
from datetime import UTC, datetime

from portal_gateway.config.reading import Value
from portal_gateway.config.worded import Worded, reads

__all__ = ["duration", "moment_of", "seconds_of", "spoken_duration", "timestamp"]

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_MICROSECOND_DIGITS = 7  # the point and what a datetime can hold


def duration(least: float, most: float) -> Worded[float]:
    """Reads a duration such as ``500ms``, ``30s``, ``5m``, ``2h`` or ``7d`` into seconds."""

    bounds = f"from ``{spoken_duration(least)}`` to ``{spoken_duration(most)}``"

    @reads(f"duration {bounds}", spoken=spoken_duration)
    def read(value: Value) -> float:
        found = value.text("a duration such as 30s")
        seconds = seconds_of(found.text)
        if seconds is None:
            raise value.refuse(
                f"bad duration {found.shown}; write a number and one of ms, s, m, h, d, such as 30s"
            )
        if not least <= seconds <= most:
            raise value.refuse(
                f"expected a duration from {spoken_duration(least)} to {spoken_duration(most)},"
                f" found {found.shown}"
            )
        return seconds

    return read


def seconds_of(text: str) -> float | None:
    """The seconds of a duration such as ``30s``, ``None`` for what is none."""
    match = _DURATION.fullmatch(text)
    return None if match is None else float(match[1]) * _SECONDS[match[2]]


def spoken_duration(seconds: float) -> str:
    """Seconds as a configuration would have them, in the largest unit that divides them."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


@reads("time")
def timestamp(value: Value) -> datetime:
    """Reads an RFC 3339 date and time, in quotes or not, into an aware one in UTC.

    RFC 3339 section 5.6 lets ``T`` and ``Z`` be lower case and a space stand for ``T``. A time
    without an offset is refused, since it names no moment; so is a leap second, which a clock does
    not show.
    """
    found = value.text("a date and time")
    if _TIMESTAMP.fullmatch(found.text) is None:
        raise value.refuse(
            f"bad date and time {found.shown}; write it as in RFC 3339, with its offset,"
            ' such as "2030-12-31T23:59:59Z"'
        )
    moment = moment_of(found.text)
    if moment is None:
        raise value.refuse(f"no such date and time: {found.shown}")
    return moment


def moment_of(text: str) -> datetime | None:
    """The moment of an RFC 3339 date and time, in UTC; ``None`` for what is none."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    date, time, offset = match.groups()
    seconds, point, fraction = time.partition(".")
    iso = f"{date}T{seconds}{(point + fraction)[:_MICROSECOND_DIGITS]}{offset.upper()}"
    try:
        return datetime.fromisoformat(iso).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
