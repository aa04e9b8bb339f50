"""An attempt to reach Redis: connect, log in, and have one script run in time."""

from collections.abc import Callable
from typing import Final, cast

from twisted.internet import error as net
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from portal_gateway.config.rate_limits import RedisSection
from portal_gateway.errors import GatewayError
from portal_gateway.store.redis_connection import Gone, RedisConnection
from portal_gateway.store.redis_script import Call, command

__all__ = ["Opening", "OpeningFailed"]

LIMIT: Final = 2.0
"""Seconds until there is a connection, its TLS included. An attempt follows another one second
after that began, or when it has ended; so Redis is asked again within 5 s of its return."""


class OpeningFailed(Exception):
    """It came to nothing; for people, without any secret."""


class _Connections(Factory[RedisConnection]):
    noisy = False

    def __init__(self, clock: IReactorTime, when_lost: Callable[[RedisConnection], None]) -> None:
        self._clock = clock
        self._when_lost = when_lost

    def buildProtocol(self, addr: object) -> RedisConnection:  # noqa: ARG002 - any
        return RedisConnection(self._clock, self._when_lost)


class Opening:
    """One attempt. `start` gives the connection once ``probe`` was answered on it in time."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        settings: RedisSection,
        clock: IReactorTime,
        when_lost: Callable[[RedisConnection], None],
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._clock = clock
        self._when_lost = when_lost
        self._result: Deferred[RedisConnection] = Deferred()
        self._connecting: Deferred[RedisConnection] | None = None
        self._connection: RedisConnection | None = None
        self._timer: IDelayedCall | None = None

    def start(self, probe: Call) -> Deferred[RedisConnection]:
        """Try. Fails with `OpeningFailed`."""
        self._timer = self._clock.callLater(LIMIT, self._fail, f"no connection within {LIMIT:g} s")
        self._connecting = cast(
            "Deferred[RedisConnection]",
            self._endpoint.connect(_Connections(self._clock, self._when_lost)),
        )
        self._connecting.addCallbacks(self._connected, self._not_connected, callbackArgs=(probe,))
        return self._result

    def stop(self) -> None:
        """Give up; nothing is told."""
        self._result.addErrback(lambda _failure: None)
        self._fail("the gateway is stopping")

    def _connected(self, connection: RedisConnection, probe: Call) -> None:
        self._connecting = None
        if self._result.called:
            connection.abort("")
            return
        self._connection = connection
        self._stop_timer()
        timeout = self._settings.timeout
        # Looked at in the turn after: the answer may be there, and this process have been busy.
        self._timer = self._clock.callLater(
            timeout, self._look_again, f"no answer within {timeout * 1000:g} ms"
        )
        settings = self._settings
        if settings.password is not None:
            words = (
                [settings.password]
                if settings.username is None
                else [
                    settings.username,
                    settings.password,
                ]
            )
            connection.send(command(b"AUTH", *(word.encode() for word in words)), self._agreed)
        if settings.db:
            connection.send(command(b"SELECT", b"%d" % settings.db), self._agreed)
        connection.send(probe.whole, self._answered)

    def _look_again(self, reason: str) -> None:
        self._timer = self._clock.callLater(0, self._fail, reason)

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        self._fail(_reason(failure))

    def _agreed(self, reply: object) -> None:
        if isinstance(reply, Exception):
            self._fail(reply.args[0] if isinstance(reply, Gone) else f"it answers {reply}")
        elif reply != "OK":
            self._fail("it answers what makes no sense")

    def _answered(self, reply: object) -> None:
        self._agreed(reply)
        if not self._result.called and self._connection is not None:
            self._stop_timer()
            self._result.callback(self._connection)

    def _fail(self, reason: str) -> None:
        if self._result.called:
            return
        self._stop_timer()
        self._result.errback(OpeningFailed(reason))
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.abort(reason)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def _reason(failure: Failure) -> str:
    if failure.check(net.ConnectionRefusedError):
        return "the connection was refused"
    if failure.check(net.DNSLookupError):
        return "its name has no address"
    if failure.check(GatewayError):
        return "there is no TLS with it, or its certificate is not trusted"
    if failure.check(CancelledError, net.TimeoutError):
        return f"no connection within {LIMIT:g} s"
    return "the connection cannot be made"
