"""Where a lease is: a configured origin, else the first relay that lists it."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.directory import Directory
from portal_gateway.relay.lease_pools import MAX_POOLS
from portal_gateway.relay.router import Relay, Router
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.messages import ListedLease, RelayInfo


class FakeSession:
    """As much of a session as a Relay asks for."""

    def __init__(self):
        self.on_connected = []
        self.on_lost = []
        self.connected = False
        self.stopped = Deferred()

    def start(self):
        self.connected = True
        for callback in self.on_connected:
            callback(self)

    def lose(self):
        self.connected = False
        for callback in self.on_lost:
            callback(None)

    def stop(self):
        self.connected = False
        return self.stopped


class FakePool:
    """As much of a pool as a Relay asks for."""

    def __init__(self, lease_id):
        self.lease_id = lease_id
        self.idle = self.active = self.dialling = self.queued = 0
        self.closed = False

    def close(self):
        self.closed = True


def listed(name):
    return ListedLease(Credential.generate().identity.id, name, 2**31, ("http/1.1",))


class FakeRelay:
    """A relay whose list is set by hand."""

    def __init__(self, clock, *leases, pins=None):
        self.leases = leases
        self.failure = None
        self.questions = 0
        self.session = FakeSession()
        self.directory = Directory(self.ask, clock, pins)
        self.relay = Relay(self.session, self.directory, FakePool)

    def ask(self):
        self.questions += 1
        if self.failure is not None:
            raise self.failure
        return succeed(RelayInfo(None, (), tuple(self.leases)))


class RouterTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()

    def fails(self, found, code):
        error = self.failureResultOf(found, GatewayError).value
        self.assertEqual(error.cause.code, code)

    def test_a_configured_origin_comes_first_and_needs_no_relay(self):
        relay = FakeRelay(self.clock, listed("tool"))
        relay.relay.start()
        origin = FakePool("origin")
        router = Router({"tool": origin}, [relay.relay])
        self.assertIs(router.find("tool").pool, origin)
        relay.session.lose()
        self.assertTrue(router.ready)
        self.assertIs(router.find("tool").pool, origin)

    def test_a_listed_lease_has_one_pool_by_name_and_by_id(self):
        lease = listed("agent")
        relay = FakeRelay(self.clock, lease)
        router = Router({}, [relay.relay])
        self.assertFalse(router.ready)
        relay.relay.start()
        self.assertTrue(router.ready)
        pool = router.find("agent").pool
        self.assertEqual(pool.lease_id, lease.id)
        self.assertIs(router.find(lease.id).pool, pool)

    def test_a_lease_that_just_came_is_asked_for(self):
        relay = FakeRelay(self.clock)
        relay.relay.start()
        router = Router({}, [relay.relay])
        self.fails(router.find("agent"), "lease_not_found")
        relay.leases = (listed("agent"),)
        self.clock.advance(1.5)
        self.assertEqual(
            self.successResultOf(router.find("agent")).pool.lease_id, relay.leases[0].id
        )

    def test_without_relays_a_lease_that_is_not_configured_is_unknown(self):
        self.fails(Router({}, []).find("agent"), "lease_not_found")

    def test_the_first_relay_that_has_the_lease_is_taken(self):
        first, second = FakeRelay(self.clock), FakeRelay(self.clock, listed("agent"))
        for relay in (first, second):
            relay.relay.start()
        pool = Router({}, [first.relay, second.relay]).find("agent").pool
        self.assertEqual(pool.lease_id, second.leases[0].id)

    def test_a_relay_that_does_not_answer_does_not_delay_one_that_has_the_lease(self):
        first, second = FakeRelay(self.clock), FakeRelay(self.clock)
        for relay in (first, second):
            relay.relay.start()
        first.directory._ask = Deferred
        second.leases = (listed("agent"),)
        found = Router({}, [first.relay, second.relay]).find("agent")
        self.assertEqual(self.successResultOf(found).pool.lease_id, second.leases[0].id)

    def test_when_none_has_it_the_answer_that_says_most_is_given(self):
        away, empty = FakeRelay(self.clock), FakeRelay(self.clock)
        for relay in (away, empty):
            relay.relay.start()
        away.failure = fault("relay_unavailable", "away")
        router = Router({}, [empty.relay, away.relay])
        self.fails(router.find("agent"), "relay_unavailable")
        gone = listed("gone")
        empty.leases = (gone,)
        self.successResultOf(empty.directory.refresh())
        empty.leases = ()
        self.successResultOf(empty.directory.refresh())
        self.fails(router.find("gone"), "lease_offline")

    def test_a_name_that_another_identity_holds_is_a_mismatch_whatever_others_say(self):
        wanted = Credential.generate().identity.id
        usurped = FakeRelay(self.clock, listed("agent"), pins={"agent": wanted})
        empty = FakeRelay(self.clock, pins={"agent": wanted})
        for relay in (usurped, empty):
            relay.relay.start()
        self.fails(Router({}, [usurped.relay, empty.relay]).find("agent"), "identity_mismatch")

    def test_nothing_of_a_relay_that_was_lost_is_believed(self):
        relay = FakeRelay(self.clock, listed("agent"))
        relay.relay.start()
        router = Router({}, [relay.relay])
        router.find("agent")
        relay.session.lose()
        self.assertFalse(router.ready)
        relay.failure = fault("relay_unavailable", "away")
        self.fails(router.find("agent"), "relay_unavailable")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pools_without_a_connection_are_let_go_when_there_are_many(self):
        relay = FakeRelay(self.clock).relay
        used = relay.pool("used")
        used.active = 1
        others = [relay.pool(f"lease {number}") for number in range(MAX_POOLS - 1)]
        relay.pool("one more")
        self.assertTrue(all(pool.closed for pool in others))
        self.assertFalse(used.closed)
        self.assertIs(relay.pool("used"), used)

    def test_a_relay_that_is_stopped_closes_its_pools_and_its_session(self):
        relay = FakeRelay(self.clock, listed("agent"))
        relay.relay.start()
        pool = Router({}, [relay.relay]).find("agent").pool
        stopped = relay.relay.stop()
        self.assertTrue(pool.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertNoResult(stopped)
        relay.session.stopped.callback(None)
        self.successResultOf(stopped)
