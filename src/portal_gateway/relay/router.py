"""From the lease that a request names to the pool of connections that reaches it."""

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.directory import Directory
from portal_gateway.relay.pool import Pool
from portal_gateway.relay.session import RelaySession

__all__ = ["MAX_POOLS", "Relay", "Router"]

MAX_POOLS = 1024
"""Pools kept per relay before those without a connection are let go; one that is gone costs its
next request a dial."""

_GRAVITY = ("lease_not_found", "relay_unavailable", "lease_offline", "identity_mismatch")
"""When no relay has the lease, the answer that says most, last. A relay that is away may hold the
lease that the others do not know, so its absence outweighs their ignorance."""


class Relay:
    """One relay: its session, its directory, and a pool for each lease in use there."""

    def __init__(
        self, session: RelaySession, directory: Directory, make_pool: Callable[[str], Pool]
    ) -> None:
        self.session = session
        self.directory = directory
        self._make_pool = make_pool
        self._pools: dict[str, Pool] = {}
        session.on_connected.append(lambda _connection: directory.start())
        session.on_lost.append(lambda _reason: directory.stop())

    def start(self) -> None:
        """Connect, and keep connected; the directory is read while the session is up."""
        self.session.start()

    def stop(self) -> Deferred[None]:
        """Close every connection of this relay; fires when the session is gone."""
        self.directory.stop()
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        return self.session.stop()

    def pool(self, lease_id: str) -> Pool:
        """The pool of connections to a lease of this relay."""
        pool = self._pools.get(lease_id)
        if pool is None:
            if len(self._pools) >= MAX_POOLS:
                self._drop_unused()
            pool = self._pools[lease_id] = self._make_pool(lease_id)
        return pool

    def _drop_unused(self) -> None:
        unused = [
            lease_id
            for lease_id, pool in self._pools.items()
            if not (pool.idle or pool.active or pool.dialling or pool.queued)
        ]
        for lease_id in unused:
            self._pools.pop(lease_id).close()


class Router:
    """Finds the pool for a lease: a configured origin first, then the relays in their order."""

    def __init__(self, origins: Mapping[str, Pool], relays: Sequence[Relay]) -> None:
        self._origins = dict(origins)
        self._relays = tuple(relays)

    @property
    def ready(self) -> bool:
        """Whether there is any way upstream."""
        return bool(self._origins) or any(relay.session.connected for relay in self._relays)

    def find(self, lease: str) -> Pool | Deferred[Pool]:
        """The pool for ``lease``, at once where the lease is known, else after asking the relays.

        The Deferred fails with a `GatewayError`: ``lease_not_found``, ``lease_offline``,
        ``identity_mismatch`` or ``relay_unavailable``.
        """
        origin = self._origins.get(lease)
        if origin is not None:
            return origin
        for relay in self._relays:
            if relay.session.connected:
                listed = relay.directory.find(lease)
                if listed is not None:
                    return relay.pool(listed.id)
        return self._ask(lease)

    def _ask(self, lease: str) -> Deferred[Pool]:
        if not self._relays:
            return fail(fault("lease_not_found", "no lease of that name is configured"))
        questions = [self._ask_one(relay, lease) for relay in self._relays]
        answers = DeferredList(questions, fireOnOneCallback=True, consumeErrors=True)
        return answers.addCallback(_first_or_gravest)

    @staticmethod
    def _ask_one(relay: Relay, lease: str) -> Deferred[Pool]:
        return relay.directory.resolve(lease).addCallback(lambda listed: relay.pool(listed.id))


def _first_or_gravest(
    answers: tuple[Pool, int] | list[tuple[bool, Failure]],
) -> Pool:
    """What `DeferredList` gives: the first success, or all failures where there was none."""
    if isinstance(answers, tuple):
        return answers[0]
    errors = [failure.value for _success, failure in answers if failure.value is not None]
    raise max(errors, key=_gravity)


def _gravity(error: BaseException) -> int:
    code = error.cause.code if isinstance(error, GatewayError) else ""
    return _GRAVITY.index(code) if code in _GRAVITY else len(_GRAVITY)
