"""Feature 2.4: the acceptance criteria, and what follows from them, through a whole gateway."""

import json
from types import SimpleNamespace

import pytest
from twisted.logger import globalLogPublisher

from tests.frontend.gateway_world import head_of
from tests.frontend.raw_frames import BINARY
from tests.frontend.websocket_world import Sockets
from tests.wire.jwt_world import token

NOW = 1_795_608_000.0  # 2026-11-25T12:00:00Z
MONTH_END = 1_796_083_200.0  # 2026-12-01T00:00:00Z

KEYS = """
auth:
  keys:
    - {key: "sk_live_freemium", id: "free"}
    - {key: "sk_live_premium", id: "paid"}
    - {key: "sk_live_another_one", id: "other"}
leases:
  tool: {url: "http://127.0.0.1:3000"}
"""

QUOTAS = """
quotas:
  monthly:
    "sk_live_freemium":
      requests: 10
      bandwidth: "10KB"

    "sk_live_premium":
      requests: 1000000
      bandwidth: "1TB"
"""


class Metered(Sockets):
    """A gateway with quotas, a clock that the test sets, and an origin that answers."""

    def answer(self, body=b"ok", index=-1):
        wire = self.origin.wires[index]
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        self.reactor.settle()

    def call(self, key="sk_live_freemium", *, answer=b"ok", target="/peer/tool/x", **options):
        """A whole exchange: the status, the header and the body of its answer."""
        seen = sum(len(wire.received) for wire in self.origin.wires)
        wire = self.ask(target, key=key, **options)
        if sum(len(each.received) for each in self.origin.wires) > seen:
            self.answer(answer)
        first, fields, body = head_of(wire.received)
        wire.transport.loseConnection()
        self.reactor.settle()
        return int(first.split()[1]), dict(fields), body

    def whoami(self, key="sk_live_freemium"):
        status, fields, body = self.call(key, target="/whoami")
        assert status == 200, body
        return fields, json.loads(body)

    def quota(self, key="sk_live_freemium"):
        (found,) = self.whoami(key)[1]["quotas"]
        return found


@pytest.fixture
def clock():
    return SimpleNamespace(now=NOW)


@pytest.fixture
def worlds(tmp_path, clock):
    made = []

    def make(quotas=QUOTAS, keys=KEYS):
        made.append(Metered(keys + quotas, directory=tmp_path, wall_clock=lambda: clock.now))
        return made[-1]

    yield make
    for world in made:
        world.stop()


@pytest.fixture
def logged():
    lines = []

    def observe(event):
        if event["log_namespace"].startswith("portal_gateway.frontend.quota"):
            lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def test_quota_tracked_per_period(worlds, clock):
    world = worlds()
    for _ in range(3):
        assert world.call(method="POST", body=b"12345", answer=b"answer")[0] == 200
    assert world.quota() == {
        "period": "monthly",
        "span": "2026-11",
        "resets_at": "2026-12-01T00:00:00Z",
        "requests": {"limit": 10, "used": 3, "remaining": 7},
        "bandwidth": {"limit": 10_000, "used": 33, "remaining": 9967},
    }
    assert world.quota("sk_live_premium")["requests"]["used"] == 0


def test_requests_over_quota_return_429(worlds):
    world = worlds()
    assert [world.call()[0] for _ in range(12)] == [200] * 10 + [429] * 2
    status, fields, body = world.call()
    problem = json.loads(body)
    assert (status, problem["error"]) == (429, "quota_exceeded")
    assert problem["detail"] == (
        "the monthly quota of 10 requests is used up; it begins anew at 2026-12-01T00:00:00Z"
    )
    assert fields[b"Retry-After"] == b"475200"
    assert world.call("sk_live_premium")[0] == 200
    received = b"".join(wire.received for wire in world.origin.wires)
    assert received.count(b"GET /x ") == 11


def test_quota_resets_automatically(worlds, clock):
    world = worlds()
    clock.now = MONTH_END - 1
    assert [world.call()[0] for _ in range(11)] == [200] * 10 + [429]
    clock.now = MONTH_END
    assert [world.call()[0] for _ in range(11)] == [200] * 10 + [429]
    assert world.quota()["span"] == "2026-12"
    # Once, also where the clock is set back over the boundary.
    for moment in (MONTH_END - 2, MONTH_END + 2, MONTH_END - 2):
        clock.now = moment
        assert world.call()[0] == 429


def test_quota_usage_queryable_via_api(worlds):
    world = worlds()
    world.call()
    fields, told = world.whoami()
    assert fields[b"Content-Type"] == b"application/json"
    assert fields[b"Cache-Control"] == b"no-store"
    assert told["key_id"] == "free"
    assert told["quotas"][0]["requests"] == {"limit": 10, "used": 1, "remaining": 9}
    assert world.whoami("sk_live_another_one")[1]["quotas"] == []


# What follows.


def test_what_is_used_is_kept_over_a_restart(worlds):
    world = worlds()
    for _ in range(4):
        world.call()
    world.stop()
    again = worlds()
    assert [again.call()[0] for _ in range(7)] == [200] * 6 + [429]


def test_what_is_used_is_written_every_second(worlds):
    """So a process that is killed loses no more."""
    world = worlds()
    world.call()
    world.reactor.advance(1)
    world.call()
    other = worlds()
    assert other.quota()["requests"]["used"] == 1


def test_processes_on_one_database_differ_by_what_one_second_has(worlds):
    one, two = worlds(), worlds()
    for world in (one, two):
        for _ in range(3):
            assert world.call()[0] == 200
    assert one.quota()["requests"]["used"] == 3
    for world in (one, two, one):
        world.reactor.advance(1)
    assert one.quota()["requests"]["used"] == two.quota()["requests"]["used"] == 6
    assert [one.call()[0] for _ in range(5)] == [200] * 4 + [429]
    one.reactor.advance(1)
    assert two.quota()["requests"]["used"] == 10
    assert two.call()[0] == 429


def test_bandwidth_counts_both_ways_and_refuses_when_it_is_used_up(worlds):
    world = worlds()
    assert world.call(method="POST", body=b"x" * 4000, answer=b"y" * 5000)[0] == 200
    assert world.call(answer=b"y" * 2000)[0] == 200
    status, _, body = world.call()
    assert (status, json.loads(body)["error"]) == (429, "quota_exceeded")
    assert "10KB of bandwidth" in json.loads(body)["detail"]
    assert world.quota()["bandwidth"] == {"limit": 10_000, "used": 11_000, "remaining": 0}


def test_a_stream_counts_while_it_flows(worlds):
    world = worlds()
    world.ask("/peer/tool/x", key="sk_live_freemium")
    origin = world.origin.wires[-1]
    origin.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for used in (5000, 10_000):
        origin.send(b"1388\r\n" + b"x" * 5000 + b"\r\n")
        world.reactor.settle()
        world.reactor.advance(1)
        assert world.quota()["bandwidth"]["used"] == used
    assert world.call()[0] == 429


def test_a_websocket_is_a_request_whose_bytes_count_while_it_is_open(worlds):
    world = worlds()
    client, lease = world.open(key="sk_live_freemium")
    client.send((BINARY, b"x" * 3000))
    assert len(lease.frames) == 1
    world.reactor.advance(1)
    quota = world.quota()
    assert quota["requests"]["used"] == 1
    assert 3000 <= quota["bandwidth"]["used"] < 4000


def test_refused_requests_use_nothing(worlds):
    world = worlds()
    assert world.call("sk_live_unknown")[0] == 401
    assert world.call(target="/peer/to%2fol/x")[0] == 400
    world.whoami()
    assert world.quota()["requests"]["used"] == 0


def test_a_warning_from_80_percent_on(worlds):
    world = worlds()
    answers = [world.call()[1] for _ in range(10)]
    warned = [b"X-Quota-Warning" in fields for fields in answers]
    assert warned == [False] * 7 + [True] * 3
    assert answers[7][b"X-Quota-Warning"] == (
        b"monthly requests 80% used, anew at 2026-12-01T00:00:00Z"
    )
    assert answers[7][b"RateLimit"] == (
        b'"monthly-requests";r=2;t=475200, "monthly-bandwidth";r=9986;t=475200'
    )
    _, fields, _ = world.call()
    assert fields[b"X-Quota-Warning"].startswith(b"monthly requests 100% used")


def test_days_and_months_hold_together(worlds, clock):
    world = worlds(
        "quotas: {daily: {free: {requests: 3}}, monthly: {free: {requests: 5}, default: unlimited}}"
    )
    assert [world.call()[0] for _ in range(4)] == [200] * 3 + [429]
    clock.now += 86_400
    assert [world.call()[0] for _ in range(3)] == [200] * 2 + [429]
    daily, monthly = world.whoami()[1]["quotas"]
    assert (daily["requests"]["used"], monthly["requests"]["used"]) == (2, 5)


def test_a_default_is_for_every_other_key(worlds):
    world = worlds("quotas: {monthly: {default: {requests: 2}, free: {requests: 1}}}")
    assert [world.call()[0] for _ in range(2)] == [200, 429]
    for key in ("sk_live_premium", "sk_live_another_one"):
        assert [world.call(key)[0] for _ in range(3)] == [200, 200, 429]


def test_holders_of_tokens_have_quotas_each(worlds):
    secret = "a secret of 32 bytes and some more"
    keys = f"""
auth:
  jwt: {{algorithm: HS256, secret: "{secret}", claims: {{plan: tier}}}}
leases:
  tool: {{url: "http://127.0.0.1:3000"}}
"""
    world = worlds(
        "quotas: {monthly: {default: {requests: 2}, 'jwt:alice': {requests: 1}},"
        " plans: {gold: {monthly: {requests: 3}}}}",
        keys,
    )

    def call(subject, **claims):
        made = token(key=secret, sub=subject, exp=4_000_000_000, **claims)
        return world.call(made.decode())[0]

    assert [call("alice") for _ in range(2)] == [200, 429]
    assert [call("bob") for _ in range(3)] == [200, 200, 429]
    assert [call("carol", tier="gold") for _ in range(4)] == [200, 200, 200, 429]


def test_the_database_being_away_costs_nobody_a_request(worlds, tmp_path, logged):
    (tmp_path / "portal-gateway.sqlite").mkdir()
    world = worlds()
    assert [world.call()[0] for _ in range(11)] == [200] * 10 + [429]
    assert logged == [
        "the store of the quotas cannot be used: IsADirectoryError; use is counted here meanwhile"
    ]
    (tmp_path / "portal-gateway.sqlite").rmdir()
    world.reactor.advance(1)
    assert logged[1:] == ["the store of the quotas answers again"]
    assert worlds().quota()["requests"]["used"] == 10


def test_a_slow_database_holds_a_first_request_up_for_a_second(worlds):
    world = worlds()
    world.threads.held = True
    wire = world.ask("/peer/tool/x", key="sk_live_freemium")
    assert world.origin.wires == []
    world.reactor.advance(1)
    assert len(world.origin.wires) == 1
    world.answer()
    assert wire.received.startswith(b"HTTP/1.1 200 ")
    world.threads.release()
    world.reactor.advance(1)
    assert world.quota()["requests"]["used"] == 1


def test_a_client_that_goes_while_its_use_is_read_uses_nothing(worlds):
    world = worlds()
    world.threads.held = True
    world.ask("/peer/tool/x", key="sk_live_freemium").transport.abortConnection()
    world.reactor.settle()
    world.threads.release()
    world.reactor.settle()
    assert world.quota()["requests"]["used"] == 0
    assert world.origin.wires == []


# /whoami


def test_whoami_says_who_the_caller_is(worlds):
    world = worlds(
        "rate_limit: {per_key: {default: {requests_per_second: 5, burst: 10}}, global: 100}\n",
        """
auth:
  keys:
    - {key: "sk_live_freemium", id: "free", description: "For trying", scopes: [read]}
leases:
  tool: {url: "http://127.0.0.1:3000"}
""",
    )
    assert world.whoami()[1] == {
        "key_id": "free",
        "source": "file",
        "description": "For trying",
        "plan": None,
        "scopes": ["read"],
        "leases": None,
        "limits": [
            {
                "name": "global",
                "limit": 100,
                "window_seconds": 1,
                "remaining": 99,
                "more_in_seconds": 1,
            },
            {
                "name": "key",
                "limit": 10,
                "window_seconds": 2,
                "remaining": 9,
                "more_in_seconds": 1,
            },
        ],
        "quotas": [],
    }


def test_whoami_is_for_callers_that_are_known(worlds):
    world = worlds()
    for key, code in ((None, "missing_api_key"), ("sk_live_unknown", "invalid_api_key")):
        status, fields, body = world.call(key, target="/whoami")
        assert (status, json.loads(body)["error"]) == (401, code)
        assert b"WWW-Authenticate" in fields


def test_whoami_never_tells_the_key(worlds):
    _, told = worlds().whoami()
    assert "sk_live" not in json.dumps(told)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("HEAD", "/whoami", 200),
        ("POST", "/whoami", 405),
        ("DELETE", "/whoami", 405),
        ("GET", "/whoami/", 404),
        ("GET", "/whoami/x", 404),
        ("GET", "/whoami?x=1", 200),
    ],
)
def test_whoami_is_one_page(worlds, method, target, status):
    answered, fields, body = worlds().call(method=method, target=target)
    assert answered == status
    if method == "HEAD":
        assert body == b""
        assert int(fields[b"Content-Length"]) > 100


def test_whoami_is_limited(worlds):
    world = worlds("rate_limit: {per_key: {default: {requests_per_hour: 2}}}\n")
    assert [world.call(target="/whoami")[0] for _ in range(3)] == [200, 200, 429]
