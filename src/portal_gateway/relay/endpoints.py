"""A lease as an ``IStreamClientEndpoint``: HTTP code dials it like a TCP service.

One attempt, on one stream of the session's connection::

    connection request ──► response ──► secure handshake ──► the factory's protocol is connected
                           (relay)      (lease)

    what goes wrong                                             is
    no connection, or it was lost; the relay refuses the stream relay_unavailable
    INVALID_IDENTITY; the stream ends before the handshake      lease_offline
    REJECTED                                                    lease_busy
    another answer, or none that can be read                    relay_protocol_error
    the lease proves another identity, or none                  identity_mismatch
    the handshake is broken otherwise, or breaks off            upstream_protocol_error
    silence for CONNECT_TIMEOUT, over all                       upstream_timeout
"""

import time
from collections.abc import Callable

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, NoProtocol
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.conversations import packet_fault
from portal_gateway.relay.secure_stream import SecureStream
from portal_gateway.relay.session import RelaySession
from portal_gateway.relay.substream import Substream
from portal_gateway.wire.errors import WireError
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.limits import MAX_CONTROL_PACKET
from portal_gateway.wire.messages import (
    PacketReader,
    PacketType,
    ResponseCode,
    connection_request,
    read_response_code,
)
from portal_gateway.wire.secure_channel import SecureChannel

__all__ = ["CONNECT_TIMEOUT", "LeaseEndpoint"]

CONNECT_TIMEOUT = 10.0
"""Seconds from the request for a stream to the end of the handshake."""


@implementer(IStreamClientEndpoint)
class LeaseEndpoint:
    """Opens streams to the lease ``lease_id`` over ``session``, as ``credential``.

    ``now`` gives seconds since 1970, for the handshake.
    """

    def __init__(
        self,
        session: RelaySession,
        credential: Credential,
        lease_id: str,
        clock: IReactorTime,
        *,
        alpn: str = "http/1.1",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._credential = credential
        self._clock = clock
        self._now = now
        self._alpn = alpn
        self._request = connection_request(lease_id, credential.identity)
        self.lease_id = lease_id

    def __repr__(self) -> str:
        return f"<LeaseEndpoint {self.lease_id} at {self._session.name}>"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect the factory's protocol to the lease; cancelling resets the stream.

        Fails with ``GatewayError``, as the table at the top says.
        """
        try:
            connection = self._session.require()
            attempt = _Attempt(self._request, self._new_channel, protocolFactory, self._clock)
            connection.open_stream(attempt)
        except GatewayError as error:
            return fail(Failure(error))
        return attempt.result

    def _new_channel(self) -> SecureChannel:
        return SecureChannel.client(
            self._credential, self.lease_id, alpn=self._alpn, now=self._now()
        )


class _Attempt(Protocol):
    """Speaks the connection request on a stream, then hands the stream to the secure channel."""

    transport: Substream

    def __init__(
        self,
        request: bytes,
        new_channel: Callable[[], SecureChannel],
        factory: IProtocolFactory,
        clock: IReactorTime,
    ) -> None:
        self.result: Deferred[IProtocol] = Deferred(self._cancelled)
        self._request = request
        self._new_channel = new_channel
        self._factory = factory
        self._clock = clock
        self._reader = PacketReader(MAX_CONTROL_PACKET, once=True)
        self._over = False
        self._timer: IDelayedCall | None = None
        self._secure: SecureStream | None = None

    # The relay's part.

    def connectionMade(self) -> None:
        self._timer = self._clock.callLater(CONNECT_TIMEOUT, self._time_is_up)
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        try:
            packets = self._reader.receive_data(data)
            if not packets:
                return
            code = read_response_code(packets[0], PacketType.CONNECTION_RESPONSE)
        except WireError as error:
            self._give_up(packet_fault(error))
            return
        if code is ResponseCode.ACCEPTED:
            self._shake_hands()
        elif code is ResponseCode.INVALID_IDENTITY:
            self._give_up(fault("lease_offline", "The lease is not at its relay"))
        elif code is ResponseCode.REJECTED:
            self._give_up(fault("lease_busy", "The lease takes no more connections"))
        else:
            detail = f"The relay refused the connection with {code.name}"
            self._give_up(fault("relay_protocol_error", detail))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        error = reason.value
        if isinstance(error, ConnectionDone):
            try:
                self._reader.receive_eof()
            except WireError as truncated:
                self._fail(packet_fault(truncated))
            else:
                self._fail(fault("lease_offline", "The relay ended the stream to the lease"))
        elif isinstance(error, GatewayError):
            self._fail(error)
        else:
            self._fail(fault("relay_unavailable", "The relay refused the stream"))

    # The lease's part.

    def _shake_hands(self) -> None:
        secure = self._secure = SecureStream(
            self._new_channel(), self._clock, self._established, self._not_established
        )
        self.transport.start(secure)
        trailing = self._reader.trailing_data
        if trailing:
            secure.dataReceived(trailing)

    def _established(self, secure: SecureStream) -> None:
        if self._settle():
            return
        try:
            protocol = self._factory.buildProtocol(secure.getPeer())
        except Exception:  # noqa: BLE001  # whatever it is, it is the one's who called connect
            secure.abortConnection()
            self.result.errback(Failure())
            return
        if protocol is None:
            secure.abortConnection()
            self.result.errback(Failure(NoProtocol()))
            return
        secure.start(protocol)
        self.result.callback(protocol)

    def _not_established(self, reason: Failure) -> None:
        error = reason.value
        if isinstance(error, GatewayError):
            self._fail(error)
        elif self._secure is not None and self._secure.heard:
            self._fail(fault("upstream_protocol_error", "The lease broke off the handshake"))
        else:
            self._fail(fault("lease_offline", "The lease ended the stream before the handshake"))

    # The outcome.

    def _give_up(self, error: GatewayError) -> None:
        self.transport.abortConnection()
        self._fail(error)

    def _fail(self, error: GatewayError) -> None:
        if not self._settle():
            self.result.errback(Failure(error))

    def _time_is_up(self) -> None:
        self._give_up(fault("upstream_timeout", "The lease did not answer in time"))

    def _cancelled(self, _: Deferred[IProtocol]) -> None:
        self._settle()
        self.transport.abortConnection()

    def _settle(self) -> bool:
        """Whether the outcome was told before; it is now."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        over, self._over = self._over, True
        return over
