"""The connections to one lease, and the requests that wait for one.

A request takes the idle connection that was used last, else a new one is dialled for it, else (at
`PoolLimits.max_active`) it waits its turn. Whatever becomes free first serves it: its own dial, or
a connection that another request is done with. So a dial may outlive the request it was begun for;
its connection then serves the next in line, or stays idle.

Nothing waits without a limit: a dial has `PoolLimits.connect_timeout`, a request in the queue
`PoolLimits.wait_limit`. What the pool does later it does in one delayed call, the tick.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import inf
from typing import Final, TypeVar, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.http_client import BodyFraming, ResponseSink, UpstreamExchange
from portal_gateway.relay.http_connection import UpstreamConnection
from portal_gateway.wire.http1_writing import serialise_request

__all__ = ["BUSY_PAUSE", "CLOSING_TIME", "MAX_CLOSING", "Pool", "PoolLimits"]

CLOSING_TIME: Final = 5.0
"""Seconds for a peer to end a connection that we closed politely (TLS waits for the peer)."""

MAX_CLOSING: Final = 64
"""Connections being closed politely at a time; beyond it they are aborted instead."""

BUSY_PAUSE: Final = 1.0
"""Seconds without a new dial after the lease refused one for having too many connections.

Until then only a connection that ends makes room. Other users of the lease may have gone meanwhile,
so it is asked again afterwards.
"""

_Key = TypeVar("_Key")

_TICK_SLACK: Final = 0.001
"""Seconds that a deadline may be early, so that no tick comes just before one it was meant for."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of one pool; times in seconds. Raises `ValueError` when they make no sense.

    ``max_idle``: connections kept without a request. ``max_active``: connections at all, the ones
    being dialled included. ``idle_timeout``: how long one is kept without a request. ``max_queue``:
    requests that wait because of ``max_active``. ``wait_limit``: how long each of them waits.
    ``connect_timeout``: how long a dial may take.
    """

    max_idle: int = 100
    max_active: int = 1000
    idle_timeout: float = 300.0
    max_queue: int = 1000
    wait_limit: float = 5.0
    connect_timeout: float = 10.0

    def __post_init__(self) -> None:
        if self.max_active < 1 or self.max_idle < 0 or self.max_queue < 0:
            raise ValueError("a pool needs max_active >= 1, max_idle >= 0 and max_queue >= 0")
        if min(self.idle_timeout, self.wait_limit, self.connect_timeout) <= 0:
            raise ValueError("the times of a pool are greater than 0")


class _Dial:
    """A connection on its way, and the request it was begun for while that still waits."""

    __slots__ = ("connected", "exchange", "timed_out")

    def __init__(self, exchange: UpstreamExchange) -> None:
        self.exchange: UpstreamExchange | None = exchange
        self.connected: Deferred[UpstreamConnection] | None = None
        self.timed_out = False


class _ConnectionFactory(ClientFactory):
    noisy = False

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool

    def buildProtocol(self, addr: object) -> UpstreamConnection:  # noqa: ARG002 - Twisted's signature
        return UpstreamConnection(self._pool)


class Pool:
    """The HTTP/1.1 connections to one endpoint.

    ``idle``, ``active``, ``dialling`` and ``queued`` are what there is now: connections without and
    with a request, dials, requests that wait for a place. ``dials_total``, ``reuses_total`` and
    ``retries_total`` count what there was.
    """

    _log = Logger()

    def __init__(
        self, endpoint: IStreamClientEndpoint, clock: IReactorTime, limits: PoolLimits
    ) -> None:
        self._endpoint = endpoint
        self.clock = clock
        self.limits = limits
        self._factory = _ConnectionFactory(self)
        # Each dict is in the order of its deadlines, since all in it have the same time.
        self._idle: dict[UpstreamConnection, float] = {}
        self._closing: dict[UpstreamConnection, float] = {}
        self._dials: dict[_Dial, float] = {}
        self._busy: set[UpstreamConnection] = set()
        # Those who wait: in the queue, or with a dial; the latter served by any connection, or not.
        self._queue: deque[UpstreamExchange] = deque()
        self._dialling: dict[UpstreamExchange, _Dial] = {}
        self._dialling_fresh: dict[UpstreamExchange, _Dial] = {}
        self._doomed: list[tuple[UpstreamExchange, GatewayError]] = []
        self._asking: UpstreamExchange | None = None
        self._pumping = False
        self._ceiling = 0
        self._ceiling_until = -inf
        self._refusal: GatewayError | None = None
        self._drained: list[Deferred[None]] = []
        self._tick: IDelayedCall | None = None
        self._tick_at = inf
        self.dials_total = 0
        self.reuses_total = 0
        self.retries_total = 0

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    @property
    def active(self) -> int:
        """Connections that carry a request."""
        return len(self._busy)

    @property
    def dialling(self) -> int:
        """Connections that are being made."""
        return len(self._dials)

    @property
    def queued(self) -> int:
        """Requests that wait for a place."""
        return len(self._queue)

    @property
    def unused(self) -> bool:
        """Whether it holds no connection and no request."""
        return not (self._idle or self._busy or self._dials or self._queue or self._doomed)

    # For its user.

    def request(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        sink: ResponseSink,
        *,
        body: BodyFraming,
    ) -> UpstreamExchange:
        """Send a request; its body, if any, follows with `UpstreamExchange.write` and `end`.

        ``headers`` go out as they are, followed by the framing field of ``body``; they must not
        hold ``Content-Length`` or ``Transfer-Encoding`` themselves. Before this returns, nothing of
        ``sink`` is called but ``pause_request_body``; errors come later, to ``response_failed``.

        Raises `UnsafeField` for what cannot be written as one request head, and `ValueError` for
        ``CONNECT``, whose responses are not framed like others.
        """
        if method == b"CONNECT":
            raise ValueError("a pooled connection cannot become a tunnel")
        head = serialise_request(method, target, [*headers, *body.fields])
        exchange = UpstreamExchange(self, method, head, body, sink)
        if self._refusal is not None:
            self._doom(exchange, self._refusal)
        elif self._idle:
            connection, _ = self._idle.popitem()
            self._give(connection, exchange)
        else:
            exchange.waiting_since = self.clock.seconds()
            exchange.hold_body()
            if not self._queue and self._may_dial():
                self._asking = exchange
                self._dial(exchange)
                self._asking = None
            elif len(self._queue) < self.limits.max_queue:
                self._queue.append(exchange)
                self._tick_by(exchange.waiting_since + self.limits.wait_limit)
            else:
                self._doom(exchange, _busy("Too many requests wait for the lease."))
        return exchange

    def drain(self, error: GatewayError) -> "Deferred[None]":
        """Take no new requests: they end with ``error``. Those taken before go on.

        Idle connections are closed now, the others after their request. The Deferred fires when
        there is none left.
        """
        self._refusal = error
        for connection in list(self._idle):
            del self._idle[connection]
            self._close(connection)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        self._tell_drained()
        return drained

    def abort_all(self, error: GatewayError) -> None:
        """End every request with ``error``, waiting or under way, and abort every connection.

        The pool remains usable.
        """
        waiting = [*self._dialling, *self._dialling_fresh, *self._queue]
        self._dialling.clear()
        self._dialling_fresh.clear()
        self._queue.clear()
        for dial in list(self._dials):
            dial.exchange = None
            if dial.connected is not None:
                dial.connected.cancel()
        for connections in (self._idle, self._closing):
            for connection in list(connections):
                del connections[connection]
                connection.abort()
        carried = [connection.exchange for connection in self._busy]
        for exchange in (*waiting, *carried):
            cast("UpstreamExchange", exchange).fail(error)

    def close(self, error: GatewayError | None = None) -> None:
        """End everything now: requests, old and new, end with ``error``. Leaves no delayed call."""
        self._refusal = error or fault("upstream_closed", "The gateway closes its connections.")
        self.abort_all(self._refusal)
        doomed, self._doomed = self._doomed, []
        for exchange, reason in doomed:
            exchange.fail(reason)
        self._drop_tick()
        self._tell_drained()

    # For exchanges and connections.

    def release(self, connection: UpstreamConnection) -> None:
        """The exchange on ``connection`` is over; serve the next in line with it, or keep it."""
        if connection.closed:
            self.discard(connection, abort=True)
            return
        self._busy.discard(connection)
        connection.reused = True
        self._place(connection)

    def discard(
        self,
        connection: UpstreamConnection,
        *,
        abort: bool,
        retry: UpstreamExchange | None = None,
    ) -> None:
        """The exchange on ``connection`` has left, and it must not carry another."""
        self._busy.discard(connection)
        if not connection.closed:
            if abort:
                connection.abort()
            else:
                self._close(connection)
        if retry is not None:
            self.retries_total += 1
            retry.waiting_since = self.clock.seconds()
            # The place of the connection that failed it is free.
            self._dial(retry)
        self._pump()
        self._tell_drained()

    def forget(self, exchange: UpstreamExchange) -> None:
        """``exchange`` waits no more; a dial for it goes on for whoever comes next."""
        dial = self._dialling.pop(exchange, None) or self._dialling_fresh.pop(exchange, None)
        if dial is not None:
            dial.exchange = None
        elif exchange in self._queue:
            self._queue.remove(exchange)

    def idle_data(self, connection: UpstreamConnection) -> None:
        """The peer spoke on an idle connection: whatever it said, the two are out of step."""
        self._idle.pop(connection, None)
        connection.abort()

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection that carried nothing has ended."""
        self._idle.pop(connection, None)
        self._closing.pop(connection, None)

    # Placing connections and requests.

    def _give(self, connection: UpstreamConnection, exchange: UpstreamExchange) -> None:
        if connection.reused:
            self.reuses_total += 1
        self._busy.add(connection)
        exchange.attach(connection)

    def _place(self, connection: UpstreamConnection) -> None:
        """Give a connection that is free to the next in line, keep it, or close it.

        Who has a dial is older than who is in the queue, which only dials make move.
        """
        if self._dialling:
            exchange, dial = next(iter(self._dialling.items()))
            del self._dialling[exchange]
            dial.exchange = None
            self._give(connection, exchange)
        elif self._queue:
            self._give(connection, self._queue.popleft())
        elif self._refusal is None and len(self._idle) < self.limits.max_idle:
            deadline = self.clock.seconds() + self.limits.idle_timeout
            self._idle[connection] = deadline
            self._tick_by(deadline)
        else:
            self._close(connection)
            self._tell_drained()

    def _pump(self) -> None:
        """Dial for those in the queue, as far as the limits let."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._queue and self._may_dial():
                self._dial(self._queue.popleft())
        finally:
            self._pumping = False

    def _may_dial(self) -> bool:
        connections = len(self._busy) + len(self._dials) + len(self._idle)
        return connections < self.limits.max_active and (
            connections < self._ceiling or self.clock.seconds() >= self._ceiling_until
        )

    # Dialling.

    def _dial(self, exchange: UpstreamExchange) -> None:
        deadline = self.clock.seconds() + self.limits.connect_timeout
        dial = _Dial(exchange)
        waiting = self._dialling_fresh if exchange.fresh_only else self._dialling
        waiting[exchange] = dial
        self._dials[dial] = deadline
        self._tick_by(deadline)
        self.dials_total += 1
        connecting = maybeDeferred(lambda: self._endpoint.connect(self._factory))
        connected = dial.connected = cast("Deferred[UpstreamConnection]", connecting)
        connected.addCallbacks(
            self._dialled, self._dial_failed, callbackArgs=(dial,), errbackArgs=(dial,)
        )
        connected.addErrback(self._log_defect)

    def _dialled(self, connection: UpstreamConnection, dial: _Dial) -> None:
        if connection.closed:
            lost = fault("upstream_closed", "The lease closed the connection before it was used.")
            self._dial_failed(Failure(lost), dial)
            return
        exchange = self._dial_over(dial)
        self._ceiling_until = -inf
        if exchange is not None:
            self._give(connection, exchange)
        else:
            self._place(connection)

    def _dial_failed(self, failure: Failure, dial: _Dial) -> None:
        exchange = self._dial_over(dial)
        error = self._dial_error(failure, dial)
        if error.cause.code == "lease_busy" and (self._busy or self._idle):
            # There are connections to wait for, and as many as the lease lets us have.
            now = self.clock.seconds()
            self._ceiling = len(self._busy) + len(self._idle) + len(self._dials)
            self._ceiling_until = now + BUSY_PAUSE
            if exchange is not None:
                self._requeue(exchange)
                self._tick_by(self._ceiling_until)
        elif exchange is not None:
            if exchange is self._asking:
                self._doom(exchange, error)
            else:
                exchange.fail(error)
        self._pump()
        self._tell_drained()

    def _dial_over(self, dial: _Dial) -> UpstreamExchange | None:
        """Who the dial was for, if that still waits."""
        self._dials.pop(dial, None)
        exchange = dial.exchange
        if exchange is not None:
            dial.exchange = None
            self._dialling.pop(exchange, None)
            self._dialling_fresh.pop(exchange, None)
        return exchange

    def _requeue(self, exchange: UpstreamExchange) -> None:
        """Put ``exchange`` into the queue where its age belongs."""
        place = 0
        for other in self._queue:
            if other.waiting_since > exchange.waiting_since:
                break
            place += 1
        self._queue.insert(place, exchange)
        self._tick_by(exchange.waiting_since + self.limits.wait_limit)

    def _dial_error(self, failure: Failure, dial: _Dial) -> GatewayError:
        if dial.timed_out or failure.check(ConnectTimeout):
            return fault("upstream_timeout", "The connection to the lease was not made in time.")
        if isinstance(failure.value, GatewayError):
            return failure.value
        if failure.check(ConnectError, DNSLookupError):
            return fault("lease_offline", "The connection to the lease cannot be made.")
        if self._refusal is None:
            self._log.failure("The endpoint of a lease failed in a way it must not", failure)
        return fault("internal_error", "The gateway failed to connect to the lease.")

    def _log_defect(self, failure: Failure) -> None:
        self._log.failure("A defect of the gateway's own", failure)

    # Ending connections.

    def _close(self, connection: UpstreamConnection) -> None:
        if len(self._closing) >= MAX_CLOSING:
            connection.abort()
            return
        deadline = self.clock.seconds() + CLOSING_TIME
        self._closing[connection] = deadline
        self._tick_by(deadline)
        connection.close()

    def _tell_drained(self) -> None:
        if self._drained and not (self._busy or self._dials or self._queue):
            drained, self._drained = self._drained, []
            for waiting in drained:
                waiting.callback(None)

    # Later.

    def _doom(self, exchange: UpstreamExchange, error: GatewayError) -> None:
        """End ``exchange`` in the next turn of the reactor, when its user knows of it."""
        self._doomed.append((exchange, error))
        self._tick_by(self.clock.seconds())

    def _tick_by(self, at: float) -> None:
        """Have a tick at ``at`` or before."""
        if at < self._tick_at:
            self._drop_tick()
            self._tick_at = at
            self._tick = self.clock.callLater(max(0.0, at - self.clock.seconds()), self._run_tick)

    def _drop_tick(self) -> None:
        tick, self._tick, self._tick_at = self._tick, None, inf
        if tick is not None:
            tick.cancel()

    def _run_tick(self) -> None:
        self._tick, self._tick_at = None, inf
        doomed, self._doomed = self._doomed, []
        for exchange, error in doomed:
            exchange.fail(error)
        now = self.clock.seconds() + _TICK_SLACK
        limit = self.limits.wait_limit
        while self._queue and self._queue[0].waiting_since + limit <= now:
            self._queue.popleft().fail(_busy("No connection to the lease became free in time."))
        for dial in _expired(self._dials, now):
            dial.timed_out = True
            if dial.connected is not None:
                dial.connected.cancel()
        for connection in _expired(self._idle, now):
            if self._idle.pop(connection, None) is not None:
                self._close(connection)
        for connection in _expired(self._closing, now):
            if self._closing.pop(connection, None) is not None:
                connection.abort()
        self._pump()
        self._tick_for_the_next()

    def _tick_for_the_next(self) -> None:
        if self._queue:
            self._tick_by(self._queue[0].waiting_since + self.limits.wait_limit)
            if self.clock.seconds() < self._ceiling_until:
                self._tick_by(self._ceiling_until)
        for deadlines in (self._dials, self._idle, self._closing):
            for deadline in deadlines.values():
                self._tick_by(deadline)
                break


def _expired(deadlines: dict[_Key, float], now: float) -> list[_Key]:
    """The keys whose time has come; the dict is in the order of its deadlines."""
    return [key for key, _ in takewhile(lambda item: item[1] <= now, deadlines.items())]


def _busy(detail: str) -> GatewayError:
    return fault("lease_busy", detail)
