"""What Twisted calls for each connection, in place of `twisted.internet.protocol.Protocol`."""

from typing import Any, Generic, TypeVar

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

__all__ = ["StreamProtocol"]

_Transport = TypeVar("_Transport")


class StreamProtocol(Generic[_Transport]):
    """An `IProtocol` over a ``transport`` of the type that it names.

    Twisted's own base class is not compiled: each attribute of a class that derives from it would
    be looked up by name, compiled or not.
    """

    transport: _Transport

    def makeConnection(self, transport: Any) -> None:
        """The connection stands."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """The connection stands."""

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the peer."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection has ended, for whatever reason."""


classImplements(StreamProtocol, IProtocol)
