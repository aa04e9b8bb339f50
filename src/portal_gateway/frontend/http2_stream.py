"""One request and its response over an HTTP/2 connection (RFC 9113 section 8.1).

Toward the request this is its `Stream`. What is sent is kept here until the connection's turn ends,
or until the client's window has room; what arrives is kept while nobody takes it, and the client's
window stays closed by as much.
"""

import re
from collections import deque
from typing import TYPE_CHECKING

from h2.connection import H2Connection
from twisted.internet.interfaces import IPushProducer

from portal_gateway.frontend.request import Request
from portal_gateway.wire.http1_writing import UnsafeField
from portal_gateway.wire.http_fields import Headers

if TYPE_CHECKING:
    from portal_gateway.frontend.http2_connection import HTTP2Connection

__all__ = ["LEAST_TAKEN", "QUEUED", "HTTP2Stream", "response_fields"]

QUEUED = 32 * 1024
"""Bytes of a response that wait for the client's window before whoever makes them is paused."""

LEAST_TAKEN = 16 * 1024
"""Bytes of what waits on a stream that its client has to take, or all if less waits, before the
write stall begins anew: one full frame. Over HTTP/1.1 it is what the transport holds, 64 to 128
KiB, for a connection; here up to `MAX_STREAMS` share one."""

_NO_CONTENT = 204

_OF_THE_CONNECTION = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that HTTP/2 does not have, and the one that is written here."""

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")

_UNSAFE = re.compile(rb"[\r\n\0]")


def response_fields(headers: Headers) -> Headers:
    """``headers`` as HTTP/2 writes them, without those it does not have. Raises `UnsafeField`."""
    fields: Headers = []
    for name, value in headers:
        lower = name.lower()
        if lower in _OF_THE_CONNECTION:
            continue
        if _NAME.fullmatch(lower) is None or _UNSAFE.search(value):
            raise UnsafeField("a field holds what would make it another")
        fields.append((lower, value.strip(b" \t")))
    return fields


class HTTP2Stream:
    """The two halves of one stream. ``ended`` is the client's: it has sent everything.

    ``ready`` says that the stream has its turn to write. ``taken`` is what the client took of the
    ``queued`` bytes since ``waiting_since``; for ``excused`` seconds of it the connection was to
    blame.
    """

    __slots__ = (
        "_arrived",
        "_blocked",
        "_connection",
        "_delivering",
        "_end_told",
        "_ends",
        "_head",
        "_paused",
        "_producer",
        "_queue",
        "_trailers",
        "_trailers_in",
        "_uncredited",
        "body_bytes",
        "client",
        "ended",
        "excused",
        "id",
        "is_secure",
        "queued",
        "ready",
        "request",
        "server",
        "taken",
        "waiting_since",
        "watched_since",
        "window_bytes",
    )

    def __init__(self, connection: "HTTP2Connection", stream_id: int, *, ended: bool) -> None:
        self._connection = connection
        self.id = stream_id
        self.client = connection.client
        self.server = connection.server
        self.is_secure = connection.is_secure
        self.request: Request | None = None
        self.ended = ended
        self.body_bytes = 0
        self.window_bytes = 0
        self.watched_since: float | None = None
        self.queued = 0
        self.ready = False
        self.taken = 0
        self.waiting_since = 0.0
        self.excused = 0.0
        self._arrived: deque[tuple[bytes, int]] = deque()
        self._uncredited = 0
        self._trailers_in: Headers = []
        self._end_told = False
        self._delivering = False
        self._paused = False
        self._head: Headers | None = None
        self._queue: deque[bytes | memoryview] = deque()
        self._trailers: Headers = []
        self._ends = False
        self._producer: IPushProducer | None = None
        self._blocked = False

    # The request's body, from the connection.

    @property
    def awaited(self) -> bool:
        """Whether it is the client's turn: its body is read, and it was asked for it."""
        request = self.request
        return (
            request is not None
            and not (self.ended or self._paused or request.over or request.awaits_continue)
            and request.has_body
        )

    def receive_data(self, data: bytes, credit: int) -> None:
        """A part of the body, for which the client used up ``credit`` of its window."""
        self.body_bytes += len(data)
        self.window_bytes += len(data)
        self._uncredited += credit
        self._arrived.append((data, credit))
        self._deliver()

    def receive_end(self, trailers: Headers) -> None:
        """The body is complete."""
        self.ended = True
        self._trailers_in = trailers
        self._deliver()

    def _deliver(self) -> None:
        request = self.request
        if request is None or self._delivering:
            return
        self._delivering = True
        arrived = self._arrived
        try:
            while arrived and not self._paused:
                data, credit = arrived.popleft()
                if request.over or not request.has_body:
                    # Nobody wants it, and without credit no more than the window comes.
                    continue
                if data:
                    request.receive_data(data)
                self._uncredited -= credit
                self._connection.give_credit(self, credit)
            if self.ended and not arrived and not self._end_told:
                self._end_told = True
                if request.has_body and not request.over:
                    request.receive_end(self._trailers_in)
        finally:
            self._delivering = False

    def take_uncredited(self) -> int:
        """Window of the connection that this stream holds; it is given back when it ends."""
        size, self._uncredited = self._uncredited, 0
        return size

    # The request's body, from the request.

    def send_continue(self) -> None:
        """Ask for the body."""
        self._connection.send_informational(self, 100, [])

    def pause_reading(self) -> None:
        """Deliver no more, and open the client's window no further."""
        self._paused = True
        self.watched_since = None

    def resume_reading(self) -> None:
        """Deliver again."""
        self._paused = False
        self._deliver()
        self._connection.touch()

    # The response, from the request.

    def send_informational(self, status: int, reason: bytes, headers: Headers) -> None:  # noqa: ARG002 - HTTP/2 has no reasons
        """Send a 1xx."""
        self._connection.send_informational(self, status, response_fields(headers))

    def send_head(
        self,
        status: int,
        reason: bytes,  # noqa: ARG002 - HTTP/2 has no reasons
        headers: Headers,
        length: int | None,
        *,
        has_body: bool,  # noqa: ARG002 - the end of the stream says it
    ) -> None:
        """Send the head, with what follows in the same turn. Raises UnsafeField."""
        fields = [(b":status", b"%d" % status), *response_fields(headers)]
        if length is not None and status != _NO_CONTENT:
            fields.append((b"content-length", b"%d" % length))
        self._head = fields
        self._connection.touch(self)

    def take_back_head(self) -> bool:
        """Forget the head while the connection's turn lasts."""
        if self._head is None:
            return False
        self._head = None
        self._queue.clear()
        self.queued = 0
        self._blocked = False
        return True

    def send_data(self, data: bytes) -> None:
        """Send a part of the body."""
        if not self.queued:
            self._wait_anew()
        self._queue.append(data)
        self.queued += len(data)
        if self.queued > QUEUED:
            self._block()
        self._connection.touch(self)

    def send_end(self, trailers: Headers) -> None:
        """The response is complete."""
        self._trailers = response_fields(trailers)
        self._ends = True
        self._producer = None
        self._connection.touch(self)

    def response_recorded(self) -> None:
        """The next request does not wait for this one."""

    def abort(self) -> None:
        """Reset the stream; the others go on."""
        self._connection.reset_failed(self)

    def register_producer(self, producer: IPushProducer) -> None:
        """Pause and resume ``producer`` as the client opens its window."""
        self._producer = producer
        if self._blocked:
            producer.pauseProducing()

    def unregister_producer(self) -> None:
        """There is nothing to pause any more."""
        self._producer = None

    def _block(self) -> None:
        if not self._blocked:
            self._blocked = True
            if self._producer is not None:
                self._producer.pauseProducing()

    def unblock(self) -> None:
        """The client has taken what was made; more of it may come."""
        if self._blocked and not self.queued:
            self._blocked = False
            if self._producer is not None:
                self._producer.resumeProducing()

    def drop(self) -> None:
        """The stream is gone: forget what was not sent or taken."""
        self._queue.clear()
        self.queued = 0
        self._arrived.clear()
        self._head = None
        self._ends = False
        self._producer = None

    # The response, to the connection.

    def write(self, h2: H2Connection) -> bool:
        """Write the next frame. Returns whether another can be written now.

        ``finished`` tells when the last one was.
        """
        head = self._head
        if head is not None:
            self._head = None
            ends = self._ends and not self._queue and not self._trailers
            h2.send_headers(self.id, head, end_stream=ends)
            if ends:
                self._ends = False
                self._connection.response_sent(self)
                return False
        if self._queue:
            return self._write_data(h2)
        if self._ends:
            self._write_end(h2)
        return False

    def _write_end(self, h2: H2Connection) -> None:
        self._ends = False
        if self._trailers:
            h2.send_headers(self.id, self._trailers, end_stream=True)
        else:
            h2.end_stream(self.id)
        self._connection.response_sent(self)

    def _write_data(self, h2: H2Connection) -> bool:
        room = min(h2.local_flow_control_window(self.id), h2.max_outbound_frame_size)
        if room <= 0:
            return False
        data = self._queue.popleft()
        if len(data) > room:
            view = memoryview(data)
            self._queue.appendleft(view[room:])
            data = view[:room]
        elif len(data) < room and self._queue:
            data = self._join(data, room)
        self.queued -= len(data)
        self.taken += len(data)
        if self.taken >= LEAST_TAKEN:
            self._wait_anew()
        ends = self._ends and not self._queue and not self._trailers
        h2.send_data(self.id, bytes(data), end_stream=ends)
        self._connection.patience.sent_data()
        if ends:
            self._ends = False
            self._connection.response_sent(self)
            return False
        return bool(self._queue or self._ends)

    def _wait_anew(self) -> None:
        self.waiting_since = self._connection.site.seconds()
        self.taken = 0
        self.excused = 0.0

    def _join(self, first: bytes | memoryview, room: int) -> bytes:
        """Small pieces fill one frame."""
        parts = [first]
        size = len(first)
        queue = self._queue
        while queue and size + len(queue[0]) <= room:
            part = queue.popleft()
            parts.append(part)
            size += len(part)
        return b"".join(parts)
