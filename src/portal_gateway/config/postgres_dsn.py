"""DSNs of PostgreSQL, as libpq reads them: whoever connects does so by these parameters.

There is one reading, so that what was validated is what is used.
"""

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["BadDsn", "dsn_parameters"]

_SCHEMES: Final = ("postgres://", "postgresql://")

_NUMBERS: Final = (
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
)
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "load_balance_hosts": ("disable", "random"),
    "sslmode": ("allow", "disable", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": (
        "any",
        "prefer-standby",
        "primary",
        "read-only",
        "read-write",
        "standby",
    ),
}
"""What libpq says of these only when it connects."""

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_LAST_PORT: Final = 65_535


class BadDsn(ValueError):
    """No DSN that can be used. The argument says why, in words that quote nothing."""


def dsn_parameters(dsn: str) -> dict[str, str]:
    """The parameters for a connection. Raises `BadDsn`."""
    # It takes a tenth of a second to import, which only who has PostgreSQL pays.
    from psycopg import ProgrammingError  # noqa: PLC0415
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    if not dsn.startswith(_SCHEMES):
        raise BadDsn("not a DSN")
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    except (ProgrammingError, UnicodeError):
        # Its words quote what it stumbled over, and that may be a password.
        raise BadDsn(
            "not a DSN that libpq can read: an option is none that it knows, or what has a meaning"
            " in a URL, such as @ : / ? # % or a space, is not percent-encoded in a part of it"
        ) from None
    if not found.get("dbname"):
        raise BadDsn("not a DSN that names a database")
    _check_ports(found)
    for name in _NUMBERS:
        if name in found and not _NUMBER.fullmatch(found[name]):
            raise BadDsn(f"not a DSN: its {name} is no whole number")
    for name, known in _CHOICES.items():
        if name in found and found[name] not in known:
            raise BadDsn(f"not a DSN: its {name} is none of {', '.join(known)}")
    return found


def _check_ports(found: Mapping[str, str]) -> None:
    if "port" not in found:
        return
    ports = found["port"].split(",")
    for port in ports:
        # Of several hosts one may be without.
        if port and not (_NUMBER.fullmatch(port) and 1 <= int(port) <= _LAST_PORT):
            raise BadDsn(f"not a DSN: its port is no number from 1 to {_LAST_PORT}")
    hosts = found.get("hostaddr", found.get("host", "")).split(",")
    if len(ports) not in {1, len(hosts)}:
        raise BadDsn(f"not a DSN: it has {len(ports)} ports and {len(hosts)} hosts")
