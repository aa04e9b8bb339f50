"""The receiving side of one end of a WebSocket: what came, read as far as its turn allows.

A message that is here whole, in one frame and not compressed, is read without autobahn: it takes
two fifths of the time, and nearly all messages are such. All other frames are autobahn's to read,
or to refuse.

After each message, and after each step of autobahn's reader (a frame's header, a part of its
payload, or `PIECE` bytes of what a compressed one inflates to), an end looks whether it is held,
and whether it has had its turn (`Turns`).
"""

# autobahn's own annotations are partial: many of its methods have none.
# mypy: allow-untyped-calls

from collections.abc import Callable
from typing import Any, Final, NoReturn

from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.frontend.close_codes import INTERNAL_ERROR, INVALID_PAYLOAD, TOO_BIG
from portal_gateway.frontend.websocket_deflate import PIECE, STEP
from portal_gateway.frontend.websocket_output import Output
from portal_gateway.frontend.websocket_turns import FRAME, INFLATED_UNIT, WORK, Turns
from portal_gateway.frontend.websocket_watcher import Watcher
from portal_gateway.relay.websocket_frames import PLAIN_BINARY, whole_message

__all__ = ["BY_PACE", "LAST_DATA_OPCODE", "Input", "Stop"]

LAST_DATA_OPCODE = 7

_WHOLE: Final = 125
"""Bytes of a frame up to which it is passed on as a whole. It has the shortest header, and whoever
sends it sends it at once; cut by our reads and turns it would be two frames, twice its size."""

_WHOLE_FRAME: Final = 2 + 4 + _WHOLE
"""Bytes of such a frame with its header."""

_TAKEN: Final = -1
"""The number of bytes for autobahn where a message was read without it."""

_SMALL: Final = 256
"""Bytes up to which a message that came uncompressed is not compressed: a compressor costs more."""

# The reasons for which an end is not read.
_BY_PEER, _BY_TURN, BY_PACE = 1, 2, 4


class Stop(Exception):
    """Leave autobahn's reader: nothing more is read from this end."""


class Input(Output):
    """The receiver of one end; autobahn's class stands behind it in the order of bases.

    ``other`` is the opposite end, ``bridge`` what joins them; both are set before anything comes.
    """

    _defects = Logger()
    # Given by autobahn, which does not declare them.
    data: bytes
    current_frame: Any
    current_frame_masker: Any
    inside_message: bool
    _isMessageCompressed = False
    _dataReceived: Callable[[bytes], None]
    processData: Callable[[], bool | None]

    other: "Input"
    bridge: Watcher
    _held = 0
    """For which reasons nothing is read: `_BY_PEER` and so on."""
    _paused = False
    _deaf = False
    _parsing = False
    _input = b""
    _position = 0
    """The position in ``_input`` of the first byte that was not read, or given to autobahn."""
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
            self._input = self._input[self._position :] + data if self._input else data
            self._position = 0
            self._work()

    def pause_sending(self) -> None:
        """The peer takes no more: the other end reads no more."""
        self.other.hold()

    def resume_sending(self) -> None:
        """The peer takes more."""
        self.other.release()

    # For the other end.

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

    # Reading.

    def _work(self) -> None:
        """Read what is here, until something holds this end or its turn is over."""
        if self._parsing:
            return
        self._parsing = True
        self.other.gather()
        left = WORK
        try:
            while left > 0 and not self._held and not self._deaf:
                units = self._read()
                if not units:
                    break
                left -= units
            if self._waiting and self.current_frame.length > _WHOLE:
                self._pass_on(last=False)
        except Stop:
            self._stop_reading()
        except Exception:  # noqa: BLE001 - whatever autobahn raises, the two peers hear of an end
            request_id = self.bridge.request_id
            self._defects.failure("a WebSocket could not be read", Failure(), request_id=request_id)
            self._fail(INTERNAL_ERROR, "The gateway failed")
        finally:
            self._parsing = False
            # The rest is not to hold all of what came.
            self._input, self._position = self._input[self._position :], 0
            self.other.write_gathered()
        if left <= 0 and not self._deaf and (self._more or self._position < len(self._input)):
            # Also while it is held: nothing else may be left to hold it when that ends.
            self.bridge.limit_hit("websocket_turn")
            self._held |= _BY_TURN
            self._turns.add(self)
        self._steer()

    def _read(self) -> int:
        """Read one message, or go one step of autobahn's reader; the units of work that it was."""
        if not self._more:
            size = self._next()
            if size == _TAKEN:
                return FRAME
            if not size:
                return 0
            self._feed(size)
        self._more = self.processData() or self._inflating
        units = 1
        if self._isMessageCompressed:
            units += self._inflated // INFLATED_UNIT
            self._inflated = 0
        if self._waiting >= PIECE:
            self._pass_on(last=False)
        return units

    def _next(self) -> int:
        """The number of bytes that autobahn is to get: none where more have to come, or `_TAKEN`.

        autobahn cuts each frame off the front of what it holds, so many small frames in a large
        piece would cost the square of it: only what belongs to one frame may be more than a `STEP`.
        """
        data, start = self._input, self._position
        here = len(data) - start
        frame = self.current_frame
        if frame is not None:
            if frame.opcode > LAST_DATA_OPCODE or self._isMessageCompressed:
                return min(here, STEP)
            return min(here, int(frame.length) - int(self.current_frame_masker.pointer()))
        if self.inside_message or self.data:
            return min(here, STEP)
        payload, end = whole_message(data, start, masked=not self.masks)
        if not end:
            return min(here, STEP)
        if end <= len(data):
            self._position = end
            self._take(payload, binary=data[start] == PLAIN_BINARY)
            return _TAKEN
        return here if end - start > _WHOLE_FRAME else 0

    def _take(self, payload: bytes, *, binary: bool) -> None:
        """A message that came in one frame, not compressed."""
        size = len(payload)
        if size > self._max_frame or size > self._max_message:
            self._fail_connection(TOO_BIG)
        if not binary and not payload.isascii():
            try:
                payload.decode("utf-8")
            except UnicodeDecodeError:
                self._fail_connection(INVALID_PAYLOAD)
        self._isMessageCompressed = False
        self._binary = binary
        self._first = True
        self._chunks.append(payload)
        self._onMessageEnd()

    def _feed(self, size: int) -> None:
        """Give autobahn's reader ``size`` bytes of the input."""
        data, start = self._input, self._position
        end = start + size
        if start or end < len(data):
            data = data[start:end]
        self._position = end
        if end >= len(self._input):
            self._input, self._position = b"", 0
        self._dataReceived(data)

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

    # Of the end.

    def _onMessageEnd(self) -> None:
        """The message has ended; the name is autobahn's."""
        raise NotImplementedError

    def _fail_connection(self, code: int) -> NoReturn:
        """The peer broke RFC 6455 or a limit. Raises `Stop`."""
        raise NotImplementedError

    def _fail(self, code: int, reason: str) -> None:
        """Read nothing more, and close."""
        raise NotImplementedError
