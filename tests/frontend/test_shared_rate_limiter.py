"""Limits in a Redis that is well, away, sick, slow: what requests and operators see of it."""

import json

import pytest
from gateway_world import KEY, World, head_of
from twisted.logger import LogLevel, globalLogPublisher

from portal_gateway.policy.token_bucket import SECOND, Bucket, BucketTable, Rate, take
from portal_gateway.store.shared_buckets import TAKE
from tests.store.fake_redis import PORT, FakeRedis

CONFIG = f"""
gateway:
  listen: "127.0.0.1:8080"
auth:
  keys:
    - {{id: tester, key: "{KEY}"}}
leases:
  tool:
    url: "http://127.0.0.1:3000"
rate_limit:
  global: {{requests_per_second: 1, burst: 10}}
  per_lease: {{tool: {{requests_per_second: 1, burst: 6}}}}
  storage:
    type: redis
    on_failure: ON_FAILURE
    redis: {{addr: "127.0.0.1:{PORT}", pool_size: 1}}
"""


class Buckets:
    """Answers the script as Redis would, by buckets of its own."""

    def __init__(self, reactor):
        self._reactor = reactor
        self._table = BucketTable()
        self.keys = set()

    def __call__(self, keys, arguments):
        self.keys.update(keys)
        times = [round(float(argument) * 1000) for argument in arguments]
        buckets = [
            Bucket(self._table, key.decode(), Rate(interval, depth // interval))
            for key, interval, depth in zip(keys, times[::2], times[1::2], strict=True)
        ]
        admitted, until_full = take(tuple(buckets), int(self._reactor.seconds() * SECOND))
        told = " ".join(map(str, until_full))
        return f"+{admitted:d} {told}\r\n".encode()


class Shared(World):
    """A gateway whose limits are in a Redis in memory, and a lease that answers at once."""

    def __init__(self, on_failure="local", *, listening=True):
        self._listening = listening
        super().__init__(CONFIG.replace("ON_FAILURE", on_failure))
        if not listening:
            self.reactor.advance(1.5)

    def open_upstreams(self):
        self.events = []
        globalLogPublisher.addObserver(self.events.append)
        self.fake = FakeRedis(self.reactor)
        self.fake.answers[TAKE.digest] = Buckets(self.reactor)
        if self._listening:
            self.listen()

    def listen(self):
        self.port = self.reactor.listenTCP(PORT, self.fake)

    def kill(self):
        self.port.stopListening()
        for connection in self.fake.open:
            connection.transport.abortConnection()
        self.reactor.settle()

    @property
    def buckets(self):
        return self.fake.answers[TAKE.digest]

    def send(self, target="/peer/tool/"):
        return super().ask(target, fields=["Connection: close"])

    def served(self):
        """Let the lease answer whatever has come to it."""
        for origin in self.origin.wires:
            if origin.received:
                origin.received = b""
                origin.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.reactor.settle()

    def get(self, target="/peer/tool/"):
        wire = self.send(target)
        self.served()
        return Answer(wire)

    def admitted(self, most=30):
        """How many requests are admitted before one is refused."""
        for n in range(most):
            status = self.get().status
            if status != 204:
                assert status == 429
                return n
        return most

    def lines(self, word):
        """What was logged with that word in it."""
        lines = [
            event["log_format"].format(**event)
            for event in self.events
            if event["log_namespace"].startswith("portal_gateway.store")
        ]
        return [line for line in lines if word in line]

    def stop(self):
        super().stop()
        globalLogPublisher.removeObserver(self.events.append)
        assert not [event for event in self.events if event["log_level"] >= LogLevel.error]
        assert self.fake.open == []


class Answer:
    def __init__(self, wire):
        first, fields, self.body = head_of(wire.received)
        self.status = int(first.split()[1])
        self.fields = dict(fields)


@pytest.fixture
def shared():
    worlds = []

    def make(*arguments, **options):
        worlds.append(Shared(*arguments, **options))
        return worlds[-1]

    yield make
    for world in worlds:
        world.stop()


def test_a_request_is_decided_by_one_question_for_all_its_buckets(shared):
    world = shared()
    answer = world.get()
    assert answer.status == 204
    assert answer.fields[b"RateLimit"] == b'"global";r=9;t=1, "lease";r=5;t=1'
    assert world.fake.counts[b"EVALSHA"] == 1
    assert world.buckets.keys == {
        b"{portal-gateway}:limit:global:",
        b"{portal-gateway}:limit:lease:tool",
    }
    assert len(world.gateway.sources.tables) == 0


def test_what_redis_refuses_is_refused(shared):
    world = shared()
    assert world.admitted() == 6
    answer = world.get()
    assert answer.status == 429
    assert answer.fields[b"Retry-After"] == b"1"
    assert answer.fields[b"RateLimit"] == b'"global";r=4;t=1, "lease";r=0;t=1'
    assert json.loads(answer.body)["error"] == "rate_limit_exceeded"


def test_failed_attempts_are_not_asked_about(shared):
    world = shared()
    wire = World.ask(world, "/peer/tool/", key="sk_live_bad_0123")
    assert Answer(wire).status == 401
    assert world.fake.counts[b"EVALSHA"] == 0


# 2.5


def test_2_5_fallback_to_local_limits(shared):
    """Redis is gone: the same limits hold, for this gateway alone."""
    world = shared()
    world.kill()
    assert world.admitted() == 6
    assert world.gateway.sources.now.redis.figures.fallbacks == 7


def test_2_5_redis_failure_is_handled_gracefully(shared):
    """Never a 5xx: neither for the requests that wait for it, nor for those that come later."""
    world = shared()
    world.fake.silent = True
    waiting = [world.send() for _ in range(5)]
    assert all(not wire.received for wire in waiting)
    world.reactor.advance(0.051)
    world.served()
    assert [Answer(wire).status for wire in waiting] == [204] * 5
    assert world.get().status == 204
    assert world.get().status == 429
    assert world.gateway.sources.now.redis.figures.fallbacks == 7


def test_2_5_metrics_show_redis_health(shared):
    world = shared()
    figures = world.gateway.sources.now.redis.figures
    assert (figures.usable, figures.transitions) == (True, 0)
    world.kill()
    world.get()
    assert (figures.usable, figures.transitions) == (False, 1)
    world.listen()
    world.reactor.advance(5)
    assert (figures.usable, figures.transitions) == (True, 2)
    assert world.gateway.sources.now.redis.figures.fallbacks == 1


def test_one_line_is_logged_for_each_change_and_redis_is_used_again(shared):
    world = shared()
    world.reactor.advance(10)
    for _ in range(3):
        world.kill()
        for _ in range(5):
            world.get()
        world.listen()
        world.reactor.advance(20)
        asked = world.fake.counts[b"EVALSHA"]
        assert world.get().status == 204
        assert world.fake.counts[b"EVALSHA"] == asked + 1
    lines = world.lines("Redis")
    assert len(lines) == 7
    assert [("cannot" in line) for line in lines] == [False, True] * 3 + [False]


def test_on_failure_open_admits_everything_and_tells_nothing(shared):
    world = shared("open")
    assert world.get().fields[b"X-RateLimit-Limit"] == b"6"
    world.kill()
    answers = [world.get() for _ in range(20)]
    assert {answer.status for answer in answers} == {204}
    assert not any(b"RateLimit" in answer.fields for answer in answers)
    assert world.gateway.sources.now.redis.figures.fallbacks == 20


def test_on_failure_closed_is_503_with_a_cause_of_its_own(shared):
    world = shared("closed")
    assert world.get().status == 204
    world.kill()
    answer = world.get()
    assert answer.status == 503
    assert json.loads(answer.body)["error"] == "limits_unavailable"
    assert answer.fields[b"Retry-After"] == b"5"


@pytest.mark.parametrize("on_failure", ["local", "open", "closed"])
def test_on_failure_holds_from_the_start(shared, on_failure):
    world = shared(on_failure, listening=False)
    expected = {"local": 204, "open": 204, "closed": 503}[on_failure]
    assert world.get().status == expected
    world.listen()
    world.reactor.advance(2)
    assert world.get().fields[b"RateLimit"] == b'"global";r=9;t=1, "lease";r=5;t=1'


@pytest.mark.parametrize(
    "answer",
    [
        b"+1 5\r\n",
        b"+1 5 5 5\r\n",
        b"+2 5 5\r\n",
        b"+1 5 -5\r\n",
        b"+1 5 5.5\r\n",
        b"+OK\r\n",
        b"+1  5 5\r\n",
        b"+1 5 99999999999999999999999\r\n",
        b":1\r\n",
        b"*3\r\n:1\r\n:5\r\n:5\r\n",
        b"$5\r\n1 5 5\r\n",
        b"$-1\r\n",
    ],
)
def test_an_answer_that_makes_no_sense_is_a_failure(shared, answer):
    world = shared()
    world.fake.answers[TAKE.digest] = answer
    assert world.get().fields[b"RateLimit"] == b'"global";r=9;t=1, "lease";r=5;t=1'
    assert world.gateway.sources.now.redis.figures.fallbacks == 1
    assert not world.gateway.sources.now.redis.figures.usable
    assert world.lines("cannot be asked: it answers what makes no sense")


def test_nothing_told_is_negative_whatever_redis_says(shared):
    world = shared()
    world.fake.answers[TAKE.digest] = b"+0 9999999999999999999 9999999999999999999\r\n"
    answer = world.get()
    assert answer.status == 429
    assert answer.fields[b"RateLimit"] == b'"global";r=0;t=1, "lease";r=0;t=1'
    assert answer.fields[b"Retry-After"] == b"1"


def test_a_client_that_goes_away_while_redis_is_asked_leaves_nothing(shared):
    world = shared()
    world.fake.silent = True
    wire = world.send()
    wire.transport.abortConnection()
    world.reactor.settle()
    assert world.gateway.sources.now.redis.in_flight == 1
    world.reactor.advance(0.1)
    assert world.gateway.sources.now.redis.in_flight == 0
    assert world.gateway.sources.now.redis.figures.fallbacks == 0


def test_where_there_is_no_limit_redis_is_not_asked(shared):
    world = shared()
    assert Answer(World.ask(world, "/health", key=None)).status == 200
    assert world.fake.counts[b"EVALSHA"] == 0
