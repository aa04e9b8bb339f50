"""Two hundred readers at a crawl of a lease that would send fast: what they cost the gateway."""

import resource
import selectors
import socket
import time

import pytest

from tests.integration import programs

READERS = 200
SECONDS = 20
CRAWL = 1024
"""Bytes that each reader takes in a second."""


@pytest.mark.parametrize("kind", ["sse", "bytes"])
def test_slow_readers(kind: str, tmp_path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    origin, address = programs.origin()
    path = {"sse": "/sse?n=10000000&pause=0", "bytes": "/bytes?n=1000000000&chunked=1"}[kind]
    config = {"leases": {"slow": {"url": f"http://{address}"}}}
    with origin, programs.Gateway(config, tmp_path) as gateway:
        host, port = gateway.address.split(":")
        request = (
            f"GET /peer/slow{path} HTTP/1.1\r\nHost: h\r\nX-API-Key: {programs.API_KEY}\r\n\r\n"
        )
        memory = programs.Rss([gateway])
        readers = []
        selector = selectors.DefaultSelector()
        for _ in range(READERS):
            reader = socket.socket()
            # A small window, so that the bytes wait where they are counted.
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect((host, int(port)))
            reader.sendall(request.encode())
            readers.append(reader)
            selector.register(reader, selectors.EVENT_READ)
        taken = 0
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < SECONDS:
            memory.look()
            if taken < elapsed * CRAWL * READERS:
                for key, _ in selector.select(0.1):
                    taken += len(key.fileobj.recv(128))  # type: ignore[union-attr]
            else:
                programs.wait_until(
                    lambda: taken < (time.monotonic() - start) * CRAWL * READERS,  # noqa: B023
                    5,
                    "the next bytes being due",
                )
        each = memory.grown / READERS / 1024
        print(
            f"{kind}: {READERS} readers took {taken / 2**20:.1f} MiB in {elapsed:.0f} s; the"
            f" gateway grew by {memory.grown / 2**20:.1f} MiB, {each:.0f} KiB for each"
        )
        for reader in readers:
            reader.close()
        selector.close()
        assert taken > 0
        assert gateway.take_wrong() == []
        assert each < 64
