"""Looking up the lease of a request: what the guards decide about is what is dialled.

A lease can be asked for in several ways: by its name in any case, by its id, by a name that the
configuration pins to it. The look-up notes one form of it on the exchange, with all its names, and
on the request the way to it, which is the way that the proxy takes.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError, fault
from portal_gateway.frontend.request import Request
from portal_gateway.policy.lease_path import climbs_when_read_again
from portal_gateway.relay.route import Route

__all__ = ["look_up", "route_of"]

_CLIMBS = "decoded again, the path's dot segments would climb out of the lease at the relay"


def look_up(
    find: Callable[[str], Route | Deferred[Route]], request: Request
) -> Deferred[GatewayError | None] | None:
    """Note where the lease of the exchange is.

    A lease that is not there is no refusal yet: the rules decide about the name that was asked for,
    so that who may not use a lease does not learn whether it is there.
    """
    exchange = request.exchange
    asked = exchange.lease or ""
    found = find(asked)
    if isinstance(found, Route):
        _note(found, request)
        return None
    exchange.lease_names = (asked,)
    return found.addCallbacks(_note, _note_absence, (request,), {}, (request,), {})


def _note(route: Route, request: Request) -> GatewayError | None:
    exchange = request.exchange
    target = exchange.upstream_target
    if route.base and target is not None and climbs_when_read_again(target):
        request.route = fault("invalid_path", _CLIMBS)
    else:
        request.route = route
    exchange.lease = route.names[0]
    exchange.lease_is_known = route.is_listed
    exchange.lease_names = route.names
    exchange.hides_names = route.hides_names
    return None


def _note_absence(failure: Failure, request: Request) -> GatewayError | None:
    failure.trap(GatewayError)
    request.route = failure.value  # type: ignore[assignment] # it was just trapped
    return None


def route_of(request: Request) -> Route:
    """The way to the lease. Raises the reason where there is none."""
    route = request.route
    if isinstance(route, Route):
        return route
    raise fault("internal_error", "the lease was not looked up") if route is None else route
