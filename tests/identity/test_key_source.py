import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from portal_gateway.identity.key_set_fetch import FetchFailed
from portal_gateway.identity.key_source import KeySource
from tests.wire.jwt_world import jwk, key_set


class Stage:
    """A source, the fetches that it began, and the keys that it gave."""

    def __init__(self, *, started=True):
        self.clock = Clock()
        self.fetches = []
        self.cancelled = []
        self.given = []
        self.source = KeySource(self.fetch, "ES256", self.given.append, self.clock)
        if started:
            self.source.startService()

    def fetch(self):
        self.fetches.append(Deferred(self.cancelled.append))
        return self.fetches[-1]

    def ask(self):
        """Ask; the list fills when that is over."""
        over = []
        asked = self.source.ask()
        if asked is None:
            return None
        asked.addBoth(over.append)
        return over

    def answer(self, *names):
        keys = [jwk("ES256", name) for name in names or ("a",)]
        self.fetches[-1].callback(key_set(*keys))

    def fail(self, error=None):
        self.fetches[-1].errback(error or FetchFailed("it is raining"))

    def names(self):
        return [name for name in ("a", "b") if self.given[-1].find(name) is not None]


@pytest.fixture
def logged():
    lines = []

    def observe(event):
        if event["log_namespace"].startswith("portal_gateway.identity"):
            lines.append(event["log_format"].format(**event) if event["log_format"] else "failure")

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def test_nothing_is_fetched_before_somebody_asks():
    stage = Stage()
    stage.clock.advance(100_000)
    assert stage.fetches == []
    assert stage.clock.getDelayedCalls() == []


def test_who_asks_waits_for_the_keys():
    stage = Stage()
    over = stage.ask()
    assert (over, stage.given) == ([], [])
    stage.answer("a", "b")
    assert over == [None]
    assert stage.names() == ["a", "b"]


def test_all_who_ask_wait_for_one_fetch():
    stage = Stage()
    waiting = [stage.ask() for _ in range(5)]
    assert len(stage.fetches) == 1
    stage.answer()
    assert waiting == [[None]] * 5
    assert len(stage.given) == 1


def test_a_fetch_that_is_over_at_once():
    stage = Stage()
    stage.source._fetch = lambda: succeed(key_set(jwk("ES256", "a")))
    assert stage.ask() == [None]
    assert stage.names() == ["a"]


def test_who_waits_may_go():
    stage = Stage()
    gone = stage.source.ask()
    gone.addErrback(lambda failure: failure.trap(CancelledError))
    stays = stage.ask()
    gone.cancel()
    assert stage.cancelled == []
    stage.answer()
    assert stays == [None]


def test_while_there_are_no_keys_they_are_asked_for_every_five_seconds():
    stage = Stage()
    over = stage.ask()
    stage.fail()
    assert over == [None]
    assert stage.ask() is None
    stage.clock.advance(4.9)
    assert stage.ask() is None
    stage.clock.advance(0.1)
    assert stage.ask() == []
    stage.answer()
    assert stage.names() == ["a"]


def test_for_a_key_that_is_not_there_they_are_asked_at_most_once_a_minute():
    stage = Stage()
    stage.ask()
    stage.answer("a")
    asked = 0
    for _ in range(600):
        stage.clock.advance(0.5)
        if stage.ask() is not None:
            asked += 1
            stage.answer("a")
    assert asked == 5
    assert len(stage.fetches) == 6


def test_keys_are_fetched_anew_every_ten_minutes_and_taken_away_keys_are_gone():
    stage = Stage()
    stage.ask()
    stage.answer("a", "b")
    stage.clock.advance(599)
    assert len(stage.fetches) == 1
    stage.clock.advance(1)
    assert len(stage.fetches) == 2
    assert stage.names() == ["a", "b"]
    stage.answer("b")
    assert stage.names() == ["b"]
    stage.clock.advance(600)
    assert len(stage.fetches) == 3


def test_a_fetch_for_a_key_puts_the_next_one_off():
    stage = Stage()
    stage.ask()
    stage.answer("a")
    stage.clock.advance(500)
    stage.ask()
    stage.answer("a", "b")
    stage.clock.advance(599)
    assert len(stage.fetches) == 2
    assert len(stage.clock.getDelayedCalls()) == 1
    stage.clock.advance(1)
    assert len(stage.fetches) == 3


def test_keys_stay_while_no_others_can_be_had(logged):
    stage = Stage()
    stage.ask()
    stage.answer("a")
    for minute in range(30):
        stage.clock.advance(600 if minute == 0 else 60)
        stage.fail()
    assert len(stage.given) == 1
    assert logged == [
        "the keys of the tokens' issuer cannot be had: it is raining; those from before are used"
    ]
    stage.clock.advance(60)
    stage.answer("b")
    assert stage.names() == ["b"]
    assert logged[1:] == ["the keys of the tokens' issuer are there again"]


def test_what_is_no_set_of_keys_is_as_if_there_were_none(logged):
    stage = Stage()
    over = stage.ask()
    stage.fetches[0].callback(b"<html>canary</html>")
    assert over == [None]
    assert stage.given == []
    assert logged == ["the keys of the tokens' issuer cannot be had: it is no JSON object"]


def test_a_defect_is_logged_and_ends_the_waiting(logged):
    stage = Stage()
    over = stage.ask()
    stage.fail(ZeroDivisionError("a defect"))
    assert over == [None]
    assert logged == ["fetching the keys of the tokens' issuer failed"]


def test_stopping_ends_all_of_it(logged):
    stage = Stage()
    stage.ask()
    stage.answer()
    stage.clock.advance(61)
    over = stage.ask()
    stage.source.stopService()
    assert len(stage.cancelled) == 1
    assert over == [None]
    assert stage.clock.getDelayedCalls() == []
    assert logged == []


def test_one_that_is_not_running_schedules_nothing():
    stage = Stage(started=False)
    stage.ask()
    stage.answer()
    assert stage.names() == ["a"]
    assert stage.clock.getDelayedCalls() == []
