"""Feature 2.2: the acceptance criteria, each through a whole gateway in memory."""

import pytest

from tests.frontend.limited_world import Limited

PER_KEY = """
rate_limit:
  per_key:
    default: {requests_per_second: 2, burst: 4}
    overrides:
      "sk_live_premium": {requests_per_second: 20, burst: 40}
"""


@pytest.fixture
def limited():
    worlds = []

    def make(limits, **options):
        worlds.append(Limited(limits, **options))
        return worlds[-1]

    yield make
    for world in worlds:
        world.stop()


def test_each_key_is_tracked_separately(limited):
    world = limited(PER_KEY)
    assert world.admitted() == 4
    assert world.admitted(key="sk_live_other_0123") == 4
    assert world.admitted() == 0


def test_default_limits_applied(limited):
    world = limited(PER_KEY)
    answer = world.ask(key="sk_live_other_0123")
    assert answer.fields[b"ratelimit-policy"] == b'"key";q=4;w=2'
    assert world.admitted(key="sk_live_other_0123") == 3
    assert world.admitted(key="sk_live_other_0123", target="/peer/second/") == 0


def test_override_limits_work(limited):
    world = limited(PER_KEY)
    assert world.admitted(key="sk_live_premium") == 40


def test_rate_limit_headers_show_remaining(limited):
    world = limited(PER_KEY)
    remaining = [world.ask().fields[b"x-ratelimit-remaining"] for _ in range(5)]
    assert remaining == [b"3", b"2", b"1", b"0", b"0"]
