"""Clients that keep coming, each on a connection of its own, and what became of each."""

import asyncio
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Self

from tests.integration.programs import API_KEY, wait_until

__all__ = ["Arrival", "Arrivals"]

PATIENCE = 40.0
"""Seconds for one request: above the 30 s that a drain may take."""


@dataclass
class Arrival:
    """One client: when it came, from which port, and what became of it.

    ``outcome`` is ``answered``, ``refused`` (no connection), ``lost`` (a connection, and no whole
    answer), or what was wrong with the answer.
    """

    number: int
    began: float
    port: int = 0
    outcome: str = ""
    took: float = 0.0


class Arrivals:
    """``rate`` new clients a second at ``address``, from the start of a block to its end.

    Every other one posts a body, and each has to get back what only it has sent.
    """

    def __init__(self, address: str, rate: int = 200, lease: str = "tool") -> None:
        host, port = address.split(":")
        self._host, self._port = host, int(port)
        self._rate = rate
        self._lease = lease
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._come()))
        self.all: list[Arrival] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(arrival.outcome for arrival in self.all)

    def having(self, outcome: str) -> list[Arrival]:
        return [arrival for arrival in self.all if arrival.outcome == outcome]

    def wait_for(self, more: int) -> None:
        """Wait until that many more have come."""
        wanted = len(self.all) + more
        wait_until(lambda: len(self.all) >= wanted, 30, "clients")

    def slowest(self, share: float = 1.0) -> float:
        """The seconds that this share of the clients took at most."""
        took = sorted(arrival.took for arrival in self.all)
        return took[min(len(took) - 1, int(len(took) * share))]

    async def _come(self) -> None:
        begin = time.monotonic()
        asking = set()
        while not self._over.is_set():
            due = begin + len(self.all) / self._rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            arrival = Arrival(len(self.all), time.monotonic())
            self.all.append(arrival)
            task = asyncio.create_task(self._ask(arrival))
            asking.add(task)
            task.add_done_callback(asking.discard)
        await asyncio.gather(*asking)

    async def _ask(self, arrival: Arrival) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                arrival.outcome = await self._exchange(arrival)
        except ConnectionRefusedError:
            arrival.outcome = "refused"
        except (OSError, EOFError, TimeoutError):
            arrival.outcome = "lost"
        arrival.took = time.monotonic() - arrival.began

    async def _exchange(self, arrival: Arrival) -> str:
        name = f"client-{arrival.number}"
        posts = arrival.number % 2
        path = "/mirror" if posts else f"/echo?who={name}"
        body = name.encode() if posts else b""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            arrival.port = writer.get_extra_info("sockname")[1]
            head = (
                f"{'POST' if posts else 'GET'} /peer/{self._lease}{path} HTTP/1.1\r\nHost: a\r\n"
                f"X-API-Key: {API_KEY}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = await reader.read(-1)
        finally:
            writer.close()
        first, separator, rest = answer.partition(b"\r\n\r\n")
        if not separator:
            raise EOFError
        status = first.split(b" ")[1]
        if status != b"200":
            return status.decode()
        if posts:
            return "answered" if rest == _chunked(body) else "cut"
        return "answered" if json.loads(rest)["target"].endswith(f"?who={name}") else "mixed up"


def _chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
