"""``portal-gateway quota show``: what a key has used of its quotas, by the store's own account."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from portal_gateway.config.model import Config

__all__ = ["add_quota_command"]

Load = Callable[[Path], Config]


def add_quota_command(commands: Any, load: Load) -> None:
    """Add ``quota`` and its own commands to a parser's; ``load`` reads a configuration."""
    quota = commands.add_parser("quota", help="what keys have used of their quotas")
    actions = quota.add_subparsers(title="actions", required=True, metavar="ACTION")
    show = actions.add_parser(
        "show",
        help="show what a key has used",
        description="Show what a key has used, and what is left. Gateways write once a second.",
    )
    show.add_argument("key", metavar="KEY", help="the key's id, or jwt: and a token's subject")
    show.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the configuration file"
    )
    show.add_argument("--plan", default="", help="the plan, where a token says it")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(command=partial(_show, load))


def _show(load: Load, options: argparse.Namespace) -> None:
    # What has the database in it takes a tenth of a second to import.
    from portal_gateway.quota_actions import show  # noqa: PLC0415

    show(load(options.config), options)
