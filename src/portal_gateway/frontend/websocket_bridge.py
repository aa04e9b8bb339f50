"""Two WebSockets, the client's and the lease's, that are one to their peers.

What one end receives, the other sends; each end is held back while the other's peer takes no more.
A close frame is carried like everything else, so that each peer closes as the other one did::

    Close of A ──► sent to B          both have sent and received one: the stream ends
    fault of A ──► A: 1002, 1007, 1009    B: 1001 if A is the client, else 1011    both end
    A is gone  ──►                        B: likewise                              B ends
    idle, stop ──► both: 1001             their answers are awaited for a while
    may no longer ──► client: 1008        lease: 1001, likewise

1005 and 1006 are never sent (RFC 6455 section 7.4.1): a close frame without a code is carried
without one.
"""

from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from portal_gateway.errors import GatewayError
from portal_gateway.frontend.close_codes import (
    GOING_AWAY,
    INTERNAL_ERROR,
    POLICY_VIOLATION,
    TOO_BIG,
)
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.taken_stream import TakenStream
from portal_gateway.frontend.websocket_end import READ, READ_COMPRESSED, End
from portal_gateway.frontend.websocket_ends import ClientEnd, LeaseEnd
from portal_gateway.relay.tunnel import Tunnel

__all__ = ["CLOSE_TIMEOUT", "Bridge"]

CLOSE_TIMEOUT: Final = 4.0
"""Seconds for the closing handshake, over both ends: less than the site's grace when it stops."""


class Bridge:
    """Joins the two ends of one WebSocket until both have ended.

    ``idle_timeout``: seconds without a byte from either side.
    """

    __slots__ = ("_client", "_clock", "_idle_timeout", "_last", "_lease", "_request", "_timer")

    def __init__(
        self,
        request: Request,
        client: ClientEnd,
        lease: LeaseEnd,
        clock: IReactorTime,
        idle_timeout: float,
    ) -> None:
        self._request = request
        self._client = client
        self._lease = lease
        self._clock = clock
        self._idle_timeout = idle_timeout
        self._last = clock.seconds()
        self._timer: IDelayedCall | None = None
        for end, other in ((client, lease), (lease, client)):
            end.other = other
            end.bridge = self

    def start(self, stream: TakenStream, tunnel: Tunnel, data: bytes) -> None:
        """Carry from now on; ``data`` is what the lease sent behind its 101."""
        self._timer = self._clock.callLater(self._idle_timeout, self._check_idle)
        self._request.on_disconnect(self._client_gone)
        self._request.on_withdrawal = self._withdrawn
        compressed = self._client.deflation is not None or self._lease.deflation is not None
        size = READ_COMPRESSED if compressed else READ
        stream.narrow(size)
        tunnel.narrow(size)
        tunnel.receiver = self._lease
        stream.start(self._client)
        if data:
            self._lease.receive_data(data)

    # From the ends.

    @property
    def request_id(self) -> str:
        """As `Watcher`."""
        return self._request.exchange.request_id

    def touched(self) -> None:
        """Something came."""
        self._last = self._clock.seconds()

    def limit_hit(self, limit: str) -> None:
        """As `Watcher`."""
        self._request.site.limit_hits[limit] += 1

    def close_came(self, end: End, code: int | None, reason: bytes) -> None:
        """A close frame: carry it, and end what is complete."""
        end.other.send_close(code, reason)
        if not self._settle():
            self._close_within_time()

    def failed(self, end: End, code: int, reason: str) -> None:
        """The peer of ``end`` broke the protocol or a limit."""
        end.send_close(code, reason.encode("ascii"))
        if code == TOO_BIG:
            self.limit_hit("websocket_size")
        exchange = self._request.exchange
        if end is self._lease:
            exchange.error = "upstream_protocol_error"
        elif code == INTERNAL_ERROR:
            exchange.error = "internal_error"
        else:
            exchange.error = "content_too_large" if code == TOO_BIG else "bad_request"
        self._end_other(end, reason)
        end.finish()
        self._settle()

    # From the streams.

    def lease_gone(self, error: GatewayError | None) -> None:
        """The lease's stream has ended."""
        if self._lease.finished:
            return
        self._lease.lose()
        if not (self._client.close_sent or self._client.farewell):
            self._request.exchange.error = "upstream_closed" if error is None else error.cause.code
        self._end_other(self._lease, "The lease closed the connection")
        self._settle()

    def _client_gone(self) -> None:
        if not self._client.finished:
            self._client.lose()
            self._end_other(self._client, "")
            self._settle()

    def shut_down(self) -> None:
        """The gateway is stopping."""
        self._close_both("The gateway is stopping")

    def _withdrawn(self, error: GatewayError) -> None:
        """The client may not have this any more (RFC 6455 section 7.4.1: 1008)."""
        self._request.exchange.error = error.cause.code
        self._client.send_close(POLICY_VIOLATION, error.detail.encode("ascii", "replace"))
        self._lease.send_close(GOING_AWAY)
        if not self._settle():
            self._close_within_time()

    # Ending.

    def _end_other(self, end: End, reason: str) -> None:
        """End the side opposite of ``end``, which is no more."""
        other = end.other
        if other.farewell is not None:
            # It said good-bye to somebody who went without a word.
            other.send_close(*other.farewell)
        elif end is self._client:
            other.send_close(GOING_AWAY)
        else:
            other.send_close(INTERNAL_ERROR, reason.encode("ascii"))
        other.finish()

    def _settle(self) -> bool:
        """End the sides whose closing handshake is complete; whether both have ended."""
        for end in (self._client, self._lease):
            if end.close_sent and end.farewell is not None:
                end.finish()
        over = self._client.finished and self._lease.finished
        if over:
            self._stop_timer()
        return over

    def _close_both(self, reason: str) -> None:
        text = reason.encode("ascii")
        self._client.send_close(GOING_AWAY, text)
        self._lease.send_close(GOING_AWAY, text)
        if not self._settle():
            self._close_within_time()

    def _close_within_time(self) -> None:
        self._stop_timer()
        self._timer = self._clock.callLater(CLOSE_TIMEOUT, self._closing_is_over)

    def _closing_is_over(self) -> None:
        self._timer = None
        for end in (self._client, self._lease):
            if end.farewell is not None:
                end.send_close(*end.farewell)
            end.finish()

    def _check_idle(self) -> None:
        self._timer = None
        left = self._last + self._idle_timeout - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._check_idle)
        else:
            self._close_both("Nothing was said for too long")

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
