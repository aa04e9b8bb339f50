"""The bound on idle connections that the pools of one relay share."""

import pytest
from twisted.internet.task import Clock

from portal_gateway.relay.http_client import BodyFraming
from portal_gateway.relay.http_connection import UpstreamConnection
from portal_gateway.relay.idle_connections import MAX_IDLE, SURPLUS_TIME, SharedIdle
from portal_gateway.relay.lease_pools import MAX_POOLS, LeasePools
from portal_gateway.relay.pool import Pool, PoolLimits
from tests.relay.scripted_upstream import RecordingSink, ScriptedEndpoint


class World:
    """The pools of one relay, each with a lease that answers at once."""

    def __init__(self, **limits):
        self.clock = Clock()
        self.endpoints = {}
        self.pools = LeasePools(self.make)
        self.limits = PoolLimits(**limits)
        self.pools.use(self.limits)

    def make(self, key):
        endpoint = self.endpoints[key] = ScriptedEndpoint()
        return Pool(endpoint, self.clock, PoolLimits())

    def begin(self, lease, count=1):
        """Requests at the same time, without an answer yet; their connections."""
        pool = self.pools.get(lease)
        for _ in range(count):
            pool.request(b"GET", b"/", [], RecordingSink(), body=BodyFraming.none())
        endpoint = self.endpoints[lease]
        return [endpoint.accept() for _ in range(len(endpoint.dials))]

    def idle(self, lease, count=1):
        """Connections that were used at the same time."""
        self.begin(lease, count)
        lines = [line for line in self.endpoints[lease].lines if line.protocol.exchange is not None]
        for line in lines:
            line.answer()
        return lines

    @property
    def figures(self):
        return self.pools.figures

    def lines(self):
        return [line for endpoint in self.endpoints.values() for line in endpoint.lines]

    def check_clean(self):
        self.pools.close()
        self.clock.advance(0)
        for endpoint in self.endpoints.values():
            endpoint.report_losses()
        assert self.clock.getDelayedCalls() == []
        assert (self.figures.idle, len(self.pools._idle)) == (0, 0)
        assert all(line.dropped or line.gone for line in self.lines())


@pytest.fixture
def make_world():
    worlds = []

    def make(**limits):
        worlds.append(World(**limits))
        return worlds[-1]

    yield make
    for world in worlds:
        world.check_clean()


@pytest.fixture
def world(make_world):
    return make_world()


def test_many_names_with_many_connections_each_hold_no_more_than_the_bound(world):
    for number in range(200):
        world.idle(f"made up {number}", 20)
        world.clock.advance(0.1)
    world.clock.advance(SURPLUS_TIME)
    assert world.figures.idle == MAX_IDLE
    assert world.figures.idle_ended == 200 * 20 - MAX_IDLE
    assert sum(not line.dropped for line in world.lines()) == MAX_IDLE


def test_the_pools_and_the_connections_are_half_of_the_usual_descriptors():
    assert MAX_IDLE == MAX_POOLS == 1024 // 2


def test_those_go_that_were_idle_longest(make_world):
    world = make_world(max_idle=MAX_IDLE)
    old, used = world.idle("old", 2), world.idle("used", 1)
    world.clock.advance(1)
    world.idle("filling", MAX_IDLE - 3)
    world.clock.advance(10)
    # It is used once more: then it was idle for the shortest time.
    assert world.idle("used") == used
    assert not any(line.dropped for line in old)
    world.idle("new", 2)
    assert all(line.dropped for line in old)
    assert not used[0].dropped
    assert (world.figures.idle, world.figures.idle_ended) == (MAX_IDLE, 2)


def test_a_burst_of_one_lease_keeps_its_connections_for_a_moment(make_world):
    world = make_world(max_active=2000, max_idle=2000)
    # What one pool may have is no less than what the operator says.
    world.idle("busy", 1500)
    world.clock.advance(10)
    assert world.figures.idle == 1500
    world.pools.use(PoolLimits(max_active=2000, max_idle=100))
    world.clock.advance(10)
    assert world.figures.idle == 100
    lines = world.idle("busy", 1000)
    assert world.figures.idle == 1000
    assert not any(line.dropped for line in lines)
    world.clock.advance(SURPLUS_TIME / 2)
    world.begin("busy", 1000)
    assert world.figures.dials == 1500 + 900, "they were kept, and are used again"
    assert not world.pools._idle


def test_active_connections_are_not_counted(world):
    world.begin("busy", 900)
    world.idle("other", 10)
    world.clock.advance(SURPLUS_TIME)
    assert (world.figures.active, world.figures.idle, world.figures.idle_ended) == (900, 10, 0)


@pytest.mark.parametrize("end", ["lost", "spoke", "used", "expired", "retired", "closed"])
def test_what_is_idle_no_more_is_counted_no_more(world, end):
    lines = world.idle("agent", 20)
    assert len(world.pools._idle) == 20
    pool = world.pools.get("agent")
    if end == "lost":
        for line in lines:
            line.lose()
    elif end == "spoke":
        for line in lines:
            line.answer(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    elif end == "used":
        world.begin("agent", 20)
    elif end == "expired":
        world.clock.advance(world.limits.idle_timeout + 1)
    elif end == "retired":
        world.pools.retire()
    else:
        pool.close()
    assert (pool.idle, len(world.pools._idle)) == (0, 0)
    assert world.figures.idle_ended == 0


def test_a_pool_that_goes_for_another_takes_its_connections_with_it(world):
    for number in range(MAX_POOLS + 40):
        world.idle(f"made up {number}")
    assert (world.figures.idle, len(world.pools._idle)) == (MAX_POOLS, MAX_POOLS)
    assert world.figures.given_up == 40
    world.clock.advance(SURPLUS_TIME)
    assert world.figures.idle_ended == 0


def test_a_pool_of_its_own_shares_nothing():
    clock, endpoint = Clock(), ScriptedEndpoint()
    pool = Pool(endpoint, clock, PoolLimits(max_idle=600))
    for _ in range(600):
        pool.request(b"GET", b"/", [], RecordingSink(), body=BodyFraming.none())
    for _ in range(600):
        endpoint.accept()
    for line in endpoint.lines:
        line.answer()
    clock.advance(2 * SURPLUS_TIME)
    assert pool.idle == 600
    pool.close()


class Owner:
    def __init__(self, clock):
        self.clock = clock
        self.ended = []

    def end_idle(self, connection):
        self.ended.append(connection)


def test_a_call_is_due_only_while_there_are_too_many():
    clock = Clock()
    shared, owner = SharedIdle(2), Owner(clock)
    those = [UpstreamConnection(owner) for _ in range(4)]
    for each in those:
        shared.add(each, owner, clock.seconds())
        clock.advance(0.1)
    assert len(clock.getDelayedCalls()) == 1
    shared.forget(those[0])
    shared.forget(those[1])
    assert clock.getDelayedCalls() == []
    shared.use(1)
    clock.advance(SURPLUS_TIME)
    assert owner.ended == those[2:3]
    assert (len(shared), shared.ended) == (1, 1)
    shared.use(0)
    assert owner.ended == those[2:]
    assert clock.getDelayedCalls() == []
