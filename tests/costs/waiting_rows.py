"""The worst shapes for what keeps many clients, requests and connections."""

import zlib
from types import SimpleNamespace

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from portal_gateway.errors import fault
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.key_questions import KeyQuestions
from portal_gateway.frontend.open_connections import OpenConnections
from portal_gateway.frontend.tokens import Tokens
from portal_gateway.frontend.websocket_deflate import STEP, Deflation
from portal_gateway.policy.client_counts import ClientCounts
from portal_gateway.policy.fair_line import FairLine
from portal_gateway.policy.jwt_table import TokenTable
from portal_gateway.policy.quota_table import QuotaTable
from portal_gateway.relay.http_client import BodyFraming
from portal_gateway.relay.http_connection import ClosingConnections, UpstreamConnection
from portal_gateway.relay.idle_connections import SharedIdle
from portal_gateway.relay.lookups import Lookups
from portal_gateway.relay.pool import Pool, PoolLimits
from portal_gateway.relay.slices import in_slices
from portal_gateway.relay.waiting_requests import WaitingRequests
from tests.costs.measuring import Row
from tests.policy.test_jwt_table import NOW, section, token
from tests.relay.scripted_upstream import OK, Line

__all__ = ["ROWS"]

COUNTS = (300, 3_000)
"""Requests, connections and clients. With more of them at a time it is the machine's caches that
are measured: linear work on a hundred thousand objects comes to 18."""

FEW = (100, 1_000)
"""Counts for rows where each has a table of its own, so that less of them fits into the caches."""

MANY = (1_000, 10_000, 100_000)


def number(size):
    return size


# Clients, and their turns.


def count_one_up(count):
    """One client has more and more, and then less and less, beside many with one."""
    counts = ClientCounts()
    for client in range(count):
        counts.add(f"c{client}")
        counts.add("most")
    for _ in range(count):
        counts.heaviest()
        counts.remove("most")


def take_from_the_heaviest(count):
    """Those that have the most lose one each, in turn."""
    counts = ClientCounts()
    for client in range(count):
        for _ in range(2):
            counts.add(f"c{client}")
    for _ in range(2 * count):
        counts.remove(counts.heaviest())


def wait_in_line(count):
    """Clients that wait for one thing each, at a line that one of them has filled."""
    line = FairLine(count, count)
    for item in range(count):
        line.add("one", item)
    for item in range(count):
        line.add(f"c{item}", item)
    while line.take() is not None:
        pass


def leave_the_line(count):
    """All of one client leave, the last one first, and come again, held and released each time."""
    line = FairLine(count, count)
    for item in range(count):
        line.add("one", item)
    for item in reversed(range(1, count)):
        line.discard("one", item)
        line.hold("one")
        line.add("another", item)
        line.release("one")


def look_up_names(*, leave):
    """Made-up names of several askers, which leave or wait for their turn."""

    def call(count):
        receivers = []
        resolver = SimpleNamespace(
            resolveHostName=lambda receiver, *_, **__: receivers.append(receiver)
        )
        lookups = Lookups(SimpleNamespace(nameResolver=resolver), FairLine)
        for each in range(count):
            waiter = lookups.look_up(f"n{each}.example", 80, f"k{each % 7}")
            waiter.addErrback(lambda _failure: None)
            if leave:
                waiter.cancel()
        while receivers:
            receivers.pop().resolutionComplete()

    return call


def keep_idle(count):
    """Each connection is idle, beside as many as there may be, and every second one is used."""
    clock = Clock()
    shared = SharedIdle(count // 2)
    owner = SimpleNamespace(clock=clock, end_idle=lambda _connection: None)
    for number in range(count):
        connection = UpstreamConnection(owner)
        shared.add(connection, owner, clock.seconds())
        if number % 2:
            shared.forget(connection)
    clock.advance(2)


def crowd_out(count):
    """Half as many clients as places have two each, and lose one each to others."""
    line = FairLine(count, 2)
    for turn in range(2):
        for client in range(count // 2):
            line.add(f"c{client}", turn)
    for client in range(count):
        line.add(f"d{client}", client)
    while line.take() is not None:
        pass


def ask_for_keys(networks, *, leave):
    def call(count):
        asked = []

        def ask(digests):
            asked.append((digests, Deferred()))
            return asked[-1][1]

        questions = KeyQuestions(ask)
        for each in range(count):
            answer = questions.ask(b"%d" % each, f"n{each % networks(count)}", behind=each % 3 == 0)
            if leave and isinstance(answer, Deferred):
                answer.addErrback(lambda _failure: None)
                answer.cancel()
        while asked:
            digests, answers = asked.pop()
            answers.callback(dict.fromkeys(digests))

    return call


TOKEN = token("ES256", header={"kid": "a"})


class Source:
    """Fetches keys that never come."""

    def __init__(self):
        self.asked = Deferred()

    def ask(self):
        return self.asked


def wait_for_tokens(networks):
    def call(count):
        source, clock = Source(), Clock()
        tokens = Tokens(TokenTable(section("ES256"), None), source, clock)
        for each in range(count):
            tokens.look_up(TOKEN, NOW, f"10.{each % networks(count)}")
        source.asked.callback(None)
        while clock.getDelayedCalls():
            clock.advance(0)

    return call


class Connection:
    """Has a request under way or none."""

    __slots__ = ("busy", "client_host")

    def __init__(self, client_host, *, busy):
        self.client_host = client_host
        self.busy = busy

    def requests(self):
        return iter([self] if self.busy else [])


def open_connections(networks, *, busy):
    """Connections, as many searches for one to give up, and their end."""

    def call(count):
        those = OpenConnections()
        every = [Connection(f"n{each % networks(count)}", busy=busy) for each in range(count)]
        for connection in every:
            those.add(connection)
        for each in range(count // 10):
            found = those.to_give_up(f"new{each}")
            if found is not None:
                those.discard(found)
        for connection in every:
            those.discard(connection)

    return call


NETWORKS = {
    "of one network": lambda _count: 1,
    "of ten networks": lambda _count: 10,
    "of as many networks": lambda count: count,
}

SITES = {
    "of one network": lambda _count: 1,
    # Each has more, also of a quarter, than are looked at for one to give up.
    "of two networks": lambda _count: 2,
    "of as many networks": lambda count: count,
}

CLIENTS = [
    Row("policy.client_counts", "one that has ever more", number, count_one_up, COUNTS),
    Row("policy.client_counts", "from who has most", number, take_from_the_heaviest, COUNTS),
    Row("policy.fair_line", "a line that one has filled", number, wait_in_line, COUNTS),
    Row("policy.fair_line", "lines that lose their last", number, crowd_out, COUNTS),
    Row("policy.fair_line", "those who wait leave", number, leave_the_line, COUNTS),
    Row("relay.lookups", "made-up names", number, look_up_names(leave=False), COUNTS),
    Row("relay.lookups", "names that nobody waits for", number, look_up_names(leave=True), COUNTS),
    Row("relay.idle_connections", "too many of them", number, keep_idle, COUNTS),
    *(
        Row(
            "frontend.key_questions",
            f"requests {shape}{', who leave' if leave else ''}",
            number,
            ask_for_keys(networks, leave=leave),
            FEW if "as many" in shape else COUNTS,
        )
        for shape, networks in NETWORKS.items()
        for leave in (False, True)
    ),
    *(
        Row("frontend.tokens", f"requests {shape}", number, wait_for_tokens(networks), COUNTS)
        for shape, networks in NETWORKS.items()
    ),
    *(
        Row(
            "frontend.open_connections",
            f"{'busy' if busy else 'idle'} ones {shape}",
            number,
            open_connections(networks, busy=busy),
            (1_000, 10_000) if "of two" in shape else FEW if "as many" in shape else COUNTS,
        )
        for shape, networks in SITES.items()
        for busy in (False, True)
    ),
]

# Connections to leases, and who waits for one.


class Sink:
    """Whom an exchange tells; it remembers nothing."""

    def response_head(self, head):
        pass

    response_data = response_end = response_failed = response_head

    def pause_request_body(self):
        pass

    resume_request_body = pause_request_body


class Endpoint:
    """Dials that a test answers, in the order that it likes."""

    def __init__(self):
        self.dials = []

    def connect(self, factory):
        dialled = Deferred(lambda _dialled: None)
        self.dials.append((dialled, factory))
        return dialled

    def accept(self, dial):
        dialled, factory = dial
        line = Line()
        line.protocol = factory.buildProtocol(None)
        line.protocol.makeConnection(line)
        dialled.callback(line.protocol)
        return line


BUSY = fault("lease_busy", "The relay takes no more connections.")
ENOUGH = 10_000_000


def pool_of(**limits):
    endpoint, clock = Endpoint(), Clock()
    return Pool(endpoint, clock, PoolLimits(max_queue=ENOUGH, **limits)), endpoint, clock


def requests(pool, count):
    return [
        pool.request(b"GET", b"/", [(b"Host", b"h")], Sink(), body=BodyFraming.none())
        for _ in range(count)
    ]


def leave_queue(order):
    """Requests that wait, and go away in an order."""

    def call(count):
        pool, _, _ = pool_of(max_active=1)
        for exchange in order(requests(pool, count)):
            exchange.cancel()
        pool.close()

    return call


def serve_queue(count):
    """Requests that wait for one connection, one behind the other."""
    pool, endpoint, _ = pool_of(max_active=1)
    requests(pool, count)
    line = endpoint.accept(endpoint.dials.pop())
    for _ in range(count):
        line.answer(OK)
    pool.close()


def wait_too_long(count):
    pool, _, clock = pool_of(max_active=1)
    requests(pool, count)
    clock.advance(6)
    pool.close()


def refuse_dials(count):
    """A lease that refuses all dials but one as too many: their requests wait by their age."""
    pool, endpoint, _ = pool_of(max_active=ENOUGH)
    requests(pool, count)
    first, *others = endpoint.dials
    endpoint.accept(first)
    for dialled, _ in reversed(others):
        dialled.errback(BUSY)
    pool.close()


def dial_and_serve(count):
    """A connection that serves all the requests that dials are under way for."""
    pool, endpoint, _ = pool_of(max_active=ENOUGH)
    requests(pool, count)
    line = endpoint.accept(endpoint.dials.pop())
    for _ in range(count):
        line.answer(OK)
    pool.close()


def dials_in_vain(count):
    pool, endpoint, clock = pool_of(max_active=ENOUGH)
    requests(pool, count)
    for dialled, _ in endpoint.dials:
        dialled.errback(fault("lease_offline", "It is away."))
    clock.advance(0)
    pool.close()


def drop_idle(count):
    """Many connections become idle at once, and most are too many after a second."""
    pool, endpoint, clock = pool_of(max_active=ENOUGH, max_idle=10)
    requests(pool, count)
    lines = [endpoint.accept(dial) for dial in endpoint.dials]
    for line in lines:
        line.answer(OK)
    clock.advance(2)
    for line in lines:
        line.lose()
    pool.close()


class Closing:
    """A connection that is closed and then ends, or does not."""

    def close(self):
        pass

    abort = close


def close_connections(count):
    closing = ClosingConnections()
    every = [Closing() for _ in range(count)]
    for connection in every:
        closing.close(connection, 0.0, count)
    for connection in every:
        closing.forget(connection)
        _ = closing.deadline


def thirds(items):
    """In an order that is none, and the same each time."""
    return [*items[1::3], *items[::3][::-1], *items[2::3]]


ORDERS = {"the oldest first": list, "the newest first": reversed, "anyhow": thirds}


class Waiting:
    __slots__ = ("waiting_since",)

    def __init__(self, since):
        self.waiting_since = since


def order_of(order):
    return lambda size: [Waiting(float(age)) for age in order(range(size // 100))]


def wait_by_age(exchanges):
    """A third of them leave, and the others are served."""
    waiting = WaitingRequests()
    for exchange in exchanges:
        waiting.add(exchange)
    for exchange in exchanges[::3]:
        waiting.discard(exchange)
    while waiting:
        waiting.take()


def work_of_ones(count):
    for _ in range(count):
        yield 1


def slice_work(count):
    clock = Clock()
    in_slices(work_of_ones(count), clock)
    while clock.getDelayedCalls():
        clock.advance(0)


QUEUE = (100, 1_000)
"""Requests that wait with the pool's own `max_queue`; with more it is memory that is measured."""

POOLS = [
    *(
        Row("relay.pool", f"requests that leave, {shape}", number, leave_queue(order), COUNTS)
        for shape, order in ORDERS.items()
    ),
    Row("relay.pool", "dials that are refused", number, refuse_dials, QUEUE),
    *(
        Row("relay.waiting_requests", f"ages that come {shape}", order_of(order), wait_by_age)
        for shape, order in ORDERS.items()
        # Of ages that fall a heap's depth is half of the little that each costs, as it is in no
        # request: they come to 13.5 here, and to 12 at most where a dial is refused for each.
        if order is not reversed
    ),
    Row("relay.pool", "requests that are served one by one", number, serve_queue, COUNTS),
    Row("relay.pool", "requests that wait too long", number, wait_too_long, COUNTS),
    Row("relay.pool", "connections that are too many", number, drop_idle, COUNTS),
    Row("relay.dials", "requests that another dial serves", number, dial_and_serve, COUNTS),
    Row("relay.dials", "dials in vain", number, dials_in_vain, QUEUE),
    Row("relay.http_connection", "connections that end", number, close_connections, COUNTS),
    Row("relay.slices", "work in many slices", number, slice_work, MANY),
]

# What keys use.


def use_quotas(count):
    """Other keys ask while nearly as many as are kept have exchanges under way."""
    table = QuotaTable(2 * count)
    for each in range(count - 2):
        account = table.account(f"k{each}", (), 0.0)
        if account is not None:
            table.begin(Exchange("r", "192.0.2.1", 0.0), account)
    for each in range(count):
        table.account(f"other{each}", (), 0.0)


QUOTAS = [Row("policy.quota_table", "keys while others are all in use", number, use_quotas, COUNTS)]

# Compressed messages.


def deflation():
    agreed = SimpleNamespace(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        server_max_window_bits=15,
        client_max_window_bits=15,
    )
    return Deflation(agreed, is_server=True)


def inflate(payload):
    """One message in one frame, as a WebSocket end gives it in."""
    codec = deflation()
    codec.start_decompress_message()
    for start in range(0, len(payload), STEP):
        codec.feed(payload[start : start + STEP], last=start + STEP >= len(payload))
        while codec.more:
            codec.piece()
    codec.end_decompress_message()


def inflate_messages(payloads):
    codec = deflation()
    for payload in payloads:
        codec.start_decompress_message()
        codec.feed(payload, last=True)
        while codec.more:
            codec.piece()
        codec.end_decompress_message()


def deflate(pieces):
    codec = deflation()
    for piece in pieces:
        codec.compress(piece, last=False)
    codec.compress(b"", last=True)


def bomb(size):
    """Zeros: a thousand times what they are compressed."""
    packer = zlib.compressobj(9, wbits=-15)
    data = packer.compress(bytes(size * 1000))
    return data + packer.flush(zlib.Z_SYNC_FLUSH)


def final_bombs(size):
    """Streams behind one another that each end and hold 16 KB of zeros."""
    packer = zlib.compressobj(9, wbits=-15)
    one = packer.compress(bytes(16_384)) + packer.flush(zlib.Z_FINISH)
    return one * (size // len(one))


def blocks(unit, last=b"\x00\x00\x00\xff\xff"):
    """Blocks of deflate, as often as the size has room for."""
    return lambda size: unit * (size // len(unit)) + last


DEFLATED = {
    "zeros": (bomb, (100, 1_000, 10_000)),
    "streams that end": (final_bombs, (1_000, 10_000, 100_000)),
    "empty streams that end": (blocks(b"\x03\x00"), (1_000, 10_000, 100_000)),
    "empty stored blocks": (blocks(b"\x00\x00\x00\xff\xff"), (1_000, 10_000, 100_000)),
    "stored blocks of one byte": (blocks(b"\x00\x01\x00\xfe\xffa"), (1_000, 10_000, 100_000)),
    # Two of 10 bits with six of stored bits between would be the same again.
    "empty blocks of fixed codes": (blocks(b"\x02\x08\x20\x80\x00"), (1_000, 10_000, 100_000)),
}

DEFLATE = [
    *(
        Row("frontend.websocket_deflate", shape, make, inflate, sizes)
        for shape, (make, sizes) in DEFLATED.items()
    ),
    Row(
        "frontend.websocket_deflate",
        "empty messages",
        lambda size: [b"\x00"] * size,
        inflate_messages,
    ),
    Row(
        "frontend.websocket_deflate",
        "frames of one byte to be compressed",
        lambda size: [b"a"] * (size // 10),
        deflate,
    ),
]

ROWS = [*CLIENTS, *POOLS, *QUOTAS, *DEFLATE]
