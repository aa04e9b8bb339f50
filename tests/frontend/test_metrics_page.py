"""``/metrics`` of a whole gateway: who may ask, in which form it is told, and what it tells."""

import gzip
import re

import pytest
from gateway_world import KEY, World, head_of
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as classic_families

from portal_gateway.exchange import Exchange
from portal_gateway.observe.metric_list import METRICS
from portal_gateway.observe.metrics import FIXED_SERIES
from portal_gateway.observe.request_counts import path_template
from portal_gateway.relay.lost import Loss

ADMIN = "sk_live_of_the_admin_0123456789"

CONFIG = f"""
gateway:
  listen: "127.0.0.1:8080"
portal:
  relays:
    - url: "ws://relay-a.example/relay"
    - url: "ws://relay-b.example/sk_relay_secret"
auth:
  keys:
    - {{key: "{KEY}", id: "tester"}}
    - {{key: "{ADMIN}", id: "prometheus", scopes: ["admin"]}}
leases:
  tool:
    url: "http://127.0.0.1:3000"
rate_limit:
  per_key: {{overrides: {{tester: {{requests_per_hour: 1, burst: 2}}}}}}
"""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def make():
    made = []

    def make(config=CONFIG):
        made.append(World(config))
        return made[-1]

    yield make
    for world in made:
        world.stop()


def answer(wire):
    first, fields, body = head_of(wire.received)
    return int(first.split()[1]), dict(fields), body


def told(world, **how):
    how = {"key": ADMIN, "fields": ["Accept: application/openmetrics-text"], **how}
    status, _, body = answer(world.ask("/metrics", **how))
    assert status == 200
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("wrong", 401), (KEY, 403), (ADMIN, 200)])
def test_at_the_gateway_s_address_it_is_for_administrators(make, key, status):
    wire = make().ask("/metrics", key=key)
    found, _, body = answer(wire)
    assert found == status
    assert (b"portal_gateway_build_info" in body) == (status == 200)


def test_there_is_nothing_below_and_nothing_else_to_do(make):
    world = make()
    assert answer(world.ask("/metrics/x", key=ADMIN))[0] == 404
    assert answer(world.ask("/metrics", method="POST", key=ADMIN))[0] == 405
    status, fields, body = answer(world.ask("/metrics", method="HEAD", key=ADMIN))
    assert (status, body) == (200, b"")
    assert fields[b"Cache-Control"] == b"no-store"


def test_it_can_be_switched_off(make):
    world = make(CONFIG + "metrics: {enabled: false}\n")
    assert answer(world.ask("/metrics", key=ADMIN))[0] == 404


def test_a_listener_of_its_own_needs_no_key_and_has_nothing_else(make):
    world = make(CONFIG + 'metrics: {listen: "127.0.0.1:9090"}\n')
    assert answer(world.ask("/metrics", key=ADMIN))[0] == 404
    own = world.connect(port=9090)
    here = {"key": None, "authority": "127.0.0.1:9090"}
    assert answer(world.ask("/metrics", wire=own, **here))[0] == 200
    for path in ("/", "/peer/tool/", "/health", "/whoami"):
        assert answer(world.ask(path, key=KEY, wire=world.connect(port=9090)))[0] == 404
    assert world.origin.wires == []


def test_a_listener_of_its_own_that_others_reach_needs_a_key(make):
    world = make(CONFIG + 'metrics: {listen: "0.0.0.0:9090"}\n')
    for key, status in ((None, 401), (KEY, 403), (ADMIN, 200)):
        assert answer(world.ask("/metrics", key=key, wire=world.connect(port=9090)))[0] == status


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        (None, b"text/plain; version=0.0.4; charset=utf-8", classic_families),
        ("text/plain", b"text/plain; version=0.0.4; charset=utf-8", classic_families),
        (
            "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5",
            b"application/openmetrics-text; version=1.0.0",
            text_string_to_metric_families,
        ),
        ("application/openmetrics-text;version=x.y", b"text/plain", classic_families),
        ("\xff;;=,application/openmetrics-text;version", b"application/", classic_families),
    ],
)
def test_the_format_is_what_the_client_takes(make, accept, content_type, parse):
    fields = [] if accept is None else [f"Accept: {accept}"]
    status, found, body = answer(make().ask("/metrics", key=ADMIN, fields=fields))
    assert status == 200
    assert found[b"Content-Type"].startswith(content_type)
    assert len(list(parse(body.decode()))) > 20


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("gzip", True),
        ("br, GZIP;q=1.0", True),
        ("deflate;q=1, gzip ; q=0.001", True),
        ("gzip;q=0", False),
        ("br, gzip;q=0.000", False),
        ("gzip;q=x", False),
        ("gzipped, identity", False),
        ("", False),
    ],
)
def test_it_is_compressed_for_who_takes_that(make, accepted, taken):
    fields = [f"Accept-Encoding: {accepted}"]
    _, found, body = answer(make().ask("/metrics", key=ADMIN, fields=fields))
    assert (found.get(b"Content-Encoding") == b"gzip") == taken
    assert b"portal_gateway_build_info" in (gzip.decompress(body) if taken else body)


class Turns:
    """A clock whose calls for the next turn are made by hand."""

    def __init__(self, clock):
        self.clock = clock
        self.seconds = clock.seconds
        self.soon = []

    def callLater(self, seconds, function):
        if seconds:
            return self.clock.callLater(seconds, function)
        return self.soon.append(function)


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
def test_of_much_a_part_is_written_in_each_turn(make, accept, coding):
    world = make(CONFIG + "metrics: {series_budget: 6000}\n")
    for number in range(400):
        over = Exchange("r", "", 1.0, method="GET", lease=f"lease-{number}", finished=1.1)
        over.lease_is_known = True
        over.lease_prefix = b"/peer/x"
        world.gateway.site.exchange_over(over)
    fields = [f"Accept: {accept}", f"Accept-Encoding: {coding}"]
    site = world.gateway.site
    site.clock = by_hand = Turns(site.clock)
    wire = world.ask("/metrics", key=ADMIN, fields=fields)
    turns = 0
    while not wire.received:
        turns += 1
        by_hand.soon.pop()()
        world.reactor.settle()
    assert turns >= 3
    by_hand.soon.clear()
    status, found, body = answer(wire)
    text = (gzip.decompress(body) if coding else body).decode()
    assert (status, int(found[b"Content-Length"])) == (200, len(body))
    parse = text_string_to_metric_families if "open" in accept else classic_families
    families = {family.name: family for family in parse(text)}
    assert len(families["portal_gateway_request_duration_seconds"].samples) > 3_000
    assert text.count("# TYPE portal_gateway_request_duration_seconds ") == 1
    assert text.count("# EOF") == ("open" in accept)
    gone = world.ask("/metrics", key=ADMIN)
    gone.transport.loseConnection()
    world.reactor.settle()
    by_hand.soon.pop()()
    assert (gone.received, by_hand.soon) == (b"", [])
    site.clock = by_hand.clock


def test_it_tells_what_happened(make):
    world = make()
    wire = world.ask("/peer/tool/path-that-is-nobodys?query-that-is-nobodys")
    world.origin.wires[0].send(OK)
    world.reactor.settle()
    world.ask("/peer/tool/", wire=wire)
    world.origin.wires[0].send(OK)
    world.reactor.settle()
    assert answer(world.ask("/peer/tool/"))[0] == 429
    world.ask("/peer/nobody/", key="sk_wrong_key_of_somebody")
    found = told(world)
    name = "portal_gateway_requests_total"
    assert found[name, "/peer/{lease}", "200", "GET", "tool"] == 2
    assert found[name, "/peer/{lease}", "429", "GET", "tool"] == 1
    assert found[name, "/peer/{lease}", "401", "GET", "_unmatched"] == 1
    at_tool = ("/peer/{lease}", "GET", "tool")
    assert found["portal_gateway_request_duration_seconds_count", *at_tool] == 3
    assert found["portal_gateway_rate_limit_hits_total", "tester", "tool"] == 1
    assert found["portal_gateway_limit_hits_total", "rate_limit.per_key"] == 1
    assert found["portal_gateway_limit_hits_total", "rate_limit.per_lease"] == 0
    assert found["portal_gateway_requests_in_progress",] == 1, "the scrape itself"
    assert found["portal_gateway_errors_total", "rate_limit_exceeded", "tool"] == 1
    assert found["portal_gateway_errors_total", "_unmatched", "invalid_api_key"] == 1
    assert found["portal_gateway_active_connections",] == 4
    assert found["portal_gateway_pool_dials_total",] == 1
    assert found["portal_gateway_pool_reuses_total",] == 1
    assert found["portal_gateway_pool_connections", "idle"] == 1
    assert found["portal_gateway_rate_limit_buckets",] >= 1
    assert sum(v for k, v in found.items() if k[0] == "portal_gateway_portal_connections") == 2
    assert found["portal_gateway_relay_up", "relay-a.example:80"] == 0
    assert found["portal_gateway_leases", "relay-b.example:80"] == 0
    assert found["portal_gateway_limit_hits_total", "connections"] == 0
    # The scrape before counts, and the time in which nothing was late.
    world.reactor.advance(0.25)
    again = told(world)
    assert again[name, "", "/metrics", "200", "GET"] == 1
    assert again["portal_gateway_event_loop_lag_seconds_count",] >= 1
    assert all(again[key] >= value for key, value in found.items() if key[0].endswith("_total"))


def test_it_tells_limits_and_timeouts(make):
    world = make()
    world.connect().send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40_000 + b"\r\n\r\n")
    world.connect().send(b"GET /")
    world.reactor.settle()
    world.reactor.advance(11)
    found = told(world)
    assert found["portal_gateway_limit_hits_total", "header"] == 1
    assert found["portal_gateway_timeouts_total", "header"] == 1
    assert found["portal_gateway_errors_total", "", "header_fields_too_large"] == 1


def test_bytes_are_told_while_they_flow(make):
    world = make()
    wire = world.ask("/peer/tool/", method="POST", fields=["Content-Length: 9"])
    names = (
        "portal_gateway_requests_in_progress",
        "portal_gateway_request_body_bytes_total",
        "portal_gateway_response_body_bytes_total",
    )
    before = told(world)
    wire.send(b"12345")
    world.origin.wires[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123")
    world.reactor.settle()
    during = told(world)
    assert [during[name,] - before[name,] for name in names[:2]] == [0, 5]
    wire.send(b"6789")
    world.origin.wires[0].send(b"456789")
    world.reactor.settle()
    after = told(world)
    assert [after[name,] - before[name,] for name in names[:2]] == [-1, 9]
    scrapes = [s[names[2],] for s in (before, during, after)]
    assert scrapes == sorted(scrapes)
    body = b"HTTP/1.1 200 OK"
    assert after["portal_gateway_requests_in_progress",] == 1
    assert wire.received.endswith(b"123456789")
    assert body in wire.received


def test_it_tells_quotas_and_the_database(make, tmp_path):
    config = (
        CONFIG
        + f"""
database: {{file: "{tmp_path}/state.sqlite"}}
quotas: {{daily: {{tester: {{requests: 1}}}}}}
"""
    )
    world = make(config)
    world.ask("/peer/tool/")
    world.origin.wires[0].send(OK)
    world.reactor.settle()
    assert answer(world.ask("/peer/tool/"))[0] == 429
    found = told(world)
    assert found["portal_gateway_limit_hits_total", "quotas"] == 1
    assert found["portal_gateway_errors_total", "quota_exceeded", "tool"] == 1
    assert found["portal_gateway_database_up", "sqlite"] == 1
    assert found["portal_gateway_database_transactions_total", "sqlite"] >= 1
    assert found["portal_gateway_database_failures_total", "sqlite"] == 0
    assert found["portal_gateway_database_in_flight", "sqlite"] == 0


def test_no_count_falls_when_parts_are_replaced_and_reloads_are_counted(make, tmp_path):
    moved = 'leases:\n  tool:\n    url: "http://127.0.0.1:3000"\n'
    assert moved in CONFIG
    world = make(CONFIG.replace("overrides: {tester", "overrides: {nobody"))
    for _ in range(3):
        world.ask("/peer/tool/")
        world.origin.wires[-1].send(OK)
        world.reactor.settle()
    found = told(world)
    assert found["portal_gateway_pool_dials_total",] == 1
    assert found["portal_gateway_config_generation",] == 1
    # The lease's pool is another after this, and its connections are counted anew.
    elsewhere = moved.replace("3000", "3001")
    assert world.reconfigure(CONFIG.replace(moved, elsewhere))
    assert not world.reconfigure(CONFIG.replace("gateway:", "gatewoy:"))
    assert world.reconfigure(CONFIG)
    again = told(world)
    world.ask("/peer/tool/")
    world.origin.wires[-1].send(OK)
    world.reactor.settle()
    last = told(world)
    for before, after in ((found, again), (again, last)):
        counts = [key for key in before if key[0].endswith(("_total", "_count", "_bucket"))]
        assert len(counts) > 50
        assert not [key for key in counts if after[key] < before[key]]
    assert last["portal_gateway_pool_dials_total",] == 2
    assert last["portal_gateway_reload_total", "success"] == 2
    assert last["portal_gateway_reload_total", "failure"] == 1
    assert last["portal_gateway_config_generation",] == 3
    assert last["portal_gateway_config_last_reload_successful",] == 1


def test_a_reload_that_moves_it_opens_it_to_nobody_until_the_restart(make):
    world = make()
    assert world.reconfigure(CONFIG + 'metrics: {listen: "127.0.0.1:9090"}\n')
    assert [answer(world.ask("/metrics", key=key))[0] for key in (None, ADMIN)] == [401, 200]


def test_a_reload_changes_who_may_ask_and_whether_there_is_anything(make):
    world = make(CONFIG + 'metrics: {listen: "127.0.0.1:9090"}\n')

    def own(key):
        wire = world.connect(port=9090)
        return answer(world.ask("/metrics", key=key, wire=wire, authority="localhost:9090"))[0]

    assert own(None) == 200
    assert world.reconfigure(CONFIG + 'metrics: {listen: "127.0.0.1:9090", auth: true}\n')
    assert (own(None), own(KEY), own(ADMIN)) == (401, 403, 200)
    assert world.reconfigure(CONFIG + 'metrics: {listen: "127.0.0.1:9090", enabled: false}\n')
    assert own(ADMIN) == 404
    assert world.reconfigure(CONFIG + 'metrics: {listen: "127.0.0.1:9090", series_budget: 500}\n')
    assert own(None) == 200


def test_no_secret_path_or_query_is_told(make):
    world = make()
    world.ask("/peer/tool/canary-path?token=canary-query", fields=["Cookie: canary-cookie"])
    world.origin.wires[0].send(OK)
    world.ask("/canary-path/x?key=canary-query")
    world.ask("/peer/canary-lease/", key="canary-key")
    world.ask("/peer/tool/", key=None, fields=["Authorization: Bearer a.canary-token.b"])
    world.reactor.settle()
    body = answer(world.ask("/metrics", key=ADMIN))[2]
    for secret in (b"canary", KEY.encode(), ADMIN.encode(), b"sk_", b"/relay", b"203.0.113"):
        assert secret not in body


def test_every_metric_that_is_told_is_listed_and_the_fixed_ones_fit():
    relays = "".join(f'    - url: "ws://r{number}.example/relay"\n' for number in range(40))
    config = re.sub(r"    - url: .*relay-a.*\n", relays, CONFIG, count=1)
    world = World(config)
    lines = answer(world.ask("/metrics", key=ADMIN))[2].decode().splitlines()
    types = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    listed = {metric.name for metric in METRICS}
    assert {name for name in types if not name.startswith("process_")} <= listed
    varying = (
        "portal_gateway_requests_total",
        "portal_gateway_request_duration_seconds",
        "portal_gateway_errors_total",
        "portal_gateway_rate_limit_hits_total",
    )
    fixed = [line for line in lines if not line.startswith(("#", *varying))]
    # With Redis, a certificate, round trips of each relay and all reasons there are some more.
    assert len(fixed) + 6 + 1 + 21 + len(Loss) <= FIXED_SERIES
    assert 'portal_gateway_relay_up{relay="_other"}' in "\n".join(lines)
    world.stop()


def paths_of(resource, path=""):
    # A page may be its own at a slash behind it.
    for name in filter(None, resource.listStaticNames()):
        yield f"{path}/{name.decode()}"
        yield from paths_of(resource.getStaticEntity(name), f"{path}/{name.decode()}")


def test_every_page_of_the_gateway_s_own_is_told_by_its_path(make):
    found = {path: path_template(path) for path in paths_of(make().gateway.site.resource)}
    assert {"/health", "/health/ready", "/metrics", "/whoami", "/peer", "/ws"} <= set(found)
    assert {path for path, told in found.items() if path != told} == {"/peer", "/ws"}


def test_what_is_not_there_is_not_told(make):
    names = {key[0] for key in told(make())}
    absent = ("redis", "certificate", "database")
    assert not [name for name in names if any(word in name for word in absent)]
    assert not [name for name in names if "round_trip" in name]


def test_a_lease_that_nobody_lists_has_a_series_once_it_has_answered(make):
    """A relay without a list answers for made-up names as well."""
    config = CONFIG.partition("rate_limit:")[0]
    config = config.replace("ws://relay-a.example/relay", "http://127.0.0.1:3000")
    world = make(config.replace('    url: "http://127.0.0.1:3000"', "    rewrite: true"))
    statuses = {"made-up": [404, 502], "there": [404, 200, 503], "tool": [503]}
    for lease, answers in statuses.items():
        for status in answers:
            wire = world.ask(f"/peer/{lease}/", key=KEY)
            world.origin.wires[-1].send(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
            world.reactor.settle()
            assert answer(wire)[0] == status
    name = "portal_gateway_requests_total"
    found = {key[2:]: value for key, value in told(world).items() if key[0] == name}
    counted = {
        (key[-1], key[0]): value for key, value in found.items() if key[-1] not in {"", "tester"}
    }
    assert counted == {
        ("_unmatched", "404"): 2,
        ("_unmatched", "502"): 1,
        ("there", "200"): 1,
        ("there", "503"): 1,
        ("tool", "503"): 1,
    }


@pytest.mark.parametrize("path", ["/health", "/whoami", "/metrics", "/peer/tool"])
def test_answers_of_the_gateway_say_which_request_they_are_for(make, path):
    world = make()
    key = KEY if path.startswith(("/w", "/p")) else ADMIN
    _, fields, _ = answer(world.ask(path, key=key, fields=["X-Request-ID: mine-1"]))
    assert fields[b"X-Request-ID"] == b"mine-1"
