"""A gateway in memory, asked over HTTP/1.1, HTTP/2 or as a WebSocket, and what its lease gets.

The lease is an origin, one that is published at a relay, or one of a relay that is reached by HTTP;
its answers are written by hand.
"""

from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import TCP4ServerEndpoint

from portal_gateway.frontend.http2_connection import HTTP2Connection
from portal_gateway.relay.serving import PublishedLease
from portal_gateway.relay.session import RelaySession
from portal_gateway.testing.relay import EmbeddedRelay
from portal_gateway.testing.transports import connect
from tests.frontend.gateway_world import Origin, head_of
from tests.frontend.http2_world import HTTP2, Answer, Careless, H2Configuration
from tests.frontend.serving import Client
from tests.frontend.websocket_world import Sockets
from tests.relay.relayed import credential

__all__ = ["BOTH", "LEASES", "READER", "VERSIONS", "WAYS", "WRITER", "LeaseView"]

READER, WRITER, BOTH = "sk_live_readonly", "sk_live_writeonly", "sk_live_both"

ADMIN = "sk_live_admin"

LEASES = ("origin", "relay", "http relay")
"""How a lease is reached."""

VERSIONS = ("HTTP/1.1", "HTTP/2")

WAYS = (*VERSIONS, "WebSocket")
"""How a client asks."""

_AUTH = f"""
auth:
  keys:
    - {{key: "{READER}", id: reader, scopes: [read]}}
    - {{key: "{WRITER}", id: writer, scopes: [write]}}
    - {{key: "{BOTH}", id: both}}
    - {{key: "{ADMIN}", id: admin, scopes: [admin]}}
"""

_UPSTREAMS = {
    "origin": 'leases:\n  tool: {url: "http://127.0.0.1:3000"%s}\n',
    "relay": 'portal: {relays: [{url: "ws://127.0.0.1:4017/relay"}]}\nleases:\n  tool: {%s}\n',
    "http relay": 'portal: {relays: [{url: "http://127.0.0.1:3000"}]}\nleases:\n  tool: {%s}\n',
}


class HTTP2Client:
    """One HTTP/2 connection to the gateway; ``answers`` by stream."""

    def __init__(self, world):
        self.world = world
        self.client = Client()
        channel = HTTP2Connection(world.gateway.site)
        address = IPv4Address("TCP", "127.0.0.1", 40_000 + len(world.reactor.links))
        self.link = connect(self.client, channel, client_address=address)
        world.reactor.links.append(self.link)
        self.h2 = Careless(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.h2.initiate_connection()
        self.answers = {}
        self.goaway = None
        self.credit = True
        self._seen = 0

    settle = property(lambda self: self.world.reactor.settle)
    turn = HTTP2.turn
    _note = HTTP2._note

    def ask(self, method, target, fields, *, body=None, trailers=()):
        """Send a request; returns its answer, to be filled."""
        stream = self.h2.get_next_available_stream_id()
        head = [
            (b":method", method.encode()),
            (b":scheme", b"http"),
            (b":authority", b"gw.example:8080"),
            (b":path", target.encode()),
            *[(name.lower().encode(), value.encode()) for name, value in fields],
        ]
        self.answers[stream] = answer = Answer()
        self.h2.send_headers(stream, head, end_stream=body is None)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=not trailers)
            if trailers:
                named = [(name.lower().encode(), value.encode()) for name, value in trailers]
                self.h2.send_headers(stream, named, end_stream=True)
        self.turn()
        return answer


class Told:
    """What a client was told: ``status``, ``fields`` by name in lower case, and ``body``."""

    def __init__(self, world, wire=None, answer=None):
        self._world = world
        self._wire = wire
        self._answer = answer
        self._seen = 0 if wire is None else len(wire.received)

    @property
    def raw(self):
        """The bytes of the answer over HTTP/1.1."""
        self._world.reactor.settle()
        return self._wire.received[self._seen :]

    @property
    def status(self):
        if self._answer is not None:
            self._world.settle()
            return None if self._answer.fields is None else self._answer.status
        return int(self.raw.split()[1]) if self.raw else None

    @property
    def fields(self):
        if self._answer is not None:
            self._world.settle()
            return dict(self._answer.fields)
        return {name.lower(): value for name, value in head_of(self.raw)[1]}

    @property
    def trailers(self):
        """By name in lower case."""
        if self._answer is not None:
            self._world.settle()
            return dict(self._answer.trailers or ())
        end = self.raw.rpartition(b"\r\n0\r\n")[2]
        lines = [line.partition(b": ") for line in end.split(b"\r\n") if line]
        return {name.lower(): value for name, _, value in lines}

    @property
    def body(self):
        if self._answer is not None:
            self._world.settle()
            return self._answer.body
        return head_of(self.raw)[2]


class LeaseView(Sockets):
    """``gateway`` and ``mcp`` are settings of those sections."""

    def __init__(self, lease="origin", *, gateway="", mcp="", more=""):
        self.lease = lease
        self._clients = []
        self._published = []
        upstream = _UPSTREAMS[lease] % (mcp and f"{', ' * (lease == 'origin')}mcp: {mcp}")
        settings = f"gateway: {{listen: '127.0.0.1:8080'{gateway and ', ' + gateway}}}\n"
        super().__init__(settings + _AUTH + upstream + more, origin=False)
        if lease != "relay":
            self.reactor.listenTCP(3000, self.origin)
        self.reactor.advance(1)

    def open_upstreams(self):
        self.relay = self.session = None
        self.origin = Origin()
        if self.lease != "relay":
            return
        self.relay = EmbeddedRelay(self.reactor)
        self.relay.listen(TCP4ServerEndpoint(self.reactor, 4017))
        self.session = RelaySession(self.reactor, self.relay.url)
        self.session.start()
        self.reactor.settle()
        published = PublishedLease(
            self.session, credential(1), "tool", ("http/1.1",), self.origin, self.reactor
        )
        published.start()
        self._published.append(published)
        self.reactor.settle()

    def settle(self):
        self.reactor.settle()
        for client in self._clients:
            client.turn()

    def request(
        self,
        way="HTTP/1.1",
        *,
        fields=(),
        key=BOTH,
        method="GET",
        target="/peer/tool/x",
        body=None,
        trailers=(),
        connection=None,
    ):
        """Ask; ``fields`` and ``trailers`` are pairs. ``connection`` is of an earlier one."""
        if way == "WebSocket":
            lines = [f"{name}: {value}" for name, value in fields]
            wire = self.ask_upgrade(target, key=key, fields=lines)
            told = Told(self, wire=wire)
            told._seen = 0
            return told
        keyed = [*fields, *([("X-API-Key", key)] if key else [])]
        if way == "HTTP/2":
            client = HTTP2Client(self)
            self._clients.append(client)
            if trailers and body is None:
                body = b""
            return Told(
                self, answer=client.ask(method, target, keyed, body=body, trailers=trailers)
            )
        wire = connection or self.connect()
        told = Told(self, wire=wire)
        if trailers:
            keyed.append(("Transfer-Encoding", "chunked"))
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            lines = [f"{name}: {value}" for name, value in trailers]
            body += "\r\n".join(["0", *lines, "", ""]).encode()
        elif body is not None:
            keyed.append(("Content-Length", str(len(body))))
        lines = [f"{name}: {value}" for name, value in keyed]
        head = [f"{method} {target} HTTP/1.1", "Host: gw.example:8080", *lines, "", ""]
        wire.send("\r\n".join(head).encode() + (body or b""))
        self.reactor.settle()
        return told

    @property
    def got(self):
        """The last request that the lease got: its first line, and its fields as a list."""
        first, fields, _ = head_of(self.origin.wires[-1].received)
        return first, [(name.lower(), value) for name, value in fields]

    @property
    def got_names(self):
        return {name for name, _ in self.got[1]}

    @property
    def reached(self):
        """Whether the lease got anything."""
        return any(wire.received for wire in self.origin.wires)

    def answers(self, raw):
        """The lease writes ``raw``."""
        self.origin.wires[-1].send(raw)
        self.settle()

    def hits(self, limit):
        """What the metrics say of a limit."""
        found = self.ask("/metrics", key=ADMIN)
        name = b'portal_gateway_limit_hits_total{limit="%b"} ' % limit.encode()
        (line,) = [line for line in found.received.split(b"\n") if line.startswith(name)]
        return float(line.rpartition(b" ")[2])

    def stop(self):
        for link in self.reactor.links:
            if any(link is client.link for client in self._clients):
                link.client.abortConnection()
        for lease in self._published:
            lease.stop()
        if self.session is not None:
            self.session.stop()
            self.relay.stop()
        self.reactor.settle()
        return super().stop()
