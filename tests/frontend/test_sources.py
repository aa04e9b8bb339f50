"""Whom the guards ask, from one configuration to the next."""

import pytest

from portal_gateway.config.loading import load_config_text
from portal_gateway.frontend.sources import Sources
from portal_gateway.relay.retirement import LOOK_EVERY
from portal_gateway.testing.memory_reactor import MemoryReactor
from portal_gateway.testing.threads import NoThreads

REDIS = """
rate_limit:
  storage: {type: redis, redis: {addr: "redis.test:6379"}}
  global: {requests_per_second: 1}
"""
QUOTAS = "quotas: {daily: {default: {requests: 5}}}\n"
KEYS = "auth: {keys: {database: {}}}\n"


class World:
    def __init__(self, directory):
        self.reactor = MemoryReactor()
        self.directory = directory
        self.sources = Sources(self.reactor, lambda: 1000.0, NoThreads())

    def use(self, text):
        """The sources of a configuration, which are asked from now on."""
        config = load_config_text(text or "{}", "", {}, directory=self.directory)
        self.sources.use(self.sources.prepare(config))
        self.reactor.settle()
        return self.sources.now

    def start(self, text):
        now = self.use(text)
        self.sources.startService()
        self.reactor.settle()
        return now


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    stopped = []
    made.sources.stopService().addBoth(stopped.append)
    made.reactor.advance(10)
    assert len(stopped) == 1
    assert made.reactor.getDelayedCalls() == []


def test_what_is_the_same_is_the_same(world):
    text = REDIS + KEYS + QUOTAS
    first = world.start(text)
    second = world.use(text + "sse: {idle_timeout: 5s}\n")
    for name in ("redis", "quotas", "stored_keys", "databases"):
        assert getattr(first, name) == getattr(second, name)
    assert first.redis.figures.attempts == 1
    assert [service.running for service in second.services] == [1, 1]


def test_another_redis_is_asked_and_the_first_ends_when_it_has_answered(world):
    first = world.start(REDIS)
    first.redis._in_flight = 1
    second = world.use(REDIS.replace("redis.test", "other.test"))
    assert second.redis is not first.redis
    assert second.redis.figures.attempts == 1
    world.reactor.advance(2 * LOOK_EVERY)
    assert first.redis._running
    first.redis._in_flight = 0
    world.reactor.advance(LOOK_EVERY)
    assert not first.redis._running
    assert world.use("").redis is None


def test_use_is_written_where_it_was_counted_before_another_store_counts(world):
    first = world.start(QUOTAS)
    second = world.use(QUOTAS + "database: {file: other.db}\n")
    assert second.quotas is not first.quotas
    assert not first.quotas.keeper.running
    assert second.quotas.keeper.running
    assert world.use("").quotas is None
    assert not second.quotas.keeper.running


def test_one_database_for_all_that_say_the_same(world):
    now = world.start(KEYS + QUOTAS)
    assert len(world.sources.databases) == 1
    assert now.stored_keys.running
    # What is left of it stays open.
    (database,) = world.sources.databases
    world.use(KEYS)
    assert world.sources.databases == [database]
    world.use("")
    assert world.sources.databases == []
    assert not now.stored_keys.running


def test_tokens_are_judged_by_others_only_when_their_section_is_another(world):
    secret = "s" * 32
    text = f"auth: {{jwt: {{enabled: true, algorithm: HS256, secret: {secret}}}}}\n"
    first = world.start(text)
    assert world.use(text + "sse: {idle_timeout: 5s}\n").tokens is first.tokens
    assert world.use(text.replace("sss", "ttt")).tokens is not first.tokens
