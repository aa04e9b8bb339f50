"""permessage-deflate of one end (RFC 7692), in pieces, in the place of autobahn's codec.

autobahn negotiates the extension; its own codec inflates whatever one frame brings in one call, a
thousand times what came. Here the compressed payload is given in with `Deflation.feed`, and comes
out of `Deflation.piece` in pieces of at most `PIECE` bytes, for as long as there is ``more``.

Memory of one end, while a message of each direction is under way:

======================== ===========================================================
the inflater             a window of 32 KiB, which the sender chose, and 8 KiB
the compressor           `COMPRESSOR_WINDOW_BITS` and `COMPRESSOR_MEMORY`: 22 KiB
compressed input         what was fed: `STEP` bytes
======================== ===========================================================

Between messages both are dropped where that was agreed, so an idle WebSocket holds neither.
"""

import zlib
from typing import Any, Final

__all__ = ["PIECE", "STEP", "Deflation"]

PIECE: Final = 16 * 1024
"""Bytes that are inflated at once. After each piece the other side may ask for a pause, so it also
bounds what is held for a peer that does not read."""

STEP: Final = 4 * 1024
"""Compressed bytes that are given to the inflater at once. zlib copies what it has not used yet
after each piece, so with more of them a bomb would cost the square of its size."""

COMPRESSOR_WINDOW_BITS: Final = 11
COMPRESSOR_MEMORY: Final = 4
"""A compressor of 22 KiB: zlib's defaults (15 and 8) take 262 KiB, and a peer that begins a message
and never ends it keeps one. Measured on JSON and on tokens: 96 % and 98 % of the defaults' ratio at
the same level."""

COMPRESSION_LEVEL: Final = 1
"""Level 6 takes 2 to 4 times the CPU for 4 to 15 % less data."""

_FLUSHED: Final = b"\x00\x00\xff\xff"
"""The end of a flush of deflate; it is left out at the end of a message (RFC 7692 7.2.1)."""

_EMPTY_BLOCK: Final = b"\x00"
"""The payload of an empty compressed message (RFC 7692 section 7.2.3.6)."""


class Deflation:
    """The two directions of one end. ``agreed`` is autobahn's codec, as it was negotiated.

    ``more`` says whether `piece` has anything to give.
    """

    EXTENSION_NAME: Final = "permessage-deflate"

    __slots__ = (
        "_compressor",
        "_forgets_received",
        "_forgets_sent",
        "_inflater",
        "_receive_bits",
        "_send_bits",
        "_waiting",
        "more",
    )

    def __init__(self, agreed: Any, *, is_server: bool) -> None:
        server = (agreed.server_no_context_takeover, agreed.server_max_window_bits)
        client = (agreed.client_no_context_takeover, agreed.client_max_window_bits)
        sent, received = (server, client) if is_server else (client, server)
        self._forgets_sent, send_bits = sent
        self._forgets_received, self._receive_bits = received
        # A smaller window than the agreed one is every sender's to choose.
        self._send_bits = min(send_bits, COMPRESSOR_WINDOW_BITS)
        self._compressor: Any = None
        self._inflater: Any = None
        self._waiting = b""
        self.more = False

    @property
    def held(self) -> int:
        """Compressed bytes that were fed and are not inflated yet."""
        return len(self._waiting)

    # Received messages. The first and the last method have autobahn's names.

    def start_decompress_message(self) -> None:
        """A message begins."""
        if self._inflater is None:
            self._inflater = zlib.decompressobj(-self._receive_bits)

    def feed(self, data: bytes, *, last: bool) -> None:
        """Take compressed payload, ``last`` of its message or not; only while there is no more."""
        self._waiting = data + _FLUSHED if last else data
        self.more = bool(self._waiting)

    def piece(self) -> bytes:
        """Inflate at most `PIECE` bytes; raises ``zlib.error`` for what cannot be inflated."""
        inflater = self._inflater
        if inflater.eof:
            # Behind a final block another stream may begin (RFC 7692 section 7.2.3.4). The old
            # inflater would keep all of it, copying it each time.
            inflater = self._inflater = zlib.decompressobj(-self._receive_bits)
        data: bytes = inflater.decompress(self._waiting, PIECE)
        if inflater.eof:
            self._waiting = inflater.unused_data
            self.more = bool(self._waiting)
        else:
            self._waiting = inflater.unconsumed_tail
            # A full piece may have left output inside of zlib.
            self.more = bool(self._waiting) or len(data) == PIECE
        return data

    def end_decompress_message(self) -> None:
        """A message has ended."""
        if self._forgets_received:
            self._inflater = None

    # Sent messages.

    def compress(self, data: bytes, *, last: bool) -> bytes:
        """The compressed payload of one frame; the receiver can inflate all of it at once."""
        compressor = self._compressor
        if compressor is None:
            compressor = self._compressor = zlib.compressobj(
                COMPRESSION_LEVEL, zlib.DEFLATED, -self._send_bits, COMPRESSOR_MEMORY
            )
        packed: bytes = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        if not last:
            return packed
        if self._forgets_sent:
            self._compressor = None
        return packed.removesuffix(_FLUSHED) or _EMPTY_BLOCK
