"""Real listeners behind a balancer that sends PROXY headers: each kind, with and without TLS."""

import contextlib
import json
import re
import socket
import ssl
import struct
import subprocess
from datetime import UTC, datetime

import h2.config
import h2.connection
import h2.events
import pytest
import yaml

from tests.integration import programs
from tests.tls.tls_world import Certified

ROOT = Certified("the root", authority=True, now=datetime.now(UTC))

CLIENT = "203.0.113.5"


def v2(client=CLIENT, server="192.0.2.1"):
    family, code = (socket.AF_INET6, 0x21) if ":" in client else (socket.AF_INET, 0x11)
    rest = b"".join(socket.inet_pton(family, each) for each in (client, server))
    rest += struct.pack("!HH", 51_000, 443)
    return b"\r\n\r\n\0\r\nQUIT\n\x21" + struct.pack("!BH", code, len(rest)) + rest


V1 = f"PROXY TCP4 {CLIENT} 192.0.2.1 51000 443\r\n".encode()


class Running:
    """A gateway, and how it is reached."""

    def __init__(self, origin, directory, listen, *, sockets=None, **more):
        pair = Certified("the gateway", ROOT, now=datetime.now(UTC))
        self.directory = directory
        pair.write(directory)
        (directory / "root.pem").write_bytes(ROOT.pem)
        self.gateway = programs.Gateway(
            {
                "gateway": {
                    "listen": listen,
                    "trusted_proxies": ["127.0.0.1", "unix"],
                    **more,
                },
                "ip_whitelist": {"cidrs": ["203.0.113.0/24", "2001:db8::/32"]},
                "leases": {"plain": {"url": f"http://{origin}"}},
            },
            directory,
            sockets=sockets,
        )

    def connect(self, header=None, *, path=None, source="127.0.0.1"):
        """A connection whose header was sent."""
        if path is not None:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(10)
            connection.connect(str(path))
        else:
            host, _, port = self.gateway.address.rpartition(":")
            host = host if host != "0.0.0.0" else "127.0.0.1"
            connection = socket.create_connection(
                (host, int(port)), timeout=10, source_address=(source, 0)
            )
        if header:
            connection.sendall(header)
        return connection

    def secure(self, connection, *alpn):
        context = ssl.create_default_context(cafile=self.directory / "root.pem")
        if alpn:
            context.set_alpn_protocols(alpn)
        return context.wrap_socket(connection, server_hostname="localhost")

    def clients(self):
        """The addresses of clients in the log; several workers have an order of their own."""
        self.gateway.stop()
        lines = [json.loads(line) for line in self.gateway.lines if line.startswith("{")]
        return sorted(
            line["client_ip"] for line in lines if line.get("path", "").startswith("/peer")
        )


@pytest.fixture
def run(origin, tmp_path):
    running = []

    def start(listen, **more):
        running.append(Running(origin, tmp_path, listen.format(directory=tmp_path), **more))
        return running[-1]

    yield start
    for each in running:
        each.gateway.stop()


def ask(connection):
    """The status over HTTP/1.1; ``None`` where the connection ends without one."""
    request = (
        "GET /peer/plain/echo HTTP/1.1\r\nHost: localhost\r\n"
        f"X-API-Key: {programs.API_KEY}\r\nConnection: close\r\n\r\n"
    )
    with connection:
        received = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            connection.sendall(request.encode())
            while part := connection.recv(65_536):
                received += part
    return int(received.split()[1]) if received else None


def ask_by_http2(connection):
    with connection:
        assert connection.selected_alpn_protocol() == "h2"
        client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        client.initiate_connection()
        fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", "/peer/plain/echo"),
            ("x-api-key", programs.API_KEY),
        ]
        client.send_headers(1, fields, end_stream=True)
        connection.sendall(client.data_to_send())
        while part := connection.recv(65_536):
            for event in client.receive_data(part):
                if isinstance(event, h2.events.ResponseReceived):
                    return int(dict(event.headers)[":status"])
            connection.sendall(client.data_to_send())
    return None


@pytest.mark.parametrize(
    "more", [{}, {"workers": 2}, {"reuse_port": True}], ids=["one", "workers", "reuse_port"]
)
def test_plain_http(run, more):
    running = run("haproxy:tcp:0:interface=127.0.0.1", **more)
    for header in (V1, v2(), v2("2001:db8::5", "::1")):
        assert ask(running.connect(header)) == 200
    assert ask(running.connect(v2("198.51.100.1"))) == 403
    assert ask(running.connect()) is None, "without a header"
    # It is reset while it connects, or later.
    with contextlib.suppress(ConnectionError):
        assert ask(running.connect(V1, source="127.0.0.2")) is None, "of somebody else"
    assert running.clients() == ["198.51.100.1", "2001:db8::5", CLIENT, CLIENT]


def test_https_and_http2(run):
    running = run(
        "haproxy:tcp:0:interface=127.0.0.1", tls={"cert_file": "cert.pem", "key_file": "key.pem"}
    )
    assert ask(running.secure(running.connect(v2()))) == 200
    assert ask_by_http2(running.secure(running.connect(V1), "h2", "http/1.1")) == 200
    assert ask(running.secure(running.connect(v2("198.51.100.1")))) == 403
    with pytest.raises((ssl.SSLError, ConnectionError)):
        running.secure(running.connect())
    assert running.clients() == ["198.51.100.1", CLIENT, CLIENT]


@pytest.mark.parametrize(
    "listen",
    [
        "haproxy:ssl:0:interface=127.0.0.1:privateKey={directory}/key.pem:certKey={directory}/cert.pem",
        "haproxy:tls:{directory}/certificates:port=0:interface=127.0.0.1",
    ],
)
def test_endpoints_with_a_tls_of_their_own(run, tmp_path, listen):
    pair = Certified("localhost", ROOT, now=datetime.now(UTC))
    directory = tmp_path / "certificates"
    directory.mkdir()
    pair.write(directory)
    both = (directory / "cert.pem").read_bytes() + (directory / "key.pem").read_bytes()
    (directory / "localhost.pem").write_bytes(both)
    (directory / "cert.pem").unlink()
    (directory / "key.pem").unlink()
    pair.write(tmp_path)
    running = run(listen)
    assert ask(running.secure(running.connect(v2()))) == 200
    assert ask(running.secure(running.connect(V1))) == 200
    assert ask(running.secure(running.connect(v2("198.51.100.1")))) == 403
    assert running.clients() == ["198.51.100.1", CLIENT, CLIENT]


def test_a_socket_of_systemd(run):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = run("haproxy:systemd:INET:name=web", sockets={"web": listening})
        assert ask(running.connect(v2())) == 200
        assert ask(running.connect()) is None
        assert running.clients() == [CLIENT]


def test_the_gateway_can_be_asked_whether_it_lives(run):
    """By a header that names nobody."""
    port = programs.free_port()
    running = run(f"haproxy:tcp:{port}:interface=127.0.0.1")
    done = subprocess.run(
        programs.python(
            "portal_gateway.cli", "health", "--config", running.directory / "gateway.yaml"
        ),
        env=programs.python_path(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@pytest.mark.parametrize("more", [{}, {"workers": 2}], ids=["one", "workers"])
def test_a_unix_socket(origin, tmp_path, more):
    path = tmp_path / "http.sock"
    file = tmp_path / "gateway.yaml"
    configuration = {
        "gateway": {"listen": f"haproxy:unix:{path}", "trusted_proxies": ["unix"], **more},
        "auth": {"keys": [{"id": "tester", "key": programs.API_KEY}]},
        "ip_whitelist": {"cidrs": ["203.0.113.0/24"]},
        "leases": {"plain": {"url": f"http://{origin}"}},
    }
    file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    command = programs.python("portal_gateway.cli", "run", "--config", file)
    gateway = programs.Program("gateway", command, environment=programs.python_path(), ours=True)
    gateway.wait_for_line("listens on")
    for header, status in ((v2(), 200), (v2("198.51.100.1"), 403), (b"PROXY UNKNOWN\r\n", 403)):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(header)
        assert ask(connection) == status
    assert gateway.stop() == 0
    told = re.findall(r'"client_ip": "([^"]*)"', "\n".join(gateway.lines))
    assert sorted(told) == ["", "198.51.100.1", CLIENT]
