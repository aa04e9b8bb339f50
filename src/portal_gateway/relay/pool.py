"""The connections to one lease, and the requests that wait for one.

A request takes the idle connection that was used last, else a new one is dialled for it, else (at
`PoolLimits.max_active`) it waits its turn. Whatever becomes free first serves it: its own dial, or
a connection that another request is done with. So a dial may outlive the request it was begun for;
its connection then serves the next in line, or stays idle.

Nothing waits without a limit: a dial has `PoolLimits.connect_timeout`, a request in the queue
`PoolLimits.wait_limit`, and an exchange ends when its lease was silent for `LEASE_SILENCE`. What
the pool does later it does in one delayed call, the tick.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.dials import Dialler
from portal_gateway.relay.http_client import (
    LOOK_INTERVAL,
    BodyFraming,
    ResponseSink,
    UpgradeSink,
    UpstreamExchange,
)
from portal_gateway.relay.http_connection import (
    MAX_CLOSING,
    ClosingConnections,
    UpstreamConnection,
)
from portal_gateway.relay.idle_connections import SURPLUS_TIME, IdleConnections, SharedIdle
from portal_gateway.relay.waiting_requests import WaitingRequests
from portal_gateway.wire.http1_writing import serialise_request

__all__ = ["BUSY_PAUSE", "SURPLUS_TIME", "Pool", "PoolLimits"]

_log = Logger(__name__)

BUSY_PAUSE: Final = 1.0
"""Seconds without a new dial after the lease refused one for having too many connections.

Until then only a connection that ends makes room. Other users of the lease may have gone meanwhile,
so it is asked again afterwards.
"""

_TICK_SLACK: Final = 0.001
"""Seconds that a deadline may be early, so that no tick comes just before one it was meant for."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of one pool; times in seconds. Raises `ValueError` when they make no sense.

    ``max_idle``: connections kept without a request for more than `SURPLUS_TIME`. ``max_active``:
    connections at all, the ones being dialled included. ``idle_timeout``: how long one is kept
    without a request. ``max_queue``: requests that wait because of ``max_active``. ``wait_limit``:
    how long each of them waits. ``connect_timeout``: how long a dial may take.
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


class Pool:
    """The HTTP/1.1 connections to one endpoint.

    ``idle``, ``active``, ``dialling`` and ``queued`` are what there is now: connections without and
    with a request, dials, requests that wait for a place. ``dials_total``, ``reuses_total`` and
    ``retries_total`` count what there was, ``silences_total`` the requests that ended because the
    lease was silent.
    """

    def __init__(
        self, endpoint: IStreamClientEndpoint, clock: IReactorTime, limits: PoolLimits
    ) -> None:
        self.clock = clock
        self.limits = limits
        self._dials = Dialler(
            self, endpoint, lambda: UpstreamConnection(self), limits.connect_timeout
        )
        self._idle = IdleConnections(self)
        self._closing = ClosingConnections()
        self._busy: set[UpstreamConnection] = set()
        self._queue = WaitingRequests()
        self._doomed: list[tuple[UpstreamExchange, GatewayError]] = []
        self._asking: UpstreamExchange | None = None
        self._pumping = False
        self._ceiling = 0
        self._ceiling_until = -inf
        self._refusal: GatewayError | None = None
        self._drained: list[Deferred[None]] = []
        self._tick: IDelayedCall | None = None
        self._tick_at = inf
        self._look_at = inf
        self.reuses_total = 0
        self.retries_total = 0
        self.silences_total = 0

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
    def dials_total(self) -> int:
        """Connections that were ever begun."""
        return self._dials.total

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
        asker: str = "",
    ) -> UpstreamExchange:
        """Send a request; its body, if any, follows with `UpstreamExchange.write` and `end`.

        ``headers`` go out as they are, followed by the framing field of ``body``; they must not
        hold ``Content-Length`` or ``Transfer-Encoding`` themselves. ``asker`` says who asks:
        dials of different askers take turns where few may be under way (`Lookups`). Before this
        returns, nothing of ``sink`` is called but ``pause_request_body``; errors come later, to
        ``response_failed``.

        Raises `UnsafeField` for what cannot be written as one request head, and `ValueError` for
        ``CONNECT``, whose responses are not framed like others.
        """
        if method == b"CONNECT":
            raise ValueError("a pooled connection cannot become a tunnel")
        head = serialise_request(method, target, [*headers, *body.fields])
        return self._begin(UpstreamExchange(self, method, head, body, sink, asker=asker))

    def upgrade(
        self,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        sink: UpgradeSink,
        *,
        asker: str = "",
    ) -> UpstreamExchange:
        """Ask for another protocol with a GET (RFC 9110 section 7.8); ``headers`` say for which.

        Like `request`, until the lease answers 101: then the connection belongs to the tunnel that
        ``sink`` gets, and counts as active until that ends.
        """
        head = serialise_request(b"GET", target, headers)
        none = BodyFraming.none()
        return self._begin(UpstreamExchange(self, b"GET", head, none, sink, sink, asker=asker))

    def _begin(self, exchange: UpstreamExchange) -> UpstreamExchange:
        if self._refusal is not None:
            self._doom(exchange, self._refusal)
        elif self._idle:
            self._give(self._idle.take_last(), exchange)
        else:
            exchange.waiting_since = self.clock.seconds()
            exchange.hold_body()
            if not self._queue and self._may_dial():
                self._asking = exchange
                self._dial(exchange)
                self._asking = None
            elif len(self._queue) < self.limits.max_queue:
                self._queue.add(exchange)
                self._tick_by(exchange.waiting_since + self.limits.wait_limit)
            else:
                self._doom(exchange, _busy("Too many requests wait for the lease."))
        return exchange

    def use(self, limits: PoolLimits) -> None:
        """Hold to other limits from now on; connections above ``max_idle`` are closed."""
        if limits == self.limits:
            return
        self._idle.delay(limits.idle_timeout - self.limits.idle_timeout)
        self.limits = limits
        while len(self._idle) > limits.max_idle:
            self._close(self._idle.take_first())
        self._pump()
        self._tick_for_the_next()

    def share_idle(self, shared: SharedIdle) -> None:
        """Hold the idle connections, together with those of other pools, to one bound."""
        self._idle.share(shared)

    def retire(self) -> None:
        """Close each connection as soon as it carries nothing; requests are taken as before."""
        self.use(replace(self.limits, max_idle=0))

    def drain(self, error: GatewayError) -> "Deferred[None]":
        """Take no new requests: they end with ``error``. Those taken before go on.

        Idle connections are closed now, the others after their request. The Deferred fires when
        there is none left.
        """
        self._refusal = error
        for connection in self._idle:
            self._idle.discard(connection)
            self._close(connection)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        self._tell_drained()
        return drained

    def abort_all(self, error: GatewayError) -> None:
        """End every request with ``error``, waiting or under way, and abort every connection.

        The pool remains usable.
        """
        waiting = self._queue.take_all()
        waiting = [*self._dials.cancel_all(), *waiting]
        self._closing.expire(inf)
        for connection in self._idle:
            self._idle.discard(connection)
            connection.abort()
        carried = [connection.exchange for connection in self._busy]
        for exchange in waiting:
            exchange.fail(error)
        for carried_exchange in carried:
            if carried_exchange is not None:
                carried_exchange.fail(error)

    def close(self, error: GatewayError | None = None) -> None:
        """End everything now: requests, old and new, end with ``error``. Leaves no delayed call."""
        self._refusal = error or fault("upstream_closed", "The gateway closes its connections.")
        self.abort_all(self._refusal)
        doomed, self._doomed = self._doomed, []
        for exchange, reason in doomed:
            exchange.fail(reason)
        self._drop_tick()
        if self._doomed:
            # Someone asked again when told of the end: that is answered like any later request.
            self._tick_by(self.clock.seconds())
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

    def end_tunnel(self, connection: UpstreamConnection, *, abort: bool) -> None:
        """The tunnel that ``connection`` was is left; all of them may end at once."""
        if not (abort or connection.closed):
            most = max(MAX_CLOSING, self.limits.max_active)
            self._closing.close(connection, self.clock.seconds(), most)
            self._tick_by(self._closing.deadline)
        self.discard(connection, abort=True)

    def forget(self, exchange: UpstreamExchange) -> None:
        """``exchange`` waits no more; a dial for it goes on for whoever comes next."""
        if not self._dials.forget(exchange) and self._queue.discard(exchange):
            self._tell_drained()

    def idle_data(self, connection: UpstreamConnection) -> None:
        """The peer spoke on an idle connection: whatever it said, the two are out of step."""
        self._idle.discard(connection)
        connection.abort()

    def end_idle(self, connection: UpstreamConnection) -> None:
        """There are too many idle connections in all the pools that share a bound."""
        if self._idle.discard(connection):
            self._close(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection that carried nothing has ended."""
        self._idle.discard(connection)
        self._closing.forget(connection)
        self._tell_drained()

    # Placing connections and requests.

    def _give(self, connection: UpstreamConnection, exchange: UpstreamExchange) -> None:
        if connection.reused:
            self.reuses_total += 1
        self._busy.add(connection)
        if self._look_at == inf:
            self._look_at = self.clock.seconds() + LOOK_INTERVAL
            self._tick_by(self._look_at)
        try:
            exchange.attach(connection)
        except Exception:  # noqa: BLE001 - the connection may come from another, which is not over
            _log.failure("a request could not be sent", request_id=exchange.request_id)
            exchange.fail(fault("internal_error", "The gateway failed to send the request."))

    def _place(self, connection: UpstreamConnection) -> None:
        """Give a connection that is free to who waits longest, keep it, or close it."""
        exchange = self._dials.first_waiting
        if self._queue and (
            exchange is None or self._queue.first.waiting_since < exchange.waiting_since
        ):
            exchange = self._queue.take()
        elif exchange is not None:
            self._dials.forget(exchange)
        if exchange is not None:
            self._give(connection, exchange)
        elif self._refusal is None and self.limits.max_idle:
            now = self.clock.seconds()
            deadline = now + self.limits.idle_timeout
            self._idle.add(connection, now, deadline)
            self._tick_by(deadline)
            if len(self._idle) > self.limits.max_idle:
                self._tick_by(self._surplus_due)
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
                self._dial(self._queue.take())
        finally:
            self._pumping = False

    def _may_dial(self) -> bool:
        connections = len(self._busy) + len(self._dials) + len(self._idle)
        return connections < self.limits.max_active and (
            connections < self._ceiling or self.clock.seconds() >= self._ceiling_until
        )

    # Dialling.

    def _dial(self, exchange: UpstreamExchange) -> None:
        self._dials.dial(exchange, self.clock.seconds())
        self._tick_by(self._dials.deadline)

    def dialled(self, connection: UpstreamConnection, exchange: UpstreamExchange | None) -> None:
        """A connection was made; ``exchange`` waits for it."""
        self._ceiling_until = -inf
        if exchange is not None:
            self._give(connection, exchange)
        else:
            self._place(connection)
        self._pump()

    def dial_failed(self, error: GatewayError, exchange: UpstreamExchange | None) -> None:
        """A connection could not be made; ``exchange`` waits for it."""
        if error.cause.code == "lease_busy" and (self._busy or self._idle):
            # There are connections to wait for, and as many as the lease lets us have.
            self._ceiling = len(self._busy) + len(self._idle) + len(self._dials)
            self._ceiling_until = self.clock.seconds() + BUSY_PAUSE
            if exchange is not None:
                self._queue.add(exchange)
                self._tick_by(exchange.waiting_since + self.limits.wait_limit)
                self._tick_by(self._ceiling_until)
        elif exchange is not None:
            if exchange is self._asking:
                self._doom(exchange, error)
            else:
                exchange.fail(error)
        self._pump()
        self._tell_drained()

    # Ending connections.

    def _close(self, connection: UpstreamConnection) -> None:
        self._closing.close(connection, self.clock.seconds())
        self._tick_by(self._closing.deadline)

    def _tell_drained(self) -> None:
        if self._drained and not (self._busy or self._closing or self._dials or self._queue):
            if not self._doomed:
                self._drop_tick()
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
        try:
            self._do_what_is_due()
        finally:
            # Whatever fails, the others are not to wait for ever.
            self._tick_for_the_next()

    def _do_what_is_due(self) -> None:
        doomed, self._doomed = self._doomed, []
        for exchange, error in doomed:
            exchange.fail(error)
        now = self.clock.seconds() + _TICK_SLACK
        limit = self.limits.wait_limit
        while self._queue and self._queue.first.waiting_since + limit <= now:
            self._queue.take().fail(_busy("No connection to the lease became free in time."))
        self._dials.expire(now)
        for connection in self._idle.expired(now):
            self.end_idle(connection)
        while len(self._idle) > self.limits.max_idle and self._surplus_due <= now:
            self._close(self._idle.take_first())
        self._closing.expire(now)
        if self._look_at <= now:
            self._look(now)
        self._pump()

    def _look(self, now: float) -> None:
        """Look at every exchange; without one the next look waits for one to begin."""
        for connection in list(self._busy):
            if connection.exchange is not None:
                connection.exchange.look()
        self._look_at = max(now, self._look_at + LOOK_INTERVAL) if self._busy else inf

    @property
    def _surplus_due(self) -> float:
        """When the connection that has been idle longest was idle for `SURPLUS_TIME`."""
        return self._idle.first_due - self.limits.idle_timeout + SURPLUS_TIME

    def _tick_for_the_next(self) -> None:
        if self.unused:
            self._look_at = inf
        if len(self._idle) > self.limits.max_idle:
            self._tick_by(self._surplus_due)
        if self._queue:
            self._tick_by(self._queue.first.waiting_since + self.limits.wait_limit)
            if self.clock.seconds() < self._ceiling_until:
                self._tick_by(self._ceiling_until)
        for deadline in (
            self._idle.first_due,
            self._closing.deadline,
            self._dials.deadline,
            self._look_at,
        ):
            self._tick_by(deadline)


def _busy(detail: str) -> GatewayError:
    return fault("lease_busy", detail)
