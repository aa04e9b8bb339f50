"""The body of a request, between the connection that brings it and whoever reads it.

Nobody has to read it at once: what arrives before is kept up to a bound, then the connection is not
read any further. A reader that pauses stops the connection likewise, so a slow lease slows down the
client, and nothing piles up here.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from portal_gateway.errors import GatewayError
from portal_gateway.wire.http_fields import Headers

__all__ = ["UNREAD_BOUND", "BodyInlet", "BodyReceiver", "PausableInput"]

UNREAD_BOUND = 64 * 1024
"""Bytes of a body that are kept while nobody reads it: what one read of a socket brings at most, so
that a small body which came along with its header never stops the connection."""


class BodyReceiver(Protocol):
    """Who takes a request's body. Either `request_end` or `request_aborted` comes, and last."""

    def request_data(self, data: bytes) -> None:
        """A part of the body, never empty."""

    def request_end(self, trailers: Headers) -> None:
        """The body is complete."""

    def request_aborted(self, error: GatewayError) -> None:
        """The body will never be complete: the client broke its framing, was too slow, or left.

        The client has been answered where that was possible; whatever is sent now is ignored.
        """


class PausableInput(Protocol):
    """Where the body comes from."""

    def pause_reading(self) -> None:
        """Bring nothing until `resume_reading`; what is on its way already may still come."""

    def resume_reading(self) -> None:
        """Go on."""


class BodyInlet:
    """Keeps the order and the bound of one body.

    Every method may be called from inside a method of the receiver.
    """

    __slots__ = (
        "_draining",
        "_error",
        "_holding",
        "_kept",
        "_kept_size",
        "_over",
        "_paused",
        "_peeking",
        "_receiver",
        "_source",
        "_trailers",
    )

    def __init__(self, source: PausableInput) -> None:
        self._source = source
        self._receiver: BodyReceiver | None = None
        self._kept: deque[bytes] = deque()
        self._kept_size = 0
        self._peeking: Callable[[bytes | None], object] | None = None
        self._paused = False
        self._draining = False
        self._holding = False
        self._over = False
        self._trailers: Headers | None = None
        self._error: GatewayError | None = None

    # From the connection.

    def receive_data(self, data: bytes) -> None:
        """A part of the body arrived."""
        receiver = self._receiver
        if receiver is not None and not self._paused and not self._kept:
            receiver.request_data(data)
        elif not self._over:
            self._kept.append(data)
            self._kept_size += len(data)
            if self._kept_size > UNREAD_BOUND:
                self._hold()
                self._end_peeking()

    def receive_end(self, trailers: Headers) -> None:
        """The body is complete."""
        self._trailers = trailers
        self._end_peeking()
        self._drain()

    def abort(self, error: GatewayError) -> None:
        """The body will never be complete; what is kept of it is dropped."""
        if not self._over and self._trailers is None:
            self._kept.clear()
            self._kept_size = 0
            self._error = error
            self._paused = False
            self._end_peeking()
            self._drain()

    # From the reader.

    def peek(self, told: Callable[[bytes | None], object]) -> None:
        """Tell all of the body once it has arrived, ``None`` if that is more than `UNREAD_BOUND`.

        It stays here, for who reads it then. Raises RuntimeError when it is being read already.
        """
        if self._receiver is not None:
            raise RuntimeError("the body of a request is being read")
        self._peeking = told
        settled = self._over or self._trailers is not None or self._error is not None
        if settled or self._kept_size > UNREAD_BOUND:
            self._end_peeking()

    def _end_peeking(self) -> None:
        told, self._peeking = self._peeking, None
        if told is not None:
            complete = self._trailers is not None and self._kept_size <= UNREAD_BOUND
            told(b"".join(self._kept) if complete else None)

    def read(self, receiver: BodyReceiver) -> None:
        """Give everything to ``receiver``, what was kept first.

        Raises RuntimeError the second time.
        """
        if self._receiver is not None:
            raise RuntimeError("the body of a request can be read once")
        if not self._over:
            self._receiver = receiver
            self._drain()

    def pause(self) -> None:
        """Bring nothing until `resume`."""
        if not self._paused and not self._over:
            self._paused = True
            self._hold()

    def resume(self) -> None:
        """Go on."""
        if self._paused:
            self._paused = False
            self._drain()

    def drop(self) -> None:
        """Nobody wants the rest."""
        self._over = True
        self._receiver = None
        self._peeking = None
        self._kept.clear()
        self._kept_size = 0
        # What comes next on the connection is not this body's to hold back.
        self._release()

    def _drain(self) -> None:
        receiver = self._receiver
        if receiver is None or self._draining:
            return
        self._draining = True
        try:
            while self._kept and not self._paused:
                data = self._kept.popleft()
                self._kept_size -= len(data)
                receiver.request_data(data)
        finally:
            self._draining = False
        if self._paused or self._over:
            return
        if self._error is not None:
            self.drop()
            receiver.request_aborted(self._error)
        elif self._trailers is not None:
            self.drop()
            receiver.request_end(self._trailers)
        else:
            self._release()

    def _hold(self) -> None:
        if not self._holding:
            self._holding = True
            self._source.pause_reading()

    def _release(self) -> None:
        if self._holding:
            self._holding = False
            self._source.resume_reading()
