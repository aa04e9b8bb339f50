"""The keys that an issuer publishes: fetched when a token first needs them, and kept.

While there are none, tokens wait for them, and are told that they cannot be verified where they
cannot be had. From then on the set is fetched anew every ten minutes, so that a key that its issuer
takes away is not trusted for long, and when a token names a key that is not there, at most once a
minute: whoever makes tokens up must not have us ask all the time. When a fetch fails, the keys that
there are stay.
"""

from collections.abc import Callable
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.identity.key_set_fetch import FetchFailed
from portal_gateway.wire.jwt_keys import KeySet, UnusableKeySet

__all__ = ["KeySource"]

_REFRESH_INTERVAL: Final = 600.0
"""Seconds after which keys are fetched anew."""

_ASK_INTERVAL: Final = 60.0
"""Seconds after a fetch until another may be for a key that is not there."""

_FIRST_INTERVAL: Final = 5.0
"""Seconds after a fetch until another while there are no keys at all: what clients are told."""

_log = Logger()


class KeySource(Service):
    """Keeps a set of keys. ``use`` is told each new one."""

    def __init__(
        self,
        fetch: Callable[[], Deferred[bytes]],
        algorithm: str,
        use: Callable[[KeySet], object],
        clock: IReactorTime,
    ) -> None:
        self._fetch = fetch
        self._algorithm = algorithm
        self._use = use
        self._clock = clock
        self._has_keys = False
        self._failing = False
        self._fetched: float | None = None
        self._fetching: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._next: IDelayedCall | None = None

    def stopService(self) -> None:
        """Fetch no more."""
        super().stopService()
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._fetching is not None:
            self._fetching.cancel()

    def ask(self) -> Deferred[None] | None:
        """Fetch the keys, unless it is too soon for that.

        The Deferred fires when that is over, whatever came of it, and may be cancelled.
        """
        if self._fetching is None:
            interval = _ASK_INTERVAL if self._has_keys else _FIRST_INTERVAL
            now = self._clock.seconds()
            if self._fetched is not None and now - self._fetched < interval:
                return None
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if self._fetching is None:
            self._start()
        return waiting

    def _start(self) -> None:
        fetching = self._fetch().addCallback(self._take)
        self._fetching = fetching
        fetching.addErrback(self._failed)
        fetching.addBoth(self._over)

    def _take(self, data: bytes) -> None:
        keys = KeySet.published(self._algorithm, data)
        self._has_keys = True
        if self._failing:
            self._failing = False
            _log.info("the keys of the tokens' issuer are there again")
        self._use(keys)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) or self._failing:
            return
        self._failing = True
        if not failure.check(FetchFailed, UnusableKeySet):
            _log.failure("fetching the keys of the tokens' issuer failed", failure=failure)
            return
        _log.warn(
            "the keys of the tokens' issuer cannot be had: {reason}{kept}",
            reason=str(failure.value),
            kept="; those from before are used" if self._has_keys else "",
        )

    def _over(self, _result: object) -> None:
        self._fetching = None
        self._fetched = self._clock.seconds()
        if self._has_keys and self.running:
            self._schedule(_ASK_INTERVAL if self._failing else _REFRESH_INTERVAL)
        while self._waiting:
            self._waiting.pop(0).callback(None)

    def _schedule(self, seconds: float) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = self._clock.callLater(seconds, self._again)

    def _again(self) -> None:
        self._next = None
        if self._fetching is None:
            self._start()
