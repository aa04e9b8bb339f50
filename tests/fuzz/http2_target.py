"""The intake of HTTP/2: a client that sends any frames, before a lease of three kinds."""

from collections.abc import Callable

from hpack import Encoder
from hpack.struct import HeaderTuple

from portal_gateway.wire.http2_frames import PREFACE
from tests.frontend.gateway_world import KEY, Wire
from tests.frontend.http2_world import frame
from tests.fuzz.dice import Dice
from tests.fuzz.fuzz_world import READ_KEY, Echoing, FuzzWorld, no_failures
from tests.fuzz.lease_pieces import say_something

__all__ = ["http2_echoing", "http2_hostile", "http2_silent"]

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 1, 4, 8, 32

PATHS = (b"/peer/tool/x", b"/peer/tool/y?z=1", b"/peer/m/mcp", b"/peer/nobody/", b"/health")
METHODS = (b"GET", b"POST", b"POST", b"PUT", b"HEAD", b"OPTIONS")
KEYS = (KEY.encode(), KEY.encode(), KEY.encode(), READ_KEY.encode())

FIELDS = (
    (b"content-length", b"5"),
    (b"content-length", b"10"),
    (b"content-length", b"0"),
    (b"content-type", b"application/json"),
    (b"expect", b"100-continue"),
    (b"te", b"trailers"),
    (b"cookie", b"a=b"),
    (b"accept", b"text/event-stream"),
    (b"mcp-method", b"ping"),
    (b"x-request-id", b"x" * 200),
    (b"x-long", b"v" * 9000),
)

BAD_FIELDS = (
    (b"content-length", b"abc"),
    (b"content-length", b"99999999999999999999"),
    (b"te", b"gzip"),
    (b"connection", b"close"),
    (b"transfer-encoding", b"chunked"),
    (b"host", b"other"),
    (b"upgrade", b"websocket"),
    (b"X-Upper", b"1"),
    (b"x-a", b"\r\n"),
    (b":status", b"200"),
    (b":protocol", b"websocket"),
    (b":path", b"*"),
    (b":path", b""),
    (b":method", b"CONNECT"),
    (b":method", b""),
    (b"x-api-key", b"sk_live_wrong_0123456789"),
    (b"", b""),
    (b"x-huge", b"v" * 40_000),
)

TRAILERS = (
    [],
    [(b"x-checksum", b"1")],
    [(b"content-length", b"5")],
    [(b":path", b"/")],
    [(b"x-http-method-override", b"DELETE")],
    [(b"x", b"v" * 9000)],
)

SETTINGS_SENT = (
    b"",
    b"\0\4\0\0\0\0",
    b"\0\4\0\0\0\1",
    b"\0\4\x7f\xff\xff\xff",
    b"\0\1\0\0\0\0",
    b"\0\1\0\0\x10\0",
    b"\0\1\xff\xff\xff\xff",
    b"\0\5\0\0\x40\0",
    b"\0\5\0\xff\xff\xff",
    b"\0\3\0\0\0\0",
    b"\0\6\0\0\0\1",
)

BAD_SETTINGS = (
    b"\0\4\xff\xff\xff\xff",
    b"\0\2\0\0\0\1",
    b"\0\2\0\0\0\2",
    b"\0\x08\0\0\0\1",
    b"\0\4\0",
)

INCREMENTS = (1, 100, 16_384, 65_535, 1_000_000)
BAD_INCREMENTS = (0, 2**31 - 1)
SIZES = (5, 0, 1, 4, 6, 63, 1000, 16_384)

WRONG = 48
"""One in so many choices breaks the protocol, so that most conversations get somewhere."""


class _Client:
    """The frames of one client, in order; ``flush`` sends what was made.

    ``open`` are the streams whose end was not sent yet.
    """

    def __init__(self, world: FuzzWorld) -> None:
        self._world = world
        self._dice = world.dice
        world.cut_bytes()
        self.wire = world.come(http2=True)
        self._encoder = Encoder()
        self._next = 1
        self._open: list[int] = []
        self._made = PREFACE + frame(SETTINGS)
        self._request()

    def step(self) -> None:
        dice = self._dice
        if dice.odds(WRONG):
            dice.do([self._odd, self._raw, self._raw_frame])
        else:
            dice.do(
                [
                    self._request,
                    self._data,
                    self.flush,
                    self._trailers,
                    self._request,
                    self._data,
                    self._window,
                    self._data,
                    self._settings,
                    self._idle,
                    self.flush,
                    self._reset,
                ]
            )
        if len(self._made) > 200_000:
            self.flush()

    def _stream(self) -> int:
        """One whose end is still to come, mostly."""
        dice = self._dice
        if self._open and not dice.odds(WRONG):
            return self._open[-1 - dice.below(min(4, len(self._open)))]
        return dice.pick((max(1, self._next - 2), 1, self._next, 0, 2, 2**31 - 1))

    def _used(self) -> int:
        """One that was begun, ended or not."""
        return max(1, self._next - 2 - 2 * self._dice.below(4))

    def _request(self) -> None:
        dice = self._dice
        fields: list[tuple[bytes, bytes]] = [
            (b":method", dice.pick(METHODS)),
            (b":scheme", b"https"),
            (b":authority", b"gw.example"),
            (b":path", dice.pick(PATHS)),
            (b"x-api-key", dice.pick(KEYS)),
        ]
        shape = dice.byte()
        fields += [dice.pick(FIELDS) for _ in range(shape >> 1 & 3)]
        if shape >> 3 == 31:
            fields.append(dice.pick(BAD_FIELDS))
        elif shape >> 3 == 30:
            fields.pop(dice.below(len(fields)))
        elif shape >> 3 == 29:
            fields.append((dice.take(20), dice.take(200)))
        stream = self._next
        if dice.odds(WRONG):
            stream = self._stream()
        else:
            self._next += 2
        ends = bool(shape & 1)
        if not ends:
            self._open.append(stream)
        self._send_block(stream, fields, ends=ends)

    def _trailers(self) -> None:
        dice = self._dice
        if not self._open:
            self._request()
            return
        stream = self._stream()
        ends = not dice.odds(16)
        self._send_block(stream, list(dice.pick(TRAILERS)), ends=ends)
        self._ended(stream, ends=ends)

    def _ended(self, stream: int, *, ends: bool) -> None:
        if ends and stream in self._open:
            self._open.remove(stream)

    def _send_block(self, stream: int, fields: list[tuple[bytes, bytes]], *, ends: bool) -> None:
        dice = self._dice
        shape = dice.byte()
        block = self._encoder.encode([HeaderTuple(*each) for each in fields], huffman=False)
        flags = END_STREAM if ends else 0
        payload = block[:16_000]
        more = block[16_000:]
        if shape & 8 and not more:
            cut = len(payload) - dice.below(min(len(block), 250) + 1)
            payload, more = payload[:cut], payload[cut:] or b""
        before = after = b""
        if shape & 2:
            before, after, flags = b"\x05", bytes(5), flags | PADDED
        if shape & 4:
            before, flags = before + b"\0\0\0\0\x10", flags | WITH_PRIORITY
        last = 0 if dice.odds(WRONG) else END_HEADERS
        payload = before + payload + after
        if not more and not shape & 8:
            self._made += frame(HEADERS, payload, flags | last, stream)
            return
        self._made += frame(HEADERS, payload, flags, stream)
        if dice.odds(WRONG):
            self._idle()
        while len(more) > 16_000:
            self._made += frame(CONTINUATION, more[:16_000], 0, stream)
            more = more[16_000:]
        self._made += frame(CONTINUATION, more, last, stream)

    def _data(self) -> None:
        dice = self._dice
        if not self._open:
            self._request()
            return
        stream = self._stream()
        size, shape = dice.pick(SIZES), dice.byte()
        flags = shape & END_STREAM
        payload = b"{" + b"d" * (size - 1) if size else b""
        if shape & 14 == 14:
            pad = dice.byte()
            payload, flags = bytes([pad]) + payload[:100] + bytes(pad), flags | PADDED
        self._made += frame(DATA, payload, flags, stream)
        self._ended(stream, ends=bool(flags & END_STREAM))

    def _window(self) -> None:
        dice = self._dice
        increment = dice.pick(BAD_INCREMENTS if dice.odds(WRONG) else INCREMENTS)
        stream = self._used() if dice.byte() & 1 else 0
        self._made += frame(WINDOW, increment.to_bytes(4, "big"), 0, stream)

    def _reset(self) -> None:
        stream = self._used()
        self._ended(stream, ends=True)
        self._made += frame(RST, b"\0\0\0\x08", 0, stream)

    def _settings(self) -> None:
        dice = self._dice
        sent = dice.pick(BAD_SETTINGS if dice.odds(WRONG) else SETTINGS_SENT)
        self._made += frame(SETTINGS, sent)

    def _idle(self) -> None:
        """What means nothing."""
        dice = self._dice
        kind, payload, stream = dice.pick(
            (
                (PING, bytes(8), 0),
                (PRIORITY, b"\0\0\0\0\x10", self._used()),
                (SETTINGS, b"", 0),
                (10, b"altsvc", 0),
                (WINDOW, b"\0\0\0\1", 0),
                (PING, bytes(8), 0),
            )
        )
        flags = 1 if kind == PING and dice.byte() & 1 else 0
        self._made += frame(kind, payload, flags, stream)

    def _odd(self) -> None:
        kind, payload = self._dice.pick(
            (
                (GOAWAY, bytes(8)),
                (PRIORITY, b"\0\0\0\3"),
                (PUSH, b"\0\0\0\2"),
                (CONTINUATION, b"\x82"),
                (HEADERS, b"\xff\xff\xff\xff\xff\xff"),
                (HEADERS, b"\x3f\xe1\xff\xff\x07\x82"),
                (DATA, b"\xff"),
            )
        )
        dice = self._dice
        stream = 0 if kind == GOAWAY else self._stream()
        self._made += frame(kind, payload, dice.byte(), stream)

    def _raw(self) -> None:
        self._made += self._dice.take(100)

    def _raw_frame(self) -> None:
        dice = self._dice
        self._made += frame(dice.below(12), dice.take(100), dice.byte(), self._stream())

    def flush(self) -> None:
        made, self._made = self._made, b""
        self.wire.send(made)
        if self._dice.byte() & 1:
            self._world.reactor.settle()


def _converse(data: bytes, lease: Callable[[], Wire], *, lease_speaks: bool) -> None:
    dice = Dice(data)
    with no_failures():
        world = FuzzWorld(dice, lease)
        client = _Client(world)
        while dice.left:
            what = dice.below(16)
            if what < 11:
                client.step()
            elif what == 11:
                world.wait()
            elif what == 12:
                world.hold(client.wire)
            elif what == 13 and dice.odds(4):
                world.leave(client.wire)
            elif lease_speaks and world.origin.wires:
                say_something(world)
            else:
                client.step()
        client.flush()
        world.reactor.settle()
        if lease is Echoing:
            world.answer_everything()
        world.finish()


def http2_echoing(data: bytes) -> None:
    """Before a lease that answers each request with its body."""
    _converse(data, Echoing, lease_speaks=False)


def http2_silent(data: bytes) -> None:
    """Before a lease that takes every request and never answers."""
    _converse(data, Wire, lease_speaks=False)


def http2_hostile(data: bytes) -> None:
    """Before a lease that says anything at any time."""
    _converse(data, Wire, lease_speaks=True)
