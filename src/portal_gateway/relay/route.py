"""Where a lease is, and what its requests say there."""

from collections.abc import Callable
from typing import NamedTuple

from portal_gateway.relay.pool import Pool

__all__ = ["Route"]


class Route(NamedTuple):
    """The way to a lease.

    ``pools`` gives the pool for ``key``: it is asked when a connection is needed, since a pool that
    nobody uses is let go. ``names`` are all that rules may know the lease by, what it is called
    first, its id last if that is known. ``hides_names`` says that it was asked for by its id where
    only the relay knows which names it has. ``host`` is the ``Host`` to send, ``None`` for the
    client's own. ``base`` goes before the path of each request; it has no slash at its end.
    ``is_listed`` says that the configuration or a relay's list has the lease; otherwise it is there
    once it answers. ``rewrite`` says whether fields of the answers that name places below the lease
    are to be made to point there as the client sees it.
    """

    pools: Callable[[str], Pool]
    key: str
    names: tuple[str, ...]
    hides_names: bool = False
    host: bytes | None = None
    base: bytes = b""
    rewrite: bool = True
    is_listed: bool = True

    @property
    def pool(self) -> Pool:
        """The connections to the lease."""
        return self.pools(self.key)
