"""The id that follows one request through every line of the log, the client's or a fresh one."""

import re
import secrets

__all__ = ["MAX_REQUEST_ID", "request_id"]

MAX_REQUEST_ID = 128
"""Characters of an id that a client may choose: any common scheme fits, no log line is swamped."""

_ACCEPTABLE = re.compile(rf"[A-Za-z0-9._~+/=:@-]{{1,{MAX_REQUEST_ID}}}")


def request_id(offered: str | None) -> str:
    """The offered id where it is safe to write anywhere, else a fresh random one.

    ``offered`` is the value of ``X-Request-ID``, or ``None`` where the client sent none or several.
    """
    if offered is not None and _ACCEPTABLE.fullmatch(offered):
        return offered
    return "req_" + secrets.token_hex(12)
