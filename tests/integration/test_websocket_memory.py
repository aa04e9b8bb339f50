"""WebSockets over real sockets whose messages inflate a thousandfold, to a lease that does not read
and to one that does."""

import contextlib
import socket
import threading
import zlib
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.frontend.raw_frames import BINARY, CLIENT_KEY, NO_TAKEOVER, accept_of, frame
from tests.integration import programs
from tests.integration.calls import Client

SIZE = 16 * 1024 * 1024
MESSAGES = 4
SOCKETS = 40
MOST = 256 * 1024
"""Bytes that one WebSocket may hold. Measured is resident memory, with the objects of its two
connections and what the allocator keeps besides."""


def bomb() -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(bytes(SIZE)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return frame(BINARY, packed[:-4], rsv=4, mask=True)


class Lease:
    """An origin that answers 101 to every connection, and reads on only when it may."""

    def __init__(self, *, deflate: bool) -> None:
        self._deflate = deflate
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(30)
            self.connections.append(connection)
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
            more = b"Sec-WebSocket-Extensions: permessage-deflate;" + NO_TAKEOVER + b"\r\n"
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                + accept_of(key)
                + b"\r\n"
                + (more if self._deflate else b"")
                + b"\r\n"
            )

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self.connections:
            connection.close()


@pytest.fixture(params=[True, False], ids=["compressing lease", "plain lease"])
def lease(request: pytest.FixtureRequest) -> Iterator[Lease]:
    lease = Lease(deflate=request.param)
    yield lease
    lease.close()


@pytest.fixture
def gateway(lease: Lease, tmp_path: Path) -> Iterator[programs.Gateway]:
    leases = {"tool": {"url": f"http://127.0.0.1:{lease.port}"}}
    gateway = programs.Gateway({"leases": leases}, tmp_path)
    yield gateway
    gateway.stop()


def websocket(address: str) -> socket.socket:
    """An open WebSocket of a client that can compress."""
    host, _, port = address.partition(":")
    client = socket.create_connection((host, int(port)), 20)
    client.sendall(
        (
            f"GET /ws/tool/ HTTP/1.1\r\nHost: {address}\r\nX-API-Key: {programs.API_KEY}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {CLIENT_KEY}\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        ).encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(65536)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"permessage-deflate" in head
    return client


def others_are_answered(gateway: programs.Gateway) -> None:
    """Ask for something that no WebSocket has to do with."""
    with Client(gateway.address) as client:
        assert client.request("GET", "/health").status == HTTPStatus.OK


def test_bombs_to_a_lease_that_does_not_read_are_held_small(
    lease: Lease, gateway: programs.Gateway
) -> None:
    sent = bomb() * MESSAGES
    clients = [websocket(gateway.address) for _ in range(SOCKETS)]
    memory = programs.Rss([gateway])
    try:
        for client in clients:
            client.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                client.sendall(sent)
            memory.look()
        for _ in range(20):
            others_are_answered(gateway)
            memory.look()
    finally:
        for client in clients:
            client.close()
    assert memory.grown <= SOCKETS * MOST


def test_a_bomb_comes_whole_and_others_are_answered_meanwhile(
    lease: Lease, gateway: programs.Gateway
) -> None:
    client = websocket(gateway.address)
    client.sendall(bomb())
    (connection,) = lease.connections
    deflated = lease._deflate
    inflater = zlib.decompressobj(wbits=-15)
    size, data, last, asked = 0, b"", False, 0
    while not last:
        while len(data) < 2 or len(data) < (needed := _needed(data)):
            data += connection.recv(65536)
        header, payload = data[: needed - _length(data)], data[needed - _length(data) : needed]
        plain = _unmasked(payload, header[-4:])
        size += len(inflater.decompress(plain)) if deflated else len(plain)
        last = bool(data[0] & 0x80)
        data = data[needed:]
        if size > asked * SIZE // 4:
            others_are_answered(gateway)
            asked += 1
    client.close()
    assert size == SIZE
    assert asked >= 4


def _length(data: bytes) -> int:
    short = data[1] & 127
    if short < 126:
        return short
    return int.from_bytes(data[2 : 4 if short == 126 else 10], "big")


def _needed(data: bytes) -> int:
    """Bytes of the masked frame that ``data`` begins with, as far as that is known."""
    short = data[1] & 127
    header = 2 + (0 if short < 126 else 2 if short == 126 else 8) + 4
    return header if len(data) < header else header + _length(data)


def _unmasked(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    mask = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(payload, "big") ^ mask).to_bytes(size, "big")
