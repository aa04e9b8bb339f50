"""What ``portal-gateway quota show`` does: it asks the store as a gateway would, and prints."""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater

from portal_gateway import service
from portal_gateway.config.database import DatabaseSection
from portal_gateway.config.model import Config, key_digest
from portal_gateway.config.names import JWT_KEY_ID_PREFIX
from portal_gateway.config.rate_limits import RedisSection
from portal_gateway.exchange import Caller
from portal_gateway.frontend.quota_keeper import used_in
from portal_gateway.frontend.rules import make_redis
from portal_gateway.policy.quota_counts import Account, Count, Current
from portal_gateway.policy.quota_words import quota_members
from portal_gateway.policy.quotas import Quotas
from portal_gateway.store.api_key_rows import read_key
from portal_gateway.store.database import Database, DatabaseUnavailable
from portal_gateway.store.quota_rows import sync_rows
from portal_gateway.store.quota_store import StoreUnavailable, Totals
from portal_gateway.store.threads import ThisThread

__all__ = ["show"]

T = TypeVar("T")

_LOOKS: Final = 40
_LOOK_INTERVAL: Final = 0.05
"""Redis is looked at so often until it is there: 2 s."""


def show(config: Config, options: argparse.Namespace) -> None:
    """Print the quotas of the key ``options.key``, and what of them is used.

    Raises ``SystemExit`` with a message where there is no such key, or the store cannot be asked.
    """
    caller = _caller(config, options.key, options.plan)
    now = time.time()
    account = Account(caller.key_id)
    account.bring_up(Quotas(config.quotas).of(caller), now)
    counts = [count for _, count in account.current]
    for count, totals in zip(counts, _read(config, counts, now), strict=True):
        count.learn(totals)
    if options.json:
        members = {"key_id": caller.key_id, "quotas": list(quota_members(account.current))}
        print(json.dumps(members, indent=2))
    else:
        print("\n".join(_lines(caller.key_id, account.current)))


def _caller(config: Config, written: str, plan: str) -> Caller:
    digest = key_digest(written.encode("utf-8", "surrogateescape"))
    for key in config.auth.keys:
        if key.id == written:
            return Caller(key.id, plan=plan, digest=key.digest)
        if key.digest == digest:
            # It stands in the shell's history now. Let it not become a habit.
            raise SystemExit(f"portal-gateway: this is an API key; write its id, {key.id}")
    if config.auth.jwt is not None and written.startswith(JWT_KEY_ID_PREFIX):
        return Caller(written, plan=plan)
    if config.auth.database is not None:
        stored = _in_database(
            config.auth.database.database(config.database), partial(read_key, key_id=written)
        )
        if stored is not None:
            return Caller(stored.id, plan=plan or stored.plan)
    raise SystemExit("portal-gateway: there is no key with this id")


def _read(config: Config, counts: Sequence[Count], now: float) -> list[Totals]:
    if not counts:
        return []
    redis = config.rate_limit.storage.redis
    if redis is not None and config.quotas.storage != "database":
        return _read_redis(redis, counts)
    return _read_database(config, counts, now)


def _read_database(config: Config, counts: Sequence[Count], now: float) -> list[Totals]:
    wanted = [used_in(count) for count in counts]
    return _in_database(
        config.database,
        partial(sync_rows, writer="", number=0, added=[], wanted=wanted, now=now),
    )


def _in_database(section: DatabaseSection, work: Callable[[Connection], T]) -> T:
    database = Database(section, ThisThread())
    try:
        return database.run_here(work)
    except DatabaseUnavailable as error:
        raise SystemExit(f"portal-gateway: the database cannot be used: {error}") from None
    finally:
        database.close()


def _read_redis(settings: RedisSection, counts: Sequence[Count]) -> list[Totals]:
    # Its library imports the reactor, which runs for this question only.
    from portal_gateway.store.shared_quotas import SharedQuotas  # noqa: PLC0415

    found: list[list[Totals] | StoreUnavailable] = []

    @inlineCallbacks
    def read(reactor: Any) -> Any:
        redis = make_redis(settings, reactor)
        redis.start()
        for _ in range(_LOOKS):
            if redis.usable:
                break
            yield deferLater(reactor, _LOOK_INTERVAL)
        asked: Deferred[list[Totals]] = SharedQuotas(redis).sync(
            0, [], [used_in(count) for count in counts]
        )
        try:
            found.append((yield asked))
        except StoreUnavailable as error:
            found.append(error)
        redis.close()

    service.ask(read)
    (answer,) = found
    if isinstance(answer, StoreUnavailable):
        raise SystemExit(f"portal-gateway: Redis cannot be used: {answer}")
    return answer


def _lines(key_id: str, current: Current) -> list[str]:
    """What is told to people."""
    if not current:
        return [f"{key_id}: no quota holds for this key"]
    lines = [key_id]
    for quota in quota_members(current):
        lines.append(f"  {quota['period']}, {quota['span']}, anew at {quota['resets_at']}")
        for unit, words in (("requests", "requests"), ("bandwidth", "bytes of bandwidth")):
            use = quota.get(unit)
            if use is not None:
                lines.append(
                    f"    {use['used']} of {use['limit']} {words}, {use['remaining']} left"
                )
    return lines
