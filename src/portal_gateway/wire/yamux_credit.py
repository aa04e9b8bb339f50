"""What a yamux peer may send us: receive windows, how they grow, and the bound on what they cost.

Every stream starts with ``INITIAL_WINDOW``, as the protocol says. Credit is given back when the
application consumed at least half of the window, in one window update. With it the window doubles,
up to the session's maximum, when

- as many bytes as it holds were consumed since it last grew,
- the reader keeps up: at most a quarter of the window waits for it, and
- the growth is at most half of what is left of ``MAX_EXTRA_CREDIT``.

So the first bulk stream gets the maximum, the next ones less and less, and none takes everything.
What a stream grew by goes back to that budget when the stream goes.

Memory is bounded twice. Readers that all stop hold at most ``INITIAL_WINDOW`` for each stream plus
``MAX_EXTRA_CREDIT`` for the session. And when the sum of what is buffered would exceed
``MAX_BUFFERED`` (a peer that fills thousands of streams nobody reads), the stream that holds most
of it is reset.
"""

from collections.abc import Iterable

from portal_gateway.wire.yamux_frames import (
    INITIAL_WINDOW,
    MAX_BUFFERED,
    MAX_EXTRA_CREDIT,
    MAX_LENGTH,
)
from portal_gateway.wire.yamux_stream import YamuxStream

__all__ = ["ReceiveCredit", "largest"]


class ReceiveCredit:
    """The receive credit of one session.

    ``buffered`` is the sum of what the streams hold unconsumed, ``extra`` the sum of what their
    windows grew by; both in bytes, as are the maxima.
    """

    __slots__ = ("buffered", "extra", "max_buffered", "max_extra", "max_window")

    def __init__(
        self,
        max_window: int,
        *,
        max_extra: int = MAX_EXTRA_CREDIT,
        max_buffered: int = MAX_BUFFERED,
    ) -> None:
        if not INITIAL_WINDOW <= max_window <= MAX_LENGTH:
            raise ValueError(
                f"a receive window is {INITIAL_WINDOW} to {MAX_LENGTH} bytes, not {max_window}"
            )
        self.max_window = max_window
        self.max_extra = max_extra
        self.max_buffered = max_buffered
        self.buffered = 0
        self.extra = 0

    def consume(self, stream: YamuxStream, count: int) -> int:
        """Account consumed bytes; returns the credit to grant now, 0 below half a window."""
        returnable = stream.returnable + count
        if count < 0 or returnable + stream.credit > stream.window:
            raise ValueError(f"{count} bytes consumed of {stream.buffered} that were received")
        self.buffered -= count
        stream.returnable = returnable
        if returnable < stream.window >> 1 or not stream.receivable:
            return 0
        stream.returnable = 0
        stream.volume += returnable
        delta = returnable + self._grow(stream, stream.window - stream.credit - returnable)
        stream.credit += delta
        return delta

    def forget(self, stream: YamuxStream) -> None:
        """Drop a stream that is gone, with what it held."""
        self.buffered -= stream.buffered
        self.extra -= stream.extra

    def _grow(self, stream: YamuxStream, unread: int) -> int:
        window = stream.window
        growth = min(window, self.max_window - window)
        if (
            not growth
            or stream.volume < window
            or unread > window >> 2
            or growth > (self.max_extra - self.extra) >> 1
        ):
            return 0
        stream.window += growth
        stream.extra += growth
        stream.volume = 0
        self.extra += growth
        return growth


def largest(streams: Iterable[YamuxStream]) -> YamuxStream:
    """Return the stream that holds most: the one to give up when memory is short."""
    return max(streams, key=lambda stream: stream.buffered)
