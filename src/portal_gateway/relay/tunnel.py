"""A connection to a lease that speaks another protocol since a 101 (RFC 9110 section 15.2.2).

It stays one of its pool's active connections until it ends, and is never used for HTTP again.
"""

from typing import Protocol

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.http_connection import UpstreamConnection
from portal_gateway.relay.transport_buffers import limit_unsent, set_buffer_size

__all__ = ["Tunnel", "TunnelOwner", "TunnelReceiver"]

_log = Logger(__name__)


class TunnelReceiver(Protocol):
    """Who speaks the other protocol."""

    def receive_data(self, data: bytes) -> None:
        """Bytes of the lease."""

    def stream_lost(self, error: GatewayError | None) -> None:
        """The tunnel has ended and not by its user; no error where the lease ended it cleanly."""

    def pause_sending(self) -> None:
        """The lease takes no more for now."""

    def resume_sending(self) -> None:
        """The lease takes more."""


class TunnelOwner(Protocol):
    """The pool, as a tunnel sees it."""

    def end_tunnel(self, connection: UpstreamConnection, *, abort: bool) -> None:
        """The connection is done with."""


class Tunnel:
    """The bytes of one connection, both ways. ``receiver`` is set by its user."""

    __slots__ = ("_connection", "_owner", "receiver")

    def __init__(self, owner: TunnelOwner, connection: UpstreamConnection) -> None:
        self._owner = owner
        self._connection: UpstreamConnection | None = connection
        self.receiver: TunnelReceiver | None = None
        connection.exchange = self
        connection.expect_body()
        # A lease that reads nothing is to be seen, and to cost little: there may be many.
        limit_unsent(connection.transport)

    # For its user.

    def narrow(self, size: int) -> None:
        """Read at most ``size`` bytes at once, and ask for a pause above as many to be sent."""
        if self._connection is not None:
            set_buffer_size(self._connection.transport, size)

    def write(self, data: bytes) -> None:
        """Send ``data``; dropped once the tunnel has ended."""
        if self._connection is not None:
            self._connection.transport.write(data)

    def pause_reading(self) -> None:
        """Leave what the lease sends in the network."""
        if self._connection is not None:
            self._connection.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._connection is not None:
            self._connection.resume_reading()

    def close(self) -> None:
        """End it after what was written."""
        self._leave(abort=False)

    def abort(self) -> None:
        """End it at once."""
        self._leave(abort=True)

    def _leave(self, *, abort: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.detach()
            self._owner.end_tunnel(connection, abort=abort)

    # For the connection and the pool.

    def receive_data(self, data: bytes) -> None:
        """Bytes of the lease."""
        if self.receiver is not None:
            self.receiver.receive_data(data)

    def connection_lost(self, reason: Failure) -> None:
        """The connection has ended."""
        error: GatewayError | None = None
        if isinstance(reason.value, GatewayError):
            error = reason.value
        elif not reason.check(ConnectionDone):
            error = fault("upstream_closed", "The lease cut the connection.")
        self.fail(error)

    def fail(self, error: GatewayError | None) -> None:
        """End it from the gateway's side; the user is told."""
        if self._connection is not None:
            self._leave(abort=True)
            if self.receiver is not None:
                try:
                    self.receiver.stream_lost(error)
                except Exception:  # noqa: BLE001 - whoever ends this tunnel may end others now
                    _log.failure("the end of a tunnel could not be told")

    def look(self) -> None:
        """Nothing: a tunnel may be silent, and who speaks in it has rules for that."""

    def hold_body(self) -> None:
        """The transport has enough to send."""
        if self.receiver is not None:
            self.receiver.pause_sending()

    def release_body(self) -> None:
        """The transport has sent it."""
        if self.receiver is not None:
            self.receiver.resume_sending()
