"""A pool of connections for each lease in use at one relay."""

from collections.abc import Callable

from portal_gateway.relay.pool import Pool

__all__ = ["MAX_POOLS", "LeasePools"]

MAX_POOLS = 1024
"""Pools kept per relay before those without a connection are let go; one that is gone costs its
next request a dial."""


class LeasePools:
    """Pools by what tells leases apart; ``make_pool`` makes one when it is first asked for."""

    def __init__(self, make_pool: Callable[[str], Pool]) -> None:
        self._make_pool = make_pool
        self._pools: dict[str, Pool] = {}

    def get(self, key: str) -> Pool:
        """The pool of connections to a lease."""
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= MAX_POOLS:
                self._drop_unused()
            pool = self._pools[key] = self._make_pool(key)
        return pool

    def is_used(self, key: str) -> bool:
        """Whether a lease's pool has a connection or a request."""
        pool = self._pools.get(key)
        return pool is not None and _in_use(pool)

    def close(self) -> None:
        """Close every connection of every pool."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def _drop_unused(self) -> None:
        for key in [key for key, pool in self._pools.items() if not _in_use(pool)]:
            self._pools.pop(key).close()


def _in_use(pool: Pool) -> bool:
    return bool(pool.idle or pool.active or pool.dialling or pool.queued)
