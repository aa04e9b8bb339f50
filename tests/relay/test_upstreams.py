"""What two configurations have in common is the same afterwards; the rest comes to its end."""

import pytest

from portal_gateway.config.loading import load_config_text
from portal_gateway.policy.fair_line import FairLine
from portal_gateway.relay.credential_file import CredentialFileError
from portal_gateway.relay.retirement import LOOK_EVERY
from portal_gateway.relay.session import State
from portal_gateway.relay.upstreams import Upstreams
from portal_gateway.testing.memory_reactor import MemoryReactor

RELAYS = """
portal:
  relays: [{url: "ws://127.0.0.1:4017/relay"}, {url: "http://127.0.0.1:4018"}]
leases:
  tool: {url: "http://127.0.0.1:3000"}
  other: {url: "http://127.0.0.1:3001"}
"""


class World:
    def __init__(self, directory):
        self.reactor = MemoryReactor()
        self.directory = directory
        self.upstreams = Upstreams(self.reactor, FairLine)
        self.use(RELAYS)
        self.upstreams.start()

    def use(self, text):
        config = load_config_text(text, "", {}, directory=self.directory)
        self.upstreams.use(self.upstreams.prepare(config))

    @property
    def relay(self):
        (relay,) = self.upstreams.router.relays
        return relay

    def pool(self, name):
        return self.upstreams.router.find(name).pool


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    stopped = []
    made.upstreams.stop().addBoth(stopped.append)
    made.reactor.advance(30)
    assert len(stopped) == 1
    assert made.reactor.getDelayedCalls() == []


def test_what_is_the_same_is_the_same(world):
    relay, tool, other = world.relay, world.pool("tool"), world.pool("other")
    world.use(RELAYS.replace("3001", "3002"))
    assert world.relay is relay
    assert world.pool("tool") is tool
    assert world.pool("other") is not other
    assert relay.session.state is not State.STOPPED


def test_limits_of_pools_change_where_they_are(world):
    tool = world.pool("tool")
    world.use(RELAYS.replace("portal:\n", "portal:\n  pool: {max_active: 7}\n"))
    assert world.pool("tool") is tool
    assert tool.limits.max_active == 7
    by_http = world.pool("somebody")
    assert by_http.limits.max_active == 7
    world.use(RELAYS)
    assert world.pool("somebody") is by_http
    assert by_http.limits.max_active == 1000


def test_a_relay_that_is_gone_is_left_and_a_new_one_reached(world):
    old = world.relay
    world.use(RELAYS.replace("4017", "4019"))
    assert world.relay is not old
    assert world.relay.session.state is not State.IDLE
    assert old.session.state is not State.STOPPED
    world.reactor.advance(LOOK_EVERY)
    assert old.session.state is State.STOPPED


def test_one_that_is_used_is_left_when_it_is_not(world):
    old = world.relay
    pool = old._pools.get("A" * 26)
    busy = pool._busy
    busy.add("a connection")
    world.use("leases: {tool: {url: 'http://127.0.0.1:3000'}}")
    world.reactor.advance(3 * LOOK_EVERY)
    assert old.session.state is not State.STOPPED
    busy.clear()
    world.reactor.advance(LOOK_EVERY)
    assert old.session.state is State.STOPPED


def test_the_gateways_own_key(world, tmp_path):
    """The one that was made up stays; another one needs sessions of its own."""
    relay = world.relay
    world.use(RELAYS + "sse: {idle_timeout: 5s}\n")
    assert world.relay is relay
    with_file = RELAYS.replace("portal:\n", "portal:\n  credential_file: key.pem\n")
    world.use(with_file)
    named = world.relay
    assert named is not relay
    world.use(with_file)
    assert world.relay is named
    (tmp_path / "key.pem").unlink()
    world.use(with_file)
    assert world.relay is not named
    (tmp_path / "key.pem").write_text("no key")
    now = world.relay
    with pytest.raises(CredentialFileError):
        world.use(with_file)
    assert world.relay is now


def test_another_file_of_authorities_is_another_origin(world, tmp_path):
    from tests.tls.tls_world import Certified

    secure = "leases: {tool: {url: 'https://127.0.0.1:3000', tls: {ca_file: cert.pem}}}"
    cert, _ = Certified("first").write(tmp_path)
    secure = secure.replace("cert.pem", cert.name)
    world.use(secure)
    tool = world.pool("tool")
    world.use(secure)
    assert world.pool("tool") is tool
    cert.write_bytes(cert.read_bytes() + b"\n")
    world.use(secure)
    assert world.pool("tool") is not tool
