"""Sockets that are written to when the turn of the reactor is over, all of them together.

Twisted hands what was written to the kernel when the next poll says that the socket takes it: two
calls of ``epoll_ctl`` and one more event for each write, although a socket nearly always takes a
response at once. Writing it from inside `write` is no better: each send wakes the peer for one
message, and on one machine waking it costs more than sending. So the sockets of a turn wait in one
list, and are written to in one go before the reactor polls. What a socket does not take then waits
for the poll, as ever.
"""

from typing import Any, Final
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IReactorTime
from twisted.internet.tcp import Connection

from portal_gateway.relay.transport_buffers import lowest_transport

__all__ = ["write_in_turn"]


def write_in_turn(transport: Any) -> None:
    """Have ``transport``, or the one below its TLS, written to at the end of each turn.

    Only for Twisted's own transports of TCP; others, such as streams of a relay and those in
    memory, are left alone.
    """
    transport = lowest_transport(transport)
    if isinstance(transport, Connection):
        reactor: Any = transport.reactor
        turn = _TURNS.get(reactor)
        if turn is None:
            turn = _TURNS[reactor] = _Turn(reactor)
        writing = _Writing(transport, turn)
        transport.startWriting = writing.start  # type: ignore[method-assign] # of this one only
        transport.stopWriting = writing.stop  # type: ignore[method-assign]


class _Turn:
    """The sockets that have something to send in this turn of one reactor."""

    __slots__ = ("_clock", "due")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.due: list[_Writing] = []

    def add(self, writing: "_Writing") -> None:
        if not self.due:
            self._clock.callLater(0, self._write)
        self.due.append(writing)

    def _write(self) -> None:
        due, self.due = self.due, []
        for writing in due:
            writing.write()


class _Writing:
    """What takes the place of a transport's ``startWriting`` and ``stopWriting``."""

    __slots__ = ("_polled", "_transport", "_turn", "_wanted")

    def __init__(self, transport: Connection, turn: _Turn) -> None:
        self._transport = transport
        self._turn = turn
        self._wanted = False
        self._polled = False

    def start(self) -> None:
        """The transport has something to send, or to end."""
        if not self._wanted:
            self._wanted = True
            self._turn.add(self)

    def stop(self) -> None:
        """It has sent everything, or is gone."""
        self._wanted = False
        if self._polled:
            self._polled = False
            self._transport.reactor.removeWriter(self._transport)

    def write(self) -> None:
        """Send what the socket takes now, and have the reactor do the rest.

        That includes every kind of end and failure: the reactor asks the transport to write once
        more, and meets it as usual.
        """
        transport = self._transport
        if not self._wanted or not transport.connected:
            return
        try:
            left = transport.doWrite() is not None or self._wanted
        except Exception:  # noqa: BLE001 - the reactor will see it, too
            left = True
        if left and transport.connected:
            self._wanted = self._polled = True
            transport.reactor.addWriter(transport)


_TURNS: Final[WeakKeyDictionary[Any, _Turn]] = WeakKeyDictionary()
