"""Where a lease is: a configured origin, else the first relay that lists it."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from portal_gateway.config.model import LeaseSection
from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.configured_names import ConfiguredNames
from portal_gateway.relay.directory import Directory
from portal_gateway.relay.lease_pools import MAX_POOLS
from portal_gateway.relay.origins import HTTPRelay, HTTPRelayURL
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
        self.dials_total = self.reuses_total = self.retries_total = self.silences_total = 0
        self.closed = False

    def close(self):
        self.closed = True

    def share_idle(self, shared):
        self.shared = shared


def listed(name):
    return ListedLease(Credential.generate().identity.id, name, 2**31, ("http/1.1",))


def said(route):
    """What requests say on a route."""
    return route.host, route.base, route.rewrite


class FakeRelay:
    """A relay whose list is set by hand."""

    def __init__(self, clock, *leases, pins=None):
        self.leases = leases
        self.failure = None
        self.questions = 0
        self.session = FakeSession()
        self.directory = Directory(self.ask, clock, ConfiguredNames(pins))
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

    def test_a_lease_has_the_same_names_however_it_is_asked_for(self):
        lease = listed("Agent")
        relay = FakeRelay(self.clock, lease, pins={"mine": lease.id, "other": "A" * 26})
        relay.relay.start()
        router = Router({}, [relay.relay])
        for asked in ("Agent", "agent", "AGENT", "mine", "MINE", lease.id):
            route = router.find(asked)
            self.assertEqual(route.names, ("mine", "Agent", lease.id))
            self.assertFalse(route.hides_names)

    def test_an_origin_has_the_name_that_it_is_configured_by(self):
        router = Router({"tool": FakePool("origin")}, [])
        self.assertEqual(router.find("tool").names, ("tool",))
        self.assertFalse(router.find("tool").hides_names)

    def test_what_is_configured_holds_by_each_name_of_a_lease_and_in_any_case(self):
        lease = listed("Agent")
        relay = FakeRelay(self.clock, lease)
        relay.relay.start()
        for name in ("Agent", "agent", lease.id):
            section = LeaseSection(host_header="h.example", rewrite=False)
            router = Router({}, [relay.relay], (), {"other": LeaseSection(), name: section})
            for asked in ("Agent", "aGENT", lease.id):
                self.assertEqual(said(router.find(asked)), (b"h.example", b"", False))

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

    def test_a_name_that_is_contested_at_a_relay_is_looked_for_nowhere_else(self):
        mine, other = listed("Company-Tool"), listed("COMPANY-TOOL")
        first = FakeRelay(self.clock, mine, other)
        second = FakeRelay(self.clock, listed("Company-Tool"), listed("company-tool"))
        for relay in (first, second):
            relay.relay.start()
        by_path = HTTPRelay(HTTPRelayURL.parse("http://[::1]/"), FakePool)
        for http_relays in ((), (by_path,)):
            router = Router({}, [first.relay, second.relay], http_relays)
            self.assertEqual(router.find("Company-Tool").key, mine.id)
            self.assertEqual(router.find("COMPANY-TOOL").key, other.id)
            self.fails(router.find("company-tool"), "lease_not_found")
            # Two of one name, and the id of a lease in lower case.
            first.leases = (mine, listed("Company-Tool"))
            self.successResultOf(first.directory.refresh())
            self.fails(router.find("Company-Tool"), "lease_not_found")
            self.fails(router.find(mine.id.lower()), "lease_not_found")
            first.leases = (mine, other)
            self.successResultOf(first.directory.refresh())

    def test_a_name_that_just_became_contested_is_looked_for_nowhere_else(self):
        by_path = HTTPRelay(HTTPRelayURL.parse("http://[::1]/"), FakePool)
        for http_relays in ((), (by_path,)):
            first, second = FakeRelay(self.clock), FakeRelay(self.clock)
            for relay in (first, second):
                relay.relay.start()
            first.leases = (listed("tool"), listed("tool"))
            second.leases = (listed("tool"),)
            router = Router({}, [first.relay, second.relay], http_relays)
            self.fails(router.find("tool"), "lease_not_found")

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

    def test_of_many_pools_those_go_that_were_asked_for_longest_ago_and_carry_nothing(self):
        relay = FakeRelay(self.clock).relay
        routes = [relay.route(listed(f"lease {number}")) for number in range(MAX_POOLS)]
        pools = [route.pool for route in routes]
        pools[0].active = pools[1].dialling = pools[2].queued = 1
        pools[3].idle = pools[4].idle = 1
        self.assertIs(routes[3].pool, pools[3])  # now it was asked for last
        for number in range(3):
            relay.route(listed(f"one more {number}")).pool  # noqa: B018 - asking makes it
        self.assertEqual([pool for pool in pools if pool.closed], pools[4:7])
        self.assertEqual(relay.pool_figures.given_up, 1)
        # A way that was found before is none to a pool that is closed.
        self.assertFalse(routes[4].pool.closed)

    def test_pools_that_all_carry_something_stay(self):
        relay = FakeRelay(self.clock).relay
        routes = [relay.route(listed(f"lease {number}")) for number in range(MAX_POOLS + 20)]
        for route in routes:
            route.pool.active = 1
        self.assertFalse(any(route.pool.closed for route in routes))
        self.assertEqual(relay.pool_figures.active, MAX_POOLS + 20)

    def test_a_relay_that_is_stopped_closes_its_pools_and_its_session(self):
        relay = FakeRelay(self.clock, listed("agent"))
        relay.relay.start()
        pool = Router({}, [relay.relay]).find("agent").pool
        stopped = relay.relay.close()
        self.assertTrue(pool.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertNoResult(stopped)
        relay.session.stopped.callback(None)
        self.successResultOf(stopped)


class HTTPRelayTests(SynchronousTestCase):
    """Relays that do not list their leases, alone and beside one that does."""

    def setUp(self):
        self.clock = Clock()
        self.by_host = HTTPRelay(HTTPRelayURL.parse("https://{lease}.a.example:5443"), FakePool)
        self.by_path = HTTPRelay(HTTPRelayURL.parse("http://[::1]/base/"), FakePool)

    def fails(self, found, code):
        error = self.failureResultOf(found, GatewayError).value
        self.assertEqual(error.cause.code, code)

    def test_a_host_for_each_lease(self):
        router = Router({}, [], [self.by_host])
        self.assertTrue(router.ready)
        route = router.find("agent")
        self.assertEqual(route.pool.lease_id, "agent.a.example")
        self.assertEqual(said(route), (b"agent.a.example:5443", b"", True))
        self.assertIs(router.find("agent").pool, route.pool)
        self.assertIsNot(router.find("other").pool, route.pool)
        self.assertEqual(router.find("에이전트").host, b"xn--hi5b23ammr76a.a.example:5443")

    def test_the_port_of_the_scheme_is_not_in_the_host(self):
        for text, host in (
            ("https://{lease}.a.example:443", b"agent.a.example"),
            ("http://{lease}.a.example/", b"agent.a.example"),
            ("http://{lease}.a.example:443", b"agent.a.example:443"),
        ):
            relay = HTTPRelay(HTTPRelayURL.parse(text), FakePool)
            self.assertEqual(relay.route("agent").host, host)

    def test_a_name_that_no_host_can_hold_is_not_found(self):
        router = Router({}, [], [self.by_host])
        for name in ("Agent", "a.b", "", "a" * 64, "xn--bcher-kva"):
            self.fails(router.find(name), "lease_not_found")
        long = HTTPRelay(HTTPRelayURL.parse(f"https://{{lease}}.{'a.' * 100}b"), FakePool)
        self.assertIsNotNone(long.route("a" * 51))
        self.assertIsNone(long.route("a" * 52))

    def test_a_path_for_each_lease_and_one_pool(self):
        router = Router({}, [], [self.by_path])
        route = router.find("b c")
        self.assertEqual(route.pool.lease_id, "::1")
        self.assertEqual(said(route), (b"[::1]", b"/base/peer/b%20c", True))
        self.assertIs(router.find("other").pool, route.pool)

    def test_the_next_relay_takes_what_the_first_cannot_have(self):
        router = Router({}, [], [self.by_host, self.by_path])
        self.assertEqual(router.find("agent").pool.lease_id, "agent.a.example")
        self.assertEqual(router.find("my_agent").base, b"/base/peer/my_agent")

    def test_a_relay_that_lists_the_lease_comes_first(self):
        listing = FakeRelay(self.clock, listed("agent"))
        listing.relay.start()
        router = Router({}, [listing.relay], [self.by_host])
        self.assertEqual(router.find("agent").pool.lease_id, listing.leases[0].id)

    def test_a_lease_that_just_came_to_a_list_is_found_there(self):
        listing = FakeRelay(self.clock)
        listing.relay.start()
        listing.leases = (listed("agent"),)
        router = Router({}, [listing.relay], [self.by_host])
        route = self.successResultOf(router.find("agent"))
        self.assertEqual(route.pool.lease_id, listing.leases[0].id)

    def test_what_no_list_has_may_be_where_there_is_none(self):
        listing = FakeRelay(self.clock)
        listing.relay.start()
        router = Router({}, [listing.relay], [self.by_host])
        route = self.successResultOf(router.find("agent"))
        self.assertEqual(route.pool.lease_id, "agent.a.example")
        self.fails(router.find("Agent"), "lease_not_found")

    def test_a_lease_with_a_connection_is_not_asked_for(self):
        listing = FakeRelay(self.clock)
        listing.relay.start()
        router = Router({}, [listing.relay], [self.by_host])
        pool = self.successResultOf(router.find("agent")).pool
        pool.idle = 1
        questions = listing.questions
        self.assertIs(router.find("agent").pool, pool)
        self.assertEqual(listing.questions, questions)

    def test_a_relay_that_is_away_is_not_waited_for(self):
        listing = FakeRelay(self.clock)
        listing.relay.start()
        listing.session.lose()
        router = Router({}, [listing.relay], [self.by_host])
        self.assertEqual(router.find("agent").pool.lease_id, "agent.a.example")
        listing.failure = fault("relay_unavailable", "away")
        self.fails(router.find("Agent"), "relay_unavailable")

    def test_a_relay_that_fails_to_answer_leaves_the_others(self):
        listing = FakeRelay(self.clock)
        listing.relay.start()
        listing.failure = fault("relay_protocol_error", "broken")
        router = Router({}, [listing.relay], [self.by_host])
        self.assertEqual(
            self.successResultOf(router.find("agent")).pool.lease_id, "agent.a.example"
        )

    def test_a_pinned_lease_is_not_looked_for_where_no_identity_is_checked(self):
        wanted = Credential.generate().identity.id
        leases = {"agent": LeaseSection(identity=wanted)}
        self.fails(Router({}, [], [self.by_host], leases).find("agent"), "lease_not_found")
        listing = FakeRelay(self.clock, pins={"agent": wanted})
        listing.relay.start()
        router = Router({}, [listing.relay], [self.by_host], leases)
        self.fails(router.find("agent"), "lease_offline")

    def test_what_is_configured_of_a_lease_holds_wherever_it_is(self):
        leases = {
            name: LeaseSection(host_header="h.example:1", rewrite=False)
            for name in ("tool", "agent", "listed")
        }
        listing = FakeRelay(self.clock, listed("listed"))
        listing.relay.start()
        router = Router({"tool": FakePool("tool")}, [listing.relay], [self.by_host], leases)
        for found in (router.find("tool"), router.find("listed")):
            self.assertEqual(said(found), (b"h.example:1", b"", False))
        route = self.successResultOf(router.find("agent"))
        self.assertEqual(said(route), (b"h.example:1", b"", False))

    def test_without_a_list_a_lease_is_known_by_the_name_that_was_asked_for(self):
        router = Router({}, [], [self.by_host, self.by_path])
        for name in ("agent", "my_agent"):
            route = router.find(name)
            self.assertEqual((route.names, route.hides_names), ((name,), False))

    def test_a_lease_asked_for_by_its_id_may_have_names_that_only_the_relay_knows(self):
        pinned, other = (Credential.generate().identity.id for _ in range(2))
        leases = {"Pinned": LeaseSection(identity=pinned)}
        router = Router({}, [], [self.by_host, self.by_path], leases)
        route = router.find(other)
        self.assertEqual((route.names, route.hides_names), ((other,), True))
        # Those that the configuration pins to it are known.
        route = router.find(pinned)
        self.assertEqual((route.names, route.hides_names), (("Pinned", pinned), True))

    def test_by_path_a_configured_name_is_asked_for_as_it_is_spelled(self):
        leases = {"Secret": LeaseSection(), "a%b": LeaseSection(), "ｗide": LeaseSection()}
        router = Router({}, [], [self.by_path], leases)
        for asked in ("Secret", "secret", "SECRET"):
            route = router.find(asked)
            self.assertEqual((route.base, route.names), (b"/base/peer/Secret", ("Secret",)))
        # Those that a reader could take for another are not asked for, however they are spelled.
        for asked in ("a%b", "A%B", "ｗide", "wide", "secret.", "Tool"):
            self.fails(router.find(asked), "lease_not_found")

    def test_by_host_a_configured_name_has_one_host_in_any_case(self):
        for configured, asked, host in (
            ("Tool", ("tool", "Tool", "TOOL"), b"tool.a.example:5443"),
            ("tool", ("tool", "Tool"), b"tool.a.example:5443"),
            ("Straße", ("straße", "STRASSE", "strasse"), b"xn--strae-oqa.a.example:5443"),
            ("BU\u0308CHER", ("bücher", "BÜCHER"), b"xn--bcher-kva.a.example:5443"),
        ):
            router = Router({}, [], [self.by_host], {configured: LeaseSection(rewrite=False)})
            for name in asked:
                self.assertEqual(said(router.find(name)), (host, b"", False))
                self.assertEqual(router.find(name).names, (configured,))
        for name in ("Other", "xn--other", "a.b"):
            self.fails(router.find(name), "lease_not_found")
        for name in ("A.B", "XN--A"):
            self.fails(
                Router({}, [], [self.by_host], {name: LeaseSection()}).find(name), "lease_not_found"
            )

    def test_by_host_a_configured_lease_with_a_connection_is_not_asked_for(self):
        listing = FakeRelay(self.clock)
        listing.relay.start()
        router = Router({}, [listing.relay], [self.by_host], {"Tool": LeaseSection()})
        self.successResultOf(router.find("tool")).pool.idle = 1
        questions = listing.questions
        self.assertEqual(router.find("TOOL").host, b"tool.a.example:5443")
        self.assertEqual(listing.questions, questions)

    def test_a_name_like_a_configured_one_is_nobodys(self):
        mine, stranger = listed("my-agent"), listed("My-Agent")
        for other in ("ｍy-agent", "my-agent.", " my-agent", "my-agent\u034f", "ＭＹ-AGENT"):
            listing = FakeRelay(self.clock, mine, stranger, listed(other), listed("TOOL"))
            listing.relay.start()
            leases = {"my-agent": LeaseSection(identity=mine.id), "tool": LeaseSection()}
            listing.directory.use(ConfiguredNames({"my-agent": mine.id}, ["tool"]))
            origin = FakePool("origin")
            router = Router({"tool": origin}, [listing.relay], [self.by_host], leases)
            for asked in ("my-agent", "My-Agent", "MY-AGENT"):
                self.assertEqual(router.find(asked).key, mine.id)
            for asked in ("tool", "Tool", "TOOL"):
                self.assertIs(router.find(asked).pool, origin)
            self.fails(router.find(other), "lease_not_found")
            # By its id a stranger is reached, and has no name that the configuration gave away.
            self.assertEqual(router.find(stranger.id).names, (stranger.id,))

    def test_closing_closes_every_pool(self):
        router = Router({}, [], [self.by_host, self.by_path])
        pools = [router.find(name).pool for name in ("agent", "other", "my_agent")]
        self.by_host.close()
        self.by_path.close()
        self.assertTrue(all(pool.closed for pool in pools))
