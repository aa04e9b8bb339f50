"""Nothing waits for a lease without a limit: what counts as progress, and what does not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.relay.http_client import LEASE_SILENCE, LOOK_INTERVAL, BodyFraming
from tests.relay.scripted_upstream import OK, Bench, RecordingSink

CHUNKED = BodyFraming.chunked()


@pytest.fixture
def bench():
    bench = Bench(idle_timeout=7200.0)
    yield bench
    bench.check_clean()


def silent_until_ended(bench, sink):
    """Seconds until the exchange of ``sink`` ends, looked at every second."""
    for seconds in range(1, int(2 * LEASE_SILENCE)):
        bench.clock.advance(1)
        if sink.endings:
            return seconds
    return None


def ends_in_time(bench, sink):
    seconds = silent_until_ended(bench, sink)
    assert seconds is not None
    assert LEASE_SILENCE - 2 * LOOK_INTERVAL <= seconds <= LEASE_SILENCE
    assert sink.code == "upstream_timeout"
    assert sink.error.cause.status == 504
    assert bench.pool.silences_total == 1
    assert bench.pool.active == 0
    return True


@pytest.mark.parametrize("reused", [True, False])
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    ],
)
def test_a_lease_that_falls_silent(bench, answer, reused):
    if reused:
        bench.idle_line()
        _, sink = bench.request()
        line = bench.endpoint.lines[0]
        bench.turn()
    else:
        _, sink, line = bench.connected()
    if answer:
        line.answer(answer)
    assert ends_in_time(bench, sink)
    assert line.aborted


def test_the_place_in_the_pool_goes_to_who_waits():
    bench = Bench(max_active=1, wait_limit=3600.0)
    _, sink, _ = bench.connected()
    _, waiting = bench.request()
    assert silent_until_ended(bench, sink) is not None
    bench.endpoint.accept().answer()
    assert waiting.complete
    bench.check_clean()


def test_interim_responses_are_no_progress(bench):
    _, sink, line = bench.connected()
    for _ in range(int(LEASE_SILENCE / 25)):
        if sink.endings:
            break
        line.answer(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        bench.clock.advance(25)
    assert sink.code == "upstream_timeout"


def test_a_header_that_trickles_is_no_progress(bench):
    _, sink, line = bench.connected()
    line.answer(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(int(LEASE_SILENCE)):
        if sink.endings:
            break
        line.answer(b"y")
        bench.clock.advance(1)
    assert sink.code == "upstream_timeout"


def test_a_body_that_comes_is_progress(bench):
    _, sink, line = bench.connected()
    line.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
    for _ in range(20):
        bench.clock.advance(LEASE_SILENCE - 2 * LOOK_INTERVAL)
        line.answer(b"x")
    assert sink.complete
    assert sink.body == b"x" * 20


def test_a_client_that_does_not_read_is_not_the_lease(bench):
    exchange, sink, line = bench.connected()
    line.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    exchange.pause()
    bench.clock.advance(10 * LEASE_SILENCE)
    assert not sink.endings
    exchange.resume()
    assert ends_in_time(bench, sink)


def test_an_upload_is_progress_as_long_as_it_moves(bench):
    exchange, sink, line = bench.connected(b"POST", CHUNKED)
    for _ in range(20):
        bench.clock.advance(LEASE_SILENCE - 2 * LOOK_INTERVAL)
        exchange.write(b"x" * 1000)
    assert not sink.endings
    exchange.end()
    assert ends_in_time(bench, sink)
    assert line.aborted


def test_a_lease_that_takes_no_upload():
    bench = Bench()
    bench.endpoint.limit = 100
    exchange, sink, line = bench.connected(b"POST", CHUNKED)
    exchange.write(b"x" * 1000)
    assert sink.held
    # What it takes of it, byte by byte, shows only once it is all.
    bench.clock.advance(LEASE_SILENCE - 2 * LOOK_INTERVAL)
    assert not sink.endings
    line.take_all()
    assert not sink.held
    exchange.write(b"x" * 1000)
    assert ends_in_time(bench, sink)
    bench.check_clean()


@pytest.mark.parametrize(
    "head", [b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", b"\r\nto the end"]
)
def test_a_response_without_a_length_has_rules_of_its_own(bench, head):
    exchange, sink, line = bench.connected()
    line.answer(b"HTTP/1.1 200 OK\r\n" + head)
    bench.clock.advance(10 * LEASE_SILENCE)
    assert not sink.endings
    exchange.cancel()
    sink.silent = True
    assert bench.pool.silences_total == 0


def test_a_tunnel_may_be_silent(bench):
    class Upgrading(RecordingSink):
        def response_upgraded(self, head, tunnel, data):
            self.tunnel = tunnel

    sink = Upgrading()
    bench.pool.upgrade(b"/", [(b"Host", b"lease"), (b"Upgrade", b"websocket")], sink)
    line = bench.endpoint.accept()
    bench.turn()
    line.answer(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    bench.clock.advance(10 * LEASE_SILENCE)
    assert not line.aborted
    sink.tunnel.close()


def test_a_handshake_that_is_not_answered(bench):
    sink = RecordingSink()
    bench.pool.upgrade(b"/", [(b"Host", b"lease"), (b"Upgrade", b"websocket")], sink)
    bench.endpoint.accept()
    bench.turn()
    assert ends_in_time(bench, sink)


def test_requests_one_after_the_other_are_each_looked_at_anew(bench):
    line = bench.idle_line()
    for _ in range(30):
        _, sink = bench.request()
        bench.turn()
        bench.clock.advance(LEASE_SILENCE - 2 * LOOK_INTERVAL)
        line.answer(OK)
        assert sink.complete
    assert bench.pool.silences_total == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["data", "write", "pause", "resume", "nothing"]),
            st.floats(0.1, 2 * LEASE_SILENCE),
        ),
        max_size=12,
    )
)
def test_an_exchange_ends_only_after_silence_and_then_always(steps):
    """As a model: the time since the last progress, in which the client took what came."""
    bench = Bench(idle_timeout=1e6)
    exchange, sink, line = bench.connected(b"POST", CHUNKED)
    exchange.write(b"x")
    bench.turn()
    line.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    silent, paused = 0.0, False
    for what, seconds in steps:
        if what == "data" and not paused:
            line.answer(b"x")
            silent = 0.0
        elif what == "write":
            exchange.write(b"x")
            silent = 0.0
        elif what in {"pause", "resume"}:
            paused = what == "pause"
            getattr(exchange, what)()
            silent = 0.0
        left = seconds
        while left > 0:
            bench.clock.advance(min(left, 10.0))
            left -= 10.0
        silent = 0.0 if paused else silent + seconds
        if silent >= LEASE_SILENCE:
            assert sink.code == "upstream_timeout"
            break
        if silent < LEASE_SILENCE - 2 * LOOK_INTERVAL:
            assert not sink.endings
        elif sink.endings:
            break
    bench.check_clean()
