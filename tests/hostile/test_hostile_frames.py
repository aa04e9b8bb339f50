"""A relay that breaks the multiplexing itself, below every conversation, or floods it.

A row's right sides are read as in ``test_hostile_messages``: while the gateway waits for the answer
to its connection request, and while the body of a response is under way.
"""

import pytest
from hostile_world import LEASE, MARK, RUDE, HostileWorld, listed, meet

from portal_gateway.testing.hostile import Script
from portal_gateway.testing.hostile_faults import (
    Message,
    in_frames,
)
from portal_gateway.wire.yamux_frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    INITIAL_WINDOW,
    MAX_LENGTH,
    MAX_UNEXPLAINED_FRAMES,
    PING,
    RST,
    SYN,
    TYPE_SHIFT,
    VERSION_SHIFT,
    WINDOW_UPDATE,
    encode,
)

CONNECTION, LATER = Message.CONNECTION, Message.LATER_RECORD

FAULT = "502 relay_protocol_error"
CUT = "200 cut relay_protocol_error"
GONE = "503 relay_unavailable"
ALAS = "200 cut relay_unavailable"

THEIRS = 2
"""The first stream of a relay's own."""

# fmt: off
TABLE = [
    # What a stream ``s`` of the gateway's gets instead of its message.  dialling  in a body
    ("garbage",               lambda s: RUDE.encode() * 20,                  FAULT, CUT),
    ("another version",       lambda s: encode(1 << VERSION_SHIFT, s, 0),    FAULT, CUT),
    ("an unknown type",       lambda s: encode(4 << TYPE_SHIFT, s, 0),       FAULT, CUT),
    ("an unknown flag",       lambda s: encode(DATA | 16, s, 0),             FAULT, CUT),
    ("a SYN with an ACK",     lambda s: encode(DATA | SYN | ACK, THEIRS, 0), FAULT, CUT),
    ("a SYN with a RST",      lambda s: encode(DATA | SYN | RST, THEIRS, 0), FAULT, CUT),
    ("a ping without a flag", lambda s: encode(PING, 0, 0),                  FAULT, CUT),
    ("a ping on a stream",    lambda s: encode(PING | SYN, s, 0),            FAULT, CUT),
    ("a go-away on a stream", lambda s: encode(GO_AWAY, s, 0),               FAULT, CUT),
    ("a go-away with a flag", lambda s: encode(GO_AWAY | SYN, 0, 0),         FAULT, CUT),
    ("the session's id",      lambda s: encode(DATA, 0, 0),                  FAULT, CUT),
    ("a stream never opened", lambda s: encode(DATA, s + 100, 1) + b"x",     FAULT, CUT),
    ("credit for such a one", lambda s: encode(WINDOW_UPDATE, s + 100, 1),   FAULT, CUT),
    ("its own, not opened",   lambda s: encode(DATA, THEIRS, 1) + b"x",      FAULT, CUT),
    ("an id of our parity",   lambda s: encode(DATA | SYN, s + 100, 0),      FAULT, CUT),
    ("our stream once more",  lambda s: encode(DATA | SYN, s, 0),            FAULT, CUT),
    ("its stream twice",      lambda s: encode(DATA | SYN, THEIRS, 0) * 2,   FAULT, CUT),
    ("data past the window",  lambda s: encode(DATA, s, INITIAL_WINDOW + 1), FAULT, CUT),
    ("an oversized length",   lambda s: encode(DATA, s, MAX_LENGTH),         FAULT, CUT),
    ("credit past 32 bits",   lambda s: encode(WINDOW_UPDATE, s, MAX_LENGTH), FAULT, CUT),
    ("the end twice",         lambda s: encode(DATA | FIN, s, 0) * 2,
                                     "503 lease_offline", "200 cut upstream_closed"),
    ("it is at fault",        lambda s: encode(GO_AWAY, 0, 1),               FAULT, CUT),
    ("it is broken",          lambda s: encode(GO_AWAY, 0, 2),               FAULT, CUT),
    ("an unknown reason",     lambda s: encode(GO_AWAY, 0, MAX_LENGTH),      FAULT, CUT),
]

FLOODS = [
    # The same over and over.                                               and the session's loss
    ("pings",                 lambda s: encode(PING | SYN, 0, 7),            "yamux_fault"),
    ("pongs",                 lambda s: encode(PING | ACK, 0, 7),            "yamux_fault"),
    ("window updates",        lambda s: encode(WINDOW_UPDATE, s, 1),         "yamux_fault"),
    ("empty window updates",  lambda s: encode(WINDOW_UPDATE, s, 0),         "yamux_fault"),
    ("acknowledgements",      lambda s: encode(WINDOW_UPDATE | ACK, s, 0),   "yamux_fault"),
    ("empty data",            lambda s: encode(DATA, s, 0),                  "yamux_fault"),
    ("ends of nothing",       lambda s: encode(WINDOW_UPDATE | FIN, 1, 0),   "yamux_fault"),
    ("resets of nothing",     lambda s: encode(WINDOW_UPDATE | RST, 1, 0),   "yamux_fault"),
    # The first of them is the end of the session.
    ("go-aways",              lambda s: encode(GO_AWAY, 0, 0),               "closed"),
]
# fmt: on

FLOOD = 20_000
"""Frames of a flood: far more than what is forgiven."""

READ = 16_384
"""What one read of the gateway's brings."""


@pytest.fixture
def script():
    return Script(LEASE, (listed(LEASE, "newcomer"),))


@pytest.fixture
def world(script):
    world = HostileWorld(script)
    yield world
    world.stop()


@pytest.mark.parametrize(
    ("message", "frames", "right"),
    [
        pytest.param(message, frames, right, id=f"{message}: {what}")
        for what, frames, *rights in TABLE
        for message, right in zip((CONNECTION, LATER), rights, strict=True)
    ],
)
def test_a_relay_sends(world, script, message, frames, right):
    script.faults[message] = in_frames(frames)
    meet(world, right, script.faults.clear)


def flood(world, script, frames, loss):
    world.reactor.links[-1].chunk = READ
    connection = world.session.connection
    before = connection.bytes_in, connection.bytes_out
    script.faults[CONNECTION] = in_frames(frames)
    meet(world, FAULT, script.faults.clear)
    assert connection.bytes_in - before[0] < 4 * READ
    # An answer to each frame that was forgiven, and what the request and the go-away took.
    assert connection.bytes_out - before[1] < 12 * MAX_UNEXPLAINED_FRAMES + 1000
    lost = next(line for line in world.lines() if "reason" in line)
    assert (lost["level"], lost["reason"]) == ("warning", loss)


@pytest.mark.parametrize(
    ("frame", "loss"), [pytest.param(frame, loss, id=what) for what, frame, loss in FLOODS]
)
def test_a_relay_that_floods_is_cut_off_within_a_bound(world, script, frame, loss):
    flood(world, script, lambda stream_id: frame(stream_id) * FLOOD, loss)


def test_a_relay_that_floods_streams_is_cut_off_within_a_bound(world, script):
    ids = range(THEIRS, THEIRS + 2 * FLOOD, 2)
    streams = b"".join(encode(DATA | SYN, stream_id, 0) for stream_id in ids)
    flood(world, script, lambda _stream_id: streams, "yamux_fault")


def raw(first, payload=b"", length=None):
    """A WebSocket frame of a server, whatever RFC 6455 says about it."""
    return bytes((first, len(payload) if length is None else length)) + payload


def farewell(code, reason=b""):
    return raw(0x88, code.to_bytes(2, "big") + reason)


# fmt: off
SOCKET_TABLE = [
    # What the WebSocket brings instead of the message.                 dialling  in a body
    ("an unknown opcode",         raw(0x83, b"x"),                         FAULT, CUT),
    ("an unknown control opcode", raw(0x8B),                               FAULT, CUT),
    ("a reserved bit",            raw(0xC2, b"x"),                         FAULT, CUT),
    ("an oversized length",       raw(0x82, b"\xff" * 8, 127),             FAULT, CUT),
    ("a length not in short",     raw(0x82, b"\0\0\0\0\0\0\0\x01x", 127),  FAULT, CUT),
    ("a ping in fragments",       raw(0x09, b"x"),                         FAULT, CUT),
    ("a ping of 126 bytes",       raw(0x89, b"\0\x7e" + bytes(126), 126),  FAULT, CUT),
    ("the rest of nothing",       raw(0x80, b"x"),                         FAULT, CUT),
    ("two messages at once",      raw(0x02, b"") + raw(0x02, b""),         FAULT, CUT),
    ("a frame under a mask",      raw(0x82, bytes(5), 0x81),               FAULT, CUT),
    ("a farewell of one byte",    raw(0x88, b"x"),                         FAULT, CUT),
    ("a farewell for no reason",  farewell(999),                           FAULT, CUT),
    ("a farewell not in UTF-8",   farewell(1000, b"\xff" + MARK.encode()), FAULT, CUT),
    ("a rude farewell",           farewell(1011, RUDE.encode()),           GONE,  ALAS),
    ("a farewell",                raw(0x88),                               GONE,  ALAS),
]
# fmt: on


@pytest.mark.parametrize(
    ("message", "data", "right"),
    [
        pytest.param(message, data, right, id=f"{message}: {what}")
        for what, data, *rights in SOCKET_TABLE
        for message, right in zip((CONNECTION, LATER), rights, strict=True)
    ],
)
def test_a_websocket_brings(world, script, message, data, right):
    def fault(_turn):
        world.relay.send_frames(b"")
        world.relay.carriers[-1].transport.write(data)

    script.faults[message] = fault
    meet(world, right, script.faults.clear)
