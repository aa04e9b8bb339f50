"""HTTPS over real sockets: certificates that are renewed under load, and what a scanner finds."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.integration import programs
from tests.integration.conftest import missing
from tests.tls.tls_world import Certified, new_key

NOW = datetime.now(UTC)
ROOT = Certified("the root", authority=True, now=NOW)

SWAPS = 40
HANDSHAKERS = 2


class HTTPS:
    """A gateway with TLS and the directory of its files."""

    def __init__(self, directory, origin, **more):
        self.directory = directory
        Certified("first", ROOT, now=NOW).write(directory)
        (directory / "root.pem").write_bytes(ROOT.pem)
        self.redirect = programs.free_port()
        tls = {
            "cert_file": "cert.pem",
            "key_file": "key.pem",
            "redirect_from": f"127.0.0.1:{self.redirect}",
            **more,
        }
        self.program = programs.Gateway(
            {
                "gateway": {"listen": "127.0.0.1:0", "tls": tls},
                "leases": {"plain": {"url": f"http://{origin}"}},
            },
            directory,
        )
        host, _, port = self.program.address.rpartition(":")
        self.address = (host, int(port))

    def context(self):
        return ssl.create_default_context(cafile=self.directory / "root.pem")

    def connect(self, context=None):
        raw = socket.create_connection(self.address, timeout=10)
        return (context or self.context()).wrap_socket(raw, server_hostname="localhost")

    def swap(self, number, directory):
        """Replace both files by a renewed pair, as certbot does: one after the other."""
        Certified(f"number {number}", ROOT, now=NOW).write(directory)
        for name in ("key.pem", "cert.pem"):
            (directory / name).replace(self.directory / name)


@pytest.fixture(scope="module")
def https(tmp_path_factory, origin):
    served = HTTPS(tmp_path_factory.mktemp("https"), origin)
    yield served
    served.program.stop()


def subject(connection):
    return dict(part for (part,) in connection.getpeercert()["subject"])["commonName"]


def test_a_request(https):
    context = https.context()
    context.set_alpn_protocols(["http/1.1"])
    with https.connect(context) as connection:
        assert connection.version() == "TLSv1.3"
        assert connection.selected_alpn_protocol() == "http/1.1"
        connection.sendall(
            b"POST /peer/plain/echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            + f"X-API-Key: {programs.API_KEY}\r\nContent-Length: 5\r\n\r\nhello".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert seen["length"] == 5
    assert ["X-Forwarded-Proto", "https"] in seen["fields"]


def test_the_plain_listener_redirects(https):
    with socket.create_connection(("127.0.0.1", https.redirect), timeout=10) as connection:
        connection.sendall(b"GET /a?b HTTP/1.1\r\nHost: gw.example\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 308 ")
    assert f"Location: https://gw.example:{https.address[1]}/a?b\r\n".encode() in answer


def test_certificates_are_renewed_without_a_lost_handshake(https, tmp_path):
    failures, served, seen = [], [0], set()
    done = threading.Event()

    def shake_hands():
        context = https.context()
        while not done.is_set():
            try:
                with https.connect(context) as connection:
                    seen.add(subject(connection))
                    served[0] += 1
            except OSError as error:
                failures.append(error)

    threads = [threading.Thread(target=shake_hands) for _ in range(HANDSHAKERS)]
    for thread in threads:
        thread.start()
    pause = threading.Event()
    for number in range(SWAPS):
        https.swap(number, tmp_path)
        pause.wait(0.1)
    last = f"number {SWAPS - 1}"
    took = programs.wait_until(lambda: last in seen, 5, "the last certificate being served")
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(seen) > 3
    assert took < 3
    print(
        f"{served[0]} handshakes, {SWAPS} swaps, {len(seen)} certificates, last after {took:.2f} s"
    )


def test_a_pair_that_does_not_match_changes_nothing(https, tmp_path):
    with https.connect() as connection:
        before = subject(connection)
    other = Certified("not matching", ROOT, now=NOW)
    old = (https.directory / "cert.pem").read_bytes()
    (https.directory / "cert.pem").write_bytes(other.pem)
    https.program.wait_for_line("TLS files not used, the old certificate stays")
    with https.connect() as connection:
        assert subject(connection) == before
    (https.directory / "cert.pem").write_bytes(old)


def test_what_is_not_tls_is_closed_within_a_second(https):
    with socket.create_connection(https.address, timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        start = time.monotonic()
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert time.monotonic() - start < 1
    assert b"HTTP/" not in answer


@pytest.mark.parametrize("mode", ["required", "optional"])
def test_certificates_of_clients(mode, tmp_path, origin):
    own = tmp_path / "client"
    own.mkdir()
    mine = Certified("me", ROOT, now=NOW, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    mine.write(own)
    served = HTTPS(tmp_path, origin, client_ca_file="root.pem", client_certificates=mode)
    try:
        context = served.context()
        context.load_cert_chain(own / "cert.pem", own / "key.pem")
        assert health(served, context).startswith(b"HTTP/1.1 200 ")
        if mode == "optional":
            assert health(served, served.context()).startswith(b"HTTP/1.1 200 ")
        else:
            with pytest.raises(ssl.SSLError, match="certificate required"):
                health(served, served.context())
    finally:
        served.program.stop()


def health(served, context):
    with served.connect(context) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("kind", ["ec", "2048"])
def test_sslscan_finds_nothing_weak(kind, tmp_path, origin):
    sslscan = shutil.which("sslscan")
    if sslscan is None:
        missing("there is no sslscan (Debian, Ubuntu: apt install sslscan)")
    served = HTTPS(tmp_path, origin)
    Certified("scanned", ROOT, now=NOW, key=new_key(kind)).write(tmp_path)
    served.program.wait_for_line("serving a new certificate")
    try:
        host, port = served.address
        scan = subprocess.run(
            [sslscan, "--no-colour", "--no-check-certificate", f"{host}:{port}"],
            capture_output=True,
            check=True,
            encoding="utf-8",
            timeout=120,
        ).stdout
    finally:
        served.program.stop()
    enabled = set(re.findall(r"^((?:SSL|TLS)v[\d.]+)\s+enabled", scan, re.MULTILINE))
    assert enabled == {"TLSv1.2", "TLSv1.3"}
    ciphers = re.findall(r"^(?:Preferred|Accepted)\s+(\S+)\s+\d+ bits\s+(\S+)", scan, re.MULTILINE)
    assert {version for version, _ in ciphers} == enabled
    for _, cipher in ciphers:
        assert re.fullmatch(r"TLS_(AES|CHACHA20)_.*|ECDHE-(RSA|ECDSA)-.*(GCM|POLY1305).*", cipher)
    assert re.search(r"Session renegotiation not supported", scan)
    assert "vulnerable to heartbleed" not in scan.replace("not vulnerable to heartbleed", "")
