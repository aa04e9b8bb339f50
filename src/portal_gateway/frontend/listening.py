"""Listeners: an address, what is served there, and what is said when that cannot be."""

from collections.abc import Callable
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.config.endpoint_strings import is_proxied, without_proxy
from portal_gateway.config.model import DrainSection
from portal_gateway.frontend.leaving import LAST_HANDSHAKES, NEAR_HANDSHAKES, take_waiting
from portal_gateway.frontend.listening_sockets import ListeningSockets
from portal_gateway.frontend.negotiation import secure_factory
from portal_gateway.frontend.proxied_connection import ProxiedConnections, ProxiedReactor
from portal_gateway.frontend.site import Site
from portal_gateway.tls.rotation import Rotation

__all__ = ["Listener"]

_log = Logger()


class Listener(Service):
    """Listens, or ends the process with one line that says why it cannot.

    ``address`` is how the operator wrote it, ``endpoint`` the same as a Twisted endpoint string;
    with ``haproxy:`` before it each connection begins with the PROXY protocol's header.
    With a ``rotation`` it is TLS that is served, with the certificate that it has. ``announce`` is
    told the URL once connections are taken, which is when ``ready`` fires. ``drain`` says how it
    stops. ``sockets`` has the socket, where no endpoint is to open it.
    """

    def __init__(
        self,
        reactor: Any,
        address: str,
        endpoint: str,
        site: Site,
        announce: Callable[[str], object] = lambda _url: None,
        rotation: Rotation | None = None,
        drain: DrainSection | None = None,
        sockets: ListeningSockets | None = None,
    ) -> None:
        self._reactor = reactor
        self._drain = drain or DrainSection()
        self._waiting: Deferred[None] | None = None
        self._hurried = False
        self._address = address
        self._endpoint = without_proxy(endpoint)
        self._is_proxied = is_proxied(endpoint)
        self._sockets = sockets or ListeningSockets()
        self._site = site
        self._announce = announce
        self._rotation = rotation
        self._listening: Deferred[IListeningPort] | None = None
        self._port: IListeningPort | None = None
        self.ready: Deferred[None] = Deferred()

    def use(self, drain: DrainSection) -> None:
        """Stop in this way, when it comes to that."""
        self._drain = drain

    @property
    def port(self) -> int:
        """The number of the port that is listened on; 0 before, and for a UNIX socket."""
        return 0 if self._port is None else getattr(self._port.getHost(), "port", 0)

    def privilegedStartService(self) -> None:
        """Take the address while there still are privileges to take it with."""
        super().privilegedStartService()
        rotation = self._rotation
        factory = self._site if rotation is None else secure_factory(self._site, rotation.contexts)
        listening = self._listen(factory)
        failed: list[Failure] = []
        listening.addCallbacks(self._took, failed.append)
        if failed:
            raise SystemExit(f"portal-gateway: {self._why_not(failed[0])}")
        self._listening = listening

    def _listen(self, factory: Any) -> Deferred[IListeningPort]:
        reactor, site = self._reactor, self._site
        if self._sockets.takes(self._endpoint):
            adopted: Deferred[IListeningPort]
            if self._is_proxied:
                factory = ProxiedConnections(site, factory)
            adopted = maybeDeferred(self._sockets.listen, reactor, self._endpoint, factory)
            self._sockets.release(self._endpoint)
            return adopted
        listening: Deferred[IListeningPort]
        if self._is_proxied:
            reactor = ProxiedReactor(reactor, site)
        listening = serverFromString(reactor, self._endpoint).listen(factory)
        return listening

    def startService(self) -> None:
        """Say that connections are taken, and keep the certificate what its files say."""
        super().startService()
        if self._rotation is not None:
            self._rotation.start()
        if self._listening is not None:
            self._listening.addCallbacks(self._ready, self._not_ready)

    def _took(self, port: IListeningPort) -> IListeningPort:
        self._port = port
        return port

    def _ready(self, port: IListeningPort) -> None:
        url = _url_of("http" if self._rotation is None else "https", port.getHost())
        _log.info("listening on {url}", url=url)
        self._announce(url)
        if not self.ready.called:
            self.ready.callback(None)

    def _not_ready(self, failure: Failure) -> None:
        _log.critical("{why}", why=self._why_not(failure))
        self._reactor.stop()

    def _why_not(self, failure: Failure) -> str:
        error = failure.value
        why = error.socketError if isinstance(error, CannotListenError) else error
        if isinstance(why, OSError):
            why = why.strerror or why
        return f"cannot listen on {self._address}: {why}"

    def stopService(self) -> Deferred[Any]:
        """Take connections for the grace that is left, then no more; fires when all have ended."""
        super().stopService()
        self._site.drain()
        if self._hurried or self._port is None:
            return self._stop()
        stopped = self._wait(self._drain.grace)
        stopped.addCallback(lambda _over: self._ignore_new_clients())
        return stopped.addCallback(lambda _over: self._stop())

    def _wait(self, seconds: float) -> Deferred[None]:
        """Fires after ``seconds``, or when it is not to be waited any more."""
        if self._hurried or not seconds:
            return succeed(None)
        waiting = self._waiting = deferLater(self._reactor, seconds, lambda: None)
        return waiting.addErrback(lambda failure: failure.trap(CancelledError) and None)

    def _ignore_new_clients(self) -> Deferred[None]:
        """Let the next clients find the process that listens here, too, or nobody.

        A socket that another process has is left as it is: that one goes on.
        """
        assert self._port is not None
        sockets = self._sockets
        if sockets.takes(self._endpoint) and not sockets.reuse_port:
            return succeed(None)
        try:
            sockets.step_aside(self._endpoint, self._port)
        except OSError as error:
            if sockets.reuse_port:
                _log.warn("new clients may be lost: {why}", why=error.strerror or str(error))
            return succeed(None)
        return self._wait(LAST_HANDSHAKES if sockets.reuse_port else NEAR_HANDSHAKES)

    def hurry(self) -> None:
        """Wait for nobody any more."""
        self._hurried = True
        if self._waiting is not None:
            self._waiting.cancel()
        self._site.hurry()

    def _stop(self) -> Deferred[Any]:
        self._waiting = None
        if self._rotation is not None:
            self._rotation.stop()
        if self._port is None:
            return self._stop_site()
        if not self._sockets.is_inherited(self._endpoint):
            # The socket is closed in the next turn, right behind this.
            self._reactor.callLater(0, take_waiting, self._port)
        closed: Deferred[Any] = maybeDeferred(cast("Any", self._port.stopListening))
        return closed.addBoth(lambda _closed: self._stop_site())

    def _stop_site(self) -> Deferred[Any]:
        return self._site.stop(0 if self._hurried else self._drain.timeout)


def _url_of(scheme: str, address: IAddress) -> str:
    match address:
        case IPv4Address(host=host, port=port):
            return f"{scheme}://{host}:{port}/"
        case IPv6Address(host=host, port=port):
            return f"{scheme}://[{host}]:{port}/"
        case _:
            return str(address)
