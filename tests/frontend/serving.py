"""A site in memory, a client that writes raw bytes to it, and Resources that note what they get."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

import h11
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from portal_gateway.errors import GatewayError
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.limits import ChannelLimits
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.site import Site
from portal_gateway.testing.transports import MemoryLink, connect
from portal_gateway.wire.http_fields import Headers

__all__ = [
    "GET",
    "HOST",
    "Client",
    "Collecting",
    "Noting",
    "Producer",
    "Reader",
    "Served",
    "problem",
    "read_responses",
]

HOST = b"Host: h\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"


def problem(error: GatewayError, request_id: str) -> tuple[int, Headers, bytes]:
    """A writer of error bodies for these tests."""
    body = json.dumps({"error": error.cause.code, "id": request_id}).encode()
    fields = [(b"Content-Type", b"application/problem+json"), *error.fields]
    return error.cause.status, fields, body


class Client(Protocol):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:
        self.lost = reason


class Reader:
    """Notes a request's body as it comes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.trailers: Headers | None = None
        self.error: GatewayError | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def request_data(self, data: bytes) -> None:
        assert not self.over
        self.pieces.append(data)

    def request_end(self, trailers: Headers) -> None:
        assert not self.over
        self.trailers = trailers

    def request_aborted(self, error: GatewayError) -> None:
        assert not self.over
        self.error = error

    @property
    def over(self) -> bool:
        return self.trailers is not None or self.error is not None


class Producer:
    """Notes what it is told to do."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class Noting(Resource):
    """Keeps every request and does nothing with it, unless ``do`` does."""

    isLeaf = True

    def __init__(self, do: Callable[[Request], object] | None = None) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self._do = do

    def render(self, request: Request) -> object:
        self.requests.append(request)
        if self._do is not None:
            self._do(request)
        return NOT_DONE_YET


class Collecting(Noting):
    """Reads each body to its end, and answers then."""

    def __init__(self) -> None:
        super().__init__(self._read)
        self.readers: list[Reader] = []

    def _read(self, request: Request) -> None:
        class Answering(Reader):
            def request_end(self, trailers: Headers) -> None:
                super().request_end(trailers)
                request.send_head(200, b"OK", [(b"X-Target", request.uri)], length=2)
                request.send_data(b"ok")
                request.send_end()

        reader = Answering()
        self.readers.append(reader)
        request.read_body(reader)


class Served:
    """A site on a clock of its own, and one connection to it.

    `finish` closes what is open and asserts that nothing is left behind.
    """

    def __init__(self, resource: IResource, **limits: object) -> None:
        self.clock = Clock()
        self.clock.rightNow = 1000.0
        self.exchanges: list[Exchange] = []
        self.wall = 784111777.0
        self.site = Site(
            resource,
            self.clock,
            render_problem=problem,
            on_exchange_end=self.exchanges.append,
            make_request_id=lambda offered: offered or f"made-{len(self.exchanges)}",
            limits=replace(ChannelLimits(), **limits),  # type: ignore[arg-type]
            wall_clock=lambda: self.wall,
        )
        self.links: list[MemoryLink] = []
        self.connect()

    def connect(self, host: str = "192.0.2.7") -> Client:
        """Another connection; it becomes the one that the other methods are about."""
        address = IPv4Address("TCP", host, 50_000 + len(self.links))
        self.client = Client()
        self.channel = self.site.buildProtocol(address)
        self.link = connect(self.client, self.channel, client_address=address)
        self.links.append(self.link)
        return self.client

    @property
    def transport(self):
        """The server's transport."""
        return self.link.server

    def send(self, *pieces: bytes) -> bytes:
        """Send each piece, let everything settle, and give what was received until now."""
        for piece in pieces:
            self.client.transport.write(piece)
            self.settle()
        if not pieces:
            self.settle()
        return self.client.received

    def settle(self) -> None:
        """Move bytes and make the calls that are due until nothing happens."""
        while self.link.flush() or self.due:
            self.clock.advance(0)

    @property
    def due(self) -> bool:
        return any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls())

    def wait(self, seconds: float) -> bytes:
        """Let time pass, settling every second."""
        while seconds > 0:
            self.clock.advance(min(1.0, seconds))
            self.settle()
            seconds -= 1.0
        return self.client.received

    @property
    def paused(self) -> bool:
        """Whether the channel has its transport paused."""
        return not self.transport._reading

    @property
    def closed(self) -> bool:
        """Whether the client has seen the end of the connection."""
        return self.client.lost is not None

    def finish(self) -> None:
        for link in self.links:
            link.client.resumeProducing()
            link.client.abortConnection()
            link.flush()
        self.clock.advance(0)
        assert self.clock.getDelayedCalls() == []
        assert self.site.connections == 0
        assert not self.site._channels._by_network


def read_responses(
    raw: bytes, methods: Iterable[bytes] = (b"GET",), *, ended: bool = False
) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """What a strict client reads: status, header and body of each response, and nothing after."""
    responses = []
    for method in methods:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
        client.send(h11.EndOfMessage())
        if raw:
            client.receive_data(raw)
        if ended:
            client.receive_data(b"")
        head = client.next_event()
        while isinstance(head, h11.InformationalResponse):
            head = client.next_event()
        assert isinstance(head, h11.Response), (method, raw)
        body = b""
        while isinstance(event := client.next_event(), h11.Data):
            body += bytes(event.data)
        assert isinstance(event, h11.EndOfMessage), event
        responses.append((head.status_code, dict(head.headers), body))
        raw = client.trailing_data[0]
    assert raw == b""
    return responses
