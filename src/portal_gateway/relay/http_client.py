"""The client end of HTTP/1.1: one request on its way to a lease, and its response on the way back.

A `Pool` (``pool.py``) makes an `UpstreamExchange` for each request. The exchange passes through
these stages and ends exactly once: with `ResponseSink.response_end`, with
`ResponseSink.response_failed`, or with `UpstreamExchange.cancel`::

    waiting ──── attach ────► on a connection ──────► over
       ▲   (a new connection,        │       (complete, failed, cancelled)
       │    or one released)         │
       └────────── retry ────────────┘

While it waits, the body that is already there is held, and the source of the body is asked to
pause. Head and body that are there together leave in one write.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.http_connection import UpstreamConnection
from portal_gateway.relay.request_body import REPLAY_BODY_LIMIT, BodyFraming, RequestBody
from portal_gateway.relay.tunnel import Tunnel, TunnelOwner
from portal_gateway.wire.http1_response import BadResponse, ResponseHead, ResponseReader
from portal_gateway.wire.http_fields import Headers
from portal_gateway.wire.method_overrides import IDEMPOTENT_METHODS, may_be_repeated

__all__ = [
    "IDEMPOTENT_METHODS",
    "JOINED_BODY_LIMIT",
    "LEASE_SILENCE",
    "LOOK_INTERVAL",
    "REPLAY_BODY_LIMIT",
    "BodyFraming",
    "ExchangeOwner",
    "ResponseSink",
    "UpgradeSink",
    "UpstreamExchange",
]

_log = Logger(__name__)

JOINED_BODY_LIMIT: Final = 16 * 1024
"""Bytes of body that are collected, within one turn of the reactor, for the head's write."""


LEASE_SILENCE: Final = 600.0
"""Seconds after which an exchange ends, at the latest, when its lease moves nothing: it sends no
head and no byte of a body, and takes none of the request. Ten minutes is more than any answer that
somebody still waits for takes to begin. It is a backstop: without it a lease that is silent holds
its client, and its place in the pool, for ever."""

LOOK_INTERVAL: Final = 30.0
"""Seconds between two looks of a pool at its exchanges: a clock that is read, or a timer that is
moved, for each piece of each body would cost more."""

_SILENT_LOOKS: Final = int(LEASE_SILENCE / LOOK_INTERVAL) - 1
"""Looks in a row without progress. The last progress was before the first of them, by up to one
interval."""


class ResponseSink(Protocol):
    """Who asked: is told the response, and when to hold the request's body back.

    Order: informational*, head, data*, end; failed instead of the rest at any point. Nothing comes
    after the end, after failed, or after `UpstreamExchange.cancel`. Each of these may call any
    method of the exchange and the pool.
    """

    def response_informational(self, head: ResponseHead) -> None:
        """A 1xx response other than 101, to be passed on."""

    def response_head(self, head: ResponseHead) -> None:
        """The final response begins."""

    def response_data(self, data: bytes) -> None:
        """Bytes of the body, never empty, as one chunk or one read brought them."""

    def response_end(self, trailers: Headers) -> None:
        """The response is complete; trailers are as received (see `permitted_trailers`)."""

    def response_failed(self, error: GatewayError) -> None:
        """There will be no complete response.

        After `response_head` the client must be shown that its response is cut short.
        """

    def pause_request_body(self) -> None:
        """Hold the request's body back."""

    def resume_request_body(self) -> None:
        """Go on with the request's body."""


class UpgradeSink(ResponseSink, Protocol):
    """Who asked for another protocol. A 101 is the end of the exchange; then comes the tunnel."""

    def response_upgraded(self, head: ResponseHead, tunnel: Tunnel, data: bytes) -> None:
        """The lease answered 101.

        ``data`` came along with it and is the first of what the tunnel brings.
        """


class ExchangeOwner(TunnelOwner, Protocol):
    """The pool, as an exchange sees it."""

    silences_total: int
    """Exchanges that ended because their lease was silent."""

    @property
    def clock(self) -> IReactorTime:
        """The time of its reactor."""

    def release(self, connection: UpstreamConnection) -> None:
        """The exchange on it is over, and it may carry another."""

    def discard(
        self,
        connection: UpstreamConnection,
        *,
        abort: bool,
        retry: "UpstreamExchange | None" = None,
    ) -> None:
        """The exchange on it has left, and it must not carry another.

        ``retry`` is that exchange if it is to be sent on a fresh connection.
        """

    def forget(self, exchange: "UpstreamExchange") -> None:
        """An exchange that waits for a connection was cancelled."""


class UpstreamExchange:
    """One request on its way, made by `Pool.request`.

    Its user calls `write`, `end`, `cancel`, `pause`, `resume` and reads ``reused`` and
    ``attempts``. The rest is for the pool and the connection.
    """

    __slots__ = (
        "_body",
        "_body_held",
        "_connection",
        "_flush",
        "_head",
        "_method",
        "_moved",
        "_over",
        "_owner",
        "_paused",
        "_sent",
        "_silent_looks",
        "_sink",
        "_streams",
        "_upgrade_sink",
        "asker",
        "attempts",
        "fresh_only",
        "reused",
        "waiting_since",
    )

    asker: str
    """The id of the key that asks, or the like; empty for nobody in particular."""

    attempts: int
    """Connections on which the request was sent: 0 while it waits, 2 after it was repeated."""

    reused: bool
    """Whether the latest of these had served another request before."""

    fresh_only: bool
    """Whether a reused connection failed it: it waits for a connection of its own."""

    waiting_since: float
    """When it began to wait, in seconds of the clock."""

    def __init__(
        self,
        owner: ExchangeOwner,
        method: bytes,
        head: bytes,
        framing: BodyFraming,
        sink: ResponseSink,
        upgrade_sink: UpgradeSink | None = None,
        *,
        asker: str = "",
    ) -> None:
        self.asker = asker
        self._owner = owner
        self._method = method
        self._head = head
        self._sink = sink
        self._upgrade_sink = upgrade_sink
        self._connection: UpstreamConnection | None = None
        self._over = False
        self._paused = False
        self._body = RequestBody(framing)
        self._body_held = False
        self._sent = False
        self._flush: IDelayedCall | None = None
        self._moved = True
        self._silent_looks = 0
        self._streams = False
        self.attempts = 0
        self.reused = False
        self.fresh_only = False
        self.waiting_since = 0.0

    def __repr__(self) -> str:
        stage = "over" if self._over else "waiting" if self._connection is None else "under way"
        return f"<UpstreamExchange {stage}, attempts {self.attempts}>"

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-ID`` that the request has, for the log."""
        _, found, rest = self._head.partition(b"\r\nX-Request-ID: ")
        return rest.partition(b"\r\n")[0].decode("ascii") if found else None

    # The request's body.

    def write(self, data: bytes) -> None:
        """Send more of the request's body; ignored when the exchange is over.

        Raises `ValueError` for more than was announced, or after `end`: the lease would read it as
        the next request.
        """
        if self._over or not data:
            return
        self._moved = True
        body = self._body
        body.add(data)
        connection = self._connection
        if connection is None:
            return
        if self._sent:
            connection.transport.writeSequence(body.framed(data))
        elif body.complete or body.kept_size >= JOINED_BODY_LIMIT:
            self._transmit(connection)

    def end(self, trailers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """The request's body is complete. Needed for chunked bodies, allowed for all.

        ``trailers`` are sent after a chunked body and dropped after any other. Raises `ValueError`
        when less came than was announced, `UnsafeField` for trailers that cannot be written.
        """
        body = self._body
        if self._over or body.ended:
            return
        body.end(trailers)
        connection = self._connection
        if connection is None:
            return
        if not self._sent:
            self._transmit(connection)
        elif closing := body.closing():
            connection.transport.write(closing)

    def cancel(self) -> None:
        """Nobody wants the response any more; nothing of the sink is called after this.

        The connection that carries the exchange is aborted: nothing else stops a response.
        """
        if self._over:
            return
        connection = self._finish()
        if connection is None:
            self._owner.forget(self)
        else:
            self._owner.discard(connection, abort=True)

    # The response's back-pressure.

    def pause(self) -> None:
        """Take no more of the response from the lease; what one read brought may still come."""
        self._paused = True
        if self._connection is not None:
            self._connection.pause_reading()

    def resume(self) -> None:
        """Take the response again."""
        self._paused = False
        self._moved = True
        if self._connection is not None:
            self._connection.resume_reading()

    # For the pool.

    def attach(self, connection: UpstreamConnection) -> None:
        """Send the request on ``connection``."""
        self._connection = connection
        self._sent = False
        self._moved = True
        self.reused = connection.reused
        upgrade = self._upgrade_sink is not None
        connection.begin(self, ResponseReader(self, self._method, upgrade=upgrade))
        if self._paused:
            connection.pause_reading()
        if self._body.complete or self._body.kept_size:
            self._transmit(connection)
        else:
            # Body that comes within this turn of the reactor leaves with the head.
            self._flush = self._owner.clock.callLater(0, self._flush_head)

    def fail(self, error: GatewayError) -> None:
        """End with ``error``; a connection that carries the exchange is aborted."""
        if self._over:
            return
        connection = self._finish()
        if connection is not None:
            self._owner.discard(connection, abort=True)
        self._tell_failed(error)

    def _tell_failed(self, error: GatewayError) -> None:
        try:
            self._sink.response_failed(error)
        except Exception:  # noqa: BLE001 - the pool, which may end others now, is not to suffer
            _log.failure("the end of a request could not be told", request_id=self.request_id)

    def look(self) -> None:
        """End the exchange when its lease has moved nothing for `LEASE_SILENCE`.

        The pool calls it every `LOOK_INTERVAL`. Time in which the client takes nothing does not
        count: that is for the write stall. A response without a length may be silent for longer:
        its rules are those of `StreamWatch`.
        """
        if self._moved or self._paused or self._streams:
            self._moved = False
            self._silent_looks = 0
            return
        self._silent_looks += 1
        if self._silent_looks >= _SILENT_LOOKS:
            self._owner.silences_total += 1
            self.fail(fault("upstream_timeout", "The lease was silent for too long."))

    def hold_body(self) -> None:
        """Ask for no more of the request's body, if more of it is to come."""
        if not self._body_held and not self._over and not self._body.complete:
            self._body_held = True
            self._sink.pause_request_body()

    def release_body(self) -> None:
        """Undo `hold_body`."""
        # All that waited was sent, so the lease takes its request.
        self._moved = True
        if self._body_held and not self._over:
            self._body_held = False
            self._sink.resume_request_body()

    # For the connection.

    def receive_data(self, data: bytes) -> None:
        """Bytes of the response."""
        connection = self._connection
        if connection is None or connection.reader is None:
            return
        if not self._sent:
            # An answer before the question belongs to no request of ours.
            early = fault("upstream_protocol_error", "The lease sent what was not asked for.")
            self._leave(connection, early)
            return
        self._body.forget()
        try:
            connection.reader.receive_data(data)
        except BadResponse as error:
            detail = f"The lease's response is not valid HTTP/1.1: {error}."
            self.fail(fault("upstream_protocol_error", detail))
        except Exception:  # noqa: BLE001 - it ends this exchange, not what the connection does next
            self._sink_failed()

    def _sink_failed(self) -> None:
        """End the exchange whose sink raised an exception; nothing else is to suffer for it.

        This is the one place for exceptions out of a response's delivery. Behind the end of a
        response the connection carries another exchange already, perhaps.
        """
        _log.failure("an answer could not be passed on", request_id=self.request_id)
        self.fail(fault("internal_error", "The gateway failed to pass the answer on."))

    def connection_lost(self, reason: Failure) -> None:
        """The connection has ended."""
        connection = self._connection
        if connection is None or connection.reader is None:
            return
        if not connection.answered:
            self._leave(connection, _loss(reason, "before it answered"))
            return
        if reason.check(ConnectionDone):
            try:
                connection.reader.receive_eof()
            except BadResponse:
                pass
            except Exception:  # noqa: BLE001 - see there
                self._sink_failed()
                return
            else:
                return
        self.fail(_loss(reason, "before its response was complete"))

    # For the reader of the response.

    def response_informational(self, head: ResponseHead) -> None:
        """A 1xx response."""
        if not self._over:
            self._sink.response_informational(head)

    def response_head(self, head: ResponseHead) -> None:
        """The final response begins."""
        if not self._over:
            self._moved = True
            if head.content_length is None and self._connection is not None:
                self._streams = True
                self._connection.expect_stream()
            self._sink.response_head(head)

    def response_data(self, data: bytes) -> None:
        """Bytes of the body."""
        if not self._over:
            self._moved = True
            self._sink.response_data(data)

    def response_end(self, trailers: Headers) -> None:
        """The response is complete: the connection goes back before the sink is told.

        A connection on which part of the request was not sent yet is of no further use: the rest
        would have to be sent first, to a lease that did not wait for it (RFC 9112 section 9.3).
        """
        connection = self._connection
        if connection is None or connection.reader is None:
            return
        persistent = connection.reader.keep_alive
        sent = self._body.complete and not connection.blocked
        self._finish()
        if persistent and sent and not connection.closed:
            connection.resume_reading()
            self._owner.release(connection)
        else:
            self._owner.discard(connection, abort=not sent)
        self._sink.response_end(trailers)

    def response_upgraded(self, head: ResponseHead, data: bytes) -> None:
        """The lease answered 101: the connection is a tunnel from here on, and keeps its place."""
        sink = self._upgrade_sink
        if self._over or sink is None:
            return
        paused = self._paused
        connection = self._finish()
        assert connection is not None  # a response was read from it
        tunnel = Tunnel(self._owner, connection)
        if paused:
            tunnel.pause_reading()
        sink.response_upgraded(head, tunnel, data)

    # Inside.

    def _flush_head(self) -> None:
        self._flush = None
        if self._connection is not None:
            self._transmit(self._connection)

    def _transmit(self, connection: UpstreamConnection) -> None:
        """Send the head and all of the body that there is."""
        self._drop_flush()
        opening = self._body.start(self._head, keep=self._may_repeat(connection))
        self._sent = True
        self.attempts += 1
        if not self._body.complete:
            connection.expect_body()
        connection.transport.write(opening)
        if not connection.blocked and self._connection is connection:
            self.release_body()

    def _may_repeat(self, connection: UpstreamConnection) -> bool:
        """Whether the request may be sent again should ``connection`` fail before it answers.

        It may have failed before the request came, which only a connection that stood idle does;
        and the lease may have acted on the request all the same, so that the method decides, and in
        `_leave` all else that a lease may go by. A request that was not sent at all may always be
        sent elsewhere.
        """
        return (
            connection.reused
            and not self.fresh_only
            and (not self._sent or self._method in IDEMPOTENT_METHODS)
        )

    def _leave(self, connection: UpstreamConnection, error: GatewayError) -> None:
        """Try a fresh connection, if that is allowed, else end with ``error``."""
        harmless = not self._sent or may_be_repeated(self._head)
        if not (harmless and self._body.repeatable and self._may_repeat(connection)):
            self.fail(error)
            return
        self._detach()
        self._body.rewind()
        self.fresh_only = True
        self.hold_body()
        self._owner.discard(connection, abort=True, retry=self)

    def _finish(self) -> UpstreamConnection | None:
        self._over = True
        self._body.forget()
        return self._detach()

    def _detach(self) -> UpstreamConnection | None:
        self._drop_flush()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.detach()
        return connection

    def _drop_flush(self) -> None:
        if self._flush is not None:
            flush, self._flush = self._flush, None
            flush.cancel()


def _loss(reason: Failure, when: str) -> GatewayError:
    """The error for a connection that ended: the stream's own if it has one."""
    if isinstance(reason.value, GatewayError):
        return reason.value
    return fault("upstream_closed", f"The lease closed the connection {when}.")
