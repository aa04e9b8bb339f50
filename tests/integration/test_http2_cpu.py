"""CPU of the gateway's process while leases answer over HTTP/2 with the longest heads there are."""

import contextlib
import socket
import threading

import psutil
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamEnded

from portal_gateway.wire.http2_header_blocks import HeaderDecoder
from tests.integration import programs
from tests.integration.test_tls import HTTPS

ASKED = 8

A_64_KB = 0.001
"""Seconds of CPU for 64 KB of response heads."""

MARGIN = 20
"""TLS, the way to the lease and back, and 10 ms that a process' times are rounded to."""

LONG = b"~" * 60_000

END = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

ANSWERS = {
    b"/short": END,
    b"/field": b"HTTP/1.1 200 OK\r\nX-A: " + LONG + b"\r\nContent-Length: 2\r\n\r\nok",
    b"/hints": (b"HTTP/1.1 103 Early Hints\r\nLink: <" + LONG + b">\r\n\r\n") * 32 + END,
}


class Lease:
    """Answers each path with the bytes of `ANSWERS`."""

    def __init__(self):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._connections = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._connections.append(connection)
                thread = threading.Thread(target=self._answer, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _answer(self, connection):
        received = b""
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                received += data
                while b"\r\n\r\n" in received:
                    head, _, received = received.partition(b"\r\n\r\n")
                    connection.sendall(ANSWERS[head.split(b" ")[1]])

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def https(tmp_path_factory):
    lease = Lease()
    served = HTTPS(tmp_path_factory.mktemp("http2-cpu"), lease.address)
    yield served
    served.program.stop()
    lease.close()


def ask(https, target):
    """One request; the header fields of its final answer."""
    context = https.context()
    context.set_alpn_protocols(["h2"])
    h2 = H2Connection(H2Configuration(header_encoding=None))
    h2.initiate_connection()
    h2.decoder = HeaderDecoder(100_000_000)
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost")]
    h2.send_headers(
        1, [*fields, (":path", target), ("x-api-key", programs.API_KEY)], end_stream=True
    )
    found = None
    with https.connect(context) as connection:
        connection.sendall(h2.data_to_send())
        while True:
            for event in h2.receive_data(connection.recv(1_000_000)):
                if isinstance(event, ResponseReceived):
                    found = dict(event.headers)
                if isinstance(event, StreamEnded):
                    return found
            connection.sendall(h2.data_to_send())


def cpu(https, target, status):
    """Seconds that the gateway takes for `ASKED` such requests."""
    process = psutil.Process(https.program.pid)
    before = process.cpu_times()
    for _ in range(ASKED):
        assert ask(https, target)[b":status"] == status
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system


@pytest.mark.parametrize(
    ("short", "long", "status", "size"),
    [
        ("/peer/plain/short", "/peer/plain/field", b"200", 60_000),
        ("/peer/plain/short", "/peer/plain/hints", b"200", 32 * 60_000),
        ("/peer/plain?a", "/peer/plain?" + "~" * 8000, b"308", 24_000),
    ],
    ids=["one field", "early hints", "a redirect of ours"],
)
def test_a_long_head_costs_what_its_bytes_do(https, short, long, status, size):
    ask(https, short)

    def holds():
        base = cpu(https, short, status)
        return cpu(https, long, status) - base <= MARGIN * A_64_KB * ASKED * max(size / 65536, 0.5)

    assert any(holds() for _ in range(3))
