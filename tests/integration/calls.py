"""An HTTP client for the tests: ``http.client``, apart from the product, bodies never whole.

One :class:`Client` is one keep-alive connection. Every request carries an ``X-Call`` of its own, by
which the origin counts how often it arrived.
"""

import hashlib
import http.client
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Self

__all__ = ["Answer", "Client", "new_call"]

PIECE = 256 * 1024
WHOLE = 64 * 1024
"""Bodies up to this size are kept for the test to look at; of longer ones only the hash."""

Watch = Callable[[], None]

_numbers = itertools.count()


def new_call() -> str:
    """A value for ``X-Call`` that no other request of any test run has."""
    return f"call-{os.getpid()}-{next(_numbers)}"


class Answer(NamedTuple):
    """What came back; ``body`` only of short answers, ``length`` and ``sha256`` of all."""

    status: int
    fields: http.client.HTTPMessage
    length: int
    sha256: str
    body: bytes
    call: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection to ``host:port``; ``prefix`` goes before every path, ``key`` into every head.

    ``timeout`` in seconds is that of each read and write.
    """

    def __init__(
        self, address: str, prefix: str = "", key: str | None = None, timeout: float = 30
    ) -> None:
        self.address = address
        self.prefix = prefix
        self.key = key
        self.timeout = timeout
        self._connection = http.client.HTTPConnection(address, timeout=timeout, blocksize=PIECE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def fields(self, call: str, more: dict[str, str]) -> dict[str, str]:
        fields = {"X-Call": call, **more}
        if self.key:
            fields["X-API-Key"] = self.key
        return fields

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        *,
        fields: dict[str, str] | None = None,
        length: int | None = None,
        watch: Watch | None = None,
    ) -> Answer:
        """One request and its whole answer.

        An iterable ``body`` goes out in chunks, or with Content-Length when ``length`` is given.
        ``watch`` is called between pieces of either body.
        """
        call = new_call()
        headers = self.fields(call, fields or {})
        if length is not None:
            headers["Content-Length"] = str(length)
        if body is not None and not isinstance(body, bytes) and watch is not None:
            body = watched(body, watch)
        self._connection.request(
            method,
            self.prefix + path,
            body=body,
            headers=headers,
            encode_chunked=length is None and body is not None and not isinstance(body, bytes),
        )
        return self._read(call, watch)

    def _read(self, call: str, watch: Watch | None) -> Answer:
        with self._connection.getresponse() as response:
            digest = hashlib.sha256()
            kept = bytearray()
            length = 0
            buffer = memoryview(bytearray(PIECE))
            while size := response.readinto(buffer):
                length += size
                digest.update(buffer[:size])
                if length <= WHOLE:
                    kept += buffer[:size]
                if watch is not None:
                    watch()
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            return Answer(
                response.status,
                response.headers,
                length,
                digest.hexdigest(),
                bytes(kept) if length <= WHOLE else b"",
                call,
            )


def watched(body: Iterable[bytes], watch: Watch) -> Iterator[bytes]:
    for piece in body:
        watch()
        yield piece
