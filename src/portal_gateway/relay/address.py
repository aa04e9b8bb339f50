"""The address of an end of a relay's stream."""

from dataclasses import dataclass

from twisted.internet.interfaces import IAddress
from zope.interface import implementer

__all__ = ["RelayAddress"]


@implementer(IAddress)
@dataclass(frozen=True, slots=True)
class RelayAddress:
    """``host`` is the relay's name or a lease's id, ``port`` the stream's id."""

    host: str
    port: int
    type: str = "PORTAL"
