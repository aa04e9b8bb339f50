"""A 101 makes a tunnel of a pooled connection: its place, its bytes, its end."""

import socket

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost

from portal_gateway.errors import fault
from portal_gateway.relay.http_connection import CLOSING_TIME, MAX_CLOSING
from portal_gateway.relay.transport_buffers import UNSENT
from tests.relay.scripted_upstream import OK, Bench, RecordingSink

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class UpgradeSink(RecordingSink):
    """Takes the tunnel, and is its receiver."""

    def __init__(self):
        super().__init__()
        self.tunnel = None
        self.heard = []

    def response_upgraded(self, head, tunnel, data):
        self._note("upgraded", head, data)
        self.endings += 1
        self.tunnel = tunnel
        tunnel.receiver = self

    def receive_data(self, data):
        self.heard.append(data)

    def stream_lost(self, error):
        self.heard.append(("lost", error and error.cause.code))

    def pause_sending(self):
        self.heard.append("pause")

    def resume_sending(self):
        self.heard.append("resume")


@pytest.fixture
def bench():
    bench = Bench(max_active=1)
    yield bench
    bench.check_clean()


def asked(bench):
    sink = UpgradeSink()
    exchange = bench.pool.upgrade(b"/ws", [(b"Host", b"lease"), (b"Upgrade", b"x")], sink)
    line = bench.endpoint.accept() if bench.endpoint.dials else bench.endpoint.lines[-1]
    return exchange, sink, line


def opened(bench, more=b""):
    _, sink, line = asked(bench)
    line.answer(SWITCH + more)
    line.clear()
    return sink, line


def test_the_bytes_after_a_101_are_the_tunnel_s(bench):
    _, sink, line = asked(bench)
    assert line.received == b"GET /ws HTTP/1.1\r\nHost: lease\r\nUpgrade: x\r\n\r\n"
    line.clear()
    line.answer(SWITCH + b"HTTP/1.1 200 OK\r\n")
    ((_, head, data),) = sink.told
    assert (head.status, data) == (101, b"HTTP/1.1 200 OK\r\n")
    line.answer(b"more")
    assert sink.heard == [b"more"]
    sink.tunnel.write(b"up")
    assert line.received == b"up"


def test_a_101_cut_anywhere_is_the_same(bench):
    _, sink, line = asked(bench)
    line.answer_bytewise(b"HTTP/1.1 103 Early Hints\r\n\r\n" + SWITCH + b"ab")
    kinds = [told[0] for told in sink.told]
    assert kinds == ["informational", "upgraded"]
    assert sink.heard == [b"a", b"b"]


def test_a_tunnel_keeps_its_place_until_it_ends(bench):
    sink, line = opened(bench)
    _, waiting = bench.request()
    assert (bench.pool.active, bench.pool.queued) == (1, 1)
    assert not bench.endpoint.dials
    sink.tunnel.close()
    assert line.losing
    assert not line.aborted
    assert (bench.pool.active, bench.pool.queued, bench.pool.dialling) == (0, 0, 1)
    sink.tunnel.write(b"late")
    bench.endpoint.accept().answer(OK)
    assert waiting.complete
    assert sink.heard == []


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (ConnectionDone(), None),
        (ConnectionLost(), "upstream_closed"),
        (fault("relay_unavailable", "gone"), "relay_unavailable"),
    ],
)
def test_a_lease_that_ends_it_is_told_once(bench, reason, told):
    sink, line = opened(bench)
    line.lose(reason)
    assert sink.heard == [("lost", told)]
    assert bench.pool.active == 0
    sink.tunnel.abort()


def test_a_pool_that_closes_ends_it(bench):
    sink, line = opened(bench)
    bench.pool.close(fault("upstream_closed", "stop"))
    assert line.aborted
    assert sink.heard == [("lost", "upstream_closed")]


def test_all_tunnels_may_say_good_bye_at_once():
    bench = Bench(max_active=MAX_CLOSING + 2)
    tunnels = [opened(bench) for _ in range(MAX_CLOSING + 2)]
    for sink, _ in tunnels:
        sink.tunnel.write(b"bye")
        sink.tunnel.close()
    assert not any(line.aborted for _, line in tunnels)
    assert all(line.losing for _, line in tunnels)
    # One more would have each of them be kept twice.
    sink, one_more = opened(bench)
    sink.tunnel.close()
    assert one_more.aborted
    bench.clock.advance(CLOSING_TIME)
    assert all(line.aborted for _, line in tunnels)
    bench.check_clean()


def test_both_sides_can_be_held_back(bench):
    bench.endpoint.limit = 10
    sink, line = opened(bench)
    line.take_all()
    sink.heard.clear()
    sink.tunnel.write(b"x" * 11)
    line.take_all()
    assert sink.heard == ["pause", "resume"]
    sink.tunnel.pause_reading()
    assert not line.reading
    sink.tunnel.resume_reading()
    assert line.reading


def test_the_system_holds_little_for_a_lease_that_reads_nothing(bench):
    _, sink, line = asked(bench)
    with socket.socket() as handle:
        line.socket = handle
        line.answer(SWITCH)
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT
    sink.tunnel.close()


def test_an_answer_that_is_no_101_is_an_ordinary_one(bench):
    _, sink, line = asked(bench)
    line.answer(OK)
    assert sink.complete
    assert sink.body == b"ok"
    assert bench.pool.idle == 1


@pytest.mark.parametrize("fields", [b"", b"Upgrade: x\r\nConnection: upgrade\r\n"])
def test_a_101_that_nobody_asked_for_is_refused(bench, fields):
    _, sink, line = bench.connected()
    line.answer(b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\nbytes")
    assert sink.code == "upstream_protocol_error"
    assert line.aborted


def test_a_client_that_leaves_before_the_101_aborts_it(bench):
    exchange, sink, line = asked(bench)
    exchange.cancel()
    sink.silent = True
    assert line.aborted
    line.answer(SWITCH)
    assert sink.tunnel is None


def test_one_that_fails_when_it_is_told_of_the_end_keeps_it_from_no_other(tracebacks):
    class Broken(UpgradeSink):
        def stream_lost(self, error):
            raise RuntimeError("a defect")

    bench = Bench()
    sinks = [Broken(), UpgradeSink(), Broken()]
    for sink in sinks:
        bench.pool.upgrade(b"/ws", [(b"Host", b"lease"), (b"Upgrade", b"x")], sink)
        line = bench.endpoint.accept()
        bench.turn()
        line.answer(SWITCH)
    bench.pool.abort_all(fault("relay_unavailable", "gone"))
    assert all(line.aborted for line in bench.endpoint.lines)
    assert sinks[1].heard == [("lost", "relay_unavailable")]
    assert bench.pool.active == 0
    assert len(tracebacks) == 2
    tracebacks.clear()
    bench.check_clean()
