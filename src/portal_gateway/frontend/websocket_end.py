"""One end of a WebSocket bridge: autobahn's protocol over a stream, frame by frame.

autobahn does the opening handshake's computations, the framing and its rules, masks, UTF-8 and the
agreement on permessage-deflate. An end hands on what one step of reading brought, as a fragment of
the message, and keeps none of it: messages are never put together. What a frame means for the other
side is the `Bridge`'s matter.

Replaced of autobahn's are its transport and its timers (the bridge has its own), its logging (it
quotes what strangers sent), its loop of reading and its inflating, which know no pause, its way of
reading on after a fault, and its answers to pings and closes: these come from the other side.

What an end holds when it is held, or has had its turn, with compression:

======================== ===========================================================
input                    one read of the stream: `READ_COMPRESSED`
being parsed             a `STEP` of it, in autobahn's reader or the inflater
the other stream         as many bytes again, above which it asks for a pause
output                   one `PIECE` that it was given on top of them
inflater and compressor  40 KiB and 22 KiB (`Deflation`)
======================== ===========================================================

In both directions together that is 228 KiB. Without compression nothing grows: a read of `READ`
bytes is here or in the other stream, which had as many before, so it is 224 KiB in both. One
WebSocket may cost 256 KiB. The stream of a relay has a window besides, which the session with the
relay accounts for.
"""

# autobahn's own annotations are partial: many of its methods have none.
# mypy: allow-untyped-calls

import zlib
from collections.abc import Callable
from typing import Any, Final, NoReturn

from autobahn.websocket.protocol import WebSocketProtocol

from portal_gateway.frontend.close_codes import (
    INVALID_PAYLOAD,
    PROTOCOL_ERROR,
    REASONS,
    TOO_BIG,
    may_be_sent,
)
from portal_gateway.frontend.websocket_input import LAST_DATA_OPCODE, Input, Stop

__all__ = ["READ", "READ_COMPRESSED", "End"]

READ: Final = 56 * 1024
READ_COMPRESSED: Final = 16 * 1024
"""Bytes that the streams of a WebSocket read at once, and hold before they ask for a pause: less
where one of its ends has memory for compression."""


class End(Input):
    """What both ends share; stands before autobahn's class in the order of bases.

    ``farewell`` is the peer's close frame, when it has come.
    """

    # Given by autobahn, which does not declare them.
    utf8validator: Any
    utf8validateIncomingCurrentMessage: bool
    utf8validateLast: tuple[bool, bool, int, int]
    _connectionMade: Callable[[], None]
    sendPing: Callable[[bytes], None]
    sendPong: Callable[[bytes], None]

    other: "End"
    farewell: tuple[int | None, bytes] | None = None
    _message_size = 0
    """Bytes of the message that comes, inflated."""

    # For the bridge.

    def finish(self) -> None:
        """End the stream after what was sent."""
        if not self.finished:
            self._flush()
            self.lose()
            self.stream.close()

    def lose(self) -> None:
        """The stream has ended: nothing comes, nothing goes."""
        self._stop_reading()
        self.stop_sending()

    # What autobahn calls.

    def _onOpen(self) -> None:
        """The opening handshake is done; the bridge knows."""

    def _onMessageBegin(self, isBinary: bool) -> None:
        self._binary = isBinary
        self._first = True
        self._message_size = 0

    def _onMessageFrameBegin(self, length: int) -> None:
        if length > self._max_frame:
            self._fail_connection(TOO_BIG)
        if not self._isMessageCompressed:
            self._count_size(length)

    def _count_size(self, size: int) -> None:
        self._message_size += size
        if self._message_size > self._max_message:
            self._fail_connection(TOO_BIG)

    def consumeData(self) -> None:
        """Autobahn's loop, of which ours takes the place once the WebSocket is open."""
        if self.state == WebSocketProtocol.STATE_CONNECTING:
            super().consumeData()  # type: ignore[misc]  # autobahn's

    def onFrameData(self, payload: bytes) -> bool | None:
        """Payload of a frame. A compressed one is inflated by one piece for each call.

        As long as there is more, autobahn's reader stops here, and calls again without payload.
        """
        frame = self.current_frame
        if not self._isMessageCompressed or frame.opcode > LAST_DATA_OPCODE:
            return super().onFrameData(payload)  # type: ignore[misc,no-any-return]  # autobahn's
        deflation = self.deflation
        assert deflation is not None
        if not self._inflating:
            ends = frame.fin and self.current_frame_masker.pointer() == frame.length
            deflation.feed(payload, last=ends)
            if not deflation.more:
                return None
        try:
            data = deflation.piece()
        except zlib.error:
            self._fail_connection(INVALID_PAYLOAD)
        self._inflating = deflation.more
        self._inflated += len(data)
        self._count_size(len(data))
        if self.utf8validateIncomingCurrentMessage:
            self.utf8validateLast = self.utf8validator.validate(data)
            if not self.utf8validateLast[0]:
                self._fail_connection(INVALID_PAYLOAD)
        self._onMessageFrameData(data)
        return False if self._inflating else None

    def _onMessageFrameData(self, payload: bytes) -> None:
        if payload:
            self._chunks.append(payload)
            self._waiting += len(payload)

    def _onMessageFrameEnd(self) -> None:
        if not self.current_frame.fin:
            self._pass_on(last=False)

    def _onMessageEnd(self) -> None:
        self._pass_on(last=True)

    def _onPing(self, payload: bytes) -> None:
        self.other.sendPing(payload)

    def _onPong(self, payload: bytes) -> None:
        self.other.sendPong(payload)

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> bool | None:
        """The peer closes (RFC 6455 section 5.5.1). Leaves autobahn's reader."""
        if code is not None and not may_be_sent(code):
            self._fail_connection(PROTOCOL_ERROR)
        reason = reasonRaw or b""
        try:
            reason.decode("utf-8")
        except UnicodeDecodeError:
            self._fail_connection(INVALID_PAYLOAD)
        self._stop_reading()
        self.farewell = (code, reason)
        self.bridge.close_came(self, code, reason)
        raise Stop

    def _fail_connection(
        self,
        code: int = PROTOCOL_ERROR,
        reason: str = "",  # noqa: ARG002 - autobahn's, may quote
    ) -> NoReturn:
        """The peer broke RFC 6455 or a limit. Leaves autobahn's reader."""
        self._fail(code, REASONS.get(code, "The protocol was broken"))
        raise Stop

    def _fail(self, code: int, reason: str) -> None:
        self._stop_reading()
        self.bridge.failed(self, code, reason)

    def dropConnection(self, abort: bool = False) -> None:
        """Autobahn gave the connection up: only in an opening handshake, which is checked after."""

    def unregisterProducer(self) -> None:
        """There is none: the streams tell when to pause."""
