"""Connections that a load balancer of TCP passes on, with the PROXY protocol's header before them.

The header is read below TLS and HTTP, and then the connection is as if the client had made it: its
peer is the client in all that counts, decides and logs by addresses. Twisted's own wrapper tells
that only to protocols that ask for the peer once bytes came. It has no deadline either, buffers 64
KiB, and takes the word of everybody.

Only ``gateway.trusted_proxies`` may connect. A header that does not come within
``gateway.limits.header_timeout``, or is none, ends the connection.
"""

from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from portal_gateway.frontend.deadlines import LAST_HEAD
from portal_gateway.frontend.peer_host import client_host
from portal_gateway.frontend.site import Refused, Site
from portal_gateway.wire.proxy_header import BadProxyHeader, ProxyHeader, read_proxy_header

__all__ = ["ProxiedConnections", "ProxiedReactor"]

_log = Logger()

_LOG_INTERVAL: Final = 60.0
"""Seconds from one line about refused connections to the next: anybody can cause them."""


class ProxiedConnections(Factory[Any]):
    """Reads the header of each connection to ``site``, and passes it on to ``within``."""

    noisy = False

    def __init__(self, site: Site, within: IProtocolFactory) -> None:
        self._site = site
        self._within = within
        self._unlogged = 0
        self._log_at = 0.0

    def doStart(self) -> None:
        """A port listens for it."""
        self._within.doStart()

    def doStop(self) -> None:
        """One listens no more."""
        self._within.doStop()

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:
        """A protocol that reads the header, or drops a connection of somebody else."""
        site = self._site
        if not site.trusts(client_host(addr)):
            site.untrusted_peers += 1
            self.complain("it is not among gateway.trusted_proxies", addr)
            return Refused()
        # The client's network is counted when it is known.
        return site.refusal(None) or _AwaitedHeader(site, self)

    def pass_on(self, source: IAddress) -> IProtocol:
        """The protocol that serves the client at ``source``."""
        protocol: Any = self._within.buildProtocol(source)
        served: IProtocol = protocol
        return served

    def complain(self, why: str, peer: IAddress | None) -> None:
        """Log why a connection was refused, now and then."""
        self._unlogged += 1
        now = self._site.seconds()
        if now >= self._log_at:
            self._log_at = now + _LOG_INTERVAL
            _log.warn(
                "connections for the PROXY protocol were refused: {count}, the last one from"
                " {peer}: {why}",
                count=self._unlogged,
                peer=client_host(peer) or "a UNIX socket",
                why=why,
            )
            self._unlogged = 0


class _AwaitedHeader(Protocol):
    """A connection whose header has not come yet."""

    transport: Any
    client_host = ""

    _deadline: IDelayedCall | None = None

    def __init__(self, site: Site, factory: ProxiedConnections) -> None:
        self._site = site
        self._factory = factory
        self._received = b""

    def connectionMade(self) -> None:
        site = self._site
        site.connected(self)
        self._deadline = site.clock.callLater(site.limits.header_timeout, self._expired)

    def dataReceived(self, data: bytes) -> None:
        if self._deadline is None:
            # The connection was cut.
            return
        self._received += data
        try:
            header = read_proxy_header(self._received)
        except BadProxyHeader as bad:
            self._site.bad_proxy_headers += 1
            self._factory.complain(str(bad), self.transport.getPeer())
            self.abort()
            return
        if header is not None:
            self._pass_on(header)

    def _pass_on(self, header: ProxyHeader) -> None:
        self._stop_waiting()
        transport, rest = self.transport, self._received[header.length :]
        self._received = b""
        _set_addresses(transport, header)

        def connect() -> IProtocol:
            served = self._factory.pass_on(transport.getPeer())
            transport.protocol = served
            served.makeConnection(transport)
            return served

        served = self._site.replace(self, connect)
        if rest:
            served.dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self._stop_waiting()
        self._site.disconnected(self)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            if self._deadline.active():
                self._deadline.cancel()
            self._deadline = None

    def _expired(self) -> None:
        if not self._site.stopping:
            self._site.limit_hits["header_timeout"] += 1
        self.abort()

    # What a site asks of its connections.

    def requests(self) -> tuple[()]:
        """None yet."""
        return ()

    def drain(self) -> None:
        """Nothing was asked yet."""

    def close_when_idle(self) -> None:
        """Wait for the header a little longer: nobody else will get what follows."""
        deadline = self._deadline
        if deadline is not None and deadline.active():
            left = deadline.getTime() - self._site.clock.seconds()
            deadline.reset(min(LAST_HEAD, max(0.0, left)))

    def abort(self) -> None:
        """Cut the connection."""
        self._stop_waiting()
        self.transport.abortConnection()


def _set_addresses(transport: Any, header: ProxyHeader) -> None:
    """Have ``transport`` say of its ends what the header says; without addresses as it was."""
    if header.unix:
        peer: IAddress = UNIXAddress(None)
        transport.getPeer = lambda: peer
    if header.source is not None and header.destination is not None:
        source, destination = _tcp_address(header.source), _tcp_address(header.destination)
        transport.getPeer = lambda: source
        transport.getHost = lambda: destination


def _tcp_address(address: tuple[str, int]) -> IAddress:
    host, port = address
    kind = IPv6Address if ":" in host else IPv4Address
    return kind("TCP", host, port)


class ProxiedReactor:
    """A reactor whose listening sockets have PROXY headers, to be given to endpoints.

    So the header stands before everything that an endpoint puts between socket and site, as its
    TLS. All else is the reactor's.
    """

    def __init__(self, reactor: Any, site: Site) -> None:
        self._reactor = reactor
        self._site = site

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, *arguments: Any, **named: Any) -> Any:
        """As Twisted's reactors have it."""
        return self._reactor.listenTCP(port, self._proxied(factory), *arguments, **named)

    def listenUNIX(self, address: str, factory: Any, *arguments: Any, **named: Any) -> Any:
        """As Twisted's reactors have it."""
        return self._reactor.listenUNIX(address, self._proxied(factory), *arguments, **named)

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, *arguments: Any, **named: Any
    ) -> Any:
        """As Twisted's reactors have it: TLS is within the header."""
        secure = TLSMemoryBIOFactory(contextFactory, False, factory)  # noqa: FBT003 - Twisted's
        return self.listenTCP(port, secure, *arguments, **named)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """As Twisted's reactors have it."""
        proxied = self._proxied(factory)
        return self._reactor.adoptStreamPort(fileDescriptor, addressFamily, proxied)

    def _proxied(self, factory: Any) -> ProxiedConnections:
        return ProxiedConnections(self._site, factory)
