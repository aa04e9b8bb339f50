"""What can be wrong with bytes that a stranger sent, one class per cause.

::

    WireError
    ├── IdentityError
    │   ├── InvalidIdentity            key of the wrong size, or an id that is not derived from it
    │   └── IdentityMismatch           a valid identity, but not the one that was asked for
    ├── PacketError                    control conversations with the relay
    │   ├── PacketTooLarge             announced length above the bound
    │   ├── MalformedPacket            not the protobuf message it should be
    │   ├── UnexpectedPacket           a well-formed packet of another type
    │   └── PacketTruncated            the stream ended inside a packet
    ├── HandshakeError
    │   ├── HandshakeTooLarge          announced length above the bound
    │   ├── MalformedHandshake         not the protobuf message, or a field of the wrong size
    │   ├── UnsupportedVersion         another protocol version
    │   ├── StaleTimestamp             the peer's clock is more than 30 s away
    │   ├── BadSignature               the payload was not signed by the key it names
    │   ├── AlpnMismatch               the protocol asked for is not offered
    │   ├── LowOrderPoint              the X25519 exchange gave the all-zero secret
    │   └── HandshakeTruncated         the stream ended before the handshake did
    ├── RecordError
    │   ├── RecordTooLarge             announced length above the bound
    │   ├── RecordTooShort             announced length below nonce and tag
    │   ├── RecordCorrupt              the tag does not authenticate the record
    │   └── RecordTruncated            the stream ended inside a record
    └── YamuxError                     ends the whole session; ``code`` goes into the go-away frame
        ├── UnsupportedYamuxVersion
        ├── UnknownFrameType
        ├── InvalidFlags               a combination no peer may send
        ├── InvalidStreamId            wrong parity, zero, reused or never opened
        ├── WindowExceeded             data past the credit that was granted
        ├── WindowOverflow             credit that sums to more than 2**32 - 1
        ├── FrameAfterFin              data on a half that its sender closed
        ├── FloodDetected              more control frames than any use explains
        ├── StreamsExhausted           no stream id is left to open
        ├── TooManyStreams             no room in our table for one more stream
        └── SessionGoneAway            the peer takes no more streams, or gave the session up

Each message says what was seen and what was allowed, in numbers, and never quotes the peer's text.
"""

__all__ = [
    "AlpnMismatch",
    "BadSignature",
    "FloodDetected",
    "FrameAfterFin",
    "HandshakeError",
    "HandshakeTooLarge",
    "HandshakeTruncated",
    "IdentityError",
    "IdentityMismatch",
    "InvalidFlags",
    "InvalidIdentity",
    "InvalidStreamId",
    "LowOrderPoint",
    "MalformedHandshake",
    "MalformedPacket",
    "PacketError",
    "PacketTooLarge",
    "PacketTruncated",
    "RecordCorrupt",
    "RecordError",
    "RecordTooLarge",
    "RecordTooShort",
    "RecordTruncated",
    "SessionGoneAway",
    "StaleTimestamp",
    "StreamsExhausted",
    "TooManyStreams",
    "UnexpectedPacket",
    "UnknownFrameType",
    "UnsupportedVersion",
    "UnsupportedYamuxVersion",
    "WindowExceeded",
    "WindowOverflow",
    "WireError",
    "YamuxError",
]


class WireError(Exception):
    """The peer broke a protocol; nothing it sends afterwards on that channel is trusted."""


class IdentityError(WireError):
    """An identity is not what it must be."""


class InvalidIdentity(IdentityError):
    """The public key has not 32 bytes, or the id is not the one derived from it."""


class IdentityMismatch(IdentityError):
    """The peer proved an identity, but another than the one that was asked for."""


class PacketError(WireError):
    """A control packet cannot be used."""


class PacketTooLarge(PacketError):
    """The announced packet length is above the bound; nothing was buffered for it."""


class MalformedPacket(PacketError):
    """The bytes are not the protobuf message they should be."""


class UnexpectedPacket(PacketError):
    """A well-formed packet of a type that has no place here."""


class PacketTruncated(PacketError):
    """The stream ended before the announced packet length."""


class HandshakeError(WireError):
    """The secure channel could not be agreed on."""


class HandshakeTooLarge(HandshakeError):
    """The announced handshake length is above the bound; nothing was buffered for it."""


class MalformedHandshake(HandshakeError):
    """The bytes are not the protobuf message they should be, or a field has the wrong size."""


class UnsupportedVersion(HandshakeError):
    """The peer speaks another version of the secure channel."""


class StaleTimestamp(HandshakeError):
    """The peer's timestamp is further from our clock than the protocol allows."""


class BadSignature(HandshakeError):
    """The payload was not signed by the key that it names."""


class AlpnMismatch(HandshakeError):
    """The application protocol that was asked for is not the one that is served."""


class LowOrderPoint(HandshakeError):
    """The peer's X25519 key makes the shared secret all zero (RFC 7748 section 6.1)."""


class HandshakeTruncated(HandshakeError):
    """The stream ended before the handshake did."""


class RecordError(WireError):
    """A secure record cannot be opened."""


class RecordTooLarge(RecordError):
    """The announced record length is above the bound; nothing was buffered for it."""


class RecordTooShort(RecordError):
    """The announced record length does not even hold the nonce and the tag."""


class RecordCorrupt(RecordError):
    """The record's tag does not authenticate its bytes."""


class RecordTruncated(RecordError):
    """The stream ended inside a record."""


class YamuxError(WireError):
    """The multiplexed session is broken as a whole, or cannot open one more stream.

    ``code`` is what our go-away frame says: 1, the peer broke the protocol.
    """

    code = 1


class UnsupportedYamuxVersion(YamuxError):
    """A frame header with a version other than 0."""


class UnknownFrameType(YamuxError):
    """A frame header with a type that the protocol does not know."""


class InvalidFlags(YamuxError):
    """Flags that cannot stand together, or that this frame type cannot carry."""


class InvalidStreamId(YamuxError):
    """A stream id that the peer may not use here."""


class WindowExceeded(YamuxError):
    """The peer sent more data than the credit it was granted."""


class WindowOverflow(YamuxError):
    """The peer granted more credit than a window can hold."""


class FrameAfterFin(YamuxError):
    """Data on a half of a stream that its sender had already closed."""


class FloodDetected(YamuxError):
    """More control frames than any honest use explains."""


class StreamsExhausted(YamuxError):
    """Every stream id of this session has been used; a new session is needed."""


class TooManyStreams(YamuxError):
    """Our own bound on streams of one session is reached; the session itself is fine."""


class SessionGoneAway(YamuxError):
    """The peer sent a go-away, or the session failed: no stream can be opened."""
