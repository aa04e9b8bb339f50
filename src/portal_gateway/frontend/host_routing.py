"""Hosts of leases: a request for one goes to the lease, whatever its path.

It is the root of the Resource tree where ``gateway.lease_host`` is set. The gateway's own
resources are below it at every other host.
"""

from typing import Any

from twisted.web.resource import IResource, Resource

from portal_gateway.errors import GatewayError
from portal_gateway.frontend.request import Request
from portal_gateway.policy.lease_host import LeaseHosts
from portal_gateway.policy.lease_path import refuse_lease_target

__all__ = ["ByHost"]


class ByHost(Resource):
    """Leads to the lease that the host names, else to ``own``.

    ``leases`` is the guarded resource that carries a request to the lease of its exchange.
    """

    def __init__(self, hosts: LeaseHosts, leases: IResource, own: IResource) -> None:
        super().__init__()
        self._hosts = hosts
        self._leases = leases
        self._own = own

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """The lease's resource, or what the gateway has at ``path``. Raises ``lease_not_found``."""
        lease = self._hosts.lease(request.head.host)
        if lease is None:
            child: IResource = self._own.getChildWithDefault(path, request)
            return child
        if isinstance(lease, GatewayError):
            raise lease
        return _LeaseAtHost(lease, self._leases)


class _LeaseAtHost(Resource):
    """Notes on the exchange which lease the host names, before any guard decides about it."""

    isLeaf = True

    def __init__(self, lease: str, within: IResource) -> None:
        super().__init__()
        self._lease = lease
        self._within = within

    def render(self, request: Request) -> Any:
        """Name the lease. Raises the refusal of a path that cannot go to it as it is."""
        refusal = refuse_lease_target(request.uri)
        if refusal is not None:
            raise refusal
        exchange = request.exchange
        exchange.lease = self._lease
        exchange.upstream_target = request.uri
        return self._within.render(request)
