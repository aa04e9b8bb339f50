"""A thousand slow clients at a time, of three kinds, while others are served as if nothing were.

slowhttptest makes them: headers that never end (-H), bodies that trickle (-B), readers that hardly
read (-X). Each of them has to be closed at its deadline, seen at the gateway's own sockets:
a reader that hardly reads does not notice. Whether others are served, requests of our own tell.
"""

import contextlib
import http.client
import resource
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import psutil
import pytest

from tests.integration import programs

CONNECTIONS = 1000
RATE = 200
"""Connections that slowhttptest makes a second."""

HEADER_TIMEOUT = 10
BODY_WINDOW = 10
WRITE_STALL = 30

SLACK = 5
"""Seconds beyond the deadlines: the way of each connection, and two cores for everything."""

FEW = 5
"""Connections that are there without any attack: others, and slowhttptest's own probe."""

HELD = 128 * 1024
"""Bytes that may wait for a client whose response has a length."""

KEY = f"X-API-Key: {programs.API_KEY}"


class Attack(NamedTuple):
    """Options of slowhttptest, the path it asks for, and when the last connection is closed."""

    options: tuple[str, ...]
    path: str
    deadline: float


ATTACKS = {
    "headers": Attack(("-H", "-i", "10", "-x", "24"), "/peer/slow/echo", HEADER_TIMEOUT),
    # A content type or a cookie carries the key along: there is no option for other fields.
    "bodies": Attack(
        ("-B", "-i", "10", "-s", "8192", "-x", "10", "-f", f"text/plain\r\n{KEY}"),
        "/peer/slow/echo",
        BODY_WINDOW,
    ),
    "readers": Attack(
        ("-X", "-w", "1", "-y", "10", "-n", "5", "-z", "32", "-k", "1", "-j", f"a=b\r\n{KEY}"),
        "/peer/slow/bytes?n=1000000",
        WRITE_STALL,
    ),
}


@pytest.fixture(scope="module", autouse=True)
def files() -> None:
    """As many open files as are allowed: each slow client may have a connection upstream."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[programs.Gateway]:
    origin, address = programs.origin()
    url = f"http://{address}"
    # A lease each, so that what slow clients keep busy is theirs. The limits are the defaults.
    config = {"leases": {"slow": {"url": url}, "well": {"url": url}}}
    with origin, programs.Gateway(config, tmp_path_factory.mktemp("soak")) as gateway:
        yield gateway
        assert gateway.alive
        assert gateway.take_wrong() == []


class Others:
    """Those who mean well: a request every 50 ms, on a fresh connection each tenth time."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.took: list[float] = []
        self.failed: list[str] = []

    def __enter__(self) -> "Others":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=30)
        number = 0
        while not self._over.wait(0.05):
            number += 1
            if number % 10 == 0:
                connection.close()
            start = time.monotonic()
            try:
                connection.request(
                    "GET", "/peer/well/echo", headers={"X-API-Key": programs.API_KEY}
                )
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failed.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()
            self.took.append(time.monotonic() - start)
        connection.close()


@pytest.mark.parametrize("kind", ATTACKS)
def test_slow_clients(gateway: programs.Gateway, kind: str) -> None:
    attack = ATTACKS[kind]
    ramp = CONNECTIONS / RATE
    longest = ramp + attack.deadline + SLACK
    port = int(gateway.address.rpartition(":")[2])
    memory = programs.Rss([gateway])
    with Others(gateway.address) as others, contextlib.ExitStack() as at_end:
        start = time.monotonic()
        slow = at_end.enter_context(
            subprocess.Popen(
                [
                    "slowhttptest",
                    *attack.options,
                    *("-c", str(CONNECTIONS), "-r", str(RATE), "-l", "240", "-v", "1"),
                    *("-u", f"http://{gateway.address}{attack.path}"),
                ],
                stdout=subprocess.DEVNULL,
            )
        )
        at_end.callback(slow.kill)
        process = psutil.Process(gateway.pid)
        most = 0
        took = 0.0
        while took < longest:
            memory.look()
            open_now = sum(
                connection.laddr.port == port and connection.status == psutil.CONN_ESTABLISHED
                for connection in process.net_connections("tcp")
            )
            most = max(most, open_now)
            took = time.monotonic() - start
            if took > ramp and open_now <= FEW:
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                slow.wait(0.3)
        slow.kill()
    p99 = sorted(others.took)[len(others.took) * 99 // 100]
    print(
        f"{kind}: {CONNECTIONS} clients closed after {took:.1f} s (deadline {attack.deadline} s,"
        f" {ramp:.0f} s to connect); of {len(others.took)} other requests {len(others.failed)}"
        f" failed, p99 {p99 * 1000:.0f} ms; {memory.grown / 2**20:.0f} MiB more in the gateway"
    )
    assert others.failed == []
    assert len(others.took) > took * 5
    assert most >= CONNECTIONS
    assert open_now <= FEW
    assert memory.grown < CONNECTIONS * HELD + 20 * 2**20
