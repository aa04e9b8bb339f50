"""Rate limits over a whole gateway in memory: what counts, what does not, and failed attempts."""

import json

import pytest

from portal_gateway.service import use_monotonic_time
from tests.frontend.gateway_world import KEY, World
from tests.frontend.limited_world import FIELDS, Answer, Limited

GLOBAL = """
rate_limit:
  global: {requests_per_second: 10, burst: 20}
"""

PER_KEY = """
rate_limit:
  per_key:
    default: {requests_per_second: 2, burst: 4}
    overrides:
      "sk_live_premium": {requests_per_second: 20, burst: 40}
"""

PER_LEASE = """
rate_limit:
  per_lease:
    tool: 5
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


def test_a_request_that_one_limit_refuses_costs_no_other(limited):
    world = limited(GLOBAL + PER_KEY.replace("rate_limit:\n", ""))
    assert world.admitted() == 4
    for _ in range(50):
        assert world.ask().status == 429
    assert world.ask(key="sk_live_premium").fields[b"ratelimit"] == (
        b'"global";r=15;t=1, "key";r=39;t=1'
    )


def test_what_authentication_or_scopes_refuse_costs_no_limit(limited):
    world = limited(GLOBAL)
    for _ in range(50):
        assert world.ask(key="sk_live_no_such_key").status == 401
        assert world.ask(key=None).status == 401
        refused = world.ask(key="sk_live_reader_0123", method="POST")
        assert refused.status == 403
        assert refused.limits == set()
    assert world.admitted() == 20


def test_a_lease_s_own_fields_give_way(limited):
    """A client reads one limit, and it is the one that it meets first."""
    world = limited(PER_LEASE)
    wire = World.ask(world, "/peer/tool/")
    world.origin.wires[0].send(b"HTTP/1.1 204 No Content\r\nx-ratelimit-remaining: 7\r\n\r\n")
    world.reactor.settle()
    assert Answer(wire.received).fields[b"x-ratelimit-remaining"] == b"4"


def test_health_is_not_limited(limited):
    world = limited("\nrate_limit: {global: {requests_per_hour: 1}}")
    for _ in range(5):
        assert world.ask("/health").status == 200


# Failed attempts.

FAILED = """
rate_limit:
  failed_auth: {requests_per_second: 1, burst: 3}
"""


def test_failed_attempts_are_limited_by_address(limited):
    world = limited(FAILED)
    answers = [world.ask(key=f"sk_live_guess_{n:04}") for n in range(5)]
    assert [answer.status for answer in answers] == [401, 401, 401, 429, 429]
    assert answers[0].limits == set()
    assert answers[3].limits == FIELDS
    assert answers[3].fields[b"retry-after"] == b"1"
    assert answers[3].fields[b"ratelimit-policy"] == b'"failed-auth";q=3;w=3'
    assert b"www-authenticate" not in answers[3].fields
    assert json.loads(answers[3].body)["error"] == "rate_limit_exceeded"


def test_anonymous_and_ambiguous_attempts_count_too(limited):
    world = limited(FAILED)
    assert world.ask(key=None).status == 401
    assert world.ask(key=KEY, target="/peer/tool/").status == 204
    wire = World.ask(world, "/peer/tool/", fields=["Authorization: Bearer sk_live_another"])
    assert Answer(wire.received).status == 400
    assert world.ask(key="sk_live_bad_0123").status == 401
    assert world.ask(key=None).status == 429


def test_a_good_key_behind_a_shared_address_is_never_refused_for_others(limited):
    world = limited(FAILED)
    for _ in range(20):
        world.ask(key="sk_live_bad_0123")
    assert world.ask(key="sk_live_bad_0123").status == 429
    assert [world.ask().status for _ in range(20)] == [204] * 20


def test_failed_attempts_are_limited_unless_that_is_switched_off(limited):
    world = limited("")
    statuses = [world.ask(key=None).status for _ in range(102)]
    assert statuses == [401] * 100 + [429] * 2
    world = limited("\nrate_limit: {failed_auth: {enabled: false}}")
    assert {world.ask(key=None).status for _ in range(300)} == {401}


# Memory and time.


def test_full_buckets_are_dropped_while_the_gateway_runs(limited):
    world = limited(GLOBAL + PER_KEY.replace("rate_limit:\n", ""))
    world.ask()
    world.ask(key=None)
    tables = world.gateway.sources.tables
    assert len(tables) == 3
    world.reactor.advance(3)
    assert len(tables) == 0


def test_the_reactor_runs_on_monotonic_time():
    class Clocked:
        def __init__(self, seconds):
            self.seconds = seconds

    from time import monotonic, time

    reactor = Clocked(time)
    use_monotonic_time(reactor)
    assert reactor.seconds is monotonic
    own = Clocked(len)
    use_monotonic_time(own)
    assert own.seconds is len
