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

__all__ = ["OTHER", "OTHER_METHOD", "UNMATCHED", "RequestCounts", "Row", "path_template"]

OTHER: Final = "_other"
"""The label of what has no series of its own."""

UNMATCHED: Final = "_unmatched"
"""The label of a path that leads nowhere, and of a lease that was never found."""

OTHER_METHOD: Final = "_OTHER"

LONGEST_LABEL: Final = 200
"""Characters of a label. A token's subject may have thousands, and a name of 63 is a long one."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OWN_METHODS: Final = frozenset({"GET", "HEAD"})
"""Methods told apart at leases and at pages of our own, which know no other."""

_STATUSES: Final = frozenset({0, *(status.value for status in HTTPStatus)})
"""Statuses told apart: a lease may answer with any number. 0 is for no answer at all."""

_OWN_PATHS: Final = {
    "/health": "/health",
    "/health/": "/health",
    "/health/ready": "/health/ready",
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


def _can_be_label(value: str) -> bool:
    """Whether it is Unicode text of a bounded length; a token's claim may be neither."""
    if len(value) > LONGEST_LABEL:
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class Row:
    """The requests of one method, path and lease.

    ``counts`` are those in each bucket of their durations, the last for what is above all bounds,
    ``statuses`` how many had which status, ``others`` those whose status has no series.
    """

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.seconds = 0.0
        self.statuses: dict[int, int] = {}
        self.others = 0


class RequestCounts:
    """Counts in at most ``series`` series; ``bounds`` are those of the durations' buckets.

    ``rows`` are by method, path and lease, ``errors`` by type and lease, ``limit_hits`` by key and
    lease. ``folded_rows``, ``folded_errors`` and ``folded_hits`` count what was told as `OTHER`.
    """

    def __init__(self, series: int, bounds: Sequence[float]) -> None:
        self._bounds = list(bounds)
        # Its buckets, the one above them, sum and count, and one for statuses that are not told.
        self._row_cost = len(self._bounds) + 4
        self._rows_left = int(series * _SHARE_OF_REQUESTS)
        self._errors_left = int(series * _SHARE_OF_ERRORS) - len(CAUSES)
        self._hits_left = series - int(series * _SHARE_OF_REQUESTS)
        self._hits_left -= int(series * _SHARE_OF_ERRORS) + 1
        self.rows: dict[tuple[str, str, str], Row] = {}
        self.errors: dict[tuple[str, str], int] = {}
        self.limit_hits: dict[tuple[str, str], int] = {}
        self._leases: set[str] = set()
        self._kept = _KEPT_ROWS * self._row_cost
        self._last = Row(len(self._bounds))
        self._rows_left -= self._row_cost
        self.rows[OTHER_METHOD, OTHER, OTHER] = self._last
        self.folded_rows = 0
        self.folded_errors = 0
        self.folded_hits = 0
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
        row = self.rows.get((method, path, lease))
        if row is None:
            row = self._new_row(method, path, lease)
        status = exchange.status
        statuses = row.statuses
        if status in statuses:
            statuses[status] += 1
        else:
            self._new_status(row, status)
        # Of a WebSocket it is the time until it was open.
        ended = exchange.first_byte if status == _SWITCHING_PROTOCOLS else exchange.finished
        seconds = 0.0 if ended is None else ended - exchange.started
        row.counts[bisect_left(self._bounds, seconds)] += 1
        row.seconds += seconds
        self.bytes_in += exchange.bytes_in
        self.bytes_out += exchange.bytes_out
        if exchange.error is not None:
            self._error(exchange, exchange.error, lease)

    def _new_row(self, method: str, path: str, lease: str) -> Row:
        named = lease not in ("", UNMATCHED, OTHER)
        needed = self._row_cost + (self._kept if named else 0)
        if self._rows_left >= needed and _can_be_label(lease):
            self._rows_left -= self._row_cost
            row = self.rows[method, path, lease] = Row(len(self._bounds))
            if named:
                self._leases.add(lease)
            return row
        self.folded_rows += 1
        if not named:
            return self._last
        folded = self.rows.get((method, path, OTHER))
        if folded is not None:
            return folded
        if self._rows_left >= self._row_cost:
            self._rows_left -= self._row_cost
            folded = self.rows[method, path, OTHER] = Row(len(self._bounds))
            return folded
        return self._last

    def _new_status(self, row: Row, status: int) -> None:
        if self._rows_left > 0 and status in _STATUSES:
            self._rows_left -= 1
            row.statuses[status] = 1
        else:
            row.others += 1
            self.folded_rows += 1

    def _error(self, exchange: Exchange, error: str, lease: str) -> None:
        if error == "upstream_timeout":
            self.upstream_timeouts += 1
        which = (error, lease)
        count = self.errors.get(which)
        if count is None:
            if self._errors_left > 0 and _can_be_label(lease):
                self._errors_left -= 1
            else:
                self.folded_errors += 1
                which = (error, OTHER)
            count = self.errors.get(which, 0)
        self.errors[which] = count + 1
        if error == "rate_limit_exceeded":
            self._limit_hit("" if exchange.caller is None else exchange.caller.key_id, lease)

    def _limit_hit(self, key: str, lease: str) -> None:
        which = (key, lease)
        count = self.limit_hits.get(which)
        if count is None:
            if self._hits_left > 0 and _can_be_label(key) and _can_be_label(lease):
                self._hits_left -= 1
            else:
                self.folded_hits += 1
                which = (OTHER, OTHER)
            count = self.limit_hits.get(which, 0)
        self.limit_hits[which] = count + 1
