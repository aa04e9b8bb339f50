"""WebSocket frames by hand (RFC 6455 section 5.2), for both ends of a test."""

import zlib
from base64 import b64encode
from hashlib import sha1
from typing import NamedTuple

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
