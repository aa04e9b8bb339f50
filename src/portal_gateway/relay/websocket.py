"""The WebSocket that carries one multiplexed connection, either role, over autobahn.

Message boundaries mean nothing to Portal: the payloads of the binary messages, put together, are
one byte stream. So nothing is buffered per message: what one read of the socket brings is taken
frame by frame and handed on at once, in one piece. autobahn does the opening handshake, the control
frames and every frame that is not the plain one (binary, final, not masked); plain ones, which are
all that a relay sends in practice, are taken by ``websocket_frames`` before they reach autobahn's
reader.

Three things of autobahn's are replaced: its timers (they live on the global reactor; ours on the
clock that is passed in), its logging (it quotes what strangers sent) and its patience with an
opening handshake of any length.
"""

# autobahn's own annotations are partial: many of its methods have none.
# mypy: allow-untyped-calls

from collections.abc import Callable
from typing import Any

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket.protocol import WebSocketProtocol
from autobahn.websocket.types import ConnectingRequest, ConnectionDeny, ConnectionRequest
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from portal_gateway.relay.carrier import Carrier, Receiver
from portal_gateway.relay.lost import Loss, RelayLost, lost_by
from portal_gateway.relay.websocket_frames import PlainFrameReader, plain_frame

__all__ = [
    "CLOSE_TIMEOUT",
    "MAX_OPENING_BYTES",
    "OPEN_TIMEOUT",
    "Carrier",
    "ClientCarrier",
    "ClientCarrierFactory",
    "Receiver",
    "ServerCarrier",
    "ServerCarrierFactory",
]

OPEN_TIMEOUT = 10.0
"""Seconds that the peer has for the opening handshake."""

CLOSE_TIMEOUT = 1.0
"""Seconds that the peer has to answer our close frame, or to end TCP after its own."""

MAX_OPENING_BYTES = 16 * 1024
"""Bytes of an opening handshake without an end: genuine ones have a few hundred."""

_STEP = 4096
"""Bytes that autobahn gets at once: it copies all the rest of them for each frame."""

_CLOSE_NORMAL = 1000
_CLOSE_PROTOCOL_ERROR = 1002


class _Silence:
    """Stands in for autobahn's logger: the receiver logs the reasons instead, once and safely."""

    def _nothing(self, *args: object, **fields: object) -> None:
        """Log nothing."""

    trace = debug = info = warn = error = critical = failure = _nothing


@implementer(IPushProducer)
class _CarrierMixin:
    """What both roles share; stands before autobahn's class in the order of bases."""

    log = _Silence()
    # Given by autobahn or Twisted, which do not declare them.
    factory: Any
    transport: Any
    data: bytes
    state: int
    current_frame: Any
    inside_message: bool
    sendCloseFrame: Callable[[int], None]
    sendPong: Callable[[bytes], None]
    _dataReceived: Callable[[bytes], None]

    _masks = False

    def __init__(self) -> None:
        super().__init__()
        self._receiver: Receiver | None = None
        self._timer: IDelayedCall | None = None
        self._lost: RelayLost | None = None
        self._reported = False
        self._registered = False
        self._frames = PlainFrameReader()
        self._binary = False
        self._congested = False
        self._unanswered_ping: bytes | None = None

    # The seam: Carrier.

    @property
    def peer_address(self) -> IAddress:
        """The peer's address on the transport below."""
        address: IAddress = self.transport.getPeer()
        return address

    def send_message(self, data: bytes) -> None:
        """Send ``data`` as one binary message of one frame."""
        if self.state != WebSocketProtocol.STATE_OPEN:
            return
        self.transport.writeSequence(plain_frame(data, masked=self._masks))

    def close(self, *, fault: bool = False) -> None:
        """Send a close frame; the TCP connection ends within ``CLOSE_TIMEOUT``."""
        if self.state == WebSocketProtocol.STATE_OPEN:
            self.sendCloseFrame(_CLOSE_PROTOCOL_ERROR if fault else _CLOSE_NORMAL)
            self._end_within(CLOSE_TIMEOUT)
        elif self.state == WebSocketProtocol.STATE_CONNECTING:
            self.abort()

    def abort(self) -> None:
        """Drop the TCP connection."""
        self._stop_timer()
        self.transport.abortConnection()

    def pause_reading(self) -> None:
        """Stop reading the socket."""
        self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """Read the socket again."""
        self.transport.resumeProducing()

    # IPushProducer, for the transport below.

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self._congested = True
        if self._receiver is not None:
            self._receiver.pause_sending()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        self._congested = False
        if self._unanswered_ping is not None:
            payload, self._unanswered_ping = self._unanswered_ping, None
            self.sendPong(payload)
        if self._receiver is not None:
            self._receiver.resume_sending()

    def stopProducing(self) -> None:
        """The transport is gone; ``connectionLost`` says so too."""

    # What Twisted calls.

    def connectionMade(self) -> None:
        """TCP (and TLS) is up: Nagle off, so that window updates do not wait 40 ms each."""
        super().connectionMade()  # type: ignore[misc]  # the mixin's other base is autobahn's protocol
        # autobahn asks for this too, but before it has read its own option, and swallows the error.
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self._end_within(OPEN_TIMEOUT)

    def dataReceived(self, data: bytes) -> None:
        """Take what one read brought."""
        if self.state == WebSocketProtocol.STATE_CONNECTING:
            self._take_opening(data)
        elif self.state != WebSocketProtocol.STATE_CLOSED:
            self._take_frames(data)
        self._hand_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """TCP is gone."""
        self._stop_timer()
        super().connectionLost(reason)  # type: ignore[misc]  # as in connectionMade
        if self._lost is None:
            self._lost = lost_by(reason.value)
        self._report()
        if self._receiver is not None:
            self._receiver.carrier_gone()

    # What autobahn calls.

    def onOpen(self) -> None:
        """The opening handshake is done."""
        self._stop_timer()
        self._registered = True
        self.transport.registerProducer(self, True)  # noqa: FBT003  # Twisted's signature
        self._receiver = self.factory.opened(self)

    def unregisterProducer(self) -> None:
        """The connection is to be dropped, which a registered producer would hold up."""
        if self._registered:
            self._registered = False
            self.transport.unregisterProducer()

    def onMessageBegin(self, isBinary: bool) -> None:
        """A text message is ignored, as the genuine relay does."""
        self._binary = isBinary

    def onMessageFrameBegin(self, length: int) -> None:
        """Nothing is buffered for a frame, so its length needs no bound."""

    def onMessageFrameData(self, payload: bytes) -> None:
        """Part of a frame that autobahn took: text, fragmented or masked."""
        if self._binary and payload:
            self._frames.chunks.append(payload)

    def onMessageFrameEnd(self) -> None:
        """Frame boundaries mean nothing."""

    def onMessageEnd(self) -> None:
        """Message boundaries mean nothing."""

    def onPing(self, payload: bytes) -> None:
        """Answer; while the send buffer is full, only the last ping is (RFC 6455 section 5.5.3)."""
        if self._congested:
            self._unanswered_ping = payload
        else:
            self.sendPong(payload)

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> bool | None:
        """The peer closes: the connection is over now, whenever TCP follows."""
        done: bool | None = super().onCloseFrame(code, reasonRaw)  # type: ignore[misc]  # as above
        if self._lost is None:
            self._lost = RelayLost(Loss.CLOSED, "The relay closed the connection")
        self._end_within(CLOSE_TIMEOUT)
        self._report()
        return done

    def _fail_connection(self, code: int = _CLOSE_PROTOCOL_ERROR, reason: str = "") -> None:
        """The peer broke RFC 6455; autobahn's reason may quote it, so ours stands instead."""
        if self._lost is None:
            self._lost = RelayLost(Loss.WEBSOCKET_FAULT, "The relay broke the WebSocket protocol")
        super()._fail_connection(code, reason)  # type: ignore[misc]  # as above

    # Inside.

    def _take_frames(self, data: bytes) -> None:
        while data and self.state != WebSocketProtocol.STATE_CLOSED:
            # A client's frames are masked: never plain.
            if self._masks and self.current_frame is None and not self.inside_message:
                if self.data:
                    data, self.data = self.data + data, b""
                data = self._frames.receive_data(data)
            if data:
                self._dataReceived(data[:_STEP])
                data = data[_STEP:]

    def _take_opening(self, data: bytes) -> None:
        try:
            self._dataReceived(data)
        except Exception:  # noqa: BLE001  # autobahn raises whatever its parsing of garbage runs into
            self._refuse_opening("The relay's opening handshake cannot be read")
            return
        if self.state == WebSocketProtocol.STATE_CONNECTING and len(self.data) > MAX_OPENING_BYTES:
            self._refuse_opening("The relay's opening handshake has no end")

    def _refuse_opening(self, detail: str) -> None:
        if self._lost is None:
            self._lost = RelayLost(Loss.NOT_WEBSOCKET, detail)
        self.abort()

    def _end_within(self, seconds: float) -> None:
        self._stop_timer()
        clock: IReactorTime = self.factory.reactor
        self._timer = clock.callLater(seconds, self._time_is_up)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _time_is_up(self) -> None:
        self._timer = None
        if self._lost is None and self.state == WebSocketProtocol.STATE_CONNECTING:
            self._lost = RelayLost(Loss.NO_ANSWER, "The relay did not answer in time")
        self.transport.abortConnection()

    def _hand_on(self) -> None:
        """Give the receiver what has arrived, in one piece."""
        chunks = self._frames.chunks
        if chunks:
            self._frames.chunks = []
            if self._receiver is not None and not self._reported:
                self._receiver.bytes_received(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    def _report(self) -> None:
        if self._reported or self._lost is None:
            return
        # What came along with a farewell came before it.
        self._hand_on()
        self._reported = True
        if self._receiver is not None:
            self._receiver.carrier_lost(self._lost)
        else:
            self.factory.failed(self._lost)


class ClientCarrier(_CarrierMixin, WebSocketClientProtocol):  # type: ignore[misc]  # autobahn's bases
    """The gateway's end of a WebSocket to a relay."""

    _masks = True

    def onConnecting(self, transport_details: object) -> ConnectingRequest:  # noqa: ARG002  # autobahn's
        """Name the host as RFC 9110 wants it: an IPv6 address in brackets."""
        factory = self.factory
        host = f"[{factory.host}]" if ":" in factory.host else factory.host
        return ConnectingRequest(
            host=host, port=factory.port, resource=factory.resource, useragent=factory.useragent
        )

    def failHandshake(self, reason: str) -> None:  # noqa: ARG002  # autobahn's
        """The answer is not a WebSocket's; ``reason`` quotes it, so only its status is kept."""
        status = _status_code(getattr(self, "http_status_line", ""))
        detail = (
            "The relay's opening handshake is not valid"
            if status in {None, 101}
            else f"The relay answered with HTTP status {status} instead of a WebSocket"
        )
        self._refuse_opening(detail)


def _status_code(line: str) -> int | None:
    """The status code of an HTTP status line, or ``None`` when it has none."""
    parts = line.split(maxsplit=2)
    if len(parts) < 2 or len(parts[1]) != 3 or not parts[1].isascii() or not parts[1].isdigit():
        return None
    return int(parts[1])


class ServerCarrier(_CarrierMixin, WebSocketServerProtocol):  # type: ignore[misc]  # autobahn's bases
    """A relay's end of a WebSocket from one of its clients."""

    def onConnect(self, request: ConnectionRequest) -> None:
        """Serve one path only.

        Raises ``ConnectionDeny`` (404) for any other.
        """
        if request.path != self.factory.path:
            raise ConnectionDeny(404, "Not Found")


class ClientCarrierFactory(WebSocketClientFactory):
    """Makes the carrier of one attempt to reach ``url``.

    ``opened`` is called with the carrier when it is open and returns its receiver; ``failed`` is
    called once instead when it never opens.
    """

    log = _Silence()
    protocol = ClientCarrier
    noisy = False

    def __init__(
        self,
        url: str,
        clock: IReactorTime,
        opened: Callable[[Carrier], Receiver],
        failed: Callable[[RelayLost], None],
    ) -> None:
        super().__init__(url, useragent="portal-gateway", reactor=clock)
        self.setProtocolOptions(
            utf8validateIncoming=False,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            serverConnectionDropTimeout=0,
        )
        self.opened = opened
        self.failed = failed


class ServerCarrierFactory(WebSocketServerFactory):
    """Accepts the carriers of a relay's clients at ``path``; ``opened`` as in the client's."""

    log = _Silence()
    protocol = ServerCarrier
    noisy = False

    def __init__(
        self, clock: IReactorTime, opened: Callable[[Carrier], Receiver], path: str = "/relay"
    ) -> None:
        super().__init__(server="portal-gateway", reactor=clock)
        self.setProtocolOptions(
            webStatus=False,
            utf8validateIncoming=False,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
        )
        self.opened = opened
        self.path = path

    def failed(self, lost: RelayLost) -> None:
        """A client that never became one; there is nothing to tell anybody."""
