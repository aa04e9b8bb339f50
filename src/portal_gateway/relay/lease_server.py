"""Taking the streams that a relay opens for the leases that are published on its connection.

Such a stream starts with a CONNECTION_REQUEST. It is answered, and when it was accepted, the secure
handshake follows, with this end as the server; both together have ACCEPT_TIMEOUT. Then the lease's
factory gives the protocol for it. Whoever asks for a lease that is not served here, or comes when
there are too many streams already, is REJECTED. What cannot be read is reset.
"""

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IDelayedCall, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.secure_stream import SecureStream
from portal_gateway.relay.session import RelaySession
from portal_gateway.relay.substream import Substream
from portal_gateway.wire.errors import WireError
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.limits import MAX_CONTROL_PACKET
from portal_gateway.wire.messages import (
    PacketReader,
    ResponseCode,
    connection_response,
    read_connection_request,
)
from portal_gateway.wire.secure_channel import SecureChannel

__all__ = ["ACCEPT_TIMEOUT", "MAX_STREAMS", "LeaseServer", "ServedLease"]

ACCEPT_TIMEOUT = 10.0
"""Seconds from the opening of a stream to the end of its handshake."""

MAX_STREAMS = 512
"""Streams of one relay connection above which requests are rejected.

Each is a connection to the service behind the lease, and 1,024 open files are what a process gets
by default.
"""

_ACCEPTED = connection_response(ResponseCode.ACCEPTED)
_REJECTED = connection_response(ResponseCode.REJECTED)

_log = Logger()


@dataclass(frozen=True, slots=True)
class ServedLease:
    """Who a lease is, what it speaks, and who speaks it; ``now`` gives seconds since 1970."""

    credential: Credential
    alpns: tuple[str, ...]
    factory: IProtocolFactory
    now: Callable[[], float]


_servers: WeakKeyDictionary[RelaySession, "LeaseServer"] = WeakKeyDictionary()


class LeaseServer:
    """Gives each stream that the relay of a session opens to the lease that it asks for."""

    def __init__(
        self, session: RelaySession, clock: IReactorTime, max_streams: int = MAX_STREAMS
    ) -> None:
        self.clock = clock
        self.max_streams = max_streams
        self._leases: dict[str, ServedLease] = {}
        session.on_connected.append(self._connected)
        if session.connection is not None:
            self._connected(session.connection)

    @classmethod
    def of(cls, session: RelaySession, clock: IReactorTime) -> "LeaseServer":
        """The one server of ``session``, which lives as long as that does."""
        server = _servers.get(session)
        if server is None:
            server = _servers[session] = cls(session, clock)
        return server

    def add(self, lease: ServedLease) -> None:
        """Serve ``lease``; ``ValueError`` when its identity is served already."""
        lease_id = lease.credential.identity.id
        if lease_id in self._leases:
            raise ValueError(f"lease {lease_id} is served already")
        self._leases[lease_id] = lease

    def remove(self, lease: ServedLease) -> None:
        """Serve ``lease`` no longer; its open streams go on."""
        self._leases.pop(lease.credential.identity.id, None)

    def find(self, lease_id: str) -> ServedLease | None:
        """The lease with this id."""
        return self._leases.get(lease_id)

    def _connected(self, connection: RelayConnection) -> None:
        connection.on_stream = lambda _stream: _Entrance(self, connection)


class _Entrance(Protocol):
    """The beginning of a stream that the relay opened: the request, the answer, the handshake."""

    transport: Substream

    def __init__(self, server: LeaseServer, connection: RelayConnection) -> None:
        self._server = server
        self._connection = connection
        self._reader = PacketReader(MAX_CONTROL_PACKET, once=True)
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._timer = self._server.clock.callLater(ACCEPT_TIMEOUT, self._time_is_up)

    def dataReceived(self, data: bytes) -> None:
        try:
            packets = self._reader.receive_data(data)
            if not packets:
                return
            lease_id, _client = read_connection_request(packets[0])
        except WireError as error:
            self._stop_timer()
            _log.debug("the relay's request for a stream cannot be read: {error}", error=error)
            self.transport.abortConnection()
            return
        lease = self._server.find(lease_id)
        if lease is None or self._connection.streams > self._server.max_streams:
            self._stop_timer()
            self.transport.write(_REJECTED)
            self.transport.loseConnection()
            return
        self.transport.write(_ACCEPTED)
        self._shake_hands(lease)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's
        self._stop_timer()

    def _shake_hands(self, lease: ServedLease) -> None:
        channel = SecureChannel.server(lease.credential, alpns=lease.alpns, clock=lease.now)

        def established(stream: SecureStream) -> None:
            self._stop_timer()
            protocol = lease.factory.buildProtocol(stream.getPeer())
            if protocol is None:
                stream.abortConnection()
            else:
                stream.start(protocol)

        stream = SecureStream(channel, self._server.clock, established, self._not_established)
        self.transport.start(stream)
        if self._reader.trailing_data:
            stream.dataReceived(self._reader.trailing_data)

    def _not_established(self, failure: Failure) -> None:
        self._stop_timer()
        _log.debug("a client's handshake failed: {error}", error=failure.value)

    def _time_is_up(self) -> None:
        self._timer = None
        _log.debug("a stream was not set up in time")
        self.transport.abortConnection()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
