"""The section ``auth``: keys in the file, keys in a database, and tokens."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from portal_gateway.config.database import DatabaseSection
from portal_gateway.config.database_section import DATABASE_KEYS, check_database
from portal_gateway.config.fields import Section, choice, list_of, sentence_of, true_or_false
from portal_gateway.config.jwt_section import JWT
from portal_gateway.config.key_database import KeyDatabase
from portal_gateway.config.model import DEFAULT_SCOPES, SCOPES, ApiKey, AuthSection, key_digest
from portal_gateway.config.names import api_key, key_id
from portal_gateway.config.networks import ip_allow
from portal_gateway.config.reading import Reader, Value
from portal_gateway.config.times import duration, timestamp
from portal_gateway.config.worded import reads
from portal_gateway.wire.ip_addresses import Network

__all__ = ["AUTH", "MAX_DESCRIPTION"]

MAX_DESCRIPTION: Final = 200
"""Characters of a key's description, which is shown in lists."""


class _Keys(NamedTuple):
    """What stands under ``auth.keys``, a list of keys or a mapping."""

    list: tuple[ApiKey, ...] = ()
    database: KeyDatabase | None = None


def _api_key(
    key: bytes,
    id: str | None = None,  # noqa: A002 - named as in the file
    description: str = "",
    scopes: Sequence[str] = tuple(DEFAULT_SCOPES),
    expires_at: datetime | None = None,
    ip_allow: Sequence[Network] = (),
) -> ApiKey:
    return ApiKey.of_digest(
        key,
        id=id,
        description=description,
        scopes=scopes,
        expires_at=expires_at,
        ip_allow=ip_allow,
    )


def _scopes_given(key: ApiKey, value: Value) -> None:
    if not key.scopes:
        value.at("scopes").refuse("a key needs a scope; leave scopes out for read and write")


def _keys_differ(found: Sequence[tuple[Value, ApiKey]]) -> None:
    """Refuse a key or id that an earlier entry has, and an id that is a key: ids are logged."""
    by_digest: dict[bytes, Value] = {}
    by_id: dict[str, Value] = {}
    for value, key in found:
        earlier = by_digest.setdefault(key.digest, value)
        if earlier is not value:
            value.at("key").refuse(
                f"the same key as {earlier.path} on line {earlier.at('key').line}"
            )
            continue
        earlier = by_id.setdefault(key.id, value)
        if earlier is not value:
            value.at("id").refuse(f"the same id as {earlier.path} on line {earlier.at('id').line}")
    for value, key in found:
        if key_digest(key.id.encode("ascii")) in by_digest:
            value.at("id").refuse("the id is an API key, and ids are written to logs")


_API_KEY = Section(
    _api_key,
    {
        "id": key_id,
        "key": api_key,
        "description": sentence_of(MAX_DESCRIPTION),
        "scopes": list_of(choice("scope", sorted(SCOPES)), expected="a list of scopes"),
        "expires_at": timestamp,
        "ip_allow": ip_allow,
    },
    required=["key"],
    check=_scopes_given,
)

_KEY_LIST = list_of(_API_KEY, expected="a list of API keys", check=_keys_differ)


def _key_database(
    *, enabled: bool = True, cache_ttl: float = KeyDatabase().cache_ttl, **own: Any
) -> tuple[bool, KeyDatabase]:
    return enabled, KeyDatabase(DatabaseSection(**own) if own else None, cache_ttl)


def _check_key_database(read: tuple[bool, KeyDatabase], value: Value) -> None:
    if read[1].own is not None:
        check_database(read[1].own, value)


_KEY_DATABASE = Section(
    _key_database,
    {"enabled": true_or_false, "cache_ttl": duration(1, 86_400), **DATABASE_KEYS},
    check=_check_key_database,
)


@reads("", below={"": _KEY_DATABASE})
def _enabled_key_database(value: Value) -> KeyDatabase | None:
    # What is switched off is still held to be right.
    enabled, found = _KEY_DATABASE(value)
    return found if enabled else None


_KEY_MAPPING = Section(
    _Keys,
    {
        "database": _enabled_key_database,
        "list": reads("list of API keys, as ``auth.keys`` itself may be")(_KEY_LIST),
    },
)


@reads(
    "list of API keys, each a mapping with the keys below; or a mapping with ``list`` and"
    " ``database``",
    below={"": _KEY_MAPPING, "[]": _API_KEY},
)
def _keys(value: Value) -> _Keys:
    """Reads the keys: a list of them, or where else they are with the list under ``list``."""
    if value.is_mapping:
        return _KEY_MAPPING(value)
    return _Keys(_KEY_LIST(value))


def _auth(keys: _Keys = _Keys(), **others: Any) -> AuthSection:  # noqa: B008 - a value
    return AuthSection(keys=keys.list, database=keys.database, **others)


AUTH: Reader[AuthSection] = Section(_auth, {"keys": _keys, "jwt": JWT})
"""The whole section."""
