"""A client that writes a ledger: requests at a rate, event streams and WebSockets, in a thread.

::

    with Load() as load:
        steady = load.requests(gateway.address, "/peer/tool/echo", rate=200)
        streams = load.streams(gateway.address, "/peer/tool/events", 20)
        sockets = load.sockets(gateway.address, "/ws/tool/ws", 50)
        ...                                    # what is to go unnoticed
        steady.stop()
    balance = load.ledger.balance(upstream.seen())
    assert balance.even, balance

Requests are sent when they are due, however long others take, and their latency counts from then.
"""

import asyncio
import contextlib
import itertools
import json
import ssl
import threading
import time
import urllib.request
from collections import defaultdict, deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

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
from tests.integration.ledger import STREAMED, Entry, Ledger, Outcome
from tests.integration.programs import API_KEY, Program, python, python_path, wait_until

__all__ = ["FaultyUpstream", "Load", "Requests", "Socket", "Stream"]

PIECE = 65536

ANSWER_TIME = 60.0
"""Seconds after which an answer is taken for lost."""

OPEN_TIME = 20.0
"""Seconds for streams and sockets to be open, on a machine that has other work."""

T = TypeVar("T")


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


@dataclass
class Wire:
    """One connection of HTTP/1.1; ``used`` counts its requests, the one under way included."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    protocol: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))
    used: int = 0
    received: bool = False

    @property
    def spent(self) -> bool:
        """Whether the server has closed it, as far as is known here."""
        return self.reader.at_eof() or self.writer.is_closing()

    async def send(self, *events: Any) -> None:
        self.writer.write(b"".join(self.protocol.send(event) or b"" for event in events))
        await self.writer.drain()

    async def next(self) -> Any:
        """The next event of the answer; NEED_DATA never."""
        while (event := self.protocol.next_event()) is h11.NEED_DATA:
            data = await self.reader.read(PIECE)
            self.received = self.received or bool(data)
            if not data and not self.received:
                raise ClosedUnanswered
            self.protocol.receive_data(data)
        return event

    def close(self) -> None:
        self.writer.close()


class ClosedUnanswered(Exception):
    """The server closed the connection without a byte of an answer."""


class Requests:
    """Requests that go out at a rate until they are stopped."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._over = asyncio.Event()
        self._done: Future[None] | None = None

    def stop(self, timeout: float = ANSWER_TIME + 10) -> None:
        """Send no more; back when every answer is there or given up."""
        self._load.call(self._over.set)
        assert self._done is not None
        self._done.result(timeout)


class Load:
    """The client. As a context manager it ends with what is under way given up, and all closed.

    ``key`` is sent as ``X-API-Key``; with ``context`` it speaks TLS. ``answer_time`` is in seconds.
    """

    def __init__(
        self,
        key: str = API_KEY,
        *,
        context: ssl.SSLContext | None = None,
        name: str = "",
        answer_time: float = ANSWER_TIME,
    ) -> None:
        self.ledger = Ledger(name)
        self._key = key
        self._context = context
        self._answer_time = answer_time
        self._idle: dict[str, deque[Wire]] = defaultdict(deque)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ids = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="load")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what is under way, and close every connection."""
        if self._thread.is_alive():
            self.wait(self._close())
            self.call(self._loop.stop)
            self._thread.join()

    async def _close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        wires = [wire for idle in self._idle.values() for wire in idle]
        self._idle.clear()
        for wire in wires:
            wire.close()
        for wire in wires:
            with contextlib.suppress(OSError):
                await wire.writer.wait_closed()

    # From the test's thread.

    def call(self, function: Any, *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(function, *arguments)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin it; to be ended by `close` at the latest."""

        async def watched() -> T:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                return await coroutine
            finally:
                self._tasks.discard(task)

        return asyncio.run_coroutine_threadsafe(watched(), self._loop)

    def wait(self, coroutine: Coroutine[Any, Any, T], timeout: float = 120) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    def requests(
        self,
        address: str,
        target: str,
        *,
        rate: float,
        kept: bool = False,
        body: bytes | None = None,
    ) -> Requests:
        """GETs, or with a ``body`` POSTs, at ``rate`` a second.

        Each over a connection of its own, or where ``kept`` over one that is idle, if there is.
        """
        steady = Requests(self)
        steady._done = self.start(self._drive(steady._over, address, target, rate, kept, body))
        return steady

    def streams(self, address: str, target: str, count: int) -> list[Stream]:
        """So many event streams, open, each with an event received."""
        streams = [Stream(self._name("sse")) for _ in range(count)]
        for stream in streams:
            self.start(self._listen(stream, address, target))
        wait_open(streams)
        return streams

    def sockets(self, address: str, target: str, count: int, *, pause: float = 0.1) -> list[Socket]:
        """So many WebSockets, open; each sends a message every ``pause`` seconds, in turn."""
        sockets = [Socket(self._name("ws")) for _ in range(count)]
        for socket in sockets:
            self.start(self._converse(socket, address, target, pause))
        wait_open(sockets)
        return sockets

    def _name(self, kind: str) -> str:
        return f"{self.ledger.prefix}{kind}{STREAMED}{next(self._ids)}"

    # In the loop.

    async def _drive(
        self,
        over: asyncio.Event,
        address: str,
        target: str,
        rate: float,
        kept: bool,
        body: bytes | None,
    ) -> None:
        start = time.monotonic()
        asked: set[asyncio.Task[Entry]] = set()
        try:
            for number in itertools.count():
                due = start + number / rate
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(over.wait(), max(0.0, due - time.monotonic()))
                if over.is_set():
                    break
                task = asyncio.create_task(self.ask(address, target, body, kept=kept, due=due))
                asked.add(task)
                task.add_done_callback(asked.discard)
            await asyncio.gather(*asked)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def ask(
        self,
        address: str,
        target: str,
        body: bytes | None = None,
        *,
        kept: bool = True,
        due: float | None = None,
        half_after: float | None = None,
    ) -> Entry:
        """One request, and what became of it.

        ``kept``: over an idle connection if there is one, and it is kept. ``half_after``: the
        second half of the body goes out so many seconds behind the first.
        """
        request = self.ledger.begin(time.monotonic() if due is None else due)
        wire: Wire | None = None
        outcome, why = Outcome.LOST, "given up"
        try:
            async with asyncio.timeout(self._answer_time):
                wire = await self.take_wire(address, kept=kept)
                outcome, why = await self.ask_over(wire, address, target, request, body, half_after)
        except ConnectionClosedAtOpening:
            outcome, why = Outcome.REFUSED, "no connection"
        except TimeoutError:
            why = "no answer"
        finally:
            entry = self.ledger.end(
                request, outcome, why, time.monotonic(), kept=wire is not None and wire.used > 1
            )
            if wire is not None:
                await self._put_back(address, wire, kept=kept)
        return entry

    async def take_wire(self, address: str, *, kept: bool) -> Wire:
        """An idle connection, or a new one."""
        idle = self._idle[address]
        while kept and idle:
            wire = idle.pop()
            if not wire.spent:
                return wire
            wire.close()
        return await self.open_wire(address)

    async def open_wire(self, address: str) -> Wire:
        host, _, port = address.rpartition(":")
        try:
            reader, writer = await asyncio.open_connection(host, int(port), ssl=self._context)
        except OSError as error:
            raise ConnectionClosedAtOpening from error
        return Wire(reader, writer)

    async def _put_back(self, address: str, wire: Wire, *, kept: bool) -> None:
        done = wire.protocol.our_state is h11.DONE and wire.protocol.their_state is h11.DONE
        if kept and done and not wire.spent:
            wire.protocol.start_next_cycle()
            self._idle[address].append(wire)
            return
        wire.close()
        with contextlib.suppress(OSError):
            await wire.writer.wait_closed()

    async def ask_over(
        self,
        wire: Wire,
        address: str,
        target: str,
        request: str,
        body: bytes | None,
        half_after: float | None = None,
    ) -> tuple[Outcome, str]:
        """One request over that connection, and what became of it."""
        wire.used += 1
        wire.received = False
        expected = request.encode() + b"\n" + (body or b"")
        try:
            await self._send(wire, address, target, request, body, half_after)
            status, received = await read_answer(wire)
        except ClosedUnanswered:
            return Outcome.REFUSED, "closed"
        except (OSError, h11.RemoteProtocolError) as error:
            if not wire.received and isinstance(error, OSError):
                return Outcome.REFUSED, "reset"
            return Outcome.LOST, "torn"
        if received == expected:
            return Outcome.ANSWERED, str(status)
        if status in (429, 503):
            return Outcome.REFUSED, str(status)
        return Outcome.LOST, "wrong body" if status == 200 else str(status)

    async def _send(
        self,
        wire: Wire,
        address: str,
        target: str,
        request: str,
        body: bytes | None,
        half_after: float | None,
    ) -> None:
        fields = [("Host", address), ("X-API-Key", self._key), ("X-Call", request)]
        if body is None:
            head = h11.Request(method="GET", target=target, headers=fields)
            await wire.send(head, h11.EndOfMessage())
            return
        fields.append(("Content-Length", str(len(body))))
        head = h11.Request(method="POST", target=target, headers=fields)
        if half_after is None:
            await wire.send(head, h11.Data(body), h11.EndOfMessage())
            return
        half = len(body) // 2
        await wire.send(head, h11.Data(body[:half]))
        await asyncio.sleep(half_after)
        await wire.send(h11.Data(body[half:]), h11.EndOfMessage())

    async def _listen(self, stream: Stream, address: str, target: str) -> None:
        try:
            wire = await self.open_wire(address)
        except ConnectionClosedAtOpening:
            stream.end = "no connection"
            return
        try:
            await self._send(wire, address, target, stream.id, None, None)
            stream.end = await self._read_events(wire, stream)
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
            wire.close()
            with contextlib.suppress(OSError):
                await wire.writer.wait_closed()

    async def _read_events(self, wire: Wire, stream: Stream) -> str:
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
                    self._take_event(stream)

    def _take_event(self, stream: Stream) -> None:
        if not stream.text.startswith(b"data: "):
            return
        name, _, number = stream.text.removeprefix(b"data: ").partition(b" ")
        if name != stream.id.encode() or int(number) != stream.events:
            stream.gaps += 1
        stream.events = int(number) + 1
        stream.end = "open"

    async def _converse(self, socket: Socket, address: str, target: str, pause: float) -> None:
        try:
            wire = await self.open_wire(address)
        except ConnectionClosedAtOpening:
            socket.end = "no connection"
            return
        sending: asyncio.Task[None] | None = None
        try:
            head = await self._open_socket(wire, address, target, socket.id)
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
            wire.close()
            with contextlib.suppress(OSError):
                await wire.writer.wait_closed()

    async def _open_socket(self, wire: Wire, address: str, target: str, name: str) -> bytes:
        lines = [
            f"GET {target} HTTP/1.1",
            f"Host: {address}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {CLIENT_KEY}",
            f"X-API-Key: {self._key}",
            f"X-Call: {name}",
        ]
        wire.writer.write("\r\n".join([*lines, "", ""]).encode())
        return await wire.reader.readuntil(b"\r\n\r\n")


class ConnectionClosedAtOpening(Exception):
    """Nobody takes connections there."""


async def read_answer(wire: Wire) -> tuple[int, bytes]:
    """The status and the body; a connection that ends too early is a RemoteProtocolError."""
    status, body = 0, b""
    while not isinstance(event := await wire.next(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("closed before the answer was complete")
    return status, body


def wait_open(them: "Sequence[Stream | Socket]") -> None:
    """Raises AssertionError where one is not to be."""
    wait_until(lambda: all(each.end != "opening" for each in them), OPEN_TIME, "streams being open")
    closed = [each for each in them if each.end != "open"]
    assert not closed, closed[:3]


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


class FaultyUpstream(Program):
    """`faulty_upstream` as a process; ``address`` is its host:port."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(
            "faulty upstream",
            python("tests.integration.faulty_upstream", str(port)),
            environment=python_path(),
        )
        self.address = self.wait_for_line(r"^ready (\S+)$").group(1)

    def record(self, *, forget: bool = False) -> dict[str, Any]:
        """All that it saw: ``seen`` by id, ``connections`` ever and ``open``.

        ``forget``: what was seen until now is not told again.
        """
        url = f"http://{self.address}/record{'?forget=1' if forget else ''}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            record: dict[str, Any] = json.load(answer)
        return record

    def seen(self, *, forget: bool = False) -> list[str]:
        """The id of each request whose head came, as often as it came."""
        seen = self.record(forget=forget)["seen"]
        return [name for name, each in seen.items() for _ in each["heads"]]
