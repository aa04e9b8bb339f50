"""A Portal relay in this process: the relay's side of the protocol, as the genuine 1.4.14 speaks
it.

For tests and demonstrations: genuine clients and tunnels work with it, but it has neither the
genuine relay's own HTTP routes nor its policies. Where it differs on purpose:

- a lease update whose signature or identity is not valid is answered INVALID_IDENTITY; the genuine
  relay does not answer it at all;
- an app that does not answer a connection request within APP_TIMEOUT is as good as one that
  refuses; the genuine relay waits for ever;
- the reset of a stream is passed on as a reset, and so is the loss of the other side's session; the
  genuine relay turns both into an orderly end;
- control packets are bounded by 64 KiB, not 64 MiB, and everything that a client can make it keep
  has a bound.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamServerEndpoint
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.websocket import Carrier, ServerCarrierFactory
from portal_gateway.testing.relay_conversation import RelayConversation
from portal_gateway.testing.relay_registry import LeaseRegistry
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.messages import ListedLease, RelayInfo, relay_info_response
from portal_gateway.wire.yamux import Role

__all__ = ["KEEPALIVE_INTERVAL", "MAX_CLIENTS", "EmbeddedRelay"]

KEEPALIVE_INTERVAL = 30.0
"""Seconds between pings to each client; one that did not answer the last is dropped."""

MAX_CLIENTS = 1024
"""Connections at once; more are dropped. The usual limit of open files is what it stands for."""

_log = Logger()


class EmbeddedRelay:
    """The relay; ``listen`` makes it one.

    ``max_connections_per_lease`` streams may be open to each lease at once, 0 meaning any number.
    With ``legacy_directory`` its list has ids only, as that of 1.2.0. ``credential`` is its own
    identity, a fresh one by default. ``now`` gives seconds since 1970.

    ``leases`` is the registry; ``open_streams`` counts the streams per lease id.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        credential: Credential | None = None,
        max_connections_per_lease: int = 0,
        legacy_directory: bool = False,
        path: str = "/relay",
        now: Callable[[], float] = time.time,
    ) -> None:
        self.identity = (credential or Credential.generate()).identity
        self.leases = LeaseRegistry()
        self.open_streams: Counter[str] = Counter()
        self.max_connections_per_lease = max_connections_per_lease
        self.legacy_directory = legacy_directory
        self.reactor = reactor
        self.now = now
        # Each connection until its transport is closed, and a Deferred for that.
        self._clients: dict[RelayConnection, Deferred[None]] = {}
        self._unanswered: set[RelayConnection] = set()
        self._path = path
        self._port: IListeningPort | None = None
        self._keepalive = LoopingCall(self._ping_all)
        self._keepalive.clock = reactor

    @property
    def clients(self) -> list[RelayConnection]:
        """The connections, oldest first."""
        return list(self._clients)

    @property
    def url(self) -> str:
        """Where clients find it; ``RuntimeError`` before it listens."""
        if self._port is None:
            raise RuntimeError("the relay does not listen yet")
        address = self._port.getHost()
        return f"ws://{address.host}:{address.port}{self._path}"  # type: ignore[attr-defined] # TCP's

    def listen(self, endpoint: IStreamServerEndpoint | None = None) -> Deferred[IListeningPort]:
        """Take clients at ``endpoint``, or at a free port of 127.0.0.1."""
        if endpoint is None:
            endpoint = TCP4ServerEndpoint(self.reactor, 0, MAX_CLIENTS, interface="127.0.0.1")
        factory = ServerCarrierFactory(self.reactor, self._client_here, self._path)
        listening: Deferred[IListeningPort] = endpoint.listen(factory)
        return listening.addCallback(self._listening)

    def stop(self) -> Deferred[None]:
        """Take no more clients, and close those that are here; fires when they are gone."""
        if self._keepalive.running:
            self._keepalive.stop()
        waiting: list[Deferred[Any]] = []
        port, self._port = self._port, None
        if port is not None:
            stopped = port.stopListening()
            if stopped is not None:
                waiting.append(stopped)
        waiting += self._clients.values()
        for connection in self.clients:
            connection.close()
        return DeferredList(waiting).addCallback(lambda _: None)

    # What conversations ask.

    def info(self) -> bytes:
        """The list of leases, as a packet."""
        listed = [ListedLease.of(record) for record in self.leases.living(self.now())]
        if self.legacy_directory:
            listed = [ListedLease(lease.id) for lease in listed]
        address = () if self._port is None else (self.url,)
        return relay_info_response(RelayInfo(self.identity, address, tuple(listed)))

    def take_stream(self, lease_id: str) -> bool:
        """Count one more stream to a lease, unless there are as many as may be."""
        limit = self.max_connections_per_lease
        if limit and self.open_streams[lease_id] >= limit:
            return False
        self.open_streams[lease_id] += 1
        return True

    def release_stream(self, lease_id: str) -> None:
        """Count one stream less."""
        self.open_streams[lease_id] -= 1
        if self.open_streams[lease_id] <= 0:
            del self.open_streams[lease_id]

    # Inside.

    def _listening(self, port: IListeningPort) -> IListeningPort:
        self._port = port
        self._keepalive.start(KEEPALIVE_INTERVAL, now=False)
        return port

    def _client_here(self, carrier: Carrier) -> RelayConnection:
        address = carrier.peer_address
        connection = RelayConnection(carrier, Role.SERVER, self.reactor, name=_name(address))
        if len(self._clients) >= MAX_CLIENTS:
            connection.abort()
            return connection
        connection.on_stream = lambda _stream: RelayConversation(self, connection)
        self._clients[connection] = Deferred()
        connection.closed.addCallback(lambda _lost: self._session_over(connection))
        connection.gone.addCallback(lambda _: self._clients.pop(connection).callback(None))
        return connection

    def _session_over(self, connection: RelayConnection) -> None:
        self._unanswered.discard(connection)
        for lease_id in self.leases.drop_session(connection):
            _log.debug("lease {id} is gone with its session", id=lease_id)

    def _ping_all(self) -> None:
        """One ping to each client; who has not answered the one before is dropped."""
        self.leases.expire(self.now())
        for connection in self.clients:
            if connection in self._unanswered:
                connection.abort()
            elif connection.connected:
                self._unanswered.add(connection)
                connection.ping().addCallbacks(
                    lambda _, connection=connection: self._unanswered.discard(connection),
                    lambda _: None,
                )


def _name(address: IAddress) -> str:
    """What logs call a client."""
    if isinstance(address, IPv4Address | IPv6Address):
        return f"{address.host}:{address.port}"
    return "client"
