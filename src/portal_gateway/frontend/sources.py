"""Whom the guards ask: who judges tokens, looks keys up, counts; they outlive a configuration.

What two configurations say the same of is made once, and knows after a reload what it knew before.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.config.database import DatabaseSection
from portal_gateway.config.model import Config
from portal_gateway.config.rate_limits import RedisSection
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.quotas import QuotaParts, make_quotas
from portal_gateway.frontend.rules import make_redis
from portal_gateway.frontend.tokens import Tokens, make_tokens
from portal_gateway.policy.rate_limits import Tables
from portal_gateway.relay.retirement import Retirement
from portal_gateway.store.threads import Threads, WorkerThreads

if TYPE_CHECKING:
    from portal_gateway.frontend.stored_keys import StoredKeys
    from portal_gateway.store.database import Database
    from portal_gateway.store.redis import RedisScripts

__all__ = ["PreparedSources", "Sources"]

_log = Logger()


@dataclass
class _Opened:
    """A database, and the threads that it has to itself."""

    database: "Database"
    threads: Threads | None

    def close(self) -> None:
        if self.threads is not None:
            self.threads.stop()
        self.database.close()


@dataclass
class PreparedSources:
    """Those of one configuration. With each goes what it was made by."""

    redis: "RedisScripts | None" = None
    redis_by: RedisSection | None = None
    tokens: Tokens | None = None
    quotas: QuotaParts | None = None
    quotas_by: Hashable = None
    stored_keys: "StoredKeys | None" = None
    stored_keys_by: Hashable = None
    databases: dict[DatabaseSection, _Opened] = field(default_factory=dict)

    @property
    def services(self) -> list[IService]:
        """Those that run."""
        found: list[IService | None] = [
            None if self.tokens is None else self.tokens.source,
            self.stored_keys,
            None if self.quotas is None else self.quotas.keeper,
        ]
        return [each for each in found if each is not None]


class Sources(MultiService):
    """``tables`` are the buckets of the rate limits; ``now`` are the sources in use.

    `prepare` makes, which can fail and changes nothing; `use` takes it up, which cannot fail.
    ``threads`` are for databases, instead of some of their own.
    """

    def __init__(
        self, reactor: Any, wall_clock: Callable[[], float], threads: Threads | None = None
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._wall_clock = wall_clock
        self._threads = threads
        self._retirement = Retirement(reactor)
        self._ending: set[Deferred[Any]] = set()
        self.tables = Tables()
        self.now = PreparedSources()

    # From one configuration to the next.

    def prepare(self, config: Config) -> PreparedSources:
        """Make those of ``config`` that there are not yet. It may be called in another thread.

        Raises ``OSError`` and ``ValueError`` for a file of authorities that cannot be used.
        """
        made = PreparedSources()
        self._prepare_redis(made, config)
        self._prepare_tokens(made, config)
        self._prepare_quotas(made, config)
        self._prepare_stored_keys(made, config)
        return made

    def use(self, prepared: PreparedSources) -> None:
        """Ask these from now on, and end the others when they have written what they know."""
        before, self.now = self.now, prepared
        if before.redis is not None and before.redis is not prepared.redis:
            self._retirement.add(before.redis)
        if self.running and prepared.redis is not None and prepared.redis is not before.redis:
            prepared.redis.start()
        for service in prepared.services:
            if service not in before.services:
                self.addService(service)
        ended = [
            maybeDeferred(self.removeService, service)
            for service in before.services
            if service not in prepared.services
        ]
        opened = {id(each) for each in prepared.databases.values()}
        left = [each for each in before.databases.values() if id(each) not in opened]
        if ended or left:
            self._end(gatherResults(ended, consumeErrors=True), left)

    def _end(self, ended: Deferred[Any], databases: list[_Opened]) -> None:
        def close(result: object) -> None:
            self._ending.discard(ended)
            if isinstance(result, Failure):
                _log.failure("what a configuration needs no more did not end well", result)
            for each in databases:
                each.close()

        self._ending.add(ended)
        ended.addBoth(close)

    # Life.

    def startService(self) -> None:
        """Connect to Redis, and run what has to run."""
        if self.now.redis is not None:
            self.now.redis.start()
        super().startService()

    def stopService(self) -> Deferred[Any]:
        """Have everything written that is known, then let go of the stores."""
        Service.stopService(self)
        stopped = [maybeDeferred(service.stopService) for service in self]
        ended = gatherResults([*stopped, *self._ending], consumeErrors=True)
        return ended.addBoth(self._close)

    def _close(self, _result: object) -> Deferred[Any]:
        now = self.now
        if now.redis is not None:
            now.redis.close()
        for each in now.databases.values():
            each.close()
        if self._threads is not None:
            self._threads.stop()
        return self._retirement.close()

    @property
    def databases(self) -> "list[Database]":
        """Those that are open for the configuration in use."""
        return [opened.database for opened in self.now.databases.values()]

    def exchange_over(self, exchange: Exchange) -> None:
        """Count what is left to count of it."""
        quotas = self.now.quotas
        if quotas is not None:
            quotas.keeper.exchange_over(exchange)

    # Making.

    def _prepare_redis(self, made: PreparedSources, config: Config) -> None:
        before, section = self.now, config.rate_limit.storage.redis
        made.redis_by = section
        if section == before.redis_by:
            made.redis = before.redis
        elif section is not None:
            made.redis = make_redis(section, self._reactor)

    def _prepare_tokens(self, made: PreparedSources, config: Config) -> None:
        before, section = self.now.tokens, config.auth.jwt
        same = before is not None and before.section == section
        made.tokens = before if same else make_tokens(section, self._reactor)

    def _prepare_quotas(self, made: PreparedSources, config: Config) -> None:
        """What was used is kept from one configuration to the next."""
        if not config.quotas.any:
            return
        before = self.now
        in_redis = made.redis is not None and config.quotas.storage != "database"
        made.quotas_by = made.redis_by if in_redis else config.database
        if made.quotas_by == before.quotas_by and before.quotas is not None:
            made.quotas = before.quotas
            if not in_redis:
                self._open(config.database, made)
        else:
            made.quotas = make_quotas(
                config,
                made.redis,
                lambda: self._open(config.database, made),
                self._reactor,
                self._wall_clock,
            )

    def _prepare_stored_keys(self, made: PreparedSources, config: Config) -> None:
        section = config.auth.database
        if section is None:
            return
        where = section.database(config.database)
        database = self._open(where, made)
        made.stored_keys_by = (section, where)
        if made.stored_keys_by == self.now.stored_keys_by:
            made.stored_keys = self.now.stored_keys
            return
        # It takes a tenth of a second to import, which only who has a database pays.
        from portal_gateway.frontend.stored_keys import make_stored_keys  # noqa: PLC0415

        ttl = section.cache_ttl
        made.stored_keys = make_stored_keys(database, where, ttl, self._reactor, self._wall_clock)

    def _open(self, section: DatabaseSection, made: PreparedSources) -> "Database":
        """The database: one for all that say the same of it."""
        opened = made.databases.get(section) or self.now.databases.get(section)
        if opened is None:
            # As above.
            from portal_gateway.store.database import Database, threads_of  # noqa: PLC0415

            threads, own = self._threads, None
            if threads is None:
                threads = own = WorkerThreads(self._reactor, threads_of(section), "database")
            opened = _Opened(Database(section, threads, self._reactor), own)
        made.databases[section] = opened
        return opened.database
