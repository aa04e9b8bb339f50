"""The site: a Resource tree behind HTTP channels, and what all its connections share."""

import time
import typing
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IReactorTime,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import IResource, getChildForRequest
from twisted.web.server import NOT_DONE_YET
from zope.interface import classImplements

from portal_gateway.config.model import UnderscoreFields
from portal_gateway.errors import GatewayError, fault
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.channel import HTTPChannel
from portal_gateway.frontend.limits import LIMIT_NAMES, OTHER_LIMIT_NAMES, ChannelLimits
from portal_gateway.frontend.open_connections import OpenConnections
from portal_gateway.frontend.outlet import Transport
from portal_gateway.frontend.peer_host import client_host
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.response_stream import StreamRules, StreamWatch
from portal_gateway.frontend.websocket_turns import Turns
from portal_gateway.policy.client_address import TrustedProxies
from portal_gateway.policy.request_fields import are_harmless, without_underscores
from portal_gateway.policy.security_headers import SecurityHeaders
from portal_gateway.relay.stream_protocol import StreamProtocol
from portal_gateway.wire.http1_writing import http_date
from portal_gateway.wire.http_fields import Headers

__all__ = ["ChannelLimits", "Connection", "Refused", "Site"]

_log = Logger(__name__)

_SWITCHING_PROTOCOLS = 101

_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


FAREWELL_TIME = 1.0
"""Seconds before the end of a drain, or a tenth of it, at which what lasts is ended in order."""


class Connection(typing.Protocol):
    """What a site knows of each of its connections."""

    client_host: str

    def requests(self) -> Iterable[Request]:
        """Those that have no complete answer yet."""

    def drain(self) -> None:
        """The gateway will stop: tell the client where a protocol can tell it beforehand."""

    def close_when_idle(self) -> None:
        """Close with the last response that is under way, or soon if there is none."""

    def abort(self) -> None:
        """Cut it."""


class Refused(StreamProtocol[Transport]):
    """A connection above a limit: a TLS factory has to be given a protocol for it."""

    def connectionMade(self) -> None:
        """Drop it."""
        self.transport.abortConnection()


class Site:
    """Serves ``resource`` to every connection.

    It is an `IProtocolFactory` without Twisted's base class, for the reason of `StreamProtocol`.

    ``proxies`` are those whose word on the client's address is taken. ``render_problem`` makes an
    answer (status, fields, body) of an error and a request id; ``on_exchange_end`` is called once
    for each request when its response has been handed to the transport or will never be complete;
    ``make_request_id`` gets the ``X-Request-ID`` that a client sent once, or None. ``streams``
    watches the responses that have no length. ``limit_hits`` counts how often each limit of
    ``limits`` was met, and each of `OTHER_LIMIT_NAMES`, ``websockets`` how many are open,
    ``handshakes`` and ``failed_handshakes`` how many of TLS came to their end, ``untrusted_peers``
    and ``bad_proxy_headers`` those who came to a listener for proxies and are none, or sent no
    PROXY header.
    """

    noisy: Final = False
    """Nothing is logged of its beginning and end."""

    def __init__(
        self,
        resource: IResource,
        clock: IReactorTime,
        *,
        render_problem: Callable[[GatewayError, str], tuple[int, Headers, bytes]],
        on_exchange_end: Callable[[Exchange], object],
        make_request_id: Callable[[str | None], str],
        limits: ChannelLimits | None = None,
        streams: StreamRules | None = None,
        proxies: TrustedProxies | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.resource = resource
        self.clock = clock
        self.seconds = clock.seconds
        self.limits = limits or ChannelLimits()
        self.streams = StreamWatch(clock, streams or StreamRules())
        self.limit_hits = dict.fromkeys((*LIMIT_NAMES, *OTHER_LIMIT_NAMES), 0)
        self.websockets = 0
        self.handshakes = 0
        self.failed_handshakes = 0
        self.untrusted_peers = 0
        self.bad_proxy_headers = 0
        self.render_problem = render_problem
        self.make_request_id = make_request_id
        self._proxies = proxies
        self._underscore_fields: UnderscoreFields = "drop"
        self.security: SecurityHeaders | None = None
        self.draining = False
        self.stopping = False
        self._on_exchange_end = on_exchange_end
        self._wall_clock = wall_clock
        self._channels = OpenConnections()
        self.turns = Turns(clock)
        self._soon: list[Callable[[], object]] = []
        self._soon_call: IDelayedCall | None = None
        self._date_second = -1
        self._date = b""
        self._stopped: list[Deferred[None]] = []
        self._patience: IDelayedCall | None = None
        self._farewell: IDelayedCall | None = None

    def use(
        self,
        limits: ChannelLimits,
        streams: StreamRules,
        proxies: TrustedProxies | None,
        security: SecurityHeaders | None,
        underscore_fields: UnderscoreFields,
    ) -> None:
        """Go by these from now on; connections that stand keep the limits that they have."""
        self.limits = limits
        self._underscore_fields = underscore_fields
        self.security = security
        self.streams.rules = streams
        self._proxies = proxies

    def doStart(self) -> None:
        """A port listens for it."""

    def doStop(self) -> None:
        """One listens no more."""

    # Connections.

    def requests(self) -> Iterator[Request]:
        """All that have no complete answer yet."""
        for channel in self._channels:
            yield from channel.requests()

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._channels)

    @property
    def under_way(self) -> Iterator[Exchange]:
        """The exchanges of all connections that are not over."""
        for request in self.requests():
            if not request.over:
                yield request.exchange

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:
        """A channel, or something that drops a connection above the limits."""
        return self.refusal(addr) or HTTPChannel(self)

    def refusal(self, addr: IAddress | None) -> IProtocol | None:
        """What drops a connection from ``addr`` if it is above the limits, else None."""
        limits = self.limits
        host = client_host(addr)
        if self.stopping:
            return Refused()
        if (
            limits.connections_per_address is not None
            and host
            and self._channels.of(host) >= limits.connections_per_address
        ):
            self.limit_hits["connections_per_address"] += 1
            return Refused()
        if len(self._channels) >= limits.connections:
            self.limit_hits["connections"] += 1
            if not self._makes_room(host):
                return Refused()
        return None

    def _makes_room(self, host: str) -> bool:
        """Whether an idle connection of whoever has the most is closed for one from ``host``."""
        idle = self._channels.to_give_up(host)
        # The connections of proxies are not those of one client.
        if idle is None or self.trusts(idle.client_host):
            return False
        self._channels.discard(idle)
        idle.abort()
        return True

    def trusts(self, peer: str) -> bool:
        """Whether ``peer`` (empty for a UNIX socket's) may say for whom it connects."""
        return self._proxies is not None and self._proxies.trusts(peer)

    def acceptableProtocols(self) -> list[bytes]:
        """What an ``ssl:`` endpoint of Twisted's own offers by ALPN."""
        return [b"http/1.1"]

    def connected(self, channel: Connection) -> None:
        """A channel has its connection."""
        self._channels.add(channel)

    def disconnected(self, channel: Connection) -> None:
        """A channel has lost it."""
        self._channels.discard(channel)
        if self.stopping and not self._channels:
            self._all_gone()

    def replace(self, channel: Connection, connect: Callable[[], IProtocol]) -> IProtocol:
        """Have ``connect`` make what takes over the connection of ``channel``, and its place.

        What was admitted before the site began to stop is not refused for that now, but for the
        network of its client it may be.
        """
        self._channels.discard(channel)
        stopping, self.stopping = self.stopping, False
        before = set(self._channels) if stopping else set()
        try:
            taking_over = connect()
        finally:
            self.stopping = stopping
        if stopping:
            for new in set(self._channels) - before:
                new.close_when_idle()
            if not self._channels:
                self._all_gone()
        return taking_over

    def drain(self) -> None:
        """Take requests as before, and have each connection end with the one that it carries."""
        if not self.draining:
            self.draining = True
            for channel in self._channels:
                channel.drain()

    def stop(self, timeout: float = 30.0) -> Deferred[None]:
        """Take no more requests; fires when every connection has ended.

        Idle connections are closed soon, the others with their response. Requests that last are
        told `FAREWELL_TIME` before ``timeout`` seconds are over, so that a stream of events can end
        in order, and what is still there then is aborted.
        """
        stopped: Deferred[None] = Deferred()
        self._stopped.append(stopped)
        self.draining = True
        if not self.stopping:
            self.stopping = True
            self._patience = self.clock.callLater(timeout, self._abort_all)
            farewell = timeout - min(FAREWELL_TIME, timeout / 10)
            self._farewell = self.clock.callLater(farewell, self._say_farewell)
            for channel in self._channels:
                channel.close_when_idle()
        if not self._channels:
            self._all_gone()
        return stopped

    def hurry(self) -> None:
        """Abort now what `stop` waits for."""
        if self._patience is not None:
            self._patience.reset(0)

    def _say_farewell(self) -> None:
        self._farewell = None
        for request in list(self.requests()):
            # One that waits for the guards' verdict is theirs to end.
            if not request.over and request.route is not None:
                request.withdraw(fault("gateway_stopping", "the gateway is stopping"))

    def _abort_all(self) -> None:
        self._patience = None
        for channel in self._channels:
            channel.abort()

    def _all_gone(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._farewell is not None:
            self._farewell.cancel()
            self._farewell = None
        if self._soon_call is not None:
            self._soon_call.cancel()
            self._run_soon()
        stopped, self._stopped = self._stopped, []
        for waiting in stopped:
            waiting.callback(None)

    # Requests.

    def getResourceFor(self, request: Request) -> IResource:
        """The Resource that a request's path leads to."""
        resource: IResource = getChildForRequest(self.resource, request)
        return resource

    def render(self, request: Request) -> None:
        """Have the request answered by its Resource."""
        self.render_by(self._find_and_render, request)

    def _find_and_render(self, request: Request) -> Any:
        if self._proxies is not None:
            self._look_past(self._proxies, request)
        if not are_harmless(request.head.index):
            request.exchange.has_odd_fields = True
            self._drop_underscores(request)
        if request.uri == b"*":
            # Asked of the server as such: a way to probe it (RFC 9110 section 9.3.7).
            request_id = request.exchange.request_id.encode("ascii")
            fields = [(b"Date", self.date()), (b"X-Request-ID", request_id)]
            request.send_head(200, b"OK", fields, length=0)
            request.send_end()
            return NOT_DONE_YET
        return self.getResourceFor(request).render(request)

    def _look_past(self, proxies: TrustedProxies, request: Request) -> None:
        """Take the client's address from what a trusted proxy tells; raises what it cannot tell."""
        exchange = request.exchange
        peer = exchange.client_address
        if not proxies.trusts(peer):
            return
        exchange.is_from_proxy = True
        passage = proxies.passage(peer, request.head)
        if isinstance(passage, GatewayError):
            raise passage
        if passage is not None:
            exchange.passage = passage
            exchange.client_address = passage.addresses[0] if passage.addresses else ""

    def _drop_underscores(self, request: Request) -> None:
        """Take fields out of the head that a lease could take for others.

        Raises the refusal where the configuration has them refused.
        """
        headers = request.head.headers
        kept = without_underscores(headers, self._underscore_fields)
        if isinstance(kept, GatewayError):
            self.limit_hits["underscore_fields"] += 1
            raise kept
        if len(kept) != len(headers):
            self.limit_hits["underscore_fields"] += len(headers) - len(kept)
            request.head.replace_headers(kept)

    def render_by(self, render: Callable[[Request], Any], request: Request) -> None:
        """Have the request answered by what ``render`` gives, or by the error that it raises.

        It gives a body, or ``NOT_DONE_YET`` if it answers by itself.
        """
        try:
            body = render(request)
            if body is not NOT_DONE_YET:
                request.answer(body)
        except GatewayError as error:
            request.fail(error)
        except UnsupportedMethod as no_method:
            # Another name: compiled, a name is of one type.
            self._refuse_method(request, no_method)
        except Exception:  # noqa: BLE001 - whatever a Resource raises, the client gets an answer
            _log.failure(
                "a resource failed", failure=Failure(), request_id=request.exchange.request_id
            )
            request.fail(fault("internal_error", "the request could not be answered"))

    def _refuse_method(self, request: Request, error: Any) -> None:
        # By Twisted's words its methods are an empty tuple, which compiled code would insist on.
        fields = [(b"Allow", b", ".join(error.allowedMethods))]
        request.fail(fault("method_not_allowed", "this resource has no such method", fields))

    def exchange_over(self, exchange: Exchange) -> None:
        """A response has left, or never will be complete."""
        if exchange.status == _SWITCHING_PROTOCOLS:
            self.websockets -= 1
        try:
            self._on_exchange_end(exchange)
        except Exception:  # noqa: BLE001 - a connection does not end because its record failed
            _log.failure(
                "an exchange could not be recorded",
                failure=Failure(),
                request_id=exchange.request_id,
            )

    def reason(self, status: int) -> bytes:
        """The usual reason phrase; empty for a status without one."""
        return _REASONS.get(status, b"")

    def date(self) -> bytes:
        """The value of ``Date`` for now, formatted once a second."""
        now = self._wall_clock()
        second = int(now)
        if second != self._date_second:
            self._date_second = second
            self._date = http_date(second)
        return self._date

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call ``function`` when this turn of the reactor is over; one timer call serves all."""
        self._soon.append(function)
        if self._soon_call is None:
            self._soon_call = self.clock.callLater(0, self._run_soon)

    def _run_soon(self) -> None:
        self._soon_call = None
        soon, self._soon = self._soon, []
        for function in soon:
            try:
                function()
            except Exception:  # noqa: BLE001 - the others are not to suffer for it
                _log.failure("a call after the turn failed", failure=Failure())


classImplements(Site, IProtocolFactory, IProtocolNegotiationFactory)
