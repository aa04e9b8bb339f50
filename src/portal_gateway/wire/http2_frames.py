"""Cutting a client's bytes into HTTP/2 frames, before anything is made of them.

The library that speaks the protocol takes frames as they come and tells of some only. Cut one by
one they can be counted, what one frame is answered with can be told from the next, and a length
that is not allowed is refused before its bytes are waited for (RFC 9113 section 4).
"""

from enum import IntEnum
from typing import NamedTuple, NoReturn

from portal_gateway.wire.http_fields import HTTPSyntaxError

__all__ = [
    "MAX_FRAME_SIZE",
    "PREFACE",
    "BadFrames",
    "BadPreface",
    "Frame",
    "FrameCutter",
    "FrameTooLong",
    "FrameType",
    "HeaderBlockTooLong",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client begins with (RFC 9113 section 3.4)."""

MAX_FRAME_SIZE = 16_384
"""The longest payload that we take: the least that we have to (RFC 9113 section 6.5.2)."""

_HEADER = 9

_END_STREAM = 0x1
_END_HEADERS = 0x4


class FrameType(IntEnum):
    """The types of RFC 9113 section 6; there may be others, which mean nothing."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9


class BadFrames(HTTPSyntaxError):
    """The connection ends with the HTTP/2 error ``code``; ``limit`` names the limit met, if any."""

    code: int
    limit: str | None = None


class BadPreface(BadFrames):
    """The client does not speak HTTP/2."""

    code = 0x1


class FrameTooLong(BadFrames):
    """A frame is longer than `MAX_FRAME_SIZE` (RFC 9113 section 4.2)."""

    code = 0x6


class HeaderBlockTooLong(BadFrames):
    """The frames of one header block are longer together than what is accepted."""

    code = 0xB
    limit = "header"


class Frame(NamedTuple):
    """One frame. ``data`` is all of it, its header of nine bytes first; ``type`` may be unknown."""

    type: int
    flags: int
    stream_id: int
    data: bytes

    @property
    def length(self) -> int:
        """Bytes of its payload."""
        return len(self.data) - _HEADER

    @property
    def ends_stream(self) -> bool:
        """Whether it says so; only in DATA and HEADERS."""
        return bool(self.flags & _END_STREAM)

    @property
    def ends_headers(self) -> bool:
        """Whether it says so; only in HEADERS and CONTINUATION."""
        return bool(self.flags & _END_HEADERS)


_LEAST_CONTINUATION = 4096
"""Bytes that a CONTINUATION frame counts for at least: an empty one costs work (CVE-2024-27316)."""


class FrameCutter:
    """Bytes in, frames out. Keeps one incomplete frame at most.

    ``max_block`` bounds the payloads of one HEADERS frame and the CONTINUATION frames behind it:
    they are kept until the last has come, and decoded at once. It is `MAX_FRAME_SIZE` at least.
    """

    __slots__ = ("_block", "_max_block", "_pending", "_preface_left")

    def __init__(self, max_block: int) -> None:
        self._max_block = max(max_block, MAX_FRAME_SIZE)
        self._block = 0
        self._pending = b""
        self._preface_left = PREFACE

    @property
    def in_preface(self) -> bool:
        """Whether the preface has not come whole yet."""
        return bool(self._preface_left)

    @property
    def has_pending(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._pending)

    @property
    def in_data(self) -> bool:
        """Whether that frame is one of DATA."""
        return len(self._pending) >= 4 and self._pending[3] == FrameType.DATA

    def receive_data(self, data: bytes) -> list[Frame]:
        """The frames that are complete with ``data``.

        Raises `BadPreface`, `FrameTooLong` and `HeaderBlockTooLong`. The frames before one that is
        too long are given first: it is raised at the next call.
        """
        left = self._preface_left
        if left:
            part = data[: len(left)]
            if not left.startswith(part):
                raise BadPreface("this is not the preface of HTTP/2")
            self._preface_left = left[len(part) :]
            data = data[len(part) :]
        if self._pending:
            data = self._pending + data
            self._pending = b""
        frames: list[Frame] = []
        position, size = 0, len(data)
        while size - position >= _HEADER:
            length = int.from_bytes(data[position : position + 3], "big")
            kind = data[position + 3]
            block = length
            if kind == FrameType.CONTINUATION:
                block = self._block + max(length, _LEAST_CONTINUATION)
            if length > MAX_FRAME_SIZE or block > self._max_block:
                if frames:
                    break
                self._refuse(length)
            end = position + _HEADER + length
            if end > size:
                break
            self._block = block
            frames.append(
                Frame(
                    kind,
                    data[position + 4],
                    int.from_bytes(data[position + 5 : position + 9], "big") & 0x7FFFFFFF,
                    data[position:end],
                )
            )
            position = end
        self._pending = data[position:]
        return frames

    def _refuse(self, length: int) -> NoReturn:
        if length > MAX_FRAME_SIZE:
            raise FrameTooLong(f"a frame is longer than {MAX_FRAME_SIZE} bytes")
        raise HeaderBlockTooLong(f"a header block is longer than {self._max_block} bytes")
