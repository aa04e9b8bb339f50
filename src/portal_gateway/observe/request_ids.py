"""The id that follows one request through every line of the log, the client's or a fresh one."""

import re
from collections.abc import Iterator
from os import urandom
from typing import Final

__all__ = ["MAX_REQUEST_ID", "request_id"]

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
    """
    if offered is not None and _ACCEPTABLE.fullmatch(offered):
        return offered
    return next(_fresh_ids)
