"""Publishing a lease at a relay, and keeping it published.

How a lease is kept published::

               started            answer ACCEPTED
    STOPPED ────────────▶ WAITING ────────────────▶ PUBLISHED ──┐ renewed every RENEW_INTERVAL
       ▲                   ▲   │ ▲                   │     ▲    │
       │ stopped           │   │ └───────────────────┘     └────┘
       └── any state       │   │  connection lost, or not renewed in time
                           │   │ any other answer
                connection │   ▼
                   lost    └─ REFUSED   tried again after 1 s, 2 s, 4 s … 30 s

The streams that the relay opens for the lease are taken in ``lease_server``.
"""

import time
from collections.abc import Callable
from enum import StrEnum

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError
from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.conversations import delete_lease, update_lease
from portal_gateway.relay.lease_server import LeaseServer, ServedLease
from portal_gateway.relay.session import RelaySession
from portal_gateway.wire.errors import WireError
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.messages import LeaseRecord, ResponseCode

__all__ = [
    "FIRST_RETRY",
    "LEASE_LIFETIME",
    "MAX_RETRY",
    "RENEW_INTERVAL",
    "LeaseState",
    "PublishedLease",
]

LEASE_LIFETIME = 30
"""Seconds that a registration asks for, as Portal's SDK does."""

RENEW_INTERVAL = 10.0
"""Seconds between renewals: two may fail before the lease expires."""

FIRST_RETRY = 1.0
"""Seconds until a registration that failed is tried again; doubled each time."""

MAX_RETRY = 30.0
"""Seconds between two tries at most: a name is free again within a lease's lifetime."""

_log = Logger()


class LeaseState(StrEnum):
    """Where a published lease is."""

    STOPPED = "stopped"
    WAITING = "waiting"
    PUBLISHED = "published"
    REFUSED = "refused"


class PublishedLease:
    """A lease kept registered at the relay of ``session``; several may share a session.

    ``factory`` builds a protocol for each stream, with the client's proved identity as address.
    ``on_change`` is called with this object whenever ``state`` changes; ``refusal`` is the relay's
    answer while the state is REFUSED. ``now`` gives seconds since 1970.
    """

    def __init__(
        self,
        session: RelaySession,
        credential: Credential,
        name: str,
        alpns: tuple[str, ...],
        factory: IProtocolFactory,
        clock: IReactorTime,
        metadata: str = "",
        *,
        on_change: Callable[["PublishedLease"], object] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.state = LeaseState.STOPPED
        self.refusal: ResponseCode | None = None
        self._session = session
        self._clock = clock
        self._metadata = metadata
        self._on_change = on_change
        self._credential = credential
        self._alpns = alpns
        self._now = now
        self._server = LeaseServer.of(session, clock)
        self._served = ServedLease(credential, alpns, factory, now)
        self._update: Deferred[ResponseCode] | None = None
        self._timer: IDelayedCall | None = None
        self._retry = FIRST_RETRY
        self._expires = 0.0

    @property
    def id(self) -> str:
        """The lease's id."""
        return self._credential.identity.id

    def start(self) -> None:
        """Register as soon as there is a connection, and stay registered until ``stop``.

        Raises ``ValueError`` when the session serves this identity already.
        """
        if self.state is not LeaseState.STOPPED:
            return
        self._server.add(self._served)
        self._session.on_connected.append(self._connected)
        self._session.on_lost.append(self._disconnected)
        self._enter(LeaseState.WAITING)
        if self._session.connected:
            self._register()

    def stop(self) -> Deferred[None]:
        """Take no more streams and delete the lease at the relay; open streams go on.

        Fires when the relay answered, or did not within the conversation's limit; never fails.
        """
        if self.state is LeaseState.STOPPED:
            return succeed(None)
        registered = self.state is LeaseState.PUBLISHED or self._update is not None
        self._server.remove(self._served)
        self._session.on_connected.remove(self._connected)
        self._session.on_lost.remove(self._disconnected)
        self._pause()
        self._enter(LeaseState.STOPPED)
        connection = self._session.connection
        if connection is None or not registered:
            return succeed(None)
        deleted = delete_lease(connection, self._clock, self._credential, now=self._now)
        return deleted.addCallbacks(lambda _: None, self._not_deleted)

    def _connected(self, _connection: RelayConnection) -> None:
        self._retry = FIRST_RETRY
        self._register()

    def _disconnected(self, _reason: Failure) -> None:
        # The relay drops the lease with the connection.
        self._pause()
        self._enter(LeaseState.WAITING)

    def _pause(self) -> None:
        """No timer runs and no answer counts any more."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        update, self._update = self._update, None
        if update is not None:
            update.cancel()

    def _register(self) -> None:
        self._pause()
        connection = self._session.connection
        if connection is None:
            return
        expires = int(self._now()) + LEASE_LIFETIME
        record = LeaseRecord(
            self._credential.identity, expires, self.name, self._alpns, self._metadata
        )
        update = update_lease(connection, self._clock, self._credential, record, now=self._now)
        self._update = update
        update.addCallbacks(self._answered, self._not_answered, (update, expires), {}, (update,))

    def _answered(self, code: ResponseCode, update: Deferred[ResponseCode], expires: float) -> None:
        if update is not self._update:
            return
        self._update = None
        if code is ResponseCode.ACCEPTED:
            self._retry = FIRST_RETRY
            self._expires = expires
            self._timer = self._clock.callLater(RENEW_INTERVAL, self._register)
            self._enter(LeaseState.PUBLISHED)
            return
        self._register_later()
        self._enter(LeaseState.REFUSED, code)

    def _not_answered(self, failure: Failure, update: Deferred[ResponseCode]) -> None:
        if update is not self._update:
            return
        self._update = None
        self._register_later()
        if failure.check(GatewayError, WireError) is None:
            _log.failure("registering lease {id} failed", failure, id=self.id)
        else:
            _log.warn("lease {id} was not renewed: {error}", id=self.id, error=failure.value)
        if self.state is LeaseState.PUBLISHED and self._now() > self._expires:
            self._enter(LeaseState.WAITING)

    def _register_later(self) -> None:
        self._timer = self._clock.callLater(self._retry, self._register)
        self._retry = min(MAX_RETRY, self._retry * 2)

    def _not_deleted(self, failure: Failure) -> None:
        if failure.check(GatewayError, WireError) is None:
            _log.failure("deleting lease {id} failed", failure, id=self.id)

    def _enter(self, state: LeaseState, refusal: ResponseCode | None = None) -> None:
        if (state, refusal) == (self.state, self.refusal):
            return
        self.state = state
        self.refusal = refusal
        relay = self._session.name
        if state is LeaseState.PUBLISHED:
            _log.info("lease {id} is published at {relay}", id=self.id, relay=relay)
        elif state is LeaseState.REFUSED:
            _log.warn(
                "relay {relay} refuses lease {id}: {reason}; trying again",
                id=self.id,
                relay=relay,
                reason=_reason(refusal),
            )
        elif state is LeaseState.STOPPED:
            _log.info("lease {id} is no longer published at {relay}", id=self.id, relay=relay)
        if self._on_change is not None:
            self._on_change(self)


def _reason(code: ResponseCode | None) -> str:
    if code is ResponseCode.REJECTED:
        return "another identity has the name, or this machine's clock is slow"
    return "unknown" if code is None else code.name
