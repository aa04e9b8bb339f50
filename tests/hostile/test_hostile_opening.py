"""What answers at the relay's port is no WebSocket, or ends before it is one.

No request waits for it: each is told at once that there is no relay. The log says why, by the name
of the loss; and as soon as there is a relay, the same gateway finds it.
"""

import base64
import hashlib

import pytest
from hostile_world import LEASE, MARK, RUDE, Answer, HostileWorld, answer, listed
from twisted.internet.protocol import Factory, Protocol

from portal_gateway.relay.backoff import MAX_WAIT
from portal_gateway.relay.websocket import OPEN_TIMEOUT
from portal_gateway.testing.hostile import Script

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""

RUDE_BYTES = RUDE.encode()
STRANGER = MARK.encode()

NONE = "not_websocket"
LATE = "no_answer"
OVER = "closed"


def accept(key):
    return b"Sec-WebSocket-Accept: " + base64.b64encode(hashlib.sha1(key + MAGIC).digest())


def http(start, *lines):
    return b"\r\n".join((b"HTTP/1.1 " + start, *lines, b"", b""))


def plain(data):
    """The same for every key."""
    return lambda _key: data


def switching(*lines):
    """A good answer, but for ``lines``."""
    good = (b"Upgrade: websocket", b"Connection: Upgrade")
    return lambda key: http(b"101 " + STRANGER, *good, *lines, accept(key))


def half(key):
    return switching()(key)[:60]


def replayed(_key):
    return switching()(b"dGhlIHNhbXBsZSBub25jZQ==")  # the key of RFC 6455's example


def unkeyed(key):
    return switching()(key).replace(b"Accept", b"X")


# fmt: off
TABLE = [
    # what answers                    as                                     and ends   the loss
    ("garbage",                       plain(RUDE_BYTES),                        False,  LATE),
    ("garbage with an empty line",    plain(RUDE_BYTES + b"\r\n\r\n"),          False,  NONE),
    ("bytes that are no text",        plain(bytes(range(256)) + b"\r\n\r\n"),   False,  NONE),
    ("a truncated answer",            half,                                     True,   OVER),
    ("a truncated answer, no end",    half,                                     False,  LATE),
    ("silence",                       plain(b""),                               False,  LATE),
    ("the end",                       plain(b""),                               True,   OVER),
    ("a line of any length",          plain(b"HTTP/1.1 101 " + b"y" * 99_999),  False,  NONE),
    ("a head of any length",          plain(http(b"101 X", *(b"X: y",) * 9999)), False, NONE),
    ("another protocol",              plain(b"SSH-2.0-" + RUDE_BYTES),          True,   OVER),
    ("a refusal",                     plain(http(b"403 " + RUDE_BYTES)),        False,  NONE),
    ("a page",                        plain(http(b"200 OK", b"X: " + STRANGER)), True,  NONE),
    ("the way to another relay",      plain(http(b"302 Go", b"Location: ws://x/")), False, NONE),
    ("an older answer again",         replayed,                                 False,  NONE),
    ("no proof of the key",           unkeyed,                                  False,  NONE),
    ("an extension nobody asked for",
     switching(b"Sec-WebSocket-Extensions: permessage-deflate"),                False,  NONE),
    ("a protocol nobody asked for",
     switching(b"Sec-WebSocket-Protocol: " + STRANGER),                         False,  NONE),
]
# fmt: on


class Opening(Factory):
    """Answers the opening handshake of each connection."""

    noisy = False

    def __init__(self, answer, end):
        self.answer = answer
        self.end = end

    def buildProtocol(self, addr):
        return Answering(self)


class Answering(Protocol):
    def __init__(self, factory):
        self.factory = factory
        self.request = b""

    def dataReceived(self, data):
        self.request += data
        if b"\r\n\r\n" in self.request:
            key = self.request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
            self.transport.write(self.factory.answer(key))
            if self.factory.end:
                self.transport.loseConnection()


@pytest.mark.parametrize(
    ("opening", "loss"),
    [pytest.param(Opening(says, end), loss, id=what) for what, says, end, loss in TABLE],
)
def test_what_answers_is_no_relay(opening, loss):
    world = HostileWorld(opening=opening)
    for _ in range(2):
        assert answer(world, world.ask("/peer/newcomer/")) == Answer(503, "relay_unavailable")
        world.reactor.advance(OPEN_TIMEOUT)
    (news,) = [line for line in world.lines() if line["level"] == "warning" and "reason" in line]
    assert news["reason"] == loss
    world.relay_is_back(Script(LEASE, (listed(LEASE, "newcomer"),)))
    world.reactor.advance(MAX_WAIT)
    assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
    world.stop()
