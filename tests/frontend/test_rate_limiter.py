"""Rate limits over a whole gateway in memory: the acceptance criteria of features 2.1 to 2.3."""

import json

import pytest
from gateway_world import KEY, World, head_of

from portal_gateway.service import use_monotonic_time

CONFIG = f"""
gateway:
  listen: "127.0.0.1:8080"
auth:
  keys:
    - {{id: tester, key: "{KEY}"}}
    - {{id: other, key: sk_live_other_0123}}
    - {{id: premium, key: sk_live_premium}}
    - {{id: reader, key: sk_live_reader_0123, scopes: [read]}}
leases:
  tool:
    url: "http://127.0.0.1:3000"
  second:
    url: "http://127.0.0.1:3000"
"""

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

FIELDS = {
    b"ratelimit-policy",
    b"ratelimit",
    b"x-ratelimit-limit",
    b"x-ratelimit-remaining",
    b"x-ratelimit-reset",
}


class Answer:
    """What a client got: the gateway's refusal, or the lease's answer."""

    def __init__(self, received):
        first, fields, self.body = head_of(received)
        self.status = int(first.split()[1])
        self.fields = {name.lower(): value for name, value in fields}
        told = [name for name, _ in fields if name.lower() in FIELDS]
        assert len(set(told)) == len(told)

    @property
    def limits(self):
        return {name for name in self.fields if name in FIELDS}


class Limited(World):
    """A gateway with limits, and a lease that answers everything at once."""

    def __init__(self, limits, config=CONFIG):
        super().__init__(config + limits)
        self.reached = 0

    def ask(self, target="/peer/tool/", **options):
        wire = super().ask(target, fields=["Connection: close"], **options)
        for origin in self.origin.wires:
            if origin.received:
                origin.received = b""
                self.reached += 1
                origin.send(b"HTTP/1.1 204 No Content\r\nX-Of: lease\r\n\r\n")
        self.reactor.settle()
        return Answer(wire.received)

    def admitted(self, most=100, **options):
        """How many requests are answered by the lease before one is refused."""
        for n in range(most):
            answer = self.ask(**options)
            if answer.status != 204:
                assert answer.status == 429
                return n
        return most


@pytest.fixture
def limited():
    worlds = []

    def make(limits, **options):
        worlds.append(Limited(limits, **options))
        return worlds[-1]

    yield make
    for world in worlds:
        world.stop()


# 2.1


def test_2_1_requests_over_the_limit_return_429(limited):
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


def test_2_1_rate_limit_headers_are_in_every_response(limited):
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


def test_2_1_burst_traffic_is_handled(limited):
    world = limited(GLOBAL)
    assert world.admitted() == 20
    world.reactor.advance(1)
    assert world.admitted() == 10
    world.reactor.advance(60)
    assert world.admitted() == 20


def test_2_1_who_waits_as_long_as_retry_after_says_is_served(limited):
    world = limited("\nrate_limit: {global: {requests_per_minute: 6, burst: 1}}")
    assert world.admitted() == 1
    world.reactor.advance(0.5)
    refused = world.ask()
    assert refused.fields[b"retry-after"] == b"10"
    world.reactor.advance(10)
    assert world.ask().status == 204


# 2.2


def test_2_2_each_key_is_tracked_separately(limited):
    world = limited(PER_KEY)
    assert world.admitted() == 4
    assert world.admitted(key="sk_live_other_0123") == 4
    assert world.admitted() == 0


def test_2_2_override_limits_work(limited):
    world = limited(PER_KEY)
    assert world.admitted(key="sk_live_premium") == 40


def test_2_2_rate_limit_headers_show_remaining(limited):
    world = limited(PER_KEY)
    remaining = [world.ask().fields[b"x-ratelimit-remaining"] for _ in range(5)]
    assert remaining == [b"3", b"2", b"1", b"0", b"0"]


# 2.3


def test_2_3_each_lease_is_limited_independently_and_over_all_keys(limited):
    world = limited(PER_LEASE)
    assert world.admitted(key="sk_live_premium") == 5
    assert world.admitted() == 0
    answer = world.ask("/peer/second/")
    assert answer.status == 204
    assert answer.limits == set()


def test_2_3_every_way_to_a_lease_is_the_same_lease(limited):
    world = limited(PER_LEASE)
    for target in ("/peer/tool/", "/peer/%74ool/x", "/peer/tool", "/ws/tool/", "/peer/tool/?a=b"):
        assert world.ask(target).status != 429
    assert world.ask("/peer/t%6fol/").status == 429


# All of them, and what does not count.


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
    tables = world.gateway.tables
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
