"""Where a lease is, and what its requests say there."""

from typing import NamedTuple

from portal_gateway.relay.pool import Pool

__all__ = ["Route"]


class Route(NamedTuple):
    """The way to a lease.

    ``pool`` has the connections. ``host`` is the ``Host`` to send, ``None`` for the client's own.
    ``base`` goes before the path of each request; it has no slash at its end. ``rewrite`` says
    whether fields of the answers that name places below the lease are to be made to point there as
    the client sees it.
    """

    pool: Pool
    host: bytes | None = None
    base: bytes = b""
    rewrite: bool = True
