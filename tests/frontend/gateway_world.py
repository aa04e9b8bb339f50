"""A whole gateway in memory: clients that write raw bytes, and origins that are scripted."""

import io
import json
import time

from twisted.internet.protocol import Factory, Protocol

from portal_gateway.config.loading import load_config_text
from portal_gateway.gateway import Gateway
from portal_gateway.observe.logs import Log
from portal_gateway.testing.memory_reactor import MemoryReactor
from portal_gateway.testing.threads import NoThreads

KEY = "sk_live_abc123..."

CONFIG = f"""
gateway:
  listen: "127.0.0.1:8080"
auth:
  keys:
    - key: "{KEY}"
      id: "tester"
    - key: "sk_live_old"
      expires_at: "2025-01-01T00:00:00Z"
leases:
  tool:
    url: "http://127.0.0.1:3000"
  한글:
    url: "http://127.0.0.1:3000"
"""


class Wire(Protocol):
    """One end of a connection, by hand."""

    def __init__(self):
        self.received = b""
        self.lost = None

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.lost = reason

    def send(self, data):
        self.transport.write(data)


class Origin(Factory):
    """What is at 127.0.0.1:3000: keeps its connections, oldest first."""

    noisy = False

    def __init__(self):
        self.wires = []

    def buildProtocol(self, addr):
        wire = Wire()
        self.wires.append(wire)
        return wire


class Client(Factory):
    """Connects one `Wire` to the gateway."""

    noisy = False

    def __init__(self, wire):
        self.wire = wire

    def startedConnecting(self, connector):
        pass

    def clientConnectionLost(self, connector, reason):
        pass

    def clientConnectionFailed(self, connector, reason):
        raise AssertionError(reason)

    def buildProtocol(self, addr):
        return self.wire


class World:
    """The gateway, its log, an origin, and as many clients as a test wants."""

    def __init__(self, config=CONFIG, *, origin=True, directory=None, wall_clock=time.time):
        self.threads = NoThreads()
        self.reactor = MemoryReactor(now=1000.0)
        self.log_text = io.StringIO()
        log = Log(self.reactor, self.log_text, level="debug")
        self.announced = []
        self.config = config
        self._directory = directory
        self.gateway = Gateway(
            self.reactor,
            self._load(),
            log,
            self.announced.append,
            self.threads,
            load=self._load,
            wall_clock=wall_clock,
        )
        self.origin = Origin()
        if origin:
            self.reactor.listenTCP(3000, self.origin)
        self.open_upstreams()
        self.gateway.privilegedStartService()
        self.gateway.startService()
        self.reactor.settle()

    def reconfigure(self, config):
        """Reload another configuration; whether it was taken up."""
        self.config = config
        taken_up = []
        self.gateway.reloads.reload().addCallback(taken_up.append)
        self.reactor.settle()
        return taken_up == [True]

    def _load(self):
        return load_config_text(self.config, "test.yaml", {}, directory=self._directory)

    def open_upstreams(self):
        """What more has to be there before the gateway starts."""

    def connect(self, host="127.0.0.1", port=8080):
        wire = Wire()
        self.reactor.host = host
        self.reactor.connectTCP("127.0.0.1", port, Client(wire))
        self.reactor.settle()
        self.reactor.host = "127.0.0.1"
        return wire

    def ask(
        self,
        target,
        *,
        method="GET",
        key=KEY,
        fields=(),
        body=b"",
        wire=None,
        host="127.0.0.1",
        authority="gw.example:8080",
    ):
        """Send one whole request from ``host`` to ``authority``; returns the client's end."""
        wire = wire or self.connect(host)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {authority}", *fields]
        if key:
            lines.append(f"X-API-Key: {key}")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        wire.send("\r\n".join([*lines, "", ""]).encode("utf-8") + body)
        self.reactor.settle()
        return wire

    def stop(self):
        """Stop; nothing may be left. Returns the access log."""
        stopped = []
        self.gateway.stopService().addBoth(stopped.append)
        self.reactor.advance(31)
        assert len(stopped) == 1
        assert self.reactor.getDelayedCalls() == []
        assert "Traceback" not in self.log_text.getvalue()
        assert "Unhandled" not in self.log_text.getvalue()
        for wire in self.origin.wires:
            assert wire.lost is not None
        return [json.loads(line) for line in self.log_text.getvalue().splitlines()]


def head_of(received):
    """Status line, fields as a list, and what follows the head."""
    head, _, rest = received.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return first, [tuple(line.split(b": ", 1)) for line in lines], rest
