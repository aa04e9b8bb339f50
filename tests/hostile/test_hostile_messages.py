"""Each message of the conversation replaced: what the client gets, and that nothing is left of it.

Every row is played twice where that can be: by a relay, and by a lease behind an honest relay. The
lease had answered one request honestly before, so that there is something to replay. The request
that meets a relay's fault asks for a name that is new to the gateway, so that it goes through every
message. The fault gone, the same gateway answers the next request.

A row's right side is the status and the code of the answer, and after ``@`` the seconds of the
clock until it came (none: at once). ``cut`` is a 200 whose body was under way already: the client's
connection is reset, and the log has the code. ``waits`` is a request without an end until the
client goes: how long a lease may take for its answer is not limited.
"""

import time

import pytest
from hostile_world import (
    LEASE,
    MARK,
    PINNED,
    RUDE,
    STRANGER,
    Answer,
    HostileWorld,
    answer,
    listed,
    meet,
)

from portal_gateway.testing.hostile import Script
from portal_gateway.testing.hostile_faults import (
    Message,
    doubled,
    ended,
    forged,
    in_pieces,
    instead,
    oversized,
    replayed,
    reset,
    silent,
    truncated,
)
from portal_gateway.wire import portal_pb2
from portal_gateway.wire.identity import Credential, Identity
from portal_gateway.wire.messages import (
    RelayInfo,
    ResponseCode,
    connection_request,
    connection_response,
    relay_info_response,
)
from portal_gateway.wire.packets import PacketType, packet
from portal_gateway.wire.secure_channel import SecureChannel

INFO, CONNECTION, HANDSHAKE, FIRST, LATER = Message

OTHERS = (listed(PINNED, "pinned"), listed(STRANGER, RUDE, metadata=RUDE))
BEFORE = (listed(LEASE, "agent", metadata=RUDE), *OTHERS)
SINCE = (listed(LEASE, "newcomer"), *OTHERS)

ANOTHER = Credential.from_private_bytes(bytes(range(96, 128)))

NOBODY = Identity(LEASE.identity.id, STRANGER.identity.public_key)
"""The id of one and the key of another."""


def info(*leases, relay=STRANGER.identity):
    """A relay's list."""
    return instead(relay_info_response(RelayInfo(relay, (RUDE,), leases)))


def coded(code):
    return instead(connection_response(code))


def flipped(turn):
    turn.stream.write(turn.honest[:-1] + bytes([turn.honest[-1] ^ 1]))


def in_another_channel(turn):
    """A record as good as any, under keys that the gateway does not have."""
    client = SecureChannel.client(STRANGER, LEASE.identity.id, now=time.time())
    server = SecureChannel.server(LEASE, alpns=("http/1.1",), clock=time.time)
    server.receive_data(client.data_to_send())
    server.data_to_send()
    server.send_data(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    turn.stream.write(server.data_to_send())


def identity(who):
    return portal_pb2.Identity(id=who.id, public_key=who.public_key)


GARBAGE = instead(RUDE.encode() * 50)
NO_MESSAGE = instead(packet(PacketType.RELAY_INFO_RESPONSE, b"\xff" + MARK.encode()))
NO_CODE = instead(packet(PacketType.CONNECTION_RESPONSE, b"\x08\x63"))
UNKNOWN_FIELD = instead(packet(PacketType.CONNECTION_RESPONSE, b"\x08\x01\x7a\x08str4nger"))
UNKNOWN_TYPE = instead(b"\0\0\0\x02\x08\x63")
A_REQUEST = instead(connection_request(LEASE.identity.id, LEASE.identity))
AN_INFO = info(*SINCE)
NOT_A_RECORD = instead(b"\0\0\0\x1b" + bytes(27))
CORRUPT = instead(b"\0\0\0\x40" + bytes(64))

RELAY = "502 relay_protocol_error"
LEASES = "502 upstream_protocol_error"
CUT = "200 cut upstream_protocol_error"
OTHER = "502 identity_mismatch"
GONE = "503 relay_unavailable"
AWAY = "503 lease_offline"
BUSY = "503 lease_busy"
LATE = "504 upstream_timeout @10"
CLOSED = "502 upstream_closed"
HALF = "200 cut upstream_closed"
UNKNOWN = "404 lease_not_found"
FINE = "200"

# fmt: off
TABLE = [
    # message    what comes in its place                 as fault     by a relay   by a lease
    (INFO,       "garbage",                              GARBAGE,     RELAY,       None),
    (INFO,       "a packet that holds garbage",          NO_MESSAGE,  RELAY,       None),
    (INFO,       "truncation",                           truncated,   RELAY,       None),
    (INFO,       "silence",                              silent,      GONE+" @10", None),
    (INFO,       "the stream's end",                     ended,       RELAY,       None),
    (INFO,       "a reset",                              reset,       GONE,        None),
    (INFO,       "an oversized length",                  oversized,   RELAY,       None),
    (INFO,       "another message",                      A_REQUEST,   RELAY,       None),
    (INFO,       "a relay with nobody's identity",
                 info(*SINCE, relay=NOBODY),                          RELAY,       None),
    (INFO,       "the name under another identity",
                 info(listed(STRANGER, "newcomer")),                  OTHER,       None),
    (INFO,       "the name under two identities",
                 info(*SINCE, listed(ANOTHER, "newcomer")),           UNKNOWN,     None),
    (INFO,       "a lease of old",
                 info(listed(LEASE, "newcomer", expires=1)),          FINE,        None),
    (INFO,       "an empty list",                        info(),      UNKNOWN,     None),
    (INFO,       "an older list again",                  replayed,    UNKNOWN,     None),
    (INFO,       "twice the list",                       doubled,     FINE,        None),
    (INFO,       "byte by byte",                         in_pieces,   FINE,        None),

    # An honest relay tells a lease that it does not understand from one that refuses by nothing.
    (CONNECTION, "garbage",                              GARBAGE,     RELAY,       BUSY),
    (CONNECTION, "a code that is none",                  NO_CODE,     RELAY,       BUSY),
    (CONNECTION, "a type that is none",                  UNKNOWN_TYPE, RELAY,      BUSY),
    (CONNECTION, "truncation",                           truncated,   RELAY,       BUSY),
    (CONNECTION, "silence",                              silent,      LATE,        LATE),
    (CONNECTION, "the stream's end",                     ended,       AWAY,        BUSY),
    (CONNECTION, "a reset",                              reset,       GONE,        BUSY),
    (CONNECTION, "an oversized length",                  oversized,   RELAY,       BUSY),
    (CONNECTION, "another message, with an identity",    A_REQUEST,   RELAY,       BUSY),
    (CONNECTION, "an answer to another question",        AN_INFO,     RELAY,       BUSY),
    (CONNECTION, "another refusal", coded(ResponseCode.INVALID_ALPN), RELAY,       RELAY),
    (CONNECTION, "a refusal",       coded(ResponseCode.REJECTED),     BUSY,        BUSY),
    (CONNECTION, "nobody known", coded(ResponseCode.INVALID_IDENTITY), AWAY,       AWAY),
    (CONNECTION, "an older answer again",                replayed,    FINE,        FINE),
    (CONNECTION, "twice the answer",                     doubled,     LEASES,      LEASES),
    (CONNECTION, "a field that is unknown",              UNKNOWN_FIELD, FINE,      FINE),
    (CONNECTION, "byte by byte",                         in_pieces,   FINE,        FINE),

    (HANDSHAKE,  "garbage",                              GARBAGE,     LEASES,      LEASES),
    (HANDSHAKE,  "truncation",                           truncated,   LEASES,      LEASES),
    (HANDSHAKE,  "silence",                              silent,      LATE,        LATE),
    (HANDSHAKE,  "the stream's end",                     ended,       AWAY,        AWAY),
    (HANDSHAKE,  "a reset",                              reset,       AWAY,        AWAY),
    (HANDSHAKE,  "an oversized length",                  oversized,   LEASES,      LEASES),
    (HANDSHAKE,  "another identity", forged(STRANGER, identity=identity(STRANGER.identity)),
                                                                      OTHER,       OTHER),
    (HANDSHAKE,  "nobody's identity", forged(STRANGER, identity=identity(NOBODY)), OTHER, OTHER),
    (HANDSHAKE,  "another's signature",                  forged(STRANGER), LEASES, LEASES),
    (HANDSHAKE,  "an old timestamp", forged(LEASE, timestamp=int(time.time()) - 3600),
                                                                      LEASES,      LEASES),
    (HANDSHAKE,  "a timestamp to come", forged(LEASE, timestamp=int(time.time()) + 3600),
                                                                      LEASES,      LEASES),
    (HANDSHAKE,  "another protocol", forged(LEASE, alpn=RUDE),        LEASES,      LEASES),
    (HANDSHAKE,  "another version",  forged(LEASE, version=1),        LEASES,      LEASES),
    (HANDSHAKE,  "a short nonce",    forged(LEASE, nonce=bytes(11)),  LEASES,      LEASES),
    (HANDSHAKE,  "a point of low order", forged(LEASE, session_public_key=bytes(32)),
                                                                      LEASES,      LEASES),
    (HANDSHAKE,  "a key of its choice", forged(LEASE, session_public_key=b"\x09" + bytes(31)),
                                                                      LEASES,      LEASES),
    (HANDSHAKE,  "a flipped bit",                        flipped,     LEASES,      LEASES),
    (HANDSHAKE,  "an older one again",                   replayed,    LEASES,      LEASES),
    (HANDSHAKE,  "twice the message",                    doubled,     LEASES,      LEASES),
    (HANDSHAKE,  "byte by byte",                         in_pieces,   FINE,        FINE),

    (FIRST,      "garbage",                              GARBAGE,     LEASES,      LEASES),
    (FIRST,      "truncation",                           truncated,   LEASES,      LEASES),
    (FIRST,      "silence, and then the rest",           silent,      LEASES,      LEASES),
    (FIRST,      "the stream's end",                     ended,       CLOSED,      CLOSED),
    (FIRST,      "a reset",                              reset,       CLOSED,      CLOSED),
    (FIRST,      "an oversized length",                  oversized,   LEASES,      LEASES),
    (FIRST,      "a length under the least",             NOT_A_RECORD, LEASES,     LEASES),
    (FIRST,      "a record that is none",                CORRUPT,     LEASES,      LEASES),
    (FIRST,      "a flipped bit",                        flipped,     LEASES,      LEASES),
    (FIRST,      "a record of another channel",  in_another_channel,  LEASES,      LEASES),
    (FIRST,      "plaintext", instead(b"HTTP/1.1 200 OK\r\n\r\n"),    LEASES,      LEASES),
    (FIRST,      "an older one again",                   replayed,    LEASES,      LEASES),
    (FIRST,      "byte by byte",                         in_pieces,   FINE,        FINE),

    (LATER,      "garbage",                              GARBAGE,     CUT,         CUT),
    (LATER,      "truncation",                           truncated,   CUT,         CUT),
    (LATER,      "silence",                              silent,      "waits",     "waits"),
    (LATER,      "the stream's end",                     ended,       HALF,        HALF),
    (LATER,      "a reset",                              reset,       HALF,        HALF),
    (LATER,      "an oversized length",                  oversized,   CUT,         CUT),
    (LATER,      "a length under the least",             NOT_A_RECORD, CUT,        CUT),
    (LATER,      "a record that is none",                CORRUPT,     CUT,         CUT),
    (LATER,      "a flipped bit",                        flipped,     CUT,         CUT),
    (LATER,      "a record of another channel",  in_another_channel,  CUT,         CUT),
    (LATER,      "an older one again",                   replayed,    CUT,         CUT),
    (LATER,      "byte by byte",                         in_pieces,   FINE,        FINE),
]
# fmt: on


def rows(column):
    return [
        pytest.param(message, fault, right[column], id=f"{message}: {what}")
        for message, what, fault, *right in TABLE
        if right[column] is not None
    ]


@pytest.mark.parametrize(("message", "fault", "right"), rows(0))
def test_a_relay_says(message, fault, right):
    script = Script(LEASE, BEFORE, STRANGER.identity)
    world = HostileWorld(script)
    assert answer(world, world.ask("/peer/agent/")) == Answer(200)
    script.leases = SINCE
    script.faults[message] = fault
    meet(world, right, disarm=script.faults.clear)
    world.stop()


@pytest.mark.parametrize(("message", "fault", "right"), rows(1))
def test_a_lease_says(message, fault, right):
    script = Script(LEASE)
    world = HostileWorld(script, through_honest_relay=True)
    assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
    script.faults[message] = fault
    meet(world, right, disarm=script.faults.clear)
    world.stop()
