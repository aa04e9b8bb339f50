"""Requests of a ledger over HTTP/2: one connection, many streams (RFC 9113).

The h2 library keeps the protocol's state. GOAWAY is read here: the library takes nothing more after
one, though streams go on.
"""

import asyncio
import contextlib
import ssl
import struct
import time
from dataclasses import dataclass, field
from typing import Self

import h2.connection
import h2.errors
import h2.events

from tests.integration.ledger import Entry, Ledger, Outcome
from tests.integration.programs import API_KEY

__all__ = ["Http2", "client_context"]

PIECE = 65536
HEAD = 9
GOAWAY = 7
ANY_STREAM = 2**31 - 1

Verdict = tuple[Outcome, str]


def client_context() -> ssl.SSLContext:
    """Offers h2 and nothing else; whose certificate it is does not matter here."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


@dataclass
class Stream:
    """One request under way."""

    expected: bytes
    over: "asyncio.Future[Verdict]"
    status: int = 0
    body: bytes = b""

    def end(self, outcome: Outcome, why: str) -> None:
        if not self.over.done():
            self.over.set_result((outcome, why))

    def complete(self) -> None:
        if self.body == self.expected:
            self.end(Outcome.ANSWERED, str(self.status))
        elif self.status in (429, 503):
            self.end(Outcome.REFUSED, str(self.status))
        else:
            self.end(Outcome.LOST, "wrong body" if self.status == 200 else str(self.status))


@dataclass
class Http2:
    """One connection; without ``context`` it is plain TCP.

    ``last_streams`` are what GOAWAYs named, in their order, ``highest`` is the last that was begun.
    """

    address: str
    context: ssl.SSLContext | None
    ledger: Ledger
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    last_streams: list[int] = field(default_factory=list)
    highest: int = 0

    def __post_init__(self) -> None:
        self._h2 = h2.connection.H2Connection()
        self._h2.initiate_connection()
        self._flush()
        self._streams: dict[int, Stream] = {}
        self._data = b""
        self._closed = False
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, address: str, context: ssl.SSLContext | None, ledger: Ledger) -> Self:
        """Raises OSError where nobody listens."""
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        return cls(address, context, ledger, reader, writer)

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def ask(self, target: str, body: bytes, due: float | None = None) -> Entry:
        """One POST, over another connection where this one has been told that it ends."""
        request = self.ledger.begin(time.monotonic() if due is None else due)
        outcome, why = Outcome.LOST, "given up"
        try:
            async with asyncio.timeout(60):
                outcome, why = await self._ask_somewhere(request, target, body)
        except TimeoutError:
            why = "no answer"
        finally:
            entry = self.ledger.end(request, outcome, why, time.monotonic())
        return entry

    async def _ask_somewhere(self, request: str, target: str, body: bytes) -> Verdict:
        if not (self.last_streams or self._closed):
            return await self._ask_here(request, target, body)
        try:
            other = await self.open(self.address, self.context, self.ledger)
        except OSError:
            return Outcome.REFUSED, "no connection"
        try:
            return await other._ask_here(request, target, body)
        finally:
            await other.close()

    async def _ask_here(self, request: str, target: str, body: bytes) -> Verdict:
        number = self._h2.get_next_available_stream_id()
        over: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        expected = request.encode() + b"\n" + body
        self._streams[number] = Stream(expected, over)
        self.highest = number
        fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", self.address),
            (":path", target),
            ("x-api-key", API_KEY),
            ("x-call", request),
            ("content-length", str(len(body))),
        ]
        self._h2.send_headers(number, fields)
        self._h2.send_data(number, body, end_stream=True)
        self._flush()
        return await over

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self.writer.is_closing():
            self.writer.write(data)

    async def _read(self) -> None:
        how = "closed"
        try:
            while data := await self.reader.read(PIECE):
                self._take(data)
        except OSError:
            how = "reset"
        self._closed = True
        self._end_above(-1, Outcome.LOST, how)

    def _take(self, data: bytes) -> None:
        self._data += data
        while len(self._data) >= HEAD:
            size = HEAD + int.from_bytes(self._data[:3], "big")
            if len(self._data) < size:
                break
            frame, self._data = self._data[:size], self._data[size:]
            if frame[3] == GOAWAY:
                self._told_to_go(struct.unpack_from(">I", frame, HEAD)[0])
                continue
            for event in self._h2.receive_data(frame):
                self._take_event(event)
        self._flush()

    def _told_to_go(self, last: int) -> None:
        self.last_streams.append(last)
        # What is above it was not begun, says the server.
        self._end_above(last, Outcome.REFUSED, "goaway")

    def _end_above(self, last: int, outcome: Outcome, why: str) -> None:
        for number in [number for number in self._streams if number > last]:
            self._streams.pop(number).end(outcome, why)

    def _take_event(self, event: h2.events.Event) -> None:
        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            fields = dict(event.headers or [])
            stream.status = int(fields[b":status"])
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data or b""
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            del self._streams[event.stream_id]
            stream.complete()
        elif isinstance(event, h2.events.StreamReset):
            del self._streams[event.stream_id]
            if event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM:
                stream.end(Outcome.REFUSED, "refused stream")
            else:
                stream.end(Outcome.LOST, "stream reset")
