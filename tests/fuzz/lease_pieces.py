"""Anything that a lease may say over HTTP/1.1, piece by piece."""

from tests.fuzz.fuzz_world import FuzzWorld

__all__ = ["PIECES", "say_something"]

PIECES = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:3000/x\r\nSet-Cookie: a=b; Path=/\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    b"HTTP/1.1 599 \r\nTrailer: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: 1\r\n\r\n",
    b"HTTP/1.1 999 No\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 9000 + b"\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nBad name: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-A: \x00\x80\r\n folded\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 100000\r\n\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close\r\n",
    b"Content-Encoding: gzip\r\n",
    b"\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nX-T: 1\r\nContent-Length: 5\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"5;ext=1\r\nhello\r\n",
    b"hello",
    b"x" * 70_000,
    b"\n\n",
)


def say_something(world: FuzzWorld) -> None:
    """Let one of the leases' connections say, hold back or end something."""
    dice = world.dice
    wires = world.origin.wires
    wire = wires[-1 - dice.below(min(4, len(wires)))]
    if not wire.transport.connected:
        return
    what = dice.below(16)
    if what < 11:
        for _ in range(1 + dice.below(3)):
            wire.send(dice.pick(PIECES))
    elif what < 13:
        wire.send(dice.take(60))
    elif what == 13:
        world.hold(wire)
    else:
        world.leave(wire)
    if dice.byte() & 1:
        world.reactor.settle()
