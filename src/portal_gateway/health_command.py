"""``portal-gateway health``: ask the gateway on this machine whether it lives."""

import argparse
import http.client
import json
import os
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from portal_gateway.config.endpoint_strings import is_proxied, without_proxy
from portal_gateway.config.loading import ConfigInvalid, load_config
from portal_gateway.config.model import Config, GatewaySection
from portal_gateway.config.report import describe_faults
from portal_gateway.wire.proxy_header import LOCAL_HEADER

__all__ = ["Unasked", "add_health_command", "ask_health", "main"]

Load = Callable[[Path], Config]

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read: many times what readiness has to say."""

_DESCRIPTION = (
    "Ask the gateway on this machine, at the address that its configuration has, whether it lives."
    " The exit status is 0 if it does, 1 if not."
)

_ARGUMENT = re.compile(r"(?<!\\):")
_ESCAPED = re.compile(r"\\(.)")

_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is asked, not bound
"""The address of this machine at which a listener for all of its addresses is reached."""


class Unasked(Exception):
    """The gateway did not answer, or not well; the text says how."""


class _Place(NamedTuple):
    """Where the gateway listens: a host and port, or the path of a socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def connect(self, timeout: float) -> socket.socket:
        """A connection to it. Raises ``OSError``."""
        if not self.path:
            return socket.create_connection((self.host, self.port), timeout)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        connection.connect(self.path)
        return connection


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command by itself: a container's check does without importing the daemon."""
    parser = argparse.ArgumentParser(
        prog="python -m portal_gateway.health_command", description=_DESCRIPTION
    )
    _add_options(parser, _load)
    options = parser.parse_args(arguments)
    options.command(options)


def add_health_command(commands: Any, load: Load) -> None:
    """Add ``health`` to a parser's commands; ``load`` reads a configuration."""
    health = commands.add_parser(
        "health", help="ask the gateway on this machine whether it lives", description=_DESCRIPTION
    )
    _add_options(health, load)


def _add_options(parser: argparse.ArgumentParser, load: Load) -> None:
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the configuration file"
    )
    parser.add_argument(
        "--ready", action="store_true", help="ask whether it is ready for requests, too"
    )
    parser.add_argument(
        "--timeout", type=float, default=3.0, metavar="SECONDS", help="how long to wait (default 3)"
    )
    parser.set_defaults(command=partial(_health, load))


def _load(path: Path) -> Config:
    try:
        return load_config(path, os.environ)
    except ConfigInvalid as invalid:
        raise SystemExit("\n".join(describe_faults(invalid.faults))) from None


def _health(load: Load, options: argparse.Namespace) -> None:
    gateway = load(options.config).gateway
    try:
        print(ask_health(gateway, ready=options.ready, timeout=options.timeout))
    except Unasked as unasked:
        raise SystemExit(f"portal-gateway: {unasked}") from None


def ask_health(gateway: GatewaySection, *, ready: bool = False, timeout: float = 3.0) -> str:
    """What the gateway that listens by ``gateway`` says of itself, in a line.

    It answers a TLS handshake with an alert when it wants a certificate of its clients or has none
    of its own yet. That is a sign of life, but says nothing of being ready. Raises `Unasked`.
    """
    place = _place(gateway)
    try:
        with place.connect(timeout) as plain:
            if is_proxied(gateway.listen_endpoint):
                # It is heard where this machine is among gateway.trusted_proxies.
                plain.sendall(LOCAL_HEADER)
            if gateway.tls is None:
                return _ask(plain, ready)
            with _context().wrap_socket(plain, server_hostname="localhost") as secure:
                return _ask(secure, ready)
    except ssl.SSLError as error:
        if ready or "ALERT" not in (error.reason or ""):
            raise Unasked(f"no TLS at {gateway.listen}: {error.reason}") from None
        return "alive: it answers with an alert of TLS"
    except (OSError, http.client.HTTPException) as error:
        raise Unasked(f"no answer at {gateway.listen}: {_why(error)}") from None


def _why(error: Exception) -> str:
    """What went wrong, without a number that only a programmer knows."""
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or str(error) or type(error).__name__


def _ask(connection: socket.socket, ready: bool) -> str:
    client = http.client.HTTPConnection("localhost")
    client.sock = connection
    client.request("GET", "/health/ready" if ready else "/health", headers={"Connection": "close"})
    answer = client.getresponse()
    body = answer.read(MAX_ANSWER)
    if answer.status == HTTPStatus.OK:
        return "ready" if ready else "alive"
    raise Unasked(f"answered {answer.status}: {'; '.join(_reasons(body)) or answer.reason}")


def _reasons(body: bytes) -> list[str]:
    try:
        told = json.loads(body)
    except ValueError:
        return []
    reasons = told.get("reasons") if isinstance(told, dict) else None
    return [str(reason) for reason in reasons] if isinstance(reasons, list) else []


def _context() -> ssl.SSLContext:
    """For a connection that does not leave the machine: the certificate is for the public name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _place(gateway: GatewaySection) -> _Place:
    kind, *arguments = _ARGUMENT.split(without_proxy(gateway.listen_endpoint))
    named: dict[str, str] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        named.setdefault(*((name, text) if equals else ("", name)))
    named = {name: _ESCAPED.sub(r"\1", text) for name, text in named.items()}
    if kind == "unix":
        return _Place(path=named.get("address", named.get("", "")))
    port = named.get("port", named.get("", ""))
    if kind in {"tcp", "tcp6"} and port.isdecimal() and int(port):
        host = named.get("interface", "::" if kind == "tcp6" else "")
        return _Place(_WILDCARDS.get(host, host), int(port))
    raise Unasked(f"cannot tell where {gateway.listen} is reached from this machine")


if __name__ == "__main__":
    main()
