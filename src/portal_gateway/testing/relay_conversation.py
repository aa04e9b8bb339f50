"""One stream that a client opened at an embedded relay: its control packets, then maybe a lease.

::

            packet answered                   lease's app ACCEPTED
    READING ◀────────────┐   CONNECTION_REQUEST              the two streams are one:
       │ ▲ └─────────────┘ ┌──────────────▶ ASKING ─────────▶ ``Splice``
       └─┼─────────────────┘                  │
         └────────────────────────────────────┘ anything else: the code is passed on

While the app is asked, and while an answer is not sent yet, nothing more is read from the client.
"""

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from portal_gateway.errors import GatewayError
from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.splice import Splice
from portal_gateway.relay.substream import Substream
from portal_gateway.wire.errors import BadSignature, InvalidIdentity, WireError
from portal_gateway.wire.limits import MAX_CONTROL_PACKET
from portal_gateway.wire.messages import (
    Packet,
    PacketReader,
    PacketType,
    ResponseCode,
    connection_request,
    connection_response,
    lease_delete_response,
    lease_update_response,
    read_connection_request,
    read_lease_delete,
    read_lease_update,
    read_response_code,
)

if TYPE_CHECKING:
    from portal_gateway.testing.relay import EmbeddedRelay

__all__ = ["APP_TIMEOUT", "RelayConversation"]

APP_TIMEOUT = 10.0
"""Seconds that a lease's app has to answer a connection request."""

_log = Logger()


@implementer(IPushProducer)
class RelayConversation(Protocol):
    """Answers the packets of one client's stream, one after the other."""

    transport: Substream

    def __init__(self, relay: "EmbeddedRelay", connection: RelayConnection) -> None:
        self._relay = relay
        self._connection = connection
        self._reader = PacketReader(MAX_CONTROL_PACKET, once=True)
        self._asking: _AppStream | None = None
        self._waiting = b""
        self._congested = False

    def connectionMade(self) -> None:
        """Be told when the client does not take its answers."""
        self.transport.registerProducer(self, streaming=True)

    def dataReceived(self, data: bytes) -> None:
        """Packets, cut anywhere."""
        self._waiting = self._waiting + data if self._waiting else data
        self._read()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's
        """The client has ended the stream, or is gone."""
        self._waiting = b""
        if self._asking is not None:
            self._asking.give_up()

    # IPushProducer: the answers that are not sent yet.

    def pauseProducing(self) -> None:
        """The client does not take its answers: read no more questions."""
        self._congested = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The answers are sent."""
        self._congested = False
        self._go_on()

    def stopProducing(self) -> None:
        """The stream is over, which ``connectionLost`` tells as well."""

    # What the app's stream tells.

    def app_accepted(self, app: "_AppStream", lease_id: str, first: bytes) -> None:
        """The lease takes the stream: from now on it and the client's are one."""
        waiting, self._waiting = self._waiting, b""
        self._asking = None
        self.transport.write(connection_response(ResponseCode.ACCEPTED))
        self.transport.unregisterProducer()
        splice = Splice(self._relay.reactor, lambda: self._relay.release_stream(lease_id))
        self.transport.start(splice.near)
        app.transport.start(splice.far)
        # What came in one piece with the packets is the first of what is copied.
        if waiting:
            splice.near.dataReceived(waiting)
        if first:
            splice.far.dataReceived(first)

    def app_refused(self, lease_id: str, code: ResponseCode) -> None:
        """The lease does not take the stream, whatever the reason."""
        self._asking = None
        self._relay.release_stream(lease_id)
        self.transport.write(connection_response(code))
        self._go_on()

    # Inside.

    def _go_on(self) -> None:
        if not self._congested and self._asking is None:
            self.transport.resumeProducing()
            self._read()

    def _read(self) -> None:
        """Answer every packet that is here, as far as that is possible now."""
        while self._waiting and not self._congested and self._asking is None:
            data, self._waiting = self._waiting, b""
            try:
                packets = self._reader.receive_data(data)
                if not packets:
                    return
                self._waiting = self._reader.trailing_data
                self._reader = PacketReader(MAX_CONTROL_PACKET, once=True)
                self._take(packets[0])
            except WireError as error:
                _log.debug("a client's packet cannot be read: {error}", error=error)
                self._waiting = b""
                self.transport.unregisterProducer()
                self.transport.loseConnection()

    def _take(self, packet: Packet) -> None:
        relay = self._relay
        if packet.type is PacketType.RELAY_INFO_REQUEST:
            self.transport.write(relay.info())
        elif packet.type is PacketType.LEASE_UPDATE_REQUEST:
            self.transport.write(lease_update_response(self._update(packet)))
        elif packet.type is PacketType.LEASE_DELETE_REQUEST:
            self.transport.write(lease_delete_response(self._delete(packet)))
        else:
            # Raises UnexpectedPacket for the types that only a relay sends.
            self._connect(packet)

    def _update(self, packet: Packet) -> ResponseCode:
        now = self._relay.now()
        try:
            record = read_lease_update(packet, now)
        except (InvalidIdentity, BadSignature):
            return ResponseCode.INVALID_IDENTITY
        return self._relay.leases.update(record, self._connection, now)

    def _delete(self, packet: Packet) -> ResponseCode:
        try:
            identity = read_lease_delete(packet, self._relay.now())
        except (InvalidIdentity, BadSignature):
            return ResponseCode.INVALID_IDENTITY
        return self._relay.leases.delete(identity.id)

    def _connect(self, packet: Packet) -> None:
        try:
            lease_id, client = read_connection_request(packet)
        except InvalidIdentity:
            self.transport.write(connection_response(ResponseCode.INVALID_IDENTITY))
            return
        relay = self._relay
        registration = relay.leases.find(lease_id, relay.now())
        if registration is None:
            self.transport.write(connection_response(ResponseCode.INVALID_IDENTITY))
            return
        if not relay.take_stream(lease_id):
            self.transport.write(connection_response(ResponseCode.REJECTED))
            return
        app = _AppStream(self, relay.reactor, lease_id, connection_request(lease_id, client))
        self._asking = app
        self.transport.pauseProducing()
        connection = registration.session
        assert isinstance(connection, RelayConnection)
        try:
            connection.open_stream(app)
        except GatewayError:
            app.refuse(ResponseCode.REJECTED)


class _AppStream(Protocol):
    """The stream that the relay opens to a lease's app: the request, and the app's answer."""

    transport: Substream

    def __init__(
        self, conversation: RelayConversation, clock: IReactorTime, lease_id: str, request: bytes
    ) -> None:
        self._conversation: RelayConversation | None = conversation
        self._lease_id = lease_id
        self._request = request
        self._reader = PacketReader(MAX_CONTROL_PACKET, once=True)
        self._timer: IDelayedCall | None = clock.callLater(APP_TIMEOUT, self._time_is_up)

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        try:
            packets = self._reader.receive_data(data)
            if not packets:
                return
            code = read_response_code(packets[0], PacketType.CONNECTION_RESPONSE)
        except WireError as error:
            _log.debug("an app's answer cannot be read: {error}", error=error)
            self.transport.abortConnection()
            self.refuse(ResponseCode.REJECTED)
            return
        if code is not ResponseCode.ACCEPTED:
            self.transport.loseConnection()
            self.refuse(code)
            return
        conversation = self._settle()
        if conversation is not None:
            conversation.app_accepted(self, self._lease_id, self._reader.trailing_data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's
        self.refuse(ResponseCode.REJECTED)

    def refuse(self, code: ResponseCode) -> None:
        """The app does not take the stream."""
        conversation = self._settle()
        if conversation is not None:
            conversation.app_refused(self._lease_id, code)

    def give_up(self) -> None:
        """The client is gone."""
        self.transport.abortConnection()
        self.refuse(ResponseCode.REJECTED)

    def _time_is_up(self) -> None:
        self._timer = None
        self.transport.abortConnection()
        self.refuse(ResponseCode.REJECTED)

    def _settle(self) -> RelayConversation | None:
        """Whom to tell the outcome, the first time."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        conversation, self._conversation = self._conversation, None
        return conversation
