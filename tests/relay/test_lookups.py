"""Look-ups of names that are made up: who waits, who does not, and when a place is free again."""

import inspect
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import DNSLookupError

from portal_gateway.config.loading import load_config_text
from portal_gateway.policy.fair_line import FairLine
from portal_gateway.relay.http_client import BodyFraming
from portal_gateway.relay.lookups import (
    MAX_FOUND,
    MAX_KNOWN_NAMES,
    MAX_LOOKUPS,
    MAX_NEW_NAMES,
    MAX_OF_ONE,
    MOST_OF_ONE_WAITING,
    PLACES,
    Lookups,
)
from portal_gateway.relay.upstreams import Upstreams
from portal_gateway.testing.memory_reactor import MemoryReactor
from tests.relay.scripted_resolver import ScriptedResolver
from tests.relay.scripted_upstream import RecordingSink


class World:
    """Look-ups by a resolver that answers by hand; ``results`` by name, as they come."""

    def __init__(self):
        self.reactor = MemoryReactor()
        self.resolver = ScriptedResolver()
        self.reactor.installNameResolver(self.resolver)
        self.lookups = Lookups(self.reactor, FairLine)
        self.results = {}

    def ask(self, name, asker="boss", port=80):
        waiter = self.lookups.look_up(name, port, asker)
        waiter.addBoth(lambda result: self.results.setdefault(name, []).append(result))
        return waiter

    def know(self, *names):
        for name in names:
            self.ask(name)
            self.resolver.answer(name)
        self.results.clear()

    def code(self, name):
        (failure,) = self.results.pop(name)
        return failure.value.cause.code


@pytest.fixture
def world():
    return World()


def made_up(count, start=0):
    return [f"n{number}.example" for number in range(start, start + count)]


def test_the_addresses_come_with_the_port(world):
    world.ask("a.example", port=4018)
    world.resolver.answer("a.example")
    assert world.results == {"a.example": [(IPv4Address("TCP", "127.0.0.1", 4018),)]}
    world.ask("b.example")
    world.resolver.answer("b.example", exists=False)
    assert world.results["b.example"] == [()]
    assert (world.lookups.running, len(world.lookups)) == (0, 0)


def test_a_few_names_at_a_time_whoever_asks(world):
    assert MAX_LOOKUPS < 5, "less than half of the reactor's ten threads"
    for number, name in enumerate(made_up(60)):
        world.ask(name, f"key {number}")
    assert world.resolver.asked == made_up(MAX_NEW_NAMES)
    world.resolver.answer("n1.example")
    assert world.resolver.asked == ["n0.example", "n2.example", "n3.example"]


def test_one_asker_leaves_places_to_others(world):
    for name in made_up(60):
        world.ask(name, "low")
    assert world.resolver.asked == made_up(MAX_OF_ONE)
    world.ask("good.example", "boss")
    assert world.resolver.asked == [*made_up(MAX_OF_ONE), "good.example"]
    world.resolver.answer("n0.example", exists=False)
    assert world.resolver.asked == ["n1.example", "good.example", "n2.example"]


def test_askers_take_turns(world):
    for name in made_up(20):
        world.ask(name, "low")
    for name in ("x", "y", "z"):
        world.ask(name, "high")
    for name in ("p", "q"):
        world.ask(name, "third")
    order = []
    while world.resolver.asked:
        order.append(world.resolver.asked[0])
        world.resolver.answer(order[-1])
    # Where all others wait for themselves, each asker has what it asked for within a few turns.
    assert max(map(order.index, "xyzpq")) < 12
    assert order[-1] == "n19.example"
    assert len(order) == 25


def test_a_name_that_was_found_waits_for_no_new_one(world):
    world.know("good.example")
    for number, name in enumerate(made_up(60)):
        world.ask(name, f"key {number}")
    for name in made_up(5, 100):
        world.ask(name, "boss")
    world.ask("good.example", "boss")
    assert world.resolver.asked == [*made_up(MAX_NEW_NAMES), "good.example"]
    world.resolver.answer("good.example")
    assert len(world.results["good.example"]) == 1
    # The resolver failed for it once: it stays one that exists.
    world.ask("good.example")
    world.resolver.answer("good.example", exists=False)
    world.ask("good.example")
    assert world.resolver.asked[-1] == "good.example"


def test_names_that_are_known_leave_a_place_to_new_ones(world):
    """Anybody can have many known names asked for all the time, where every name resolves."""
    world.know(*made_up(20))
    for name in made_up(20):
        world.ask(name, "low")
    assert world.resolver.asked == made_up(MAX_KNOWN_NAMES)
    world.ask("good.example", "boss")
    assert world.resolver.asked == [*made_up(MAX_KNOWN_NAMES), "good.example"]


def test_what_nobody_wants_any_more_is_not_looked_up(world):
    wanted = set(made_up(20)[::5])
    for name in made_up(20):
        waiter = world.lookups.look_up(name, 80, "low", lambda name=name: name in wanted)
        waiter.addBoth(lambda result, name=name: world.results.setdefault(name, []).append(result))
    looked_up = []
    while world.resolver.asked:
        looked_up.append(world.resolver.asked[0])
        world.resolver.answer(looked_up[-1])
    assert looked_up == [name for name in made_up(20) if name in wanted]
    assert world.results["n1.example"] == [()]
    assert len(world.results) == 20
    assert (world.lookups.running, len(world.lookups)) == (0, 0)


def test_of_the_names_that_were_found_some_are_kept(world):
    world.resolver.at_once.update(made_up(MAX_FOUND))
    for name in made_up(MAX_FOUND):
        world.ask(name)
    world.ask("n0.example")
    world.resolver.at_once = {"last.example"}
    world.ask("last.example")
    for name in made_up(3, MAX_FOUND):
        world.ask(name, name)
    world.ask("n0.example")
    assert world.resolver.asked[-1] == "n0.example"
    world.ask("n1.example", "another")
    assert world.resolver.asked[-1] == "n0.example", "it was found longest ago"


def test_one_look_up_is_for_all_who_ask_for_the_name(world):
    for number in range(1000):
        world.ask("good.example", f"key {number % 3}")
    assert world.resolver.asked == ["good.example"]
    world.resolver.answer("good.example")
    assert len(world.results["good.example"]) == 1000
    assert world.lookups.refused == 0


def test_who_asks_for_a_name_that_waits_for_another_does_not_wait_for_them(world):
    for name in [*made_up(50), "good.example"]:
        world.ask(name, "low")
    world.ask("good.example", "boss")
    assert world.resolver.asked == [*made_up(MAX_OF_ONE), "good.example"]
    world.resolver.answer("good.example")
    assert len(world.results["good.example"]) == 1
    # What the other had in line is for itself, and comes in its turn.
    for name in made_up(50):
        world.resolver.answer(name)
    world.resolver.answer("good.example")
    assert len(world.results["good.example"]) == 2
    assert (world.lookups.running, len(world.lookups)) == (0, 0)


def test_a_place_is_free_when_the_resolver_is_done_and_not_before(world):
    waiters = [world.ask(name, "low") for name in made_up(10)]
    for waiter in waiters[:5]:
        waiter.cancel()
    assert all(world.results[name][0].check(CancelledError) for name in made_up(5))
    assert world.resolver.asked == made_up(MAX_OF_ONE)
    assert world.lookups.running == MAX_OF_ONE
    assert len(world.lookups) == 5
    world.resolver.answer("n0.example")
    # Those that were given up in line are not looked up.
    assert world.resolver.asked == ["n1.example", "n5.example"]
    assert len(world.results["n0.example"]) == 1


def test_who_joins_one_that_was_given_up_gets_its_answer(world):
    world.ask("good.example", "low").cancel()
    world.ask("good.example", "boss")
    assert world.resolver.asked == ["good.example"]
    world.resolver.answer("good.example")
    assert world.results["good.example"][1] == (IPv4Address("TCP", "127.0.0.1", 80),)


def test_a_look_up_leaves_the_line_with_the_last_who_waits(world):
    for name in made_up(3):
        world.ask(name, "low")
    first, second = (world.ask("good.example", "low") for _ in range(2))
    first.cancel()
    assert len(world.lookups) == 2
    second.cancel()
    assert len(world.lookups) == 1


def test_the_line_is_bounded_and_what_is_refused_is_counted(world):
    for name in made_up(MAX_OF_ONE + MOST_OF_ONE_WAITING):
        world.ask(name, "low")
    assert world.results == {}
    world.ask("more.example", "low")
    assert world.code("more.example") == "relay_unavailable"
    assert world.lookups.refused == 1
    # Another takes places of who has most of them, once there are no others.
    names = [f"other{number}.example" for number in range(PLACES - 16)]
    for number, name in enumerate(names):
        world.ask(name, f"key {number // 4}")
    refused = [name for name in world.results if name.startswith("n")]
    assert len(refused) > 100
    assert {world.code(name) for name in refused} == {"relay_unavailable"}
    assert world.results == {}
    assert world.lookups.refused == 1 + len(refused)
    assert len(world.lookups) == PLACES


def test_a_line_that_is_full_has_places_again_when_those_who_wait_leave(world):
    waiters = [world.ask(name, "low") for name in made_up(MAX_OF_ONE + MOST_OF_ONE_WAITING)]
    for waiter in waiters:
        waiter.cancel()
    assert len(world.lookups) == 0
    world.results.clear()
    for name in made_up(MOST_OF_ONE_WAITING, 1000):
        world.ask(name, "low")
    assert world.results == {}


def test_a_name_that_no_resolver_takes_costs_no_place(world):
    for name in ("a" * 64 + ".example", "a..example"):
        world.ask(name)
        assert world.results[name][0].check(DNSLookupError)
    assert world.resolver.asked == []
    assert world.lookups.running == 0


def test_a_resolver_that_fails_costs_no_place(world, tracebacks):
    world.resolver.failure = RuntimeError("no threads")
    for name in made_up(MAX_LOOKUPS + 1):
        world.ask(name)
    assert world.lookups.running == 0
    assert world.results == {name: [()] for name in made_up(MAX_LOOKUPS + 1)}
    assert len(tracebacks) == MAX_LOOKUPS + 1
    assert {event["log_failure"].type for event in tracebacks} == {RuntimeError}
    tracebacks.clear()


def test_a_resolver_that_answers_twice_gives_no_place_twice(world):
    for name in made_up(4):
        world.ask(name, "low")
    _, _, receiver = world.resolver._asked[0]
    receiver.resolutionComplete()
    receiver.resolutionComplete()
    assert world.lookups.running == MAX_OF_ONE


def test_answers_that_come_at_once_to_all_in_line(world):
    """One after the other, not each within the answer to the last."""
    for name in made_up(MOST_OF_ONE_WAITING):
        world.ask(name, "low")
    world.resolver.at_once = set(made_up(MOST_OF_ONE_WAITING))
    depths = []
    world.ask("n127.example", "low").addCallback(lambda _: depths.append(len(inspect.stack())))
    world.resolver.answer("n0.example")
    assert len(world.results) == MOST_OF_ONE_WAITING - 1
    assert depths[0] < len(inspect.stack()) + 30
    assert (world.lookups.running, len(world.lookups)) == (1, 0)


def test_an_answer_that_cancels_another(world):
    waiters = [world.lookups.look_up("x.example", 80, "low") for _ in range(3)]
    waiters[0].addCallback(lambda _: [waiter.cancel() for waiter in waiters[1:]])
    ends = []
    for waiter in waiters[1:]:
        waiter.addErrback(lambda failure: ends.append(failure.check(CancelledError)))
    world.resolver.answer("x.example")
    assert ends == [CancelledError, CancelledError]


NAMES = st.sampled_from(made_up(6))

STEPS = st.one_of(
    st.tuples(st.just("ask"), NAMES, st.sampled_from("abc")),
    st.tuples(st.just("leave"), st.integers(0, 50), st.none()),
    st.tuples(st.just("answer"), st.integers(0, 3), st.booleans()),
)


@given(st.lists(STEPS, max_size=80))
def test_whoever_asks_has_one_answer_and_no_place_is_lost(steps):
    world = World()
    waiters, ends = [], Counter()

    def check():
        new = world.lookups._new_of
        assert world.lookups.running == len(world.resolver.asked) <= MAX_LOOKUPS
        assert new.total() <= MAX_NEW_NAMES
        assert all(0 < count <= MAX_OF_ONE for count in new.values())

    for what, which, more in steps:
        if what == "ask":
            waiter = world.lookups.look_up(which, 80, more)
            waiter.addBoth(lambda _result, number: ends.update([number]), len(waiters))
            waiters.append(waiter)
        elif what == "leave" and which < len(waiters):
            waiters[which].cancel()
        elif what == "answer" and which < len(world.resolver.asked):
            world.resolver.answer(world.resolver.asked[which], exists=more)
        check()
    while world.resolver.asked:
        world.resolver.answer(world.resolver.asked[0])
        check()
    assert ends == Counter(range(len(waiters)))
    assert (world.lookups.running, len(world.lookups)) == (0, 0)


# Relays by host.

RELAYS = """
portal:
  relays:
    - {url: "http://{lease}.a.example:4018"}
    - {url: "http://{lease}.b.example:4018"}
"""


class Relays:
    """Two relays by host, and an origin by its name, of one gateway."""

    def __init__(self, text=RELAYS):
        self.reactor = MemoryReactor()
        self.resolver = ScriptedResolver()
        self.reactor.installNameResolver(self.resolver)
        self.upstreams = Upstreams(self.reactor, FairLine)
        config = load_config_text(text, "", {})
        self.upstreams.use(self.upstreams.prepare(config))
        self.upstreams.start()

    def request(self, lease, asker="boss"):
        sink = RecordingSink()
        pool = self.upstreams.router.find(lease).pool
        sink.exchange = pool.request(
            b"GET", b"/", [(b"Host", b"h")], sink, body=BodyFraming.none(), asker=asker
        )
        return sink

    def stop(self):
        stopped = []
        self.upstreams.stop().addBoth(stopped.append)
        self.reactor.advance(30)
        assert len(stopped) == 1
        assert self.reactor.getDelayedCalls() == []


@pytest.fixture
def relays():
    made = Relays()
    yield made
    made.stop()


def test_names_of_a_relay_by_host_wait_in_the_line_of_their_asker(relays):
    low = [relays.request(f"n{number}", "low") for number in range(10)]
    relays.request("good", "boss")
    assert relays.resolver.asked == ["n0.a.example", "n1.a.example", "good.a.example"]
    # The dials have their limit in time, whatever they wait for; their threads are still used.
    relays.reactor.advance(10.1)
    assert {sink.code for sink in low} == {"upstream_timeout"}
    assert relays.upstreams.lookups.running == 3
    assert len(relays.upstreams.lookups) == 0
    late = relays.request("late", "low")
    assert "late.a.example" not in relays.resolver.asked
    relays.resolver.answer("n0.a.example")
    assert "late.a.example" in relays.resolver.asked
    relays.resolver.answer("late.a.example", exists=False)
    relays.reactor.settle()
    assert late.code == "lease_offline"


def test_a_dial_can_be_given_up_after_its_name_was_found(relays):
    relays.reactor.silent_ports.add(4018)
    asked = relays.request("good")
    relays.reactor.advance(1)
    relays.resolver.answer("good.a.example")
    assert relays.upstreams.lookups.running == 0
    assert asked.code is None
    relays.reactor.advance(9.1)
    assert asked.code == "upstream_timeout"
    assert relays.reactor.getDelayedCalls() == []


def test_a_request_without_a_place_is_answered_like_one_for_a_relay_that_is_away(relays):
    for number in range(MAX_OF_ONE + MOST_OF_ONE_WAITING):
        relays.request(f"n{number}", "low")
    refused = relays.request("more", "low")
    relays.reactor.settle()
    assert refused.code == "relay_unavailable"
    assert refused.error.cause.status == 503
    assert relays.upstreams.lookups.refused == 1


def test_a_name_below_localhost_is_this_machine():
    world = Relays("portal: {relays: [{url: 'http://{lease}.portal.localhost:4018'}]}")
    for number in range(10):
        world.request(f"n{number}", "low")
    assert world.resolver.asked == ["localhost"]
    world.stop()


@pytest.mark.parametrize("secure", ["http", "https"])
def test_what_the_configuration_names_does_not_wait(secure):
    """Origins, relays by path and relays with a session are dialled by names of its own."""
    world = Relays(
        RELAYS.replace('4018"}\n', "4018\"}\n    - {url: 'ws://relay.example:4017/relay'}\n", 1)
        + f"leases: {{tool: {{url: '{secure}://tool.example'}}}}\n"
    )
    for number in range(10):
        world.request(f"n{number}", f"key {number}")
    world.request("tool")
    assert world.resolver.asked.count("relay.example") == 1
    assert world.resolver.asked[-1] == "tool.example"
    assert world.upstreams.lookups.running == MAX_NEW_NAMES
    world.stop()


def test_relays_by_path_do_not_wait():
    world = Relays("portal: {relays: [{url: 'http://relay.example'}]}")
    world.request("n0")
    assert world.resolver.asked == ["relay.example"]
    assert world.upstreams.lookups.running == 0
    world.stop()


def test_all_relays_by_host_share_the_places_whatever_is_configured_next(relays):
    for number in range(10):
        relays.request(f"n{number}", f"key {number}")
    config = load_config_text(RELAYS.replace("a.example", "c.example"), "", {})
    relays.upstreams.use(relays.upstreams.prepare(config))
    relays.request("more", "boss")
    assert len(relays.resolver.asked) == MAX_NEW_NAMES
