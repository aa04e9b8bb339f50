"""The secure channel over a stream: a protocol below, a transport above.

It drives a ``SecureChannel`` of either role over the transport it is connected to, a ``Substream``
or any other. Once the handshake is over it is the transport of the protocol that it is started
with; that protocol cannot tell it from TCP.

Back-pressure is that of the transport below: producers are registered there, pausing pauses it, and
what one delivery had decrypted when the protocol paused in the midst of it waits here.

How it ends for the protocol above:

======================================= ========================================================
the peer ended between two records      readConnectionLost for a half-closeable protocol, else
                                        ConnectionDone and both directions close
the peer ended inside a record, or a    the GatewayError ``upstream_protocol_error``; the stream
record cannot be opened                 is reset
the transport below was lost            that reason
======================================= ========================================================

Portal's tunnels end both directions as soon as one ends: do not call ``loseWriteConnection`` before
the answer is here.
"""

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.address import RelayAddress
from portal_gateway.relay.delivery import Delivery
from portal_gateway.relay.record_memory import RECORD_MEMORY, UNCOUNTED
from portal_gateway.wire.errors import IdentityError, StaleTimestamp, WireError
from portal_gateway.wire.secure_channel import SecureChannel

__all__ = ["PIECE", "SecureStream", "channel_fault"]

PIECE = 64 * 1024
"""Bytes delivered at once, as from a socket: a record may hold 32 MiB, and whoever reads it must be
able to pause before it made something of all of them."""

_log = Logger("portal_gateway.relay")


def channel_fault(error: WireError) -> GatewayError:
    """What a fault of the secure channel is to a caller.

    ``identity_mismatch`` when the peer is not who it should be, else ``upstream_protocol_error``.
    """
    if isinstance(error, IdentityError):
        return fault("identity_mismatch", "The lease did not prove the identity it should have")
    if isinstance(error, StaleTimestamp):
        return fault("upstream_protocol_error", "The lease's clock and the gateway's differ")
    return fault("upstream_protocol_error", f"The lease broke the secure channel: {error}")


class SecureStream:
    """``channel`` over the transport that this is connected to.

    ``established`` is called once, with this, when the handshake is over, and calls ``start`` with
    the protocol to connect. ``failed`` is called once instead when it does not come to that, with
    the reason: the ``GatewayError`` of ``channel_fault``, or why the transport was lost
    (``ConnectionDone`` when the peer ended before it sent one byte). ``heard`` says whether the
    peer sent anything.
    """

    __slots__ = (
        "_channel",
        "_counted",
        "_delivery",
        "_established",
        "_failed",
        "_producer",
        "_protocol",
        "_reason",
        "_transport",
        "disconnecting",
        "heard",
    )

    def __init__(
        self,
        channel: SecureChannel,
        clock: IReactorTime,
        established: Callable[["SecureStream"], None],
        failed: Callable[[Failure], object],
    ) -> None:
        self._channel = channel
        # Whether what is here of a record is so much that it counts in RECORD_MEMORY.
        self._counted = False
        self._established: Callable[[SecureStream], None] | None = established
        self._failed: Callable[[Failure], object] | None = failed
        self._protocol: IProtocol | None = None
        self._producer: IProducer | None = None
        self._transport: Any = None
        self._delivery = Delivery(
            self._deliver, lambda call: clock.callLater(0, call), self._resume_transport
        )
        self.heard = False
        self._reason: Failure | None = None
        self.disconnecting = False

    def __repr__(self) -> str:
        return f"<SecureStream peer={self._channel.peer} over {self._transport!r}>"

    @property
    def channel(self) -> SecureChannel:
        """The channel: who the peer proved to be, and the protocol agreed on."""
        return self._channel

    def start(self, protocol: IProtocol) -> None:
        """Connect ``protocol``."""
        self._protocol = protocol
        protocol.makeConnection(self)

    # IProtocol: what the transport below calls.

    def makeConnection(self, transport: ITransport) -> None:
        """Start the handshake: a client's message leaves at once."""
        self._transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Start the handshake."""
        self._send()

    def dataReceived(self, data: bytes) -> None:
        """Handshake messages and records, cut anywhere."""
        self.heard = True
        channel = self._channel
        try:
            opened = channel.receive_data(data)
        except WireError as error:
            # What came intact before the fault is as good as if it had come in another delivery.
            opened = channel.opened
            self._reason = Failure(channel_fault(error))
        held = channel.buffered
        if held > UNCOUNTED or self._counted:
            self._counted = held > UNCOUNTED
            RECORD_MEMORY.account(self, held if self._counted else 0)
        if self._established is not None and channel.established:
            self._announce()
        for plaintext in opened:
            for start in range(0, len(plaintext), PIECE):
                self._delivery.receive(plaintext[start : start + PIECE])
        if self._reason is not None:
            self._delivery.finish(self._fail)

    def readConnectionLost(self) -> None:
        """The peer's FIN; the transport below holds it back while it is paused."""
        try:
            self._channel.receive_eof()
        except WireError as error:
            if self.heard:
                self._reason = Failure(channel_fault(error))
                self._fail()
                return
        half_closeable = IHalfCloseableProtocol(self._protocol, None)
        if self._protocol is not None and half_closeable is not None:
            half_closeable.readConnectionLost()
        else:
            # As a TCP transport does: what is above is over, so nothing will be produced for it.
            producer = self._producer
            if producer is not None:
                self.unregisterProducer()
                producer.stopProducing()
            self._transport.loseConnection()
            self._end(Failure(ConnectionDone()))

    def writeConnectionLost(self) -> None:
        """Our FIN has left."""
        half_closeable = IHalfCloseableProtocol(self._protocol, None)
        if half_closeable is not None:
            half_closeable.writeConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        """The transport below is gone."""
        self._end(reason)

    def give_up_record(self) -> None:
        """There is no memory for the rest of the record that is arriving."""
        self._counted = False
        detail = "The lease's record is too large for the memory that is left"
        self._reason = Failure(fault("upstream_protocol_error", detail))
        self._fail()

    # ITransport: what the protocol above calls.

    def write(self, data: bytes) -> None:
        """Seal and send ``data``; dropped once the stream is over or is to be closed."""
        if data and self._protocol is not None:
            self._channel.send_data(data)
            self._transport.write(self._channel.data_to_send())

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Seal the pieces as one."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Send what was written, then end the stream."""
        self.disconnecting = True
        self._delivery.drop()
        self._transport.loseConnection()

    def loseWriteConnection(self) -> None:
        """Send what was written, then end this direction."""
        self._transport.loseWriteConnection()

    def abortConnection(self) -> None:
        """Reset the stream."""
        self.disconnecting = True
        self._delivery.drop()
        self._transport.abortConnection()

    def getPeer(self) -> IAddress:
        """The lease, or the client: the id that it proved."""
        address: IAddress = self._transport.getPeer()
        peer = self._channel.peer
        if peer is None:
            return address
        return RelayAddress(peer.id, getattr(address, "port", 0))

    def getHost(self) -> IAddress:
        """This end's address on the transport below."""
        address: IAddress = self._transport.getHost()
        return address

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to do: a record is never delayed."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing to do: the connection below pings."""

    # IConsumer and IPushProducer, for the protocol above.

    def registerProducer(self, producer: IProducer, streaming: int) -> None:
        """Steer ``producer`` by the room below.

        Raises ``RuntimeError`` when there is one already.
        """
        self._transport.registerProducer(producer, streaming)
        self._producer = producer

    def unregisterProducer(self) -> None:
        """The producer has written everything."""
        self._producer = None
        self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Deliver nothing until ``resumeProducing``."""
        self._delivery.pause()
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Deliver again: what waits here first, in the next turn of the reactor."""
        self._delivery.resume()

    def stopProducing(self) -> None:
        """Whoever consumed what arrives is gone."""
        self.loseConnection()

    # Inside.

    def _send(self) -> None:
        data = self._channel.data_to_send()
        if data:
            self._transport.write(data)

    def _announce(self) -> None:
        """The handshake is over."""
        established, self._established, self._failed = self._established, None, None
        assert established is not None
        self._send()
        established(self)

    def _deliver(self, data: bytes) -> None:
        if self._protocol is None or self.disconnecting:
            return
        try:
            self._protocol.dataReceived(data)
        except Exception:  # noqa: BLE001  # whatever it is, the protocol has lost its place
            _log.failure("a protocol on a secure stream failed")
            self.abortConnection()

    def _resume_transport(self) -> None:
        self._transport.resumeProducing()

    def _fail(self) -> None:
        """The peer broke the channel: reset the stream."""
        reason = self._reason
        assert reason is not None
        self._transport.abortConnection()
        self._end(reason)

    def _end(self, reason: Failure) -> None:
        """Tell whoever is to be told, once."""
        self._delivery.drop()
        if self._counted:
            self._counted = False
            RECORD_MEMORY.account(self, 0)
        protocol, self._protocol = self._protocol, None
        failed, self._failed, self._established = self._failed, None, None
        if failed is not None:
            failed(reason)
        elif protocol is not None:
            protocol.connectionLost(reason)


classImplements(
    SecureStream, ITransport, IConsumer, IPushProducer, IProtocol, IHalfCloseableProtocol
)
