"""The daemon as systemd sees it, through the environment and a datagram socket."""

import signal
import socket
import time
from contextlib import closing, suppress

import pytest

from tests.integration.programs import Gateway


class Manager:
    """The socket of a service manager, and what came there."""

    def __init__(self, path):
        self.name = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.name)
        self._socket.settimeout(10)

    def hear(self):
        return self._socket.recv(4096).decode().split("\n")

    def hear_of(self, line):
        """Wait for ``line``; what came with it, and how often the watchdog was served before."""
        alive = 0
        while True:
            lines = self.hear()
            if line in lines:
                return lines, alive
            assert lines == ["WATCHDOG=1"] or lines[0].startswith("STATUS="), lines
            alive += lines == ["WATCHDOG=1"]

    def hear_all(self, seconds):
        """All that came until now and comes within ``seconds``."""
        end = time.monotonic() + seconds
        heard = []
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            with suppress(TimeoutError):
                heard.append(self.hear())
        self._socket.settimeout(10)
        return heard

    def close(self):
        self._socket.close()


@pytest.fixture
def manager(tmp_path):
    with closing(Manager(tmp_path / "notify")) as manager:
        yield manager


def test_systemd_hears_ready_alive_and_stopping_at_once(manager, tmp_path):
    environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "400000"}
    drain = {"listen": "127.0.0.1:0", "drain": {"grace": "1s"}}
    with Gateway({"gateway": drain}, tmp_path, environment) as gateway:
        manager.hear_of("READY=1")
        start = time.monotonic()
        assert [manager.hear() for _ in range(4)] == [["WATCHDOG=1"]] * 4
        assert 0.5 < time.monotonic() - start < 3
        gateway.signal(signal.SIGTERM)
        lines, _ = manager.hear_of("STOPPING=1")
        assert lines[1].startswith("STATUS=")
        # A drain may be longer than the watchdog waits.
        assert [manager.hear() for _ in range(3)] == [["WATCHDOG=1"]] * 3
        assert gateway.process.wait(10) == 0
