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
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Self, TypeVar

import h11

from tests.integration.ledger import STREAMED, Entry, Ledger, Outcome
from tests.integration.ledger_streams import Socket, Stream, converse, listen, wait_open
from tests.integration.ledger_wire import NoConnection, Wire
from tests.integration.programs import API_KEY, Program, python, python_path

__all__ = ["FaultyUpstream", "Load", "Requests", "Socket", "Stream"]

ANSWER_TIME = 60.0
"""Seconds after which an answer is taken for lost."""

T = TypeVar("T")


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
        await asyncio.gather(*(wire.close() for wire in wires))

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
            self.start(listen(stream, self.open_wire(address), target))
        wait_open(streams)
        return streams

    def sockets(self, address: str, target: str, count: int, *, pause: float = 0.1) -> list[Socket]:
        """So many WebSockets, open; each sends a message every ``pause`` seconds, in turn."""
        sockets = [Socket(self._name("ws")) for _ in range(count)]
        for socket in sockets:
            self.start(converse(socket, self.open_wire(address), target, pause))
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
                outcome, why = await wire.ask(target, request, body, half_after)
        except NoConnection:
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
            await wire.close()
        return await self.open_wire(address)

    async def open_wire(self, address: str) -> Wire:
        """Raises NoConnection."""
        return await Wire.open(address, self._key, self._context)

    async def _put_back(self, address: str, wire: Wire, *, kept: bool) -> None:
        done = wire.protocol.our_state is h11.DONE and wire.protocol.their_state is h11.DONE
        if kept and done and not wire.spent:
            wire.protocol.start_next_cycle()
            self._idle[address].append(wire)
            return
        await wire.close()


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
