"""A resolver whose answers are given by hand."""

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver
from zope.interface import implementer

__all__ = ["ScriptedResolver"]


@implementer(IHostnameResolver)
class ScriptedResolver:
    """``asked`` are the names that it was asked for and has not answered, oldest first.

    Like Twisted's resolver with threads, it cannot be told to stop.
    """

    def __init__(self):
        self._asked = []
        self.at_once = set()
        """Names that are answered before `resolveHostName` returns."""
        self.failure = None
        """The error that it raises instead of beginning."""

    @property
    def asked(self):
        return [name for name, _, _ in self._asked]

    def resolveHostName(
        self, receiver, name, portNumber=0, addressTypes=None, transportSemantics="TCP"
    ):
        if self.failure is not None:
            raise self.failure
        resolution = object()
        receiver.resolutionBegan(resolution)
        self._asked.append((name, portNumber, receiver))
        if name in self.at_once:
            self.answer(name)
        return resolution

    def answer(self, name, *, exists=True):
        """Answer the oldest question for ``name``."""
        index = self.asked.index(name)
        _, port, receiver = self._asked.pop(index)
        if exists:
            receiver.addressResolved(IPv4Address("TCP", "127.0.0.1", port))
        receiver.resolutionComplete()
