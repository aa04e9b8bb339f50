"""Reaching a relay: from its URL to a ``RelayConnection``, or to the reason why not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure

from portal_gateway.config.model import UpstreamTLS
from portal_gateway.relay.carrier import Carrier
from portal_gateway.relay.client_tls import ClientTLS, trusted_authorities
from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.lost import Loss, RelayLost, lost_by
from portal_gateway.relay.tcp import tcp_endpoint
from portal_gateway.relay.websocket import ClientCarrierFactory
from portal_gateway.wire.yamux import Role

__all__ = [
    "DIAL_TIMEOUT",
    "RelayURL",
    "dial_relay",
    "relay_endpoint",
    "relay_tls",
    "verified_tls",
]

DIAL_TIMEOUT = 10.0
"""Seconds for name, TCP, TLS and the WebSocket's opening handshake together."""


@dataclass(frozen=True, slots=True)
class RelayURL:
    """A relay's URL, taken apart; ``text`` is the whole, ``name`` is what logs call the relay."""

    text: str
    secure: bool
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "RelayURL":
        """Take ``ws://host:port/path`` or ``wss://…`` apart.

        Raises ``ValueError`` for anything else: another scheme, no host, a user, a fragment, or
        characters that a URL cannot have.
        """
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("a relay's URL is ASCII; write other names in their xn-- form")
        parts = urlsplit(text)
        if parts.scheme not in {"ws", "wss"}:
            raise ValueError("a relay's URL starts with ws:// or wss://")
        if not parts.hostname:
            raise ValueError("a relay's URL names a host")
        if "@" in parts.netloc:
            raise ValueError("a relay's URL has no user or password")
        if parts.fragment:
            raise ValueError("a relay's URL has no fragment")
        secure = parts.scheme == "wss"
        return cls(text, secure, parts.hostname, parts.port or (443 if secure else 80))

    @property
    def name(self) -> str:
        """Host and port: the path or query of a URL may hold what is not for logs."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def relay_tls(host: str, settings: UpstreamTLS) -> IOpenSSLClientConnectionCreator:
    """TLS toward the relay at ``host``, as its configuration wants it.

    No ALPN: without it every server speaks HTTP/1.1, which the opening handshake needs, and servers
    of Twisted 26.10 that were given no protocols end the handshake of a client that names some.

    Raises ``OSError`` when the file of authorities cannot be read and ``ValueError`` when it holds
    no certificate.
    """
    name = settings.server_name or host
    if settings.insecure:
        return ClientTLS(settings).creator(name)
    return optionsForClientTLS(name, trustRoot=trusted_authorities(settings.ca_file))


def verified_tls(host: str, ca_file: Path | None = None) -> IOpenSSLClientConnectionCreator:
    """The same with nothing configured, or only the authorities to trust."""
    return relay_tls(host, UpstreamTLS(ca_file))


def relay_endpoint(
    reactor: Any, url: RelayURL, tls: IOpenSSLClientConnectionCreator | None
) -> IStreamClientEndpoint:
    """The way to a relay, up to TLS."""
    endpoint = tcp_endpoint(reactor, url.host, url.port)
    return endpoint if tls is None else wrapClientTLS(tls, endpoint)


def dial_relay(
    reactor: Any, url: RelayURL, tls: IOpenSSLClientConnectionCreator | None = None
) -> Deferred[RelayConnection]:
    """Connect to a relay within ``DIAL_TIMEOUT``; ``tls`` is needed for a secure URL.

    Fails with ``RelayLost``. May be cancelled.
    """
    attempt = _Attempt(reactor, url)
    attempt.start(relay_endpoint(reactor, url, tls if url.secure else None))
    return attempt.result


class _Attempt:
    """One attempt to reach a relay."""

    def __init__(self, reactor: Any, url: RelayURL) -> None:
        self._reactor = reactor
        self._url = url
        self._carrier: Carrier | None = None
        self._connecting: Deferred[Any] | None = None
        self._over = False
        self.result: Deferred[RelayConnection] = Deferred(self._cancelled)
        self._timer = reactor.callLater(DIAL_TIMEOUT, self._time_is_up)

    def start(self, endpoint: IStreamClientEndpoint) -> None:
        factory = ClientCarrierFactory(self._url.text, self._reactor, self._opened, self._failed)
        self._connecting = endpoint.connect(factory)
        self._connecting.addCallbacks(self._connected, self._not_connected)

    def _connected(self, carrier: Carrier) -> None:
        """TCP is up; what follows is reported by the carrier."""
        self._connecting = None
        self._carrier = carrier
        if self._over:
            carrier.abort()

    def _not_connected(self, reason: Failure) -> None:
        self._connecting = None
        self._failed(lost_by(reason.value))

    def _opened(self, carrier: Carrier) -> RelayConnection:
        connection = RelayConnection(carrier, Role.CLIENT, self._reactor, name=self._url.name)
        if self._settled():
            connection.abort()
        else:
            self.result.callback(connection)
        return connection

    def _failed(self, lost: RelayLost) -> None:
        if not self._settled():
            self.result.errback(Failure(lost))

    def _time_is_up(self) -> None:
        self._failed(RelayLost(Loss.NO_ANSWER, "The relay did not answer in time"))
        self._give_up()

    def _cancelled(self, _: Deferred[Any]) -> None:
        self._settled()
        self._give_up()

    def _give_up(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._carrier is not None:
            self._carrier.abort()

    def _settled(self) -> bool:
        """Whether this was over before; it is now."""
        over, self._over = self._over, True
        if self._timer.active():
            self._timer.cancel()
        return over
