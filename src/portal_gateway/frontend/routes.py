"""The Resource tree: which path is answered by what.

::

    /                     404
    ├── health            alive
    │   ├── ready         ready for traffic
    │   └── details       how every part is, for administrators
    ├── metrics           what is measured, where it has no listener of its own
    ├── whoami            who the caller is, behind those guards that find out and limit
    ├── peer/<lease>/…    LeaseSpace → the guards in their order → WebSocketProxy → ReverseProxy
    └── ws/<lease>/…      the same for WebSockets only

With ``gateway.lease_host`` this is the tree of the gateway's own hosts; at the host of a lease
every path is the lease's (`portal_gateway.frontend.host_routing`).
"""

from collections.abc import Callable
from typing import NoReturn

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource, Resource

from portal_gateway.config.model import WebSocketSection
from portal_gateway.errors import fault
from portal_gateway.frontend.guards import WHOAMI_GUARDS, Rules, guarded
from portal_gateway.frontend.health import Health, Ready
from portal_gateway.frontend.host_routing import ByHost
from portal_gateway.frontend.lease_space import LeaseSpace
from portal_gateway.frontend.proxy import ReverseProxy
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.websocket_proxy import WebSocketProxy, WebSocketsOnly
from portal_gateway.frontend.whoami import WhoAmI
from portal_gateway.policy.lease_host import LeaseHosts
from portal_gateway.relay.router import Router

__all__ = ["NothingHere", "build_tree"]


class NothingHere(Resource):
    """Answers every path that has no resource of its own with a problem."""

    def getChild(self, path: bytes, request: Request) -> IResource:  # noqa: ARG002 - Twisted's
        """There is nothing below either."""
        return NothingHere()

    def render(self, request: Request) -> NoReturn:  # noqa: ARG002 - Twisted's
        """Raise 404."""
        raise fault("not_found", "no resource has this path")


def build_tree(
    router: Router,
    rules: Rules,
    wall_clock: Callable[[], float],
    clock: IReactorTime,
    websockets: WebSocketSection,
    lease_host: str | None = None,
    metrics: IResource | None = None,
    details: IResource | None = None,
) -> IResource:
    """The whole tree for one configuration. ``clock`` is the reactor's.

    ``metrics`` is what is at ``/metrics``, ``details`` at ``/health/details``, if anything is.
    """

    def for_websockets_and(others: IResource) -> IResource:
        proxy = WebSocketProxy(clock, websockets, others)
        return guarded(proxy, rules, wall_clock)

    def reasons() -> list[str]:
        if router.ready:
            return []
        return ["no relay session is up and no plain origin is configured"]

    health = Health()
    health.putChild(b"", Health())
    health.putChild(b"ready", Ready(reasons))
    if details is not None:
        health.putChild(b"details", details)
    root = NothingHere()
    root.putChild(b"health", health)
    if metrics is not None:
        root.putChild(b"metrics", metrics)
    leases = for_websockets_and(ReverseProxy())
    root.putChild(b"peer", LeaseSpace(leases))
    whoami = guarded(WhoAmI(rules.quotas), rules, wall_clock, WHOAMI_GUARDS)
    root.putChild(b"whoami", whoami)
    root.putChild(b"ws", LeaseSpace(for_websockets_and(WebSocketsOnly()), b"/ws/"))
    return root if lease_host is None else ByHost(LeaseHosts(lease_host), leases, root)
