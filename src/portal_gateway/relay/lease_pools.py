"""A pool of connections for each lease in use at one relay."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from portal_gateway.relay.idle_connections import MAX_IDLE, SharedIdle
from portal_gateway.relay.pool import Pool, PoolLimits

__all__ = ["MAX_POOLS", "LeasePools", "PoolFigures", "sum_of"]

MAX_POOLS = 512
"""Pools kept per relay; then the one that was asked for longest ago goes for a new one, with its
idle connections, if it carries nothing. So made-up names at a relay that has no list hold no more;
their connections are bounded by `MAX_IDLE`. A lease whose pool is gone costs its next request a
dial."""

_LOOKED_AT = 16
"""Pools, the oldest first, among which one that carries nothing is looked for. One that carries
something goes to the end, so that the next search finds others."""


class PoolFigures(NamedTuple):
    """Measurements of pools; the last six count what there was.

    ``given_up`` counts pools that went, with idle connections, for others: see `MAX_POOLS`.
    ``idle_ended`` counts idle connections that went for others: see `MAX_IDLE`.
    """

    idle: int = 0
    active: int = 0
    dialling: int = 0
    queued: int = 0
    dials: int = 0
    reuses: int = 0
    retries: int = 0
    silences: int = 0
    given_up: int = 0
    idle_ended: int = 0

    @classmethod
    def of(cls, pool: Pool) -> "PoolFigures":
        """Those of one pool."""
        return cls(
            pool.idle,
            pool.active,
            pool.dialling,
            pool.queued,
            pool.dials_total,
            pool.reuses_total,
            pool.retries_total,
            pool.silences_total,
        )


def sum_of(figures: Iterable[PoolFigures]) -> PoolFigures:
    """All of them together."""
    return PoolFigures(*map(sum, zip(PoolFigures(), *figures, strict=True)))


class LeasePools:
    """Pools by what tells leases apart; ``make_pool`` makes one when it is first asked for."""

    def __init__(self, make_pool: Callable[[str], Pool]) -> None:
        self._make_pool = make_pool
        self._pools: OrderedDict[str, Pool] = OrderedDict()
        self._limits: PoolLimits | None = None
        self._gone = PoolFigures()
        self._idle = SharedIdle()

    @property
    def figures(self) -> PoolFigures:
        """Those of all pools, with what was counted by those that are no more."""
        gone = self._gone._replace(idle_ended=self._idle.ended)
        return sum_of([gone, *map(PoolFigures.of, self._pools.values())])

    def get(self, key: str) -> Pool:
        """The pool of connections to a lease."""
        pool = self._pools.get(key)
        if pool is not None:
            self._pools.move_to_end(key)
            return pool
        if len(self._pools) >= MAX_POOLS:
            self._give_up_one()
        pool = self._pools[key] = self._make_pool(key)
        pool.share_idle(self._idle)
        if self._limits is not None:
            pool.use(self._limits)
        return pool

    @property
    def unused(self) -> bool:
        """Whether no pool has a connection or a request."""
        return not any(map(_in_use, self._pools.values()))

    def use(self, limits: PoolLimits) -> None:
        """Hold every pool to other limits from now on."""
        if limits != self._limits:
            self._limits = limits
            for pool in self._pools.values():
                pool.use(limits)
            self._idle.use(max(MAX_IDLE, limits.max_idle))

    def retire(self) -> None:
        """Close each connection as soon as it carries nothing."""
        for pool in self._pools.values():
            pool.retire()

    def is_used(self, key: str) -> bool:
        """Whether a lease's pool has a connection or a request."""
        pool = self._pools.get(key)
        return pool is not None and _in_use(pool)

    def close(self) -> None:
        """Close every connection of every pool."""
        for pool in self._pools.values():
            pool.close()
            self._count_gone(pool)
        self._pools.clear()

    def _give_up_one(self) -> None:
        pools = self._pools
        for _ in range(min(_LOOKED_AT, len(pools))):
            key = next(iter(pools))
            pool = pools[key]
            if _carries(pool):
                pools.move_to_end(key)
                continue
            del pools[key]
            if pool.idle:
                self._gone = self._gone._replace(given_up=self._gone.given_up + 1)
            pool.close()
            self._count_gone(pool)
            return

    def _count_gone(self, pool: Pool) -> None:
        gone = PoolFigures.of(pool)
        counted = gone._replace(idle=0, active=0, dialling=0, queued=0)
        self._gone = sum_of([self._gone, counted])


def _in_use(pool: Pool) -> bool:
    return bool(pool.idle) or _carries(pool)


def _carries(pool: Pool) -> bool:
    return bool(pool.active or pool.dialling or pool.queued)
