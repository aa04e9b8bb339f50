"""Connections on their way to being made, and the request that each of them is for.

A dial and its request are apart: the request may be served by another connection or go away, and
the dial goes on. What it brings is then for whoever is next.
"""

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.http_client import UpstreamExchange
from portal_gateway.relay.http_connection import UpstreamConnection, expired

__all__ = ["DialOwner", "Dialler"]

_log = Logger(__name__)


class DialOwner(Protocol):
    """The pool, as its dials see it.

    The exchange is ``None`` where the one that the dial was begun for waits for it no more.
    """

    def dialled(self, connection: UpstreamConnection, exchange: UpstreamExchange | None) -> None:
        """A connection was made."""

    def dial_failed(self, error: GatewayError, exchange: UpstreamExchange | None) -> None:
        """A connection could not be made."""


class _Dial:
    __slots__ = ("connecting", "exchange", "timed_out")

    def __init__(self, exchange: UpstreamExchange) -> None:
        self.exchange: UpstreamExchange | None = exchange
        self.connecting: Deferred[IProtocol] | None = None
        self.timed_out = False


class _ConnectionFactory(ClientFactory):
    noisy = False

    def __init__(
        self, make_connection: Callable[[], UpstreamConnection], asker: str, dial: _Dial
    ) -> None:
        self._make_connection = make_connection
        self._dial = dial
        self.asker = asker

    def wanted(self) -> bool:
        """Whether a request still waits for this dial."""
        return self._dial.exchange is not None

    def buildProtocol(self, addr: object) -> Any:  # noqa: ARG002 - Twisted's signature
        return self._make_connection()


class Dialler:
    """Dials one endpoint; ``total`` counts how often. Its length is the number of dials under way.

    The factory that the endpoint gets says in ``asker`` who the connection is made for, and by
    ``wanted`` whether they still wait for it.
    Each dial may take ``limit`` seconds: the owner calls `expire`, no later than at `deadline`.
    """

    def __init__(
        self,
        owner: DialOwner,
        endpoint: IStreamClientEndpoint,
        make_connection: Callable[[], UpstreamConnection],
        limit: float,
    ) -> None:
        self._owner = owner
        self._endpoint = endpoint
        self._make_connection = make_connection
        self._limit = limit
        # In plain dicts looking for the first costs the more, the more were taken from the front.
        self._dials: OrderedDict[_Dial, float] = OrderedDict()
        # Who waits for a dial: those that any connection serves, and those that need their own.
        self._waiting: OrderedDict[UpstreamExchange, _Dial] = OrderedDict()
        self._waiting_fresh: dict[UpstreamExchange, _Dial] = {}
        self.total = 0

    def __len__(self) -> int:
        return len(self._dials)

    @property
    def deadline(self) -> float:
        """When the oldest dial must end; infinity without one."""
        return next(iter(self._dials.values()), inf)

    def dial(self, exchange: UpstreamExchange, now: float) -> None:
        """Begin a connection for ``exchange``. May call the owner at once."""
        dial = _Dial(exchange)
        self._dials[dial] = now + self._limit
        (self._waiting_fresh if exchange.fresh_only else self._waiting)[exchange] = dial
        self.total += 1
        factory = _ConnectionFactory(self._make_connection, exchange.asker, dial)
        connecting = dial.connecting = maybeDeferred(lambda: self._endpoint.connect(factory))
        connecting.addCallbacks(
            self._dialled, self._failed, callbackArgs=(dial,), errbackArgs=(dial,)
        )
        connecting.addErrback(self._log_defect)

    @property
    def first_waiting(self) -> UpstreamExchange | None:
        """The oldest exchange with a dial that would take any other connection as well."""
        return next(iter(self._waiting), None)

    def forget(self, exchange: UpstreamExchange) -> bool:
        """``exchange`` waits no more; its dial goes on. Whether it had one."""
        dial = self._waiting.pop(exchange, None) or self._waiting_fresh.pop(exchange, None)
        if dial is None:
            return False
        dial.exchange = None
        return True

    def expire(self, now: float) -> None:
        """End the dials whose time is over."""
        for dial in expired(self._dials, now):
            dial.timed_out = True
            if dial.connecting is not None:
                dial.connecting.cancel()

    def cancel_all(self) -> list[UpstreamExchange]:
        """End all dials; who waited for one is returned and told nothing."""
        waiting = [*self._waiting, *self._waiting_fresh]
        for exchange in waiting:
            self.forget(exchange)
        for dial in list(self._dials):
            if dial.connecting is not None:
                dial.connecting.cancel()
        return waiting

    def _dialled(self, connection: object, dial: _Dial) -> None:
        if not isinstance(connection, UpstreamConnection):
            defect = TypeError("an endpoint connected something else than it was given")
            self._failed(Failure(defect), dial)
        elif connection.closed:
            detail = "The lease closed the connection before it was used."
            self._owner.dial_failed(fault("upstream_closed", detail), self._over(dial))
        else:
            self._owner.dialled(connection, self._over(dial))

    def _failed(self, failure: Failure, dial: _Dial) -> None:
        error = self._error(failure, dial)
        self._owner.dial_failed(error, self._over(dial))

    def _over(self, dial: _Dial) -> UpstreamExchange | None:
        self._dials.pop(dial, None)
        exchange = dial.exchange
        if exchange is not None:
            self.forget(exchange)
        return exchange

    def _error(self, failure: Failure, dial: _Dial) -> GatewayError:
        if isinstance(failure.value, GatewayError):
            return failure.value
        if dial.timed_out or failure.check(ConnectTimeout):
            return fault("upstream_timeout", "The connection to the lease was not made in time.")
        if failure.check(ConnectError, DNSLookupError):
            return fault("lease_offline", "The connection to the lease cannot be made.")
        if dial.exchange is not None:
            _log.failure(
                "The endpoint of a lease failed in a way that it must not",
                failure,
                request_id=dial.exchange.request_id,
            )
        return fault("internal_error", "The gateway failed to connect to the lease.")

    def _log_defect(self, failure: Failure) -> None:
        _log.failure("A defect in the pool of connections", failure)
