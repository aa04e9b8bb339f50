"""A whole gateway in memory for one fuzzed conversation, and the look for what is left of it.

The client and the lease are the fuzzer's. Two things are asserted, whatever they do: nothing raises
(no failure, error or critical event is logged, by whatever library), and when the client has gone
nothing is held: no connection, request, stream, slot of a pool, WebSocket, producer or timer.
"""

import gc
from collections import Counter
from collections.abc import Callable
from functools import cache

import h11
from twisted.internet.address import IPv4Address
from twisted.logger import LogLevel, globalLogPublisher

from portal_gateway.frontend.http2_connection import HTTP2Connection
from portal_gateway.testing.transports import connect
from tests.frontend.gateway_world import KEY, Wire, World
from tests.fuzz.dice import Dice

__all__ = ["READ_KEY", "WAITS", "Echoing", "FuzzWorld", "Uncaught", "no_failures"]

READ_KEY = "sk_live_reader_0123"

WALL_CLOCK = 1_750_000_000.0

CONFIG = f"""
gateway:
  listen: "127.0.0.1:8080"
auth:
  keys:
    - {{key: "{KEY}", id: tester}}
    - {{key: "{READ_KEY}", id: reader, scopes: [read]}}
leases:
  tool: {{url: "http://127.0.0.1:3000"}}
  m: {{url: "http://127.0.0.1:3000", mcp: true}}
logging: {{level: error}}
"""

WAITS = (0.0, 0.1, 1.0, 6.0, 12.0, 31.0, 80.0)
"""Seconds that a conversation may let pass at once: around each of the deadlines."""

PATIENCE = 200.0
"""Seconds after the last byte of a client until each of its requests is over: two of the longest
waits for a client, which are 75 and 30 seconds, and some."""

AFTER = 6.0
"""Seconds after the client went until nothing is held: a WebSocket's closing handshake with the
lease takes 4, the lingering close of a connection 2."""


def _few(waiting: int) -> int:
    """Byte by byte at the end; what is long would take too long so."""
    return 1 if waiting <= 200 else waiting - 200


def _halves(waiting: int) -> int:
    return (waiting + 1) // 2


class Uncaught(AssertionError):
    """Something raised where nothing may."""


class no_failures:  # noqa: N801 - a context manager
    """Raises `Uncaught` at its end for what was logged as a failure, an error or critical."""

    def __enter__(self) -> list[str]:
        self._found: list[str] = []
        globalLogPublisher.addObserver(self._observe)
        return self._found

    def _observe(self, event: dict[str, object]) -> None:
        failure = event.get("log_failure")
        if failure is not None:
            self._found.append(failure.getTraceback())  # type: ignore[attr-defined]
        elif event.get("isError") or event.get("log_level") in (LogLevel.error, LogLevel.critical):
            self._found.append(str(event.get("log_format")) + repr(sorted(event)))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Failures that nobody handled are logged when they are collected.
        _freeze()
        gc.collect()
        globalLogPublisher.removeObserver(self._observe)
        if self._found and kind is None:
            raise Uncaught("\n".join(self._found))


@cache
def _freeze() -> None:
    """Keep what there was before the first conversation out of every collection."""
    gc.collect()
    gc.freeze()


class Echoing(Wire):
    """A lease that answers each request with its body, and holds the gateway to h11's reading."""

    def __init__(self) -> None:
        super().__init__()
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
        self._body = b""
        self._method = b""

    def dataReceived(self, data: bytes) -> None:
        self._h11.receive_data(data)
        while True:
            event = self._h11.next_event()
            if event in (h11.NEED_DATA, h11.PAUSED):
                return
            if isinstance(event, h11.Request):
                self._method = event.method
            elif isinstance(event, h11.Data):
                self._body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._answer()
            else:
                return

    def _answer(self) -> None:
        body, self._body = self._body, b""
        send = self._h11.send
        head = h11.Response(status_code=200, headers=[("Content-Length", str(len(body)))])
        self.transport.write(send(head))
        if self._method != b"HEAD" and body:
            self.transport.write(send(h11.Data(data=body)))
        send(h11.EndOfMessage())
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        else:
            self.transport.loseConnection()


class _Lease:
    """The factory behind port 3000."""

    noisy = False

    def __init__(self, make: Callable[[], Wire]) -> None:
        self.wires: list[Wire] = []
        self._make = make

    def buildProtocol(self, address: object) -> Wire:
        wire = self._make()
        self.wires.append(wire)
        return wire

    def doStart(self) -> None:
        pass

    def doStop(self) -> None:
        pass


class FuzzWorld(World):
    """One conversation, by ``dice``; ``lease`` makes what the gateway's connections reach."""

    def __init__(self, dice: Dice, lease: Callable[[], Wire] = Wire) -> None:
        self.dice = dice
        self._make_lease = lease
        self.clients: list[Wire] = []
        super().__init__(CONFIG, origin=False, wall_clock=lambda: WALL_CLOCK)
        self.site = self.gateway.site
        self._timers = self._names_of_timers()

    def open_upstreams(self) -> None:
        self.origin = _Lease(self._make_lease)
        self.reactor.listenTCP(3000, self.origin)

    # The two ends.

    def come(self, *, http2: bool = False) -> Wire:
        """Another client."""
        if http2:
            wire = Wire()
            address = IPv4Address("TCP", "192.0.2.7", 50_000 + len(self.clients))
            link = connect(
                wire,
                HTTP2Connection(self.site),
                self.reactor.chunk,
                client_address=address,
            )
            self.reactor.links.append(link)
            self.reactor.settle()
        else:
            wire = self.connect(host="192.0.2.7")
        self.clients.append(wire)
        return wire

    def cut_bytes(self) -> None:
        """Choose in what pieces bytes arrive, for connections from now on."""
        self.reactor.chunk = self.dice.pick((None, None, _few, _halves, 1000))

    def wait(self) -> None:
        """Let time pass."""
        self.reactor.advance(self.dice.pick(WAITS))

    def hold(self, wire: Wire) -> None:
        """Take nothing more, or everything again."""
        transport = wire.transport
        if transport is not None and transport.connected:
            transport.pauseProducing() if self.dice.byte() & 1 else transport.resumeProducing()

    def leave(self, wire: Wire) -> None:
        """Close one end, by one of the ways to do it."""
        transport = wire.transport
        if transport is not None and transport.connected:
            self.dice.do(
                [
                    transport.loseConnection,
                    transport.abortConnection,
                    transport.loseWriteConnection,
                ]
            )

    # The end.

    def answer_everything(self) -> None:
        """The lease answers at once, the client takes everything: no request waits for ever."""
        for wire in self.clients:
            wire.transport.resumeProducing()
        self.reactor.advance(PATIENCE)
        waiting = [request.exchange.path for request in self.site.requests()]
        assert not waiting, waiting
        figures = self.gateway.upstreams.router.pool_figures
        assert (figures.active, figures.queued) == (0, 0)

    def finish(self) -> None:
        """The client goes: nothing is held, and the gateway stops."""
        reactor, site = self.reactor, self.site
        reactor.settle()
        for wire in self.clients:
            wire.transport.resumeProducing()
            if wire.transport.connected:
                wire.transport.abortConnection()
        reactor.advance(AFTER)
        figures = self.gateway.upstreams.router.pool_figures
        held = {
            "connections": site.connections,
            "networks": len(site._channels._by_network),
            "requests": len(list(site.requests())),
            "websockets": site.websockets,
            "streams": len(site.streams),
            "active": figures.active,
            "dialling": figures.dialling,
            "queued": figures.queued,
        }
        assert not any(held.values()), held
        for wire in self.origin.wires:
            if wire.transport.connected:
                wire.transport.resumeProducing()
                wire.transport.abortConnection()
        reactor.settle()
        figures = self.gateway.upstreams.router.pool_figures
        assert figures.idle == 0
        more = self._names_of_timers() - self._timers
        assert not more, more
        for link in reactor.links:
            for end in (link.client, link.server):
                assert not end.connected, end.protocol
                assert end._producer is None, end.protocol
        self.stop()

    def _names_of_timers(self) -> Counter[str]:
        names = (str(getattr(call.func, "__qualname__", call.func)) for call in self._calls())
        # The tick of a pool without connections finds nothing to do.
        return Counter(name for name in names if name != "Pool._run_tick")

    def _calls(self) -> list[object]:
        return list(self.reactor.getDelayedCalls())
