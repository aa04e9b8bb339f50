"""CPU that long response heads cost over HTTP/2: it grows with their bytes, as over HTTP/1.1."""

import gc
import time

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from twisted.internet.protocol import Factory

from portal_gateway.frontend.http2_connection import HTTP2Connection
from portal_gateway.wire.http2_header_blocks import HeaderDecoder
from tests.frontend.gateway_world import KEY, Wire, World
from tests.frontend.gateway_world import Client as Connecting

HTTP2_PORT = 8443

A_64_KB = 0.001
"""Seconds of CPU for 64 KB of response heads."""

MARGIN = 8
"""The way through a whole gateway and a client in memory, on a machine that others use, too."""

LONG = b"~" * 60_000
"""A character whose Huffman code has 13 bits: the worst that a lease sends in a value."""

END = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def head(value):
    return b"HTTP/1.1 200 OK\r\nX-A: %s\r\nContent-Length: 2\r\n\r\nok" % value


def hints(value):
    return b"HTTP/1.1 103 Early Hints\r\nLink: <%s>; rel=preload\r\n\r\n" % value * 32 + END


class Sink(Wire):
    """A client that keeps pieces, since joining them would cost more than what is measured."""

    def __init__(self):
        super().__init__()
        self.pieces = []

    def dataReceived(self, data):
        self.pieces.append(data)


class HTTP2World(World):
    """A gateway whose clients speak HTTP/2 without TLS."""

    def open_upstreams(self):
        site = self.gateway.site

        class Listening(Factory):
            noisy = False

            def buildProtocol(self, addr):
                return HTTP2Connection(site)

        self.reactor.listenTCP(HTTP2_PORT, Listening())

    def ask_http2(self, target):
        wire = Sink()
        self.reactor.connectTCP("127.0.0.1", HTTP2_PORT, Connecting(wire))
        self.reactor.settle()
        h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        h2.initiate_connection()
        fields = [
            *((":method", "GET"), (":scheme", "http"), (":authority", "gw.example")),
            *((":path", target), ("x-api-key", KEY)),
        ]
        h2.send_headers(1, fields, end_stream=True)
        h2.increment_flow_control_window(10_000_000)
        wire.h2 = h2
        wire.send(h2.data_to_send())
        return wire


@pytest.fixture
def world():
    world = HTTP2World()
    yield world
    world.stop()


def cost(world, answer, target="/peer/tool/x"):
    """CPU seconds of one answer, the least of a few, and what the client reads of the last."""
    times = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(4):
            wire = world.ask_http2(target)
            if answer:
                world.reactor.settle()
                upstream = next(wire for wire in world.origin.wires if wire.received)
                upstream.received = b""
                upstream.send(answer)
            start = time.process_time()
            world.reactor.settle()
            times.append(time.process_time() - start)
    finally:
        gc.enable()
    wire.h2.decoder = HeaderDecoder(10_000_000)
    return min(times), wire.h2.receive_data(b"".join(wire.pieces))


def holds(measure, size):
    """Whether ``measure`` costs what it may for ``size`` bytes; others may disturb one."""
    return any(measure() <= MARGIN * A_64_KB * size / 65536 for _ in range(3))


@pytest.mark.parametrize(
    ("make", "size", "passed"), [(head, 60_000, 60_000), (hints, 32 * 60_000, 0)]
)
def test_a_long_head_of_a_lease(world, make, size, passed):
    def measure():
        short, _ = cost(world, make(b"~"))
        long, events = cost(world, make(LONG))
        values = [value for event in events for _, value in getattr(event, "headers", None) or ()]
        # Links of that length are more than MAX_HINT_BYTES.
        assert sum(len(value) for value in values if LONG in value) == passed
        return long - short

    assert holds(measure, size)


def test_a_redirect_of_ours_that_repeats_a_long_query(world):
    # A client's Huffman code of 5 bits: what is measured is our side of it.
    query = "a" * 8000

    def measure():
        short, _ = cost(world, b"", "/peer/tool?a")
        long, events = cost(world, b"", f"/peer/tool?{query}")
        (headers,) = [event.headers for event in events if hasattr(event, "headers")]
        assert (b":status", b"308") in headers
        assert (b"location", f"/peer/tool/?{query}".encode()) in headers
        return long - short

    # A request with such a query is decoded, judged and logged, too.
    assert holds(measure, 6 * len(query))


def test_fields_that_flush_the_table_and_hundreds_that_are_looked_for_in_it(world):
    """Each field is one look-up, whatever the table holds."""
    many = b"".join(b"x%d: %d\r\n" % (number, number) for number in range(90))

    def measure():
        few, _ = cost(world, END)
        long, events = cost(world, END.replace(b"\r\n\r\n", b"\r\n" + many + b"\r\n", 1))
        (headers,) = [event.headers for event in events if hasattr(event, "headers")]
        assert (b"x89", b"89") in headers
        return long - few

    # 50 us for each field on all of its way: 8 fields count as 64 KB.
    assert any(measure() < 90 * 50e-6 for _ in range(3))
