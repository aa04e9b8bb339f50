"""API keys in the database: their tables, and what is done with them in one transaction.

A key has one or more secrets, of which only the SHA-256 is here: after a rotation the old one is
good for a while beside the new one. Every change is written down under a number, so that each
process can ask what changed since it last did.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from portal_gateway.store.quota_rows import METADATA

__all__ = [
    "API_KEYS",
    "CHANNEL",
    "Changes",
    "FoundKey",
    "StoredKey",
    "UnreadableKey",
    "changes_since",
    "find_secrets",
    "insert_key",
    "list_keys",
    "note_use",
    "read_key",
    "revoke_key",
    "rotate_key",
]

CHANNEL: Final = "portal_gateway_api_keys"
"""What PostgreSQL notifies of each change."""

# BIGINT would not count up by itself in SQLite.
_NUMBER: Final = BigInteger().with_variant(Integer, "sqlite")

API_KEYS: Final = Table(
    "api_keys",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("description", String(200), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("plan", String(64), nullable=False),
    Column("leases", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),
)

API_KEY_SECRETS: Final = Table(
    "api_key_secrets",
    METADATA,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("key_id", String(64), ForeignKey("api_keys.id"), nullable=False, index=True),
    Column("good_until", BigInteger),
)

API_KEY_CHANGES: Final = Table(
    "api_key_changes",
    METADATA,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("key_id", String(64), nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

_CHANGES_KEPT: Final = 86_400
"""Seconds for which changes are kept. Who heard nothing for longer forgets all that it knew."""

_MOST_CHANGES: Final = 1_000
"""Changed keys that are told one by one; of more, that there are many."""


class StoredKey(NamedTuple):
    """A key without its secrets. Times are unix seconds; ``leases`` None is no restriction."""

    id: str
    description: str
    scopes: frozenset[str]
    plan: str
    leases: tuple[str, ...] | None
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None


class FoundKey(NamedTuple):
    """The key of a secret, and until when that secret is good: None for as long as the key is."""

    key: StoredKey
    good_until: int | None


class UnreadableKey(NamedTuple):
    """A row that cannot be read as a key."""

    key_id: str


class Changes(NamedTuple):
    """What changed: the ids of keys, or None where that cannot be told; the last number."""

    key_ids: tuple[str, ...] | None
    number: int


def insert_key(connection: Connection, key: StoredKey, digest: bytes) -> None:
    """Add a key and its secret."""
    connection.execute(
        insert(API_KEYS).values(
            id=key.id,
            description=key.description,
            scopes=_list(sorted(key.scopes)),
            plan=key.plan,
            leases=None if key.leases is None else _list(key.leases),
            created_at=key.created_at,
            expires_at=key.expires_at,
        )
    )
    connection.execute(insert(API_KEY_SECRETS).values(digest=digest, key_id=key.id))
    _note_change(connection, key.id, key.created_at)


def find_secrets(
    connection: Connection, digests: Sequence[bytes]
) -> dict[bytes, FoundKey | UnreadableKey]:
    """The keys whose secrets have these SHA-256; a digest that no key has is left out."""
    rows = connection.execute(
        select(*API_KEYS.c, API_KEY_SECRETS.c.good_until, API_KEY_SECRETS.c.digest)
        .join(API_KEY_SECRETS)
        .where(API_KEY_SECRETS.c.digest.in_(digests))
    )
    return {bytes(row.digest): _found(row) for row in rows}


def _found(row: Any) -> FoundKey | UnreadableKey:
    try:
        return FoundKey(_key(row), row.good_until)
    except (ValueError, TypeError):
        # Of a row that somebody else wrote: the others that are asked for with it are answered.
        return UnreadableKey(row.id)


def list_keys(connection: Connection) -> list[StoredKey]:
    """All keys, the oldest first."""
    rows = connection.execute(select(API_KEYS).order_by(API_KEYS.c.created_at, API_KEYS.c.id))
    return [_key(row) for row in rows]


def read_key(connection: Connection, key_id: str) -> StoredKey | None:
    """The key of an id."""
    row = connection.execute(select(API_KEYS).where(API_KEYS.c.id == key_id)).first()
    return None if row is None else _key(row)


def revoke_key(connection: Connection, key_id: str, now: int) -> StoredKey | None:
    """Make a key good for nothing, for good; as it is afterwards. A second time changes nothing."""
    done = connection.execute(
        update(API_KEYS)
        .where(API_KEYS.c.id == key_id, API_KEYS.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    if done.rowcount:
        _note_change(connection, key_id, now)
    return read_key(connection, key_id)


def rotate_key(
    connection: Connection, key_id: str, digest: bytes, now: int, grace: int
) -> StoredKey | None:
    """Give a key another secret; those that it has are good for ``grace`` seconds more at most.

    None, and nothing is changed, where there is no such key or it was revoked.
    """
    key = read_key(connection, key_id)
    if key is None or key.revoked_at is not None:
        return None
    until = now + grace
    secrets = API_KEY_SECRETS.c
    of_key = secrets.key_id == key_id
    # What is over already need not be kept: it would make a list without end.
    connection.execute(delete(API_KEY_SECRETS).where(of_key, secrets.good_until <= now))
    connection.execute(
        update(API_KEY_SECRETS)
        .where(of_key, or_(secrets.good_until.is_(None), secrets.good_until > until))
        .values(good_until=until)
    )
    connection.execute(insert(API_KEY_SECRETS).values(digest=digest, key_id=key_id))
    _note_change(connection, key_id, now)
    return key


def note_use(connection: Connection, used: Sequence[tuple[str, int]]) -> None:
    """Write down when keys were last used; never an earlier time than is there."""
    connection.execute(
        update(API_KEYS)
        .where(
            API_KEYS.c.id == bindparam("used_id"),
            func.coalesce(API_KEYS.c.last_used_at, 0) < bindparam("used_at"),
        )
        .values(last_used_at=bindparam("used_at")),
        # In one order, so that processes do not wait for each other in a circle.
        [{"used_id": key_id, "used_at": at} for key_id, at in sorted(used)],
    )


def changes_since(connection: Connection, number: int | None) -> Changes:
    """What changed after the change of that number; with None only the last number.

    A number that is not written down any more cannot be told from.
    """
    last = _end(connection, func.max)
    if number is None or last == number:
        return Changes((), last)
    later = API_KEY_CHANGES.c.number > number
    # Each key once before the limit: of a limited number of changes nobody could tell how many
    # keys are not among them.
    rows = connection.execute(
        select(API_KEY_CHANGES.c.key_id).where(later).distinct().limit(_MOST_CHANGES + 1)
    )
    key_ids = tuple(sorted(row.key_id for row in rows))
    # Read last, or what another process deletes between two statements would be missing above.
    first = _end(connection, func.min)
    if last < number or first > number + 1 or len(key_ids) > _MOST_CHANGES:
        return Changes(None, last)
    return Changes(key_ids, last)


def _end(connection: Connection, of: Callable[..., Any]) -> int:
    """The lowest or highest number that is written down; 0 where there is none."""
    return connection.execute(select(of(API_KEY_CHANGES.c.number))).scalar() or 0


def _note_change(connection: Connection, key_id: str, now: int) -> None:
    if connection.dialect.name == "postgresql":
        # One at a time: a number that is committed after a higher one would never be looked for.
        connection.execute(text("LOCK TABLE api_key_changes IN EXCLUSIVE MODE"))
        connection.execute(text(f"NOTIFY {CHANNEL}"))
    old = API_KEY_CHANGES.c.changed_at < now - _CHANGES_KEPT
    newest = select(func.max(API_KEY_CHANGES.c.number)).scalar_subquery()
    # The newest stays, so that numbers go on from it.
    connection.execute(delete(API_KEY_CHANGES).where(old, API_KEY_CHANGES.c.number < newest))
    connection.execute(insert(API_KEY_CHANGES).values(key_id=key_id, changed_at=now))


def _key(row: Any) -> StoredKey:
    return StoredKey(
        row.id,
        row.description,
        frozenset(json.loads(row.scopes)),
        row.plan,
        None if row.leases is None else tuple(json.loads(row.leases)),
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.last_used_at,
    )


def _list(items: Iterable[str]) -> str:
    return json.dumps(list(items))
