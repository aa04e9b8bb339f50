"""What Autobahn's cases 1 to 7 and 10 ask of an endpoint, through the bridge, in both directions.

Written from RFC 6455, numbered after Autobahn's groups. Each case is sent by the client and by the
lease; the other side has to see exactly what was said, and a fault has to be told to its sender.
"""

from typing import NamedTuple

import pytest
from websocket_world import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    Sockets,
    close,
    frame,
)

CONT = 0
HELLO = "Hello-µ@ßöäüàá-UTF-8!!".encode()


class Case(NamedTuple):
    """``sent`` is `Frame`s and raw (unmasked) frames; ``seen`` what the other side is told.

    ``code`` is the close code that the sender gets for a fault, None for no fault.
    """

    id: str
    sent: list
    seen: list
    code: int | None = None


def message(opcode, payload):
    return ("message", opcode, payload)


def lengths(group, opcode, byte):
    for number, size in enumerate((0, 125, 126, 127, 128, 65535, 65536), 1):
        payload = byte * size
        yield Case(f"{group}.{number}", [Frame(opcode, payload)], [message(opcode, payload)])


def pings():
    for number, payload in enumerate(
        (b"", b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125), 1
    ):
        yield Case(f"2.{number}", [Frame(PING, payload)], [("ping", payload)])
    yield Case("2.5", [Frame(PING, b"\xfe" * 126)], [], 1002)
    yield Case("2.7", [Frame(PONG)], [("pong", b"")])
    yield Case("2.8", [Frame(PONG, b"unsolicited")], [("pong", b"unsolicited")])
    yield Case(
        "2.9",
        [Frame(PONG, b"unsolicited"), Frame(PING, b"a ping")],
        [("pong", b"unsolicited"), ("ping", b"a ping")],
    )
    many = [b"payload-%d" % i for i in range(10)]
    yield Case("2.10", [Frame(PING, p) for p in many], [("ping", p) for p in many])


def reserved_bits():
    for rsv in range(1, 8):
        yield Case(
            f"3.{rsv}",
            [Frame(TEXT, HELLO), Frame(TEXT, HELLO, rsv=rsv), Frame(PING)],
            [message(TEXT, HELLO)],
            1002,
        )
        yield Case(f"3.{rsv}-control", [Frame(PING, b"x", rsv=rsv)], [], 1002)


def opcodes():
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for payload in (b"", b"reserved opcode"):
            yield Case(
                f"4-{opcode}-{len(payload)}",
                [Frame(TEXT, HELLO), Frame(opcode, payload), Frame(PING)],
                [message(TEXT, HELLO)],
                1002,
            )


def fragments():
    yield Case("5.1", [Frame(PING, b"a", fin=False), Frame(CONT, b"b")], [], 1002)
    yield Case("5.2", [Frame(PONG, b"a", fin=False), Frame(CONT, b"b")], [], 1002)
    whole = [message(TEXT, b"fragment1fragment2")]
    first, second = Frame(TEXT, b"fragment1", fin=False), Frame(CONT, b"fragment2")
    yield Case("5.3", [first, second], whole)
    yield Case("5.6", [first, Frame(PING, b"ping"), second], [("ping", b"ping"), *whole])
    stray = Frame(CONT, b"non-continuation", fin=True)
    yield Case("5.9", [stray, Frame(TEXT, b"x")], [], 1002)
    yield Case("5.12", [stray._replace(fin=False), Frame(TEXT, b"x")], [], 1002)
    yield Case("5.15", [first, second, stray._replace(fin=False)], whole, 1002)
    yield Case("5.18", [first, Frame(TEXT, b"fragment2")], [], 1002)
    parts = [
        first,
        Frame(CONT, b"fragment2", fin=False),
        Frame(PING, b"one"),
        Frame(CONT, b"fragment3", fin=False),
        Frame(CONT, b"fragment4", fin=False),
        Frame(PING, b"two"),
        Frame(CONT, b"fragment5"),
    ]
    all_of_it = message(TEXT, b"fragment1fragment2fragment3fragment4fragment5")
    yield Case("5.19", parts, [("ping", b"one"), ("ping", b"two"), all_of_it])
    yield Case(
        "5-binary",
        [Frame(BINARY, b"", fin=False), Frame(CONT, b"\xff", fin=False), Frame(CONT)],
        [message(BINARY, b"\xff")],
    )


VALID = [
    HELLO,
    "κόσμε".encode(),
    b"",
    b"\x00",
    b"\xc2\x80",
    b"\xe0\xa0\x80",
    b"\xf0\x90\x80\x80",
    b"\x7f",
    b"\xdf\xbf",
    b"\xef\xbf\xbf",
    b"\xf4\x8f\xbf\xbf",
    b"\xed\x9f\xbf",
    b"\xee\x80\x80",
    b"\xef\xbf\xbd",
    b"\xef\xbf\xbe",
]

INVALID = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xf7\xbf\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80",
    b"\xc0\x20",
    b"\xe0\x20",
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xfe",
    b"\xff",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
]


def utf8():
    for number, text in enumerate(VALID):
        yield Case(f"6-valid-{number}", [Frame(TEXT, text)], [message(TEXT, text)])
        bytewise = [Frame(TEXT, b"", fin=False)]
        bytewise += [Frame(CONT, text[i : i + 1], fin=False) for i in range(len(text))]
        yield Case(f"6-bytes-{number}", [*bytewise, Frame(CONT)], [message(TEXT, text)])
    for number, text in enumerate(INVALID):
        yield Case(f"6-invalid-{number}", [Frame(TEXT, text)], [], 1007)
        bytewise = [Frame(TEXT, b"", fin=False)]
        bytewise += [Frame(CONT, text[i : i + 1], fin=False) for i in range(len(text))]
        yield Case(f"6-invalid-bytes-{number}", [*bytewise, Frame(CONT)], [], 1007)
        yield Case(f"6-binary-{number}", [Frame(BINARY, text)], [message(BINARY, text)])


def closes():
    yield Case("7.1.2", [Frame(CLOSE), Frame(CLOSE)], [("close", b"")])
    yield Case("7.1.3", [Frame(CLOSE), Frame(PING)], [("close", b"")])
    yield Case("7.1.4", [Frame(CLOSE), Frame(TEXT, HELLO)], [("close", b"")])
    yield Case(
        "7.1.5", [Frame(TEXT, b"a", fin=False), Frame(CLOSE), Frame(CONT, b"b")], [("close", b"")]
    )
    yield Case("7.3.1", [Frame(CLOSE)], [("close", b"")])
    yield Case("7.3.2", [Frame(CLOSE, b"a")], [], 1002)
    for payload in (close(1000), close(1000, b"Hello"), close(1000, b"*" * 123)):
        yield Case(f"7.3-{len(payload)}", [Frame(CLOSE, payload)], [("close", payload)])
    yield Case("7.3.6", [Frame(CLOSE, close(1000, b"*" * 124))], [], 1002)
    yield Case("7.5.1", [Frame(CLOSE, close(1000, INVALID[0]))], [], 1007)
    valid = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014)
    for code in (*valid, 3000, 3999, 4000, 4999):
        payload = close(code, "Grüße".encode())
        yield Case(f"7.7-{code}", [Frame(CLOSE, payload)], [("close", payload)])
    invalid = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    for code in invalid:
        yield Case(f"7.9-{code}", [Frame(CLOSE, close(code))], [], 1002)


def long_form():
    """Lengths that are written longer than they need be (RFC 6455 section 5.2)."""
    yield Case("9-16", [("raw", TEXT, b"short", 16)], [], 1002)
    yield Case("9-64", [("raw", TEXT, b"short", 64)], [], 1002)


def automatic_fragments():
    payload = b"*" * 65536
    parts = [payload[i : i + 1300] for i in range(0, len(payload), 1300)]
    frames = [Frame(TEXT, parts[0], fin=False)]
    frames += [Frame(CONT, part, fin=False) for part in parts[1:-1]]
    yield Case("10.1.1", [*frames, Frame(CONT, parts[-1])], [message(TEXT, payload)])


CASES = [
    *lengths("1.1", TEXT, b"*"),
    *lengths("1.2", BINARY, b"\xfe"),
    *pings(),
    *reserved_bits(),
    *opcodes(),
    *fragments(),
    *utf8(),
    *closes(),
    *long_form(),
    *automatic_fragments(),
]


def encoded(case, *, mask):
    data = b""
    for item in case.sent:
        if isinstance(item, Frame):
            data += frame(item.opcode, item.payload, fin=item.fin, rsv=item.rsv, mask=mask)
        else:
            data += frame(item[1], item[2], mask=mask, length_form=item[3])
    return data


def told(frames):
    """What a peer makes of the frames that it got; a message that never ended is nothing."""
    found, opcode, parts = [], None, []
    for item in frames:
        assert item.rsv == 0
        if item.opcode == PING:
            found.append(("ping", item.payload))
        elif item.opcode == PONG:
            found.append(("pong", item.payload))
        elif item.opcode == CLOSE:
            found.append(("close", item.payload))
        else:
            assert (item.opcode == CONT) == (opcode is not None)
            opcode = opcode if item.opcode == CONT else item.opcode
            parts.append(item.payload)
            if item.fin:
                found.append(message(opcode, b"".join(parts)))
                opcode, parts = None, []
    return found


def run(case, *, from_client, cut=None):
    world = Sockets()
    client, lease = world.open()
    sender, other = (client, lease) if from_client else (lease, client)
    data = encoded(case, mask=from_client)
    for start in range(0, len(data), cut or len(data)):
        if sender.ended:
            break
        sender.send(raw=data[start : start + (cut or len(data))])
    seen = told(other.frames)
    if case.code is None:
        assert seen == case.seen
        assert sender.frames == []
        if seen and seen[-1][0] == "close":
            other.send(Frame(CLOSE, seen[-1][1]))
            assert sender.frames == [Frame(CLOSE, seen[-1][1])]
            assert sender.ended
            assert other.ended
    else:
        (farewell,) = sender.frames
        assert (farewell.opcode, farewell.payload[:2]) == (CLOSE, close(case.code))
        assert 0 < len(farewell.payload[2:]) <= 123
        # The other side did nothing wrong.
        assert seen[:-1] == case.seen
        kind, payload = seen[-1]
        assert kind == "close"
        assert payload[:2] == close(1001 if from_client else 1011)
        assert other.ended
        # A fault of the client leaves it time to read why, until it ends its side.
        if not sender.ended:
            sender.wire.transport.loseConnection()
            world.reactor.settle()
        assert sender.ended
    world.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("from_client", [True, False], ids=["client", "lease"])
def test_a_case_of_rfc_6455(case, from_client):
    run(case, from_client=from_client)


SHORT = [case for case in CASES if len(encoded(case, mask=False)) < 300]


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.id)
@pytest.mark.parametrize("from_client", [True, False], ids=["client", "lease"])
def test_the_same_byte_by_byte(case, from_client):
    run(case, from_client=from_client, cut=1)


@pytest.mark.parametrize("size", [997, 2048])
def test_a_long_frame_in_pieces(size):
    (case,) = lengths_of(65536)
    run(case, from_client=True, cut=size)
    run(case, from_client=False, cut=size)


def lengths_of(size):
    return [case for case in lengths("1.1", TEXT, b"*") if len(case.sent[0].payload) == size]


@pytest.mark.parametrize("from_client", [True, False])
def test_masks_are_the_client_s_duty_and_the_lease_s_fault(from_client):
    world = Sockets()
    client, lease = world.open()
    sender = client if from_client else lease
    sender.send(raw=frame(TEXT, b"wrong", mask=not from_client))
    (farewell,) = sender.frames
    assert farewell.payload[:2] == close(1002)
    world.stop()
