"""Our client against our own reading of requests: over TCP and over a relay, both in memory."""

import random

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from portal_gateway.relay.http_client import BodyFraming
from portal_gateway.relay.pool import Pool, PoolLimits
from portal_gateway.testing.transports import BUFFER_SIZE
from portal_gateway.wire.http1_request import RequestReader
from portal_gateway.wire.http1_writing import LAST_CHUNK, chunk, serialise_response
from tests.relay.relayed import World, credential
from tests.relay.scripted_upstream import RecordingSink

BULK = 3 * 1024 * 1024


class Lease(Protocol):
    """Answers with what it was sent; the path says how."""

    def connectionMade(self):
        self.factory.connections.append(self)
        self.reader = RequestReader(self)
        self.ended = False
        self.head = None

    def dataReceived(self, data):
        self.reader.receive_data(data)

    def request_head(self, head):
        self.head = head
        self.body = bytearray()
        if head.target == b"/deaf":
            self.transport.pauseProducing()
        if not head.content_length and not head.chunked:
            self.answer()

    def request_data(self, data):
        self.body += data

    def request_end(self, trailers):
        self.answer()

    def answer(self):
        body = b"%b %d:" % (self.head.method, len(self.body)) + bytes(self.body)
        kind = self.head.target
        if kind == b"/stream":
            self.left = BULK
            self.transport.write(serialise_response(200, b"OK", []))
            self.transport.registerProducer(self, streaming=True)
            self.resumeProducing()
            return
        if kind == b"/cut":
            head = serialise_response(200, b"OK", [(b"Content-Length", b"%d" % (len(body) + 1))])
            self.transport.write(head + body)
            self.transport.loseConnection()
            return
        if kind == b"/chunked":
            head = serialise_response(200, b"OK", [(b"Transfer-Encoding", b"chunked")])
            pieces = [chunk(body[i : i + 100]) for i in range(0, len(body), 100)]
            data = b"".join([head, *pieces, LAST_CHUNK])
        else:
            fields = [(b"Content-Length", b"%d" % len(body))]
            data = serialise_response(200, b"OK", fields) + body
        self.transport.write(data)
        self.reader.next_request()

    # A producer for /stream, whose body ends with the connection.

    def resumeProducing(self):
        self.paused = False
        while self.left and not self.paused:
            piece = min(self.left, 10_000)
            self.left -= piece
            self.transport.write(b"s" * piece)
        if not self.left:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def pauseProducing(self):
        self.paused = True
        self.factory.pauses += 1

    def stopProducing(self):
        self.paused = True

    def connectionLost(self, reason):
        self.ended = True


class Way:
    """A pool and its lease over one kind of stream; ``reactor`` moves everything."""

    def __init__(self, kind, chunk, **limits):
        self.lease = Factory.forProtocol(Lease)
        self.lease.connections = []
        self.lease.pauses = 0
        self.world = World(chunk)
        self.reactor = self.world.reactor
        if kind == "relay":
            self.world.publish(kind=self.lease)
            self.session = self.world.session()
            endpoint = self.world.endpoint(credential(1).identity.id, self.session)
        else:
            TCP4ServerEndpoint(self.reactor, 8000).listen(self.lease)
            endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", 8000)
        self.pool = Pool(endpoint, self.reactor, PoolLimits(**limits))

    def request(self, method, target, framing, sink=None):
        sink = sink or RecordingSink()
        headers = [(b"Host", b"lease.test")]
        exchange = self.pool.request(method, target, headers, sink, body=framing)
        return exchange, sink

    def settle(self):
        self.reactor.settle()


@pytest.fixture(params=["tcp", "relay"])
def kind(request):
    return request.param


@pytest.mark.parametrize("cut", [None, 13])
def test_many_requests_on_one_connection(kind, cut):
    way = Way(kind, cut, max_active=1)
    rng = random.Random(7)
    for _ in range(30):
        body = rng.randbytes(rng.choice([0, 1, 50, 2000]))
        method = rng.choice([b"GET", b"PUT", b"POST"])
        framing = rng.choice([BodyFraming.length(len(body)), BodyFraming.chunked()])
        exchange, sink = way.request(method, rng.choice([b"/", b"/chunked"]), framing)
        for start in range(0, len(body), 700):
            exchange.write(body[start : start + 700])
            if rng.random() < 0.3:
                way.settle()
        exchange.end()
        way.settle()
        assert sink.complete, sink.error
        assert sink.body == b"%b %d:" % (method, len(body)) + body
        assert not sink.held
    assert way.pool.dials_total == 1
    assert way.pool.reuses_total == 29
    way.pool.close()


def test_many_requests_at_once(kind):
    way = Way(kind, None, max_active=4, max_queue=100)
    asked = [way.request(b"GET", b"/", BodyFraming.none()) for _ in range(50)]
    way.settle()
    assert all(sink.complete for _, sink in asked)
    assert len(way.lease.connections) <= 4
    assert way.pool.idle <= 4
    way.pool.close()


def test_a_lease_that_does_not_read_holds_the_upload_back(kind):
    way = Way(kind, None)
    exchange, sink = way.request(b"POST", b"/deaf", BodyFraming.chunked())
    way.settle()
    sent = 0
    while not sink.held:
        exchange.write(b"x" * 10_000)
        sent += 10_000
        way.settle()
        # What the relay's windows and buffers take is bounded, and far from all there is.
        assert sent < 2 * BULK
    held_at = sent
    lease = way.lease.connections[0]
    lease.transport.resumeProducing()
    way.settle()
    assert not sink.held
    assert len(lease.body) == held_at
    exchange.end()
    way.settle()
    assert sink.complete
    assert way.pool.idle == 1
    way.pool.close()


def test_a_client_that_does_not_read_holds_the_download_back(kind):
    way = Way(kind, None)
    sink = RecordingSink()
    exchange, _ = way.request(b"GET", b"/stream", BodyFraming.none(), sink)
    sink.on["head"] = exchange.pause
    way.settle()
    assert way.lease.pauses
    left = way.lease.connections[0].left
    assert left > 0
    assert len(sink.body) <= 2 * BUFFER_SIZE
    way.settle()
    assert way.lease.connections[0].left == left
    exchange.resume()
    way.settle()
    assert sink.complete
    assert sink.body == b"s" * BULK
    assert way.pool.unused


def test_a_response_cut_short_is_never_complete(kind):
    way = Way(kind, None)
    _, sink = way.request(b"GET", b"/cut", BodyFraming.none())
    way.settle()
    assert sink.head
    assert sink.code == "upstream_closed"


def test_cancel_ends_the_stream_at_the_lease(kind):
    way = Way(kind, None)
    exchange, sink = way.request(b"POST", b"/", BodyFraming.chunked())
    way.settle()
    exchange.write(b"abc")
    way.settle()
    exchange.cancel()
    sink.silent = True
    way.settle()
    assert way.lease.connections[0].ended
    assert way.pool.unused


def test_a_stale_connection_is_replaced(kind):
    way = Way(kind, None)
    _, sink = way.request(b"GET", b"/", BodyFraming.none())
    way.settle()
    assert sink.complete
    # The lease ends the connection, and before that is known a request is sent on it.
    way.lease.connections[0].transport.abortConnection()
    exchange, sink = way.request(b"GET", b"/", BodyFraming.none())
    way.settle()
    assert sink.complete
    assert (exchange.attempts, exchange.reused) == (2, False)
    way.pool.close()


def test_a_lost_session_ends_its_exchanges():
    way = Way("relay", None)
    _, idle = way.request(b"GET", b"/", BodyFraming.none())
    way.settle()
    _, sink = way.request(b"POST", b"/", BodyFraming.chunked())
    way.settle()
    _, second = way.request(b"POST", b"/", BodyFraming.none())
    way.settle()
    assert idle.complete
    assert second.complete
    way.session.connection.abort()
    way.settle()
    assert sink.code == "relay_unavailable"
    assert way.pool.unused
