"""The live leases of one relay, by the relay's own answers.

The relay is asked every few seconds, and for a name that its last answer did not have: for such
names at most once in UNKNOWN_INTERVAL, since the whole list comes with each answer. There is at
most one question in flight and everybody who waits shares its answer. A name that is asked for
before the next question is due is answered at once, by the last answer: nobody is made to wait by
somebody who asks for made-up names, and a lease that just came is found within UNKNOWN_INTERVAL.
An answer is indexed in slices, so that a long one does not hold the reactor.

Which lease a name means is decided in ``lease_table``; this module decides how long an answer is
believed, and what is said about a name that nobody has.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain
from typing import NamedTuple

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.errors import ContestedName, GatewayError, fault
from portal_gateway.relay.configured_names import ConfiguredNames
from portal_gateway.relay.lease_index import LeaseIndex
from portal_gateway.relay.lease_table import LeaseTable
from portal_gateway.relay.slices import in_slices
from portal_gateway.wire.errors import WireError
from portal_gateway.wire.lease_names import folded
from portal_gateway.wire.limits import MAX_LEASE_NAME_BYTES
from portal_gateway.wire.messages import ListedLease, RelayInfo

__all__ = [
    "ANSWER_LIFETIME",
    "MAX_DEPARTED",
    "REFRESH_INTERVAL",
    "SEEN_LIFETIME",
    "UNKNOWN_INTERVAL",
    "Directory",
    "DirectoryFigures",
]

REFRESH_INTERVAL = 5.0
"""Seconds between two questions: a lease that left is noticed well within its 30 s lifetime."""

ANSWER_LIFETIME = 15.0
"""Seconds an answer is believed: two refreshes may fail before every lease of it is forgotten."""

UNKNOWN_INTERVAL = 1.0
"""Seconds between two questions for names that the last answer does not have: short enough not to
delay a lease that just came, long enough for an answer of ten thousand leases, which costs 0.2 s of
CPU in slices."""

SEEN_LIFETIME = 300.0
"""Seconds for which a lease that left is offline (503) rather than unknown (404)."""

MAX_DEPARTED = 8192
"""Names and ids of leases that left; the oldest are forgotten first, and then are unknown, not
offline."""

_MAX_LOGGED_IDS = 8
"""Ids in one log line; a relay can invent any number."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class DirectoryFigures:
    """What health and metrics show of a directory. Times are seconds of its clock."""

    leases: int
    skipped: int
    contested: int
    usurped: int
    unasked: int
    departed_names: int
    questions: int
    answered_at: float | None
    last_error: str | None


class _Indexed(NamedTuple):
    """An answer, its index, and the addresses of the answer before that it does not have."""

    info: RelayInfo
    leases: LeaseIndex
    departed: list[str]
    contests: frozenset[frozenset[str]]


class Directory:
    """The leases that one relay lists.

    ``ask`` puts the question and has its own time limit. ``configured`` are the names that the
    configuration knows: what they mean, and that they are offline rather than unknown while they
    are away. Strangers' names are never logged, only ids.
    """

    def __init__(
        self,
        ask: Callable[[], Deferred[RelayInfo]],
        clock: IReactorTime,
        configured: ConfiguredNames | None = None,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._configured = configured or ConfiguredNames()
        # The last answer, also once it is not believed any more.
        self._seen = LeaseIndex()
        self._table = LeaseTable(LeaseIndex(), self._configured)
        self._skipped = 0
        self._answered_at: float | None = None
        self._believed_until = float("-inf")
        self._last_error: str | None = None
        self._questions = 0
        self._question: Deferred[_Indexed] | None = None
        self._waiting: dict[Deferred[None], None] = {}
        self._asked_for_unknown = float("-inf")
        self._unasked = 0
        self._departed: OrderedDict[str, float] = OrderedDict()
        self._polling: LoopingCall | None = None
        self._reported: tuple[object, object] = (frozenset(), {})

    def use(self, configured: ConfiguredNames) -> None:
        """Let names mean what another configuration says."""
        self._configured = configured
        self._table = LeaseTable(self._table.index, configured)

    # Life.

    def start(self) -> None:
        """Ask now, and then every REFRESH_INTERVAL seconds."""
        if self._polling is None:
            self._polling = LoopingCall(self.poll)
            self._polling.clock = self._clock
            self._polling.start(REFRESH_INTERVAL, now=True)

    def stop(self) -> None:
        """Ask no more, and forget the relay; whoever waits is told that it is unavailable."""
        if self._polling is not None:
            self._polling.stop()
            self._polling = None
        self.clear()

    def poll(self) -> None:
        """Ask unless a question is in flight already. A failure shows in the figures only."""
        if self._question is None:
            self._put_question()

    def clear(self) -> None:
        """Trust nothing the relay has said, because the session with it is over.

        An answer that is still under way is not waited for. The leases count as seen until now.
        """
        self._table = LeaseTable(LeaseIndex(), self._configured)
        self._skipped = 0
        self._believed_until = float("-inf")
        self._asked_for_unknown = float("-inf")
        question, self._question = self._question, None
        if question is not None:
            question.cancel()
            self._settle(fault("relay_unavailable", "The connection to the relay was lost."))

    # Looking up.

    def find(self, name: str) -> ListedLease | None:
        """The lease that ``name`` (or id) means in the last answer, if that is still to be
        believed."""
        if self._clock.seconds() > self._believed_until:
            return None
        return self._table.find(name)

    def is_contested(self, name: str) -> bool:
        """Whether ``name`` is listed in the last answer, still to be believed, and means nobody."""
        return self._clock.seconds() <= self._believed_until and self._table.is_contested(name)

    def names_of(self, lease: ListedLease) -> tuple[str, ...]:
        """All that a lease of the last answer is known by, what it is called first."""
        return self._table.names_of(lease)

    def resolve(self, name: str) -> Deferred[ListedLease]:
        """The lease that ``name`` (or id) means; asks the relay about a name that it did not list,
        unless it was asked about one within UNKNOWN_INTERVAL.

        Fails with a GatewayError: ``lease_not_found``, which is a `ContestedName` where nobody else
        is to be asked; ``lease_offline`` for a lease that is
        configured or was seen within SEEN_LIFETIME; ``identity_mismatch`` when a pinned name is
        held by another identity only; or what went wrong with the question
        (``relay_unavailable``, ``relay_protocol_error``).
        """
        lease = self.find(name)
        if lease is not None:
            return succeed(lease)
        if self.is_contested(name):
            return fail(ContestedName())
        if not name or len(name) > MAX_LEASE_NAME_BYTES:
            return fail(self._absence(name))
        if self._question is None:
            now = self._clock.seconds()
            believed = now <= self._believed_until
            if believed and now - self._asked_for_unknown < UNKNOWN_INTERVAL:
                self._unasked += 1
                return fail(self._last_failure() or self._absence(name))
            self._asked_for_unknown = now
        return self.refresh().addCallback(lambda _: self._find_in_new_answer(name))

    def refresh(self) -> Deferred[None]:
        """Have an answer that is complete after this call; shares the question that is in flight,
        if any.

        Cancelling it leaves the question and the others who wait for it alone.
        """
        waiting: Deferred[None] = Deferred(self._waiting.pop)
        self._waiting[waiting] = None
        self.poll()
        return waiting

    @property
    def figures(self) -> DirectoryFigures:
        """What health and metrics show."""
        believed = self._clock.seconds() <= self._believed_until
        return DirectoryFigures(
            leases=len(self._table) if believed else 0,
            skipped=self._skipped,
            contested=len(self._table.index.contested),
            usurped=len(self._table.usurped),
            unasked=self._unasked,
            departed_names=len(self._departed),
            questions=self._questions,
            answered_at=self._answered_at,
            last_error=self._last_error,
        )

    # Asking.

    def _put_question(self) -> None:
        self._questions += 1
        question = maybeDeferred(self._ask).addCallback(self._in_slices)
        self._question = question
        question.addCallbacks(self._answered, self._not_answered, (question,), {}, (question,), {})

    def _in_slices(self, info: RelayInfo) -> Deferred[_Indexed]:
        return in_slices(_indexed(info, self._seen), self._clock)

    def _answered(self, answer: _Indexed, question: Deferred[_Indexed]) -> None:
        if self._question is not question:
            return
        self._question = None
        now = self._clock.seconds()
        self._remember_departed(answer.departed)
        self._seen = answer.leases
        self._table = LeaseTable(answer.leases, self._configured)
        self._skipped = answer.info.skipped
        self._answered_at = now
        self._believed_until = now + ANSWER_LIFETIME
        self._last_error = None
        self._report_contests(answer.contests, self._table.usurped)
        self._settle(None)

    def _not_answered(self, failure: Failure, question: Deferred[_Indexed]) -> None:
        if self._question is not question:
            return
        self._question = None
        error = _as_gateway_error(failure)
        if error.cause.code != self._last_error:
            _log.warn("The relay's directory was not read: {error}", error=error)
        self._last_error = error.cause.code
        self._settle(error)

    def _settle(self, error: GatewayError | None) -> None:
        waiting = list(self._waiting)
        self._waiting.clear()
        for deferred in waiting:
            if error is None:
                deferred.callback(None)
            else:
                deferred.errback(error)

    def _last_failure(self) -> GatewayError | None:
        if self._last_error is None:
            return None
        return fault(self._last_error, "The relay's directory was not read a moment ago.")

    # What is remembered, and what is said about a name that nobody has.

    def _find_in_new_answer(self, name: str) -> ListedLease:
        lease = self.find(name)
        if lease is None:
            raise ContestedName() if self.is_contested(name) else self._absence(name)
        return lease

    def _remember_departed(self, addresses: list[str]) -> None:
        """These were in the last answer and are not in the next: that answer is when they were
        seen."""
        if self._answered_at is None:
            return
        departed = self._departed
        for address in addresses:
            departed[address] = self._answered_at
            departed.move_to_end(address)
        too_old = self._clock.seconds() - SEEN_LIFETIME
        while departed and (
            len(departed) > MAX_DEPARTED or next(iter(departed.values())) < too_old
        ):
            departed.popitem(last=False)

    def _was_seen(self, name: str) -> bool:
        form = folded(name)
        seen = self._departed.get(form)
        # Where the session is over, all that the last answer had has left.
        if self._seen is not self._table.index and self._seen.has(form):
            seen = self._answered_at
        return seen is not None and self._clock.seconds() - seen <= SEEN_LIFETIME

    def _absence(self, name: str) -> GatewayError:
        if len(name) > MAX_LEASE_NAME_BYTES:
            return fault("lease_not_found", "No lease has a name of that length.")
        pinned = self._table.pinned_name(name)
        if pinned is not None and pinned in self._table.usurped:
            return fault(
                "identity_mismatch", "The lease's name is held by another identity than configured."
            )
        if pinned is not None or self._configured.has(name) or self._was_seen(name):
            return fault("lease_offline", "The lease is not connected to the relay.")
        return fault("lease_not_found", "No lease of that name or id is at the relay.")

    def _report_contests(
        self, contests: frozenset[frozenset[str]], usurped: Mapping[str, str]
    ) -> None:
        """Log once, not once per answer, which names are contested."""
        state = (contests, usurped)
        if state == self._reported:
            return
        self._reported = state
        if contests:
            _log.warn(
                "The relay lists {count} name(s) for several leases each, alike but for case. Each"
                " is reachable in its own spelling only, or by id where that is not its alone;"
                " lease ids: {ids}",
                count=len(contests),
                ids=_some_ids(chain.from_iterable(contests)),
            )
        if usurped:
            _log.warn(
                "{count} pinned name(s) are held by another identity; lease ids: {ids}",
                count=len(usurped),
                ids=_some_ids(usurped.values()),
            )


def _as_gateway_error(failure: Failure) -> GatewayError:
    error = failure.value
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, WireError):
        return fault("relay_protocol_error", "The relay's directory cannot be read.")
    if isinstance(error, ConnectionClosed | CancelledError | TimeoutError):
        return fault("relay_unavailable", "The relay did not answer.")
    _log.failure("Asking for the relay's directory failed", failure)
    return fault("internal_error", "The relay's directory could not be read.")


def _some_ids(ids: Iterable[str]) -> str:
    listed = nsmallest(_MAX_LOGGED_IDS + 1, ids)
    return ", ".join(listed[:_MAX_LOGGED_IDS]) + (", …" if len(listed) > _MAX_LOGGED_IDS else "")


def _indexed(info: RelayInfo, before: LeaseIndex) -> Generator[int, None, _Indexed]:
    """Indexes an answer and compares it with the one before; yields the units of work."""
    index = LeaseIndex(before)
    yield from index.add_all(info.leases)
    departed: deque[str] = deque(maxlen=MAX_DEPARTED)
    for address in before.addresses():
        if not index.has(address):
            departed.append(address)
        yield 1
    contests: set[frozenset[str]] = set()
    for contest in index.contested.values():
        contests.add(frozenset(contest.ids))
        yield 1
    return _Indexed(info, index, list(departed), frozenset(contests))
