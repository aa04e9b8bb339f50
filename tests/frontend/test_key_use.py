import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from portal_gateway.config.database import DatabaseSection
from portal_gateway.frontend.key_use import USE_INTERVAL, KeyUse
from portal_gateway.store.api_key_rows import StoredKey, insert_key, read_key
from portal_gateway.store.database import Database, DatabaseUnavailable
from portal_gateway.testing.threads import NoThreads

NOW = 1_795_608_000


class World:
    """A database with a key, and its use."""

    def __init__(self, tmp_path):
        self.clock = Clock()
        self.database = Database(DatabaseSection(file=tmp_path / "keys.sqlite"), NoThreads())
        key = StoredKey("key_a", "", frozenset({"read"}), "", None, NOW)
        self.database.run_here(lambda connection: insert_key(connection, key, bytes(32)))
        self.use = KeyUse(self.database, self.clock)

    def written(self):
        return self.database.run_here(lambda connection: read_key(connection, "key_a").last_used_at)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.use.startService()
    yield world
    world.use.stopService()
    world.database.close()
    assert world.clock.getDelayedCalls() == []


def test_use_is_written_down_now_and_then_and_at_the_end(world):
    world.use.note("key_a", NOW + 0.5)
    assert world.written() is None
    world.clock.advance(USE_INTERVAL)
    assert world.written() == NOW
    world.use.note("key_a", NOW + 7)
    world.use.note("key_a", NOW + 9)
    assert world.use.stopService().called
    assert world.written() == NOW + 9


def test_nothing_is_asked_where_no_key_was_used(world):
    world.database.run = lambda _work: pytest.fail("it was asked")
    world.clock.advance(USE_INTERVAL)


def test_use_that_could_not_be_written_is_written_later_unless_there_is_later_use(world):
    run = world.database.run
    world.database.run = lambda _work: fail(DatabaseUnavailable("away"))
    world.use.note("key_a", NOW)
    world.clock.advance(USE_INTERVAL)
    world.database.run = lambda work: waiting.addCallback(lambda _: run(work))
    waiting = Deferred()
    world.clock.advance(USE_INTERVAL)
    world.use.note("key_a", NOW + 3)
    waiting.errback(DatabaseUnavailable("away"))
    world.database.run = run
    world.clock.advance(USE_INTERVAL)
    assert world.written() == NOW + 3


def test_a_defect_is_logged_and_does_not_end_it(world):
    failures = []
    observer = lambda event: failures.append(event.get("log_failure"))  # noqa: E731
    run = world.database.run
    world.database.run = lambda work: succeed(None).addCallback(lambda _: work("no connection"))
    world.use.note("key_a", NOW)
    globalLogPublisher.addObserver(observer)
    try:
        world.clock.advance(USE_INTERVAL)
    finally:
        globalLogPublisher.removeObserver(observer)
    assert len([failure for failure in failures if failure]) == 1
    world.database.run = run
    world.use.note("key_a", NOW + 1)
    world.clock.advance(USE_INTERVAL)
    assert world.written() == NOW + 1
