"""What ``portal-gateway keys`` does, once its command line was read."""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from functools import partial
from secrets import token_bytes, token_hex
from typing import Any, Final, NoReturn, TypeVar

from portal_gateway.config.auth_section import MAX_DESCRIPTION
from portal_gateway.config.model import Config, key_digest
from portal_gateway.policy.api_key_text import RANDOM_BYTES, key_text
from portal_gateway.store.api_key_rows import (
    StoredKey,
    insert_key,
    list_keys,
    read_key,
    revoke_key,
    rotate_key,
)
from portal_gateway.store.database import Database, DatabaseUnavailable
from portal_gateway.store.threads import ThisThread

__all__ = ["act"]

T = TypeVar("T")

_ID_BYTES: Final = 8
"""Random bytes of a key's id: ids tell keys apart, and nothing about them."""

_HEADINGS: Final[tuple[str, ...]] = (
    "ID",
    "STATE",
    "SCOPES",
    "PLAN",
    "CREATED",
    "LAST USED",
    "DESCRIPTION",
)


def act(name: str, config: Config, options: argparse.Namespace) -> None:
    """Do what the command ``name`` asks for. Raises SystemExit with a message where it cannot."""
    where = config.auth.database
    if where is None:
        _fail(
            f"{options.config} has no API keys in a database; that is"
            " auth: {keys: {database: {enabled: true}}}"
        )
    database = Database(where.database(config.database), ThisThread())
    try:
        getattr(_Actions(database, as_json=options.json), name)(options)
    except DatabaseUnavailable as error:
        _fail(f"the database cannot be used: {error}")
    finally:
        database.close()


class _Actions:
    """What can be done with the keys of one database."""

    def __init__(self, database: Database, *, as_json: bool) -> None:
        self._do = database.run_here
        self._as_json = as_json

    def create(self, options: argparse.Namespace) -> None:
        now = int(time.time())
        expires_at = None if options.expires is None else options.expires(now)
        key = StoredKey(
            f"key_{token_hex(_ID_BYTES)}",
            options.description,
            frozenset(options.scopes),
            options.plan,
            None if options.lease is None else tuple(options.lease),
            now,
            expires_at,
        )
        if not key.description.isprintable() or len(key.description) > MAX_DESCRIPTION:
            _fail(f"a description has at most {MAX_DESCRIPTION} printable characters")
        if expires_at is not None and expires_at <= now:
            _fail("the key would have expired already")
        secret = key_text(token_bytes(RANDOM_BYTES))
        self._do(partial(insert_key, key=key, digest=key_digest(secret.encode("ascii"))))
        self._show_secret(key, secret)

    def list(self, _options: argparse.Namespace) -> None:
        keys = self._do(list_keys)
        if self._as_json:
            _print_json([_told(key) for key in keys])
            return
        rows = [_HEADINGS]
        rows += [_row(key) for key in keys]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            print("  ".join(cells).rstrip())

    def show(self, options: argparse.Namespace) -> None:
        self._show(_known(self._do(partial(read_key, key_id=options.id)), options.id))

    def revoke(self, options: argparse.Namespace) -> None:
        now = int(time.time())
        self._show(_known(self._do(partial(revoke_key, key_id=options.id, now=now)), options.id))

    def rotate(self, options: argparse.Namespace) -> None:
        secret = key_text(token_bytes(RANDOM_BYTES))
        rotated = self._do(
            partial(
                rotate_key,
                key_id=options.id,
                digest=key_digest(secret.encode("ascii")),
                now=int(time.time()),
                grace=int(options.grace),
            )
        )
        if rotated is None:
            key = _known(self._do(partial(read_key, key_id=options.id)), options.id)
            _fail(f"{key.id} was revoked: create another key")
        self._show_secret(rotated, secret)

    def _show(self, key: StoredKey) -> None:
        told = _told(key)
        if self._as_json:
            _print_json(told)
            return
        for name, value in told.items():
            shown = ", ".join(value) if isinstance(value, list) else value
            print(f"{name + ':':14}{'-' if shown is None or shown == '' else shown}")

    def _show_secret(self, key: StoredKey, secret: str) -> None:
        if self._as_json:
            _print_json({"key": secret, **_told(key)})
            return
        # Alone on standard output, so that it can be piped to where secrets are kept.
        print(secret)
        print(f"{key.id}: this key is not shown again", file=sys.stderr)


def _known(key: StoredKey | None, key_id: str) -> StoredKey:
    if key is None:
        # An id that is none may be a key, which has no place in a terminal's history twice.
        shown = repr(key_id) if key_id.startswith("key_") else "that was given"
        _fail(f"there is no key with the id {shown}; portal-gateway keys list shows them")
    return key


def _told(key: StoredKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "state": _state(key),
        "description": key.description,
        "scopes": sorted(key.scopes),
        "plan": key.plan,
        "leases": None if key.leases is None else list(key.leases),
        "created_at": _time(key.created_at),
        "expires_at": _time(key.expires_at),
        "revoked_at": _time(key.revoked_at),
        "last_used_at": _time(key.last_used_at),
    }


def _row(key: StoredKey) -> tuple[str, ...]:
    scopes = ",".join(sorted(key.scopes))
    times = (_time(key.created_at) or "", _time(key.last_used_at) or "never")
    return (key.id, _state(key), scopes, key.plan or "-", *times, key.description)


def _state(key: StoredKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= time.time():
        return "expired"
    return "good"


def _time(unix: int | None) -> str | None:
    if unix is None:
        return None
    return datetime.fromtimestamp(unix, UTC).isoformat().replace("+00:00", "Z")


def _print_json(told: object) -> None:
    print(json.dumps(told, indent=2, ensure_ascii=False))


def _fail(why: str) -> NoReturn:
    raise SystemExit(f"portal-gateway: {why}")
