"""Raw requests through the whole gateway: what the client is told, and what reaches the lease.

The table is that of the reader, moved below a lease and given a key. The lease is read by h11, and
is reached by TCP and through a relay.
"""

import io
import re
from dataclasses import replace

import h11
import pytest
from twisted.internet.protocol import Factory, Protocol

from portal_gateway.config.loading import load_config_text
from portal_gateway.config.model import LimitsSection
from portal_gateway.errors import CAUSES
from portal_gateway.gateway import Gateway
from portal_gateway.observe.logs import Log
from portal_gateway.relay.serving import PublishedLease
from portal_gateway.wire.http1_head import METHODS
from tests.frontend.gateway_world import KEY, Client, Wire
from tests.frontend.serving import read_responses
from tests.relay.relayed import World, credential
from tests.wire.raw_requests import ROWS, SMALL_LIMITS, Row, Seen

PREFIX = b"/peer/tool"
KEY_LINE = b"X-API-Key: %s\r\n" % KEY.encode()

LIMITS = LimitsSection(
    request_line=SMALL_LIMITS["request_line"] + len(PREFIX),
    header=SMALL_LIMITS["header"] + len(KEY_LINE),
    fields=SMALL_LIMITS["fields"] + 1,
    body=SMALL_LIMITS["body"],
)
"""Those of the table, and room for what is added to each of its requests."""

OTHERWISE = {
    "encoded": ("invalid_path",),
    "absolute in capitals": ("not_found",),
    "absolute with a query only": ("not_found",),
}
"""What the gateway says of requests that can be read, but have no path to a lease."""

_START = re.compile(
    rb"(?<![A-Z-])(%s) (https?://[^/ ]+)?/" % b"|".join(map(re.escape, sorted(METHODS))),
)
_LINE = re.compile(rb"( HTTP/1\.[01])\r\n")


def moved(raw: bytes) -> bytes:
    """The same request, or nonsense, below the lease and with a key."""
    return _LINE.sub(rb"\1\r\n" + KEY_LINE, _START.sub(rb"\1 \2" + PREFIX + b"/", raw))


LONGER = {
    "too many trailers": (b"0\r\n", b"0\r\nA: b\r\n"),
    "trailers too long": (b"A: ", b"A: " + b"b" * len(KEY_LINE)),
}
"""Trailers are held to the same limits as the header, without having been given a key."""


class Lease(Protocol):
    """Reads requests strictly, notes them whole, and answers each."""

    def connectionMade(self):
        self.connection = h11.Connection(h11.SERVER)
        self.body = b""
        self.request = None
        self.factory.leases.append(self)

    def dataReceived(self, data):
        self.factory.raw += data
        self.connection.receive_data(data)
        while True:
            event = self.connection.next_event()
            if isinstance(event, h11.Request):
                self.request = event
                self.body = b""
            elif isinstance(event, h11.Data):
                self.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.complete(tuple(event.headers))
            else:
                break

    def complete(self, trailers):
        request, self.request = self.request, None
        self.factory.seen.append((request, self.body, trailers))
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        if request.method != b"HEAD":
            self.transport.write(b"ok")
        self.connection = h11.Connection(h11.SERVER)

    def connectionLost(self, reason):
        self.factory.leases.remove(self)


class Through:
    """A gateway, and a lease that it reaches by TCP or through a relay."""

    def __init__(self, way):
        self.world = World()
        self.reactor = self.world.reactor
        self.lease = Factory.forProtocol(Lease)
        self.lease.noisy = False
        self.lease.leases, self.lease.seen, self.lease.raw = [], [], b""
        if way == "relay":
            # By the clock on the wall, as the gateway's own handshakes.
            session, key = self.world.session(), credential(1)
            PublishedLease(session, key, "tool", ("http/1.1",), self.lease, self.reactor).start()
            self.reactor.settle()
            where = f"portal: {{relays: [{{url: '{self.world.relay.url}'}}]}}"
        else:
            self.reactor.listenTCP(3000, self.lease)
            where = "leases: {tool: {url: 'http://127.0.0.1:3000'}}"
        text = f"gateway: {{listen: '127.0.0.1:8080'}}\nauth: {{keys: [{{key: '{KEY}'}}]}}\n{where}"
        config = load_config_text(text, "", {})
        config = replace(config, gateway=replace(config.gateway, limits=LIMITS))
        self.log = io.StringIO()
        gateway = Gateway(self.reactor, config, Log(self.reactor, self.log))
        gateway.privilegedStartService()
        gateway.startService()
        self.reactor.settle()

    def send(self, pieces):
        """The client's end after it has sent ``pieces``, and what the lease has seen of it."""
        self.lease.seen, self.lease.raw = [], b""
        wire = Wire()
        self.reactor.connectTCP("127.0.0.1", 8080, Client(wire))
        self.reactor.settle()
        for piece in pieces:
            wire.send(piece)
            self.reactor.settle()
        lost = wire.lost is not None
        wire.transport.abortConnection()
        self.reactor.settle()
        self.reactor.links[:] = [link for link in self.reactor.links if link.connected]
        return wire.received, lost


@pytest.fixture(scope="module", params=["tcp", "relay"])
def through(request):
    through = Through(request.param)
    yield through
    assert "Traceback" not in through.log.getvalue()


def test_the_table_is_long():
    assert len(ROWS) >= 120


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_raw_request(through: Through, row: Row, bytewise: bool) -> None:
    raw = moved(row.raw).replace(*LONGER.get(row.name, (b"", b"")))
    received, closed = through.send(
        [raw[i : i + 1] for i in range(len(raw))] if bytewise else [raw]
    )
    verdict = OTHERWISE.get(
        row.name, (row.verdict,) if isinstance(row.verdict, str) else row.verdict
    )
    # What the client is told.
    statuses = [200 if isinstance(part, Seen) else CAUSES[part].status for part in verdict]
    methods = [part.method if isinstance(part, Seen) else b"GET" for part in verdict]
    responses = read_responses(received, methods, ended=closed)
    assert [status for status, _, _ in responses] == statuses
    if isinstance(verdict[-1], str):
        assert f'"{verdict[-1]}"'.encode() in responses[-1][2]
        assert closed is CAUSES[verdict[-1]].closes
    # What reached the lease.
    expected = [part for part in verdict if isinstance(part, Seen) and part.target != b"*"]
    assert len(through.lease.seen) == len(expected)
    for (request, body, trailers), part in zip(through.lease.seen, expected, strict=True):
        assert request.http_version == b"1.1"
        assert (request.method, request.target, body) == (part.method, part.target, part.body)
        assert trailers == tuple((name.lower(), value) for name, value in part.trailers)
        fields = list(request.headers)
        assert [value for name, value in fields if name == b"host"] == [part.host]
        names = [name for name, _ in fields]
        assert b"x-api-key" not in names
        framing = [name for name in names if name in {b"content-length", b"transfer-encoding"}]
        assert len(framing) <= 1
    # Nothing that is half a request is kept as a connection.
    assert all(lease.request is None for lease in through.lease.leases)
    assert KEY.encode() not in through.lease.raw
