"""One connection to Redis: commands go out as they come, answers come back in the same order.

txredisapi reads the protocol. Its pool, its reconnecting and its log are not used: when to connect,
how long to wait and what to say is decided in `portal_gateway.store.redis`. What a server sends
that is no answer, or is longer than any, ends the connection.

txredisapi imports the reactor. So this module is imported when a configuration names a Redis, which
is after the reactor was chosen.
"""

# txredisapi has no annotations.
# mypy: allow-untyped-calls

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from txredisapi import BaseRedisProtocol, RedisError, ResponseError

__all__ = ["Answered", "ErrorReply", "Gone", "RedisConnection"]

MAX_ANSWER: Final = 64 * 1024
"""Bytes that are read until an answer is complete. Those of scripts have some hundred at most."""

_LONGEST_CODE: Final = 20


class ErrorReply(Exception):
    """Redis answered with an error. ``code`` is its first word, such as ``READONLY``."""

    def __init__(self, text: str) -> None:
        word = text.partition(" ")[0]
        known = word.isascii() and word.isalpha() and word.isupper() and len(word) <= _LONGEST_CODE
        self.code = word if known else "ERR"
        super().__init__(self.code)


class Gone(Exception):
    """There will be no answer, since the connection has ended; for which reason."""


class _Nonsense(Exception):
    """What came is not the protocol of Redis."""


Answered = Callable[[object], None]
"""Is given the answer, or an `ErrorReply`, or `Gone`. A status is a str, a bulk string bytes."""


class RedisConnection(BaseRedisProtocol):  # type: ignore[misc]  # it has no annotations
    """Sends commands and gives each its answer, or `Gone`.

    ``loading`` is for who sends scripts: digests of those that were sent whole and have no answer.
    ``when_lost`` is called once, after every command has had its answer.
    """

    def __init__(self, clock: IReactorTime, when_lost: Callable[["RedisConnection"], None]) -> None:
        super().__init__(charset=None, convertNumbers=False)
        # Its own would be that of the global reactor.
        self.callLater = clock.callLater
        self.loading: set[bytes] = set()
        self._seconds = clock.seconds
        self._when_lost = when_lost
        self._waiting: deque[tuple[float, Answered]] = deque()
        self._complete: list[Any] = []
        self._incomplete_bytes = 0
        self._over = False

    @property
    def waiting(self) -> int:
        """Commands without an answer."""
        return len(self._waiting)

    @property
    def waiting_since(self) -> float | None:
        """When the oldest command without an answer was sent."""
        return self._waiting[0][0] if self._waiting else None

    def send(self, words: bytes, answered: Answered) -> None:
        """Send a command that `portal_gateway.store.redis_script.command` made."""
        if self._over:
            answered(Gone("the connection has ended"))
            return
        self._waiting.append((self._seconds(), answered))
        self.transport.write(words)

    def abort(self, reason: str) -> None:
        """End it at once, for which reason."""
        if not self._over:
            self._over = True
            self.transport.abortConnection()
            self._answer_all(Gone(reason))

    # From the transport, and from txredisapi.

    def connectionMade(self) -> None:
        """It is there. Commands are small, and none is to wait for the answer to another."""
        super().connectionMade()
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Some bytes. Whatever is wrong with them ends the connection."""
        if self._over:
            return
        if not unpause:
            self._incomplete_bytes += len(data)
        wrong = ""
        try:
            super().dataReceived(data, unpause)
        except _Nonsense as nonsense:
            wrong = str(nonsense)
        except Exception:  # noqa: BLE001 - its reader raises whatever garbage leads it to
            wrong = "it answers with what cannot be read"
        self._give_out()
        if not wrong and self._incomplete_bytes:
            if not self._waiting:
                wrong = "it answers what was not asked"
            elif self._incomplete_bytes > MAX_ANSWER:
                wrong = "its answer is too long"
        if wrong:
            self.abort(wrong)

    def replyReceived(self, reply: Any) -> None:
        """One answer is complete. Raises when it is the answer to nothing."""
        self._incomplete_bytes = 0
        if len(self._complete) >= len(self._waiting):
            raise _Nonsense("it answers what was not asked")
        if isinstance(reply, ResponseError):
            reply = ErrorReply(str(reply.args[0]))
        elif isinstance(reply, RedisError):
            raise _Nonsense("it answers with what cannot be read")
        self._complete.append(reply)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002 - txredisapi's
        """A line is longer than any. Raises."""
        raise _Nonsense("its answer is too long")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        super().connectionLost(reason)
        self._over = True
        self._answer_all(Gone("the connection was lost"))
        self._when_lost(self)

    def _give_out(self) -> None:
        """Hand on what is complete, outside of txredisapi's reader."""
        complete, self._complete = self._complete, []
        for reply in complete:
            if self._over:
                return
            self._waiting.popleft()[1](reply)

    def _answer_all(self, reply: object) -> None:
        waiting, self._waiting = self._waiting, deque()
        for _, answered in waiting:
            answered(reply)
