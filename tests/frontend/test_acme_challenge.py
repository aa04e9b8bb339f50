"""The place of tokens in a whole gateway, in memory: the authority is never asked for anything."""

import pytest

from portal_gateway.tls.acme_answers import ACME_TLS, Answers
from tests.frontend.gateway_world import KEY, World, head_of
from tests.frontend.test_negotiation import SecureWorld

CONFIG = """
gateway:
  listen: "127.0.0.1:8080"
  lease_host: "{lease}.gw.example"
  tls:
    redirect_from: "127.0.0.1:80"
    auto_cert: {domains: [gw.example], challenge: %s, store: "%s"}
auth:
  keys: [{key: "sk_live_abc123...", id: tester}]
leases:
  tool: {url: "http://127.0.0.1:3000"}
"""

PLACE = "/.well-known/acme-challenge"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"


class ChallengeWorld(SecureWorld):
    """A gateway that waits for its first certificate; nothing runs in threads."""

    def __init__(self, directory, challenge="http-01"):
        store = directory / "store"
        self.waits = []
        super().__init__(CONFIG % (challenge, store))
        self.answers = Answers(store / "challenges")

    def open_upstreams(self):
        # What is due is held, and never comes to the authority.
        self.reactor.callFromThread = lambda function, *arguments: None
        threads = self.gateway.certificate.renewal._threads
        threads.run = self.hold

    def hold(self, work):
        from twisted.internet.defer import Deferred

        self.waits.append(work)
        return Deferred()

    def ask_plain(self, target, *, method="GET", host="gw.example"):
        wire = self.plain(80)
        wire.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        self.reactor.settle()
        return head_of(wire.received)


@pytest.fixture
def world(tmp_path):
    made = ChallengeWorld(tmp_path)
    yield made
    made.stop()


@pytest.mark.parametrize("host", ["gw.example", "tool.gw.example", "192.0.2.1"])
def test_the_authority_gets_its_answer_at_every_host(world, host):
    world.answers.put_token(TOKEN, f"{TOKEN}.thumb")
    first, fields, body = world.ask_plain(f"{PLACE}/{TOKEN}", host=host)
    assert first == b"HTTP/1.1 200 OK"
    assert body == f"{TOKEN}.thumb".encode()
    assert (b"Content-Type", b"application/octet-stream") in fields
    assert (b"Cache-Control", b"no-store") in fields


def test_after_the_order_it_is_404(world):
    world.answers.put_token(TOKEN, "x")
    world.answers.remove_token(TOKEN)
    assert world.ask_plain(f"{PLACE}/{TOKEN}")[0] == b"HTTP/1.1 404 Not Found"


@pytest.mark.parametrize("host", ["gw.example", "tool.gw.example"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "rest", ["", "/", "/unknown", f"/{TOKEN};x", f"/{TOKEN}/", f"/x/{TOKEN}", "/..%2flock", "/%00"]
)
def test_everything_else_there_is_404_and_goes_nowhere(world, host, method, rest):
    world.answers.put_token(TOKEN, "x")
    first, _, _ = world.ask_plain(PLACE + rest, method=method, host=host)
    assert first == b"HTTP/1.1 404 Not Found"
    assert world.origin.wires == []


def test_a_token_is_for_reading_only(world):
    world.answers.put_token(TOKEN, "x")
    first, _, _ = world.ask_plain(f"{PLACE}/{TOKEN}", method="PUT")
    assert first == b"HTTP/1.1 404 Not Found"


@pytest.mark.parametrize("target", ["/", "/peer/tool/", "/.well-known/other", "/acme-challenge/x"])
def test_every_other_path_redirects_as_before(world, target):
    first, fields, _ = world.ask_plain(target)
    assert first.startswith(b"HTTP/1.1 308")
    assert (b"Location", b"https://gw.example:8080" + target.encode()) in fields


def test_until_there_is_a_certificate_handshakes_are_refused(world):
    wire = world.connect_tls(b"http/1.1")
    assert wire.lost is not None
    assert len(world.waits) == 1


def test_with_another_challenge_the_place_is_like_any_other(tmp_path):
    world = ChallengeWorld(tmp_path, "tls-alpn-01")
    world.answers.put_token(TOKEN, "x")
    first, _, _ = world.ask_plain(f"{PLACE}/{TOKEN}")
    assert first.startswith(b"HTTP/1.1 308")
    world.stop()


def test_tls_alpn_is_a_handshake_and_no_more(tmp_path):
    world = ChallengeWorld(tmp_path, "tls-alpn-01")
    world.answers.put_certificate("gw.example", "authorization")
    wire = world.connect_tls(ACME_TLS, name=b"gw.example")
    assert wire.lost is not None
    wire = world.connect_tls(ACME_TLS, name=b"other.example")
    assert wire.lost is not None
    lines = world.stop()
    assert not [line for line in lines if line["message"] == "request_completed"]


def test_a_lease_has_the_place_for_itself_without_auto_cert():
    world = World(
        'gateway: {listen: "127.0.0.1:8080", lease_host: "{lease}.gw.example"}\n'
        f'auth: {{keys: [{{key: "{KEY}", id: tester}}]}}\n'
        'leases: {tool: {url: "http://127.0.0.1:3000"}}\n'
    )
    wire = world.connect()
    wire.send(f"GET {PLACE}/x HTTP/1.1\r\nHost: tool.gw.example\r\n\r\n".encode())
    world.reactor.settle()
    assert wire.received.startswith(b"HTTP/1.1 401 ")
    world.stop()
