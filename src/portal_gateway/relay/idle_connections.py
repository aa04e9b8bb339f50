"""The idle connections of a pool, and those of all pools of one relay together.

A pool bounds its own. Where each name has a pool, as at a relay without a list, that is no bound:
whoever asks for many names keeps as many connections for each. So the pools of a relay share one
bound, and the connection that has been idle longest is closed, whichever pool has it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from math import inf
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from portal_gateway.relay.http_connection import UpstreamConnection, expired

__all__ = ["MAX_IDLE", "SURPLUS_TIME", "IdleConnections", "IdleOwner", "SharedIdle"]

MAX_IDLE: Final = 512
"""Idle connections of all pools of one relay, or `PoolLimits.max_idle` where that is more. Half of
the 1,024 descriptors that systems commonly allow: the other half is for clients."""

SURPLUS_TIME: Final = 1.0
"""Seconds that connections beyond a bound are kept.

Under load more than that come back at once, and are needed again within milliseconds. Each that is
closed then costs a dial: over a relay four round trips and two signatures.
"""

_SLACK: Final = 0.001
"""Seconds that the end of a connection may be early, so that no call comes just before it."""


class IdleOwner(Protocol):
    """The pool, as the bound that it shares sees it."""

    @property
    def clock(self) -> IReactorTime:
        """The time of its reactor."""

    def end_idle(self, connection: UpstreamConnection) -> None:
        """Close an idle connection of its own."""


class SharedIdle:
    """The idle connections of several pools, the one that has been idle longest first.

    Above ``most`` the first ones are closed, once they were idle for `SURPLUS_TIME`; ``ended``
    counts them. Each step is of constant cost.
    """

    def __init__(self, most: int = MAX_IDLE) -> None:
        self._most = most
        self._kept: OrderedDict[UpstreamConnection, tuple[IdleOwner, float]] = OrderedDict()
        self._call: IDelayedCall | None = None
        self.ended = 0

    def __len__(self) -> int:
        """Connections of all pools."""
        return len(self._kept)

    def use(self, most: int) -> None:
        """Hold to another bound from now on."""
        self._most = most
        self._drop_call()
        self._end_surplus()

    def add(self, connection: UpstreamConnection, owner: IdleOwner, now: float) -> None:
        """``connection`` of the pool ``owner`` is idle from ``now`` on."""
        self._kept[connection] = (owner, now)
        if self._call is None and len(self._kept) > self._most:
            self._end_surplus()

    def forget(self, connection: UpstreamConnection) -> None:
        """``connection`` is idle no more."""
        self._kept.pop(connection, None)
        if self._call is not None and len(self._kept) <= self._most:
            self._drop_call()

    def _end_surplus(self) -> None:
        kept = self._kept
        while len(kept) > self._most:
            connection = next(iter(kept))
            owner, since = kept[connection]
            left = since + SURPLUS_TIME - owner.clock.seconds()
            if left > _SLACK:
                self._call = owner.clock.callLater(left, self._surplus_is_due)
                return
            del kept[connection]
            self.ended += 1
            owner.end_idle(connection)

    def _surplus_is_due(self) -> None:
        self._call = None
        self._end_surplus()

    def _drop_call(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()


class IdleConnections:
    """The idle connections of one pool, by when they have been idle for too long.

    All are idle for the same time, so they are in the order in which they became idle.
    """

    def __init__(self, owner: IdleOwner) -> None:
        self._owner = owner
        # In a plain dict looking for the first costs the more, the more were taken from the front.
        self._due: OrderedDict[UpstreamConnection, float] = OrderedDict()
        self._shared: SharedIdle | None = None

    def __len__(self) -> int:
        """Connections that wait for a request."""
        return len(self._due)

    def __iter__(self) -> Iterator[UpstreamConnection]:
        """The connections as they are now, the one that has been idle longest first."""
        return iter(list(self._due))

    @property
    def first_due(self) -> float:
        """The time at which the first of them has been idle for too long; infinity without one."""
        return next(iter(self._due.values()), inf)

    def share(self, shared: SharedIdle) -> None:
        """Count those that become idle from now on among those of other pools."""
        self._shared = shared

    def add(self, connection: UpstreamConnection, now: float, due: float) -> None:
        """``connection`` is idle from ``now`` on, and is so for too long at ``due``."""
        self._due[connection] = due
        if self._shared is not None:
            self._shared.add(connection, self._owner, now)

    def take_last(self) -> UpstreamConnection:
        """Remove the connection that was used last. Raises ``KeyError`` without one."""
        connection, _ = self._due.popitem()
        if self._shared is not None:
            self._shared.forget(connection)
        return connection

    def take_first(self) -> UpstreamConnection:
        """Remove the connection that has been idle longest. Raises ``KeyError`` without one."""
        connection, _ = self._due.popitem(last=False)
        if self._shared is not None:
            self._shared.forget(connection)
        return connection

    def discard(self, connection: UpstreamConnection) -> bool:
        """Remove a connection. Whether it was here."""
        if self._due.pop(connection, None) is None:
            return False
        if self._shared is not None:
            self._shared.forget(connection)
        return True

    def expired(self, now: float) -> list[UpstreamConnection]:
        """The connections that have been idle for too long."""
        return expired(self._due, now)

    def delay(self, seconds: float) -> None:
        """Let each be idle for ``seconds`` more, or less where that is negative."""
        self._due = OrderedDict((each, due + seconds) for each, due in self._due.items())
