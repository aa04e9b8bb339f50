"""What metrics read from the parts of a gateway, for parts that tests of a whole one lack."""

from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace

from portal_gateway.frontend.readings import (
    MOST_RELAYS,
    of_certificate,
    of_databases,
    of_lookups,
    of_redis,
    of_relays,
    of_stored_keys,
    of_tokens,
)
from portal_gateway.relay.lease_pools import PoolFigures
from portal_gateway.relay.lost import Loss
from portal_gateway.relay.session import State
from portal_gateway.store.database import DatabaseFigures
from portal_gateway.store.redis import RedisFigures


def told(readings):
    return {
        (reading.name.removeprefix("portal_gateway_"), *reading.labels): reading.value
        for reading in readings
    }


def relay(name, *, up=True, round_trip=None, leases=0, unasked=0):
    session = SimpleNamespace(
        name=name,
        state=State.UP if up else State.WAITING,
        connected=up,
        round_trip=round_trip,
        connects=2,
        losses=Counter({Loss.YAMUX_FAULT: 2}),
        attempts=3,
    )
    directory = SimpleNamespace(figures=SimpleNamespace(leases=leases, unasked=unasked))
    return SimpleNamespace(session=session, directory=directory)


def router(*relays):
    return SimpleNamespace(relays=relays, pool_figures=PoolFigures(1, 2, 3, 4, 5, 6, 7, 8, 9, 10))


def test_relays_are_told_with_their_round_trips_and_leases():
    one = relay("a:1", round_trip=0.02, leases=7, unasked=3)
    found = told(of_relays(router(one, relay("b:1", up=False, unasked=2))))
    assert found["limit_hits_total", "relay.unknown_leases"] == 5
    assert found["portal_connections", "up"] == found["portal_connections", "waiting"] == 1
    assert found["portal_connections", "dialling"] == 0
    assert (found["relay_up", "a:1"], found["relay_up", "b:1"]) == (1, 0)
    assert found["relay_round_trip_seconds", "a:1"] == 0.02
    assert ("relay_round_trip_seconds", "b:1") not in found
    assert (found["leases", "a:1"], found["leases", "b:1"]) == (7, 0)
    assert (found["relay_connects_total", "a:1"], found["relay_attempts_total", "a:1"]) == (2, 3)
    assert found["relay_losses_total", "yamux_fault"] == 4
    pool = [found["pool_connections", state] for state in ("idle", "active", "dialling")]
    assert pool == [1, 2, 3]
    assert found["limit_hits_total", "lease_pools"] == 9
    assert found["limit_hits_total", "idle_connections"] == 10
    assert found["pool_queued_requests",] == 4
    assert [found[f"pool_{what}_total",] for what in ("dials", "reuses", "retries")] == [5, 6, 7]


def test_relays_at_one_place_and_those_above_the_bound_are_told_together():
    relays = [relay(f"r{number}:1", round_trip=number, leases=1) for number in range(MOST_RELAYS)]
    more = [relay("x:1", round_trip=8, leases=5), relay("y:1", up=False, round_trip=9, leases=5)]
    found = told(of_relays(router(*relays, relay("r0:1", leases=10), *more)))
    assert len([key for key in found if key[0] == "leases"]) == MOST_RELAYS + 1
    assert found["leases", "r0:1"] == 11
    assert found["leases", "_other"] == 10
    assert found["relay_up", "_other"] == 0
    assert found["relay_round_trip_seconds", "_other"] == 9


def test_look_ups_that_were_refused_are_told():
    found = told(of_lookups(SimpleNamespace(refused=3)))
    assert found == {("limit_hits_total", "lookups"): 3}


def test_redis_is_told():
    for usable, up in ((None, 0), (False, 0), (True, 1)):
        figures = RedisFigures(usable, transitions=1, failures=2, fallbacks=3, attempts=4)
        found = told(of_redis(SimpleNamespace(figures=figures, in_flight=5)))
        assert found == {
            ("redis_up",): up,
            ("redis_transitions_total",): 1,
            ("redis_failures_total",): 2,
            ("redis_fallbacks_total",): 3,
            ("redis_attempts_total",): 4,
            ("redis_in_flight",): 5,
        }


def test_databases_of_one_driver_are_told_together():
    databases = [
        SimpleNamespace(
            driver="postgres",
            figures=DatabaseFigures(usable=True, done=10, failures=1, in_flight=2),
        ),
        SimpleNamespace(
            driver="postgres", figures=DatabaseFigures(usable=False, done=20, failures=2)
        ),
        SimpleNamespace(driver="sqlite", figures=DatabaseFigures(usable=True, done=5, in_flight=1)),
    ]
    assert told(of_databases(databases)) == {
        ("database_up", "postgres"): 0,
        ("database_transactions_total", "postgres"): 30,
        ("database_failures_total", "postgres"): 3,
        ("database_in_flight", "postgres"): 2,
        ("database_up", "sqlite"): 1,
        ("database_transactions_total", "sqlite"): 5,
        ("database_failures_total", "sqlite"): 0,
        ("database_in_flight", "sqlite"): 1,
    }


def test_a_certificate_is_told_once_there_is_one():
    assert told(of_certificate(SimpleNamespace(expires=None))) == {}
    expires = datetime(2027, 1, 1, tzinfo=UTC)
    assert told(of_certificate(SimpleNamespace(expires=expires))) == {
        ("tls_certificate_expiry_timestamp_seconds",): expires.timestamp()
    }


def test_requests_that_found_no_place_to_wait_for_their_keys_are_told():
    stored = SimpleNamespace(questions=SimpleNamespace(refused=3))
    assert told(of_stored_keys(stored)) == {("limit_hits_total", "key_questions"): 3}
    tokens = SimpleNamespace(refused=4)
    assert told(of_tokens(tokens)) == {("limit_hits_total", "token_keys"): 4}
