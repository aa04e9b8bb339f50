"""The id that follows one request through every line of the log, the client's or a fresh one."""

import re
from collections.abc import Iterator
from os import urandom
from typing import Final

from portal_gateway.observe.masking import masked, sent_secrets, without_secrets

__all__ = ["MAX_REQUEST_ID", "offered_id", "request_id"]

MAX_REQUEST_ID = 128
"""Characters of an id that a client may choose: any common scheme fits, no log line is swamped."""

_ACCEPTABLE = re.compile(rf"[A-Za-z0-9._~+/=:@-]{{1,{MAX_REQUEST_ID}}}")

_ID_BYTES: Final = 12

_DRAWN: Final = 256
"""Ids that are drawn from the system at a time: a system call for each would cost more than all
else that is done for an id."""


def _fresh() -> Iterator[str]:
    while True:
        drawn = urandom(_ID_BYTES * _DRAWN).hex()
        for start in range(0, len(drawn), 2 * _ID_BYTES):
            yield "req_" + drawn[start : start + 2 * _ID_BYTES]


_fresh_ids = _fresh()


def request_id(offered: str | None) -> str:
    """The offered id where it is safe to write anywhere, else a fresh random one.

    ``offered`` is the value of ``X-Request-ID``, or ``None`` where the client sent none or several.
    One that looks like a secret, in any encoding, is not safe: ids are logged and forwarded.
    """
    if offered is not None and _ACCEPTABLE.fullmatch(offered) and masked(offered) == offered:
        return offered
    return next(_fresh_ids)


def offered_id(values: list[bytes], fields: dict[bytes, bytes]) -> str | None:
    """The id that a client offers, ``None`` for none or several.

    ``values`` are those of ``X-Request-ID``, ``fields`` the header by names in lower case. An id
    that has the request's own credential in it, in any encoding, counts as none.
    """
    if len(values) != 1:
        return None
    text = values[0].decode("latin-1")
    secrets = sent_secrets(fields)
    return None if secrets and without_secrets(text, secrets) != text else text
