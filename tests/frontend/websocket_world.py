"""A gateway in memory with a WebSocket through it, spoken by hand at both ends (RFC 6455)."""

import re
import zlib
from base64 import b64encode
from hashlib import sha1
from typing import NamedTuple

from gateway_world import CONFIG, KEY, World, head_of

CLIENT_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

NO_TAKEOVER = b"server_no_context_takeover;client_no_context_takeover"

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"


class Frame(NamedTuple):
    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0


def accept_of(key):
    return b64encode(sha1(key + GUID).digest())


def masked(payload, mask=MASK):
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def frame(opcode, payload=b"", *, fin=True, rsv=0, mask=False, length_form=None):
    """The bytes of one frame. ``length_form`` makes the length longer than it need be."""
    size = len(payload)
    form = length_form or (7 if size < 126 else 16 if size < 65536 else 64)
    second = size if form == 7 else 126 if form == 16 else 127
    extended = b"" if form == 7 else size.to_bytes(form // 8, "big")
    head = bytes([fin << 7 | rsv << 4 | opcode, mask << 7 | second]) + extended
    return head + (MASK + masked(payload) if mask else payload)


def close(code=None, reason=b""):
    return b"" if code is None else code.to_bytes(2, "big") + reason


def read_frames(data, *, expect_mask):
    """The whole frames in ``data``, and what is left."""
    found = []
    while len(data) >= 2:
        first, second = data[0], data[1]
        size, at = second & 127, 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, at = int.from_bytes(data[2:10], "big"), 10
        has_mask = bool(second & 128)
        assert has_mask == expect_mask
        mask = data[at : at + 4] if has_mask else b"\0" * 4
        at += 4 * has_mask
        if len(data) < at + size:
            break
        payload = data[at : at + size]
        if has_mask and size:
            repeated = (mask * (size // 4 + 1))[:size]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(
                size, "big"
            )
        found.append(Frame(first & 15, payload, bool(first & 128), first >> 4 & 7))
        data = data[at + size :]
    return found, data


def deflated(data):
    made = zlib.compressobj(wbits=-15)
    return (made.compress(data) + made.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(data):
    return zlib.decompressobj(wbits=-15).decompress(data + b"\x00\x00\xff\xff")


class Side:
    """One peer of an open WebSocket."""

    def __init__(self, world, wire, *, is_client):
        self._world = world
        self.wire = wire
        self._masks = is_client
        self._read = len(wire.received)

    def send(self, *frames, raw=b""):
        """Send frames, each an argument tuple of `frame`, or raw bytes."""
        made = b"".join(
            frame(item[0], *item[1:2], mask=self._masks)
            if isinstance(item, tuple) and not isinstance(item, Frame)
            else frame(*item[:2], fin=item.fin, rsv=item.rsv, mask=self._masks)
            for item in frames
        )
        self.wire.send(made + raw)
        self._world.reactor.settle()

    @property
    def frames(self):
        """What came since the last look."""
        data = self.wire.received[self._read :]
        found, rest = read_frames(data, expect_mask=not self._masks)
        self._read += len(data) - len(rest)
        return found

    @property
    def ended(self):
        return self.wire.lost is not None


class Sockets(World):
    """A `World` that opens WebSockets."""

    def ask_upgrade(self, target="/peer/tool/chat", *, key=KEY, fields=(), replaced=None, rest=b""):
        """Send an opening handshake; returns the client's wire."""
        opening = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": CLIENT_KEY,
            **(replaced or {}),
        }
        lines = [f"{name}: {value}" for name, value in opening.items() if value is not None]
        wire = self.connect()
        head = [f"GET {target} HTTP/1.1", "Host: gw.example:8080", *lines, *fields]
        if key:
            head.append(f"X-API-Key: {key}")
        wire.send("\r\n".join([*head, "", ""]).encode() + rest)
        self.reactor.settle()
        return wire

    def accept(self, *, fields=(), rest=b""):
        """The lease answers 101; returns its wire."""
        origin = self.origin.wires[-1]
        key = re.search(rb"Sec-WebSocket-Key: (\S+)\r\n", origin.received)[1]
        lines = [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + accept_of(key),
            *fields,
        ]
        origin.send(b"\r\n".join([*lines, b"", b""]) + rest)
        self.reactor.settle()
        return origin

    def open(self, *, client_fields=(), lease_fields=(), **options):
        """A WebSocket that is open at both ends."""
        wire = self.ask_upgrade(fields=client_fields, **options)
        origin = self.accept(fields=lease_fields)
        assert wire.received.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        client = Side(self, wire, is_client=True)
        client._read = wire.received.index(b"\r\n\r\n") + 4
        lease = Side(self, origin, is_client=False)
        return client, lease

    def open_deflated(self, **options):
        """One with permessage-deflate at both ends."""
        return self.open(
            client_fields=["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"],
            lease_fields=[
                b"Sec-WebSocket-Extensions: permessage-deflate;" + NO_TAKEOVER,
            ],
            **options,
        )

    def access_lines(self):
        """Stop; the lines of the access log."""
        return [line for line in self.stop() if line["message"].startswith("request_")]


__all__ = [
    "BINARY",
    "CLIENT_KEY",
    "CLOSE",
    "CONFIG",
    "KEY",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "Side",
    "Sockets",
    "accept_of",
    "close",
    "deflated",
    "frame",
    "head_of",
    "inflated",
    "read_frames",
]
