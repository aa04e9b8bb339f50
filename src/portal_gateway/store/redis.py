"""Scripts in Redis, asked in a way that a sick Redis cannot hold anything up.

`RedisScripts` is what limits and quotas share. A script is asked by its digest over one of a few
connections and answers within ``timeout``, or the question fails. What fails once fails for all:
after an error, a lost connection, an answer that is late or makes no sense, every question under
way fails at once, and no other is asked until a probe that writes was answered in time::

             an answer fails               a probe is answered
    usable ──────────────────► unusable ───────────────────────► usable
                                │    ▲
                                └────┘ at most one connection a second

Both ways are logged, in one line. Where Redis falters again soon, it takes up to `MOST_PROBES` good
probes in a row until it is asked again, so that a Redis on the verge does not fill the log.

This needs Redis 5 or later, or what runs scripts like it. In a cluster all keys of a script must be
in one slot; `RedisScripts.key` gives all of them one hash tag.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.config.rate_limits import RedisSection
from portal_gateway.store.redis_connection import RedisConnection
from portal_gateway.store.redis_opening import Opening
from portal_gateway.store.redis_question import Question, RedisUnavailable
from portal_gateway.store.redis_script import Call, Script

__all__ = ["RedisFigures", "RedisScripts", "RedisUnavailable"]

_log = Logger()

T = TypeVar("T")

ATTEMPT_INTERVAL: Final = 1.0
"""Seconds from the beginning of one attempt to connect, or of a probe, to the next one's."""

MOST_IN_FLIGHT: Final = 1_000
"""Questions without an answer. Redis takes some 10 µs for each, so more than that would be late
anyway; above it a question is not asked, and Redis is not blamed."""

MOST_PROBES: Final = 4
"""Good probes in a row after which a Redis that falters is asked again: 4 s."""

STEADY: Final = 10.0
"""Seconds that Redis was usable for when it is asked again after a single probe."""


_PROBE: Final = Script(
    """
    redis.call('TIME')
    redis.call('SET', KEYS[1], ARGV[1], 'PX', 10000)
    return redis.status_reply('OK')
    """
)
"""Does what scripts do: one that only reads would be answered by a replica, or without memory."""


@dataclass(slots=True)
class RedisFigures:
    """What there is to measure.

    ``usable`` is ``None`` until the first attempt has come to something. ``transitions`` counts
    changes of it, ``failures`` questions that failed, ``fallbacks`` requests that were decided
    without Redis, ``attempts`` those to connect, ``loads`` how often a script had to be sent as a
    whole.
    """

    usable: bool | None = None
    transitions: int = 0
    failures: int = 0
    fallbacks: int = 0
    attempts: int = 0
    loads: int = 0


class RedisScripts:
    """Asks scripts in one Redis, which ``endpoint`` leads to. It does nothing until `start`."""

    def __init__(
        self, endpoint: IStreamClientEndpoint, settings: RedisSection, clock: IReactorTime
    ) -> None:
        self.figures = RedisFigures()
        self._endpoint = endpoint
        self._settings = settings
        self._clock = clock
        self._timeout = settings.timeout
        self._where = f"Redis at {settings.host}:{settings.port}"
        self._probe = Call(_PROBE, [self.key("probe")], [b"1"])
        self._connections: list[RedisConnection] = []
        self._opening: Opening | None = None
        self._last_attempt = float("-inf")
        self._next_attempt: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        self._in_flight = 0
        self._running = False
        self._since = 0.0
        self._probes_needed = 1
        self._probes_good = 0

    def start(self) -> None:
        """Connect, and keep connections from now on."""
        self._running = True
        self._since = self._clock.seconds()
        self._attempt_when_due()

    @property
    def unused(self) -> bool:
        """Whether no question is without its answer."""
        return not self._in_flight

    def retire(self) -> None:
        """Another takes its place: whoever asked before still gets an answer."""

    def close(self) -> None:
        """End every connection; what is under way fails, what is asked from now on as well."""
        self._running = False
        self.figures.usable = None
        for timer in (self._next_attempt, self._timer):
            if timer is not None:
                timer.cancel()
        self._next_attempt = self._timer = None
        if self._opening is not None:
            self._opening.stop()
            self._opening = None
        self._drop_all("the gateway is stopping")

    @property
    def usable(self) -> bool:
        """Whether a question asked now has a chance."""
        return bool(self.figures.usable and self._connections and self._in_flight < MOST_IN_FLIGHT)

    @property
    def in_flight(self) -> int:
        """Questions without an answer."""
        return self._in_flight

    def key(self, name: str) -> bytes:
        """The key for a name of ours: below the prefix, which is the hash tag of a cluster."""
        return f"{{{self._settings.prefix}}}:{name}".encode("utf-8", "surrogatepass")

    def run(self, call: Call, read: Callable[[object], T]) -> Deferred[T]:
        """Ask once; ``read`` makes of the answer what is wanted, or raises ``ValueError``.

        Fails with `RedisUnavailable` within twice the timeout. That costs a Deferred where it is
        known beforehand: look at `usable` first. Who cancels it does not stop the script.
        """
        if not self.usable:
            return fail(RedisUnavailable("Redis cannot be asked at the moment"))
        self._in_flight += 1
        if self._timer is None:
            self._timer = self._clock.callLater(self._timeout, self._look_for_late_answers)
        connections = self._connections
        connection = connections[0] if len(connections) == 1 else min(connections, key=_waiting)
        question = Question(self, connection, call, read)
        question.ask()
        return question.result

    def _look_for_late_answers(self, late_at: float | None = None) -> None:
        """Find out whether an answer is late, or was when this looked at ``late_at``.

        One timer serves all questions. Looking twice, with a turn of the reactor in between, tells
        an answer that is late from one that waits to be read because this process was busy.
        """
        self._timer = None
        since = [c.waiting_since for c in self._connections if c.waiting_since is not None]
        if not since:
            return
        now = self._clock.seconds()
        late = min(since) + self._timeout
        if late_at is not None and late <= late_at:
            self.failed(f"no answer within {self._timeout * 1000:g} ms")
        elif late <= now:
            self._timer = self._clock.callLater(0, self._look_for_late_answers, now)
        else:
            self._timer = self._clock.callLater(late - now, self._look_for_late_answers)

    def answered(self, wrong: str) -> None:
        """A question is over; ``wrong`` says what was wrong with the answer, if anything was."""
        self._in_flight -= 1
        if wrong:
            self.figures.failures += 1
            self.failed(wrong)

    def loading(self) -> None:
        """A script is sent as a whole."""
        self.figures.loads += 1

    # Being usable.

    def failed(self, reason: str) -> None:
        """Give up on Redis for now."""
        if not self._running:
            return
        if self.figures.usable:
            self._probes_good = 0
            steady = self._clock.seconds() - self._since >= STEADY
            self._probes_needed = 1 if steady else min(MOST_PROBES, 2 * self._probes_needed)
        self._became(usable=False, reason=reason)
        self._drop_all(reason)
        self._attempt_when_due()

    def _became(self, *, usable: bool, reason: str = "") -> None:
        if self.figures.usable is usable:
            return
        before, self.figures.usable = self.figures.usable, usable
        now = self._clock.seconds()
        lasted, self._since = now - self._since, now
        if before is not None:
            self.figures.transitions += 1
        if not usable:
            _log.warn("{where} cannot be asked: {reason}", where=self._where, reason=reason)
        elif before is None:
            _log.info("{where} answers", where=self._where)
        else:
            _log.info(
                "{where} answers again, after {lasted:.1f} s", where=self._where, lasted=lasted
            )

    def _drop_all(self, reason: str) -> None:
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.abort(reason)

    # Connections.

    def _attempt_when_due(self) -> None:
        """See to it that there are as many connections as there should be, in time."""
        if not self._running or self._opening is not None or self._next_attempt is not None:
            return
        if self.figures.usable and len(self._connections) >= self._settings.pool_size:
            return
        self._next_attempt = self._clock.callLater(self._wait, self._attempt)

    @property
    def _wait(self) -> float:
        """Seconds until another attempt may begin."""
        return max(0.0, self._last_attempt + ATTEMPT_INTERVAL - self._clock.seconds())

    def _attempt(self) -> None:
        self._next_attempt = None
        self._last_attempt = self._clock.seconds()
        self.figures.attempts += 1
        self._opening = Opening(self._endpoint, self._settings, self._clock, self._lost)
        self._opening.start(self._probe).addCallbacks(self._opened, self._not_opened)

    def _opened(self, connection: RedisConnection) -> None:
        self._opening = None
        self._connections.append(connection)
        if not self.figures.usable:
            self._probes_good += 1
            if self._probes_good >= self._probes_needed:
                self._became(usable=True)
            else:
                # To be probed again, by a connection of its own.
                self._drop_all("")
        self._attempt_when_due()

    def _not_opened(self, failure: Failure) -> None:
        self._opening = None
        self._probes_good = 0
        if self._running and not self._connections:
            self._became(usable=False, reason=str(failure.value))
        self._attempt_when_due()

    def _lost(self, connection: RedisConnection) -> None:
        """A connection has ended, perhaps because it was idle for long: then it is made anew.

        Where that has to wait, nothing can be asked meanwhile.
        """
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        if self._connections or self._opening is not None or self._wait == 0:
            self._attempt_when_due()
        else:
            self.failed("the connection was lost")


def _waiting(connection: RedisConnection) -> int:
    return connection.waiting
