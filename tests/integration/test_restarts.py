"""Restarts of a gateway that clients keep coming to: nobody is refused, and nobody is lost.

Short here; ``make soak`` sets PORTAL_GATEWAY_RESTARTS to do it 20 times.
"""

import os
import signal
import socket
import ssl
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from tests.integration.arrivals import Arrivals
from tests.integration.calls import Client
from tests.integration.programs import Gateway, free_port
from tests.tls.tls_world import Certified

RESTARTS = int(os.environ.get("PORTAL_GATEWAY_RESTARTS", "2"))

RATE = 200


def config(origin, listen, **more):
    return {
        "gateway": {"listen": listen, **more},
        "leases": {"tool": {"url": f"http://{origin}"}},
        "logging": {"level": "warning"},
    }


@pytest.fixture
def listening():
    """A socket as systemd has it: it blocks, and stays open."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        yield listening


def end(gateway):
    gateway.signal(signal.SIGTERM)
    assert gateway.process.wait(35) == 0


def told(arrivals, what):
    print(
        f"{what}: {len(arrivals.all)} clients, {dict(arrivals.outcomes)},"
        f" p99 {arrivals.slowest(0.99):.3f} s, slowest {arrivals.slowest():.3f} s"
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_4_3_restarts_by_socket_activation_lose_nobody(origin, listening, tmp_path, workers):
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    settings = config(origin, "systemd:INET:name=web", workers=workers)

    def start():
        return Gateway(settings, tmp_path, sockets={"web": listening})

    with ExitStack() as stack:
        gateway = stack.enter_context(start())
        assert gateway.address == address
        with Arrivals(address, RATE) as arrivals:
            for _ in range(RESTARTS):
                arrivals.wait_for(RATE // 2)
                end(gateway)
                gateway = stack.enter_context(start())
        end(gateway)
    told(arrivals, f"socket activation, {workers} workers")
    assert set(arrivals.outcomes) == {"answered"}
    assert len(arrivals.all) > RESTARTS * RATE / 2


@pytest.mark.parametrize("workers", [1, 2])
def test_4_3_restarts_by_reuse_port_lose_nobody(origin, tmp_path, workers):
    address = f"127.0.0.1:{free_port()}"
    settings = config(origin, address, workers=workers, reuse_port=True)
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway(settings, tmp_path))
        with Arrivals(address, RATE) as arrivals:
            for _ in range(RESTARTS):
                arrivals.wait_for(RATE // 2)
                new = stack.enter_context(Gateway(settings, tmp_path))
                end(gateway)
                gateway = new
        end(gateway)
    told(arrivals, f"reuse_port, {workers} workers")
    assert set(arrivals.outcomes) == {"answered"}
    assert len(arrivals.all) > RESTARTS * RATE / 2


def test_8_1_sockets_of_systemd_by_their_names_with_and_without_tls(origin, listening, tmp_path):
    certified = Certified(now=datetime.now(UTC))
    certified.write(tmp_path)
    secure = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    with socket.create_server(("127.0.0.1", 0)) as plain:
        settings = config(
            origin,
            "systemd:INET:name=https",
            tls={**secure, "redirect_from": "systemd:INET:name=http"},
        )
        sockets = {"http": plain, "https": listening}
        with Gateway(settings, tmp_path, sockets=sockets) as gateway:
            address = listening.getsockname()
            assert gateway.address == f"127.0.0.1:{address[1]}"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            raw = socket.create_connection(address, 5)
            with context.wrap_socket(raw) as client:
                client.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")
            with Client(f"127.0.0.1:{plain.getsockname()[1]}") as client:
                assert client.request("GET", "/").status == 308
            end(gateway)
            # They are systemd's: who comes now waits there for the next process.
            for each in (plain, listening):
                socket.create_connection(each.getsockname(), 5).close()


def test_a_socket_that_was_not_passed_is_said_in_one_line(tmp_path):
    settings = {"gateway": {"listen": "systemd:INET:name=web"}}
    with pytest.raises(AssertionError, match="cannot listen on systemd:INET:name=web: no such"):
        Gateway(settings, tmp_path)
