"""A key of the database that is revoked ends what it has under way."""

import json

import pytest

from portal_gateway.config.model import key_digest
from portal_gateway.frontend.stored_keys import POLL_INTERVAL
from portal_gateway.policy.api_key_text import key_text
from portal_gateway.store.api_key_rows import StoredKey, insert_key, revoke_key
from tests.frontend.gateway_world import head_of
from tests.frontend.raw_frames import CLOSE
from tests.frontend.websocket_world import Sockets

CONFIG = """
gateway: {listen: "127.0.0.1:8080"}
auth: {keys: {database: {}}}
leases: {tool: {url: "http://127.0.0.1:3000"}}
"""

NOW = 1_795_608_000


class World(Sockets):
    """A gateway with two keys in its database."""

    def __init__(self, directory):
        super().__init__(CONFIG, directory=directory, wall_clock=self.now)
        self.keys = [self.create(number) for number in (1, 2)]
        # What was there before is no change.
        self.reactor.advance(POLL_INTERVAL)

    def now(self):
        return NOW + (self.reactor.seconds() if hasattr(self, "reactor") else 0)

    def do(self, function, *arguments):
        (database,) = self.gateway.sources.databases
        return database.run_here(lambda connection: function(connection, *arguments))

    def create(self, number):
        secret = key_text(number.to_bytes(32))
        scopes = frozenset({"read", "write"})
        key = StoredKey(f"key_{number}", "", scopes, "", None, NOW)
        self.do(insert_key, key, key_digest(secret.encode()))
        return secret

    def revoke(self, number):
        self.do(revoke_key, f"key_{number}", NOW)
        self.reactor.advance(POLL_INTERVAL)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.stop()


def test_what_the_key_has_under_way_ends_and_that_of_others_goes_on(world):
    client, _ = world.open(key=world.keys[0])
    other, lease = world.open(key=world.keys[1])
    waiting = world.ask("/peer/tool/slow", key=world.keys[0])
    world.revoke(1)
    (frame,) = client.frames
    assert (frame.opcode, frame.payload[:2]) == (CLOSE, b"\x03\xf0")
    assert json.loads(head_of(waiting.received)[2])["error"] == "invalid_api_key"
    assert other.frames == lease.frames == []
    world.revoke(2)
    assert other.frames[0].opcode == CLOSE


def test_a_change_that_takes_nothing_away_ends_nothing(world):
    client, _ = world.open(key=world.keys[0])
    world.create(3)
    world.reactor.advance(POLL_INTERVAL)
    assert client.frames == []


def test_while_the_database_is_away_nothing_ends(world):
    client, _ = world.open(key=world.keys[0])
    stored = world.gateway.sources.now.stored_keys
    stored.available = False
    stored._cache.changed(None)
    stored.on_change(None)
    assert client.frames == []
    stored.available = True
    world.revoke(1)
    assert client.frames[0].opcode == CLOSE
