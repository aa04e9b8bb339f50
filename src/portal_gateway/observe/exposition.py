"""What is scraped, written a part at a time, so that no request waits for the whole of it."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

__all__ = ["PART", "Encode", "written_in_parts"]

PART: Final = 1_000
"""Series that are written at once: some 8 ms, in which no request gets on."""

_END: Final = b"# EOF\n"
"""What OpenMetrics has behind everything."""

_HEAD_LINES: Final = 2
"""HELP and TYPE."""

Encode = Callable[[Collector], bytes]
"""Makes the text of all that a collector has."""


class _Some(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def written_in_parts(
    families: Iterable[Metric], encode: Encode, size: int = PART
) -> list[Callable[[], bytes]]:
    """What writes the text of ``families``: each writes a part of ``size`` series at most."""
    parts = _parts(families, size)
    last = len(parts) - 1
    return [
        partial(_written, part, encode, goes_on=goes_on, is_last=index == last)
        for index, (part, goes_on) in enumerate(parts)
    ]


def _written(part: list[Metric], encode: Encode, *, goes_on: bool, is_last: bool) -> bytes:
    text = encode(_Some(part))
    if goes_on:
        text = text.split(b"\n", _HEAD_LINES)[_HEAD_LINES]
    return text if is_last else text.removesuffix(_END)


def _parts(families: Iterable[Metric], size: int) -> list[tuple[list[Metric], bool]]:
    """Families, and whether the first of them goes on from the part before."""
    parts: list[tuple[list[Metric], bool]] = [([], False)]
    room = size
    for family in families:
        samples = family.samples
        begin = 0
        while True:
            if not room:
                parts.append(([], begin > 0))
                room = size
            some = samples[begin : begin + room]
            piece = Metric(family.name, family.documentation, family.type, family.unit)
            piece.samples = some
            parts[-1][0].append(piece)
            room -= len(some)
            begin += len(some)
            if begin == len(samples):
                break
    return parts
