"""One end of a WebSocket bridge: autobahn's protocol over a stream, frame by frame.

autobahn does the opening handshake's computations, the framing and its rules, masks, UTF-8 and
permessage-deflate. An end hands on what one step of reading brought, as a fragment of the message,
and keeps none of it: messages are never put together. What a frame means for the other side is the
`Bridge`'s matter.

Replaced of autobahn's are its transport and its timers (the bridge has its own), its logging (it
quotes what strangers sent), its way of reading on after a fault, and its answers to pings and
closes: these come from the other side.
"""

# autobahn's own annotations are partial: many of its methods have none.
# mypy: allow-untyped-calls

from collections.abc import Callable
from typing import Any, Final, Protocol

from autobahn.websocket.protocol import WebSocketProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError
from portal_gateway.frontend.close_codes import (
    INTERNAL_ERROR,
    INVALID_PAYLOAD,
    PROTOCOL_ERROR,
    REASONS,
    TOO_BIG,
    may_be_sent,
)

__all__ = ["End", "Silence", "Stream", "Watcher"]

_LAST_DATA_OPCODE = 7

_STEP: Final = 4 * 1024
"""Bytes that are parsed at once.

autobahn cuts each frame off the front of what it holds, so many small frames in a large piece would
cost the square of it. It also bounds what one step can inflate to: about a thousand times as much.
"""

_PIECE: Final = 64 * 1024
"""Bytes of a frame that are passed on at once: what one read of a socket brings."""

_SMALL: Final = 256
"""Bytes up to which a message that came uncompressed is not compressed: a compressor costs more."""

_FLUSHED: Final = b"\x00\x00\xff\xff"
"""What a flush of deflate ends with; it is left out at the end of a message (RFC 7692 7.2.1)."""


class Stream(Protocol):
    """The bytes below an end: a `TakenStream` or a `Tunnel`."""

    def write(self, data: bytes) -> None:
        """Send ``data``."""

    def pause_reading(self) -> None:
        """Bring nothing for now."""

    def resume_reading(self) -> None:
        """Go on."""

    def close(self) -> None:
        """End it after what was written."""


class Watcher(Protocol):
    """The bridge, as its ends see it."""

    @property
    def request_id(self) -> str:
        """The id of the request that asked for the WebSocket."""

    def touched(self) -> None:
        """Something came."""

    def close_came(self, end: "End", code: int | None, reason: bytes) -> None:
        """A valid close frame; nothing more is read from this end."""

    def failed(self, end: "End", code: int, reason: str) -> None:
        """The peer of this end broke the protocol or a limit; nothing more is read."""

    def lease_gone(self, error: GatewayError | None) -> None:
        """The lease's stream has ended."""

    def shut_down(self) -> None:
        """The gateway is stopping."""


class Silence:
    """Stands in for autobahn's logger, which quotes what strangers sent."""

    def _nothing(self, *args: object, **fields: object) -> None:
        """Log nothing."""

    trace = debug = info = warn = error = critical = failure = _nothing


class _Stop(Exception):
    """Leave autobahn's reader: nothing more is read from this end."""


class End:
    """What both ends share; stands before autobahn's class in the order of bases.

    ``other`` is the opposite end, ``bridge`` what joins them; both are set before anything comes.
    ``close_sent`` and ``farewell`` (the peer's close frame) tell how far the closing handshake is,
    ``finished`` that the stream has ended.
    """

    _defects = Logger()
    log = Silence()
    # Given by autobahn, which does not declare them.
    factory: Any
    state: int
    data: bytes
    current_frame: Any
    current_frame_masker: Any
    inside_message: bool
    message_data_total_length: int
    _isMessageCompressed: bool
    _perMessageCompress: Any
    _dataReceived: Callable[[bytes], None]
    _connectionMade: Callable[[], None]
    sendFrame: Callable[..., None]
    sendPing: Callable[[bytes], None]
    sendPong: Callable[[bytes], None]

    stream: Stream
    other: "End"
    farewell: tuple[int | None, bytes] | None = None
    close_sent = False
    finished = False
    bridge: Watcher
    _held = False
    _deaf = False
    _parsing = False
    _input = b""
    _binary = False
    _first = True
    _compressing = False
    _waiting = 0
    """Bytes in ``_chunks``."""
    _max_message = 0
    _max_frame = 0

    def __init__(self, max_message: int, max_frame: int) -> None:
        super().__init__()
        self._max_message = max_message
        self._max_frame = max_frame
        self._chunks: list[bytes] = []

    @property
    def can_send(self) -> bool:
        """Whether frames may be sent."""
        return self.state == WebSocketProtocol.STATE_OPEN and not self.finished

    # From the stream.

    def receive_data(self, data: bytes) -> None:
        """Bytes of the peer."""
        self.bridge.touched()
        if not self._deaf:
            self._input = self._input + data if self._input else data
            self._parse()

    def pause_sending(self) -> None:
        """The peer takes no more: the other end reads no more."""
        self.other.hold()

    def resume_sending(self) -> None:
        """The peer takes more."""
        self.other.release()

    # For the bridge.

    def hold(self) -> None:
        """Read nothing until `release`."""
        if not self._held:
            self._held = True
            if not self.finished:
                self.stream.pause_reading()

    def release(self) -> None:
        """Read what waits, then the stream."""
        if not self._held:
            return
        self._held = False
        self._parse()
        if not self._held and not self.finished:
            self.stream.resume_reading()

    def send_close(self, code: int | None, reason: bytes = b"") -> None:
        """Send a close frame, if none was sent yet."""
        if self.can_send and not self.close_sent:
            self.close_sent = True
            payload = b"" if code is None else code.to_bytes(2, "big") + reason
            self.sendFrame(opcode=8, payload=payload)
            self.state = WebSocketProtocol.STATE_CLOSING

    def finish(self) -> None:
        """End the stream after what was sent."""
        if not self.finished:
            self.lose()
            self.stream.close()

    def lose(self) -> None:
        """The stream has ended: nothing comes, nothing goes."""
        self.finished = True
        self._deaf = True
        self._input = self.data = b""
        self.state = WebSocketProtocol.STATE_CLOSED

    def send_piece(
        self, data: bytes, *, binary: bool, first: bool, last: bool, compress: bool
    ) -> None:
        """Send a part of a message as one frame."""
        if not self.can_send:
            return
        codec = self._perMessageCompress
        if first:
            self._compressing = compress and codec is not None
            if self._compressing:
                codec.start_compress_message()
        if self._compressing:
            data = codec.compress_message_data(data) + codec.end_compress_message()
            if not last:
                # The receiver is to have all of it now, so deflate is flushed in between.
                data += _FLUSHED
            elif not data:
                data = b"\x00"  # an empty block: RFC 7692 section 7.2.3.6
        self.sendFrame(
            opcode=(2 if binary else 1) if first else 0,
            payload=data,
            fin=last,
            rsv=4 if first and self._compressing else 0,
        )
        if last and self._compressing:
            self._forget_compressor()

    # Reading.

    def _parse(self) -> None:
        if self._parsing:
            return
        self._parsing = True
        data, self._input = self._input, b""
        position = 0
        try:
            while position < len(data) and not self._held and not self._deaf:
                end = position + self._step()
                self._take(data if not position and end >= len(data) else data[position:end])
                position = end
                if position >= len(data) and self._input:
                    data, self._input, position = self._input, b"", 0
            self._pass_on(last=False)
        finally:
            self._parsing = False
            if position < len(data) and not self._deaf:
                self._input = data[position:] + self._input

    def _step(self) -> int:
        """How much to parse at once: more inside of a frame that is only passed on."""
        frame = self.current_frame
        if frame is None or frame.opcode > _LAST_DATA_OPCODE or self._isMessageCompressed:
            return _STEP
        return max(_STEP, int(frame.length) - int(self.current_frame_masker.pointer()))

    def _take(self, data: bytes) -> None:
        try:
            self._dataReceived(data)
            if self._waiting > _PIECE:
                self._pass_on(last=False)
        except _Stop:
            self._stop_reading()
        except Exception:  # noqa: BLE001 - whatever autobahn raises, the two peers hear of an end
            request_id = self.bridge.request_id
            self._defects.failure("a WebSocket could not be read", Failure(), request_id=request_id)
            self._stop_reading()
            self.bridge.failed(self, INTERNAL_ERROR, "The gateway failed")

    def _stop_reading(self) -> None:
        self._deaf = True
        self.data = b""
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
            compress=self._isMessageCompressed or (self._perMessageCompress is None and not small),
        )

    # What autobahn calls.

    def sendData(
        self,
        data: bytes,
        sync: bool = False,  # noqa: ARG002 - autobahn's
        chopsize: int | None = None,  # noqa: ARG002 - autobahn's
    ) -> None:
        """Write a frame."""
        self.stream.write(data)

    def _onOpen(self) -> None:
        """The opening handshake is done; the bridge knows."""

    def _onMessageBegin(self, isBinary: bool) -> None:
        self._binary = isBinary
        self._first = True
        # autobahn keeps the inflated size in here, and inflates no more than the limit leaves.
        self.message_data_total_length = 0

    def _onMessageFrameBegin(self, length: int) -> None:
        self.message_data_total_length += length
        if self.message_data_total_length > self._max_message:
            self._fail_connection(TOO_BIG)
        if length > self._max_frame:
            self._fail_connection(TOO_BIG)

    def _onMessageFrameData(self, payload: bytes) -> None:
        if payload:
            self._chunks.append(payload)
            self._waiting += len(payload)

    def _onMessageFrameEnd(self) -> None:
        if not self.current_frame.fin:
            self._pass_on(last=False)

    def _onMessageEnd(self) -> None:
        self._pass_on(last=True)
        if self._isMessageCompressed:
            self._forget_decompressor()

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
    ) -> None:
        """The peer broke RFC 6455 or a limit. Leaves autobahn's reader."""
        self._stop_reading()
        self.bridge.failed(self, code, REASONS.get(code, "The protocol was broken"))
        raise _Stop

    def dropConnection(self, abort: bool = False) -> None:
        """Autobahn gave the connection up: only in an opening handshake, which is checked after."""

    def unregisterProducer(self) -> None:
        """There is none: the streams tell when to pause."""

    # permessage-deflate keeps nothing between messages where that was agreed: an idle connection
    # would hold 260 KiB for its compressor, and 40 KiB for the other. autobahn makes new ones by
    # itself.

    def _forget_compressor(self) -> None:
        codec = self._perMessageCompress
        if _no_takeover(codec, server=self.factory.isServer):
            codec._compressor = None  # noqa: SLF001 - as said above

    def _forget_decompressor(self) -> None:
        codec = self._perMessageCompress
        if _no_takeover(codec, server=not self.factory.isServer):
            codec._decompressor = None  # noqa: SLF001 - as said above


def _no_takeover(codec: Any, *, server: bool) -> bool:
    """Whether the messages of the server, or else of the client, are compressed one by one."""
    agreed: bool = codec.server_no_context_takeover if server else codec.client_no_context_takeover
    return agreed
