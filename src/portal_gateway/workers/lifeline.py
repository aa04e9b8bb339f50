"""The connection of a worker and its parent, at the worker's end.

It carries words, one a packet: the worker's are those that a service manager would be told, the
parent's say what it wants. When the parent is gone, so is the connection, and the worker ends.
"""

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from portal_gateway.signals import Ending

__all__ = ["END", "HURRY", "LISTENS", "MAX_WORD", "RELOAD", "Lifeline"]

END: Final = b"end"
HURRY: Final = b"hurry"
RELOAD: Final = b"reload"
"""What a parent wants: that the worker ends, at once, or reads its configuration anew."""

LISTENS: Final = b"LISTENS="
"""What a worker's packet begins with that tells the URL where it takes requests."""

MAX_WORD: Final = 1024
"""Bytes of a packet: the longest is a status, or a URL."""


@implementer(IReadDescriptor)
class Lifeline:
    """Does what the parent wants, and ends when it is gone."""

    def __init__(
        self,
        reactor: Any,
        connection: socket.socket,
        ending: Ending,
        reload: Callable[[], object],
    ) -> None:
        self._reactor = reactor
        self._connection = connection
        self._ending = ending
        self._wanted: dict[bytes, Callable[[], object]] = {
            END: lambda: ending.begin("the parent process ends"),
            HURRY: lambda: ending.hurry("the parent process ends"),
            RELOAD: reload,
        }
        reactor.addReader(self)

    def fileno(self) -> int:
        """The connection's descriptor, for the reactor."""
        return self._connection.fileno()

    def logPrefix(self) -> str:
        """What Twisted's log calls this."""
        return "parent"

    def doRead(self) -> None:
        """Do what came; a parent that is gone sends nothing more."""
        try:
            word = self._connection.recv(MAX_WORD)
        except BlockingIOError:
            return
        except OSError:
            word = b""
        if word:
            self._wanted.get(word, _nothing)()
        else:
            self._reactor.removeReader(self)
            self._ending.begin("the parent process is gone")

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has given the connection up."""


def _nothing() -> None:
    """What is done for a word of a later version."""
