"""``portal-gateway keys``: API keys in the database of a configuration.

A secret is shown once, when it is made; the database has its SHA-256. Gateways that run on the same
database know of every change within a second.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from portal_gateway.config.model import DEFAULT_SCOPES, SCOPES, Config
from portal_gateway.config.names import lease_name
from portal_gateway.config.reading import read_argument
from portal_gateway.config.times import moment_of, seconds_of

__all__ = ["add_keys_command"]

_DEFAULT_GRACE: Final = "1h"
_ID_HELP: Final = "the key's id, as keys list shows it"

Load = Callable[[Path], Config]


def add_keys_command(commands: Any, load: Load) -> None:
    """Add ``keys`` and its own commands to a parser's; ``load`` reads a configuration."""
    keys = commands.add_parser("keys", help="API keys in the database")
    actions = keys.add_subparsers(title="actions", required=True, metavar="ACTION")

    def action(name: str, told: str) -> Any:
        parser = actions.add_parser(name, help=told, description=told.capitalize() + ".")
        parser.add_argument(
            "--config", type=Path, required=True, metavar="FILE", help="the configuration file"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(command=partial(_run, load, name))
        return parser

    create = action("create", "make a key and show it, once")
    create.add_argument("--description", default="", metavar="TEXT", help="for people")
    create.add_argument(
        "--scopes",
        type=_scopes,
        default=DEFAULT_SCOPES,
        metavar="SCOPE,…",
        help=f"of {', '.join(sorted(SCOPES))} (default {','.join(sorted(DEFAULT_SCOPES))})",
    )
    create.add_argument("--plan", type=_plan, default="", help="what limits and quotas are by")
    create.add_argument(
        "--lease",
        type=_lease,
        action="append",
        metavar="PATTERN",
        help="a lease that the key is for, again for more (default all that lease_acl admits)",
    )
    create.add_argument(
        "--expires",
        type=_expiry,
        metavar="WHEN",
        help="a duration such as 90d, or a time such as 2027-01-31T00:00:00Z (default never)",
    )
    action("list", "list the keys")
    for name, told in (
        ("show", "show what is known of a key"),
        ("revoke", "make a key good for nothing, for good"),
    ):
        action(name, told).add_argument("id", metavar="ID", help=_ID_HELP)
    rotate = action("rotate", "give a key another secret and show it, once")
    rotate.add_argument("id", metavar="ID", help=_ID_HELP)
    rotate.add_argument(
        "--grace",
        type=_duration,
        default=_duration(_DEFAULT_GRACE),
        metavar="DURATION",
        help=f"how long the old secret is still good (default {_DEFAULT_GRACE})",
    )


def _run(load: Load, name: str, options: argparse.Namespace) -> None:
    # What has the database in it takes a tenth of a second to import.
    from portal_gateway.key_actions import act  # noqa: PLC0415

    act(name, load(options.config), options)


def _scopes(text: str) -> list[str]:
    scopes = [scope.strip() for scope in text.split(",") if scope.strip()]
    if not scopes or not set(scopes) <= SCOPES:
        raise argparse.ArgumentTypeError(f"scopes are some of {', '.join(sorted(SCOPES))}")
    return scopes


def _plan(text: str) -> str:
    if not text.isprintable() or len(text) > 64:
        raise argparse.ArgumentTypeError("a plan's name has at most 64 printable characters")
    return text


def _lease(text: str) -> str:
    try:
        return read_argument(lease_name, text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _duration(text: str) -> float:
    seconds = seconds_of(text)
    if seconds is None:
        raise argparse.ArgumentTypeError("a duration is a number and a unit, such as 30m, 12h, 90d")
    return seconds


def _expiry(text: str) -> Callable[[int], int]:
    seconds = seconds_of(text)
    if seconds is not None:
        return lambda now: now + int(seconds)
    moment = moment_of(text)
    if moment is None:
        raise argparse.ArgumentTypeError(
            "write a duration such as 90d, or a time such as 2027-01-31T00:00:00Z"
        )
    return lambda _now: int(moment.timestamp())
