"""The ledger's client tells apart what answers, what refuses and what loses a request."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest

from tests.integration.ledger import Outcome, quantile
from tests.integration.ledger_client import FaultyUpstream, Load
from tests.integration.programs import free_port, wait_until


@pytest.fixture(scope="module")
def upstream():
    with FaultyUpstream() as upstream:
        yield upstream


@pytest.fixture
def load():
    with Load() as load:
        yield load


@pytest.fixture
def hasty():
    with Load(answer_time=0.5) as load:
        yield load


def outcome(load, address, target="/echo", body=b"body", **more):
    entry = load.wait(load.ask(address, target, body, **more))
    return entry.outcome, entry.why


@contextmanager
def answering(answer, *, reset=False):
    """The address of a server that gives ``answer`` to each connection's first bytes."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                data = b"" if answer is None else connection.recv(65536)
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                elif answer:
                    name = next(
                        line[8:] for line in data.split(b"\r\n") if line.startswith(b"X-Call: ")
                    )
                    connection.sendall(answer.replace(b"ID", name))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


def test_answers(load, upstream):
    before = upstream.seen()
    assert outcome(load, upstream.address) == (Outcome.ANSWERED, "200")
    assert outcome(load, upstream.address, body=None) == (Outcome.ANSWERED, "200")
    assert outcome(load, upstream.address, body=b"b" * 300_000) == (Outcome.ANSWERED, "200")
    assert outcome(load, upstream.address, half_after=0.05) == (Outcome.ANSWERED, "200")
    assert outcome(load, upstream.address, "/echo?status=500") == (Outcome.ANSWERED, "500")
    assert outcome(load, upstream.address, "/echo?status=503") == (Outcome.ANSWERED, "503")
    balance = load.ledger.balance(upstream.seen()[len(before) :])
    assert balance.even, balance
    assert balance.answered == 6


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/echo?cut=1", "torn"),
        ("/echo?cut=20", "torn"),
        ("/echo?cut=50", "torn"),
        ("/echo?cut=30&reset=1", "torn"),
        ("/echo?hang=1", "no answer"),
        ("/echo?delay=9", "no answer"),
        ("/echo?trickle=0.5", "no answer"),
    ],
)
def test_losses(hasty, upstream, target, why):
    assert outcome(hasty, upstream.address, target) == (Outcome.LOST, why)


def test_nobody_listens(load):
    address = f"127.0.0.1:{free_port()}"
    assert outcome(load, address) == (Outcome.REFUSED, "no connection")


def whole(status, body):
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


@pytest.mark.parametrize(
    ("answer", "reset", "expected"),
    [
        (whole(503, b"{}"), False, (Outcome.REFUSED, "503")),
        (whole(429, b"{}"), False, (Outcome.REFUSED, "429")),
        (whole(502, b"{}"), False, (Outcome.LOST, "502")),
        (whole(200, b"somebody-else\nbody"), False, (Outcome.LOST, "wrong body")),
        (b"HTTP/1.1 2", False, (Outcome.LOST, "torn")),
        (b"HTTP/1.1 200 X\r\nContent-Length: 30\r\n\r\nID\nbody", False, (Outcome.LOST, "torn")),
        (b"HTTP/1.1 200 X\r\n\r\nID\nbody", False, (Outcome.ANSWERED, "200")),
        (b"garbage\r\n\r\n", False, (Outcome.LOST, "torn")),
        (b"", False, (Outcome.REFUSED, "closed")),
        (b"", True, (Outcome.REFUSED, "reset")),
    ],
)
def test_what_others_answer(load, answer, reset, expected):
    with answering(answer, reset=reset) as address:
        assert outcome(load, address) == expected


def test_connections_are_kept_or_not(load, upstream):
    before = upstream.record()["connections"]
    for _ in range(5):
        outcome(load, upstream.address, kept=True)
    assert upstream.record()["connections"] == before + 2
    assert [entry.kept for entry in load.ledger.entries] == [False, True, True, True, True]
    for _ in range(5):
        outcome(load, upstream.address, kept=False)
    assert upstream.record()["connections"] == before + 8


def test_a_connection_that_was_closed_is_not_used_again(load):
    with FaultyUpstream() as upstream:
        address = upstream.address
        assert outcome(load, address, kept=True)[0] is Outcome.ANSWERED
    assert outcome(load, address, kept=True) == (Outcome.REFUSED, "no connection")


@pytest.mark.parametrize("kept", [True, False])
def test_a_rate(load, upstream, kept):
    before = len(upstream.seen())
    start = time.monotonic()
    steady = load.requests(upstream.address, "/echo", rate=100, kept=kept, body=b"x")
    wait_until(lambda: load.ledger.sent >= 50, 10, "fifty requests")
    took = time.monotonic() - start
    steady.stop()
    assert 0.45 < took < 3
    balance = load.ledger.balance(upstream.seen()[before:])
    assert balance.even, balance
    assert balance.answered >= 50
    assert any(entry.kept for entry in load.ledger.entries) is kept
    assert 0 < quantile(load.ledger.latencies(), 0.5) < 0.5


def test_what_waits_does_not_hold_up_what_is_due(load, upstream):
    steady = load.requests(upstream.address, "/echo?delay=0.5", rate=50)
    wait_until(lambda: load.ledger.sent >= 20, 10, "twenty requests")
    assert load.ledger.count(Outcome.ANSWERED) < 10
    steady.stop()
    assert load.ledger.count(Outcome.ANSWERED) == load.ledger.sent


def test_the_end_gives_up_what_is_under_way():
    # An upstream of its own: that of the module still delays what was given up before.
    with FaultyUpstream() as upstream:
        with Load() as load:
            load.start(load.ask(upstream.address, "/echo?hang=1"))
            wait_until(lambda: load.ledger.sent == 1, 5, "the request")
            streams = load.streams(upstream.address, "/events", 1)
            sockets = load.sockets(upstream.address, "/ws", 1)
        assert [(entry.outcome, entry.why) for entry in load.ledger.entries] == [
            (Outcome.LOST, "given up")
        ]
        assert [each.end for each in (*streams, *sockets)] == ["stopped", "stopped"]
        wait_until(lambda: upstream.record()["open"] == 0, 5, "its connections being closed")


def test_streams(load, upstream):
    streams = load.streams(upstream.address, "/events?pause=0.02&n=20", 3)
    assert all(stream.end == "open" for stream in streams)
    wait_until(lambda: all(stream.ended for stream in streams), 5, "their end")
    assert [(stream.events, stream.gaps, stream.end) for stream in streams] == [
        (20, 0, "complete")
    ] * 3


def test_torn_streams(load, upstream):
    stream = load.streams(upstream.address, "/events?pause=0.01&cut=500", 1)[0]
    wait_until(lambda: stream.ended > 0, 5, "its end")
    assert stream.end == "torn"


def test_streams_that_never_open(load):
    with pytest.raises(AssertionError, match="no connection"):
        load.streams(f"127.0.0.1:{free_port()}", "/events", 1)
    with answering(whole(404, b"")) as address, pytest.raises(AssertionError, match="404"):
        load.streams(address, "/events", 1)
    with answering(whole(404, b"")) as address, pytest.raises(AssertionError, match="404"):
        load.sockets(address, "/ws", 1)


def test_a_stream_that_misses_events(load):
    events = b"data: ID 0\n\ndata: ID 2\n\n: bye\n\n"
    with (
        answering(b"HTTP/1.1 200 X\r\n\r\n" + events) as address,
        pytest.raises(AssertionError, match=r"gaps=1.*complete"),
    ):
        load.streams(address, "/events", 1)


def test_sockets(load, upstream):
    sockets = load.sockets(upstream.address, "/ws", 3, pause=0.01)
    wait_until(lambda: all(each.echoed >= 10 for each in sockets), 5, "ten messages each")
    assert [each.wrong for each in sockets] == [0] * 3
    assert all(each.end == "open" for each in sockets)
    assert all(latency < 5 for each in sockets for latency in each.latencies)


def test_sockets_that_end():
    with FaultyUpstream() as upstream, Load() as load:
        socket_ = load.sockets(upstream.address, "/ws", 1)[0]
        upstream.kill()
        wait_until(lambda: socket_.ended > 0, 5, "its end")
        assert socket_.end in {"closed", "reset"}
        assert socket_.code is None
