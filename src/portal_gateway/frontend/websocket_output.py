"""The sending side of one end of a WebSocket: frames on their way to the peer.

Small frames of one turn are written together. A message goes out in as many frames as it came in
pieces, compressed here where its sender compressed it or had no choice.
"""

# autobahn's own annotations are partial: many of its methods have none.
# mypy: allow-untyped-calls

from typing import Any, ClassVar, Final, Protocol

from autobahn.websocket.protocol import WebSocketProtocol

from portal_gateway.frontend.websocket_deflate import Deflation
from portal_gateway.relay.websocket_frames import frame_of

__all__ = ["Output", "Silence", "Stream"]

_FINAL: Final = 0x80
_COMPRESSED: Final = 0x40
"""Bits of a frame's first byte."""

_GATHERED: Final = 4 * 1024
"""Bytes of frames that are written together. A transport keeps some 50 bytes more for each write,
so frames without a payload would take 25 times what it counts."""


class Stream(Protocol):
    """The bytes below an end: a `TakenStream` or a `Tunnel`."""

    def narrow(self, size: int) -> None:
        """Read at most ``size`` bytes at once, and ask for a pause above as many to be sent."""

    def write(self, data: bytes) -> None:
        """Send ``data``."""

    def pause_reading(self) -> None:
        """Bring nothing for now."""

    def resume_reading(self) -> None:
        """Go on."""

    def close(self) -> None:
        """End it after what was written."""


class Silence:
    """Stands in for autobahn's logger, which quotes what strangers sent."""

    def _nothing(self, *args: object, **fields: object) -> None:
        """Log nothing."""

    trace = debug = info = warn = error = critical = failure = _nothing


class Output:
    """The sender of one end; autobahn's class stands behind it in the order of bases.

    ``masks`` says whether its frames are masked, as a client's are, ``close_sent`` whether a close
    frame was sent, ``finished`` whether the stream has ended, ``deflation`` is there where
    compression was agreed on.
    """

    log = Silence()
    # Given by autobahn, which does not declare them.
    factory: Any
    state: int
    _perMessageCompress: Any

    masks: ClassVar[bool]
    stream: Stream
    deflation: Deflation | None = None
    close_sent = False
    finished = False
    _compressing = False
    _gathering = False
    _gathered_size = 0

    def __init__(self) -> None:
        super().__init__()
        self._gathered: list[bytes] = []

    def use_deflation(self) -> None:
        """Inflate and compress in our own way what the opening handshake agreed on."""
        agreed = self._perMessageCompress
        if agreed is not None:
            deflation = Deflation(agreed, is_server=self.factory.isServer)
            self._perMessageCompress = self.deflation = deflation

    @property
    def can_send(self) -> bool:
        """Whether frames may be sent."""
        return self.state == WebSocketProtocol.STATE_OPEN and not self.finished

    def send_close(self, code: int | None, reason: bytes = b"") -> None:
        """Send a close frame, if none was sent yet."""
        if self.can_send and not self.close_sent:
            self.close_sent = True
            payload = b"" if code is None else code.to_bytes(2, "big") + reason
            self.sendFrame(8, payload)
            self.state = WebSocketProtocol.STATE_CLOSING

    def send_piece(
        self, data: bytes, *, binary: bool, first: bool, last: bool, compress: bool
    ) -> None:
        """Send a part of a message as one frame."""
        if not self.can_send:
            return
        deflation = self.deflation
        if first:
            self._compressing = compress and deflation is not None
        if deflation is not None and self._compressing:
            data = deflation.compress(data, last=last)
        start = _FINAL if last else 0
        if first:
            start |= 2 if binary else 1
            if self._compressing:
                start |= _COMPRESSED
        self._send(start, data)

    def gather(self) -> None:
        """Write small frames together from now on."""
        self._gathering = True

    def _send(self, start: int, payload: bytes) -> None:
        """Write a frame; a small one together with others of this turn."""
        data = frame_of(start, payload, masked=self.masks)
        size = len(data)
        if self._gathering and size < _GATHERED:
            self._gathered.append(data)
            self._gathered_size += size
            if self._gathered_size >= _GATHERED:
                self._flush()
        else:
            self._flush()
            self.stream.write(data)

    # What autobahn calls.

    def sendFrame(self, opcode: int, payload: bytes = b"") -> None:
        """Send a control frame, in the place of autobahn's own way of making frames."""
        self._send(_FINAL | opcode, payload)

    def sendData(
        self,
        data: bytes,
        sync: bool = False,  # noqa: ARG002 - autobahn's
        chopsize: int | None = None,  # noqa: ARG002 - autobahn's
    ) -> None:
        """Write what the opening handshake has to say."""
        self.stream.write(data)

    def write_gathered(self) -> None:
        """Write the frames that were gathered, and each on its own from now on."""
        self._gathering = False
        self._flush()

    def _flush(self) -> None:
        gathered = self._gathered
        if gathered:
            data = gathered[0] if len(gathered) == 1 else b"".join(gathered)
            gathered.clear()
            self._gathered_size = 0
            self.stream.write(data)

    def stop_sending(self) -> None:
        """The stream has ended."""
        self.finished = True
        self._gathered.clear()
        self.state = WebSocketProtocol.STATE_CLOSED
