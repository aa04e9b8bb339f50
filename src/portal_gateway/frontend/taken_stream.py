"""A client's connection after a 101 (RFC 9110 section 15.2.2): bytes both ways, no HTTP any more.

It still is the channel's: the client has to take what is sent within the write stall, the end is
the channel's patient one, and the exchange ends with it.
"""

from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import classImplements

from portal_gateway.frontend.outlet import Outlet
from portal_gateway.frontend.streaming import StreamingRequest

if TYPE_CHECKING:
    from portal_gateway.frontend.channel import HTTPChannel

__all__ = ["StreamReceiver", "TakenStream"]


class StreamReceiver(Protocol):
    """Who speaks the other protocol. That the client has gone is told by the request."""

    def receive_data(self, data: bytes) -> None:
        """Bytes of the client."""

    def pause_sending(self) -> None:
        """The client takes no more for now."""

    def resume_sending(self) -> None:
        """The client takes more."""

    def shut_down(self) -> None:
        """The gateway is stopping: bring it to an end."""


class TakenStream:
    """What `StreamingRequest.take_over` gives. Toward the outlet it is a push producer.

    The exchange's byte counts are those of this stream, without the opening handshake.
    """

    __slots__ = ("_channel", "_outlet", "_receiver", "_request", "_rest")

    def __init__(
        self, channel: "HTTPChannel", outlet: Outlet, request: StreamingRequest, rest: bytes
    ) -> None:
        self._channel = channel
        self._outlet = outlet
        self._request = request
        self._rest = rest
        self._receiver: StreamReceiver | None = None

    def start(self, receiver: StreamReceiver) -> None:
        """Give ``receiver`` what the client sent behind its request, and what it sends from now."""
        self._receiver = receiver
        self._outlet.register(self)
        rest, self._rest = self._rest, b""
        if rest:
            self.receive_data(rest)
        self._channel.resume_taken()

    def send_opening(self, head: bytes) -> None:
        """Send the head of the 101."""
        self._outlet.write(head)

    def narrow(self, size: int) -> None:
        """Read at most ``size`` bytes at once, and ask for a pause above as many to be sent."""
        self._outlet.narrow(size)

    def write(self, data: bytes) -> None:
        """Send ``data``; dropped when the client has gone."""
        if not self._request.over:
            self._request.exchange.bytes_out += len(data)
            self._outlet.write(data)

    def pause_reading(self) -> None:
        """Leave what the client sends in the network."""
        self._channel.pause_body()

    def resume_reading(self) -> None:
        """Read again."""
        self._channel.resume_body()

    def close(self) -> None:
        """End it after what was written. The exchange is over, and complete."""
        self._request.end_takeover()

    def abort(self) -> None:
        """End it at once. The exchange is over, and was aborted."""
        self._request.abort()

    # From the channel.

    def receive_data(self, data: bytes) -> None:
        """Bytes of the client."""
        self._request.exchange.bytes_in += len(data)
        if self._receiver is not None:
            self._receiver.receive_data(data)
        else:
            self._rest += data

    def shut_down(self) -> None:
        """The gateway is stopping."""
        if self._receiver is not None:
            self._receiver.shut_down()

    # From the outlet.

    def pauseProducing(self) -> None:
        """The client takes no more for now."""
        if self._receiver is not None:
            self._receiver.pause_sending()

    def resumeProducing(self) -> None:
        """The client takes more."""
        if self._receiver is not None:
            self._receiver.resume_sending()

    def stopProducing(self) -> None:
        """The client has gone; the request tells the same."""


classImplements(TakenStream, IPushProducer)
