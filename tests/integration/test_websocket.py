"""WebSockets through the gateway, Portal's own relay and a tunnel on its SDK."""

import os
import socket
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from tests.frontend.raw_frames import (
    BINARY,
    CLIENT_KEY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    accept_of,
    close,
    frame,
    read_frames,
)
from tests.integration import programs
from tests.integration.stacks import PLAIN_NAME, Stack, Way

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("portal")]

LARGE = 1_000_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Gateway, Portal's relay, SDK tunnel, and the demo's agent, which has an echo at ``/ws``."""
    agent = programs.Program(
        "agent",
        programs.python("tests.integration.run_agent"),
        environment={"PYTHONPATH": os.pathsep.join((str(programs.SOURCE), str(programs.ROOT)))},
        ours=True,
    )
    address = agent.wait_for_line(r"ready (\S+)$").group(1)
    way = Way("1.4.14", genuine_relay=True, sdk_tunnel=True)
    stack = Stack(way, address, tmp_path_factory.mktemp("stack"))
    yield stack
    stack.close()
    agent.stop()


class Socket:
    """A WebSocket client by hand."""

    def __init__(self, address: str, target: str, *fields: str) -> None:
        host, _, port = address.partition(":")
        self._socket = socket.create_connection((host, int(port)), 20)
        head = [
            f"GET {target} HTTP/1.1",
            f"Host: {address}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {CLIENT_KEY}",
            *fields,
        ]
        self._socket.sendall("\r\n".join([*head, "", ""]).encode())
        self._data = b""
        while b"\r\n\r\n" not in self._data:
            self._receive()
        self.head, _, self._data = self._data.partition(b"\r\n\r\n")

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise EOFError
        self._data += data

    def send(self, *frames: Frame) -> None:
        self._socket.sendall(
            b"".join(frame(item.opcode, item.payload, fin=item.fin, mask=True) for item in frames)
        )

    def next(self) -> Frame:
        """The next message, its fragments joined, or control frame."""
        opcode, parts = None, b""
        while True:
            found, _ = read_frames(self._data, expect_mask=False)
            if not found:
                self._receive()
                continue
            first = found[0]
            self._data = self._data[len(frame(first.opcode, first.payload)) :]
            if first.opcode >= CLOSE:
                return first
            opcode = first.opcode or opcode
            parts += first.payload
            if first.fin:
                return Frame(opcode, parts)

    def ended(self) -> bool:
        return self._socket.recv(1) == b""

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("prefix", ["peer", "ws"])
def test_an_echo_over_the_relay(stack: Stack, prefix: str) -> None:
    address = stack.gateway.address
    key = f"X-API-Key: {programs.API_KEY}"
    client = Socket(address, f"/{prefix}/{PLAIN_NAME}/ws", key)
    assert client.head.startswith(b"HTTP/1.1 101 ")
    assert accept_of(CLIENT_KEY.encode()) in client.head
    large = os.urandom(LARGE)
    client.send(Frame(TEXT, "안녕".encode()), Frame(PING, b"p"), Frame(BINARY, large))
    assert client.next() == Frame(TEXT, "안녕".encode())
    assert client.next() == Frame(PONG, b"p")
    assert client.next() == Frame(BINARY, large)
    client.send(Frame(TEXT, b"two ", fin=False), Frame(0, b"parts"))
    assert client.next() == Frame(TEXT, b"two parts")
    client.send(Frame(CLOSE, close(1000, b"bye")))
    assert client.next().payload[:2] == close(1000)
    assert client.ended()
    client.close()


def test_a_browser_s_key(stack: Stack) -> None:
    offered = f"Sec-WebSocket-Protocol: portal-key.{programs.API_KEY}"
    client = Socket(stack.gateway.address, f"/ws/{PLAIN_NAME}/ws", offered)
    assert client.head.startswith(b"HTTP/1.1 101 ")
    client.send(Frame(TEXT, b"hello"))
    assert client.next() == Frame(TEXT, b"hello")
    client.close()


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        (f"/ws/{PLAIN_NAME}/ws", (), HTTPStatus.UNAUTHORIZED),
        (f"/ws/{PLAIN_NAME}/none", (f"X-API-Key: {programs.API_KEY}",), HTTPStatus.NOT_FOUND),
        ("/ws/nobody/ws", (f"X-API-Key: {programs.API_KEY}",), HTTPStatus.NOT_FOUND),
    ],
)
def test_without_a_101_there_is_none(
    stack: Stack, path: str, fields: tuple[str, ...], status: HTTPStatus
) -> None:
    client = Socket(stack.gateway.address, path, *fields)
    assert client.head.startswith(b"HTTP/1.1 %d " % status)
    client.close()
