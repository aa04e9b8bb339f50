"""WebSockets through the gateway: a client and a lease that send any frames, deflated or not."""

import re

from tests.frontend.gateway_world import KEY, Wire
from tests.frontend.raw_frames import CLIENT_KEY, NO_TAKEOVER, accept_of, deflated, frame
from tests.fuzz.dice import Dice
from tests.fuzz.fuzz_world import FuzzWorld, no_failures

__all__ = ["websocket_client", "websocket_deflated", "websocket_lease", "websocket_opening"]

OPENING = (
    b"GET /peer/tool/chat HTTP/1.1\r\nHost: gw.example:8080\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + CLIENT_KEY.encode() + b"\r\nX-API-Key: " + KEY.encode() + b"\r\n"
)

OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
TAKEN = b"Sec-WebSocket-Extensions: permessage-deflate"

OPCODES = (1, 2, 0, 9, 10, 1, 0, 8)
BAD_OPCODES = (3, 7, 11, 15)

PAYLOADS = (
    b"hello",
    b"",
    b"x" * 125,
    b"x" * 126,
    b"x" * 70_000,
    "\u00e9\ud55c".encode(),
    b"\x03\xe8bye",
)

BAD_PAYLOADS = (b"\xff\xfe", b"\xc3", b"\x03\xed", b"\x00", b"\x03\xe8\xff")

DEFLATED = tuple(
    deflated(data)
    for data in (b"hello", b"", b"x" * 125, bytes(100_000), b"x" * 70_000, b"\xff\xfe")
)
BAD_DEFLATED = (b"\xff\xff\xff", b"\x00", b"\x01\x00\x00\xff\xff", bytes(100), DEFLATED[3][:40])

WRONG = 32


class _Socket:
    """One WebSocket, opened."""

    def __init__(self, world: FuzzWorld, *, deflate: bool) -> None:
        self.world = world
        self._deflate = deflate
        dice = world.dice
        world.cut_bytes()
        self.client = world.come()
        self.client.send(OPENING + (OFFER if deflate else b"") + b"\r\n")
        world.reactor.settle()
        self.lease = lease = world.origin.wires[-1]
        taken = b""
        if deflate:
            taken = TAKEN + dice.pick((b"", b";" + NO_TAKEOVER, b"; client_max_window_bits=9"))
            taken += b"\r\n"
        lease.send(_accepting(lease, taken) + b"\r\n")
        world.reactor.settle()

    def step(self, *, client: bool) -> None:
        """One of the ends sends a frame."""
        dice = self.world.dice
        wire = self.client if client else self.lease
        if not wire.transport.connected:
            return
        what = dice.below(16)
        if what == 15:
            wire.send(dice.take(80))
        else:
            for _ in range(1 + (dice.below(40) if what == 14 else 0)):
                wire.send(self._frame(mask=client))
        if dice.byte() & 1:
            self.world.reactor.settle()

    def _frame(self, *, mask: bool) -> bytes:
        dice = self.world.dice
        opcode = dice.pick(BAD_OPCODES if dice.odds(WRONG) else OPCODES)
        if opcode == 8 and not dice.odds(4):
            opcode = 2
        compressed = self._deflate and opcode in (0, 1, 2) and bool(dice.byte() & 1)
        wrong = dice.odds(WRONG)
        if compressed:
            payload = dice.pick(BAD_DEFLATED if wrong else DEFLATED)
        else:
            payload = dice.pick(BAD_PAYLOADS if wrong else PAYLOADS)
        if dice.odds(WRONG):
            payload = dice.take(60)
        rsv = 4 if compressed and opcode else 0
        if dice.odds(WRONG):
            rsv = dice.below(8)
        form = 64 if dice.odds(WRONG) else None
        if opcode > 7 and not dice.odds(WRONG):
            payload = payload[:125]
        fin = opcode > 7 or bool(dice.byte() & 3)
        wrong_mask = dice.odds(WRONG)
        return frame(opcode, payload, fin=fin, rsv=rsv, mask=mask != wrong_mask, length_form=form)


def _accepting(lease: Wire, more: bytes) -> bytes:
    key = re.search(rb"Sec-WebSocket-Key: (\S+)\r\n", lease.received)
    assert key is not None
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_of(key[1]) + b"\r\n" + more
    )


def _converse(data: bytes, *, deflate: bool, client: int, lease: int) -> None:
    """Each end sends, as often as its number says."""
    dice = Dice(data)
    with no_failures():
        world = FuzzWorld(dice)
        socket = _Socket(world, deflate=deflate)
        while dice.left:
            what = dice.below(16)
            if what < 13:
                socket.step(client=what * (client + lease) < 13 * client)
            elif what == 13:
                world.wait()
            elif what == 14:
                world.hold(dice.pick((socket.client, socket.lease)))
            elif dice.odds(4):
                world.leave(dice.pick((socket.client, socket.lease)))
        world.reactor.settle()
        world.finish()


def websocket_client(data: bytes) -> None:
    """The client sends anything."""
    _converse(data, deflate=False, client=3, lease=1)


def websocket_lease(data: bytes) -> None:
    """The lease sends anything."""
    _converse(data, deflate=False, client=1, lease=3)


def websocket_deflated(data: bytes) -> None:
    """Both send anything, with permessage-deflate."""
    _converse(data, deflate=True, client=1, lease=1)


CLIENTS = (
    b"Sec-WebSocket-Protocol: chat, portal-key." + KEY.encode() + b"\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99\r\n",
    b"Sec-WebSocket-Extensions: x-unknown, permessage-deflate\r\n",
    b"Sec-WebSocket-Key: AAAA\r\n",
    b"Sec-WebSocket-Version: 8\r\n",
    b"Origin: https://evil.example\r\n",
    b"Content-Length: 5\r\n",
    b"Expect: 100-continue\r\n",
    OFFER,
)

LEASES = (
    b"Sec-WebSocket-Protocol: chat\r\n",
    b"Sec-WebSocket-Protocol: \r\n",
    TAKEN + b"; server_max_window_bits=99\r\n",
    TAKEN + b"; client_max_window_bits=8\r\n",
    TAKEN + b"\r\n",
    b"Sec-WebSocket-Extensions: x-unknown\r\n",
    b"Sec-WebSocket-Accept: AAAA\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Set-Cookie: a=b; Path=/\r\n",
)

ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 101 Other\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n",
    b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"\r\n",
)


def websocket_opening(data: bytes) -> None:
    """The opening handshake, at both ends."""
    dice = Dice(data)
    with no_failures():
        world = FuzzWorld(dice)
        world.cut_bytes()
        client = world.come()
        opening = OPENING
        for _ in range(dice.below(3)):
            opening += dice.pick(CLIENTS)
        if dice.odds(8):
            opening += dice.take(60)
        client.send(opening + b"\r\n" + (frame(1, b"early", mask=True) if dice.odds(4) else b""))
        world.reactor.settle()
        if world.origin.wires:
            lease = world.origin.wires[-1]
            for _ in range(dice.below(3)):
                if dice.odds(3):
                    lease.send(dice.pick(ANSWERS))
            accepting = _accepting(lease, b"")
            for _ in range(dice.below(3)):
                accepting += dice.pick(LEASES)
            lease.send(accepting + b"\r\n" + (frame(1, b"early") if dice.odds(4) else b""))
            lease.send(dice.take(60))
            world.reactor.settle()
        world.wait()
        client.send(dice.take(60))
        world.reactor.settle()
        world.finish()
