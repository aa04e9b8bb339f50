"""Messages behind a 4-byte big-endian length: control packets and the two messages of a handshake.

Records have the same shape, but a reader of their own: they are the hot path.
"""

from portal_gateway.wire.errors import WireError

__all__ = ["PREFIX_BYTES", "LengthPrefixedReader", "length_prefixed"]

PREFIX_BYTES = 4
"""Bytes of the length in front of a message."""


def length_prefixed(body: bytes) -> bytes:
    """``body`` behind its length."""
    return len(body).to_bytes(PREFIX_BYTES, "big") + body


class LengthPrefixedReader:
    """Cuts a byte stream into messages of at most ``limit`` bytes.

    An announced length above ``limit`` raises ``too_large``, and nothing is buffered for it. With
    ``once`` the first message is the last: what follows it belongs to another protocol and stays in
    ``trailing_data``.
    """

    __slots__ = ("_buffer", "_limit", "_once", "_too_large", "complete")

    def __init__(self, limit: int, too_large: type[WireError], *, once: bool = False) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._too_large = too_large
        self._once = once
        self.complete = False
        """Whether the one message of a ``once`` reader is here."""

    @property
    def trailing_data(self) -> bytes:
        """The bytes received that belong to no complete message."""
        return bytes(self._buffer)

    @property
    def empty(self) -> bool:
        """Whether every byte received so far belongs to a complete message."""
        return not self._buffer

    def receive_data(self, data: bytes | memoryview) -> list[bytes]:
        """The bodies that ``data`` completes, in order.

        Raises ``too_large``, and ``RuntimeError`` when a ``once`` reader has its message already.
        """
        if self.complete:
            raise RuntimeError("the reader has the one message that it was made for")
        buffer = self._buffer
        buffer += data
        bodies: list[bytes] = []
        start = 0
        # One deletion at the end: many small messages in one delivery stay linear.
        while len(buffer) - start >= PREFIX_BYTES:
            length = int.from_bytes(buffer[start : start + PREFIX_BYTES], "big")
            if length > self._limit:
                buffer.clear()
                raise self._too_large(f"{length} bytes announced, {self._limit} allowed")
            end = start + PREFIX_BYTES + length
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                bodies.append(bytes(view[start + PREFIX_BYTES : end]))
            start = end
            if self._once:
                self.complete = True
                break
        del buffer[:start]
        return bodies
