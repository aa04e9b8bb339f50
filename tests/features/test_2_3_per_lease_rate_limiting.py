"""Feature 2.3: the acceptance criteria, each through a whole gateway in memory."""

import pytest
from access_world import AccessWorld, id_of

from tests.frontend.gateway_world import KEY
from tests.frontend.limited_world import Limited

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


def test_each_lease_rate_limited_independently(limited):
    world = limited(PER_LEASE)
    assert world.admitted() == 5
    answer = world.ask("/peer/second/")
    assert answer.status == 204
    assert answer.limits == set()


def test_aggregated_across_all_api_keys(limited):
    world = limited(PER_LEASE)
    for key in ("sk_live_premium", "sk_live_other_0123", KEY, "sk_live_reader_0123", KEY):
        assert world.ask(key=key).status == 204
    for key in ("sk_live_premium", "sk_live_other_0123", KEY, "sk_live_reader_0123"):
        assert world.ask(key=key).status == 429


def test_configurable_per_lease(limited):
    world = limited(PER_LEASE + "    second: {requests_per_minute: 60, burst: 3}\n    t*: 1\n")
    assert world.admitted() == 5
    assert world.admitted(target="/peer/second/") == 3
    assert world.admitted(target="/peer/third/", status=404) == 1


def test_every_way_to_a_lease_is_the_same_lease(limited):
    world = limited(PER_LEASE)
    for target in ("/peer/tool/", "/peer/%74ool/x", "/peer/tool", "/ws/tool/", "/peer/tool/?a=b"):
        assert world.ask(target).status != 429
    assert world.ask("/peer/t%6fol/").status == 429


def test_at_a_relay_by_path_a_lease_has_one_limit_by_its_name_and_by_its_id():
    world = AccessWorld(
        "auth: {keys: [{key: sk_live_other, id: other}]}\n"
        "rate_limit: {per_lease: {open: {requests_per_minute: 3, burst: 3}}}",
        by_http=("open",),
    )
    asked = ["/peer/open/", f"/peer/{id_of(101)}/"] * 2
    found = [world.outcome(target, key="sk_live_other") for target in asked]
    assert found == ["open"] * 3 + ["rate_limit_exceeded"]
    world.stop()
