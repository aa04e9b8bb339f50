"""The session with one relay: a connection that is kept up.

::

                start                 connected
    IDLE ───────────────► DIALLING ──────────────► UP
                             ▲  │                   │ lost, going away, ping not answered
                   time, or  │  │ failed            │
                     wake    │  ▼                   │
                            WAITING ◄───────────────┘
    any state ── stop ──► STOPPED

How long WAITING takes is ``Backoff``'s to say. While nothing gets through, requests arrive that
need the relay; ``wake`` lets them bring the next attempt forward, so that an idle gateway leaves a
dead relay alone and a busy one is back within ``WAKE_INTERVAL`` of the relay.

A relay that does not answer a ping within ``PING_TIMEOUT`` is cut off: this finds relays that are
stopped, and networks that drop packets, which TCP would take many minutes to notice.
"""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from random import Random, SystemRandom
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from portal_gateway.config.model import UpstreamTLS
from portal_gateway.errors import fault
from portal_gateway.relay.backoff import Backoff
from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.lost import Loss, RelayLost
from portal_gateway.relay.relay_dialling import RelayURL, dial_relay, relay_tls

__all__ = ["PING_INTERVAL", "PING_TIMEOUT", "WAKE_INTERVAL", "RelaySession", "State"]

_log = Logger("portal_gateway.relay")

PING_INTERVAL = 10.0
"""Seconds between the answer to a ping and the next ping."""

PING_TIMEOUT = 10.0
"""Seconds that the relay has to answer a ping."""

WAKE_INTERVAL = 2.0
"""Seconds between the starts of two attempts that requests bring forward."""


class State(StrEnum):
    """Where a session is."""

    IDLE = "idle"
    DIALLING = "dialling"
    UP = "up"
    WAITING = "waiting"
    STOPPED = "stopped"


class RelaySession:
    """Keeps a connection to the relay at ``url``.

    ``tls`` is for a ``wss`` relay. ``rng`` draws the waits. ``dial`` makes one attempt in place of
    the network.

    ``on_connected`` is called with each new connection, ``on_lost`` with the ``RelayLost`` of each
    that was up. ``round_trip`` is the last measured, in seconds; ``attempts`` and ``connects``
    count since the start, and ``losses`` by the reason how often the relay was not to be had;
    ``last_loss`` is the last of these, ``since`` when the relay came or went, None before it was
    tried.

    Raises ``ValueError`` for a URL or a file that cannot be used, ``OSError`` for one that cannot
    be read.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        *,
        tls: UpstreamTLS = UpstreamTLS(),  # noqa: B008 - it is frozen
        rng: Random | None = None,
        dial: Callable[[], Deferred[RelayConnection]] | None = None,
    ) -> None:
        relay = RelayURL.parse(url)
        self.name = relay.name
        self.state = State.IDLE
        self.connection: RelayConnection | None = None
        self.on_connected: list[Callable[[RelayConnection], object]] = []
        self.on_lost: list[Callable[[Failure], object]] = []
        self.round_trip: float | None = None
        self.last_loss: Loss | None = None
        self.since: float | None = None
        self.attempts = 0
        self.connects = 0
        self.losses: Counter[Loss] = Counter()
        self._reactor = reactor
        self._dial = dial or _dialler(reactor, relay, tls)
        self._backoff = Backoff(rng or SystemRandom())
        self._attempt: Deferred[RelayConnection] | None = None
        self._started_at = 0.0
        self._connected_at = 0.0
        self._next_attempt: IDelayedCall | None = None
        self._ping_call: IDelayedCall | None = None
        self._waiters: list[Deferred[RelayConnection]] = []
        # Those whose transport is not closed yet.
        self._connections: set[RelayConnection] = set()

    def __repr__(self) -> str:
        return f"<RelaySession {self.name} {self.state}>"

    @property
    def connected(self) -> bool:
        """Whether streams can be opened now."""
        return self.connection is not None and self.connection.usable

    def start(self) -> None:
        """Connect, and stay connected until ``stop``."""
        if self.state is State.IDLE:
            self._attempt_now()

    def stop(self) -> Deferred[None]:
        """Close; fires when every connection is gone. Those who wait for one are told.

        The streams that are open are lost; end them before.
        """
        self.state = State.STOPPED
        self._cancel(self._next_attempt, self._ping_call)
        self._next_attempt = self._ping_call = None
        if self._attempt is not None:
            self._attempt.cancel()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.errback(Failure(fault("relay_unavailable", "The gateway is shutting down")))
        connections = list(self._connections)
        for connection in connections:
            connection.close()
        gone: Deferred[Any] = DeferredList([connection.gone for connection in connections])
        return gone.addCallback(lambda _: None)

    def require(self) -> RelayConnection:
        """The connection that is up.

        Raises ``GatewayError`` (``relay_unavailable``) when none is, and brings the next attempt
        forward.
        """
        connection = self.connection
        if connection is None or not connection.usable:
            self.wake()
            raise fault("relay_unavailable", "There is no connection to the relay")
        return connection

    def when_connected(self) -> Deferred[RelayConnection]:
        """The connection, as soon as there is one; may be cancelled.

        Fails with ``GatewayError`` (``relay_unavailable``) when the session is stopped first.
        """
        if self.connection is not None and self.connection.usable:
            return succeed(self.connection)
        if self.state is State.STOPPED:
            return fail(Failure(fault("relay_unavailable", "The gateway is shutting down")))
        waiter: Deferred[RelayConnection] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def wake(self) -> None:
        """Somebody needs the relay: try now, if the last attempt began long enough ago."""
        if self._next_attempt is not None:
            due = self._started_at + WAKE_INTERVAL - self._reactor.seconds()
            wait = max(0.0, min(due, WAKE_INTERVAL))
            if wait < self._next_attempt.getTime() - self._reactor.seconds():
                self._next_attempt.reset(wait)

    # Inside: connecting.

    def _attempt_now(self) -> None:
        self._next_attempt = None
        self.state = State.DIALLING
        self._started_at = self._reactor.seconds()
        self.attempts += 1
        if self.since is None:
            self.since = self._started_at
        self._attempt = maybeDeferred(self._dial)
        self._attempt.addCallbacks(self._connected, self._failed)

    def _connected(self, connection: RelayConnection) -> None:
        self._attempt = None
        if self.state is State.STOPPED:
            connection.abort()
            return
        self.state = State.UP
        self.connects += 1
        self.connection = connection
        self._connected_at = self.since = self._reactor.seconds()
        self._connections.add(connection)
        connection.gone.addCallback(lambda _: self._connections.discard(connection))
        connection.on_going_away = lambda: self._lost(
            connection, RelayLost(Loss.CLOSED, "The relay is going away")
        )
        connection.closed.addCallback(lambda lost: self._lost(connection, lost))
        _log.info("relay {relay} connected", relay=self.name)
        self._ping(connection)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(connection)
        for listener in list(self.on_connected):
            listener(connection)

    def _failed(self, reason: Failure) -> None:
        self._attempt = None
        if self.state is State.STOPPED:
            return
        lost = reason.value
        if not isinstance(lost, RelayLost):
            _log.failure("an attempt to reach a relay failed unexpectedly", reason)
            lost = RelayLost(Loss.UNREACHABLE, "The attempt to reach the relay failed")
        self._wait(lost, self._backoff.failed(), "cannot be reached")

    def _wait(self, lost: RelayLost, wait: float, what: str) -> None:
        # A relay that stays away for the same reason is news only once.
        news = self.state is State.UP or lost.loss is not self.last_loss
        self.state = State.WAITING
        self.last_loss = lost.loss
        self.losses[lost.loss] += 1
        _log.emit(
            LogLevel.warn if news else LogLevel.debug,
            "relay {relay} {what}: {reason} ({detail}); next attempt in {wait:.1f} s",
            relay=self.name,
            what=what,
            reason=str(lost.loss),
            detail=lost.detail,
            wait=wait,
        )
        self._next_attempt = self._reactor.callLater(wait, self._attempt_now)

    # Inside: while it is up.

    def _ping(self, connection: RelayConnection) -> None:
        self._ping_call = self._reactor.callLater(PING_TIMEOUT, self._no_pong, connection)
        connection.ping().addCallbacks(self._pong, _ignore, (connection,))

    def _pong(self, round_trip: float, connection: RelayConnection) -> None:
        if connection is self.connection:
            self.round_trip = round_trip
            self._cancel(self._ping_call)
            self._ping_call = self._reactor.callLater(PING_INTERVAL, self._ping, connection)

    def _no_pong(self, connection: RelayConnection) -> None:
        self._ping_call = None
        connection.abort(Loss.PING_TIMEOUT, "The relay did not answer a ping")

    # Inside: the end of a connection.

    def _lost(self, connection: RelayConnection, lost: RelayLost) -> None:
        """No new streams on ``connection``; called once or twice."""
        if connection is not self.connection:
            return
        self.connection = None
        self.since = self._reactor.seconds()
        self.round_trip = None
        self._cancel(self._ping_call)
        self._ping_call = None
        if self.state is not State.STOPPED:
            self._wait(
                lost, self._backoff.lost(self._reactor.seconds() - self._connected_at), "lost"
            )
        for listener in list(self.on_lost):
            listener(Failure(lost))

    @staticmethod
    def _cancel(*calls: IDelayedCall | None) -> None:
        for call in calls:
            if call is not None and call.active():
                call.cancel()


def _dialler(
    reactor: Any, relay: RelayURL, tls: UpstreamTLS
) -> Callable[[], Deferred[RelayConnection]]:
    creator = relay_tls(relay.host, tls) if relay.secure else None
    return lambda: dial_relay(reactor, relay, creator)


def _ignore(reason: Failure) -> None:
    """A ping on a connection that was lost; the connection itself says so."""
