"""Tokens that wait for the keys of their issuer."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from portal_gateway.exchange import Caller
from portal_gateway.frontend.tokens import MOST_OF_ONE, PLACES, Tokens
from portal_gateway.identity.key_source import KeySource
from portal_gateway.policy.jwt_table import TokenTable
from tests.policy.test_jwt_table import NOW, section, token
from tests.wire.jwt_world import jwk, key_set


class World:
    """Tokens by published keys; a test answers the fetches."""

    def __init__(self, turns=None):
        self.clock = Clock()
        self.fetches = []
        table = TokenTable(section("ES256"), None)
        source = KeySource(self.fetch, "ES256", table.use, self.clock)
        self.tokens = Tokens(table, source, turns or self.clock)

    def fetch(self):
        self.fetches.append(Deferred())
        return self.fetches[-1]

    def publish(self, *names):
        self.fetches[-1].callback(key_set(*(jwk("ES256", name) for name in names)))

    def ask(self, name="a", address="192.0.2.1"):
        """What comes of a token by the key of that name; it fills when that is told."""
        found = self.tokens.look_up(token("ES256", header={"kid": name}), NOW, address)
        told = []
        if isinstance(found, Deferred):
            found.addCallback(lambda found: told.append(code(found)))
        else:
            told.append(code(found))
        return told


def code(found):
    return "good" if isinstance(found, Caller) else found.cause.code


@pytest.fixture
def world():
    return World()


def test_who_waits_is_judged_by_the_keys_that_come(world):
    good, made_up = world.ask("a"), world.ask("x")
    assert (good, made_up, len(world.fetches)) == ([], [], 1)
    world.publish("a")
    assert (good, made_up) == (["good"], ["invalid_token"])
    assert world.ask("x") == ["invalid_token"], "not fetched again so soon"


def test_a_flood_of_made_up_tokens_takes_nobody_s_place(world):
    flood = [world.ask("x") for _ in range(3_000)]
    assert flood.count(["token_keys_unavailable"]) == 3_000 - MOST_OF_ONE
    assert world.tokens.refused == 3_000 - MOST_OF_ONE
    good = world.ask("a", "192.0.2.2")
    world.publish("a")
    assert good == ["good"], "and it is among the first"
    while world.clock.getDelayedCalls():
        world.clock.advance(0)
    assert flood.count(["invalid_token"]) == MOST_OF_ONE


def test_a_flood_of_many_networks_takes_nobody_s_place_either(world):
    every = PLACES // MOST_OF_ONE + 5
    flood = [world.ask("x", f"10.0.0.{n}") for n in range(every) for _ in range(MOST_OF_ONE)]
    good = world.ask("a", "192.0.2.2")
    assert good == []
    world.clock.advance(0)
    assert flood.count(["token_keys_unavailable"]) == len(flood) + 1 - PLACES
    world.publish("a")
    while world.clock.getDelayedCalls():
        world.clock.advance(0)
    assert good == ["good"]
    assert [] not in flood


class Turns:
    """Calls of the reactor's next turn; a ``Clock`` makes those that they make at once, too."""

    def __init__(self):
        self.calls = []

    def callLater(self, delay, function, *arguments):
        assert delay == 0
        self.calls.append((function, arguments))

    def turn(self):
        calls, self.calls = self.calls, []
        for function, arguments in calls:
            function(*arguments)


def test_what_waited_is_judged_in_parts():
    turns = Turns()
    world = World(turns)
    waiting = [world.ask("a", f"10.0.0.{number % 250}") for number in range(500)]
    judged = []
    world.publish("a")
    while [] in waiting:
        judged.append(sum(map(len, waiting)))
        turns.turn()
    assert judged == [64 * turn for turn in range(1, 8)]
    assert set(map(tuple, waiting)) == {("good",)}


def test_who_asks_no_more_is_not_judged(world):
    found = world.tokens.look_up(token("ES256", header={"kid": "a"}), NOW, "192.0.2.1")
    gone = []
    found.addErrback(gone.append)
    found.cancel()
    stays = world.ask("a")
    world.publish("a")
    assert (len(gone), stays) == (1, ["good"])
