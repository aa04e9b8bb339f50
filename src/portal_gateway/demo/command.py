"""``portal-gateway demo``: a relay, a sample agent behind it and a gateway in front, all in one
process and on the loopback interface only."""

import secrets
import shutil
import socket
import sys
from collections.abc import Callable
from typing import Any, cast

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.config.model import (
    ApiKey,
    AuthSection,
    Config,
    GatewaySection,
    LoggingSection,
    PortalSection,
    RelaySection,
)
from portal_gateway.demo.agent import agent_site
from portal_gateway.gateway import Gateway
from portal_gateway.observe.logs import Log
from portal_gateway.relay.expose import Exposure
from portal_gateway.relay.serving import LeaseState, PublishedLease
from portal_gateway.testing.relay import MAX_CLIENTS, EmbeddedRelay

__all__ = ["LOGGING", "Demo", "sentences"]

LEASE = "agent"
"""The name under which the sample agent is published."""

HOST = "127.0.0.1"

LOGGING = LoggingSection(level="warning", format="text")
"""The log goes to the same terminal: only what went wrong is to stand among the lines to paste."""

RELAY_PORT = 4017
"""Where Portal's own relay listens."""

_log = Logger()


class Demo(MultiService):
    """The parts, started one after the other; tells what to try once the agent can be reached.

    ``port`` is where the gateway listens, or any free port when that one is taken. ``tell`` is
    given each line for the terminal.
    """

    def __init__(self, reactor: Any, log: Log, port: int, tell: Callable[[str], object]) -> None:
        super().__init__()
        self._reactor = reactor
        self._log = log
        self._tell = tell
        self._port = port
        self._key = "sk_demo_" + secrets.token_urlsafe(24)
        self._stage = _Stage(reactor)
        self.addService(self._stage)

    def startService(self) -> None:
        """Listen as relay and as agent; the rest follows."""
        super().startService()
        self._stage.ready.addCallback(self._publish)
        self._stage.ready.addErrback(self._give_up)

    def stopService(self) -> Deferred[Any]:
        """Stop the relay last: nobody is to miss it."""
        Service.stopService(self)
        others = [child for child in reversed(list(self)) if child is not self._stage]
        stopped = gatherResults(
            [maybeDeferred(child.stopService) for child in others], consumeErrors=True
        )
        return stopped.addBoth(lambda _: self._stage.stopService())

    def _publish(self, agent_port: int) -> None:
        exposure = Exposure(
            self._reactor,
            self._stage.relay.url,
            LEASE,
            HOST,
            agent_port,
            on_change=self._changed,
        )
        self.addService(exposure)

    def _changed(self, lease: PublishedLease) -> None:
        if lease.state is LeaseState.PUBLISHED and self.namedServices.get("gateway") is None:
            self._open()

    def _open(self) -> None:
        port = free_port(self._port)
        if port != self._port:
            self._tell(f"Port {self._port} is taken, so the gateway takes another.\n")
        config = Config(
            gateway=GatewaySection(
                listen=f"{HOST}:{port}", listen_endpoint=f"tcp:{port}:interface={HOST}"
            ),
            portal=PortalSection(relays=(RelaySection(self._stage.relay.url),)),
            auth=AuthSection(keys=(ApiKey.of(self._key, id="demo", description="demo"),)),
            logging=LOGGING,
        )
        gateway = Gateway(self._reactor, config, self._log, self._listens)
        gateway.setName("gateway")
        self.addService(gateway)

    def _listens(self, url: str) -> None:
        for line in sentences(url, self._key, self._stage.relay.url):
            self._tell(line)

    def _give_up(self, failure: Any) -> None:
        _log.failure("the demonstration could not be set up", failure)
        self._reactor.stop()


class _Stage(Service):
    """The relay and the agent. ``ready`` fires with the agent's port once both listen."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._agent: IListeningPort | None = None
        self.relay = EmbeddedRelay(reactor)
        self.ready: Deferred[int] = Deferred()

    def startService(self) -> None:
        super().startService()
        agent = TCP4ServerEndpoint(self._reactor, 0, interface=HOST)
        listening = gatherResults(
            [self._relay_listens(), agent.listen(agent_site(self._reactor))], consumeErrors=True
        )
        listening.addCallback(self._listening).chainDeferred(self.ready)

    def _relay_listens(self) -> Deferred[IListeningPort]:
        """At the port where relays are, or at any where that one is taken."""
        usual = TCP4ServerEndpoint(self._reactor, RELAY_PORT, MAX_CLIENTS, interface=HOST)
        listening = self.relay.listen(usual)

        def taken(failure: Failure) -> Deferred[IListeningPort]:
            failure.trap(CannotListenError)
            return self.relay.listen()

        return listening.addErrback(taken)

    def _listening(self, ports: list[IListeningPort]) -> int:
        self._agent = ports[1]
        port: int = self._agent.getHost().port  # type: ignore[attr-defined] # TCP's
        return port

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        ended: list[Deferred[Any]] = [self.relay.stop()]
        if self._agent is not None:
            ended.append(maybeDeferred(cast("Any", self._agent.stopListening)))
        return gatherResults(ended, consumeErrors=True)


def free_port(wanted: int) -> int:
    """``wanted`` where nothing listens on it yet, else 0 for any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError:
            return 0
    return wanted


def sentences(url: str, key: str, relay_url: str) -> list[str]:
    """What to read and what to paste, line by line."""
    agent = f"{url}peer/{LEASE}"
    header = f'-H "X-API-Key: {key}"'
    json_header = '-H "Content-Type: application/json"'
    tools = """'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'"""
    steps = [
        ("Is it alive, and is there a way to the relay?", f"curl {url}health/ready"),
        ("Without a key nobody gets in:", f"curl -i {agent}/echo"),
        (
            "With it, a request goes through the relay; the agent tells what it got (not the key):",
            f'curl {header} "{agent}/echo?hello=portal"',
        ),
        (
            "A body, and the key in the other header:",
            f'curl -H "Authorization: Bearer {key}" -d "some text" {agent}/echo',
        ),
        ("Tokens as they come (server-sent events):", f"curl -N {header} {agent}/tokens"),
        (
            "The tools of its MCP server:",
            f"curl {header} {json_header} -d {tools} {agent}/mcp",
        ),
        ("A lease that nobody has published:", f"curl -i {header} {url}peer/nobody/"),
    ]
    program = "portal-gateway" if shutil.which("portal-gateway") else sys.argv[0]
    lines = [
        f"Portal Gateway listens on {url}",
        f"API key: {key}",
        "",
        "In another terminal:",
        "",
    ]
    for says, command in steps:
        lines += [f"# {says}", command, ""]
    lines += [
        f"# A service of yours, here one at port 3000, as {url}peer/mine/:",
        f"{program} expose --relay {relay_url} --name mine --to {HOST}:3000",
        "",
        "Ctrl-C stops it.",
    ]
    return lines
