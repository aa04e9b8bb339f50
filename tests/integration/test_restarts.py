"""Restarts of a gateway that clients keep coming to: nobody is refused, and nobody is lost.

Short here; ``make soak`` sets PORTAL_GATEWAY_RESTARTS to do it 20 times.
"""

import json
import os
import signal
import socket
import ssl
import stat
import urllib.request
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from tests.integration.calls import Client
from tests.integration.ledger import quantile
from tests.integration.ledger_client import FaultyUpstream, Load
from tests.integration.programs import (
    Gateway,
    Program,
    free_port,
    python,
    python_path,
    wait_until,
)
from tests.tls.tls_world import Certified

RESTARTS = int(os.environ.get("PORTAL_GATEWAY_RESTARTS", "2"))

AT_LENGTH = RESTARTS > 2
"""Whether to try every number of workers in every way."""

RATE = 200
"""New connections a second."""

TLS_RATE = 60
"""The same over TLS, where client and gateway share two cores for the handshakes."""

ENDS_WITHIN = 35.0
"""Seconds: what a drain may take, and some for a busy machine."""


@pytest.fixture
def upstream():
    with FaultyUpstream() as upstream:
        yield upstream


@pytest.fixture
def listening():
    """A socket as systemd has it: it blocks, and stays open."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        yield listening


@pytest.fixture
def tls(tmp_path):
    Certified(now=datetime.now(UTC)).write(tmp_path)
    return {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}


def any_certificate():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def config(upstream, listen, **more):
    return {
        "gateway": {"listen": listen, **more},
        "leases": {"tool": {"url": f"http://{upstream.address}"}},
        "logging": {"level": "warning"},
    }


def seen_by(upstream):
    """The ids that came there, thousands of them, each as often as it came."""
    with urllib.request.urlopen(f"http://{upstream.address}/record", timeout=30) as answer:
        record = json.load(answer)
    return [name for name, seen in record["seen"].items() for _ in seen["heads"]]


def end(gateway):
    gateway.signal(signal.SIGTERM)
    assert gateway.process.wait(ENDS_WITHIN) == 0


def restart_under_load(upstream, address, restart, *, what, context=None):
    """Call ``restart`` again and again while clients come, each on a connection of its own.

    Half of them post a body. None may be refused, lost, or done twice.
    """
    with Load(context=context, name="restarts") as load:
        target = "/peer/tool/echo?delay=0.02"
        rate = RATE if context is None else TLS_RATE
        kinds = [
            load.requests(address, target, rate=rate / 2),
            load.requests(address, target, rate=rate / 2, body=b"a body"),
        ]
        for _ in range(RESTARTS):
            wanted = load.ledger.sent + rate // 2
            wait_until(lambda wanted=wanted: load.ledger.sent >= wanted, 30, "clients")
            restart()
        for kind in kinds:
            kind.stop()
        balance = load.ledger.balance(seen_by(upstream))
        took = load.ledger.latencies()
        parts = [f"{quantile(took, part):.3f}" for part in (0.5, 0.99, 1.0)]
        print(f"{what}, {RESTARTS} restarts: {balance}; p50, p99 and most {', '.join(parts)} s")
        assert balance.even, balance
        assert balance.refused == 0, balance
        assert balance.sent >= RESTARTS * rate / 2


@pytest.mark.parametrize(
    ("workers", "secure"), [(2, False), *([(1, False), (1, True)] if AT_LENGTH else [])]
)
def test_4_3_restarts_by_socket_activation(upstream, listening, tls, tmp_path, workers, secure):
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    more = {"tls": tls} if secure else {}
    settings = config(upstream, "systemd:INET:name=web", workers=workers, **more)
    with ExitStack() as stack:

        def start():
            return stack.enter_context(Gateway(settings, tmp_path, sockets={"web": listening}))

        running = [start()]
        assert running[0].address == address

        def restart():
            end(running.pop())
            running.append(start())

        restart_under_load(
            upstream,
            address,
            restart,
            what=f"socket activation, {workers} workers{', TLS' if secure else ''}",
            context=any_certificate() if secure else None,
        )
        end(running.pop())


@pytest.mark.parametrize("workers", [1, *([2] if AT_LENGTH else [])])
def test_4_3_restarts_by_reuse_port(upstream, tmp_path, workers):
    address = f"127.0.0.1:{free_port()}"
    settings = config(upstream, address, workers=workers, reuse_port=True)
    with ExitStack() as stack:
        running = [stack.enter_context(Gateway(settings, tmp_path))]

        def restart():
            running.append(stack.enter_context(Gateway(settings, tmp_path)))
            end(running.pop(0))

        restart_under_load(upstream, address, restart, what=f"reuse_port, {workers} workers")
        end(running.pop())


def test_8_1_sockets_of_systemd_by_their_names_with_and_without_tls(
    upstream, listening, tls, tmp_path
):
    with socket.create_server(("127.0.0.1", 0)) as plain:
        settings = config(
            upstream,
            "systemd:INET:name=https",
            tls={**tls, "redirect_from": "systemd:INET:name=http"},
        )
        sockets = {"http": plain, "https": listening}
        with Gateway(settings, tmp_path, sockets=sockets) as gateway:
            address = listening.getsockname()
            assert gateway.address == f"127.0.0.1:{address[1]}"
            raw = socket.create_connection(address, 5)
            with any_certificate().wrap_socket(raw) as client:
                client.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")
            with Client(f"127.0.0.1:{plain.getsockname()[1]}") as client:
                assert client.request("GET", "/").status == 308
            end(gateway)
            # They are systemd's: who comes now waits there for the next process.
            for each in (plain, listening):
                socket.create_connection(each.getsockname(), 5).close()


def test_a_unix_socket_of_systemd_stays_as_it_is(tmp_path):
    path = tmp_path / "web"
    file = tmp_path / "gateway.yaml"
    file.write_text("gateway: {listen: 'systemd:UNIX:name=web'}")
    run = python("portal_gateway.cli", "run", "--config", file)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen()
        sockets = {"web": listening}
        for _ in range(2):
            environment = python_path()
            with Program("gateway", run, environment=environment, ours=True, sockets=sockets) as it:
                it.wait_for_line("Portal Gateway listens on ")
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(path))
                    client.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    assert client.recv(100).startswith(b"HTTP/1.1 200 ")
                end(it)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_socket_that_was_not_passed_is_said_in_one_line(tmp_path):
    settings = {"gateway": {"listen": "systemd:INET:name=web"}}
    with pytest.raises(AssertionError, match="cannot listen on systemd:INET:name=web: no such"):
        Gateway(settings, tmp_path)
