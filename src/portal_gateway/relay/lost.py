"""Why a relay connection could not be had or did not last: one exception, one code per reason.

The codes are stable names for logs and metrics; the detail is our own text and never quotes the
relay.
"""

from enum import StrEnum

from OpenSSL import SSL
from twisted.internet import error as net

from portal_gateway.errors import CAUSES, RelayFault

__all__ = ["Loss", "RelayLost", "lost_by"]


class Loss(StrEnum):
    """The reason, by its stable name."""

    REFUSED = "refused"
    """Nothing listens at the relay's address."""
    UNREACHABLE = "unreachable"
    """The name does not resolve, or there is no route."""
    TLS = "tls"
    """No trusted TLS connection: certificate, name or protocol."""
    NO_ANSWER = "no_answer"
    """Connecting took longer than its limit."""
    NOT_WEBSOCKET = "not_websocket"
    """The answer to the opening handshake was not a WebSocket's."""
    CLOSED = "closed"
    """The relay closed in good order: a close frame, the end of the stream, or a go-away."""
    DROPPED = "dropped"
    """The connection broke without a farewell."""
    WEBSOCKET_FAULT = "websocket_fault"
    """The relay broke RFC 6455."""
    YAMUX_FAULT = "yamux_fault"
    """The relay broke the multiplexing protocol."""
    PING_TIMEOUT = "ping_timeout"
    """A ping was not answered in time."""
    STOPPED = "stopped"
    """We ended it ourselves."""


_PROTOCOL_LOSSES = frozenset({Loss.NOT_WEBSOCKET, Loss.WEBSOCKET_FAULT, Loss.YAMUX_FAULT})


class RelayLost(RelayFault):
    """There is no connection to the relay (any more).

    The cause is ``relay_protocol_error`` when the relay broke a protocol, else
    ``relay_unavailable``.
    """

    def __init__(self, loss: Loss, detail: str) -> None:
        code = "relay_protocol_error" if loss in _PROTOCOL_LOSSES else "relay_unavailable"
        super().__init__(CAUSES[code], detail)
        self.loss = loss


def lost_by(error: BaseException | None) -> RelayLost:
    """What Twisted's reason for a lost connection, or for one that was never made, is to us."""
    if isinstance(error, net.ConnectionDone):
        return RelayLost(Loss.CLOSED, "The relay closed the connection")
    if isinstance(error, net.ConnectionClosed):
        return RelayLost(Loss.DROPPED, "The connection to the relay broke")
    if isinstance(error, net.ConnectionRefusedError):
        return RelayLost(Loss.REFUSED, "Nothing listens at the relay's address")
    if isinstance(error, net.TimeoutError | net.TCPTimedOutError):
        return RelayLost(Loss.NO_ANSWER, "The relay did not answer in time")
    if isinstance(error, SSL.Error):
        return RelayLost(Loss.TLS, f"No TLS connection to the relay: {_openssl_reason(error)}")
    if isinstance(error, OSError | net.ConnectError):
        return RelayLost(Loss.UNREACHABLE, "The relay's address does not resolve or has no route")
    # What is left is the check of the certificate's names, in the classes of service_identity.
    return RelayLost(Loss.TLS, "The relay's certificate is not for its name")


def _openssl_reason(error: SSL.Error) -> str:
    """What went wrong in OpenSSL's words, from its table: "certificate verify failed"."""
    try:
        return str(error.args[0][-1][2]) or "no reason given"
    except (IndexError, TypeError):
        return "no reason given"
