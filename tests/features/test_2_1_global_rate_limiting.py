"""Feature 2.1: the acceptance criteria, each through a whole gateway in memory."""

import json

import pytest

from tests.frontend.limited_world import FIELDS, Limited

GLOBAL = """
rate_limit:
  global: {requests_per_second: 10, burst: 20}
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


def test_requests_over_the_limit_return_429(limited):
    world = limited(GLOBAL)
    assert world.admitted() == 20
    assert world.reached == 20
    answer = world.ask()
    assert world.reached == 20
    assert answer.status == 429
    assert answer.fields[b"content-type"] == b"application/problem+json"
    assert answer.fields[b"retry-after"] == b"1"
    problem = json.loads(answer.body)
    assert problem["error"] == "rate_limit_exceeded"
    assert problem["detail"] == (
        "the limit of 10 requests a second to the gateway is reached; wait 1 s"
    )


def test_rate_limit_headers_are_in_every_response(limited):
    world = limited(GLOBAL)
    answers = [world.ask(), world.ask("/peer/tool"), world.ask("/peer/nobody/"), world.ask()]
    assert [answer.status for answer in answers] == [204, 308, 404, 204]
    for used, answer in enumerate(answers, 1):
        assert answer.limits == FIELDS
        assert answer.fields[b"ratelimit-policy"] == b'"global";q=20;w=2'
        assert answer.fields[b"ratelimit"] == b'"global";r=%d;t=1' % (20 - used)
        assert answer.fields[b"x-ratelimit-remaining"] == b"%d" % (20 - used)
    world.admitted()
    refused = world.ask()
    assert refused.limits == FIELDS
    assert refused.fields[b"ratelimit"] == b'"global";r=0;t=1'


def test_burst_traffic_is_handled(limited):
    world = limited(GLOBAL)
    assert world.admitted() == 20
    world.reactor.advance(1)
    assert world.admitted() == 10
    world.reactor.advance(60)
    assert world.admitted() == 20


def test_who_waits_as_long_as_retry_after_says_is_served(limited):
    world = limited("\nrate_limit: {global: {requests_per_minute: 6, burst: 1}}")
    assert world.admitted() == 1
    world.reactor.advance(0.5)
    refused = world.ask()
    assert refused.fields[b"retry-after"] == b"10"
    world.reactor.advance(10)
    assert world.ask().status == 204


def test_no_memory_leaks(limited):
    """What is not in use takes no place, and neither does what was refused."""
    world = limited(GLOBAL + "  per_key: {default: 10}\n  per_lease: {tool: 10, second: 10}\n")
    for _ in range(5):
        world.admitted()
        world.admitted(target="/peer/second/", key="sk_live_premium")
        world.ask(key="sk_live_bad_0123")
        assert len(world.gateway.sources.tables) == 6
        world.reactor.advance(5)
        assert len(world.gateway.sources.tables) == 0
