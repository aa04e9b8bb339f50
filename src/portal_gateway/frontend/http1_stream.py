"""Responses over one HTTP/1.1 connection, one after the other (RFC 9112).

Toward each request this is its `Stream`. What concerns the reading of requests is the channel's.
"""

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IPushProducer

from portal_gateway.frontend.outlet import PIECE, STREAM_HELD, Outlet
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.taken_stream import TakenStream
from portal_gateway.wire.http1_writing import (
    CHUNK_END,
    CONTINUE,
    chunk,
    chunk_head,
    frame_response,
    last_chunk,
    serialise_response,
)
from portal_gateway.wire.http_fields import Headers, end_to_end

if TYPE_CHECKING:
    from portal_gateway.frontend.channel import HTTPChannel

__all__ = ["DRAIN_BOUND", "HTTP1Stream"]

DRAIN_BOUND = 64 * 1024
"""Bytes of a request's body that are still read when nobody wants it, to keep the connection."""

_SMALL = 8 * 1024
"""Bytes up to which a chunk is joined with its framing; copying more costs more than writing."""


class HTTP1Stream:
    """Writes the response to the request that `begin` named last.

    ``keep_alive`` says whether another request may follow: first as the client wishes, then as the
    response's head told it. Framing is chosen here, so that a response cannot contradict itself.
    """

    __slots__ = (
        "_channel",
        "_chunked",
        "_held_at",
        "_left",
        "_outlet",
        "_request",
        "client",
        "is_secure",
        "keep_alive",
        "server",
    )

    def __init__(self, channel: "HTTPChannel", outlet: Outlet) -> None:
        self._channel = channel
        self._outlet = outlet
        self._request: Request | None = None
        self._chunked = False
        self._held_at = 0
        self._left = 0
        self.keep_alive = True
        self.client = channel.client
        self.server = channel.server
        self.is_secure = channel.is_secure

    def begin(self, request: Request) -> None:
        """The next response is to ``request``."""
        self._request = request
        self.keep_alive = request.head.keep_alive

    def send_continue(self) -> None:
        """Ask for the body."""
        self._outlet.write(CONTINUE)
        self._channel.watch_body()

    def send_informational(self, status: int, reason: bytes, headers: Headers) -> None:
        """Send a 1xx, but not to HTTP/1.0 (RFC 9110 section 15.2)."""
        request = self._request
        if request is not None and request.head.version == b"1.1":
            self._outlet.write(serialise_response(status, reason, end_to_end(headers)))

    def send_head(
        self, status: int, reason: bytes, headers: Headers, length: int | None, *, has_body: bool
    ) -> None:
        """Write the head, together with what follows in the same turn of the reactor."""
        request = self._request
        assert request is not None
        channel = self._channel
        head, self._chunked, self.keep_alive = frame_response(
            status,
            reason,
            headers,
            length=length,
            has_body=has_body,
            is_1_1=request.head.version == b"1.1",
            keep_alive=self.keep_alive
            and not channel.site.draining
            and not (channel.in_body and _leaves_too_much(request)),
        )
        self._left = length or 0
        self._outlet.narrow(STREAM_HELD if has_body and length is None else None)
        self._held_at = self._outlet.flushes
        self._outlet.hold(head)
        if not channel.in_read:
            channel.site.call_soon(self._outlet.flush)

    def take_back_head(self) -> bool:
        """Forget the head while it is held; what is held is this response's only."""
        request = self._request
        outlet = self._outlet
        if request is None or outlet.flushes != self._held_at or not outlet.take_back():
            return False
        self.keep_alive = request.head.keep_alive
        return True

    def send_data(self, data: bytes) -> None:
        """Write a part of the body."""
        outlet = self._outlet
        send = outlet.hold if outlet.holds else outlet.write
        if not self._chunked:
            self._left -= len(data)
            if not self._left:
                self._watch_end()
            send(data)
        elif len(data) <= _SMALL:
            send(chunk(data))
        else:
            send(chunk_head(len(data)))
            send(data)
            send(CHUNK_END)

    def send_end(self, trailers: Headers) -> None:
        """Write what is left; trailers have a place only behind chunks."""
        outlet = self._outlet
        if self._chunked:
            self._chunked = False
            self._watch_end()
            outlet.hold(last_chunk(trailers))
        outlet.flush()
        outlet.narrow(None)
        outlet.producer = None

    def take_over(self) -> TakenStream:
        """The connection is the request's from here on; HTTP has none of it any more."""
        request = self._request
        assert request is not None
        self.keep_alive = False
        self._outlet.flush()
        return self._channel.take_over(request)

    def _watch_end(self) -> None:
        """See whether the client takes the end of a large response, too.

        The system's buffer may have taken most of it, and what is left may be less than a transport
        asks for a pause for; without one a client that reads nothing would count as idle.
        """
        request = self._request
        if request is not None and request.bytes_out > PIECE:
            self._outlet.narrow(0)

    def response_recorded(self) -> None:
        """Let the channel go on."""
        self._request = None
        self._channel.response_over(keep_alive=self.keep_alive)

    def abort(self) -> None:
        """Cut the connection."""
        self._channel.abort()

    def register_producer(self, producer: IPushProducer) -> None:
        """Pause and resume ``producer`` with the transport."""
        self._outlet.register(producer)

    def unregister_producer(self) -> None:
        """There is nothing to pause any more."""
        self._outlet.producer = None

    def pause_reading(self) -> None:
        """Nobody takes the body."""
        self._channel.pause_body()

    def resume_reading(self) -> None:
        """Somebody does again."""
        self._channel.resume_body()


def _leaves_too_much(request: Request) -> bool:
    """Whether the rest of the body is not worth being read when nobody wants it.

    While the client waits for a 100 nobody can tell whether the body will come at all.
    """
    length = request.head.content_length
    return request.awaits_continue or (
        length is not None and length - request.bytes_in > DRAIN_BOUND
    )
