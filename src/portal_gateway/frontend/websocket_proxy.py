"""Requests that open a WebSocket go this way; all others go to the resource within.

Nothing is answered with 101 before the lease has answered 101. Whatever else it answers is passed
on as an ordinary response.
"""

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from portal_gateway.config.model import WebSocketSection
from portal_gateway.errors import GatewayError, fault
from portal_gateway.frontend.lease_lookup import route_of
from portal_gateway.frontend.proxy import Carriage
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.websocket_bridge import Bridge
from portal_gateway.frontend.websocket_ends import Ends, LeaseEnd
from portal_gateway.policy.websocket_opening import (
    UPGRADE_FIELDS,
    WEBSOCKET_FIELDS,
    Opening,
    chosen_subprotocol,
    read_opening,
)
from portal_gateway.relay.route import Route
from portal_gateway.relay.tunnel import Tunnel
from portal_gateway.wire.http1_response import ResponseHead
from portal_gateway.wire.http_fields import Headers

__all__ = ["WebSocketProxy", "WebSocketsOnly"]

_log = Logger(__name__)


class WebSocketProxy(Resource):
    """Carries WebSockets to the leases that were looked up for them."""

    isLeaf = True

    def __init__(self, clock: IReactorTime, limits: WebSocketSection, within: IResource) -> None:
        super().__init__()
        self._clock = clock
        self._limits = limits
        self._ends = Ends(clock, limits)
        self._within = within

    def render(self, request: Request) -> Any:
        """Open a WebSocket, where that is asked for.

        Raises the refusal of a bad opening, and the reason where there is no lease.
        """
        if not request.exchange.is_websocket:
            return self._within.render(request)
        opening = read_opening(request.head)
        if isinstance(opening, GatewayError):
            raise opening
        route = route_of(request)
        _WebSocketCarriage(request, opening, self._ends, self._clock, self._limits).start(route)
        return NOT_DONE_YET


class WebSocketsOnly(Resource):
    """Refuses what does not ask for a WebSocket (426, RFC 9110 section 15.5.22)."""

    isLeaf = True

    def render(self, request: Request) -> Any:  # noqa: ARG002 - Twisted's
        """Raise 426."""
        raise fault(
            "upgrade_required",
            "this path is for WebSockets; others go to /peer/",
            UPGRADE_FIELDS,
        )


class _WebSocketCarriage(Carriage):
    """An opening handshake on its way to the lease, until it is answered."""

    __slots__ = ("_clock", "_ends", "_lease_end", "_limits", "_opening", "_timer")

    def __init__(
        self,
        request: Request,
        opening: Opening,
        ends: Ends,
        clock: IReactorTime,
        limits: WebSocketSection,
    ) -> None:
        exchange = request.exchange
        target = exchange.upstream_target
        if target is None:
            # A WebSocket cannot be redirected to where the slash is.
            _, mark, query = request.uri.partition(b"?")
            target = b"/" + mark + query
        super().__init__(request, target)
        self._opening = opening
        self._ends = ends
        self._clock = clock
        self._limits = limits
        self._lease_end: LeaseEnd = ends.lease_end(request.site.limits.write_stall)
        self._timer: IDelayedCall | None = None

    def start(self, route: Route) -> None:
        """Send the lease an opening handshake of its own."""
        request = self._request
        fields = [
            field for field in self._fields_up(route) if field[0].lower() not in WEBSOCKET_FIELDS
        ]
        fields += self._lease_end.opening_fields(self._opening)
        request.register_response_producer(self)
        request.on_withdrawal = self._withdrawn
        self._timer = self._clock.callLater(self._limits.open_timeout, self._time_is_up)
        caller = request.exchange.caller
        asker = "" if caller is None else caller.key_id
        self._upstream = route.pool.upgrade(route.base + self._target, fields, self, asker=asker)

    def response_upgraded(self, head: ResponseHead, tunnel: Tunnel, data: bytes) -> None:
        """The lease answered 101: check it, then answer 101."""
        self._stop_timer()
        if self._over:
            tunnel.abort()
            return
        self._leave_upstream()
        try:
            chosen = self._lease_end.accept(tunnel, self._opening, head)
        except GatewayError as error:
            tunnel.abort()
            self.response_failed(error)
            return
        self._over = True
        self._request.unregister_response_producer()
        try:
            self._join(tunnel, chosen, head, data)
        except Exception:  # noqa: BLE001 - a defect here must not leave two connections open
            request_id = self._request.exchange.request_id
            _log.failure("a WebSocket could not be joined", Failure(), request_id=request_id)
            tunnel.abort()
            self._request.abort()

    def _join(self, tunnel: Tunnel, chosen: bytes | None, head: ResponseHead, data: bytes) -> None:
        request = self._request
        client_end = self._ends.client_end()
        bridge = Bridge(
            request, client_end, self._lease_end, self._clock, self._limits.idle_timeout
        )
        stream = request.take_over()
        client_end.accept(
            stream, self._opening, chosen_subprotocol(self._opening, chosen), self._fields_of(head)
        )
        bridge.start(stream, tunnel, data)

    def _fields_of(self, head: ResponseHead) -> Headers:
        self._request.answered_by_lease = True
        self._request.exchange.lease_is_known = True
        fields = self._request.with_fields_of_ours(self._fields_down(head))
        return [field for field in fields if field[0].lower() not in WEBSOCKET_FIELDS]

    # However else it ends.

    def response_head(self, head: ResponseHead) -> None:
        """The lease answered with something else."""
        self._stop_timer()
        super().response_head(head)

    def response_failed(self, error: GatewayError) -> None:
        """The lease could not answer."""
        self._stop_timer()
        super().response_failed(error)

    def _client_gone(self) -> None:
        self._stop_timer()
        super()._client_gone()

    def _time_is_up(self) -> None:
        self._timer = None
        self._cancel_upstream()
        detail = "The lease did not answer the opening of a WebSocket in time."
        self.response_failed(fault("upstream_timeout", detail))

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
