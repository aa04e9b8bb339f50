"""What a client of HTTP/2 makes us wait for, and how long: bodies that come, bodies that are taken.

The deadlines are the connection's; the names that belong here are `BODY_RATE` and `STALL`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from portal_gateway.errors import GatewayError, fault
from portal_gateway.frontend.deadlines import Deadlines
from portal_gateway.frontend.http2_stream import HTTP2Stream

if TYPE_CHECKING:
    from portal_gateway.frontend.site import Site

__all__ = ["BODY_RATE", "MOST_STALLS", "STALL", "Waits"]

BODY_RATE = "body_rate"
STALL = "stall"

MOST_STALLS = 4
"""The most that a stream may wait, in write stalls, however long its connection was blocked:
a hundred streams share 14 KB/s then, and none is held by a client that reads only another."""


class Waits:
    """Holds each of ``streams`` to the limits in time that HTTP/1.1 has for a connection.

    ``refuse`` answers a request whose body comes too slowly. ``cut`` resets a stream of which the
    client takes less than `LEAST_TAKEN` in the time of the write stall, and not all that waits;
    time in which the whole connection was blocked does not count, but see `MOST_STALLS`.
    """

    __slots__ = ("_blocked_at", "_cut", "_deadlines", "_limits", "_refuse", "_site", "_streams")

    def __init__(
        self,
        site: "Site",
        deadlines: Deadlines,
        streams: Mapping[int, HTTP2Stream],
        *,
        refuse: Callable[[HTTP2Stream, GatewayError], None],
        cut: Callable[[HTTP2Stream], None],
    ) -> None:
        self._site = site
        self._limits = site.limits
        self._deadlines = deadlines
        self._streams = streams
        self._refuse = refuse
        self._cut = cut
        self._blocked_at: float | None = None

    def watch_bodies(self) -> None:
        """Hold those that are awaited to their rate from now on."""
        if BODY_RATE not in self._deadlines and any(s.awaited for s in self._streams.values()):
            self.check_rates()

    def check_rates(self) -> None:
        """`BODY_RATE` has come."""
        limits, now = self._limits, self._site.seconds()
        awaited = False
        for stream in list(self._streams.values()):
            if not stream.awaited:
                stream.watched_since = None
                continue
            since = stream.watched_since
            if since is None or now - since >= limits.body_rate_window:
                enough = limits.body_rate * limits.body_rate_window
                if since is not None and stream.window_bytes < enough:
                    self._site.limit_hits["body_rate"] += 1
                    told = f"the body came at less than {limits.body_rate} bytes/s"
                    self._refuse(stream, fault("request_timeout", told))
                    continue
                stream.watched_since = now
                stream.window_bytes = 0
            awaited = True
        if awaited:
            # Half a window: a body that began a little later is not let off a whole one.
            self._deadlines.set(BODY_RATE, now + limits.body_rate_window / 2)

    def watch_queue(self, stream: HTTP2Stream) -> None:
        """The client's window has no room for what ``stream`` has to send."""
        if STALL not in self._deadlines:
            self._deadlines.set(STALL, stream.waiting_since + self._limits.write_stall)

    def connection_blocked(self) -> None:
        """The connection takes nothing: what waits is not kept back by windows alone."""
        self._blocked_at = self._site.seconds()

    def connection_drained(self) -> None:
        """The connection has sent everything."""
        now = self._site.seconds()
        for stream in self._streams.values():
            stream.excused += self._blocked_for(stream, now)
        self._blocked_at = None

    def _blocked_for(self, stream: HTTP2Stream, now: float) -> float:
        blocked_at = self._blocked_at
        return 0.0 if blocked_at is None else now - max(blocked_at, stream.waiting_since)

    def check_stalls(self) -> None:
        """`STALL` has come."""
        stall, now = self._limits.write_stall, self._site.seconds()
        next_due = None
        for stream in list(self._streams.values()):
            if not stream.queued:
                continue
            excused = stream.excused + self._blocked_for(stream, now)
            due = stream.waiting_since + min(stall + excused, stall * MOST_STALLS)
            if due <= now:
                self._site.limit_hits["write_stall"] += 1
                self._cut(stream)
            elif next_due is None or due < next_due:
                next_due = due
        if next_due is not None:
            self._deadlines.set(STALL, max(now + 1.0, next_due))
