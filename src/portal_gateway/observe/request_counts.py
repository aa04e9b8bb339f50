"""What is counted at the end of each request, in a bounded number of series.

Who calls chooses methods, paths, leases and, with tokens, key ids, so none of these becomes a label
as it came: a path is told by its template, a lease by its name only once it was found, a method or
status by a list. What is left open is bounded: each of the three tables has a share of the series,
and when it is used up a new lease or key is counted as ``_other``, which always has room. What has
series of its own keeps them.

Nothing is formatted here; `portal_gateway.observe.metrics` reads the tables when it is scraped.
"""

from bisect import bisect_left
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from portal_gateway.errors import CAUSES
from portal_gateway.exchange import Exchange
from portal_gateway.observe.tallies import OTHER, Tallies, Tally, can_be_label

__all__ = ["OTHER_METHOD", "UNMATCHED", "RequestCounts", "Row", "path_template"]

UNMATCHED: Final = "_unmatched"
"""The label of a path that leads nowhere, and of a lease that was never found."""

OTHER_METHOD: Final = "_OTHER"

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OWN_METHODS: Final = frozenset({"GET", "HEAD"})
"""Methods told apart at leases and at pages of our own, which know no other."""

_STATUSES: Final = frozenset({0, *(status.value for status in HTTPStatus)})
"""Statuses told apart: a lease may answer with any number. 0 is for no answer at all."""

_OWN_PATHS: Final = {
    "/health": "/health",
    "/health/": "/health",
    "/health/ready": "/health/ready",
    "/health/details": "/health/details",
    "/metrics": "/metrics",
    "/whoami": "/whoami",
}

_OF_LEASES: Final = (
    ("/peer/", "/peer/{lease}"),
    ("/ws/", "/ws/{lease}"),
    ("/.well-known/acme-challenge/", "/.well-known/acme-challenge/{token}"),
)

_LEASE_TEMPLATES: Final = frozenset({"/peer/{lease}", "/ws/{lease}"})

_AT_HOST: Final = "{lease_host}/"
"""The template of every path at the host of a lease."""

_SWITCHING_PROTOCOLS: Final = 101

_SHARE_OF_REQUESTS: Final = 0.7
_SHARE_OF_ERRORS: Final = 0.15
"""Parts of the series; the rest is for the limits. None can use up another's."""

_THE_ROW: Final = -1
"""Comes before every status of a row."""

_KEPT_ROWS: Final = 8
"""Rows that named leases leave for those without a name of their own."""


def path_template(path: str) -> str:
    """The route of a path that was not read as a lease's, as far as there is one."""
    own = _OWN_PATHS.get(path)
    if own is not None:
        return own
    for start, template in _OF_LEASES:
        if path.startswith(start):
            return template
    return UNMATCHED


class Row:
    """The requests of one method, path and lease. ``born`` is when the first of them was counted.

    ``counts`` are those in each bucket of their durations, the last for what is above all bounds,
    ``statuses`` how many had which status, ``others`` those whose status has no series.
    """

    def __init__(self, buckets: int, born: float) -> None:
        self.born = born
        self.counts = [0] * (buckets + 1)
        self.seconds = 0.0
        self.statuses: dict[int, Tally] = {}
        self.others = 0

    def add(self, row: "Row") -> None:
        """Count what ``row`` has counted."""
        self.born = min(self.born, row.born)
        for index, count in enumerate(row.counts):
            self.counts[index] += count
        self.seconds += row.seconds
        self.others += row.others
        for status, tally in row.statuses.items():
            mine = self.statuses.get(status)
            if mine is None:
                mine = self.statuses[status] = Tally(tally.born)
            mine.born = min(mine.born, tally.born)
            mine.count += tally.count


Labels = tuple[str, str, str]


class RequestCounts:
    """Counts in at most ``series`` series; ``bounds`` are those of the durations' buckets.

    ``rows`` are by method, path and lease, ``errors`` by type and lease, ``limit_hits`` by key and
    lease. ``folded_rows`` counts requests that were told as `OTHER`.
    """

    def __init__(self, series: int, bounds: Sequence[float]) -> None:
        self._bounds = list(bounds)
        # Its buckets, the one above them, sum and count, and one for statuses that are not told.
        self._row_cost = len(self._bounds) + 4
        of_rows = int(series * _SHARE_OF_REQUESTS)
        of_errors = int(series * _SHARE_OF_ERRORS)
        # What is folded has its place beside: of errors one for each type.
        self.errors = Tallies(of_errors - len(CAUSES), keeps_first=True)
        self.limit_hits = Tallies(series - of_rows - of_errors - 1, keeps_first=False)
        self.rows: dict[Labels, Row] = {}
        self._leases: set[str] = set()
        self._kept = _KEPT_ROWS * self._row_cost
        self._last = Row(len(self._bounds), 0.0)
        self._rows_left = of_rows - self._row_cost
        self.rows[OTHER_METHOD, OTHER, OTHER] = self._last
        self.folded_rows = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.upstream_timeouts = 0

    def exchange_over(self, exchange: Exchange) -> None:
        """Count a request that is over."""
        lease = exchange.lease
        method = exchange.method
        if lease is None:
            path = path_template(exchange.path)
            if method not in _OWN_METHODS:
                method = OTHER_METHOD
            lease = UNMATCHED if path in _LEASE_TEMPLATES else ""
        else:
            prefix = exchange.lease_prefix
            if not prefix:
                path = _AT_HOST
            else:
                path = "/peer/{lease}" if prefix.startswith(b"/peer/") else "/ws/{lease}"
            if method not in _METHODS:
                method = OTHER_METHOD
            if not exchange.lease_is_known and lease not in self._leases:
                lease = UNMATCHED
        now = exchange.started if exchange.finished is None else exchange.finished
        row = self.rows.get((method, path, lease))
        if row is None:
            row = self._new_row(method, path, lease, now)
        status = exchange.status
        tally = row.statuses.get(status)
        if tally is not None:
            tally.count += 1
        else:
            self._new_status(row, status, now)
        # Of a WebSocket it is the time until it was open.
        ended = exchange.first_byte if status == _SWITCHING_PROTOCOLS else now
        seconds = 0.0 if ended is None else ended - exchange.started
        row.counts[bisect_left(self._bounds, seconds)] += 1
        row.seconds += seconds
        self.bytes_in += exchange.bytes_in
        self.bytes_out += exchange.bytes_out
        if exchange.error is not None:
            self._error(exchange, exchange.error, lease, now)

    def _new_row(self, method: str, path: str, lease: str, now: float) -> Row:
        named = _is_name(lease)
        needed = self._row_cost + (self._kept if named else 0)
        if self._rows_left >= needed and can_be_label(lease):
            return self._place((method, path, lease), Row(len(self._bounds), now))
        self.folded_rows += 1
        if not named:
            return self._last
        folded = self.rows.get((method, path, OTHER))
        if folded is None and self._rows_left >= self._row_cost:
            folded = self._place((method, path, OTHER), Row(len(self._bounds), now))
        return self._last if folded is None else folded

    def _place(self, labels: Labels, row: Row) -> Row:
        self._rows_left -= self._row_cost
        self.rows[labels] = row
        if _is_name(labels[2]):
            self._leases.add(labels[2])
        return row

    def _new_status(self, row: Row, status: int, now: float) -> None:
        if self._rows_left > 0 and status in _STATUSES:
            self._rows_left -= 1
            tally = row.statuses[status] = Tally(now)
            tally.count = 1
        else:
            row.others += 1
            self.folded_rows += 1

    def _error(self, exchange: Exchange, error: str, lease: str, now: float) -> None:
        if error == "upstream_timeout":
            self.upstream_timeouts += 1
        self.errors.count((error, lease), now)
        if error == "rate_limit_exceeded":
            caller = exchange.caller
            self.limit_hits.count(("" if caller is None else caller.key_id, lease), now)

    def add(self, others: "Sequence[RequestCounts]") -> None:
        """Count what they have counted, into counts that are new; all have the same bounds.

        Series are given to what was counted first, and to nothing any more after the first that
        finds no room. So what is younger never takes a series from what is older: however often the
        same counts are added up as they grow, what is told again is never less than before.
        """
        rows: dict[Labels, Row] = {}
        for counts in others:
            for labels, row in counts.rows.items():
                mine = rows.get(labels)
                if mine is None:
                    mine = rows[labels] = Row(len(self._bounds), row.born)
                mine.add(row)
            self.folded_rows += counts.folded_rows
            self.bytes_in += counts.bytes_in
            self.bytes_out += counts.bytes_out
            self.upstream_timeouts += counts.upstream_timeouts
        self._add_rows(rows)
        self.errors.add([counts.errors for counts in others])
        self.limit_hits.add([counts.limit_hits for counts in others])

    def _add_rows(self, rows: dict[Labels, Row]) -> None:
        # Strangers cannot make many rows without a name, and those are never to be without room.
        order: list[tuple[bool, float, Labels, int]] = []
        for labels, row in rows.items():
            named = _is_name(labels[2])
            born = row.born
            order.append((named, born, labels, _THE_ROW))
            for status, tally in row.statuses.items():
                order.append((named, max(born, tally.born), labels, status))
        order.sort()
        for _, _, labels, status in order:
            mine = self.rows.get(labels)
            if status == _THE_ROW:
                self._add_row(labels, rows[labels], mine)
            elif mine is not None:
                self._add_status(mine, status, rows[labels].statuses[status])

    def _add_row(self, labels: Labels, row: Row, mine: Row | None) -> None:
        statuses = row.statuses
        without = Row(len(self._bounds), row.born)
        row.statuses = without.statuses
        without.add(row)
        row.statuses = statuses
        if mine is not None:
            mine.add(without)
        elif self._rows_left >= self._row_cost:
            self._place(labels, without)
        else:
            self._rows_left = 0
            self.folded_rows += sum(row.counts)
            without.others += sum(tally.count for tally in statuses.values())
            self._last.add(without)

    def _add_status(self, row: Row, status: int, tally: Tally) -> None:
        if self._rows_left > 0:
            self._rows_left -= 1
            row.statuses[status] = tally
        else:
            row.others += tally.count
            self.folded_rows += tally.count


def _is_name(lease: str) -> bool:
    return lease not in ("", UNMATCHED, OTHER)
