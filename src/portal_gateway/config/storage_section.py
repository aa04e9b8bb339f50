"""The section ``rate_limit.storage``: its keys."""

import re
from typing import Any, NamedTuple, get_args

from portal_gateway.config.addresses import host_and_port
from portal_gateway.config.fields import (
    Section,
    choice,
    text,
    true_or_false,
    whole_number,
)
from portal_gateway.config.rate_limits import OnFailure, RedisSection, StorageSection
from portal_gateway.config.reading import Value
from portal_gateway.config.times import duration
from portal_gateway.config.upstream_tls import UpstreamTLS
from portal_gateway.config.upstream_tls_section import UPSTREAM_TLS_KEYS, authorities_are_asked
from portal_gateway.config.worded import Worded, reads

__all__ = ["storage"]

MOST_DATABASES = 65_535
"""The highest number of a Redis database; a server has 16 unless it is told otherwise."""

MOST_CONNECTIONS = 100
"""Connections to one Redis: commands do not wait for each other on one, so few are enough."""

_PREFIX = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def _tls(*, enabled: bool | None = None, **keys: Any) -> UpstreamTLS | None:
    """The section, or None where nothing was written or it is switched off."""
    if enabled is None:
        enabled = bool(keys)
    return UpstreamTLS(**keys) if enabled else None


def _tls_is_safe(tls: UpstreamTLS | None, value: Value) -> None:
    if tls is not None:
        authorities_are_asked(tls, value)


def _redis(addr: tuple[str, int], **others: Any) -> RedisSection:
    return RedisSection(host=addr[0], port=addr[1], **others)


def _user_has_password(redis: RedisSection, value: Value) -> None:
    if redis.username is not None and redis.password is None:
        value.at("username").refuse("a user of Redis needs its password")


def _credential(noun: str, *, secret: bool) -> Worded[str]:
    @reads("text; secret" if secret else "text")
    def read(value: Value) -> str:
        found = text(value, secret=True, expected=f"a {noun}")
        if secret:
            value.note_secret(found)
        if not found.text:
            raise value.refuse(f"the {noun} is empty")
        return found.text

    return read


@reads("1 to 64 letters, digits and ``. _ : -``")
def _prefix(value: Value) -> str:
    found = text(value, expected="a prefix")
    if not _PREFIX.fullmatch(found.text):
        raise value.refuse(f"bad prefix {found.shown}: it has 1 to 64 letters, digits and . _ : -")
    return found.text


class _Storage(NamedTuple):
    """The section as it is written."""

    type: str = "memory"
    redis: RedisSection | None = None
    on_failure: OnFailure = "local"


_REDIS = Section(
    _redis,
    {
        "addr": host_and_port,
        "db": whole_number(0, MOST_DATABASES),
        "pool_size": whole_number(1, MOST_CONNECTIONS),
        "username": _credential("user name", secret=False),
        "password": _credential("password", secret=True),
        "tls": Section(_tls, {"enabled": true_or_false, **UPSTREAM_TLS_KEYS}, check=_tls_is_safe),
        "prefix": _prefix,
        "timeout": duration(0.001, 10),
    },
    required=["addr"],
    check=_user_has_password,
)

_STORAGE = Section(
    _Storage,
    {
        "type": choice("type", ("memory", "redis")),
        "on_failure": choice("way", get_args(OnFailure)),
        "redis": _REDIS,
    },
)


@reads("", below={"": _STORAGE})
def storage(value: Value) -> StorageSection:
    """Reads where tokens are counted."""
    found = _STORAGE(value)
    if found.type == "redis" and found.redis is None:
        raise value.refuse("type: redis needs the section redis, with its addr")
    if found.type == "memory":
        for key in ("redis", "on_failure"):
            written = value.at(key)
            if written is not value:
                written.warn("not used: type is memory")
        return StorageSection()
    return StorageSection(found.redis, found.on_failure)
