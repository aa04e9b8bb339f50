"""API keys of the database, as the guards ask for them: remembered, or asked for.

A key that is remembered is answered at once. For another the database is asked, together with those
of other requests, which wait in the line of their client's network (`KeyQuestions`). Where too many
of one network wait already, its others are refused with 429.
What is remembered is forgotten when the database tells of a change: twice a second it is asked for
changes, and where it can call, it calls.

While the database is away, keys that are remembered are good until their time is over, and others
are refused with 503 at once: nobody can say that they are not good.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.config.database import DatabaseSection
from portal_gateway.config.model import key_digest
from portal_gateway.errors import GatewayError, fault
from portal_gateway.exchange import Caller
from portal_gateway.frontend.key_questions import KeyQuestions
from portal_gateway.frontend.key_use import KeyUse
from portal_gateway.policy.api_key_text import is_generated_key
from portal_gateway.policy.credentials import UNKNOWN_KEY, KeyEntry, key_entry
from portal_gateway.policy.key_cache import KeyCache
from portal_gateway.store.api_key_rows import (
    CHANNEL,
    Changes,
    FoundKey,
    UnreadableKey,
    changes_since,
    find_secrets,
)
from portal_gateway.store.database import Database, DatabaseUnavailable, postgres_parameters
from portal_gateway.store.notifications import Notifications
from portal_gateway.wire.ip_addresses import network_of

__all__ = ["POLL_INTERVAL", "Listening", "StoredKeys", "make_stored_keys"]

_log = Logger()

Found = Caller | GatewayError

Answers = Mapping[bytes, KeyEntry | None]
"""The entry of each key that was asked for, ``None`` where the database cannot tell now."""

POLL_INTERVAL: Final = 0.5
"""Seconds from one question for changes to the next: so a key is revoked everywhere within one."""


class Listening(Protocol):
    """What calls when there are changes."""

    def start(self) -> None:
        """Call from now on."""

    def stop(self) -> Deferred[None]:
        """Call no more; fires when that is certain."""


class StoredKeys(MultiService):
    """Looks keys up in ``database``, and remembers them for ``ttl`` seconds.

    ``listen`` makes what calls a function when the database has changes to tell of. ``on_change``
    hears of the ids of keys that are another now, ``None`` for any.
    """

    def __init__(
        self,
        database: Database,
        ttl: float,
        reactor: Any,
        wall_clock: Callable[[], float],
        listen: Callable[[Callable[[], object]], Listening] | None = None,
    ) -> None:
        super().__init__()
        self._database = database
        self._seconds: Callable[[], float] = reactor.seconds
        self._wall_clock = wall_clock
        self._cache = KeyCache(ttl)
        self.questions = KeyQuestions(self._ask)
        self._changes = 0
        self._number: int | None = None
        self._use = KeyUse(database, reactor)
        self._use.setServiceParent(self)
        self._polling = LoopingCall(self.poll)
        self._polling.clock = reactor
        self._under_way: Deferred[None] | None = None
        self._poll_again = False
        self._listening = None if listen is None else listen(self._heard)
        self.on_change: Callable[[tuple[str, ...] | None], object] = lambda _key_ids: None
        self.available = True

    # For the guard.

    def look_up(
        self,
        key: bytes,
        now: float,
        address: str = "",
        is_over: Callable[[str], bool] | None = None,
    ) -> Found | Deferred[Found]:
        """Whose key this is, at the unix time ``now``, or the refusal.

        A Deferred only where the database has to be asked. A key that it cannot have made is not
        asked for. ``address`` is the client's; ``is_over`` says whether its network is over its
        limit of failed attempts, and so waits behind the others.
        """
        if not is_generated_key(key):
            return UNKNOWN_KEY.verdict(now)
        digest = key_digest(key)
        found = self._from_memory(digest, now)
        if found is not None:
            return found
        network = network_of(address)
        behind = is_over is not None and is_over(network)
        answer = self.questions.ask(digest, network, behind=behind)
        if isinstance(answer, GatewayError):
            return answer
        return answer.addCallback(self._verdict_then)

    def look_up_again(self, digest: bytes, now: float) -> Found | Deferred[Found]:
        """The same for a key that was found before, of which only the SHA-256 was kept.

        It is asked for before all others, and waits however many there are: a key that was revoked
        must not be good because somebody asks for many.
        """
        found = self._from_memory(digest, now)
        if found is not None:
            return found
        return self.questions.ask_first(digest).addCallback(self._verdict_then)

    def _from_memory(self, digest: bytes, now: float) -> Found | None:
        """The verdict on a key that is remembered, ``None`` where the database has to be asked."""
        entry = self._cache.find(digest, self._seconds())
        if entry is not None:
            return self._verdict(entry, now)
        # Who asks for changes finds out when it is back, and keeps no request waiting.
        return None if self.available else _unavailable()

    def _verdict_then(self, entry: KeyEntry | None) -> Found:
        # The key may have expired meanwhile.
        return _unavailable() if entry is None else self._verdict(entry, self._wall_clock())

    def _verdict(self, entry: KeyEntry, now: float) -> Found:
        found = entry.verdict(now)
        if isinstance(found, Caller):
            self._use.note(found.key_id, now)
        return found

    # Asking.

    def _ask(self, digests: Sequence[bytes]) -> Deferred[Answers]:
        if not self.available:
            # It went away while these were in line.
            return succeed(dict.fromkeys(digests))
        asked = self._database.run(partial(find_secrets, digests=digests))
        answers: Deferred[Answers] = asked.addCallbacks(
            self._answered,
            self._not_answered,
            callbackArgs=(digests, self._changes),
            errbackArgs=(digests,),
        )
        return answers.addErrback(_defect, digests)

    def _answered(
        self,
        found: Mapping[bytes, FoundKey | UnreadableKey],
        digests: Sequence[bytes],
        changes: int,
    ) -> Answers | Deferred[Answers]:
        self._tell(available=True)
        if changes != self._changes:
            # What was read may be from before the change.
            return self._ask(digests)
        answers: dict[bytes, KeyEntry | None] = {}
        now = self._seconds()
        for digest in digests:
            answers[digest] = entry = _entry_of(found.get(digest), digest)
            if entry is not None:
                self._cache.learn(digest, entry, now)
        return answers

    def _not_answered(self, failure: Failure, digests: Sequence[bytes]) -> Answers:
        self._away(failure)
        return dict.fromkeys(digests)

    def _tell(self, *, available: bool, why: str = "") -> None:
        if available != self.available:
            self.available = available
            if available:
                _log.info("API keys of the database can be looked up again")
            else:
                _log.warn("API keys of the database cannot be looked up: {why}", why=why)

    # Changes.

    def poll(self) -> Deferred[None]:
        """Ask for changes, where that is not being done already."""
        if self._under_way is not None:
            return self._under_way
        asked = self._database.run(partial(changes_since, number=self._number))
        polled = asked.addCallbacks(self._learn_changes, self._away).addErrback(_go_on)
        self._under_way = polled
        polled.addBoth(self._polled)
        return polled

    def _polled(self, result: Any) -> Any:
        self._under_way = None
        if self._poll_again:
            self._heard()
        return result

    def _heard(self) -> None:
        """The database says that there are changes."""
        if self._under_way is not None:
            # What is being read may be from before them.
            self._poll_again = True
        elif self.running:
            self._poll_again = False
            self.poll()

    def _learn_changes(self, changes: Changes) -> None:
        self._tell(available=True)
        first = self._number is None
        self._number = changes.number
        if first or changes.key_ids != ():
            self._changes += 1
            self._cache.changed(None if first else changes.key_ids)
        if not first and changes.key_ids != ():
            self.on_change(changes.key_ids)

    def _away(self, failure: Failure) -> None:
        failure.trap(DatabaseUnavailable)
        self._tell(available=False, why=str(failure.value))

    # The service.

    def startService(self) -> None:
        """Ask for changes from now on."""
        super().startService()
        self._polling.start(POLL_INTERVAL)
        if self._listening is not None:
            self._listening.start()

    def stopService(self) -> Deferred[Any]:
        """Ask no more; fires when nothing is called or written any more."""
        ended = [super().stopService()]
        if self._polling.running:
            self._polling.stop()
        if self._listening is not None:
            ended.append(self._listening.stop())
        return gatherResults(ended, consumeErrors=True)


def make_stored_keys(
    database: Database,
    where: DatabaseSection,
    ttl: float,
    reactor: Any,
    wall_clock: Callable[[], float],
) -> StoredKeys:
    """Looks keys up in ``database``, which is opened by ``where``, and is called by PostgreSQL."""
    if where.driver == "sqlite":
        return StoredKeys(database, ttl, reactor, wall_clock)

    def listen(heard: Callable[[], object]) -> Notifications:
        return Notifications(postgres_parameters(where), CHANNEL, reactor, heard)

    return StoredKeys(database, ttl, reactor, wall_clock, listen)


def _entry_of(found: FoundKey | UnreadableKey | None, digest: bytes) -> KeyEntry | None:
    if found is None:
        return UNKNOWN_KEY
    if isinstance(found, UnreadableKey):
        return _unreadable(found.key_id)
    key = found.key
    if key.revoked_at is not None:
        return UNKNOWN_KEY
    ends = [end for end in (key.expires_at, found.good_until) if end is not None]
    try:
        expires_at = datetime.fromtimestamp(min(ends), UTC) if ends else None
    except (ValueError, OverflowError, OSError):
        return _unreadable(key.id)
    caller = Caller(
        key.id,
        key.scopes,
        key.description,
        plan=key.plan,
        leases=key.leases,
        source="database",
        digest=digest,
    )
    return key_entry(caller, expires_at)


def _unreadable(key_id: str) -> KeyEntry | None:
    _log.error("the API key {id} of the database cannot be read", id=key_id)
    return None


def _unavailable() -> GatewayError:
    return fault("keys_unavailable", "API keys cannot be looked up now; try again")


def _defect(failure: Failure, digests: Sequence[bytes]) -> Answers:
    _log.failure("API keys could not be looked up", failure)
    return dict.fromkeys(digests)


def _go_on(failure: Failure) -> None:
    """A defect now must not end what is done again and again."""
    _log.failure("the database was asked in vain", failure)
