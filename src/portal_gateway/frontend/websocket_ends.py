"""The two ends of a bridge: the client's, where autobahn is the server, and the lease's."""

# autobahn's own annotations are partial: many of its methods have none.
# mypy: allow-untyped-calls

from base64 import b64encode
from collections.abc import Sequence
from math import ceil, inf
from os import urandom
from typing import Any, Final

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from portal_gateway.config.model import WebSocketSection
from portal_gateway.errors import GatewayError, fault
from portal_gateway.frontend.taken_stream import TakenStream
from portal_gateway.frontend.websocket_end import End
from portal_gateway.frontend.websocket_input import BY_PACE
from portal_gateway.frontend.websocket_output import Silence
from portal_gateway.frontend.websocket_turns import Turns
from portal_gateway.policy.token_bucket import SECOND, Pace, Rate
from portal_gateway.policy.websocket_opening import Opening
from portal_gateway.relay.tunnel import Tunnel
from portal_gateway.wire.http1_response import ResponseHead
from portal_gateway.wire.http1_writing import serialise_request, serialise_response
from portal_gateway.wire.http_fields import Headers, field_values

__all__ = ["FREE_FRAGMENT", "ClientEnd", "Ends", "LeaseEnd"]

_SHAKES_HANDS = frozenset(
    {b"upgrade", b"connection", b"sec-websocket-accept", b"sec-websocket-extensions"}
)
"""Fields of a 101 that autobahn is to judge."""

_OFFER = PerMessageDeflateOffer(request_no_context_takeover=True)

_OPTIONS: dict[str, Any] = {
    # Those are the bridge's, on the clock it was given.
    "openHandshakeTimeout": 0,
    "closeHandshakeTimeout": 0,
    "failByDrop": False,
}


FREE_FRAGMENT: Final = 4 * 1024
"""Bytes from which on a fragment that does not end its message is not counted.

A large message may be cut into frames, of 16 KiB and more as clients do it, and costs what its
bytes cost; smaller fragments cost what a message does, with or without bytes.
"""


class ClientEnd(End, WebSocketServerProtocol):  # type: ignore[misc]  # autobahn's bases
    """The end toward the client.

    With a ``pace`` the client's frames take tokens, and while there is none nothing is read: what
    is too much waits in the network.
    """

    masks = False
    stream: TakenStream
    pace: Pace | None = None
    _chosen: str | None = None
    _fields: bytes = b""
    _too_fast: IDelayedCall | None = None

    def accept(
        self, stream: TakenStream, opening: Opening, chosen: bytes | None, fields: Headers
    ) -> None:
        """Send the 101 with ``fields`` in its header. Raises RuntimeError if that cannot be."""
        self.stream = stream
        self._chosen = None if chosen is None else chosen.decode("ascii")
        # Only what was checked goes into autobahn's own reader of requests.
        request = [
            (b"Host", b"gateway"),
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Version", b"13"),
            (b"Sec-WebSocket-Key", opening.key),
        ]
        if chosen is not None:
            request.append((b"Sec-WebSocket-Protocol", chosen))
        offer = _first_usable_offer(opening.extensions) if self.factory.compression else None
        if offer is not None:
            request.append((b"Sec-WebSocket-Extensions", offer.get_extension_string().encode()))
        self._fields = serialise_response(101, b"", fields).partition(b"\r\n")[2]
        self._connectionMade()
        self._dataReceived(serialise_request(b"GET", b"/", request))
        if not self.can_send:
            raise RuntimeError("the opening handshake came to nothing")
        self._fields = b""
        self.use_deflation()

    def shut_down(self) -> None:
        """The gateway is stopping."""
        self.bridge.shut_down()

    def onConnect(self, request: ConnectionRequest) -> str | None:  # noqa: ARG002 - autobahn's
        """The subprotocol that is chosen."""
        return self._chosen

    def lose(self) -> None:
        """The stream has ended."""
        super().lose()
        timer, self._too_fast = self._too_fast, None
        if timer is not None:
            timer.cancel()

    def _count(self) -> None:
        clock = self.factory.reactor
        wait = 0 if self.pace is None else self.pace.count(int(clock.seconds() * SECOND))
        if wait:
            if self._too_fast is None:
                self.bridge.limit_hit("websocket_messages")
                self._hold(BY_PACE)
                self._too_fast = clock.callLater(wait / SECOND, self._go_on)
            else:
                self._too_fast.reset(wait / SECOND)

    def _go_on(self) -> None:
        self._too_fast = None
        self._release(BY_PACE)

    def _onMessageFrameEnd(self) -> None:
        super()._onMessageFrameEnd()
        frame = self.current_frame
        # The last frame is counted as the message.
        if not frame.fin and frame.length < FREE_FRAGMENT:
            self._count()

    def _onMessageEnd(self) -> None:
        super()._onMessageEnd()
        self._count()

    def _onPing(self, payload: bytes) -> None:
        super()._onPing(payload)
        self._count()

    def _onPong(self, payload: bytes) -> None:
        super()._onPong(payload)
        self._count()

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Write a frame, or the 101."""
        if self._fields:
            # autobahn's fields, then the lease's and ours.
            self.stream.send_opening(data.removesuffix(b"\r\n") + self._fields)
        else:
            super().sendData(data, sync, chopsize)


class LeaseEnd(End, WebSocketClientProtocol):  # type: ignore[misc]  # autobahn's bases
    """The end toward the lease.

    A lease that has not taken what was sent to it within ``write_stall`` seconds is cut off, as a
    client is.
    """

    masks = True
    stream: Tunnel
    websocket_key: bytes
    write_stall = inf
    _offered = False
    _stall: IDelayedCall | None = None

    def startHandshake(self) -> None:
        """Make the key; the pool sends the request."""
        self.websocket_key = b64encode(urandom(16))

    def opening_fields(self, opening: Opening) -> Headers:
        """The fields of the opening handshake that is sent to the lease."""
        self._connectionMade()
        fields = [
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Version", b"13"),
            (b"Sec-WebSocket-Key", self.websocket_key),
        ]
        if opening.subprotocols:
            fields.append((b"Sec-WebSocket-Protocol", b", ".join(opening.subprotocols)))
        if self.factory.compression and _first_usable_offer(opening.extensions) is not None:
            self._offered = True
            fields.append((b"Sec-WebSocket-Extensions", _OFFER.get_extension_string().encode()))
        return fields

    def accept(self, tunnel: Tunnel, opening: Opening, head: ResponseHead) -> bytes | None:
        """Check the lease's 101; gives the subprotocol that it chose.

        Raises GatewayError (``upstream_protocol_error``).
        """
        self.stream = tunnel
        chosen = field_values(head.headers, b"sec-websocket-protocol")
        if len(chosen) > 1 or (chosen and chosen[0] not in opening.subprotocols):
            raise _not_websocket("it chose a subprotocol that was not offered")
        fields = [field for field in head.headers if field[0].lower() in _SHAKES_HANDS]
        try:
            self._dataReceived(serialise_response(head.status, b"", fields))
        except Exception:  # noqa: BLE001 - autobahn raises whatever its parsing of garbage runs into
            raise _not_websocket("it cannot be read") from None
        if not self.can_send:
            raise _not_websocket("it breaks RFC 6455 or RFC 7692")
        self.use_deflation()
        return chosen[0] if chosen else None

    def stream_lost(self, error: GatewayError | None) -> None:
        """The lease's connection has ended."""
        self.bridge.lease_gone(error)

    def pause_sending(self) -> None:
        """The lease takes no more: so long as that is so, nothing is read of the client."""
        super().pause_sending()
        if self._stall is None and not self.finished:
            self._stall = self.factory.reactor.callLater(self.write_stall, self._stalled)

    def resume_sending(self) -> None:
        """The lease has taken everything."""
        self._stop_stall()
        super().resume_sending()

    def lose(self) -> None:
        """The stream has ended."""
        super().lose()
        self._stop_stall()

    def _stop_stall(self) -> None:
        timer, self._stall = self._stall, None
        if timer is not None:
            timer.cancel()

    def _stalled(self) -> None:
        self._stall = None
        detail = "The lease took nothing of a WebSocket for too long."
        self.stream.fail(fault("upstream_timeout", detail))

    def perMessageCompressionAccept(
        self, response: PerMessageDeflateResponse
    ) -> PerMessageDeflateResponseAccept | None:
        """Agree to what was offered only."""
        if not self._offered or not isinstance(response, PerMessageDeflateResponse):
            return None
        return PerMessageDeflateResponseAccept(response, no_context_takeover=True)

    def failHandshake(self, reason: str) -> None:
        """The answer is not a WebSocket's; ``reason`` quotes it."""


def _not_websocket(why: str) -> GatewayError:
    return fault("upstream_protocol_error", f"The lease's 101 is not a WebSocket's: {why}.")


def _first_usable_offer(extensions: bytes) -> PerMessageDeflateOffer | None:
    """The first offer of permessage-deflate that is valid; others are declined (RFC 7692 7.1)."""
    for offered in extensions.split(b","):
        name, *parameters = [part.strip(b" \t") for part in offered.split(b";")]
        if name != b"permessage-deflate":
            continue
        named: dict[str, list[str | bool]] = {}
        for parameter in parameters:
            key, mark, value = parameter.decode("latin-1").partition("=")
            named.setdefault(key.strip(), []).append(value.strip().strip('"') if mark else True)
        try:
            offer: PerMessageDeflateOffer = PerMessageDeflateOffer.parse(named)
        except Exception:  # noqa: BLE001, S112 - autobahn raises nothing finer; it is only declined
            continue
        return offer
    return None


def _accept_offer(
    offers: Sequence[PerMessageDeflateOffer],
) -> PerMessageDeflateOfferAccept | None:
    """Nothing is kept between messages, in either direction, so that idle connections are small."""
    return PerMessageDeflateOfferAccept(
        offers[0], request_no_context_takeover=True, no_context_takeover=True
    )


class _ServerFactory(WebSocketServerFactory):
    log = Silence()
    compression: bool


class _ClientFactory(WebSocketClientFactory):
    log = Silence()
    compression: bool


class Ends:
    """Makes the ends of every bridge; autobahn's factories hold what all of them share."""

    def __init__(self, clock: IReactorTime, limits: WebSocketSection) -> None:
        self._limits = limits
        self._server = _ServerFactory(server="", reactor=clock)
        self._server.setProtocolOptions(
            webStatus=False, perMessageCompressionAccept=_accept_offer, **_OPTIONS
        )
        self._client = _ClientFactory(reactor=clock)
        self._client.setProtocolOptions(serverConnectionDropTimeout=0, **_OPTIONS)
        self._server.compression = self._client.compression = limits.compression
        self._turns = Turns(clock)
        rate = limits.messages_per_second
        burst = limits.message_burst
        self._pace = None if rate is None else Rate.of(rate, 1, burst or max(1, ceil(rate)))

    def client_end(self) -> ClientEnd:
        """A new end toward a client."""
        limits = self._limits
        end = ClientEnd(limits.max_message_size, limits.max_frame_size, self._turns)
        end.factory = self._server
        if self._pace is not None:
            end.pace = Pace(self._pace)
        return end

    def lease_end(self, write_stall: float) -> LeaseEnd:
        """A new end toward a lease, which has to take what it is sent within ``write_stall``."""
        limits = self._limits
        end = LeaseEnd(limits.max_message_size, limits.max_frame_size, self._turns)
        end.factory = self._client
        end.write_stall = write_stall
        return end
