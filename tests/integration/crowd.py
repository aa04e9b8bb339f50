"""A crowd for a gateway: paths and leases that nobody has, leases that are there, and keys that run
into their limits.

`Sender` writes many requests at once, each on the heels of the one before, so that a hundred
thousand of them take seconds.
"""

import re
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from random import Random
from typing import Any, NamedTuple

import psutil

from tests.integration.programs import API_KEY, Gateway

__all__ = ["SCRAPER", "Crowd", "Scraped", "configuration", "send_crowd"]

SCRAPER = "sk_test_of_prometheus_0123456789"

_AT_ONCE = 50

_HEAD = re.compile(
    rb"HTTP/1\.1 (\d{3}) .*?\r\ncontent-length: (\d+)(?=\r\n).*?\r\n\r\n", re.I | re.S
)


_FOLDED = re.compile(r"^portal_gateway_series_folded_total\{.*\} (.*)$", re.M)


class Crowd(NamedTuple):
    """How many of each; ``found`` are the leases that are there."""

    paths: int
    leases: int
    keys: int
    found: int


class Scraped(NamedTuple):
    """What came of it: series that are told, seconds of the quickest of five scrapes, bytes by
    which the gateway grew, and how much was folded."""

    series: int
    seconds: float
    grown: int
    folded: int


def configuration(origin: str, crowd: Crowd) -> Mapping[str, Any]:
    """That of a gateway in which a key is refused from its second request on."""
    keys = [{"id": f"key-{n}", "key": f"sk_test_of_a_crowd_{n:08}"} for n in range(crowd.keys)]
    return {
        "auth": {
            "keys": [
                {"id": "tester", "key": API_KEY},
                {"id": "prometheus", "key": SCRAPER, "scopes": ["admin"]},
                *keys,
            ]
        },
        "leases": {
            "tool": {"url": f"http://{origin}"},
            **{f"tool-{n}": {"url": f"http://{origin}"} for n in range(crowd.found)},
        },
        "rate_limit": {
            "per_key": {
                "default": {"requests_per_hour": 1, "burst": 1},
                "overrides": {"tester": "unlimited", "prometheus": "unlimited"},
            }
        },
        "logging": {"level": "error"},
    }


def send_crowd(gateway: Gateway, crowd: Crowd) -> tuple[Counter[int], Scraped]:
    """Send everything; the answers by their status, and what metrics make of it."""
    process = psutil.Process(gateway.pid)
    with _Sender(gateway.address) as sender:
        # What a gateway takes once, it takes before.
        list(sender.send([_get("/peer/tool/bytes?n=2", API_KEY), _get("/metrics", SCRAPER)]))
        before = process.memory_info().rss
        statuses = Counter(
            status
            for status, _ in sender.send(
                chain(_paths(crowd), _leases(crowd), _keys(crowd), _found(crowd))
            )
        )
        text, seconds = "", float("inf")
        for _ in range(5):
            start = time.perf_counter()
            ((status, body),) = sender.send([_get("/metrics", SCRAPER)])
            seconds = min(seconds, time.perf_counter() - start)
            assert status == 200
            text = body.decode()
        grown = process.memory_info().rss - before
    series = sum(not line.startswith("#") for line in text.splitlines())
    folded = sum(map(float, _FOLDED.findall(text)))
    return statuses, Scraped(series, seconds, grown, int(folded))


def _get(path: str, key: str | None = None, method: str = "GET") -> bytes:
    field = "" if key is None else f"X-API-Key: {key}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: gateway\r\n{field}\r\n".encode()


def _paths(crowd: Crowd) -> Iterator[bytes]:
    chance = Random(1)
    for number in range(crowd.paths):
        method = chance.choice(["GET", "HEAD", "DELETE", "PROPFIND"])
        yield _get(f"/{chance.randbytes(8).hex()}/{number}?token={number}", method=method)


def _leases(crowd: Crowd) -> Iterator[bytes]:
    return (_get(f"/peer/nobody-{number}/", API_KEY) for number in range(crowd.leases))


def _keys(crowd: Crowd) -> Iterator[bytes]:
    for number in range(crowd.keys):
        yield from [_get("/peer/tool/bytes?n=2", f"sk_test_of_a_crowd_{number:08}")] * 2


def _found(crowd: Crowd) -> Iterator[bytes]:
    return (_get(f"/peer/tool-{number}/bytes?n=2", API_KEY) for number in range(crowd.found))


class _Sender:
    """One connection, on which requests are sent without waiting for the answers before."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._buffer = b""

    def __enter__(self) -> "_Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, requests: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """Status and body of each answer."""
        left = iter(requests)
        while batch := list(islice(left, _AT_ONCE)):
            self._socket.sendall(b"".join(batch))
            for request in batch:
                yield self._answer(has_body=not request.startswith(b"HEAD"))

    def _answer(self, *, has_body: bool) -> tuple[int, bytes]:
        while (head := _HEAD.match(self._buffer)) is None:
            self._read()
        end = head.end() + (int(head[2]) if has_body else 0)
        while len(self._buffer) < end:
            self._read()
        body, self._buffer = self._buffer[head.end() : end], self._buffer[end:]
        return int(head[1]), body

    def _read(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise AssertionError(f"the gateway closed the connection after {self._buffer[-200:]!r}")
        self._buffer += data
