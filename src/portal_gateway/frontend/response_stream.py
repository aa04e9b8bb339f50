"""Responses that are streams: how long they may be silent, and what is said meanwhile.

A response without a length may go on for ever, so it is not held to a time in all, but to one
without a byte. Streams of events may get comments while they are silent, so that no hop on the way
to the client takes them for dead.
"""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from portal_gateway.wire.http1_response import ResponseHead
from portal_gateway.wire.sse_boundaries import EventBoundaries

__all__ = ["TICK", "ResponseStream", "StreamRules", "StreamWatch"]

_log = Logger(__name__)

TICK = 0.5
"""Seconds between two looks at all streams. One timer for all is cheaper than one for each, since
most responses without a length end within a turn or two."""


_EVENT_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")
_TAIL = 4
"""Bytes that tell whether an event has just ended."""


@dataclass(frozen=True, slots=True)
class StreamRules:
    """How streams are kept. Times are seconds.

    ``keepalive``: a stream of events gets a comment at the latest after so long without a byte;
    None for no comments. ``idle_timeout``: a response without a length ends, cut short, when its
    lease was silent for so long.
    """

    keepalive: float | None = None
    idle_timeout: float = 3600.0


class StreamWatch:
    """Looks at all streams of a gateway."""

    def __init__(self, clock: IReactorTime, rules: StreamRules) -> None:
        self.seconds = clock.seconds
        self._clock = clock
        self.rules = rules
        self._streams: set[ResponseStream] = set()
        self._tick: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._streams)

    def begin(
        self,
        head: ResponseHead,
        send: Callable[[bytes], object],
        too_silent: Callable[[], object],
    ) -> "ResponseStream":
        """Watch a response that has no length.

        ``send`` gets comments, ``too_silent`` is called once when the lease said nothing for too
        long. The caller ends it with `ResponseStream.stop`.
        """
        of_events = _is_plain_event_stream(head)
        boundaries = EventBoundaries() if of_events and self.rules.keepalive is not None else None
        stream = ResponseStream(self, send, too_silent, boundaries, of_events=of_events)
        self._streams.add(stream)
        if self._tick is None:
            self._tick = self._clock.callLater(TICK, self._look)
        return stream

    def forget(self, stream: "ResponseStream") -> None:
        """The stream has ended."""
        self._streams.discard(stream)

    def _look(self) -> None:
        self._tick = None
        rules = self.rules
        for stream in list(self._streams):
            try:
                stream.look(rules)
            except Exception:  # noqa: BLE001 - the streams of others are looked at, too
                _log.failure("a stream could not be looked at")
                stream.stop()
        if self._streams:
            self._tick = self._clock.callLater(TICK, self._look)


class ResponseStream:
    """One response without a length, while it lasts.

    Time in which the client takes nothing does not count: that is for the write stall.
    """

    __slots__ = (
        "_boundaries",
        "_heard",
        "_last",
        "_of_events",
        "_paused",
        "_said",
        "_send",
        "_too_silent",
        "_watch",
    )

    def __init__(
        self,
        watch: StreamWatch,
        send: Callable[[bytes], object],
        too_silent: Callable[[], object],
        boundaries: EventBoundaries | None,
        *,
        of_events: bool,
    ) -> None:
        self._watch = watch
        self._send = send
        self._too_silent = too_silent
        self._boundaries = boundaries
        self._of_events = of_events
        self._last = b""
        self._paused = False
        self._heard = self._said = watch.seconds()

    def receive_data(self, data: bytes) -> bytes:
        """The lease sent ``data``; returns what of it goes to the client now."""
        self._heard = self._said = self._watch.seconds()
        self._last = data[-_TAIL:]
        return data if self._boundaries is None else self._boundaries.receive_data(data)

    def receive_end(self) -> bytes:
        """The lease has sent everything; returns what is still to go to the client."""
        self.stop()
        return b"" if self._boundaries is None else self._boundaries.receive_end()

    def last_words(self, text: str) -> bytes | None:
        """The comment that ends a stream of events before its time; None for what is none.

        An event that is not complete stays so, and is never told: there is no empty line behind it
        (WHATWG HTML, section 9.2.6).
        """
        if not self._of_events:
            return None
        comment = b": " + text.encode("ascii", "replace") + b"\n"
        if not self._last or self._last.endswith(_EVENT_ENDS):
            return comment + b"\n"
        return comment if self._last.endswith((b"\n", b"\r")) else b"\n" + comment

    def pause(self) -> None:
        """The client takes nothing for now."""
        self._paused = True

    def resume(self) -> None:
        """The client takes more."""
        self._paused = False
        self._heard = self._said = self._watch.seconds()

    def stop(self) -> None:
        """The response is over."""
        self._watch.forget(self)

    def look(self, rules: StreamRules) -> None:
        """Say or end what is due."""
        if self._paused:
            return
        now = self._watch.seconds()
        if now - self._heard >= rules.idle_timeout:
            self.stop()
            self._too_silent()
        elif (
            self._boundaries is not None
            and rules.keepalive is not None
            and now - self._said > rules.keepalive - TICK
            and self._boundaries.at_boundary
        ):
            self._said = now
            self._send(self._boundaries.comment())


def _is_plain_event_stream(head: ResponseHead) -> bool:
    """Whether comments can be put into the body: events, and not compressed or the like."""
    kinds = [value for name, value in head.headers if name.lower() == b"content-type"]
    if len(kinds) != 1 or any(name.lower() == b"content-encoding" for name, _ in head.headers):
        return False
    return kinds[0].partition(b";")[0].strip().lower() == b"text/event-stream"
