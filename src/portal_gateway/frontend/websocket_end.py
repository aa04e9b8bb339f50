"""One end of a WebSocket bridge: autobahn's protocol over a stream, frame by frame.

autobahn does the opening handshake's computations, the framing and its rules, masks, UTF-8 and the
agreement on permessage-deflate. An end hands on what one step of reading brought, as a fragment of
the message, and keeps none of it: messages are never put together. What a frame means for the other
side is the `Bridge`'s matter.

Replaced of autobahn's are its transport and its timers (the bridge has its own), its logging (it
quotes what strangers sent), its loop of reading and its inflating, which know no pause, its way of
reading on after a fault, and its answers to pings and closes: these come from the other side.

After each step of autobahn's reader (a frame's header, a part of its payload, or `PIECE` bytes of
what a compressed one inflates to) an end looks whether it is held, and whether it has had its turn
(`Turns`). What it holds then:

======================== ===========================================================
input                    one read of the stream: `READ_COMPRESSED`
being parsed             a `STEP` of it, in autobahn's reader or the inflater
the other stream         as many bytes again, above which it asks for a pause
output                   one `PIECE` that it was given on top of them
inflater and compressor  40 KiB and 22 KiB (`Deflation`)
======================== ===========================================================

In both directions together that is 228 KiB. Without compression it is three times `READ`, 192 KiB
in both. One WebSocket may cost 256 KiB. The stream of a relay has a window besides, which the
session with the relay accounts for.
"""

# autobahn's own annotations are partial: many of its methods have none.
# mypy: allow-untyped-calls

import zlib
from collections.abc import Callable
from typing import Any, Final, NoReturn

from autobahn.websocket.protocol import WebSocketProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.frontend.close_codes import (
    INTERNAL_ERROR,
    INVALID_PAYLOAD,
    PROTOCOL_ERROR,
    REASONS,
    TOO_BIG,
    may_be_sent,
)
from portal_gateway.frontend.websocket_deflate import PIECE, STEP
from portal_gateway.frontend.websocket_output import Output
from portal_gateway.frontend.websocket_turns import INFLATED_UNIT, WORK, Turns
from portal_gateway.frontend.websocket_watcher import Watcher

__all__ = ["BY_PACE", "READ", "READ_COMPRESSED", "End"]

READ: Final = 32 * 1024
READ_COMPRESSED: Final = 16 * 1024
"""Bytes that the streams of a WebSocket read at once, and hold before they ask for a pause: less
where one of its ends has memory for compression."""

_LAST_DATA_OPCODE = 7

_WHOLE: Final = 125
"""Bytes of a frame up to which it is passed on as a whole. It has the shortest header, and whoever
sends it sends it at once; cut by our reads and turns it would be two frames, twice its size."""

_SMALL: Final = 256
"""Bytes up to which a message that came uncompressed is not compressed: a compressor costs more."""

# The reasons for which an end is not read.
_BY_PEER, _BY_TURN, BY_PACE = 1, 2, 4


class _Stop(Exception):
    """Leave autobahn's reader: nothing more is read from this end."""


class End(Output):
    """What both ends share; stands before autobahn's class in the order of bases.

    ``other`` is the opposite end, ``bridge`` what joins them; both are set before anything comes.
    ``farewell`` is the peer's close frame, when it has come.
    """

    _defects = Logger()
    # Given by autobahn, which does not declare them.
    data: bytes
    current_frame: Any
    current_frame_masker: Any
    utf8validator: Any
    utf8validateIncomingCurrentMessage: bool
    utf8validateLast: tuple[bool, bool, int, int]
    _isMessageCompressed = False
    _dataReceived: Callable[[bytes], None]
    _connectionMade: Callable[[], None]
    processData: Callable[[], bool | None]
    sendPing: Callable[[bytes], None]
    sendPong: Callable[[bytes], None]

    other: "End"
    farewell: tuple[int | None, bytes] | None = None
    bridge: Watcher
    _held = 0
    """For which reasons nothing is read: `_BY_PEER` and so on."""
    _paused = False
    _deaf = False
    _parsing = False
    _input = b""
    _position = 0
    """The position in ``_input`` of the first byte that autobahn has not got yet."""
    _more = False
    """Whether autobahn's reader has something to do without more bytes."""
    _inflating = False
    """Whether a part of the payload that was given is not inflated yet."""
    _inflated = 0
    """Bytes inflated since the work of this turn was counted."""
    _binary = False
    _first = True
    _waiting = 0
    """Bytes in ``_chunks``."""
    _message_size = 0
    """Bytes of the message that comes, inflated."""

    def __init__(self, max_message: int, max_frame: int, turns: Turns) -> None:
        super().__init__()
        self._max_message = max_message
        self._max_frame = max_frame
        self._turns = turns
        self._chunks: list[bytes] = []

    @property
    def held(self) -> int:
        """Bytes of the peer that are here and were not passed on."""
        unparsed = len(self._input) - self._position + len(self.data) + self._waiting
        return unparsed + (0 if self.deflation is None else self.deflation.held)

    # From the stream.

    def receive_data(self, data: bytes) -> None:
        """Bytes of the peer."""
        self.bridge.touched()
        if not self._deaf:
            rest = self._input[self._position :]
            self._input = rest + data if rest else data
            self._position = 0
            self._work()

    def pause_sending(self) -> None:
        """The peer takes no more: the other end reads no more."""
        self.other.hold()

    def resume_sending(self) -> None:
        """The peer takes more."""
        self.other.release()

    # For the other end and the bridge.

    def hold(self) -> None:
        """Read nothing until `release`."""
        self._hold(_BY_PEER)

    def release(self) -> None:
        """Read what waits, then the stream."""
        self._release(_BY_PEER)

    def turn_came(self) -> None:
        """Continue with what was too much for one turn."""
        self._release(_BY_TURN)

    def _hold(self, reason: int) -> None:
        self._held |= reason
        self._steer()

    def _release(self, reason: int) -> None:
        if self._held & reason:
            self._held &= ~reason
            self._work()

    def _steer(self) -> None:
        """Read the stream if nothing holds this end, else pause it."""
        paused = bool(self._held)
        if paused != self._paused and not self._parsing and not self.finished:
            self._paused = paused
            if paused:
                self.stream.pause_reading()
            else:
                self.stream.resume_reading()

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

    # Reading.

    def _work(self) -> None:
        """Read what is here, until something holds this end or its turn is over."""
        if self._parsing:
            return
        self._parsing = True
        self.other.gather()
        left = WORK
        step = self.processData
        try:
            while left > 0 and not self._held and not self._deaf:
                if not self._more and not self._feed():
                    break
                left -= 1
                self._more = step() or self._inflating
                if self._isMessageCompressed:
                    left -= self._inflated // INFLATED_UNIT
                    self._inflated = 0
                if self._waiting >= PIECE:
                    self._pass_on(last=False)
            if self._waiting and self.current_frame.length > _WHOLE:
                self._pass_on(last=False)
        except _Stop:
            self._stop_reading()
        except Exception:  # noqa: BLE001 - whatever autobahn raises, the two peers hear of an end
            request_id = self.bridge.request_id
            self._defects.failure("a WebSocket could not be read", Failure(), request_id=request_id)
            self._stop_reading()
            self.bridge.failed(self, INTERNAL_ERROR, "The gateway failed")
        finally:
            self._parsing = False
            self.other.write_gathered()
        if left <= 0 and not self._deaf and (self._more or self._position < len(self._input)):
            # Also while it is held: nothing else may be left to hold it when that ends.
            self.bridge.limit_hit("websocket_turn")
            self._held |= _BY_TURN
            self._turns.add(self)
        self._steer()

    def _feed(self) -> bool:
        """Give autobahn's reader a step of the input; whether there was any."""
        data, start = self._input, self._position
        if start >= len(data):
            return False
        end = start + self._step()
        if start or end < len(data):
            data = data[start:end]
        self._position = end
        if end >= len(self._input):
            self._input, self._position = b"", 0
        self._dataReceived(data)
        return True

    def _step(self) -> int:
        """The number of bytes to give at once: more inside of a frame that is only passed on.

        autobahn cuts each frame off the front of what it holds, so many small frames in a large
        piece would cost the square of it.
        """
        frame = self.current_frame
        if frame is None or frame.opcode > _LAST_DATA_OPCODE or self._isMessageCompressed:
            return STEP
        return max(STEP, int(frame.length) - int(self.current_frame_masker.pointer()))

    def _stop_reading(self) -> None:
        self._deaf = True
        self._more = self._inflating = False
        self._input = self.data = b""
        self._position = self._waiting = 0
        self._chunks.clear()

    def _pass_on(self, *, last: bool) -> None:
        chunks = self._chunks
        if not chunks and not last:
            return
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._waiting = 0
        first, self._first = self._first, False
        small = first and last and len(data) <= _SMALL
        self.other.send_piece(
            data,
            binary=self._binary,
            first=first,
            last=last,
            # As the sender judged it, if it had the choice.
            compress=self._isMessageCompressed or (self.deflation is None and not small),
        )

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
        if not self._isMessageCompressed or frame.opcode > _LAST_DATA_OPCODE:
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
        raise _Stop

    def _fail_connection(
        self,
        code: int = PROTOCOL_ERROR,
        reason: str = "",  # noqa: ARG002 - autobahn's, may quote
    ) -> NoReturn:
        """The peer broke RFC 6455 or a limit. Leaves autobahn's reader."""
        self._stop_reading()
        self.bridge.failed(self, code, REASONS.get(code, "The protocol was broken"))
        raise _Stop

    def dropConnection(self, abort: bool = False) -> None:
        """Autobahn gave the connection up: only in an opening handshake, which is checked after."""

    def unregisterProducer(self) -> None:
        """There is none: the streams tell when to pause."""
