"""Yamux frames on the wire, and every bound of a session.

A frame header has 12 bytes, all big-endian: version (8 bits, 0), type (8), flags (16), stream id
(32), length (32). The first three are read and written here as one 32-bit word, so that the most
frequent frame, data without flags, is the word 0 and costs one comparison.

::

    type            stream id   length
    0 data          a stream    bytes of payload that follow
    1 window update a stream    bytes of credit added to what the receiver of this frame may send
    2 ping          0           opaque value; SYN asks, ACK answers with the same value
    3 go away       0           0 normal, 1 protocol error, 2 internal error

Flags: SYN opens a stream, ACK accepts it, FIN ends the sender's half, RST ends both. SYN, ACK, FIN
and RST ride on data or window-update frames alike.
"""

from struct import Struct

__all__ = [
    "ACK",
    "ANSWERS_PER_TURN",
    "BACKLOG",
    "DATA",
    "FIN",
    "FLAGS",
    "GO_AWAY",
    "GO_AWAY_INTERNAL_ERROR",
    "GO_AWAY_NORMAL",
    "GO_AWAY_PROTOCOL_ERROR",
    "HEADER",
    "HEADER_SIZE",
    "INITIAL_WINDOW",
    "LATE_FRAMES_PER_STREAM",
    "MAX_BUFFERED",
    "MAX_DATA_FRAME",
    "MAX_EXTRA_CREDIT",
    "MAX_LATE_BYTES",
    "MAX_LATE_FRAMES",
    "MAX_LENGTH",
    "MAX_PINGS_IN_FLIGHT",
    "MAX_RECEIVE_WINDOW",
    "MAX_SKIPPED_IDS",
    "MAX_STREAMS",
    "MAX_STREAM_ID",
    "MAX_UNACKNOWLEDGED",
    "MAX_UNEXPLAINED_FRAMES",
    "MIN_EXPLAINED_CREDIT",
    "PING",
    "RST",
    "SYN",
    "TYPE_SHIFT",
    "VERSION_SHIFT",
    "WINDOW_UPDATE",
    "encode",
]

HEADER = Struct(">III")
HEADER_SIZE = HEADER.size

VERSION_SHIFT = 24
TYPE_SHIFT = 16

# Frame types, already at their place in the first word.
DATA = 0 << TYPE_SHIFT
WINDOW_UPDATE = 1 << TYPE_SHIFT
PING = 2 << TYPE_SHIFT
GO_AWAY = 3 << TYPE_SHIFT

SYN = 1
ACK = 2
FIN = 4
RST = 8
FLAGS = SYN | ACK | FIN | RST

GO_AWAY_NORMAL = 0
GO_AWAY_PROTOCOL_ERROR = 1
GO_AWAY_INTERNAL_ERROR = 2

MAX_STREAM_ID = 0xFFFF_FFFF
MAX_LENGTH = 0xFFFF_FFFF

# Both directions of every stream start with this much credit: the protocol says so.
INITIAL_WINDOW = 262_144

# What a stream's receive window may grow to. Relays from 1.4.9 offer the same; it fills 130 MB/s at
# 125 ms.
MAX_RECEIVE_WINDOW = 16 * 1024 * 1024

# Credit above INITIAL_WINDOW that all streams of a session hold together: what grown windows can
# cost in memory when every reader stops. Room for one stream at its maximum and several at a good
# part of it.
MAX_EXTRA_CREDIT = 32 * 1024 * 1024

# Bytes that arrived on a session and were not consumed yet. Above it, the stream that holds most is
# reset: the 256 KiB that the protocol gives to each of MAX_STREAMS streams would otherwise come to
# 2 GiB. It is MAX_EXTRA_CREDIT plus 384 streams whose readers all stopped with a full first window.
MAX_BUFFERED = 128 * 1024 * 1024

# Largest payload of one frame that we write. Frames of several streams take turns on one
# connection, so it is what a small frame waits for: 0.5 ms at 1 Gbit/s. A secure record of the
# usual 32 KiB and its 32 bytes fit in one frame; from 32 KiB on, larger frames were not faster.
MAX_DATA_FRAME = 64 * 1024

# Streams in the table, of both sides together: thousands of idle WebSockets share one relay
# session.
MAX_STREAMS = 8192

# Streams that the peer opened and that we did not accept yet; more are reset. The genuine relay's
# figure.
BACKLOG = 256

# Streams that we opened and that the peer did not accept yet. The genuine peer resets what exceeds
# its backlog of 256, so further SYNs wait here.
MAX_UNACKNOWLEDGED = 256

# The genuine peer takes an id, then writes the SYN from another thread: SYNs overtake each other,
# by at most its 256 opens in flight. So many skipped ids are remembered, twice over.
MAX_SKIPPED_IDS = 512

# Answers (pong, ACK or RST to a SYN) that a peer can make us queue between two calls of
# data_to_send. An honest peer has at most 256 SYNs and one ping in flight.
ANSWERS_PER_TURN = 1024

# Frames in a row that serve no purpose: see yamux_flood.
MAX_UNEXPLAINED_FRAMES = 1024

# Credit smaller than this is explained only when it returns all that was sent. The genuine peer
# returns at least half a window; others return what one read took.
MIN_EXPLAINED_CREDIT = 1024

# Frames without payload that may still be under way when a stream goes: ACK, window update, FIN,
# RST.
LATE_FRAMES_PER_STREAM = 4

# What all streams that may have gone just now explain together: a full table of them.
MAX_LATE_FRAMES = LATE_FRAMES_PER_STREAM * MAX_STREAMS
MAX_LATE_BYTES = INITIAL_WINDOW * MAX_STREAMS + MAX_EXTRA_CREDIT

# Pings of ours that wait for their answer; one every 10 s with a limit of 10 s needs two.
MAX_PINGS_IN_FLIGHT = 16


def encode(word: int, stream_id: int, length: int) -> bytes:
    """Return the 12 bytes of a header; ``word`` is a frame type or-ed with flags."""
    return HEADER.pack(word, stream_id, length)
