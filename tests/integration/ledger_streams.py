"""Event streams and WebSockets of the ledger's client: what came, in which order, and the end."""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import h11

from tests.frontend.raw_frames import (
    CLIENT_KEY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    close,
    frame,
    read_frames,
)
from tests.integration.ledger_wire import PIECE, ClosedUnanswered, NoConnection, Wire
from tests.integration.programs import wait_until

__all__ = ["Socket", "Stream", "converse", "listen", "wait_open"]

OPEN_TIME = 20.0
"""Seconds for streams and sockets to be open, on a machine that has other work."""

Opening = Coroutine[Any, Any, Wire]


@dataclass
class Stream:
    """One event stream: what came, and how it ended.

    ``gaps`` counts events that did not follow the one before, ``text`` is the last that came.
    ``end`` is ``open``, ``complete``, ``torn`` (closed in the middle), ``reset``, ``stopped`` (by
    this client), or the status that was not 200.
    """

    id: str
    events: int = 0
    gaps: int = 0
    text: bytes = b""
    end: str = "opening"
    ended: float = 0.0


@dataclass
class Socket:
    """One WebSocket: the messages sent and those that came back, in order.

    ``end`` as of `Stream`, where ``complete`` is a closing handshake, with its ``code`` and
    ``reason``.
    """

    id: str
    sent: int = 0
    echoed: int = 0
    wrong: int = 0
    code: int | None = None
    reason: bytes = b""
    end: str = "opening"
    ended: float = 0.0
    latencies: list[float] = field(default_factory=list)


def wait_open(them: "Sequence[Stream | Socket]") -> None:
    """Raises AssertionError where one is not to be."""
    wait_until(lambda: all(each.end != "opening" for each in them), OPEN_TIME, "streams being open")
    closed = [each for each in them if each.end != "open"]
    assert not closed, closed[:3]


async def listen(stream: Stream, opening: Opening, target: str) -> None:
    """Read ``stream`` until it ends, one way or another."""
    try:
        wire = await opening
    except NoConnection:
        stream.end = "no connection"
        return
    try:
        await wire.send_request(target, stream.id)
        stream.end = await read_events(wire, stream)
    except ClosedUnanswered:
        stream.end = "closed"
    except h11.RemoteProtocolError:
        stream.end = "torn"
    except OSError:
        stream.end = "reset"
    except asyncio.CancelledError:
        stream.end = "stopped"
        raise
    finally:
        stream.ended = time.monotonic()
        await wire.close()


async def read_events(wire: Wire, stream: Stream) -> str:
    data = b""
    while True:
        event = await wire.next()
        if isinstance(event, h11.Response) and event.status_code != 200:
            return str(event.status_code)
        if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return "complete"
        if isinstance(event, h11.Data):
            data += event.data
            while b"\n\n" in data:
                stream.text, _, data = data.partition(b"\n\n")
                take_event(stream)


def take_event(stream: Stream) -> None:
    if not stream.text.startswith(b"data: "):
        return
    name, _, number = stream.text.removeprefix(b"data: ").partition(b" ")
    if name != stream.id.encode() or int(number) != stream.events:
        stream.gaps += 1
    stream.events = int(number) + 1
    stream.end = "open"


async def converse(socket: Socket, opening: Opening, target: str, pause: float) -> None:
    """Send a message each ``pause`` seconds over ``socket``, and read, until it ends."""
    try:
        wire = await opening
    except NoConnection:
        socket.end = "no connection"
        return
    sending: asyncio.Task[None] | None = None
    try:
        head = await open_socket(wire, target, socket.id)
        if not head.startswith(b"HTTP/1.1 101 "):
            socket.end = head[9:12].decode()
            return
        socket.end = "open"
        due: deque[tuple[bytes, float]] = deque()
        sending = asyncio.create_task(send_messages(wire, socket, due, pause))
        socket.end = await read_messages(wire, socket, due)
    except OSError:
        socket.end = "reset"
    except asyncio.IncompleteReadError:
        socket.end = "closed"
    except asyncio.CancelledError:
        socket.end = "stopped"
        raise
    finally:
        socket.ended = time.monotonic()
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await wire.close()


async def open_socket(wire: Wire, target: str, name: str) -> bytes:
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {wire.address}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {CLIENT_KEY}",
        f"X-API-Key: {wire.key}",
        f"X-Call: {name}",
    ]
    wire.writer.write("\r\n".join([*lines, "", ""]).encode())
    return await wire.reader.readuntil(b"\r\n\r\n")


async def send_messages(
    wire: Wire, socket: Socket, due: "deque[tuple[bytes, float]]", pause: float
) -> None:
    while True:
        message = f"{socket.id} {socket.sent}".encode()
        due.append((message, time.monotonic()))
        socket.sent += 1
        wire.writer.write(frame(TEXT, message, mask=True))
        await wire.writer.drain()
        await asyncio.sleep(pause)


async def read_messages(wire: Wire, socket: Socket, due: "deque[tuple[bytes, float]]") -> str:
    data = b""
    while more := await wire.reader.read(PIECE):
        found, data = read_frames(data + more, expect_mask=False)
        for each in found:
            if each.opcode == CLOSE:
                socket.code = int.from_bytes(each.payload[:2], "big") if each.payload else None
                socket.reason = each.payload[2:]
                wire.writer.write(frame(CLOSE, close(socket.code), mask=True))
                await wire.writer.drain()
                return "complete"
            if each.opcode == PING:
                wire.writer.write(frame(PONG, each.payload, mask=True))
            elif each.opcode == TEXT:
                message, sent = due.popleft() if due else (b"", 0.0)
                socket.echoed += 1
                socket.wrong += message != each.payload
                socket.latencies.append(time.monotonic() - sent)
    return "closed"
