from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from portal_gateway.tls.acme_attempt import Outcome
from portal_gateway.tls.acme_renewal import LOOK_EVERY, STOP_WITHIN, Renewal
from portal_gateway.tls.acme_schedule import History
from portal_gateway.tls.acme_settings import AutoCert, Wanted
from portal_gateway.tls.acme_store import Store
from tests.tls.tls_world import Certified

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Threads:
    """Holds what is to run until it is told to run it."""

    def __init__(self):
        self.waiting = []
        self.stopped = 0

    def run(self, work):
        done = Deferred()
        self.waiting.append((work, done))
        return done

    def stop(self):
        assert not self.waiting
        self.stopped += 1

    def finish(self):
        work, done = self.waiting.pop()
        try:
            result = work()
        except OSError:
            done.errback()
        else:
            done.callback(result)


class World:
    """A renewal service over a store, whose attempts are scripted."""

    def __init__(self, directory, *stems):
        self.clock = Clock()
        self.threads = Threads()
        self.store = Store(directory / "store")
        self.wanted = [Wanted(stem, (stem,)) for stem in stems]
        self.attempts = []
        self.result = Outcome
        settings = AutoCert(store=self.store.path, domains=stems, challenge="http-01")
        self.service = Renewal(
            self.clock,
            self.threads,
            self.store,
            settings,
            lambda: self.wanted,
            now=self.now,
            attempt=self.attempt,
        )
        self.log = []
        globalLogPublisher.addObserver(self._observe)

    def _observe(self, event):
        if event["log_namespace"].startswith("portal_gateway"):
            self.log.append(f"{event['log_level'].name}: {formatEvent(event)}")

    def now(self):
        return START + timedelta(seconds=self.clock.seconds())

    def attempt(self, store, settings, wanted, now, chance, stopping):
        assert 0 <= chance <= 1
        self.attempts.append((wanted.stem, self.clock.seconds()))
        self.stopping = stopping
        return self.result()

    def issue(self, stem, *, lasts=90 * 86400):
        now = self.now()
        made = Certified(hosts=(stem,), now=now, since=timedelta(), lasts=timedelta(seconds=lasts))
        self.store.save(stem, made.key_pem, made.pem)
        self.store.write_history(stem, History(ask_at=now + timedelta(days=1)))
        return Outcome(notes=[f"issued: {stem}"])

    def run(self, seconds, step=0.1):
        """Let time pass; whatever is to be done is done at once."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            if self.threads.waiting:
                self.threads.finish()

    def close(self):
        globalLogPublisher.removeObserver(self._observe)
        assert self.clock.getDelayedCalls() == []


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path, "a.example")
    yield made
    made.close()


def test_a_missing_certificate_is_issued_and_then_nothing_is_asked(world):
    world.result = lambda: world.issue("a.example")
    world.service.startService()
    world.run(60)
    assert [stem for stem, _ in world.attempts] == ["a.example"]
    assert world.log == ["info: ACME: issued: a.example"]
    assert world.service.expiries() == {"a.example": world.store.held("a.example").until}
    world.service.stopService()
    assert world.threads.stopped == 1


def test_one_after_the_other(tmp_path):
    world = World(tmp_path, "a.example", "b.example")
    world.result = lambda: world.issue(world.attempts[-1][0])
    world.service.startService()
    world.clock.advance(0)
    assert len(world.threads.waiting) == 1
    world.clock.advance(100)
    assert len(world.threads.waiting) == 1
    world.run(10)
    assert [stem for stem, _ in world.attempts] == ["a.example", "b.example"]
    world.service.stopService()
    world.close()


def test_a_name_that_comes_later_is_seen_within_a_look(world):
    world.issue("a.example")
    world.result = lambda: world.issue("b.example")
    world.service.startService()
    world.run(20)
    assert world.attempts == []
    world.wanted.append(Wanted("b.example", ("b.example",)))
    world.run(LOOK_EVERY + 0.5)
    assert [stem for stem, _ in world.attempts] == ["b.example"]
    world.service.stopService()


def test_it_is_renewed_at_two_thirds(world):
    world.result = lambda: world.issue("a.example", lasts=3000)
    world.service.startService()
    world.run(3700, step=1.0)
    (_, first), (_, second) = world.attempts
    assert 1900 <= second - first <= 2010
    world.service.stopService()


def test_a_failure_is_a_warning_and_is_not_tried_again_before_its_time(world):
    """Even where the store could not be written."""
    world.result = lambda: Outcome(
        world.now() + timedelta(seconds=300), warnings=["not issued (1 in a row)"]
    )
    world.service.startService()
    world.run(299)
    assert len(world.attempts) == 1
    world.run(10)
    assert len(world.attempts) == 2
    assert world.log == ["warn: ACME: not issued (1 in a row)"] * 2
    world.service.stopService()


def test_what_another_process_does_is_waited_for_without_a_rush(world):
    world.service.startService()
    world.run(10)
    assert 2 <= len(world.attempts) <= 10
    assert world.log == []
    world.service.stopService()


def test_a_store_that_cannot_be_written_is_a_line(world):
    def fail():
        raise PermissionError(13, "Permission denied")

    world.result = fail
    world.service.startService()
    world.run(3500, step=1.0)
    assert len(world.attempts) == 1
    assert world.log == ["warn: ACME: the store cannot be used: [Errno 13] Permission denied"]
    world.service.stopService()


def test_to_stop_waits_for_what_is_under_way(world):
    world.service.startService()
    world.clock.advance(0)
    stopped = []
    world.service.stopService().addCallback(stopped.append)
    assert stopped == []
    world.threads.finish()
    assert world.stopping.is_set()
    assert stopped == [None]
    assert world.threads.stopped == 1


def test_to_stop_does_not_wait_for_ever(world):
    world.service.startService()
    world.clock.advance(0)
    stopped = []
    world.service.stopService().addCallback(stopped.append)
    world.clock.advance(STOP_WITHIN)
    assert stopped == [None]
    world.threads.finish()
    assert world.attempts[0][0] == "a.example"


def test_a_look_that_fails_is_not_the_last(world):
    wanted = world.wanted

    def fail():
        raise PermissionError(13, "Permission denied")

    world.service._wanted = fail
    world.service.startService()
    world.run(LOOK_EVERY)
    assert world.log
    assert set(world.log) == {
        "warn: ACME: the store cannot be looked at: [Errno 13] Permission denied"
    }
    world.service._wanted = lambda: wanted
    world.run(LOOK_EVERY + 1)
    assert world.attempts
    world.service.stopService()
