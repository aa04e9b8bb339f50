"""The command line: ``portal-gateway run | validate | health | keys | quota | demo | expose``.

Exit status 0 when all went well, 1 when the configuration is invalid or the service could not
start, 2 when the command line itself is wrong.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from portal_gateway import __version__, service
from portal_gateway.config.loading import ConfigInvalid, load_config
from portal_gateway.config.model import LEASE_LABEL, Config, LoggingSection
from portal_gateway.config.report import describe, describe_faults
from portal_gateway.demo.command import LOGGING, Demo
from portal_gateway.gateway import Gateway
from portal_gateway.health_command import add_health_command
from portal_gateway.keys_command import add_keys_command
from portal_gateway.observe.logs import Log
from portal_gateway.quota_command import add_quota_command
from portal_gateway.relay.credential_file import CredentialFileError, load_or_create_credential
from portal_gateway.relay.expose import Exposure
from portal_gateway.relay.reachability import unreachable_relays
from portal_gateway.sd_notify import notifier_of
from portal_gateway.workers.command import count_of, run_workers

__all__ = ["main", "make_parser"]

MAX_PORT = 65535


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that ``arguments`` (the process's own by default) ask for."""
    options = make_parser().parse_args(arguments)
    options.command(options)


def make_parser() -> argparse.ArgumentParser:
    """The commands and their options; ``docs/commands.rst`` is made from this."""
    parser = argparse.ArgumentParser(
        prog="portal-gateway",
        description="An authenticating, observable gateway in front of the Portal relay network.",
    )
    parser.add_argument("--version", action="version", version=f"portal-gateway {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="run the gateway in the foreground",
        description="Run the gateway in the foreground. Its address is printed once it takes"
        " requests; the log goes to standard error.",
    )
    run.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the configuration file"
    )
    run.set_defaults(command=_run)

    validate = commands.add_parser(
        "validate",
        help="check a configuration file",
        description="Check a configuration file: print what it comes to, or everything that is"
        " wrong with it, and whether its relays can be reached.",
    )
    validate.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the configuration file"
    )
    validate.add_argument(
        "--offline", action="store_true", help="do not try whether the relays can be reached"
    )
    validate.set_defaults(command=_validate)

    add_health_command(commands, _load)

    demo = commands.add_parser(
        "demo",
        help="a relay, a sample agent behind it and a gateway in front, on this machine",
        description="Run a relay, a sample agent behind it and a gateway in front, all on this"
        " machine, and print curl lines to try.",
    )
    demo.add_argument("--port", type=int, default=8080, help="the gateway's port (default 8080)")
    demo.set_defaults(command=_demo)

    add_keys_command(commands, _load)
    add_quota_command(commands, _load)

    expose = commands.add_parser(
        "expose",
        help="publish a local TCP service as a lease",
        description="Publish a local TCP service as a lease, for as long as this runs. The"
        " connection to the relay is made again whenever it is lost.",
    )
    expose.add_argument(
        "--relay", required=True, metavar="URL", help="the relay's URL, ws:// or wss://"
    )
    expose.add_argument("--name", required=True, help="the lease's name")
    expose.add_argument(
        "--to", required=True, metavar="HOST:PORT", type=_address, help="the local service"
    )
    expose.add_argument(
        "--credential", type=Path, metavar="FILE", help="keep the lease's identity in this file"
    )
    expose.set_defaults(command=_expose)
    return parser


def _load(path: Path) -> Config:
    try:
        return load_config(path, os.environ)
    except ConfigInvalid as invalid:
        print("\n".join(describe_faults(invalid.faults)), file=sys.stderr)
        raise SystemExit(1) from None


def _run(options: argparse.Namespace) -> None:
    config = _load(options.config)
    notifier = notifier_of(os.environ)
    load = service.loading(options.config)
    if count_of(config) > 1:
        raise SystemExit(run_workers(config, load, notifier, _announce))
    service.run(
        lambda reactor, log: Gateway(
            reactor,
            config,
            log,
            _announce,
            load=load,
            notifier=notifier,
        ),
        config.logging,
    )


def _announce(url: str) -> None:
    print(f"Portal Gateway listens on {url}", flush=True)


def _validate(options: argparse.Namespace) -> None:
    config = _load(options.config)
    credential_file = config.portal.credential_file
    if credential_file is not None and credential_file.exists():
        try:
            load_or_create_credential(credential_file)
        except CredentialFileError as error:
            raise SystemExit(f"portal-gateway: {error}") from None
    print("\n".join(describe(config)))
    if options.offline or not config.portal.relays:
        return
    unreachable = service.ask(lambda reactor: unreachable_relays(reactor, config.portal.relays))
    for relay in config.portal.relays:
        reason = unreachable.get(relay.url)
        if reason is not None:
            print(f"  - Warning: Portal not reachable at {relay.url}: {reason}")
        elif LEASE_LABEL in relay.url:
            print(f"  - not tried, as each lease has a host of its own: {relay.url}")
        else:
            print(f"  - Portal reachable at {relay.url}")


def _demo(options: argparse.Namespace) -> None:
    def demo(reactor: Any, log: Log) -> Demo:
        return Demo(reactor, log, options.port, lambda line: print(line, flush=True))

    service.run(demo, LOGGING)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) <= MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:3000")
    return host, int(port)


def _expose(options: argparse.Namespace) -> None:
    host, port = options.to

    def exposure(reactor: Any, _log: Log) -> Exposure:
        return Exposure(
            reactor,
            options.relay,
            options.name,
            host,
            port,
            credential_file=options.credential,
        )

    service.run(exposure, LoggingSection(format="text"))


if __name__ == "__main__":
    main()
