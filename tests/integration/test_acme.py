"""Certificates from Pebble: each challenge, renewal under load, an authority that is down."""

import shutil
import socket
import ssl

import pytest

from portal_gateway.tls.acme_store import Store
from tests.integration import programs
from tests.integration.conftest import missing
from tests.integration.pebble import ChallengeServer, Pebble

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
