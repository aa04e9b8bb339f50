"""The state of the h2 library, held to the stream errors of RFC 9113.

The library fails the connection for much that is the fault of one request. Here a fault of one
stream resets that stream, and the others go on:

====================================================  ===================================
a header block or DATA that its stream may not get    as the library says, on the stream
more DATA than the window of the stream (6.9.1)       FLOW_CONTROL_ERROR
a stream that depends on itself (RFC 7540, 5.3.1)     PROTOCOL_ERROR
WINDOW_UPDATE of 0 (6.9)                              PROTOCOL_ERROR
PRIORITY of another length than 5 (6.3)               FRAME_SIZE_ERROR
DATA without the pad length that it announces (4.2)   FRAME_SIZE_ERROR
====================================================  ===================================

On an idle stream each of these fails the connection, because an idle stream cannot be reset (6.4);
so does RST_STREAM. On a closed stream they are ignored. Lengths of bodies are not judged here:
`Intake` does.
"""

from collections.abc import Iterable
from typing import Any

from h2.connection import AllowedStreamIDs, H2Connection
from h2.errors import ErrorCodes
from h2.events import Event, StreamReset
from h2.exceptions import ProtocolError, StreamClosedError, StreamIDTooLowError
from h2.stream import H2Stream, StreamClosedBy, StreamState
from hyperframe.frame import RstStreamFrame

from portal_gateway.wire.http2_frames import Frame, FrameType

__all__ = ["Protocol", "StreamFault"]

_DATA, _PRIORITY = int(FrameType.DATA), int(FrameType.PRIORITY)
_RST_STREAM, _WINDOW_UPDATE = int(FrameType.RST_STREAM), int(FrameType.WINDOW_UPDATE)
"""Members of an enumeration are slow to look up, for each frame."""

_KNOWN_TYPES = frozenset(FrameType)

_PADDED = 0x8

_PRIORITY_LENGTH = 5

_NO_INCREMENT = b"\0\0\0\0", b"\x80\0\0\0"
"""An increment of 0, without and with the reserved bit."""


class StreamFault(Exception):
    """The fault of one stream; ``code`` goes into its RST_STREAM."""

    def __init__(self, code: ErrorCodes) -> None:
        super().__init__(code)
        self.code = code


class _Stream(H2Stream):
    """A stream whose faults are its own."""

    def _initialize_content_length(self, headers: Iterable[Any]) -> None:
        """Nothing: `Intake` compares lengths."""

    def _track_content_length(self, length: int, end_stream: bool) -> None:
        """Nothing: `Intake` compares lengths."""

    def receive_headers(self, headers: Any, end_stream: bool, header_encoding: Any) -> Any:
        """Receive a header or trailers, which were decoded: the decoder's table is in step."""
        try:
            return super().receive_headers(headers, end_stream, header_encoding)
        except StreamClosedError:
            raise
        except ProtocolError as error:
            raise StreamFault(error.error_code) from error

    def receive_data(self, data: bytes, end_stream: bool, flow_control_len: int) -> Any:
        """Receive a part of a body."""
        try:
            return super().receive_data(data, end_stream, flow_control_len)
        except StreamClosedError:
            raise
        except ProtocolError as error:
            raise StreamFault(error.error_code) from error


class Protocol(H2Connection):
    """The state of a connection; a fault of one stream is a `StreamReset` of that stream."""

    MAX_CLOSED_STREAMS = 1000

    @property
    def open_inbound_streams(self) -> int:
        """None, so that one stream too many is refused and the others go on."""
        # Asking forgets the streams that have ended.
        _ = super().open_inbound_streams
        return 0

    def receive_frame(self, frame: Frame, *, in_header: bool) -> list[Event]:
        """Receive one frame; ``in_header``: a header block has begun and not ended.

        Raises `H2Error` for what fails the connection; GOAWAY is queued then.
        """
        if not in_header:
            if frame.type not in _KNOWN_TYPES:
                # To be ignored (4.1, 5.5). The library would parse ALTSVC, which is a server's.
                return []
            code = _fault_of(frame)
            if code is not None:
                return self._reset_faulty(frame.stream_id, code)
            if frame.type == _RST_STREAM and self._is_idle(frame.stream_id):
                self._fail(ErrorCodes.PROTOCOL_ERROR)
        try:
            return self.receive_data(frame.data)
        except StreamFault as fault:
            events = self._reset_faulty(frame.stream_id, fault.code)
            if frame.type == _DATA:
                # It counts against the window of the connection all the same (6.9).
                self.acknowledge_received_data(frame.length, frame.stream_id)
            return events

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> H2Stream:
        # In place of the library's: it has no place to name another class of streams.
        if not self._is_idle(stream_id):
            raise StreamIDTooLowError(stream_id, self.highest_inbound_stream_id)
        if stream_id % 2 != allowed_ids:
            raise ProtocolError("only streams with odd numbers are opened by a client")
        stream = _Stream(
            stream_id,
            self.config,
            self.local_settings.initial_window_size,
            self.remote_settings.initial_window_size,
        )
        stream.max_outbound_frame_size = self.max_outbound_frame_size
        self.streams[stream_id] = stream
        self.highest_inbound_stream_id = stream_id
        return stream

    def _receive_priority_frame(self, frame: Any) -> Any:
        if frame.depends_on == frame.stream_id:
            raise StreamFault(ErrorCodes.PROTOCOL_ERROR)
        return super()._receive_priority_frame(frame)

    def _reset_faulty(self, stream_id: int, code: ErrorCodes) -> list[Event]:
        if self._is_idle(stream_id):
            self._fail(code)
        stream = self.streams.get(stream_id)
        if stream is None or stream.closed_by is not None:
            return []
        machine = stream.state_machine
        machine.state = StreamState.CLOSED
        machine.stream_closed_by = StreamClosedBy.SEND_RST_STREAM
        reset = RstStreamFrame(stream_id)
        reset.error_code = code
        self._prepare_for_sending([reset])
        return [StreamReset(stream_id=stream_id, error_code=code, remote_reset=False)]

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id > self.highest_inbound_stream_id or not stream_id % 2

    def _fail(self, code: ErrorCodes) -> None:
        self._terminate_connection(code)
        raise ProtocolError("a frame came on a stream that was never opened")


def _fault_of(frame: Frame) -> ErrorCodes | None:
    """The fault of a stream that the library would take for one of the connection, if any."""
    kind = frame.type
    if not frame.stream_id:
        return None
    if kind == _DATA:
        if frame.flags & _PADDED and not frame.length:
            return ErrorCodes.FRAME_SIZE_ERROR
    elif kind == _WINDOW_UPDATE:
        if frame.data.endswith(_NO_INCREMENT) and frame.length == len(_NO_INCREMENT[0]):
            return ErrorCodes.PROTOCOL_ERROR
    elif kind == _PRIORITY and frame.length != _PRIORITY_LENGTH:
        return ErrorCodes.FRAME_SIZE_ERROR
    return None
