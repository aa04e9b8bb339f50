"""Clients that send all their requests, say that nothing more comes, and read."""

import socket

import pytest

from tests.integration.programs import Gateway

GET = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with Gateway({"auth": {"keys": []}}, tmp_path_factory.mktemp("half")) as gateway:
        yield gateway


def answers(gateway, *writes):
    host, port = gateway.address.split(":")
    with socket.create_connection((host, int(port)), 20) as client:
        for data in writes:
            client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while data := client.recv(65536):
            received += data
    return received.count(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("count", [1, 8, 9, 15, 16, 17, 40, 100])
def test_every_request_is_answered(gateway, count):
    assert [answers(gateway, GET * count) for _ in range(5)] == [count] * 5
