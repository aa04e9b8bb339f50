"""Certificates from Pebble: each challenge, renewal under load, an authority that is down."""

import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from portal_gateway.tls.acme_store import Store
from tests.integration import programs
from tests.integration.conftest import missing
from tests.integration.pebble import ChallengeServer, Pebble
from tests.integration.updated_zone import UpdatedZone

ISSUED = r"ACME: issued: "
PATIENCE = 60


@pytest.fixture(autouse=True, scope="session")
def pebble_installed():
    for tool in ("pebble", "pebble-challtestsrv"):
        if shutil.which(tool) is None:
            missing(f"there is no {tool} (Debian: apt install pebble)")


@pytest.fixture(scope="module")
def names():
    with ChallengeServer() as server:
        yield server


class Site:
    """A gateway that asks a Pebble for its certificate."""

    def __init__(self, directory, origin, dns, auto_cert, *, pebble=None, **authority):
        self.directory = directory
        self.http, self.tls = programs.free_port(), programs.free_port()
        self.pebble = pebble or Pebble(
            directory / "pebble", dns, http_port=self.http, tls_port=self.tls, **authority
        )
        self.configuration = {
            "gateway": {
                "listen": f"127.0.0.1:{self.tls}",
                "lease_host": "{lease}.gw.example.com",
                "tls": {
                    "redirect_from": f"127.0.0.1:{self.http}",
                    "auto_cert": {
                        "enabled": True,
                        "email": "admin@example.com",
                        "directory_url": self.pebble.directory_url,
                        "ca_file": str(self.pebble.ca_file),
                        "store": "store",
                        "retry_after": "1s",
                        **auto_cert,
                    },
                },
            },
            "leases": {"plain": {"url": f"http://{origin}"}},
        }
        self.gateway = programs.Gateway(self.configuration, directory)

    @property
    def store(self):
        return Store(self.directory / "store")

    def context(self):
        return ssl.create_default_context(cadata=self.pebble.root())

    def connect(self, name, context=None):
        raw = socket.create_connection(("127.0.0.1", self.tls), timeout=10)
        return (context or self.context()).wrap_socket(raw, server_hostname=name)

    def wait_issued(self, count=1):
        return self.gateway.wait_for_line(ISSUED, count=count, seconds=PATIENCE)

    def stop(self):
        self.gateway.stop()
        self.pebble.stop()


@pytest.fixture
def site(tmp_path, origin, names):
    made = []

    def make(auto_cert, **more):
        made.append(Site(tmp_path, origin, names.dns, auto_cert, **more))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_issued(challenge, site):
    domains = ["gw.example.com", "www.gw.example.com"]
    gateway = site({"challenge": challenge, "domains": domains})
    gateway.wait_issued()
    programs.wait_until(lambda: serves(gateway, domains[1]), 5, "the certificate being served")
    assert gateway.store.held(domains[0]).domains == set(domains)
    assert (gateway.directory / "store").stat().st_mode & 0o777 == 0o700
    assert list(gateway.store.challenges.iterdir()) == []
    assert gateway.gateway.count_lines("TLS handshakes are refused") == 1


def serves(gateway, name, context=None):
    try:
        with gateway.connect(name, context):
            return True
    except ssl.SSLError:
        return False


def test_a_wildcard_by_a_program(site, names, tmp_path):
    hook = tmp_path / "hook"
    hook.write_text(
        f"#!{sys.executable}\n"
        "import json, sys, urllib.request\n"
        "what, name, value = sys.argv[1:]\n"
        "path = {'add': 'set-txt', 'remove': 'clear-txt'}[what]\n"
        "told = json.dumps({'host': name, 'value': value}).encode()\n"
        "opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))\n"
        f"opener.open('{names.management}/' + path, told, timeout=10)\n"
        f"open({str(tmp_path / 'ran')!r}, 'a').write(what + ' ' + name + '\\n')\n"
    )
    hook.chmod(0o755)
    gateway = site({"domains": ["*.gw.example.com"], "dns_hook": str(hook), "propagation": "0s"})
    gateway.wait_issued()
    programs.wait_until(lambda: serves(gateway, "any.gw.example.com"), 5, "it being served")
    ran = (tmp_path / "ran").read_text().splitlines()
    assert ran == [f"{what} _acme-challenge.gw.example.com." for what in ("add", "remove")]
    assert (gateway.directory / "store" / "_.gw.example.com.pem").exists()


def test_a_wildcard_by_updates(site, tmp_path, origin):
    with UpdatedZone("gw.example.com.") as zone:
        key = {
            "server": f"localhost:{zone.port}",
            "key_name": zone.key_name,
            "key_secret": zone.secret,
        }
        gateway = Site(
            tmp_path,
            origin,
            f"127.0.0.1:{zone.port}",
            {
                "domains": ["gw.example.com", "*.gw.example.com"],
                "dns": key,
                "propagation": "0s",
            },
        )
        try:
            gateway.wait_issued()
            assert gateway.store.held("gw.example.com").domains == {
                "gw.example.com",
                "*.gw.example.com",
            }
            assert zone.refused == 0
            # Both names have their records at one place, and nothing stays.
            assert zone.most == 2
            assert zone.records == {}
        finally:
            gateway.stop()
        wrong = {**key, "key_secret": "d3JvbmcgYW5kIHdyb25nIGFuZCB3cm9uZyBhbmQgd3Jvbmc="}
        other = tmp_path / "other"
        other.mkdir()
        gateway = Site(
            other,
            origin,
            f"127.0.0.1:{zone.port}",
            {"domains": ["*.gw.example.com"], "dns": wrong, "propagation": "0s"},
        )
        try:
            gateway.gateway.wait_for_line(r"not issued \(1 in a row\).*no certificate", seconds=30)
        finally:
            gateway.stop()


def test_renewed_while_handshakes_go_on(site):
    """A certificate lives for 9 seconds, and is renewed at two thirds of them."""
    gateway = site({"challenge": "tls-alpn-01", "domains": ["gw.example.com"]}, valid_for=9)
    gateway.wait_issued()
    context = gateway.context()
    programs.wait_until(lambda: serves(gateway, "gw.example.com", context), 5, "it being served")
    failures, serials, shaken, done = [], set(), [0], threading.Event()

    def shake_hands():
        while not done.is_set():
            try:
                with gateway.connect("gw.example.com", context) as connection:
                    serials.add(connection.getpeercert()["serialNumber"])
                    shaken[0] += 1
            except OSError as error:
                failures.append(error)

    threads = [threading.Thread(target=shake_hands) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        gateway.wait_issued(3)
        programs.wait_until(lambda: len(serials) >= 3, 5, "the third certificate being served")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert shaken[0] > 100
    print(f"{shaken[0]} handshakes, {len(serials)} certificates, 0 failures")


def test_an_authority_that_is_down(site, names, tmp_path):
    gateway = site({"domains": ["gw.example.com"], "retry_after": "2s"}, valid_for=12)
    gateway.wait_issued()
    context = gateway.context()
    programs.wait_until(lambda: serves(gateway, "gw.example.com", context), 5, "it being served")
    gateway.pebble.kill()
    failed = r"not issued \((\d+) in a row\): gw.example.com: .*; the certificate is served on"
    gateway.gateway.wait_for_line(failed, seconds=30)
    assert serves(gateway, "gw.example.com", context)
    second = gateway.gateway.wait_for_line(r"not issued \(2 in a row\)", seconds=30)
    assert second
    # Two seconds, then four: no more than these in the ten or so from the first until now.
    assert gateway.gateway.count_lines(r"not issued") == 2
    gateway.gateway.stop()
    # A new process does not begin anew: the store knows when.
    gateway.gateway = programs.Gateway(gateway.configuration, tmp_path)
    history = gateway.store.history("gw.example.com")
    assert history.failures >= 2
    gateway.pebble.restart()
    gateway.wait_issued()
    assert gateway.store.history("gw.example.com").failures == 0


def test_an_authority_that_hangs_does_not_keep_the_gateway(site, tmp_path):
    gateway = site({"domains": ["gw.example.com"]})
    gateway.wait_issued()
    gateway.gateway.stop()
    gateway.pebble.signal(signal.SIGSTOP)
    (tmp_path / "store" / "gw.example.com.pem").unlink()
    (tmp_path / "store" / "gw.example.com.json").unlink()
    gateway.gateway = programs.Gateway(gateway.configuration, tmp_path)
    programs.wait_until(lambda: locked(gateway.store), 10, "an order being under way")
    start = time.monotonic()
    assert gateway.gateway.stop() == 0
    assert time.monotonic() - start < 8
    gateway.pebble.signal(signal.SIGCONT)


def locked(store):
    with store.lock() as mine:
        return not mine


WRITE = """
import sys
from pathlib import Path
from portal_gateway.tls.acme_store import write_whole
path = Path(sys.argv[1])
print("ready", flush=True)
while True:
    for letter in (b"a", b"b"):
        write_whole(path, letter * 100_000)
"""


def test_a_file_of_the_store_is_whole_whenever_a_process_is_killed(tmp_path):
    file = tmp_path / "file"
    for pause in range(10):
        with programs.Program(
            "writer", [sys.executable, "-c", WRITE, file], environment=programs.python_path()
        ) as writer:
            writer.wait_for_line("ready")
            threading.Event().wait(pause / 100)
            writer.kill()
        if file.exists():
            content = file.read_bytes()
            assert content in {b"a" * 100_000, b"b" * 100_000}
    assert file.exists()


def test_several_processes_elect_one(site, tmp_path, origin, names):
    first = site({"domains": ["gw.example.com"], "challenge": "http-01"})
    # No authority comes to the second, on other ports: it serves the certificate all the same.
    second = programs.Gateway(
        {
            **first.configuration,
            "gateway": {
                "listen": "127.0.0.1:0",
                "tls": {
                    **first.configuration["gateway"]["tls"],
                    "redirect_from": "127.0.0.1:0",
                },
            },
        },
        tmp_path,
    )
    try:
        programs.wait_until(
            lambda: first.gateway.count_lines(ISSUED) + second.count_lines(ISSUED) == 1,
            PATIENCE,
            "one certificate",
        )
        for port in (first.tls, int(second.address.rpartition(":")[2])):
            first.tls = port
            programs.wait_until(lambda: serves(first, "gw.example.com"), 5, "both serving it")
        assert first.gateway.count_lines(ISSUED) + second.count_lines(ISSUED) == 1
    finally:
        second.stop()


@pytest.mark.parametrize("required", [True, False])
def test_external_accounts(required, site):
    mac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    eab = {"eab": {"key_id": "kid-1", "hmac_key": mac}} if required else {}
    gateway = site(
        {"domains": ["gw.example.com"], **eab},
        externalAccountBindingRequired=True,
        externalAccountMACKeys={"kid-1": mac},
    )
    if required:
        gateway.wait_issued()
    else:
        gateway.gateway.wait_for_line("the authority wants an external account: write eab")


def test_what_is_asked_for_at_the_place_of_tokens(site):
    gateway = site({"domains": ["gw.example.com"], "challenge": "http-01"})
    gateway.wait_issued()
    place = "/.well-known/acme-challenge"
    targets = [
        *(place, f"{place}/", f"{place}/unknown", f"{place}/a;b", f"{place}/..%2flock"),
        *(f"{place}/{'t' * 4000}", f"{place}/a/b", f"http://other/{place[1:]}/x"),
        "/%2ewell-known/acme-challenge/x",
    ]
    for method in ("GET", "POST", "HEAD"):
        for host in ("gw.example.com", "plain.gw.example.com"):
            for target in targets:
                assert plainly(gateway, method, target, host).startswith(b"HTTP/1.1 404 "), target
    assert plainly(gateway, "GET", "/other", "gw.example.com").startswith(b"HTTP/1.1 308 ")
    refused = plainly(gateway, "GET", f"{place}/../x", "gw.example.com")
    assert re.match(rb"HTTP/1\.1 (400|404) ", refused)
    # Nor is a lease asked at its own host, by TLS: its guard would have wanted a key.
    context = gateway.context()
    programs.wait_until(lambda: serves(gateway, "gw.example.com", context), 5, "it being served")
    context.check_hostname = False
    for target, status in ((f"{place}/x", b"404"), ("/x", b"401")):
        with gateway.connect("plain.gw.example.com", context) as connection:
            fields = "Host: plain.gw.example.com\r\nConnection: close\r\n"
            connection.sendall(f"GET {target} HTTP/1.1\r\n{fields}\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 " + status


@pytest.fixture(scope="session")
def newer_pebble():
    directory = programs.ROOT / "tests" / "pebble"
    if shutil.which("go") is None:
        missing("there is no Go toolchain to build a Pebble with that knows ARI")
    go = ["go", "-C", directory, "list", "-m"]
    if subprocess.run(go, capture_output=True, check=False).returncode:
        missing("this Go toolchain is too old to build Pebble")
    built = subprocess.run(
        [directory / "build.sh"], capture_output=True, check=False, encoding="utf-8"
    )
    if built.returncode:
        pytest.fail(f"Pebble does not build:\n{built.stderr}", pytrace=False)
    return directory / "bin" / "pebble"


def test_renewed_when_the_authority_says_so(site, newer_pebble):
    gateway = site({"domains": ["gw.example.com"]}, program=newer_pebble)
    gateway.wait_issued()
    history = gateway.directory / "store" / "gw.example.com.json"
    programs.wait_until(
        lambda: gateway.store.history("gw.example.com").renew_at is not None, 10, "its word"
    )
    # Pebble says two thirds of ninety days too, and to ask again in six hours.
    told = gateway.store.history("gw.example.com")
    assert 50 < (told.renew_at - datetime.now(UTC)).days < 90
    assert 5 < (told.ask_at - datetime.now(UTC)).total_seconds() / 3600 < 7
    leaf = gateway.store.leaf("gw.example.com")
    pem = leaf.public_bytes(Encoding.PEM).decode()
    gateway.pebble.wants_renewal(pem, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
    # As if the six hours were over.
    history.unlink()
    gateway.wait_issued(2)
    assert gateway.store.leaf("gw.example.com") != leaf


class Web:
    """``twistd web`` on an endpoint string, and the Pebble that it asks."""

    def __init__(self, directory, dns, domains, more):
        self.tls = programs.free_port()
        self.store = directory / "store"
        self.pebble = Pebble(directory / "pebble", dns, http_port=1, tls_port=self.tls)
        (directory / "index.html").write_text("hello from the web")
        url = self.pebble.directory_url.replace(":", "\\:")
        endpoint = f"tcp\\:{self.tls}\\:interface=127.0.0.1"
        self.web = programs.Program(
            "twistd-web",
            [
                *(sys.executable, "-c", TWISTD, "-n", "--pidfile=", "web", "--path", directory),
                *("--port", f"acme:{self.store}:directory={url}{more}:endpoint={endpoint}"),
            ],
            environment=programs.python_path(),
            ours=True,
        )

    def stop(self):
        self.web.stop()
        self.pebble.stop()

    def page(self, name):
        context = ssl.create_default_context(cadata=self.pebble.root())
        raw = socket.create_connection(("127.0.0.1", self.tls), timeout=10)
        with context.wrap_socket(raw, server_hostname=name) as connection:
            fields = f"Host: {name}\r\nConnection: close\r\n"
            connection.sendall(f"GET /index.html HTTP/1.1\r\n{fields}\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))


TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


@pytest.mark.parametrize("by_files", [False, True])
def test_any_service_on_an_endpoint_string(by_files, tmp_path, names):
    both = ["a.example.com", "b.example.com"]
    if by_files:
        (tmp_path / "store").mkdir(mode=0o700)
        (tmp_path / "store" / "a.example.com.pem").touch()
    ca_file = tmp_path / "pebble" / "https-root.pem"
    more = f":ca_file={ca_file}:email=me@example.com:retry_after=1"
    web = Web(tmp_path, names.dns, both, more if by_files else f"{more}:domains={','.join(both)}")
    try:
        web.web.wait_for_line(r"ACME: issued: a.example.com", seconds=PATIENCE)
        if by_files:
            (tmp_path / "store" / "b.example.com.pem").touch()
            web.web.wait_for_line(r"ACME: issued: b.example.com", seconds=PATIENCE)
        for name in both:
            programs.wait_until(lambda name=name: is_served(web, name), 5, f"{name} being served")
            assert web.page(name).endswith(b"hello from the web")
        with pytest.raises(ssl.SSLError):
            web.page("c.example.com")
    finally:
        web.stop()


def is_served(web, name):
    try:
        return bool(web.page(name))
    except ssl.SSLError:
        return False


def plainly(gateway, method, target, host):
    with socket.create_connection(("127.0.0.1", gateway.http), timeout=10) as connection:
        fields = f"Host: {host}\r\nContent-Length: 0\r\nConnection: close\r\n"
        connection.sendall(f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))
