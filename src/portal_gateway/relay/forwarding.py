"""Copying the streams of a published lease to a TCP service and back: what ``expose`` does.

A stream is accepted before the service is dialled, as Portal's own tunnel does it, so a service
that is down looks to the client like one that hangs up: the stream ends at once without a byte.
"""

from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.relay.splice import Splice, SpliceEnd

__all__ = ["CONNECT_TIMEOUT", "ForwardingFactory"]

CONNECT_TIMEOUT = 10.0
"""Seconds that the service has to take a connection."""

_ATTEMPT_DELAY = 0.05
"""Seconds between attempts to the addresses of a name; also how late the last failure is
noticed."""

_log = Logger()


class ForwardingFactory(Factory[Any]):
    """Each protocol that it builds copies its connection to a new one at ``endpoint``, and back.

    ``streams`` is the number of those that are open. A service that cannot be reached is logged
    when that begins and when it ends, not for every stream.
    """

    noisy = False

    def __init__(self, endpoint: IStreamClientEndpoint, clock: IReactorTime) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._open: set[Splice] = set()
        self._reachable = True

    @classmethod
    def to_tcp(cls, reactor: Any, host: str, port: int) -> "ForwardingFactory":
        """Copies to a TCP service at an IP address or a name."""
        endpoint: IStreamClientEndpoint
        if isIPAddress(host):
            endpoint = TCP4ClientEndpoint(reactor, host, port, timeout=CONNECT_TIMEOUT)
        elif isIPv6Address(host):
            endpoint = TCP6ClientEndpoint(reactor, host, port, timeout=CONNECT_TIMEOUT)
        else:
            endpoint = HostnameEndpoint(
                reactor, host, port, timeout=CONNECT_TIMEOUT, attemptDelay=_ATTEMPT_DELAY
            )
        return cls(endpoint, reactor)

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._open)

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:  # noqa: ARG002 - the interface's
        """Dial the service, and give the protocol that is copied to it."""
        connecting: Deferred[IProtocol]

        def over() -> None:
            self._open.discard(splice)
            connecting.cancel()

        splice = Splice(self._clock, over)
        self._open.add(splice)
        connecting = self._endpoint.connect(_Dialled(splice.far))
        connecting.addTimeout(CONNECT_TIMEOUT, self._clock)
        connecting.addCallbacks(self._connected, self._not_connected, errbackArgs=(splice,))
        return splice.near

    def close(self) -> None:
        """Reset what is open."""
        for splice in list(self._open):
            splice.abort()

    def _connected(self, protocol: IProtocol) -> None:
        assert isinstance(protocol, SpliceEnd)
        if ITCPTransport.providedBy(protocol.transport):
            # What the stream brings is written as it comes; waiting for more only delays it.
            protocol.transport.setTcpNoDelay(True)
        if not self._reachable:
            self._reachable = True
            _log.info("the local service takes connections again")

    def _not_connected(self, failure: Failure, splice: Splice) -> None:
        splice.give_up()
        if failure.check(CancelledError):
            return
        if self._reachable:
            self._reachable = False
            _log.warn("the local service takes no connections: {reason}", reason=_reason(failure))


class _Dialled(Factory[Any]):
    """Gives the far end of one splice to the connection that is dialled for it."""

    noisy = False

    def __init__(self, end: SpliceEnd) -> None:
        self._end = end

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:  # noqa: ARG002 - the interface's
        return self._end


def _reason(failure: Failure) -> str:
    """One line: Twisted's own words for its errors, no traceback."""
    return failure.getErrorMessage() or type(failure.value).__name__
