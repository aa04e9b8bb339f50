"""A lease that floods: ``python -m tests.abuse.hostile_origin``; it prints ``ready HOST:PORT``.

The last segment of the path says what it answers, ``/ok`` is honest. ``/sent`` tells how many bytes
it has sent in all.
"""

import asyncio
import re
import zlib

from tests.frontend.raw_frames import accept_of, frame

MOST = 600_000
"""Bytes that one answer floods with, unless the gateway ends it."""

PIECE = 16_384

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def _times(unit: bytes, most: int = MOST) -> bytes:
    return unit * (most // len(unit))


def _bomb(size: int) -> bytes:
    made = zlib.compressobj(9, wbits=-15)
    return (made.compress(bytes(size)) + made.flush(zlib.Z_SYNC_FLUSH))[:-4]


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

ANSWERS = {
    "informational": _times(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"),
    "informational-large": b"HTTP/1.1 103 E\r\nLink: <" + b"a" * 7000 + b">\r\n\r\n",
    "header": b"HTTP/1.1 200 OK\r\n" + _times(b"X-A: b\r\n"),
    "header-line": b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * MOST,
    "header-large": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: " + b"a" * 60_000 + b"\r\n\r\n",
    "chunks": CHUNKED + _times(b"1\r\nx\r\n") + b"0\r\n\r\n",
    "extensions": CHUNKED + b"1;" + b"e" * MOST,
    "trailers": CHUNKED + b"0\r\n" + _times(b"X-A: b\r\n"),
    "surplus": OK * (MOST // len(OK)),
    "large": b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + bytes(20_000_000),
    "events": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked"
    b"\r\n\r\n" + _times(b"2\r\n\n\n\r\n"),
}  # fmt: skip
ANSWERS["informational-large"] = ANSWERS["informational-large"] * 31 + OK

SOCKETS = {
    "ws-deaf": b"",
    "ws-sink": b"",
    "ws-pings": _times(frame(9, b"")),
    "ws-fragments": frame(2, b"x", fin=False) + _times(frame(0, b"x", fin=False)),
    "ws-bombs": frame(2, _bomb(16_000_000), rsv=4) * 40,
}

sent = 0


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            name = head.split(b" ")[1].decode().partition("?")[0].rpartition("/")[2]
            if not await _answer(head, name, reader, writer):
                return
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


async def _answer(
    head: bytes, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Whether another request may follow."""
    length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head, re.I)
    if length is not None:
        await reader.readexactly(int(length[1]))
    if name == "sent":
        body = b"%d" % sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    elif name in SOCKETS:
        key = re.search(rb"\r\nSec-WebSocket-Key: (\S+)\r\n", head, re.I)
        assert key is not None
        deflate = b""
        if b"permessage-deflate" in head and name != "ws-deaf":
            deflate = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
        await _write(
            writer,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_of(key[1]) + b"\r\n" + deflate + b"\r\n",
        )
        await _write(writer, SOCKETS[name])
        if name == "ws-deaf":
            writer.transport.pause_reading()
            await asyncio.sleep(3600)
        while await reader.read(PIECE):
            pass
        return False
    elif name == "silent":
        while await reader.read(PIECE):
            pass
        return False
    elif name in ANSWERS:
        await _write(writer, ANSWERS[name])
        return name in {"chunks", "header-large", "informational-large", "large"}
    else:
        writer.write(OK)
    await writer.drain()
    return True


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    global sent  # noqa: PLW0603 - one process, one count
    view = memoryview(data)
    for start in range(0, len(data), PIECE):
        part = view[start : start + PIECE]
        writer.write(part)
        await writer.drain()
        sent += len(part)


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20, backlog=1024)
    host, port = server.sockets[0].getsockname()
    print(f"ready {host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
