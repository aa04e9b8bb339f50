"""Quotas in a Redis that is well, away, sick: what requests see, and what is counted afterwards."""

import json
from collections import defaultdict

import pytest
from gateway_world import head_of
from twisted.logger import globalLogPublisher

from portal_gateway.policy.quotas import Quota
from portal_gateway.store.shared_quotas import ADD, COUNT
from tests.features.test_2_4_quota_management import Metered
from tests.store.fake_redis import PORT, FakeRedis

CONFIG = f"""
auth:
  keys:
    - {{key: "sk_live_freemium", id: "free"}}
    - {{key: "sk_live_premium", id: "paid"}}
leases:
  tool: {{url: "http://127.0.0.1:3000"}}
rate_limit:
  storage:
    type: redis
    on_failure: ON_FAILURE
    redis: {{addr: "127.0.0.1:{PORT}", pool_size: 1}}
quotas:
  monthly:
    free: {{requests: 10, bandwidth: 10KB}}
    paid: {{requests: 1000000}}
  daily:
    free: {{requests: 8}}
"""


class Uses:
    """Answers both scripts as Redis would. ``totals`` are requests and bytes by key."""

    def __init__(self):
        self.totals = defaultdict(lambda: [0, 0])
        self.numbers = {}
        self.expiries = {}

    def count(self, keys, arguments):
        limits = [int(argument) for argument in arguments]
        admitted = all(
            not (0 <= most <= self.totals[key][0] or 0 <= most_bytes <= self.totals[key][1])
            for key, most, most_bytes in zip(keys, limits[::3], limits[1::3], strict=True)
        )
        for key, expiry in zip(keys, limits[2::3], strict=True):
            self.totals[key][0] += admitted
            self.expiries[key] = expiry
        return self._answer([int(admitted)], keys)

    def add(self, keys, arguments):
        writer, *keys = keys
        number, *numbers = [int(argument) for argument in arguments]
        if number > self.numbers.get(writer, 0):
            self.numbers[writer] = number
            for key, requests, size in zip(keys, numbers[::3], numbers[1::3], strict=True):
                self.totals[key][0] += requests
                self.totals[key][1] += size
        return self._answer([], keys)

    def _answer(self, first, keys):
        told = first + [number for key in keys for number in self.totals[key]]
        return f"+{' '.join(map(str, told))}\r\n".encode()


class Shared(Metered):
    """A gateway whose quotas are in a Redis in memory."""

    def __init__(self, on_failure="local", uses=None):
        self.uses = uses or Uses()
        super().__init__(CONFIG.replace("ON_FAILURE", on_failure))

    def open_upstreams(self):
        self.fake = FakeRedis(self.reactor)
        self.fake.answers[COUNT.digest] = self.uses.count
        self.fake.answers[ADD.digest] = self.uses.add
        self.listen()

    def listen(self):
        self.port = self.reactor.listenTCP(PORT, self.fake)

    def kill(self):
        self.port.stopListening()
        for connection in self.fake.open:
            connection.transport.abortConnection()
        self.reactor.settle()

    def back(self):
        self.listen()
        for _ in range(4):
            self.reactor.advance(1)

    def used(self, period, key="free"):
        """What Redis has of a key."""
        (found,) = [
            total
            for name, total in self.uses.totals.items()
            if f":quota:{period}:".encode() in name and name.endswith(f":{key}".encode())
        ]
        return tuple(found)


@pytest.fixture
def worlds():
    made = []

    def make(*arguments, **options):
        made.append(Shared(*arguments, **options))
        return made[-1]

    yield make
    for world in made:
        world.stop()


@pytest.fixture(autouse=True)
def logged():
    lines = []

    def observe(event):
        if event["log_namespace"].startswith("portal_gateway"):
            lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def statuses(world, count, key="sk_live_freemium"):
    return [world.call(key)[0] for _ in range(count)]


def test_requests_are_counted_in_redis_and_refused_where_a_quota_is_used_up(worlds):
    world = worlds()
    assert statuses(world, 9) == [200] * 8 + [429]
    assert world.used("daily")[0] == world.used("monthly")[0] == 8
    _, _, body = world.call()
    assert "the daily quota of 8 requests is used up" in json.loads(body)["detail"]
    assert statuses(world, 2, "sk_live_premium") == [200, 200]


def test_gateways_hold_a_quota_together_to_the_request(worlds):
    uses = Uses()
    one, two = worlds(uses=uses), worlds(uses=uses)
    told = [world.call()[0] for world in (one, two) * 5]
    assert told == [200] * 8 + [429] * 2


def test_each_request_is_one_question(worlds):
    world = worlds()
    world.call()
    asked = len(world.fake.commands)
    statuses(world, 5)
    assert len(world.fake.commands) == asked + 5


def test_bytes_are_added_once_a_second(worlds):
    world = worlds()
    world.call(method="POST", body=b"x" * 4000, answer=b"y" * 6000)
    assert world.used("monthly") == (1, 0)
    world.reactor.advance(1)
    assert world.used("monthly") == world.used("daily") == (1, 10_000)
    _, _, body = world.call()
    assert "10KB of bandwidth" in json.loads(body)["detail"]


def test_what_expires_does_so_a_day_after_its_end(worlds):
    world = worlds()
    world.call()
    span = world.whoami()[1]["quotas"]
    assert len(span) == 2
    assert len(set(world.uses.expiries.values())) in {1, 2}
    assert all(expiry % 86_400 == 0 for expiry in world.uses.expiries.values())


def test_whoami_reads_what_all_gateways_counted(worlds):
    uses = Uses()
    one, two = worlds(uses=uses), worlds(uses=uses)
    statuses(one, 3)
    assert [quota["requests"]["used"] for quota in two.whoami()[1]["quotas"]] == [3, 3]


def test_without_redis_each_gateway_counts_and_adds_it_later(worlds, logged):
    world = worlds()
    statuses(world, 3)
    world.kill()
    assert statuses(world, 7) == [200] * 5 + [429] * 2
    assert world.used("daily")[0] == 3
    assert world.gateway.sources.now.redis.figures.fallbacks == 7
    world.back()
    assert world.used("daily") == world.used("monthly")
    assert world.used("daily")[0] == 8
    assert statuses(world, 1) == [429]
    assert len([line for line in logged if "cannot be asked" in line]) == 1
    assert [line for line in logged if "quotas" in line] == []


def test_what_was_sent_and_not_answered_is_added_once(worlds):
    world = worlds()
    world.call(answer=b"x" * 98)
    world.reactor.advance(1)
    world.call(answer=b"x" * 2)
    world.fake.silent = True
    world.reactor.advance(1)
    assert world.used("monthly") == (2, 100)
    world.reactor.advance(0.2)
    world.fake.silent = False
    for _ in range(8):
        world.reactor.advance(1)
    assert world.used("monthly") == (2, 100)


@pytest.mark.parametrize("broken", [b"+nonsense\r\n", b"+1 2\r\n", b"+7 1 0 1 0\r\n", b"$-1\r\n"])
def test_answers_that_make_no_sense_are_none(worlds, broken):
    world = worlds()
    world.fake.answers[COUNT.digest] = broken
    assert statuses(world, 1) == [200]
    assert not world.gateway.sources.now.redis.usable


def test_redis_that_falls_silent_costs_a_request_the_timeout_and_no_more(worlds):
    world = worlds()
    statuses(world, 2)
    world.fake.silent = True
    wire = world.ask("/peer/tool/x", key="sk_live_freemium")
    assert wire.received == b""
    world.reactor.advance(0.2)
    world.answer()
    assert head_of(wire.received)[0] == b"HTTP/1.1 200 OK"
    assert statuses(world, 1) == [200]


def test_open_lets_requests_pass_without_counting(worlds):
    world = worlds("open")
    statuses(world, 8)
    assert statuses(world, 1) == [429]
    world.kill()
    assert statuses(world, 5) == [200] * 5
    world.back()
    assert world.used("daily")[0] == 8


def test_closed_lets_none_pass(worlds):
    world = worlds("closed")
    world.kill()
    status, fields, body = world.call()
    assert (status, json.loads(body)["error"]) == (503, "limits_unavailable")
    assert fields[b"Retry-After"] == b"5"
    world.back()
    assert statuses(world, 1) == [200]


def test_many_are_added_in_parts(worlds):
    """Redis answers nobody else while a script runs."""
    world = worlds()
    keeper = world.gateway.sources.now.quotas.keeper
    month = (Quota("monthly", 100, None),)
    for number in range(450):
        account = keeper.table.account(f"key-{number}", month, keeper.now())
        keeper.table.admit(account)
    world.reactor.advance(1)
    added = [
        int(words[2])
        for words in world.fake.commands
        if words[1] in {ADD.digest, ADD.source} and int(words[2]) > 1
    ]
    # The first is asked by its digest, which Redis does not know yet, and then with the script.
    assert added == [201, 201, 201, 51]
    assert len(world.uses.totals) == sum(total[0] for total in world.uses.totals.values()) == 450
