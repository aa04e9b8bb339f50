"""The body of a request on its way upstream: how it is framed, how much of it was written, and the
part that is held to be sent with the head, or sent once more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from portal_gateway.wire.http1_writing import CHUNK_END, LAST_CHUNK, chunk_head, last_chunk

__all__ = ["REPLAY_BODY_LIMIT", "BodyFraming", "RequestBody"]

REPLAY_BODY_LIMIT: Final = 64 * 1024
"""Bytes of a request body that are kept to send it once more; a longer one is not repeated.

One read of a client's socket. More would cost each upload its size in memory.
"""


@dataclass(frozen=True, slots=True)
class BodyFraming:
    """How the request's body is framed: `none`, of a `length`, or `chunked`.

    ``size`` is the length in bytes, 0 for no body, ``None`` when it is not known; ``fields`` is
    what the pool adds to the header.
    """

    size: int | None
    fields: tuple[tuple[bytes, bytes], ...]

    @staticmethod
    def none() -> "BodyFraming":
        """No body, and no field that says so."""
        return _NONE

    @staticmethod
    def length(size: int) -> "BodyFraming":
        """A body of exactly ``size`` bytes; 0 is announced as well (RFC 9110 section 8.6)."""
        if size < 0:
            raise ValueError("a body cannot have a negative length")
        return BodyFraming(size, ((b"Content-Length", b"%d" % size),))

    @staticmethod
    def chunked() -> "BodyFraming":
        """A body whose length is not known beforehand."""
        return _CHUNKED


_NONE: Final = BodyFraming(0, ())
_CHUNKED: Final = BodyFraming(None, ((b"Transfer-Encoding", b"chunked"),))


class RequestBody:
    """What is known of one body.

    Until `start` everything added is kept, however long: the source is asked to pause meanwhile.
    From then on `REPLAY_BODY_LIMIT` holds, and `forget` ends the keeping for good. ``ended`` says
    that `end` was called, ``kept_size`` how many bytes were kept so far.
    """

    __slots__ = ("_kept", "_last_chunk", "_remaining", "_started", "ended", "kept_size")

    def __init__(self, framing: BodyFraming) -> None:
        self._remaining = framing.size
        self.ended = False
        self._last_chunk = LAST_CHUNK
        self._kept: list[bytes] | None = []
        self._started = False
        self.kept_size = 0

    @property
    def complete(self) -> bool:
        """Whether nothing more of it will come."""
        return self.ended or self._remaining == 0

    @property
    def repeatable(self) -> bool:
        """Whether all that was added is still kept."""
        return self._kept is not None

    def add(self, data: bytes) -> None:
        """More of it came.

        Raises `ValueError` for more than was announced, or after `end`: the lease would read it as
        the next request.
        """
        if self.ended:
            raise ValueError("the request body has ended")
        if self._remaining is not None:
            if len(data) > self._remaining:
                raise ValueError("more request body than was announced")
            self._remaining -= len(data)
        if self._kept is not None:
            self.kept_size += len(data)
            if self._started and self.kept_size > REPLAY_BODY_LIMIT:
                self._kept = None
            else:
                self._kept.append(data)

    def end(self, trailers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """It is complete; ``trailers`` only mean something for a chunked one.

        Raises `ValueError` when less came than was announced, `UnsafeField` for trailers that
        cannot be written.
        """
        if self._remaining:
            raise ValueError("less request body than was announced")
        if trailers:
            self._last_chunk = last_chunk(trailers)
        self.ended = True

    def start(self, head: bytes, *, keep: bool) -> bytes:
        """What to send first: ``head`` and all of the body that came so far.

        Only while the body is `repeatable`. With ``keep`` it remains so within the limit.
        """
        kept = self._kept
        assert kept is not None  # the caller knows: it asked, or nothing was sent yet
        parts = [head]
        if self._remaining is not None:
            parts += kept
        else:
            if kept:
                parts += (chunk_head(self.kept_size), *kept, CHUNK_END)
            if self.ended:
                parts.append(self._last_chunk)
        self._started = True
        if not keep or self.kept_size > REPLAY_BODY_LIMIT:
            self._kept = None
        return b"".join(parts)

    def framed(self, data: bytes) -> Sequence[bytes]:
        """``data``, which was added, as it is sent after `start`."""
        if self._remaining is None:
            return (chunk_head(len(data)), data, CHUNK_END)
        return (data,)

    def closing(self) -> bytes:
        """What is sent for the end of it after `start`."""
        return self._last_chunk if self._remaining is None else b""

    def rewind(self) -> None:
        """All that is kept will be sent again, from the start."""
        self._started = False

    def forget(self) -> None:
        """It will not be sent again."""
        self._kept = None
