"""What a yamux peer may send us: receive windows, how they grow, and the bound on what they cost.

Every stream starts with ``INITIAL_WINDOW``, as the protocol says. Credit is given back when the application
consumed at least half of the window, in one window update. A window doubles, up to the session's maximum,
when as many bytes as it holds were consumed since it last grew, the reader keeps up (at most a quarter of the
window waits for it), and the growth is at most half of what is left of ``MAX_EXTRA_CREDIT``: so one bulk stream
gets the maximum, the next ones less and less, and no stream takes everything. The credit goes back to
that budget when the stream closes.

So memory is bounded twice. Readers that all stop hold at most ``INITIAL_WINDOW`` for each stream plus
``MAX_EXTRA_CREDIT`` for the session; and when the sum of what is buffered exceeds ``MAX_BUFFERED`` (a peer
that fills thousands of streams nobody reads), the stream that holds most of it is reset.
"""

from collections.abc import Iterable

from portal_gateway.wire.yamux_frames import (
    INITIAL_WINDOW,
    MAX_BUFFERED,
    MAX_EXTRA_CREDIT,
    MAX_LENGTH,
)
from portal_gateway.wire.yamux_stream import YamuxStream

__all__ = ["ReceiveCredit"]


class ReceiveCredit:
    """The receive credit of one session.

    ``buffered`` is the sum of what the streams hold unconsumed, ``extra`` the sum of what their windows
    grew by; both in bytes.
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
        """Account consumed bytes; returns the credit to grant now, 0 while it is under half a window."""
        if not 0 <= count <= stream.buffered:
            raise ValueError(f"{count} bytes consumed of {stream.buffered} that were received")
        self.buffered -= count
        stream.returnable += count
        if stream.returnable < stream.window >> 1 or not stream.receivable:
            return 0
        delta = stream.returnable
        stream.volume += delta
        growth = self._growth(stream)
        if growth:
            stream.window += growth
            stream.extra += growth
            stream.volume = 0
            self.extra += growth
            delta += growth
        stream.returnable = 0
        stream.credit += delta
        return delta

    def forget(self, stream: YamuxStream) -> None:
        """Drop a stream that is gone, with what it held."""
        self.buffered -= stream.buffered
        self.extra -= stream.extra

    def largest(self, streams: Iterable[YamuxStream]) -> YamuxStream:
        """Return the stream that holds most, which is the one to give up."""
        return max(streams, key=lambda stream: stream.buffered)

    def _growth(self, stream: YamuxStream) -> int:
        window = stream.window
        growth = min(window, self.max_window - window)
        if (
            growth
            and stream.volume >= window
            and stream.buffered <= window >> 2
            and growth <= (self.max_extra - self.extra) >> 1
        ):
            return growth
        return 0
