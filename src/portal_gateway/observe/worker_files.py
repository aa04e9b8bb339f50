"""How the workers of one gateway know each other's figures: each keeps them in a file.

Whoever is asked writes its own first and then reads the others', so that two that are asked one
after the other never tell less than before. A worker that takes the place of one that has ended
goes on from what that one had counted.

The directory belongs to all workers of one parent and to nobody else. What cannot be read is left
out: a file is replaced as a whole, so it is there whole or not at all.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger

from portal_gateway.observe.figures import Figures, Lag, Reading, counted
from portal_gateway.observe.metric_list import DURATIONS, LAGS
from portal_gateway.observe.request_counts import RequestCounts, Row
from portal_gateway.observe.tallies import Tallies, Tally

__all__ = ["FRESH", "WRITE_INTERVAL", "WorkerFiles"]

WRITE_INTERVAL: Final = 1.0
"""Seconds from one writing to the next: what a worker that is killed had counted since is lost."""

FRESH: Final = 5.0
"""Seconds for which a worker is taken to be what it last wrote."""

_UNBOUNDED: Final = 1_000_000
"""Series for what was bounded when it was written."""

_OWNER_ONLY: Final = 0o600

_log = Logger()


class WorkerFiles:
    """The files of ``directory``, of which that of worker number ``index`` is written here.

    ``seconds`` is a clock that all processes of the machine share.
    """

    def __init__(self, directory: Path, index: int, seconds: Callable[[], float]) -> None:
        self._directory = directory
        self._own = directory / f"worker-{index}.json"
        self._seconds = seconds
        self._failing = False

    def before(self) -> Figures | None:
        """What the worker in whose place this one is had counted, if there was one."""
        figures = self._read(self._own)
        return None if figures is None else counted(figures)

    def write(self, figures: Figures) -> None:
        """Have the others know this."""
        text = json.dumps([self._seconds(), _written(figures)], separators=(",", ":"))
        new = self._own.with_suffix(".new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
            new.replace(self._own)
        except OSError as error:
            if not self._failing:
                _log.error("metrics cannot be shared: {why}", why=error.strerror)
            self._failing = True
        else:
            self._failing = False

    def others(self) -> Iterator[Figures]:
        """What the other workers wrote last; of those that are gone what they had counted."""
        for path in sorted(self._directory.glob("worker-*.json")):
            if path != self._own:
                figures = self._read(path)
                if figures is not None:
                    yield figures

    def _read(self, path: Path) -> Figures | None:
        try:
            written, content = json.loads(path.read_bytes())
            figures = _read_back(content)
            is_fresh = self._seconds() - written <= FRESH
        except (OSError, ValueError, TypeError, KeyError, IndexError):
            return None
        return figures if is_fresh else counted(figures)


def _written(figures: Figures) -> dict[str, Any]:
    requests = figures.requests
    return {
        "rows": [
            [
                labels,
                row.born,
                row.counts,
                row.seconds,
                row.others,
                [[status, tally.born, tally.count] for status, tally in row.statuses.items()],
            ]
            for labels, row in requests.rows.items()
        ],
        "errors": _tallies_written(requests.errors),
        "limit_hits": _tallies_written(requests.limit_hits),
        "folded_rows": requests.folded_rows,
        "upstream_timeouts": requests.upstream_timeouts,
        "lag": [list(figures.lag.counts), figures.lag.seconds],
        "readings": figures.readings,
    }


def _tallies_written(tallies: Tallies) -> list[Any]:
    return [
        tallies.folded,
        [[labels, tally.born, tally.count] for labels, tally in tallies.items()],
    ]


def _read_back(content: dict[str, Any]) -> Figures:
    requests = RequestCounts(_UNBOUNDED, DURATIONS)
    for (method, path, lease), born, counts, seconds, others, statuses in content["rows"]:
        row = requests.rows[method, path, lease] = Row(len(DURATIONS), born)
        if len(counts) != len(row.counts):
            raise ValueError("the buckets are others")
        row.counts = counts
        row.seconds = seconds
        row.others = others
        for status, since, count in statuses:
            row.statuses[status] = tally = Tally(since)
            tally.count = count
    _read_tallies(requests.errors, content["errors"])
    _read_tallies(requests.limit_hits, content["limit_hits"])
    requests.folded_rows = content["folded_rows"]
    requests.upstream_timeouts = content["upstream_timeouts"]
    counts, seconds = content["lag"]
    if len(counts) != len(LAGS) + 1:
        raise ValueError("the buckets are others")
    readings = [Reading(name, value, tuple(labels)) for name, value, labels in content["readings"]]
    return Figures(requests, Lag(counts, seconds), readings)


def _read_tallies(tallies: Tallies, content: list[Any]) -> None:
    folded, written = content
    for (first, second), born, count in written:
        tallies.count((first, second), born, count)
    tallies.folded = folded
