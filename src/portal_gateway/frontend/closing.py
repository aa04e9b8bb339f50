"""Closing a connection so that its last response arrives (RFC 9112 section 9.6).

A socket that is closed while unread input waits, or comes later, is reset, and the reset can
overtake the response. So only the sending half is closed at first, and what still comes is read and
dropped for a while.
"""

from portal_gateway.frontend.deadlines import Deadlines
from portal_gateway.frontend.outlet import Transport

__all__ = ["LINGER_BOUND", "LINGER_TIME", "Closing"]

LINGER_BOUND = 1024 * 1024
"""Bytes that are read and dropped; after that the client is only given the time."""

LINGER_TIME = 2.0
"""Seconds for the client to read the response and to close its side."""


class Closing:
    """The last phase of a connection: everything has been sent, or is in the transport's hands.

    ``more_may_come``: the client did not know that the connection would end. ``deadlines`` gets
    ``"linger"`` then, and `linger_over` is to be called when it expires.
    """

    __slots__ = ("_dropped", "_half_closed", "_transport")

    def __init__(
        self,
        transport: Transport,
        deadlines: Deadlines,
        now: float,
        *,
        is_secure: bool,
        more_may_come: bool,
    ) -> None:
        self._transport = transport
        self._dropped = 0
        # Closing one half of the transport below TLS would cut off TLS's own closing alert; TLS
        # keeps reading by itself until the client's alert comes.
        half = None if is_secure else getattr(transport, "loseWriteConnection", None)
        self._half_closed = more_may_come and half is not None
        transport.unregisterProducer()
        if more_may_come:
            deadlines.set("linger", now + LINGER_TIME)
        if self._half_closed and half is not None:
            half()
        else:
            transport.loseConnection()

    def drop(self, size: int) -> None:
        """So many bytes came and were not read."""
        self._dropped += size
        if self._dropped > LINGER_BOUND:
            self._transport.pauseProducing()

    def linger_over(self) -> None:
        """The client had its time."""
        if self._half_closed:
            self._transport.loseConnection()
        else:
            self._transport.abortConnection()
