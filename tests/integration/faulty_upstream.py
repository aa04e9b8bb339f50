"""A service behind the gateway that fails as it is asked to, and remembers all that it saw.

Run as a process of its own (``python -m tests.integration.faulty_upstream [PORT]``); it prints
``ready HOST:PORT`` when it listens. Requests carry an id in ``X-Call``.

============  ==================================================================================
``/echo``     the id and the body: ``ID\\n`` and the bytes that came
``/events``   server-sent events ``data: ID N`` with N from 0, one each ``pause`` seconds (0.1),
              ``n`` of them (without end)
``/ws``       a WebSocket that sends back each message
``/record``   JSON of all that was seen, see `Seen`; itself not remembered. With ``?forget=1`` it
              is not told again
============  ==================================================================================

What goes wrong is said in the query, in any combination that makes sense:

=============  =================================================================================
``delay=S``    wait so long when the request is complete
``status=N``   answer with that status
``cut=N``      end the connection behind the first N bytes of the answer, head included
``reset=1``    with ``cut``: by a RST
``hang=1``     never answer, until the client goes
``trickle=S``  the body of the answer one byte each S seconds
``early=1``    answer at the head, without reading the body
=============  =================================================================================
"""

import asyncio
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from tests.frontend.raw_frames import CLOSE, PING, PONG, accept_of, frame, read_frames
from tests.integration.origin import MAX_HEAD, Call

__all__ = ["Seen"]

NO_LINGER = struct.pack("ii", 1, 0)

NEVER = 10**9


@dataclass
class Seen:
    """What came with one id; times are of the monotonic clock, which processes share.

    ``heads`` is when each head with it came, ``whole`` when a request was complete with its body,
    ``answered`` when its whole answer was handed to the system.
    """

    heads: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)


class Cut(Exception):
    """The answer ends here."""


class Writer:
    """Writes an answer as far as it is to be written."""

    def __init__(self, writer: asyncio.StreamWriter, left: int) -> None:
        self._writer = writer
        self._left = left

    async def write(self, data: bytes) -> None:
        part = data[: self._left]
        self._left -= len(part)
        self._writer.write(part)
        await self._writer.drain()
        if not self._left:
            raise Cut


class Upstream:
    def __init__(self) -> None:
        self.seen: dict[str, Seen] = {}
        self.connections = 0
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            keep = True
            while keep:
                call = Call(reader, writer, await reader.readuntil(b"\r\n\r\n"))
                keep = await self._serve_one(call)
        except (asyncio.IncompleteReadError, OSError):
            pass
        except Cut:
            if "reset" in call.query:
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER
                )
                writer.transport.abort()
        finally:
            self.open -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _serve_one(self, call: Call) -> bool:
        """Answer a request; whether another may come."""
        if call.path == "/record":
            call.answer_json(
                {
                    "seen": {name: asdict(seen) for name, seen in self.seen.items()},
                    "connections": self.connections,
                    "open": self.open - 1,
                }
            )
            if "forget" in call.query:
                self.seen = {}
            return call.keep
        name = call.field("x-call")
        seen = self.seen.setdefault(name, Seen())
        seen.heads.append(time.monotonic())
        if call.path == "/ws":
            await self._socket(call)
            return False
        body = b""
        if "early" in call.query:
            call.keep = False
        else:
            async for piece in call.body():
                body += piece
            seen.whole.append(time.monotonic())
        await asyncio.sleep(float(call.query.get("delay", 0)))
        if "hang" in call.query:
            await call.reader.read(1)
            return False
        out = Writer(call.writer, int(call.query.get("cut", NEVER)))
        if call.path == "/events":
            await self._events(call, out, name)
        else:
            await self._echo(call, out, name.encode() + b"\n" + body)
        seen.answered.append(time.monotonic())
        return call.keep

    async def _echo(self, call: Call, out: Writer, body: bytes) -> None:
        status = int(call.query.get("status", 200))
        await out.write(
            b"HTTP/1.1 %d Faulty\r\nContent-Length: %d\r\n%b\r\n"
            % (status, len(body), b"" if call.keep else b"Connection: close\r\n")
        )
        pause = float(call.query.get("trickle", 0))
        if call.method == "HEAD":
            return
        if not pause:
            await out.write(body)
            return
        for number in range(len(body)):
            await out.write(body[number : number + 1])
            await asyncio.sleep(pause)

    async def _events(self, call: Call, out: Writer, name: str) -> None:
        await out.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        pause = float(call.query.get("pause", 0.1))
        for number in range(int(call.query.get("n", NEVER))):
            event = f"data: {name} {number}\n\n".encode()
            await out.write(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(pause)
        await out.write(b"0\r\n\r\n")

    async def _socket(self, call: Call) -> None:
        accept = accept_of(call.field("sec-websocket-key").encode())
        call.writer.write(
            b"HTTP/1.1 101 Faulty\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
        data = b""
        while more := await call.reader.read(65536):
            found, data = read_frames(data + more, expect_mask=True)
            for each in found:
                if each.opcode == PONG:
                    continue
                opcode = PONG if each.opcode == PING else each.opcode
                call.writer.write(frame(opcode, each.payload, fin=each.fin))
                if opcode == CLOSE:
                    await call.writer.drain()
                    return
            await call.writer.drain()


async def main(port: int) -> None:
    server = await asyncio.start_server(
        Upstream().serve, "127.0.0.1", port, limit=MAX_HEAD, backlog=4096
    )
    host, port = server.sockets[0].getsockname()
    print(f"ready {host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
