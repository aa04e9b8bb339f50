"""TLS connections until their handshake is done, and what they speak from then on."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IProtocol,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from portal_gateway.frontend.channel import HTTPChannel
from portal_gateway.frontend.deadlines import LAST_HEAD
from portal_gateway.frontend.http2_connection import HTTP2Connection
from portal_gateway.frontend.outlet import Transport
from portal_gateway.frontend.peer_host import client_host

if TYPE_CHECKING:
    from portal_gateway.frontend.site import Site

__all__ = ["ALPN", "Negotiation", "secure_factory"]

_SPOKEN: Mapping[bytes, Callable[["Site"], HTTPChannel | HTTP2Connection]] = {
    b"h2": HTTP2Connection,
    b"http/1.1": HTTPChannel,
}
"""What each protocol's connection is made of, the preferred one first."""

_UNNAMED = b"http/1.1"
"""What a client speaks that names nothing by ALPN."""

ALPN = tuple(_SPOKEN)
"""The protocols that are offered. A context has to offer all of them."""


class _Secure(Transport):
    """Twisted's TLS transport."""

    negotiatedProtocol: bytes | None


@implementer(IHandshakeListener)
class Negotiation(Protocol):
    """Waits for the handshake, not longer than the limit, and hands the connection on."""

    transport: _Secure  # type: ignore[assignment] # Twisted's ITransport lacks half of it
    client_host = ""

    _spoken: IProtocol | None = None
    _deadline: IDelayedCall | None = None

    def __init__(self, site: "Site") -> None:
        self._site = site

    def connectionMade(self) -> None:
        """There is a connection, and nothing was said yet."""
        site = self._site
        self.client_host = client_host(self.transport.getPeer())
        site.connected(self)
        self._deadline = site.clock.callLater(site.limits.handshake_timeout, self._expired)

    def handshakeCompleted(self) -> None:
        """Both sides know who they are and what they speak."""
        self._site.handshakes += 1
        make = _SPOKEN.get(self.transport.negotiatedProtocol or _UNNAMED)
        if make is None:
            self._leave()
            # acme-tls/1: the handshake was all that the authority came for (RFC 8737 section 3).
            self.transport.loseConnection()
            return
        self._spoken = spoken = make(self._site)
        spoken.makeConnection(self.transport)
        # A site that ends must not take this one for the last to go.
        self._leave()
        if self._site.stopping:
            spoken.close_when_idle()

    def dataReceived(self, data: bytes) -> None:
        """Bytes inside TLS."""
        if self._spoken is not None:
            self._spoken.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone; without a handshake that is nobody's business."""
        if self._spoken is not None:
            self._spoken.connectionLost(reason)
        elif self._deadline is not None:
            self._site.failed_handshakes += 1
            self._leave()

    def requests(self) -> tuple[()]:
        """None yet."""
        return ()

    def drain(self) -> None:
        """Nothing was asked yet."""

    def close_when_idle(self) -> None:
        """Nothing was asked yet, and nobody else can be asked: go on, for a short time."""
        deadline = self._deadline
        if deadline is not None and deadline.active():
            clock = self._site.clock
            deadline.reset(min(LAST_HEAD, max(0.0, deadline.getTime() - clock.seconds())))

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abortConnection()

    def _leave(self) -> None:
        if self._deadline is not None:
            if self._deadline.active():
                self._deadline.cancel()
            self._deadline = None
        self._site.disconnected(self)

    def _expired(self) -> None:
        if not self._site.stopping:
            self._site.limit_hits["handshake_timeout"] += 1
        self.abort()


class _Negotiations(Factory[Any]):
    noisy = False

    def __init__(self, site: "Site") -> None:
        self._site = site

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:
        return self._site.refusal(addr) or Negotiation(self._site)


def secure_factory(site: "Site", contexts: IOpenSSLServerConnectionCreator) -> Factory[Any]:
    """Serves ``site`` over TLS with the context that ``contexts`` has when a client comes."""
    return TLSMemoryBIOFactory(contexts, False, _Negotiations(site), site.clock)  # noqa: FBT003 - Twisted's
