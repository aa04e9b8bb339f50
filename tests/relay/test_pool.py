"""The pool: who gets which connection, who waits, who is refused, and what is left afterwards."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
)
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as TimedOut
from twisted.internet.task import Clock

from portal_gateway.errors import fault
from portal_gateway.relay.http_client import BodyFraming
from portal_gateway.relay.http_connection import CLOSING_TIME, MAX_CLOSING
from portal_gateway.relay.pool import BUSY_PAUSE, SURPLUS_TIME, Pool, PoolLimits
from tests.relay.scripted_upstream import OK, Bench, Line, RecordingSink

CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
BUSY = fault("lease_busy", "The relay takes no more connections.")
CHUNKED = BodyFraming.chunked()


@pytest.fixture
def make_bench():
    benches = []

    def make(**limits):
        benches.append(Bench(**limits))
        return benches[-1]

    yield make
    for bench in benches:
        bench.check_clean()


def figures(pool):
    return pool.idle, pool.active, pool.dialling, pool.queued


# Idle connections.


def test_the_connection_used_last_is_used_first(make_bench):
    bench = make_bench()
    lines = [bench.connected()[2] for _ in range(3)]
    for line in (lines[1], lines[0], lines[2]):
        line.answer()
        line.clear()
    for expected in (lines[2], lines[0], lines[1]):
        bench.request()
        assert expected.writes
    assert figures(bench.pool) == (0, 3, 0, 0)
    assert bench.pool.reuses_total == 3
    assert bench.pool.dials_total == 3


def test_figures(make_bench):
    bench = make_bench(max_active=2)
    pool = bench.pool
    assert pool.unused
    for _ in range(3):
        bench.request()
    assert figures(pool) == (0, 0, 2, 1)
    assert not pool.unused
    first, second = bench.endpoint.accept(), bench.endpoint.accept()
    assert figures(pool) == (0, 2, 0, 1)
    first.answer()
    assert figures(pool) == (0, 2, 0, 0)
    first.answer()
    second.answer()
    assert figures(pool) == (2, 0, 0, 0)
    bench.request()
    second.lose()
    assert (pool.dials_total, pool.reuses_total, pool.retries_total) == (3, 2, 1)


def test_no_more_than_max_idle_are_kept(make_bench):
    bench = make_bench(max_idle=1)
    lines = [bench.connected()[2] for _ in range(2)]
    lines[0].answer()
    bench.clock.advance(SURPLUS_TIME / 2)
    lines[1].answer()
    assert bench.pool.idle == 2
    bench.clock.advance(SURPLUS_TIME / 2)
    assert bench.pool.idle == 1
    assert (lines[0].losing, lines[1].losing) == (True, False)


def test_connections_beyond_max_idle_are_used_again_within_their_time(make_bench):
    bench = make_bench(max_idle=1)
    lines = [bench.connected()[2] for _ in range(3)]
    for _ in range(5):
        for line in lines:
            line.answer()
        bench.clock.advance(SURPLUS_TIME / 2)
        for _ in lines:
            bench.request()
    for line in lines:
        line.answer()
    assert bench.pool.dials_total == 3
    bench.clock.advance(2 * SURPLUS_TIME)
    assert bench.pool.idle == 1
    assert len(bench.clock.getDelayedCalls()) == 1


def test_with_max_idle_0_none_is_kept(make_bench):
    bench = make_bench(max_idle=0)
    _, sink, line = bench.connected()
    line.answer()
    assert sink.complete
    assert line.losing
    line.lose()


def test_other_limits_hold_at_once(make_bench):
    bench = make_bench(max_active=1, idle_timeout=60)
    _, sink, line = bench.connected()
    bench.request()
    assert figures(bench.pool) == (0, 1, 0, 1)
    bench.pool.use(PoolLimits(max_active=3, max_idle=1, idle_timeout=10))
    # There is room for who waited.
    assert figures(bench.pool) == (0, 1, 1, 0)
    second = bench.endpoint.accept()
    line.answer()
    second.answer()
    bench.clock.advance(SURPLUS_TIME)
    assert bench.pool.idle == 1
    bench.clock.advance(10 - SURPLUS_TIME)
    assert bench.pool.idle == 0
    assert sink.complete


def test_what_is_idle_already_has_the_other_time(make_bench):
    bench = make_bench(idle_timeout=60)
    lines = [bench.connected()[2] for _ in range(2)]
    for line in lines:
        line.answer()
        bench.clock.advance(1)
    bench.pool.use(PoolLimits(idle_timeout=5))
    bench.clock.advance(3)
    assert [line.losing for line in lines] == [True, False]
    bench.pool.use(PoolLimits(idle_timeout=50))
    bench.clock.advance(40)
    assert not lines[1].losing


def test_a_retired_pool_serves_and_keeps_nothing(make_bench):
    bench = make_bench()
    lines = [bench.connected()[2] for _ in range(2)]
    lines[0].answer()
    bench.pool.retire()
    assert [line.losing for line in lines] == [True, False]
    lines[1].answer()
    assert lines[1].losing
    _, sink, line = bench.connected()
    line.answer()
    assert sink.complete
    assert line.losing
    assert bench.pool.unused


def test_idle_connections_are_closed_in_time(make_bench):
    bench = make_bench(idle_timeout=60)
    first, second = (bench.connected()[2] for _ in range(2))
    first.answer()
    bench.clock.advance(30)
    second.answer()
    bench.clock.advance(29)
    assert not first.losing
    assert len(bench.clock.getDelayedCalls()) == 1
    bench.clock.advance(1)
    assert first.losing
    assert not second.losing
    first.lose()
    bench.clock.advance(30)
    assert second.losing
    second.lose()
    bench.clock.advance(CLOSING_TIME)
    assert bench.pool.unused
    assert not bench.clock.getDelayedCalls()


def test_the_tick_is_not_moved_for_each_request(make_bench):
    bench = make_bench(idle_timeout=60)
    line = bench.idle_line()
    bench.clock.advance(10)
    (tick,) = bench.clock.getDelayedCalls()
    for _ in range(5):
        bench.request()
        line.answer()
        bench.clock.advance(1)
        assert bench.clock.getDelayedCalls() == [tick]
    bench.clock.advance(58)
    assert not line.dropped
    assert bench.pool.idle == 1
    bench.clock.advance(1)
    assert line.losing


def test_a_connection_in_use_is_not_idle(make_bench):
    bench = make_bench(idle_timeout=60)
    line = bench.idle_line()
    _, sink = bench.request()
    bench.clock.advance(1000)
    assert not line.dropped
    line.answer()
    assert sink.complete


def test_an_idle_connection_that_ends_or_speaks_is_dropped(make_bench):
    bench = make_bench()
    for speak in (False, True):
        line = bench.idle_line()
        if speak:
            line.answer(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            assert line.aborted
            line.answer(b"more")
        else:
            line.lose()
        assert bench.pool.idle == 0
        bench.request()
        assert bench.pool.dialling == 1
        bench.endpoint.accept().lose()


# Closing.


def test_a_polite_close_has_its_time(make_bench):
    bench = make_bench()
    _, sink, line = bench.connected()
    line.answer(CLOSE)
    assert sink.complete
    assert line.losing
    bench.clock.advance(CLOSING_TIME - 0.1)
    assert not line.aborted
    line.answer(b"whatever it still says")
    bench.clock.advance(0.1)
    assert line.aborted
    bench.clock.advance(1000)
    assert not bench.clock.getDelayedCalls()


def test_few_connections_are_closed_politely_at_a_time(make_bench):
    bench = make_bench()
    lines = [bench.connected()[2] for _ in range(MAX_CLOSING + 1)]
    for line in lines:
        line.answer(CLOSE)
    assert all(line.losing for line in lines[:-1])
    assert lines[-1].aborted
    lines[0].lose()
    _, _, line = bench.connected()
    line.answer(CLOSE)
    assert line.losing


# Waiting for a place.


def test_requests_wait_their_turn(make_bench):
    bench = make_bench(max_active=1)
    exchanges = [bench.request() for _ in range(4)]
    line = bench.endpoint.accept()
    for number, (exchange, sink) in enumerate(exchanges):
        assert exchange.attempts == 1
        assert [other.attempts for other, _ in exchanges[number + 1 :]] == [0] * (3 - number)
        line.answer()
        assert sink.complete
        assert exchange.reused == (number > 0)
    assert bench.pool.dials_total == 1


def test_a_connection_that_ends_makes_room(make_bench):
    bench = make_bench(max_active=1)
    first, second = bench.request(), bench.request()
    line = bench.endpoint.accept()
    assert not bench.endpoint.dials
    line.lose()
    assert first[1].code == "upstream_closed"
    bench.endpoint.accept().answer()
    assert second[1].complete


@pytest.mark.parametrize("end", ["cancel", "close", "garbage"])
def test_a_connection_that_is_given_up_makes_room(make_bench, end):
    bench = make_bench(max_active=1)
    (exchange, _), (_, waiting) = bench.request(), bench.request()
    line = bench.endpoint.accept()
    if end == "cancel":
        exchange.cancel()
    else:
        line.answer(CLOSE if end == "close" else b"garbage")
    bench.endpoint.accept().answer()
    assert waiting.complete


def test_the_queue_is_bounded(make_bench):
    bench = make_bench(max_active=1, max_queue=2)
    kept = [bench.request() for _ in range(3)]
    exchange, sink = bench.request(b"POST", CHUNKED)
    assert not sink.endings  # not before its user knows of it
    bench.turn()
    assert sink.code == "lease_busy"
    assert exchange.attempts == 0
    assert not any(sink.endings for _, sink in kept)
    line = bench.endpoint.accept()
    line.answer()
    _, sink = bench.request()
    bench.turn()
    assert not sink.endings


def test_without_a_queue(make_bench):
    bench = make_bench(max_active=1, max_queue=0)
    bench.request()
    _, sink = bench.request()
    bench.turn()
    assert sink.code == "lease_busy"


def test_a_refused_request_may_be_cancelled_before_it_hears_of_it(make_bench):
    bench = make_bench(max_active=1, max_queue=0)
    bench.request()
    exchange, sink = bench.request()
    exchange.cancel()
    bench.turn()
    assert not sink.told


def test_waiting_has_a_limit(make_bench):
    bench = make_bench(max_active=1, wait_limit=3)
    _, _, line = bench.connected()
    _, early = bench.request()
    bench.clock.advance(1)
    _, late = bench.request()
    bench.clock.advance(1.9)
    assert not early.endings
    bench.clock.advance(0.1)
    assert early.code == "lease_busy"
    assert not late.endings
    line.answer()
    line.answer()
    assert late.complete
    bench.clock.advance(100)


def test_cancelling_in_the_queue(make_bench):
    bench = make_bench(max_active=1)
    bench.request()
    (exchange, sink), (_, behind) = bench.request(), bench.request()
    exchange.cancel()
    sink.silent = True
    assert bench.pool.queued == 1
    line = bench.endpoint.accept()
    line.answer()
    line.answer()
    assert behind.complete
    bench.clock.advance(100)


@settings(max_examples=40)
@given(
    st.integers(1, 3),
    st.integers(1, 8),
    st.lists(st.integers(0, 9), max_size=12),
)
def test_the_queue_is_fair(max_active, requests, ends):
    """Whatever ends when: requests are begun in the order in which they came."""
    bench = Bench(max_active=max_active)
    order = []
    exchanges = [bench.request() for _ in range(requests)]

    def look():
        for number, (exchange, _) in enumerate(exchanges):
            if exchange.attempts and number not in order:
                order.append(number)

    for end in ends:
        while bench.endpoint.dials:
            bench.endpoint.accept()
            look()
        lines = [line for line in bench.endpoint.lines if line.protocol.exchange is not None]
        if lines:
            line = lines[end % len(lines)]
            if end < 7:
                line.answer()
            else:
                line.lose()
        look()
    assert order == sorted(order)
    bench.check_clean()


# Dials and the requests that wait for them.


def test_a_released_connection_serves_who_waits_for_a_dial(make_bench):
    bench = make_bench()
    _, _, line = bench.connected()
    exchange, sink = bench.request()
    line.answer()
    line.answer()
    assert sink.complete
    assert exchange.reused
    # The dial goes on; what it brings serves the next, or stays idle.
    assert bench.pool.dialling == 1
    bench.endpoint.accept()
    assert bench.pool.idle == 2


def test_who_came_first_gets_the_released_connection(make_bench):
    bench = make_bench(max_active=3)
    _, _, line = bench.connected()
    waiting = []
    for _ in range(3):
        waiting.append(bench.request())
        bench.clock.advance(0.1)
    assert figures(bench.pool) == (0, 1, 2, 1)
    for exchange, _ in waiting:
        assert not exchange.attempts
        line.answer()
        assert exchange.attempts == 1
    line.answer()
    assert all(sink.complete for _, sink in waiting)
    assert bench.pool.dialling == 2


def test_a_dial_whose_request_was_cancelled_serves_the_next(make_bench):
    bench = make_bench(max_active=1)
    (exchange, _), (_, sink) = bench.request(), bench.request()
    exchange.cancel()
    line = bench.endpoint.accept()
    line.answer()
    assert sink.complete
    assert bench.pool.dials_total == 1


def test_a_dial_whose_request_was_cancelled_may_fail_unheard(make_bench):
    bench = make_bench(max_active=1)
    (exchange, _), (_, sink) = bench.request(), bench.request()
    exchange.cancel()
    bench.endpoint.refuse(fault("lease_offline", "It is away."))
    assert not sink.endings  # it needs a dial of its own
    bench.endpoint.accept().answer()
    assert sink.complete


def test_dials_are_each_for_their_own_request(make_bench):
    bench = make_bench()
    sinks = [bench.request()[1] for _ in range(3)]
    error = fault("identity_mismatch", "It is somebody else.")
    bench.endpoint.refuse(error, 1)
    assert [sink.error for sink in sinks] == [None, error, None]
    bench.endpoint.accept(1).answer()
    assert [bool(sink.endings) for sink in sinks] == [False, True, True]


FAILURES = {
    "our own": (fault("relay_unavailable", "No session."), "relay_unavailable"),
    "refused": (Refused(), "lease_offline"),
    "no route": (NoRouteError(), "lease_offline"),
    "name unknown": (DNSLookupError(), "lease_offline"),
    "another": (ConnectError(), "lease_offline"),
    "timed out in the kernel": (TCPTimedOutError(), "lease_offline"),
    "timed out in the endpoint": (TimedOut(), "upstream_timeout"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_dials_that_fail(make_bench, name):
    error, code = FAILURES[name]
    bench = make_bench()
    exchange, sink = bench.request(b"POST", CHUNKED)
    bench.endpoint.refuse(error)
    assert sink.code == code
    assert exchange.attempts == 0
    assert bench.pool.unused


@pytest.mark.parametrize("result", [None, LookupError()])
def test_a_defective_endpoint_is_logged_and_answered(tracebacks, result):
    class Defective:
        def connect(self, factory):
            if result is None:
                return succeed(None)
            raise result

    clock, sink = Clock(), RecordingSink()
    pool = Pool(Defective(), clock, PoolLimits())
    pool.request(
        b"GET", b"/", [(b"X-Request-ID", b"req_1"), (b"A", b"b")], sink, body=BodyFraming.none()
    )
    clock.advance(0)
    assert [event["request_id"] for event in tracebacks] == ["req_1"]
    tracebacks.clear()
    assert sink.code == "internal_error"
    assert pool.unused
    pool.close()
    assert not clock.getDelayedCalls()


def test_nothing_is_told_before_request_returns():
    class Refusing:
        def connect(self, factory):
            return fail(fault("relay_unavailable", "No session."))

    clock, sink = Clock(), RecordingSink()
    pool = Pool(Refusing(), clock, PoolLimits())
    exchange = pool.request(b"POST", b"/", (), sink, body=CHUNKED)
    assert sink.told == [("pause",)]
    exchange.write(b"abc")
    clock.advance(0)
    assert sink.code == "relay_unavailable"
    pool.close()
    assert not clock.getDelayedCalls()


def test_many_dials_that_fail_at_once_do_not_nest():
    class Refusing:
        first = True

        def connect(self, factory):
            if self.first:
                self.first = False
                self.dialled = Deferred()
                return self.dialled
            return fail(fault("relay_unavailable", "No session."))

    clock, endpoint = Clock(), Refusing()
    pool = Pool(endpoint, clock, PoolLimits(max_active=1, max_queue=3000))
    sinks = [RecordingSink() for _ in range(3000)]
    for sink in sinks:
        pool.request(b"GET", b"/", (), sink, body=BodyFraming.none())
    endpoint.dialled.errback(fault("relay_unavailable", "No session."))
    assert all(sink.code == "relay_unavailable" for sink in sinks)
    assert pool.unused
    pool.close()


def test_an_endpoint_that_connects_at_once():
    class Instant:
        def connect(self, factory):
            self.line = Line()
            self.line.protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 80))
            self.line.protocol.makeConnection(self.line)
            return succeed(self.line.protocol)

    clock, endpoint, sink = Clock(), Instant(), RecordingSink()
    pool = Pool(endpoint, clock, PoolLimits())
    exchange = pool.request(b"POST", b"/", (), sink, body=BodyFraming.length(2))
    exchange.write(b"ab")
    assert len(endpoint.line.writes) == 1
    endpoint.line.answer()
    assert sink.complete
    pool.close()
    assert not clock.getDelayedCalls()


def test_connecting_has_a_limit(make_bench):
    bench = make_bench(connect_timeout=10)
    _, early = bench.request()
    bench.clock.advance(4)
    _, late = bench.request(b"POST", CHUNKED)
    bench.clock.advance(5.9)
    assert not early.endings
    bench.clock.advance(0.1)
    assert early.code == "upstream_timeout"
    assert not late.endings
    assert bench.endpoint.cancelled == 1
    bench.clock.advance(4)
    assert late.code == "upstream_timeout"
    assert not bench.clock.getDelayedCalls()


def test_a_hostile_lease_holds_nothing_once_the_client_went_away(make_bench):
    bench = make_bench(max_active=1)
    exchange, _ = bench.request()
    exchange.cancel()
    assert bench.pool.dialling == 1
    bench.clock.advance(10)
    assert bench.pool.unused
    exchange, _, line = bench.connected()
    bench.clock.advance(3600)
    exchange.cancel()
    assert line.aborted
    assert bench.pool.unused


def test_a_connection_that_ends_before_its_dial_is_told(make_bench):
    bench = make_bench()
    for speak in (False, True):
        _, sink = bench.request()
        dialled, factory = bench.endpoint.dials.pop()
        line = Line()
        line.protocol = factory.buildProtocol(None)
        line.protocol.makeConnection(line)
        if speak:
            line.answer(b"220 welcome\r\n")
            assert line.aborted
        else:
            line.lose()
        dialled.callback(line.protocol)
        assert sink.code == "upstream_closed"
        assert bench.pool.unused


# A lease that takes no more connections.


def test_busy_with_no_connection_is_an_error(make_bench):
    bench = make_bench()
    _, sink = bench.request()
    bench.endpoint.refuse(BUSY)
    assert sink.error is BUSY


def test_busy_with_connections_means_waiting_for_one(make_bench):
    bench = make_bench()
    _, _, line = bench.connected()
    _, refused = bench.request()
    bench.endpoint.refuse(BUSY)
    assert not refused.endings
    assert figures(bench.pool) == (0, 1, 0, 1)
    # Nobody dials meanwhile: it would be refused as well.
    _, later = bench.request()
    assert figures(bench.pool) == (0, 1, 0, 2)
    line.answer()
    line.answer()
    assert refused.complete
    line.answer()
    assert later.complete


def test_after_a_while_the_busy_lease_is_asked_again(make_bench):
    bench = make_bench()
    bench.connected()
    _, sink = bench.request()
    bench.endpoint.refuse(BUSY)
    bench.clock.advance(BUSY_PAUSE)
    assert bench.pool.dialling == 1
    bench.endpoint.refuse(BUSY)
    assert bench.pool.dialling == 0
    bench.clock.advance(BUSY_PAUSE)
    bench.endpoint.accept().answer()
    assert sink.complete
    # It takes connections again, so dials go on at once.
    for _ in range(2):
        bench.request()
    assert bench.pool.dialling == 1


def test_a_busy_lease_is_asked_again_when_a_connection_ends(make_bench):
    bench = make_bench()
    _, _, line = bench.connected()
    _, sink = bench.request()
    bench.endpoint.refuse(BUSY)
    line.lose()
    assert bench.pool.dialling == 1
    bench.endpoint.refuse(BUSY)
    assert sink.error is BUSY  # now there is none to wait for


def test_waiting_for_a_busy_lease_has_its_limit(make_bench):
    bench = make_bench(wait_limit=0.5)
    bench.connected()
    _, sink = bench.request()
    bench.clock.advance(0.3)
    bench.endpoint.refuse(BUSY)
    bench.clock.advance(0.1)
    assert not sink.endings
    bench.clock.advance(0.1)
    assert sink.code == "lease_busy"


def test_who_was_refused_keeps_the_place_of_its_age(make_bench):
    bench = make_bench(max_active=4)
    _, _, line = bench.connected()
    waiting = []
    for _ in range(6):
        waiting.append(bench.request())
        bench.clock.advance(0.1)
    for index in (1, 1, 0):
        bench.endpoint.refuse(BUSY, index)
    assert figures(bench.pool) == (0, 1, 0, 6)
    for exchange, _ in waiting:
        assert not exchange.attempts
        line.answer()
        assert exchange.attempts == 1


def test_who_was_refused_goes_before_younger_ones_that_still_dial(make_bench):
    bench = make_bench()
    _, _, line = bench.connected()
    older, _ = bench.request()
    bench.clock.advance(0.1)
    younger, _ = bench.request()
    bench.endpoint.refuse(BUSY)
    line.answer()
    assert (older.attempts, younger.attempts) == (1, 0)


def test_a_dial_that_succeeds_ends_the_pause(make_bench):
    bench = make_bench()
    bench.connected()
    _, refused = bench.request()
    bench.request()
    bench.endpoint.refuse(BUSY)
    assert figures(bench.pool) == (0, 1, 1, 1)
    bench.endpoint.accept()
    assert figures(bench.pool) == (0, 2, 1, 0)
    bench.endpoint.accept().answer()
    assert refused.complete


def test_the_pause_ends_in_time_whatever_else_happens_meanwhile(make_bench):
    bench = make_bench(max_active=2, wait_limit=2)
    bench.connected()
    bench.request()
    _, queued = bench.request()
    bench.clock.advance(1.5)
    bench.endpoint.accept()
    _, refused = bench.request()  # queued as well
    bench.endpoint.lines[1].lose()  # makes room, and the dial for the first of the two is refused
    bench.endpoint.refuse(BUSY)
    assert bench.pool.queued == 2
    bench.clock.advance(0.5)
    assert queued.code == "lease_busy"
    bench.clock.advance(0.5)
    bench.endpoint.accept().answer()
    assert refused.complete


def test_a_repeat_goes_before_those_in_the_queue(make_bench):
    bench = make_bench(max_active=1)
    stale = bench.idle_line()
    (first, _), (second, _) = bench.request(), bench.request()
    stale.lose()
    bench.endpoint.accept()
    assert (first.attempts, second.attempts) == (2, 0)


def test_a_repeat_refused_as_busy_takes_what_becomes_free(make_bench):
    bench = make_bench()
    _, _, other = bench.connected()
    stale = bench.connected()[2]
    stale.answer()
    exchange, sink = bench.request()
    stale.lose()
    bench.endpoint.refuse(BUSY)
    assert not sink.endings
    other.answer()
    assert exchange.reused
    assert exchange.attempts == 2
    other.lose()  # but it is not sent a third time
    assert sink.code == "upstream_closed"
    assert bench.pool.dialling == 0


# The end.


def ending_bench(make_bench):
    bench = make_bench(max_active=3)
    idle, used = bench.connected()[2], bench.connected()
    idle.answer()
    stale = bench.request()
    idle.lose()  # its request is repeated: a dial
    dialling, queued = bench.request(), bench.request()
    return bench, used, stale, dialling, queued


def test_close_ends_everything(make_bench):
    bench, used, stale, dialling, queued = ending_bench(make_bench)
    assert figures(bench.pool) == (0, 1, 2, 1)
    error = fault("relay_unavailable", "It is over.")
    bench.pool.close(error)
    for _, sink, *_ in (used, stale, dialling, queued):
        assert sink.error is error
    assert used[2].aborted
    assert bench.endpoint.cancelled == 2
    assert bench.pool.unused
    assert not bench.clock.getDelayedCalls()
    _, sink = bench.request()
    bench.turn()
    assert sink.error is error
    assert not bench.clock.getDelayedCalls()


def test_close_tells_those_that_were_refused_already(make_bench):
    bench = make_bench(max_active=1, max_queue=0)
    bench.request()
    _, sink = bench.request()
    bench.pool.close()
    assert sink.code == "lease_busy"


def test_asking_again_while_the_pool_closes(make_bench):
    bench = make_bench()
    again = []
    bench.request(sink=RecordingSink({"failed": lambda: again.append(bench.request())}))
    bench.pool.close()
    bench.turn()
    assert again[0][1].code == "upstream_closed"
    assert not bench.clock.getDelayedCalls()


def test_asking_again_when_refused_while_the_pool_closes(make_bench):
    bench = make_bench(max_active=1, max_queue=0)
    bench.request()
    again = []
    bench.request(sink=RecordingSink({"failed": lambda: again.append(bench.request())}))
    bench.pool.close()
    bench.turn()
    assert again[0][1].code == "upstream_closed"
    assert not bench.clock.getDelayedCalls()


def test_a_drained_pool_still_answers_those_it_refuses(make_bench):
    bench = make_bench()
    error = fault("lease_offline", "The gateway stops.")
    bench.pool.drain(error)
    _, sink = bench.request()
    bench.pool.drain(error)
    bench.turn()
    assert sink.error is error


def test_abort_all_leaves_the_pool_usable(make_bench):
    bench, used, stale, dialling, queued = ending_bench(make_bench)
    error = fault("relay_unavailable", "The relay is gone.")
    bench.pool.abort_all(error)
    for _, sink, *_ in (used, stale, dialling, queued):
        assert sink.error is error
    assert bench.pool.unused
    _, sink, line = bench.connected()
    line.answer()
    assert sink.complete


def test_abort_all_takes_idle_and_closing_connections(make_bench):
    bench = make_bench()
    lines = [bench.connected()[2] for _ in range(2)]
    lines[0].answer()
    lines[1].answer(CLOSE)
    bench.pool.abort_all(fault("relay_unavailable", "The relay is gone."))
    assert all(line.aborted for line in lines)


def test_drain_lets_requests_finish(make_bench):
    bench, used, stale, dialling, queued = ending_bench(make_bench)
    error = fault("lease_offline", "The gateway stops.")
    done = []
    bench.pool.drain(error).addCallback(done.append)
    _, refused = bench.request()
    bench.turn()
    assert refused.error is error
    used[2].answer()  # serves the one that waits longest and may be served by it
    assert used[1].complete
    for _ in range(2):
        bench.endpoint.accept()
    while not done:
        for line in bench.endpoint.lines:
            if line.protocol.exchange is not None:
                line.answer()
        bench.endpoint.report_losses()
    for _, sink, *_ in (used, stale, dialling, queued):
        assert sink.complete
    assert bench.pool.unused
    assert not bench.clock.getDelayedCalls()
    bench.pool.drain(error).addCallback(done.append)
    assert len(done) == 2


def test_drain_closes_idle_connections_first(make_bench):
    bench = make_bench()
    line = bench.idle_line()
    done = []
    bench.pool.drain(fault("lease_offline", "The gateway stops.")).addCallback(done.append)
    assert line.losing
    assert not done
    line.lose(ConnectionDone())
    assert done == [None]


def test_a_drained_pool_may_be_closed_before_the_end(make_bench):
    bench = make_bench()
    _, sink, line = bench.connected()
    done = []
    bench.pool.drain(fault("lease_offline", "The gateway stops.")).addCallback(done.append)
    bench.pool.close()
    assert sink.code == "upstream_closed"
    assert line.aborted
    assert done == [None]


@pytest.mark.parametrize(
    "limits",
    [
        {"max_active": 0},
        {"max_idle": -1},
        {"max_queue": -1},
        {"idle_timeout": 0},
        {"wait_limit": 0},
        {"connect_timeout": -1},
    ],
)
def test_limits_that_make_no_sense(limits):
    with pytest.raises(ValueError, match="pool"):
        PoolLimits(**limits)


def test_an_answer_in_the_turn_of_a_release_is_for_the_next(make_bench):
    """The response of one exchange and the request of the next do not mix."""
    bench = make_bench(max_active=1)
    (_, first), (_, second) = bench.request(), bench.request()
    line = bench.endpoint.accept()
    line.answer(OK[:-1])
    line.answer(OK[-1:])
    assert first.complete
    line.answer(OK.replace(b"ok", b"no"))
    assert second.complete
    assert (first.body, second.body) == (b"ok", b"no")
