"""SIGTERM to a running gateway: what is under way is finished, what comes later is told so."""

import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest

from tests.integration.calls import Client
from tests.integration.programs import API_KEY, Gateway, Program, wait_until

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Holding:
    """A service that answers each request when it is let, and counts those that came."""

    def __init__(self):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listening.getsockname()[1]}"
        self.let = threading.Event()
        self.seen = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection):
        with connection:
            data = b""
            while b"\r\n\r\n" not in data or data.endswith(b"half"):
                more = connection.recv(65536)
                if not more:
                    return
                data += more
            self.seen += 1
            self.let.wait(30)
            with suppress(OSError):
                connection.sendall(ANSWER)

    def close(self):
        self.let.set()
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def service():
    with closing(Holding()) as service:
        yield service


def gateway_for(service, tmp_path, grace="0s"):
    return Gateway(
        {
            "gateway": {"listen": "127.0.0.1:0", "drain": {"grace": grace}},
            "leases": {"tool": {"url": f"http://{service.address}"}},
        },
        tmp_path,
    )


def ask(gateway: Program):
    with Client(gateway.address, "/peer/tool", API_KEY) as client:
        return client.request("GET", "/")


def test_4_3_requests_under_way_are_answered_and_the_exit_is_clean(service, tmp_path):
    with gateway_for(service, tmp_path) as gateway, ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(ask, gateway) for _ in range(10)]
        host, port = gateway.address.split(":")
        half = socket.create_connection((host, int(port)))
        half.sendall(
            b"POST /peer/tool/ HTTP/1.1\r\nHost: a\r\n"
            b"X-API-Key: %b\r\nContent-Length: 8\r\n\r\nhalf" % API_KEY.encode()
        )
        wait_until(lambda: service.seen == 10, 10, "ten requests at the service")
        gateway.signal(signal.SIGTERM)
        wait_until(lambda: refuses(gateway), 5, "new connections being refused")
        half.sendall(b"rest")
        wait_until(lambda: service.seen == 11, 10, "the half that was missing")
        service.let.set()
        assert [answer.result().status for answer in answers] == [200] * 10
        with half:
            received = b""
            while more := half.recv(65536):
                received += more
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in received.lower()
        assert gateway.process.wait(10) == 0


def refuses(gateway):
    host, port = gateway.address.split(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return True
    return False


def test_4_3_in_the_grace_requests_are_taken_and_readiness_says_that_it_ends(service, tmp_path):
    service.let.set()
    with gateway_for(service, tmp_path, grace="2s") as gateway:
        start = time.monotonic()
        gateway.signal(signal.SIGTERM)
        with Client(gateway.address) as client:
            wait_until(
                lambda: client.request("GET", "/health/ready").status == 503, 1, "readiness ending"
            )
        assert time.monotonic() - start < 1
        answer = ask(gateway)
        assert (answer.status, answer.fields["Connection"]) == (200, "close")
        assert gateway.process.wait(10) == 0
        assert 1.9 < time.monotonic() - start < 5


def test_4_3_a_second_signal_ends_at_once(service, tmp_path):
    with (
        gateway_for(service, tmp_path, grace="60s") as gateway,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(ask, gateway)
        wait_until(lambda: service.seen == 1, 10, "the request at the service")
        gateway.signal(signal.SIGTERM)
        gateway.wait_for_line("ending when the requests under way are over")
        start = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert gateway.process.wait(10) == 0
        assert time.monotonic() - start < 3
        assert isinstance(answer.exception(), OSError)
