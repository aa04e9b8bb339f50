"""A script that was asked, until there is an answer."""

from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred

from portal_gateway.store.redis_connection import ErrorReply, Gone, RedisConnection
from portal_gateway.store.redis_script import Call

__all__ = ["Asker", "Question", "RedisUnavailable"]

T = TypeVar("T")

_NO_SCRIPT: Final = "NOSCRIPT"


class RedisUnavailable(Exception):
    """Redis was not asked, or did not answer as it should; for people, without any secret."""


class Asker(Protocol):
    """Who asks."""

    def answered(self, wrong: str) -> None:
        """It is over; ``wrong`` says what was wrong with the answer, if anything was."""

    def loading(self) -> None:
        """The script is sent as a whole."""


class Question(Generic[T]):
    """A call on its way."""

    __slots__ = ("_asked_again", "_call", "_connection", "_read", "_scripts", "result")

    def __init__(
        self,
        scripts: Asker,
        connection: RedisConnection,
        call: Call,
        read: Callable[[object], T],
    ) -> None:
        self.result: Deferred[T] = Deferred(_nobody_waits)
        self._scripts = scripts
        self._connection = connection
        self._call = call
        self._read = read
        self._asked_again = False

    def ask(self) -> None:
        """Send it, by its digest."""
        self._connection.send(self._call.by_digest, self._answer)

    def _answer(self, reply: object) -> None:
        if isinstance(reply, ErrorReply) and reply.code == _NO_SCRIPT and not self._asked_again:
            self._ask_again()
            return
        reason = ""
        value: T
        if isinstance(reply, Exception):
            reason = reply.args[0] if isinstance(reply, Gone) else f"it answers {reply}"
        else:
            try:
                value = self._read(reply)
            except ValueError:
                reason = "it answers what makes no sense"
        self._scripts.answered(reason)
        if self.result.called:
            return
        if reason:
            self.result.errback(RedisUnavailable(reason))
        else:
            self.result.callback(value)

    def _ask_again(self) -> None:
        """With the script, or without it when that is on its way already: order is kept."""
        self._asked_again = True
        loading = self._connection.loading
        digest = self._call.script.digest
        if digest in loading:
            self._connection.send(self._call.by_digest, self._answer)
            return
        loading.add(digest)
        self._scripts.loading()

        def loaded(reply: object) -> None:
            loading.discard(digest)
            self._answer(reply)

        self._connection.send(self._call.whole, loaded)


def _nobody_waits(result: Deferred[Any]) -> None:
    """The answer is read all the same, since those behind it come after it."""
