"""The faulty upstream fails as it is asked to, and says what it saw."""

import http.client
import socket
import time

import pytest

from tests.frontend.raw_frames import CLOSE, TEXT, Frame, close, frame, read_frames
from tests.integration.ledger_client import FaultyUpstream
from tests.integration.programs import wait_until


@pytest.fixture(scope="module")
def upstream():
    with FaultyUpstream() as upstream:
        yield upstream


def raw(upstream, target, name, body=b"", more=""):
    """All bytes of the answer, on a connection that the upstream closes."""
    host, port = upstream.address.split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(
            f"POST {target} HTTP/1.1\r\nHost: a\r\nX-Call: {name}\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n{more}\r\n".encode()
            + body
        )
        received = b""
        while data := connection.recv(65536):
            received += data
    return received


def read_to(connection, end):
    received = b""
    while not received.endswith(end):
        byte = connection.recv(1)
        assert byte
        received += byte


def test_the_id_and_the_body_come_back(upstream):
    received = raw(upstream, "/echo", "one", b"some body")
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b"one\nsome body"


def test_a_status(upstream):
    assert raw(upstream, "/echo?status=503", "status").startswith(b"HTTP/1.1 503 ")


def test_a_delay(upstream):
    start = time.monotonic()
    assert raw(upstream, "/echo?delay=0.2", "delay").endswith(b"\r\n\r\ndelay\n")
    assert time.monotonic() - start >= 0.2
    seen = upstream.record()["seen"]["delay"]
    assert seen["answered"][0] - seen["whole"][0] >= 0.2


@pytest.mark.parametrize("at", [1, 20, 90])
def test_a_cut(upstream, at):
    whole = raw(upstream, "/echo", "cut-whole", b"b" * 100)
    assert raw(upstream, f"/echo?cut={at}", "cut-whole", b"b" * 100) == whole[:at]


def test_a_cut_by_a_reset(upstream):
    with pytest.raises(ConnectionResetError):
        raw(upstream, "/echo?cut=10&reset=1", "reset", b"b" * 100)


def test_what_was_cut_was_not_answered(upstream):
    raw(upstream, "/echo?cut=10", "cut")
    seen = upstream.record()["seen"]["cut"]
    assert len(seen["whole"]) == 1
    assert seen["answered"] == []


def test_a_trickle(upstream):
    start = time.monotonic()
    assert raw(upstream, "/echo?trickle=0.02", "trickle").endswith(b"\r\n\r\ntrickle\n")
    assert time.monotonic() - start >= 0.16


def test_an_answer_before_the_body(upstream):
    host, port = upstream.address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.putrequest("POST", "/echo?early=1")
    connection.putheader("X-Call", "early")
    connection.putheader("Content-Length", "1000")
    connection.endheaders()
    with connection.getresponse() as answer:
        assert answer.read() == b"early\n"
    connection.close()
    assert upstream.record()["seen"]["early"]["whole"] == []


def test_no_answer_ever_until_the_client_goes(upstream):
    host, port = upstream.address.split(":")
    with socket.create_connection((host, int(port)), 0.3) as connection:
        connection.sendall(b"GET /echo?hang=1 HTTP/1.1\r\nHost: a\r\nX-Call: hang\r\n\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert upstream.record()["open"] == 1
    wait_until(lambda: upstream.record()["open"] == 0, 5, "the connection being gone")


def test_heads_are_counted_whole_requests_apart(upstream):
    host, port = upstream.address.split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        head = b"POST /echo HTTP/1.1\r\nHost: a\r\nX-Call: half\r\nContent-Length: 8\r\n\r\n"
        connection.sendall(head + b"half")
        wait_until(lambda: "half" in upstream.record()["seen"], 5, "the head")
        assert upstream.record()["seen"]["half"]["whole"] == []
        connection.sendall(b"rest")
        read_to(connection, b"\r\n\r\nhalf\nhalfrest")
        connection.sendall(head + b"halfrest")
        read_to(connection, b"\r\n\r\nhalf\nhalfrest")
    assert upstream.seen().count("half") == 2
    seen = upstream.record()["seen"]["half"]
    assert len(seen["heads"]) == len(seen["whole"]) == len(seen["answered"]) == 2
    assert time.monotonic() - 10 < seen["heads"][0] < seen["whole"][0] < time.monotonic()


def test_events(upstream):
    body = raw(upstream, "/events?n=3&pause=0", "events").partition(b"\r\n\r\n")[2]
    assert body.count(b"data: events ") == 3
    assert b"data: events 2\n\n" in body
    assert body.endswith(b"0\r\n\r\n")


def test_a_websocket(upstream):
    host, port = upstream.address.split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"X-Call: ws\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 101 ")
        connection.sendall(frame(TEXT, b"hello", mask=True))
        connection.sendall(frame(CLOSE, close(1000), mask=True))
        received = b""
        while data := connection.recv(65536):
            received += data
        found, left = read_frames(received, expect_mask=False)
    assert found == [Frame(TEXT, b"hello"), Frame(CLOSE, close(1000))]
    assert left == b""


def test_what_was_told_may_be_forgotten(upstream):
    raw(upstream, "/echo", "forgotten")
    assert "forgotten" in upstream.seen(forget=True)
    raw(upstream, "/echo", "after")
    assert upstream.seen() == ["after"]
