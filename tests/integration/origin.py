"""The service behind the leases: a small HTTP/1.1 server whose answers a test can predict.

Run as a process of its own (``python origin.py [PORT]``); it prints ``ready HOST:PORT`` when it
listens.

====================  ==========================================================================
``/echo``             JSON: method, target as it arrived, header fields in order, and the body's
                      length, SHA-256, framing and trailer fields; with ``?pause=S`` it stops
                      reading for ``S`` seconds after the first piece
``/mirror``           the request's body, piece by piece while it arrives, in chunks
``/bytes?n=N``        ``N`` bytes of :func:`pattern` with Content-Length; ``&chunked=1`` in
                      chunks; ``&close=1`` with neither, ended by the end of the connection
``/slow?seconds=S``   an answer after ``S`` seconds
``/sse?n=N&pause=S``  ``N`` server-sent events, ``S`` seconds apart
``/status/NNN``       that status, with a body where the status can have one
``/cut?n=N``          Content-Length ``N``, half of the body, and the end of the connection
``/seen``             JSON: how often each ``X-Call`` was seen, and the connections accepted
====================  ==========================================================================

It is written apart from the product on purpose: it shares no code with the gateway that it judges.
"""

import asyncio
import hashlib
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qs, urlsplit

__all__ = ["BLOCK", "pattern", "pattern_digest"]

BLOCK = random.Random(20130).randbytes(1_000_003)
"""What bodies are made of; its length is no multiple of any buffer's, so moved bytes show."""

PIECE = 128 * 1024
"""Bytes read or written at once."""

MAX_HEAD = 64 * 1024
NO_BODY = (204, 304)

Fields = list[tuple[str, str]]


def pattern(length: int, piece: int = PIECE) -> Iterator[bytes]:
    """The first ``length`` bytes of :data:`BLOCK` repeated, at most ``piece`` at once."""
    done = 0
    while done < length:
        start = done % len(BLOCK)
        data = BLOCK[start : start + min(piece, length - done)]
        done += len(data)
        yield data


def pattern_digest(length: int) -> str:
    """The SHA-256 of :func:`pattern`, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in pattern(length):
        digest.update(piece)
    return digest.hexdigest()


class Call:
    """One request on one connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
    ) -> None:
        self.reader = reader
        self.writer = writer
        line, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = line.split(" ")
        self.fields: Fields = []
        for text in lines:
            if text:
                name, _, value = text.partition(":")
                self.fields.append((name, value.strip()))
        parts = urlsplit(self.target)
        self.path = parts.path
        self.query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self.chunked = self.field("transfer-encoding").lower() == "chunked"
        self.length = int(self.field("content-length") or 0)
        self.keep = self.field("connection").lower() != "close" and self.version == "HTTP/1.1"
        self.trailers: Fields = []
        self.body_read = False
        self.invited = False

    def field(self, name: str) -> str:
        return next((value for key, value in self.fields if key.lower() == name), "")

    def invite(self) -> None:
        """Ask for the body where the client waits to be asked; once, before any answer."""
        if not self.invited and self.field("expect").lower() == "100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.invited = True

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body in pieces; afterwards ``trailers`` are known."""
        if self.body_read:
            return
        self.body_read = True
        self.invite()
        left = self.length
        while left > 0 or self.chunked:
            if self.chunked and left == 0:
                left = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
                if left == 0:
                    break
            piece = await self.reader.read(min(left, PIECE))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            if self.chunked and left == 0:
                await self.reader.readexactly(2)
            yield piece
        while self.chunked:
            line = (await self.reader.readuntil(b"\r\n")).decode("latin-1").rstrip("\r\n")
            if not line:
                break
            name, _, value = line.partition(":")
            self.trailers.append((name, value.strip()))

    def head(self, status: int, *fields: tuple[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} Origin", "Server: origin", *(f"{n}: {v}" for n, v in fields)]
        if not self.keep:
            lines.append("Connection: close")
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        if status in NO_BODY:
            self.head(status)
            return
        self.head(status, ("Content-Type", kind), ("Content-Length", str(len(body))))
        if self.method != "HEAD":
            self.writer.write(body)

    def answer_json(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode(), "application/json")

    def chunk(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))


class Origin:
    """The server: its routes, and what it remembers of its callers."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.connections = 0
        self.routes = {
            "bytes": self.send_bytes,
            "cut": self.cut,
            "echo": self.echo,
            "mirror": self.mirror,
            "seen": self.show_seen,
            "slow": self.slow,
            "set-cookie": self.set_cookie,
            "sse": self.events,
            "status": self.status,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                call = Call(reader, writer, await reader.readuntil(b"\r\n\r\n"))
                if name := call.field("x-call"):
                    self.seen[name] += 1
                route = self.routes.get(call.path.split("/")[1], self.missing)
                await route(call)
                async for _ in call.body():
                    pass
                await writer.drain()
                if not call.keep:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def missing(self, call: Call) -> None:
        call.answer(404, b"no such thing here\n")

    async def echo(self, call: Call) -> None:
        digest = hashlib.sha256()
        length = 0
        pause = float(call.query.get("pause", 0))
        async for piece in call.body():
            digest.update(piece)
            length += len(piece)
            if pause:
                await asyncio.sleep(pause)
                pause = 0
        call.answer_json(
            {
                "method": call.method,
                "target": call.target,
                "fields": call.fields,
                "length": length,
                "sha256": digest.hexdigest(),
                "chunked": call.chunked,
                "trailers": call.trailers,
            }
        )

    async def mirror(self, call: Call) -> None:
        call.invite()
        call.head(200, ("Transfer-Encoding", "chunked"))
        async for piece in call.body():
            call.chunk(piece)
            await call.writer.drain()
        call.writer.write(b"0\r\n\r\n")

    async def send_bytes(self, call: Call) -> None:
        length = int(call.query["n"])
        framing = [("Content-Length", str(length))]
        if "chunked" in call.query:
            framing = [("Transfer-Encoding", "chunked")]
        elif "close" in call.query:
            framing = []
            call.keep = False
        call.head(200, ("Content-Type", "application/octet-stream"), *framing)
        if call.method == "HEAD":
            return
        for piece in pattern(length):
            if "chunked" in call.query:
                call.chunk(piece)
            else:
                call.writer.write(piece)
            await call.writer.drain()
        if "chunked" in call.query:
            call.writer.write(b"0\r\n\r\n")

    async def cut(self, call: Call) -> None:
        length = int(call.query["n"])
        call.keep = False
        call.head(200, ("Content-Length", str(length)))
        for piece in pattern(length // 2):
            call.writer.write(piece)
            await call.writer.drain()

    async def slow(self, call: Call) -> None:
        await asyncio.sleep(float(call.query["seconds"]))
        call.answer(200, b"late\n")

    async def events(self, call: Call) -> None:
        call.head(200, ("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked"))
        for number in range(int(call.query["n"])):
            call.chunk(b"data: %d\n\n" % number)
            await call.writer.drain()
            await asyncio.sleep(float(call.query["pause"]))
        call.writer.write(b"0\r\n\r\n")

    async def status(self, call: Call) -> None:
        call.answer(int(call.path.split("/")[2]), b"as asked\n")

    async def set_cookie(self, call: Call) -> None:
        cookie = ("Set-Cookie", f"session={call.query['session']}")
        call.head(200, cookie, ("Content-Length", "0"))

    async def show_seen(self, call: Call) -> None:
        call.answer_json({"calls": self.seen, "connections": self.connections})


async def main(port: int) -> None:
    server = await asyncio.start_server(
        Origin().serve, "127.0.0.1", port, limit=MAX_HEAD, backlog=1024
    )
    host, port = server.sockets[0].getsockname()
    print(f"ready {host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
