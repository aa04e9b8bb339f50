"""Whatever leases, clients and time do: each request ends once, and none is mixed with another."""

import re

import h11
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.error import ConnectionRefusedError as Refused

from portal_gateway.errors import fault
from portal_gateway.relay.http_client import IDEMPOTENT_METHODS, BodyFraming
from portal_gateway.relay.pool import SURPLUS_TIME
from tests.relay.scripted_upstream import Bench, RecordingSink

LIMITS = {
    "max_idle": 2,
    "max_active": 3,
    "idle_timeout": 20,
    "max_queue": 2,
    "wait_limit": 5,
    "connect_timeout": 10,
}
REQUEST_HEAD = re.compile(rb"([A-Z]+) /(\d+) HTTP/1\.1\r\nHost: lease\r\n")

LAWFUL = {
    "length": lambda body: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
    "chunked": lambda body: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        + b"0\r\n\r\n"
    ),
    "close": lambda body: (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    ),
    "end of connection": lambda body: b"HTTP/1.1 200 OK\r\n\r\n" + body,
    "hint first": lambda body: b"HTTP/1.1 103 Early\r\n\r\n" + LAWFUL["length"](body),
    "early refusal": lambda body: LAWFUL["length"](body).replace(b"200 OK", b"413 Too Large"),
}
UNLAWFUL = {
    "garbage": lambda body: b"garbage " + body,
    "length twice": lambda body: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"
    ),
    "extra": lambda body: LAWFUL["length"](body) + LAWFUL["length"](b"poison"),
    "switch": lambda body: b"HTTP/1.1 101 S\r\n\r\n",
    "bad chunk": lambda body: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
}


class Item:
    """One request and what is known of it."""

    def __init__(self, number, method, kind):
        self.number = number
        self.method = method
        self.kind = kind
        self.sent = b""
        self.room = 300 if kind == "length" else 1_000_000 if kind == "chunked" else 0
        self.ended = kind == "none"
        self.cancelled = False


class PoolMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.bench = Bench(**LIMITS)
        self.items = []
        self.pending = {}
        """What each line's lease is in the middle of saying."""

    # What clients do.

    @rule(
        method=st.sampled_from([b"GET", b"HEAD", b"PUT", b"POST"]),
        kind=st.sampled_from(["none", "length", "chunked"]),
    )
    def request(self, method, kind):
        item = Item(len(self.items), method, kind)
        framing = {
            "none": BodyFraming.none(),
            "length": BodyFraming.length(item.room),
            "chunked": BodyFraming.chunked(),
        }[kind]
        self.items.append(item)
        item.sink = RecordingSink()
        item.exchange = self.bench.pool.request(
            method, b"/%d" % item.number, [(b"Host", b"lease")], item.sink, body=framing
        )
        assert not item.sink.endings

    def open_items(self):
        return [item for item in self.items if not item.ended and not item.cancelled]

    @precondition(open_items)
    @rule(which=st.integers(0, 50), size=st.sampled_from([1, 100, 20_000, 70_000]))
    def write(self, which, size):
        items = self.open_items()
        item = items[which % len(items)]
        piece = b"%c" % (97 + item.number % 26) * min(size, item.room)
        item.room -= len(piece)
        item.sent += piece
        item.exchange.write(piece)

    @precondition(open_items)
    @rule(which=st.integers(0, 50))
    def end(self, which):
        items = self.open_items()
        item = items[which % len(items)]
        if item.kind == "length":
            piece = b"%c" % (97 + item.number % 26) * item.room
            item.room = 0
            item.sent += piece
            item.exchange.write(piece)
        item.exchange.end()
        item.ended = True

    def live_items(self):
        return [item for item in self.items if not item.sink.endings and not item.cancelled]

    @precondition(live_items)
    @rule(which=st.integers(0, 50), what=st.sampled_from(["cancel", "pause", "resume"]))
    def use(self, which, what):
        items = self.live_items()
        item = items[which % len(items)]
        getattr(item.exchange, what)()
        if what == "cancel":
            item.cancelled = item.sink.silent = True

    # What the lease does.

    @precondition(lambda self: self.bench.endpoint.dials)
    @rule(which=st.integers(0, 9), limit=st.sampled_from([None, 1000]))
    def accept(self, which, limit):
        self.bench.endpoint.limit = limit
        self.bench.endpoint.accept(which % len(self.bench.endpoint.dials))

    @precondition(lambda self: self.bench.endpoint.dials)
    @rule(which=st.integers(0, 9), why=st.sampled_from(["busy", "offline", "refused"]))
    def refuse(self, which, why):
        error = {
            "busy": fault("lease_busy", "Too many."),
            "offline": fault("lease_offline", "Away."),
            "refused": Refused(),
        }[why]
        self.bench.endpoint.refuse(error, which % len(self.bench.endpoint.dials))

    def live_lines(self):
        return [line for line in self.bench.endpoint.lines if not line.gone and line.reading]

    @precondition(live_lines)
    @rule(
        which=st.integers(0, 9),
        kind=st.sampled_from([*LAWFUL, *LAWFUL, *LAWFUL, *UNLAWFUL]),
        amount=st.sampled_from([1, 10, 40, 1000, 1000, 1000]),
    )
    def answer(self, which, kind, amount):
        lines = self.live_lines()
        line = lines[which % len(lines)]
        pending, kind = self.pending.pop(line, (b"", kind))
        if not pending:
            heads = REQUEST_HEAD.findall(line.received)
            method, number = heads[-1] if heads else (b"GET", b"none")
            pending = {**LAWFUL, **UNLAWFUL}[kind](b"for " + number)
            if method == b"HEAD" and kind in LAWFUL:
                kind = "length" if kind == "end of connection" else kind
                pending = pending.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        line.answer(pending[:amount])
        if pending[amount:]:
            self.pending[line] = pending[amount:], kind
        elif kind in UNLAWFUL:
            assert line.dropped
        elif kind == "end of connection":
            line.lose()

    @precondition(live_lines)
    @rule(which=st.integers(0, 9), reason=st.sampled_from([ConnectionDone, ConnectionLost]))
    def lose(self, which, reason):
        lines = self.live_lines()
        lines[which % len(lines)].lose(reason())

    @precondition(live_lines)
    @rule(which=st.integers(0, 9))
    def take_all(self, which):
        lines = self.live_lines()
        lines[which % len(lines)].take_all()

    # What the reactor does.

    @rule(seconds=st.sampled_from([0, 0, 0, 0.6, 3, 11, 30]))
    def advance(self, seconds):
        self.bench.clock.advance(seconds)

    @rule()
    def report_losses(self):
        self.bench.endpoint.report_losses()

    # What always holds.

    @invariant()
    def bounds(self):
        pool = self.bench.pool
        kept_until = pool.clock.seconds() + LIMITS["idle_timeout"] - SURPLUS_TIME - 0.01
        assert (
            sum(deadline < kept_until for deadline in pool._idle._due.values())
            <= LIMITS["max_idle"]
        )
        assert pool.idle + pool.active + pool.dialling <= LIMITS["max_active"]
        # Those that a busy lease refused come back to the queue on top of its bound.
        assert pool.queued <= LIMITS["max_queue"] + LIMITS["max_active"]
        carried = [line for line in self.bench.endpoint.lines if line.protocol.exchange is not None]
        assert pool.active == len(carried)

    @invariant()
    def nothing_waits_without_a_limit(self):
        pool = self.bench.pool
        if pool.dialling or pool.queued or pool.idle:
            assert self.bench.clock.getDelayedCalls()

    @invariant()
    def requests_are_sent_as_often_as_allowed(self):
        seen = [
            (method, int(number))
            for line in self.bench.endpoint.lines
            for method, number in REQUEST_HEAD.findall(line.received)
        ]
        for item in self.items:
            times = seen.count((item.method, item.number))
            assert times == item.exchange.attempts
            assert times <= (2 if item.method in IDEMPOTENT_METHODS else 1)

    @invariant()
    def responses_belong_to_their_requests(self):
        for item in self.items:
            if item.sink.complete:
                expected = b"" if item.method == b"HEAD" else b"for %d" % item.number
                assert item.sink.body == expected

    def teardown(self):
        bench = self.bench
        for _ in range(10):
            while bench.endpoint.dials:
                bench.endpoint.refuse(Refused())
            for line in list(bench.endpoint.lines):
                line.lose()
            bench.clock.advance(0)
        bench.clock.advance(60)
        for item in self.items:
            assert item.sink.endings == 1 or item.cancelled
        assert bench.pool.unused
        bench.check_clean()
        for line in bench.endpoint.lines:
            if line.writes:
                self.check_requests(line.received)

    def check_requests(self, received):
        """Another strict parser reads the same requests from the wire."""
        server = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
        server.receive_data(received)
        number, body = -1, b""
        while (event := server.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                number, body = int(event.target[1:]), b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                assert isinstance(event, h11.EndOfMessage)
                assert body == self.items[number].sent
                server.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                server.send(h11.EndOfMessage())
                server.start_next_cycle()


def test_the_pool_keeps_its_promises():
    run_state_machine_as_test(
        PoolMachine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
