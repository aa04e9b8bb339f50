"""Clients of HTTP/2 that break its rules, or hardly read, beside one that does nothing wrong."""

import contextlib
import select
import socket
import ssl
import time

import h2.connection
import h2.events
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.frontend.http2_world import frame
from tests.integration import programs
from tests.integration.test_tls import NOW, ROOT
from tests.tls.tls_world import Certified

STALL = 1.0
PLACES = 10
BIG = 50_000_000

DATA, END_STREAM, END_HEADERS = 0, 1, 4


class Connection:
    """One connection, by the h2 library and, where that does as it should, by hand."""

    def __init__(self, gateway, *, window=65_535):
        host, _, port = gateway.address.rpartition(":")
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        raw = socket.create_connection((host, int(port)), timeout=10)
        self.socket = context.wrap_socket(raw, server_hostname="localhost")
        self.socket.settimeout(0)
        self.h2 = h2.connection.H2Connection()
        self.h2.local_settings = h2.settings.Settings(
            client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window}
        )
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(2**30)
        self.authority = gateway.address
        self.status, self.resets, self.ended = {}, {}, set()
        self.goaway = None

    def headers(self, method, path, *more):
        return [
            (":method", method),
            (":scheme", "https"),
            (":authority", self.authority),
            (":path", path),
            ("x-api-key", programs.API_KEY),
            *more,
        ]

    def send(self, data=b""):
        self.socket.settimeout(10)
        self.socket.sendall(self.h2.data_to_send() + data)
        self.socket.settimeout(0)

    def ask(self, path, *more, method="GET", end=True):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, self.headers(method, path, *more), end_stream=end)
        return stream

    def read(self, seconds):
        """Take what comes until nothing has for a moment, ``seconds`` at most."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                data = self.socket.recv(65536)
            except ssl.SSLWantReadError:
                if not select.select([self.socket], [], [], min(left, 0.05))[0]:
                    return
                continue
            if not data:
                return
            for event in self.h2.receive_data(data):
                self._note(event)
            self.send()

    def read_until(self, condition, seconds=15.0):
        def over():
            self.read(0.2)
            return condition()

        programs.wait_until(over, seconds, "what a client of HTTP/2 waits for")

    def _note(self, event):
        if isinstance(event, h2.events.ResponseReceived):
            self.status[event.stream_id] = dict(event.headers)[b":status"]
        elif isinstance(event, h2.events.StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event.error_code

    def close(self):
        self.socket.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, origin):
    directory = tmp_path_factory.mktemp("faults")
    Certified("first", ROOT, now=NOW).write(directory)
    program = programs.Gateway(
        {
            "gateway": {
                "listen": "127.0.0.1:0",
                "tls": {"cert_file": "cert.pem", "key_file": "key.pem"},
                "limits": {"write_stall": f"{STALL:g}s"},
            },
            "portal": {"pool": {"max_active": PLACES, "wait_limit": "200ms"}},
            "leases": {"plain": {"url": f"http://{origin}"}},
        },
        directory,
    )
    yield program
    program.stop()


def the_pool_is_free(gateway):
    """As many requests at once as there are places, all answered."""
    other = Connection(gateway)
    streams = [other.ask("/peer/plain/slow?seconds=0.3") for _ in range(PLACES)]
    other.send()
    other.read_until(lambda: len(other.ended) == PLACES)
    assert {other.status[stream] for stream in streams} == {b"200"}
    other.close()


FAULTS = {
    "trailers that end the body too early": ("10", b"hello", 0, True),
    "too short": ("10", b"hello", END_STREAM, False),
    "too long": ("3", b"hello", END_STREAM, False),
}


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("name", FAULTS)
def test_bodies_of_another_length_cost_their_streams_only(gateway, name, at_once):
    length, body, flags, trailers = FAULTS[name]
    connection = Connection(gateway)
    innocent = connection.ask("/peer/plain/slow?seconds=1.5")
    connection.send()
    faulty = []
    for _ in range(2 * PLACES):
        stream = connection.ask(
            "/peer/plain/echo", ("content-length", length), method="POST", end=False
        )
        faulty.append(stream)
        if not at_once:
            connection.send()
            connection.read(0.02)
        connection.send(frame(DATA, body, flags, stream))
        if trailers:
            block = connection.h2.encoder.encode([("x-sum", "1")])
            connection.send(frame(1, block, END_HEADERS | END_STREAM, stream))
    connection.read_until(lambda: innocent in connection.ended)
    # More at once than the pool has places: a few may have been refused before they were judged.
    assert [connection.resets.get(stream) for stream in faulty].count(
        ErrorCodes.PROTOCOL_ERROR
    ) >= PLACES
    assert connection.status[innocent] == b"200"
    assert connection.goaway is None
    later = connection.ask("/peer/plain/echo")
    connection.send()
    connection.read_until(lambda: later in connection.ended)
    assert connection.status[later] == b"200"
    the_pool_is_free(gateway)
    connection.close()


@pytest.mark.parametrize("lengths", [["abc"], ["5", "6"], ["5"]])
def test_a_length_that_is_none_beside_an_innocent_stream(gateway, lengths):
    connection = Connection(gateway)
    innocent = connection.ask("/peer/plain/slow?seconds=0.5")
    faulty = connection.ask(
        "/peer/plain/echo", *[("content-length", length) for length in lengths], method="POST"
    )
    connection.send()
    connection.read_until(lambda: innocent in connection.ended)
    assert connection.resets == {faulty: ErrorCodes.PROTOCOL_ERROR}
    assert connection.status[innocent] == b"200"
    assert connection.goaway is None
    the_pool_is_free(gateway)
    connection.close()


def test_windows_that_open_byte_by_byte_hold_no_places(gateway):
    connection = Connection(gateway, window=0)
    streams = [connection.ask(f"/peer/plain/bytes?n={BIG}") for _ in range(PLACES)]
    connection.send()
    began = time.monotonic()
    while len(connection.resets) < PLACES and time.monotonic() < began + 10 * STALL:
        connection.read(STALL / 2)
        for stream in streams:
            if stream not in connection.resets:
                connection.h2.increment_flow_control_window(1, stream)
        connection.send()
    assert connection.resets == dict.fromkeys(streams, ErrorCodes.CANCEL)
    assert connection.goaway is None
    the_pool_is_free(gateway)
    # The connection itself is as good as before.
    later = connection.ask("/peer/plain/status/204")
    connection.send()
    connection.read_until(lambda: later in connection.ended)
    connection.close()


def test_a_client_of_http_1_1_that_reads_byte_by_byte_holds_no_place(gateway):
    host, _, port = gateway.address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    slow = []
    for _ in range(PLACES):
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((host, int(port)))
        client = context.wrap_socket(raw, server_hostname="localhost")
        client.sendall(
            f"GET /peer/plain/bytes?n={BIG} HTTP/1.1\r\nHost: {gateway.address}\r\n"
            f"X-API-Key: {programs.API_KEY}\r\n\r\n".encode()
        )
        slow.append(client)

    began = time.monotonic()
    while time.monotonic() < began + 4 * STALL:
        for client in slow:
            with contextlib.suppress(OSError):
                client.recv(1)
        select.select([], [], [], STALL / 2)
    the_pool_is_free(gateway)
    for client in slow:
        client.close()
