"""Where the leases are: all paths below a prefix."""

from typing import Any

from twisted.web.resource import IResource, Resource

from portal_gateway.errors import GatewayError
from portal_gateway.frontend.request import Request
from portal_gateway.policy.lease_path import split_peer_path

__all__ = ["LeaseSpace"]


class LeaseSpace(Resource):
    """Notes on the exchange which lease the path names, before any guard decides about it.

    ``prefix`` is what the path has before the lease.
    """

    isLeaf = True

    def __init__(self, within: IResource, prefix: bytes = b"/peer/") -> None:
        super().__init__()
        self._within = within
        self._prefix = prefix

    def render(self, request: Request) -> Any:
        """Name the lease. Raises the refusal of a path that does not name one in one way only."""
        named = split_peer_path(request.uri, self._prefix)
        if isinstance(named, GatewayError):
            raise named
        exchange = request.exchange
        exchange.lease = named.lease
        exchange.lease_prefix = self._prefix + named.raw_lease
        exchange.upstream_target = named.target
        return self._within.render(request)
