"""The two limits of HTTP/2, written in the file and felt by a client of the gateway behind TLS."""

from datetime import UTC, datetime

import pytest
from gateway_world import KEY
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, PingAckReceived, ResponseReceived

from portal_gateway.frontend.limits import ChannelLimits
from tests.frontend.test_negotiation import CONFIG, SecureWorld
from tests.tls.tls_world import Certified

CERTIFIED = Certified(now=datetime.now(UTC))

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Client:
    """One HTTP/2 connection to the gateway; ``goaway`` is the event that ended it."""

    def __init__(self, world):
        self._world = world
        self._wire = world.connect_tls(b"h2")
        self._read = 0
        self.h2 = H2Connection(H2Configuration(header_encoding=None))
        self.h2.initiate_connection()
        self.goaway = None
        self.pongs = 0
        self.statuses = []
        self.bodies = []
        self.turn()

    @property
    def lost(self):
        return self._wire.lost is not None

    def turn(self):
        """Exchange bytes until nothing moves any more."""
        moved = True
        while moved:
            data = self.h2.data_to_send()
            if data:
                self._wire.send(data)
            self._world.reactor.advance(0)
            news = self._wire.received[self._read :]
            self._read += len(news)
            for event in self.h2.receive_data(news) if news else ():
                if isinstance(event, ConnectionTerminated):
                    self.goaway = event
                elif isinstance(event, PingAckReceived):
                    self.pongs += 1
                elif isinstance(event, ResponseReceived):
                    self.statuses.append(int(dict(event.headers)[b":status"]))
                elif isinstance(event, DataReceived):
                    self.bodies.append(event.data)
            moved = bool(data or news)

    def ask(self):
        stream = self.h2.get_next_available_stream_id()
        fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "h"),
            (":path", "/peer/tool/"),
            ("x-api-key", KEY),
        ]
        self.h2.send_headers(stream, fields, end_stream=True)
        self.turn()
        return stream

    def ping(self):
        self.h2.ping(b"12345678")
        self.turn()

    def ask_and_reset(self):
        self.h2.reset_stream(self.ask())
        self.turn()


@pytest.fixture
def make_world(tmp_path):
    worlds = []

    def make(limits):
        config = CONFIG % CERTIFIED.write(tmp_path)
        config = config.replace("\nauth:", f"\n  limits: {{{limits}}}\nauth:")
        worlds.append(SecureWorld(config))
        return worlds[-1]

    yield make
    for world in worlds:
        world.stop()


def until_goaway(client, do):
    """How often ``do`` could be done."""
    for count in range(1000):
        do()
        if client.goaway is not None:
            return count
    raise AssertionError("no GOAWAY")


LIMITS = {
    # What the settings of each side take of it, 2 and their acknowledgement.
    "http2_idle_frames": (Client.ping, 2),
    "http2_resets": (Client.ask_and_reset, 0),
}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("limit", [10, 25, None])
def test_a_limit_of_http2(make_world, name, limit):
    do, taken = LIMITS[name]
    world = make_world("" if limit is None else f"{name}: {limit}")
    if limit is None:
        limit = getattr(ChannelLimits(), name)
    calm, client = Client(world), Client(world)
    done = until_goaway(client, lambda: do(client))
    assert done == limit - taken
    assert client.goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    hits = world.gateway.site.limit_hits
    assert {key: count for key, count in hits.items() if count} == {name: 1}
    world.reactor.advance(3)
    assert client.lost
    # Of those requests none is left, and others are served as before.
    for wire in world.origin.wires:
        assert wire.lost is not None
    calm.ask()
    world.origin.wires[-1].send(OK)
    calm.turn()
    assert (calm.statuses, calm.bodies) == ([200], [b"ok"])
    assert calm.goaway is None


def test_idle_frames_come_back_with_time(make_world):
    world = make_world("http2_idle_frames: 10")
    client = Client(world)
    for _ in range(30):
        client.ping()
        world.reactor.advance(0.011)
    assert client.pongs == 30
    assert client.goaway is None
    assert not any(world.gateway.site.limit_hits.values())
