"""A reactor in memory: a clock that is set by hand and a TCP network without sockets.

Everything that takes a reactor (a session that dials its relay, a relay that listens) runs on one
``MemoryReactor`` in one process, deterministically: time passes only in ``advance``, and bytes move
only in ``settle`` (which ``advance`` calls).
"""

from collections.abc import Sequence
from ipaddress import ip_address
from itertools import count
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IListeningPort,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IResolutionReceiver,
)
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from portal_gateway.testing.transports import MAX_STEPS, Chunk, MemoryLink, connect

__all__ = ["MemoryListener", "MemoryReactor"]

_FIRST_EPHEMERAL_PORT = 49_152  # RFC 6335 section 6


@implementer(IListeningPort)
class MemoryListener:
    """A port of a MemoryReactor that accepts connections."""

    def __init__(self, reactor: "MemoryReactor", factory: IProtocolFactory, port: int) -> None:
        self.factory = factory
        self._reactor = reactor
        self._port = port

    def startListening(self) -> None:
        """Take the port; CannotListenError when it is taken."""
        if self._port in self._reactor.listeners:
            raise error.CannotListenError("127.0.0.1", self._port, OSError("the port is in use"))
        self._reactor.listeners[self._port] = self
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:
        """Give the port back; connections that were accepted stay."""
        if self._reactor.listeners.get(self._port) is self:
            del self._reactor.listeners[self._port]
            self.factory.doStop()
        return succeed(None)

    def getHost(self) -> IPv4Address:
        """Where it listens."""
        return IPv4Address("TCP", "127.0.0.1", self._port)


@implementer(IConnector)
class _Connector:
    """One attempt to connect, and the connection that came of it."""

    def __init__(
        self,
        reactor: "MemoryReactor",
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float,
    ) -> None:
        self._reactor = reactor
        self._destination = IPv4Address("TCP", host, port)
        self._factory = factory
        self._link: MemoryLink | None = None
        self._timeout = timeout
        self._attempt: IDelayedCall | None = None

    def getDestination(self) -> IPv4Address:
        """Where to."""
        return self._destination

    def connect(self) -> None:
        """Try (again)."""
        self._factory.doStart()
        self._factory.startedConnecting(self)
        if self._destination.port in self._reactor.silent_ports:
            self._attempt = self._reactor.callLater(self._timeout, self._fail, error.TimeoutError())
        else:
            self._attempt = self._reactor.callLater(0, self._arrive)

    def stopConnecting(self) -> None:
        """Try no longer."""
        if self._attempt is None:
            raise error.NotConnectingError("no attempt is under way")
        self._attempt.cancel()
        self._fail(error.UserError())

    def disconnect(self) -> None:
        """Stop connecting, or close the connection."""
        if self._attempt is not None:
            self.stopConnecting()
        elif self._link is not None:
            self._link.client.loseConnection()

    def _fail(self, reason: Exception) -> None:
        self._attempt = None
        self._factory.clientConnectionFailed(self, Failure(reason))
        self._factory.doStop()

    def _arrive(self) -> None:
        listener = self._reactor.listeners.get(self._destination.port)
        if listener is None:
            self._fail(error.ConnectionRefusedError())
            return
        self._attempt = None
        address = self._reactor.new_address()
        # A factory that builds no protocol gets a connection that is closed at once, as from TCP.
        server = listener.factory.buildProtocol(address)
        client = self._factory.buildProtocol(self._destination)
        self._link = link = connect(
            client or Protocol(),
            server or Protocol(),
            self._reactor.chunk,
            client_address=address,
            server_address=self._destination,
        )
        link.client.when_lost = self._lost
        if server is None:
            link.server.loseConnection()
        if client is None:
            link.client.loseConnection()
        self._reactor.links.append(link)

    def _lost(self, reason: Failure) -> None:
        self._factory.clientConnectionLost(self, reason)
        self._factory.doStop()


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Nothing is under way: names are resolved at once."""


@implementer(IHostnameResolver)
class _Resolver:
    """IP addresses, and ``localhost``; any other name has no address."""

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,  # noqa: ARG002 - the interface's
        transportSemantics: str = "TCP",  # noqa: ARG002 - the interface's
    ) -> IHostResolution:
        """Answer before returning."""
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        literal = "127.0.0.1" if hostName == "localhost" else hostName
        try:
            version = ip_address(literal).version
        except ValueError:
            pass
        else:
            kind = IPv4Address if version == 4 else IPv6Address
            resolutionReceiver.addressResolved(kind("TCP", literal, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution


@implementer(IReactorTCP, IReactorPluggableNameResolver)
class MemoryReactor(Clock):
    """Time and TCP for one test.

    ``links`` has every connection that was made, oldest first; ``chunk`` is how those made from
    now on cut their bytes (see MemoryLink); nobody ever answers a connection to one of
    ``silent_ports``, and any other port without a listener refuses. ``host`` is the machine that
    connects from now on.
    """

    def __init__(self, now: float = 0.0) -> None:
        super().__init__()
        self.rightNow = now
        self.links: list[MemoryLink] = []
        self.listeners: dict[int, MemoryListener] = {}
        self.silent_ports: set[int] = set()
        self.chunk: Chunk = None
        self.host = "127.0.0.1"
        self._resolver: IHostnameResolver = _Resolver()
        self._ports = count(_FIRST_EPHEMERAL_PORT)

    def settle(self) -> None:
        """Move bytes and make the calls that are due until nothing happens any more.

        Raises RuntimeError after MAX_STEPS.
        """
        for _ in range(MAX_STEPS):
            super().advance(0)
            moved = [link.step() for link in self.links]
            due = self.calls and self.calls[0].getTime() <= self.seconds()
            if not any(moved) and not due:
                return
        raise RuntimeError(f"still moving after {MAX_STEPS} steps")

    def advance(self, amount: float) -> None:
        """Let ``amount`` seconds pass, from one call that is due to the next, settling at each."""
        end = self.seconds() + amount
        self.settle()
        while self.calls and self.calls[0].getTime() <= end:
            super().advance(max(0.0, self.calls[0].getTime() - self.seconds()))
            self.settle()
        super().advance(end - self.seconds())

    def new_address(self) -> IPv4Address | IPv6Address:
        """An address of ``host`` that was not used before."""
        kind = IPv6Address if ":" in self.host else IPv4Address
        return kind("TCP", self.host, next(self._ports))

    # IReactorTCP.

    def listenTCP(
        self,
        port: int,
        factory: IProtocolFactory,
        backlog: int = 50,  # noqa: ARG002 - the interface's
        interface: str = "",  # noqa: ARG002 - the interface's
    ) -> IListeningPort:
        """Accept connections to ``port``; 0 takes a free one."""
        listener = MemoryListener(self, factory, port or next(self._ports))
        listener.startListening()
        return listener

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float = 30.0,
        bindAddress: tuple[str, int] | None = None,  # noqa: ARG002 - the interface's
    ) -> IConnector:
        """Connect to ``port``, on whichever host."""
        connector = _Connector(self, host, port, factory, timeout)
        connector.connect()
        return connector

    # IReactorPluggableNameResolver.

    @property
    def nameResolver(self) -> IHostnameResolver:
        """Knows IP addresses and ``localhost``, until another one is installed."""
        return self._resolver

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Resolve names by ``resolver`` from now on; returns the one before."""
        previous, self._resolver = self._resolver, resolver
        return previous
