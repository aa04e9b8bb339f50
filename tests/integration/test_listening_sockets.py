"""Listening sockets of our own, and how one is left to others without losing a connection."""

import errno
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from portal_gateway.frontend.leaving import others_at, step_aside, take_waiting
from portal_gateway.frontend.listening_sockets import ListeningSockets
from tests.integration.programs import free_port


@pytest.fixture
def sockets():
    made = ListeningSockets(shared=True)
    yield made
    made.close()
    made.remove()


def connects(address, family=socket.AF_INET, within=0.3):
    """Whether somebody takes a connection: with a client that gives up before it asks again."""
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(within)
        try:
            client.connect(address)
        except OSError:
            return False
        return True


@pytest.mark.parametrize(
    ("endpoint", "family", "host"),
    [
        ("tcp:0:interface=127.0.0.1:backlog=4096", socket.AF_INET, "127.0.0.1"),
        ("tcp6:0:interface=\\:\\:1", socket.AF_INET6, "::1"),
        ("tcp:0:interface=localhost", socket.AF_INET, "127.0.0.1"),
        ("tcp:0", socket.AF_INET, "0.0.0.0"),
    ],
)
def test_a_socket_is_opened_once_as_the_endpoint_says(sockets, endpoint, family, host):
    opened = sockets.open(endpoint)
    assert sockets.open(endpoint) is opened
    assert opened.family == family
    assert opened.getsockname()[0] == host
    assert not opened.getblocking()
    assert connects(opened.getsockname()[:2], family)
    assert not opened.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


def test_an_address_that_is_taken(sockets):
    address = sockets.open("tcp:0:interface=127.0.0.1").getsockname()
    with pytest.raises(OSError, match="in use") as caught:
        sockets.open(f"tcp:{address[1]}:interface=127.0.0.1")
    assert caught.value.errno == errno.EADDRINUSE


def test_two_with_reuse_port_share_an_address():
    first, second = ListeningSockets(reuse_port=True), ListeningSockets(reuse_port=True)
    with closing(first), closing(second):
        port = first.open("tcp:0:interface=127.0.0.1").getsockname()[1]
        second.open(f"tcp:{port}:interface=127.0.0.1")


def test_a_unix_socket_has_its_mode_and_one_owner(sockets, tmp_path):
    path = tmp_path / "gateway.sock"
    sockets.open(f"unix:{path}:mode=660")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert connects(str(path), socket.AF_UNIX)
    other = ListeningSockets(shared=True)
    with pytest.raises(OSError, match="another process listens there"):
        other.open(f"unix:{path}")
    sockets.close()
    sockets.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_unix_socket_that_a_killed_process_left_is_replaced(sockets, tmp_path):
    path = tmp_path / "gateway.sock"
    code = (
        "import os, sys; from portal_gateway.frontend.listening_sockets import ListeningSockets;"
        "made = ListeningSockets(); made.open('unix:' + sys.argv[1]); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=False)
    assert path.is_socket()
    sockets.open(f"unix:{path}")
    assert connects(str(path), socket.AF_UNIX)


def test_a_socket_that_systemd_did_not_pass(sockets):
    for endpoint in ("systemd:INET:index=7", "systemd:INET:name=https"):
        with pytest.raises(OSError, match="no such socket was passed"):
            sockets.open(endpoint)


class Told(Factory):
    noisy = False

    def __init__(self):
        self.came = []

    def buildProtocol(self, address):
        self.came.append(address)
        return Protocol()


class LeavingTests(TestCase):
    """How a socket is left, with the reactor's real ports."""

    def listen(self, sockets, endpoint):
        told = Told()
        port = sockets.listen(reactor, endpoint, told)
        self.addCleanup(sockets.close)
        self.addCleanup(port.stopListening)
        return port, told

    def test_new_clients_are_ignored_and_what_has_begun_goes_on(self):
        for interface, family in (("127.0.0.1", socket.AF_INET), ("\\:\\:1", socket.AF_INET6)):
            sockets = ListeningSockets(reuse_port=True)
            port, told = self.listen(sockets, f"tcp:0:interface={interface}")
            address = port.socket.getsockname()[:2]
            with socket.create_connection(address, 5) as before:
                step_aside(port, None)
                self.assertFalse(connects(address, family))
                before.sendall(b"still here")
                self.assertEqual(told.came, [])
                take_waiting(port)
                self.assertEqual(len(told.came), 1)

    def test_all_that_wait_are_taken(self):
        port, told = self.listen(ListeningSockets(), "tcp:0:interface=127.0.0.1:backlog=500")
        address = port.socket.getsockname()
        clients = [socket.create_connection(address, 5) for _ in range(300)]
        take_waiting(port)
        self.assertEqual(len(told.came), 300)
        for client in clients:
            client.close()

    def came(self, port, count=40):
        """How many of so many clients somebody took at once."""
        return sum(connects(port.socket.getsockname(), within=0.05) for _ in range(count))

    def pair(self):
        endpoint = f"tcp:{free_port()}:interface=127.0.0.1"
        both = [ListeningSockets(reuse_port=True) for _ in range(2)]
        return [(sockets, endpoint, *self.listen(sockets, endpoint)) for sockets in both]

    def test_clients_are_directed_to_the_one_that_takes_over(self):
        (sockets, endpoint, old, _), (_, _, new, told) = self.pair()
        sockets.step_aside(endpoint, old)
        self.assertEqual(self.came(new), 40)
        take_waiting(new)
        self.assertEqual(len(told.came), 40)

    def test_or_to_the_one_before_when_the_new_one_goes(self):
        (_, _, old, told), (sockets, endpoint, new, _) = self.pair()
        sockets.step_aside(endpoint, new)
        self.assertEqual(self.came(old), 40)
        take_waiting(old)
        self.assertEqual(len(told.came), 40)

    def test_one_after_the_other(self):
        endpoint = f"tcp:{free_port()}:interface=127.0.0.1"
        sockets = ListeningSockets(reuse_port=True)
        old, _ = self.listen(sockets, endpoint)

        def again(_closed, old, sockets, left):
            if not left:
                return None
            following = ListeningSockets(reuse_port=True)
            new, told = self.listen(following, endpoint)
            # The kernel deals them out again: what directed them is gone with the one that did.
            self.assertEqual(self.came(new), 40)
            take_waiting(new)
            self.assertTrue(5 <= len(told.came) <= 35, len(told.came))
            sockets.step_aside(endpoint, old)
            self.assertEqual(self.came(new), 40)
            take_waiting(new)
            take_waiting(old)
            sockets.release(endpoint)
            return old.stopListening().addCallback(again, new, following, left - 1)

        return again(None, old, sockets, 4)

    def test_with_more_than_two_they_come_again_after_a_second(self):
        (sockets, endpoint, old, _), _ = self.pair()
        third, _ = self.listen(ListeningSockets(reuse_port=True), endpoint)
        self.assertEqual(len(others_at(old.socket)), 2)
        sockets.step_aside(endpoint, old)
        self.assertTrue(10 <= self.came(third) < 40)

    def test_one_that_is_alone_ignores_everybody(self):
        sockets = ListeningSockets(reuse_port=True)
        endpoint = "tcp:0:interface=127.0.0.1"
        port, _ = self.listen(sockets, endpoint)
        self.assertEqual(others_at(port.socket), frozenset())
        sockets.step_aside(endpoint, port)
        self.assertEqual(self.came(port, 5), 0)

    def test_a_unix_socket_stays_when_one_of_its_processes_ends(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name, "s")
        sockets = ListeningSockets(shared=True)
        endpoint = f"unix:{path}:mode=600"
        first, _ = self.listen(sockets, endpoint)
        second, told = self.listen(sockets, endpoint)
        ended = first.stopListening()

        def look(_ended):
            self.assertTrue(connects(str(path), socket.AF_UNIX))
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
            take_waiting(second)
            self.assertEqual(len(told.came), 1)
            sockets.close()
            sockets.remove()

        return ended.addCallback(look)
