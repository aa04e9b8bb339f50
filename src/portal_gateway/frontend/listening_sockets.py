"""Listening sockets that no endpoint opens: shared with other processes, or passed on by systemd.

A socket is opened once; each process that takes connections from it adopts it.
"""

import socket
import stat
from pathlib import Path
from typing import Any, Final

from twisted.internet import tcp, unix
from twisted.internet.abstract import isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure
from twisted.python.lockfile import FilesystemLock

from portal_gateway.frontend.leaving import others_at, step_aside

__all__ = ["ListeningSockets"]

_BACKLOG: Final = 4096
"""Connections that may wait on a UNIX socket that somebody else opened: as on our own."""


class ListeningSockets:
    """The sockets of one gateway, by the endpoint strings that they are for.

    ``reuse_port`` lets another process listen on the same address. ``shared`` says that processes
    which are forked from this one adopt them.
    """

    def __init__(self, *, reuse_port: bool = False, shared: bool = False) -> None:
        self.reuse_port = reuse_port
        self._shared = shared
        self._opened: dict[str, socket.socket] = {}
        self._elders: dict[str, frozenset[int] | None] = {}
        self._paths: list[tuple[Path, FilesystemLock | None]] = []

    def takes(self, endpoint: str) -> bool:
        """Whether ``endpoint`` is listened on by a socket from here."""
        return self._shared or self.reuse_port or self.is_inherited(endpoint)

    @staticmethod
    def is_inherited(endpoint: str) -> bool:
        """Whether the socket is systemd's, which keeps it and the connections that wait there."""
        return endpoint.startswith("systemd:")

    def open(self, endpoint: str) -> socket.socket:
        """The socket for ``endpoint``, which listens. Raises ``OSError`` when it cannot."""
        opened = self._opened.get(endpoint)
        if opened is None:
            opened = self._opened[endpoint] = self._open(endpoint)
            opened.settimeout(0)
            if self.reuse_port:
                self._elders[endpoint] = others_at(opened)
        return opened

    def step_aside(self, endpoint: str, port: IListeningPort) -> None:
        """Let new clients find another process. Raises ``OSError`` where that cannot be done."""
        step_aside(port, self._elders.get(endpoint))

    def listen(self, reactor: Any, endpoint: str, factory: IProtocolFactory) -> IListeningPort:
        """Serve ``endpoint`` by ``factory``. Raises ``OSError`` when it cannot be listened on."""
        opened = self.open(endpoint)
        if opened.family == socket.AF_UNIX:
            return _adopt_unix(reactor, opened, factory)
        port: IListeningPort = reactor.adoptStreamPort(opened.fileno(), opened.family, factory)
        return port

    def release(self, endpoint: str) -> None:
        """Close the socket here: who has adopted it has its own."""
        opened = self._opened.pop(endpoint, None)
        if opened is not None:
            opened.close()

    def close(self) -> None:
        """Close what is open here; who has adopted it goes on."""
        while self._opened:
            self._opened.popitem()[1].close()

    def remove(self) -> None:
        """Remove the files of UNIX sockets: when nobody takes connections any more."""
        while self._paths:
            path, lock = self._paths.pop()
            path.unlink()
            if lock is not None:
                lock.unlock()

    def _open(self, endpoint: str) -> socket.socket:
        opened: list[socket.socket] = []
        failed: list[Failure] = []
        no_factory: Any = None
        try:
            # An endpoint tells a reactor what to listen on, and this is none.
            listening: Deferred[Any] = serverFromString(_Opening(self), endpoint).listen(no_factory)
        except (IndexError, KeyError):
            raise OSError("no such socket was passed to this process (LISTEN_FDS)") from None
        listening.addCallbacks(opened.append, failed.append)
        if failed:
            failed[0].raiseException()
        return opened[0]

    def open_tcp(self, interface: str, port: int, backlog: int) -> socket.socket:
        """A new TCP socket."""
        family = socket.AF_INET6 if isIPv6Address(interface) else socket.AF_INET
        address: Any = (interface, port)
        if family == socket.AF_INET6:
            address = socket.getaddrinfo(interface, port, family, socket.SOCK_STREAM)[0][4]
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self.reuse_port:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            opened.bind(address)
            opened.listen(backlog)
        except OSError:
            opened.close()
            raise
        return opened

    def open_unix(self, path: Path, backlog: int, mode: int, *, locks: bool) -> socket.socket:
        """A new UNIX socket, with a file beside it that says whose it is, as Twisted has it.

        ``locks`` is whether there is such a file; a socket that was left there is in the way else.
        """
        lock = FilesystemLock(f"{path}.lock") if locks else None
        if lock is not None:
            if not lock.lock():
                raise OSError("another process listens there")
            if not lock.clean and path.is_socket():
                path.unlink()
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.bind(str(path))
            path.chmod(mode)
            opened.listen(backlog)
        except OSError:
            opened.close()
            if lock is not None:
                lock.unlock()
            raise
        self._paths.append((path, lock))
        return opened


class _Opening:
    """What endpoints take for a reactor: it opens a socket where that would serve it."""

    def __init__(self, sockets: ListeningSockets) -> None:
        self._sockets = sockets

    def listenTCP(
        self, port: int, _factory: object, backlog: int = 50, interface: str = ""
    ) -> socket.socket:
        return self._sockets.open_tcp(interface, port, backlog)

    def listenUNIX(
        self,
        address: str,
        _factory: object,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: bool = False,
    ) -> socket.socket:
        return self._sockets.open_unix(Path(address), backlog, mode, locks=wantPID)

    def adoptStreamPort(self, fd: int, family: socket.AddressFamily, _factory: object) -> Any:
        return socket.fromfd(fd, family, socket.SOCK_STREAM)


class _SharedUNIXPort(unix.Port):
    """A UNIX socket that others take connections from, too: all that it ends is this process's."""

    # Twisted has this for TCP only; it would end the socket for all of them.
    _shouldShutdown = False

    @classmethod
    def of(cls, reactor: Any, opened: socket.socket, factory: IProtocolFactory) -> Any:
        return cls._fromListeningDescriptor(reactor, opened.fileno(), factory)

    def connectionLost(self, reason: Failure) -> None:
        tcp.Port.connectionLost(self, reason)


def _adopt_unix(reactor: Any, opened: socket.socket, factory: IProtocolFactory) -> IListeningPort:
    port: Any = _SharedUNIXPort.of(reactor, opened, factory)
    # Twisted sets both anew.
    name = opened.getsockname()
    if isinstance(name, str):
        port.mode = stat.S_IMODE(Path(name).stat().st_mode)
    port.backlog = _BACKLOG
    port.startListening()
    adopted: IListeningPort = port
    return adopted
