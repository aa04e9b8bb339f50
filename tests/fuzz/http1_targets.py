"""HTTP/1.1 at both ends: a client that sends anything, and a lease that answers anything."""

from tests.frontend.gateway_world import KEY, Wire
from tests.fuzz.dice import Dice
from tests.fuzz.fuzz_world import READ_KEY, Echoing, FuzzWorld, no_failures
from tests.fuzz.lease_pieces import say_something

__all__ = ["http1_client", "http1_lease"]

LINES = (
    b"GET /peer/tool/x HTTP/1.1\r\n",
    b"POST /peer/tool/x HTTP/1.1\r\n",
    b"POST /peer/m/mcp HTTP/1.1\r\n",
    b"HEAD /peer/tool/ HTTP/1.1\r\n",
    b"GET /health HTTP/1.1\r\n",
    b"GET /peer/tool HTTP/1.0\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"GET http://gw.example/peer/tool/a%2Fb?c=%zz HTTP/1.1\r\n",
)

FIELDS = (
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Type: application/json\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\n",
    b"Expect: 100-continue\r\n",
    b"X-Request-ID: abc\r\n",
    b"Accept: text/event-stream\r\n",
    b"Content-Length: 20000\r\n",
    b"Trailer: X-T\r\nTE: trailers\r\n",
    b"Cookie: a=b; c=d\r\n",
    b"X-Forwarded-For: 10.0.0.1\r\n",
    b"X-Long: " + b"v" * 9000 + b"\r\n",
)

BAD_FIELDS = (
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Host: other\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
    b" folded\r\n",
    b"Bad name: 1\r\n",
    b"X: \x00\r\n",
    b": 1\r\n",
    b"X-Huge: " + b"v" * 70_000 + b"\r\n",
    b"X: 1\n",
)

BODIES = (
    b"hello",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"0\r\nX-T: 1\r\n\r\n",
    b"d" * 20_000,
    b"4e20\r\n" + b"d" * 20_000 + b"\r\n0\r\n\r\n",
    b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
    b"1\r\nx\r\n" * 50,
    b"h",
)

BAD_BODIES = (
    b"5;ext=" + b"e" * 5000 + b"\r\nhello\r\n",
    b"5\nhello\r\n",
    b"ffffffffffffffffff\r\n",
    b"-1\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\nX: " + b"t" * 70_000 + b"\r\n\r\n",
    b"0x5\r\nhello\r\n",
    b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
)

WRONG = 24


class _Client:
    """What one client sends: heads and bodies that mostly belong together."""

    def __init__(self, world: FuzzWorld) -> None:
        self._world = world
        self._dice = world.dice
        world.cut_bytes()
        self.wire = world.come()

    def step(self) -> None:
        dice = self._dice
        dice.do([self._request, self._head, self._body, self._request, self._raw_or_wait])
        if dice.byte() & 1:
            self._world.reactor.settle()

    def _head(self) -> None:
        dice = self._dice
        made = dice.pick(LINES) + b"Host: gw.example:8080\r\n"
        key = dice.pick((KEY, KEY, KEY, READ_KEY, "sk_live_wrong_0123456789"))
        made += b"X-API-Key: " + key.encode() + b"\r\n"
        for _ in range(dice.below(4)):
            made += dice.pick(FIELDS)
        if dice.odds(WRONG):
            made += dice.pick(BAD_FIELDS)
        if dice.odds(WRONG):
            made += dice.take(60)
        self.wire.send(made + b"\r\n")

    def _request(self) -> None:
        """A whole one."""
        dice = self._dice
        line = dice.pick(LINES)
        field, body = dice.pick(
            (
                (b"", b""),
                (FIELDS[0], BODIES[0]),
                (FIELDS[1], BODIES[3]),
                (FIELDS[9], BODIES[5]),
                (FIELDS[1], BODIES[6]),
                (FIELDS[1], BODIES[8] + BODIES[4]),
                (FIELDS[0] + FIELDS[6], BODIES[0]),
            )
        )
        more = dice.pick(FIELDS[3:9]) if dice.byte() & 1 else b""
        key = b"X-API-Key: " + KEY.encode() + b"\r\n"
        self.wire.send(line + b"Host: gw.example:8080\r\n" + key + field + more + b"\r\n" + body)

    def _body(self) -> None:
        dice = self._dice
        self.wire.send(dice.pick(BAD_BODIES if dice.odds(WRONG) else BODIES))

    def _raw_or_wait(self) -> None:
        dice = self._dice
        if dice.odds(8):
            self.wire.send(dice.take(100))
        elif dice.odds(4):
            self._world.hold(self.wire)
        elif dice.odds(8):
            self._world.leave(self.wire)
        else:
            self._world.wait()


def http1_client(data: bytes) -> None:
    """A client that sends anything, before a lease that reads as h11 does."""
    dice = Dice(data)
    with no_failures():
        world = FuzzWorld(dice, Echoing)
        client = _Client(world)
        while dice.left:
            client.step()
        world.reactor.settle()
        world.answer_everything()
        world.finish()


def http1_lease(data: bytes) -> None:
    """A lease that answers anything, before a client that asks for it."""
    dice = Dice(data)
    with no_failures():
        world = FuzzWorld(dice, Wire)
        client = _Client(world)
        while dice.left:
            what = dice.below(8)
            if what == 0 or not world.origin.wires:
                client._request()
                world.reactor.settle()
                if client.wire.lost is not None:
                    client = _Client(world)
            elif what == 1:
                client.step()
            elif what == 2:
                world.wait()
            else:
                say_something(world)
        world.reactor.settle()
        world.finish()
