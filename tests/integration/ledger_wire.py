"""One connection of the ledger's client: requests of HTTP/1.1, and what became of each."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field
from typing import Any, Self

import h11

from tests.integration.ledger import Outcome

__all__ = ["PIECE", "ClosedUnanswered", "NoConnection", "Wire"]

PIECE = 65536


class NoConnection(Exception):
    """Nobody takes connections there."""


class ClosedUnanswered(Exception):
    """The server closed the connection without a byte of an answer."""


@dataclass
class Wire:
    """One connection of HTTP/1.1; ``used`` counts its requests, the one under way included.

    ``key`` goes out as ``X-API-Key``.
    """

    address: str
    key: str
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

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    @classmethod
    async def open(cls, address: str, key: str, context: ssl.SSLContext | None = None) -> Self:
        """Raises NoConnection."""
        host, _, port = address.rpartition(":")
        try:
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        except OSError as error:
            raise NoConnection from error
        return cls(address, key, reader, writer)

    async def ask(
        self, target: str, request: str, body: bytes | None, half_after: float | None = None
    ) -> tuple[Outcome, str]:
        """One request, and what became of it; see `send_request`."""
        self.used += 1
        self.received = False
        expected = request.encode() + b"\n" + (body or b"")
        try:
            await self.send_request(target, request, body, half_after)
            status, received = await self._read_answer()
        except ClosedUnanswered:
            return Outcome.REFUSED, "closed"
        except (OSError, h11.RemoteProtocolError) as error:
            if not self.received and isinstance(error, OSError):
                return Outcome.REFUSED, "reset"
            return Outcome.LOST, "torn"
        if received == expected:
            return Outcome.ANSWERED, str(status)
        if status in (429, 503):
            return Outcome.REFUSED, str(status)
        return Outcome.LOST, "wrong body" if status == 200 else str(status)

    async def send_request(
        self, target: str, request: str, body: bytes | None = None, half_after: float | None = None
    ) -> None:
        """A GET, or with a ``body`` a POST, that carries the id ``request``."""
        fields = [("Host", self.address), ("X-API-Key", self.key), ("X-Call", request)]
        if body is None:
            head = h11.Request(method="GET", target=target, headers=fields)
            await self.send(head, h11.EndOfMessage())
            return
        fields.append(("Content-Length", str(len(body))))
        head = h11.Request(method="POST", target=target, headers=fields)
        if half_after is None:
            await self.send(head, h11.Data(body), h11.EndOfMessage())
            return
        half = len(body) // 2
        await self.send(head, h11.Data(body[:half]))
        await asyncio.sleep(half_after)
        await self.send(h11.Data(body[half:]), h11.EndOfMessage())

    async def _read_answer(self) -> tuple[int, bytes]:
        """The status and the body; a connection that ends too early is a RemoteProtocolError."""
        status, body = 0, b""
        while not isinstance(event := await self.next(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.ConnectionClosed):
                raise h11.RemoteProtocolError("closed before the answer was complete")
        return status, body
