"""The live leases of one relay, as its own answers tell: who may be reached under which name
right now.

The relay is asked every few seconds, and at once for a name that its last answer did not have.
There is at most one question in flight and everybody who waits shares its answer, so strangers
who ask for made-up names cost the relay one conversation after the other, never many at a time.
Which lease a name means is decided in ``lease_table``; this module decides how long an answer is
believed, and what is said about a name that nobody has.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.lease_table import LeaseTable
from portal_gateway.wire.errors import WireError
from portal_gateway.wire.identity import is_lease_id
from portal_gateway.wire.limits import MAX_LEASE_NAME_BYTES
from portal_gateway.wire.messages import ListedLease, RelayInfo

__all__ = [
    "ANSWER_LIFETIME",
    "MAX_DEPARTED",
    "MAX_UNKNOWN",
    "REFRESH_INTERVAL",
    "SEEN_LIFETIME",
    "UNKNOWN_LIFETIME",
    "Directory",
    "DirectoryFigures",
]

REFRESH_INTERVAL = 5.0
"""Seconds between two questions: a lease that left is noticed well within its 30 s lifetime."""

ANSWER_LIFETIME = 15.0
"""Seconds an answer is believed: two refreshes may fail before every lease of it is forgotten."""

UNKNOWN_LIFETIME = 1.0
"""Seconds that "nobody has this name" is remembered: short enough not to delay a lease that just
came."""

MAX_UNKNOWN = 1024
"""Unknown names remembered at once. Names are bounded by MAX_LEASE_NAME_BYTES, and with both, so is
their memory."""

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
    unknown_names: int
    departed_names: int
    questions: int
    answered_at: float | None
    last_error: str | None


class Directory:
    """The leases that one relay lists.

    ``ask`` puts the question and has its own time limit; ``pins`` maps names to the only lease id
    each may mean; ``configured`` holds further names that the configuration knows, so that they
    are offline rather than unknown while they are away. Stranger's names are never logged, only
    ids.
    """

    def __init__(
        self,
        ask: Callable[[], Deferred[RelayInfo]],
        clock: IReactorTime,
        pins: Mapping[str, str] | None = None,
        *,
        configured: Set[str] = frozenset(),
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._pins = dict(pins or {})
        self._configured = configured
        self._listed: Sequence[ListedLease] = ()
        self._table = LeaseTable((), self._pins)
        self._skipped = 0
        self._answered_at: float | None = None
        self._believed_until = float("-inf")
        self._last_error: str | None = None
        self._questions = 0
        self._question: Deferred[RelayInfo] | None = None
        self._waiting: dict[Deferred[None], None] = {}
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._departed: OrderedDict[str, float] = OrderedDict()
        self._polling: LoopingCall | None = None
        self._reported: tuple[object, object] = ((), {})

    def use(self, pins: Mapping[str, str], configured: Set[str]) -> None:
        """Let names mean what another configuration says."""
        self._configured = configured
        if pins != self._pins:
            self._pins = dict(pins)
            self._table = LeaseTable(self._listed, self._pins)

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
        self._remember_departed(self._table.addresses())
        self._listed = ()
        self._table = LeaseTable((), self._pins)
        self._skipped = 0
        self._believed_until = float("-inf")
        self._unknown.clear()
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

    def names_of(self, lease: ListedLease) -> tuple[str, ...]:
        """All that a lease of the last answer is known by, what it is called first."""
        return self._table.names_of(lease)

    def resolve(self, name: str) -> Deferred[ListedLease]:
        """The lease that ``name`` (or id) means; asks the relay about a name that it did not list.

        Fails with a GatewayError: ``lease_not_found``; ``lease_offline`` for a lease that is
        configured or was seen within SEEN_LIFETIME; ``identity_mismatch`` when a pinned name is
        held by another identity only; or what went wrong with the question
        (``relay_unavailable``, ``relay_protocol_error``).
        """
        lease = self.find(name)
        if lease is not None:
            return succeed(lease)
        if not name or len(name) > MAX_LEASE_NAME_BYTES or self._is_known_unknown(name):
            return fail(self._absence(name))
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
            contested=len(self._table.contested),
            usurped=len(self._table.usurped),
            unknown_names=len(self._unknown),
            departed_names=len(self._departed),
            questions=self._questions,
            answered_at=self._answered_at,
            last_error=self._last_error,
        )

    # Asking.

    def _put_question(self) -> None:
        self._questions += 1
        question = maybeDeferred(self._ask)
        self._question = question
        question.addCallbacks(self._answered, self._not_answered, (question,), {}, (question,), {})

    def _answered(self, info: RelayInfo, question: Deferred[RelayInfo]) -> None:
        if self._question is not question:
            return
        self._question = None
        now = self._clock.seconds()
        table = LeaseTable(info.leases, self._pins)
        self._remember_departed(self._table.addresses() - table.addresses())
        self._listed = info.leases
        self._table = table
        self._skipped = info.skipped
        self._answered_at = now
        self._believed_until = now + ANSWER_LIFETIME
        self._last_error = None
        self._report_contests(table)
        self._settle(None)

    def _not_answered(self, failure: Failure, question: Deferred[RelayInfo]) -> None:
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

    # What is remembered, and what is said about a name that nobody has.

    def _find_in_new_answer(self, name: str) -> ListedLease:
        lease = self.find(name)
        if lease is not None:
            return lease
        self._unknown[name] = self._clock.seconds()
        self._unknown.move_to_end(name)
        if len(self._unknown) > MAX_UNKNOWN:
            self._unknown.popitem(last=False)
        raise self._absence(name)

    def _is_known_unknown(self, name: str) -> bool:
        asked = self._unknown.get(name)
        if asked is None:
            return False
        if self._clock.seconds() - asked < UNKNOWN_LIFETIME:
            return True
        del self._unknown[name]
        return False

    def _remember_departed(self, addresses: Set[str]) -> None:
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
        address = name if is_lease_id(name) else name.casefold()
        seen = self._departed.get(address)
        return seen is not None and self._clock.seconds() - seen <= SEEN_LIFETIME

    def _absence(self, name: str) -> GatewayError:
        if len(name) > MAX_LEASE_NAME_BYTES:
            return fault("lease_not_found", "No lease has a name of that length.")
        pinned = self._table.pinned_name(name)
        if pinned is not None and pinned in self._table.usurped:
            return fault(
                "identity_mismatch", "The lease's name is held by another identity than configured."
            )
        if pinned is not None or name in self._configured or self._was_seen(name):
            return fault("lease_offline", "The lease is not connected to the relay.")
        return fault("lease_not_found", "No lease of that name or id is at the relay.")

    def _report_contests(self, table: LeaseTable) -> None:
        """Log once, not once per answer, that the relay lists what it cannot have accepted."""
        state = (table.contested, table.usurped)
        if state == self._reported:
            return
        self._reported = state
        if table.contested:
            _log.warn(
                "The relay lists {count} name(s) for several leases each, which are therefore not"
                " reachable by name; lease ids: {ids}",
                count=len(table.contested),
                ids=_some_ids(lease_id for ids in table.contested for lease_id in ids),
            )
        if table.usurped:
            _log.warn(
                "{count} pinned name(s) are held by another identity; lease ids: {ids}",
                count=len(table.usurped),
                ids=_some_ids(table.usurped.values()),
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
    listed = list(islice(ids, _MAX_LOGGED_IDS + 1))
    return ", ".join(listed[:_MAX_LOGGED_IDS]) + (", …" if len(listed) > _MAX_LOGGED_IDS else "")
