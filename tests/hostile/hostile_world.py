"""A whole gateway in memory behind a hostile relay, or an honest one with a hostile lease."""

import gc
import io
import json
from collections import deque
from typing import NamedTuple

from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.logger import globalLogPublisher

from portal_gateway.config.loading import load_config_text
from portal_gateway.errors import CAUSES
from portal_gateway.gateway import Gateway
from portal_gateway.observe.logs import Log
from portal_gateway.relay.backoff import MAX_WAIT
from portal_gateway.relay.substream import CLOSE_WAIT
from portal_gateway.testing.hostile import HostileApp, HostileRelay
from portal_gateway.testing.memory_reactor import MemoryReactor
from portal_gateway.testing.relay import EmbeddedRelay
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.messages import ListedLease
from tests.frontend import gateway_world
from tests.frontend.gateway_world import KEY, Origin, head_of

__all__ = [
    "LEASE",
    "MARK",
    "NOTHING",
    "PINNED",
    "RUDE",
    "STRANGER",
    "Answer",
    "HostileWorld",
    "answer",
    "listed",
    "meet",
]

RELAY_PORT = 4017

LEASE = Credential.from_private_bytes(bytes(range(32)))
STRANGER = Credential.from_private_bytes(bytes(range(32, 64)))
PINNED = Credential.from_private_bytes(bytes(range(64, 96)))

MARK = "str4nger"
"""Whatever a stranger says has this in it, and nobody else says it."""

RUDE = f"{MARK}\x1b[31m\r\nX-Injected: {MARK}\x00\x9b\u2028\u202e"
"""Text that does harm wherever it is written as it is."""

CONFIG = load_config_text(
    f"""
gateway:
  listen: "127.0.0.1:8080"
portal:
  relays:
    - url: "ws://127.0.0.1:{RELAY_PORT}/relay"
auth:
  keys:
    - key: "{KEY}"
      id: "tester"
leases:
  pinned:
    identity: "{PINNED.identity.id}"
""",
    "test.yaml",
    {},
)


NOTHING = {"streams": 0, "buffered": 0, "requests": 0, "idle": 0}

PATIENCE = 30.0
"""Seconds after which a request that was not answered waits for ever."""


class Answer(NamedTuple):
    """What a client got: status, code of the problem or of the log's line, whether it was cut."""

    status: int
    code: str = ""
    cut: bool = False


def listed(credential, name, **fields):
    """How a relay lists a lease."""
    return ListedLease(
        credential.identity.id,
        name,
        alpn=("http/1.1",),
        public_key=credential.identity.public_key,
        **fields,
    )


class InTurns(MemoryReactor):
    """Each thing that is put off is done in a turn of its own, when nothing moves any more."""

    def __init__(self, now):
        super().__init__(now)
        self._put_off = deque()

    def put_off(self, call):
        self._put_off.append(call)

    def settle(self):
        super().settle()
        while self._put_off:
            self._put_off.popleft()()
            super().settle()


class HostileWorld(gateway_world.World):
    """The gateway, its log (Twisted's events too), and a relay that ``script`` is for.

    A response comes record by record, each in a turn of its own.

    With ``through_honest_relay`` the script is that of the app behind one. Without a script, the
    factory ``opening`` is at the relay's port.
    """

    def __init__(self, script=None, *, through_honest_relay=False, opening=None):
        self.reactor = InTurns(now=1000.0)
        self.log_text = io.StringIO()
        self.log = Log(self.reactor, self.log_text, level="debug")
        globalLogPublisher.addObserver(self.log)
        self._lines = []
        self._read = 0
        self.origin = Origin()
        self.relay = self.honest_relay = self.app = None
        if script is not None:
            script.put_off = self.reactor.put_off
        if script is not None and through_honest_relay:
            self.serve_honestly(script)
        elif script is not None:
            self.relay = HostileRelay(self.reactor, script, RELAY_PORT)
        else:
            self.opening = self.reactor.listenTCP(RELAY_PORT, opening)
        self.announced = []
        self.gateway = Gateway(self.reactor, CONFIG, self.log, self.announced.append)
        self.gateway.privilegedStartService()
        self.gateway.startService()
        self.reactor.settle()

    def relay_is_back(self, script):
        """What answered the opening is gone, and a relay by ``script`` has its place."""
        script.put_off = self.reactor.put_off
        self.opening.stopListening()
        for link in self.reactor.links:
            if link.server.getHost().port == RELAY_PORT:
                link.server.abortConnection()
        self.relay = HostileRelay(self.reactor, script, RELAY_PORT)

    def serve_honestly(self, script):
        self.honest_relay = EmbeddedRelay(self.reactor)
        self.honest_relay.listen(TCP4ServerEndpoint(self.reactor, RELAY_PORT))
        self.app = HostileApp(self.reactor, self.honest_relay.url, script, "newcomer")
        self.app.start()
        self.reactor.settle()

    def forget_links(self):
        """Drop the connections that are over, for worlds that see many."""
        self.reactor.links[:] = [link for link in self.reactor.links if link.connected]

    # What the gateway holds.

    @property
    def upstream(self):
        """The gateway's way to its relay."""
        (relay,) = self.gateway.upstreams.router.relays
        return relay

    @property
    def session(self):
        return self.upstream.session

    @property
    def held(self):
        """Everything that the relay or a lease made the gateway keep: nothing, when all is over."""
        connection = self.session.connection
        pools = self.upstream._pools._pools.values()
        return {
            "streams": 0 if connection is None else connection.streams,
            "buffered": 0 if connection is None else connection._session.buffered,
            "requests": sum(pool.active + pool.dialling + pool.queued for pool in pools),
            "idle": sum(pool.idle for pool in pools),
        }

    def lines(self):
        """The log so far."""
        self.log.flush()
        self.log_text.seek(self._read)
        self._lines += map(json.loads, self.log_text)
        self._read = self.log_text.tell()
        return self._lines

    def last_request(self, message="request_completed"):
        """The line of the request that was the last to end so."""
        return next(line for line in reversed(self.lines()) if line["message"] == message)

    # The end.

    def stop(self):
        """Stop everything; nothing may be left, in memory or to be done. Returns the log's lines.

        None of them holds a stranger's words, or a defect.
        """
        if self.app is not None:
            self.app.stop()
            self.honest_relay.stop()
        if self.relay is not None:
            self.relay.stop()
        self.reactor.settle()
        try:
            lines = super().stop()
            # Failures that nobody handled are told when they are collected.
            gc.collect()
            self.log.flush()
        finally:
            globalLogPublisher.removeObserver(self.log)
        assert self.held == NOTHING
        for line in self.log_text.getvalue().splitlines():
            assert MARK not in line
            assert "traceback" not in line
            assert "Unhandled" not in line
        return lines


def answer(world, wire):
    """What a client got, or None as long as it waits for all of it."""
    world.reactor.settle()
    if wire.lost is not None and wire.lost.check(ConnectionDone) is None:
        last = world.last_request("request_aborted")
        # What left before the cut looks unfinished.
        assert not wire.received.endswith((b"\r\n\r\nhonestbody", b"\r\n0\r\n\r\n"))
        return Answer(last["status"], last["error"], cut=True)
    if not wire.received:
        return None
    rest, status = wire.received, 100
    while status < 200 and rest:
        first, fields, rest = head_of(rest)
        status = int(first.split(b" ")[1])
    if status == 200:
        return Answer(200) if rest == b"honestbody" else None
    names = {name.lower(): value for name, value in fields}
    told = json.loads(rest)
    cause = CAUSES[told["error"]]
    assert told["status"] == status == cause.status
    assert world.last_request()["error"] == cause.code
    assert names[b"content-type"] == b"application/problem+json"
    assert names.get(b"retry-after", b"").decode() == str(cause.retry_after or "")
    assert (b"proxy-status" in names) == (cause.proxy_error is not None)
    assert MARK.encode() not in wire.received
    return Answer(status, cause.code)


def expected(text):
    """A row's right side, taken apart: the answer (None: it waits), and the seconds to it."""
    text, _, seconds = text.partition(" @")
    if text == "waits":
        return None, PATIENCE
    words = text.split()
    cut = "cut" in words
    code = next((word for word in words[1:] if word != "cut"), "")
    return Answer(int(words[0]), code, cut), float(seconds or 0)


def meet(world, right, disarm, target="/peer/newcomer/x"):
    """Ask while a fault is armed, compare with the row's right side, and ask again without it."""
    began = world.reactor.seconds()
    wire = world.ask(target)
    while (got := answer(world, wire)) is None and world.reactor.seconds() - began < PATIENCE:
        world.reactor.advance(0.5)
    assert (got, world.reactor.seconds() - began) == expected(right)
    if got is None:
        wire.transport.loseConnection()
        world.reactor.settle()
    held = world.held
    assert (held["requests"], held["idle"], held["buffered"]) == (0, 0, 0)
    disarm()
    # The longest that a gateway which was let down may stay away from a relay.
    for _ in range(int(MAX_WAIT)):
        if world.session.connected and answer(world, world.ask(target)) == Answer(200):
            break
        world.reactor.advance(1)
    else:
        raise AssertionError("the gateway does not recover")
    # As long as an honest end of a stream may take.
    world.reactor.advance(CLOSE_WAIT - 1)
    assert world.held == NOTHING
