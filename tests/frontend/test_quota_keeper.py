from collections import defaultdict

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from portal_gateway.exchange import Exchange
from portal_gateway.frontend.quota_keeper import QuotaKeeper
from portal_gateway.policy.quota_table import QuotaTable
from portal_gateway.policy.quotas import Quota
from portal_gateway.store.quota_store import StoreUnavailable
from tests.policy.test_quota_table import NOW

QUOTAS = (Quota("monthly", 10, 1000),)


class Asked:
    """A store that answers at once, when it is told to, or not at all."""

    def __init__(self):
        self.totals = defaultdict(lambda: (0, 0))
        self.last = 0
        self.questions = []
        self.mode = "answer"

    def sync(self, number, added, wanted):
        self.questions.append((number, tuple(added), tuple(wanted)))
        if self.mode == "fail":
            return fail(StoreUnavailable("it is raining"))
        if self.mode == "break":
            return fail(ZeroDivisionError("a defect"))
        if self.mode == "nonsense":
            return succeed([(1, 2)] * 100)
        if self.mode == "wait":
            self.waiting = Deferred()
            return self.waiting.addCallback(lambda _: self.add(number, added, wanted))
        return succeed(self.add(number, added, wanted))

    def add(self, number, added, wanted):
        if added and number > self.last:
            self.last = number
            for (key_id, _, label, _), requests, size in added:
                before = self.totals[key_id, label]
                self.totals[key_id, label] = (before[0] + requests, before[1] + size)
        return [
            self.totals[used.key_id, used.label] for used in [*(one.used for one in added), *wanted]
        ]


class Stage:
    def __init__(self):
        self.clock = Clock()
        self.store = Asked()
        self.table = QuotaTable()
        self.keeper = QuotaKeeper(
            self.table, self.store, self.clock, lambda: NOW + self.clock.seconds()
        )
        self.keeper.startService()

    def account(self, key="a"):
        return self.table.account(key, QUOTAS, NOW + self.clock.seconds())

    def ask(self, key="a"):
        """Ask for a key's use; the list fills when that is over."""
        over = []
        asked = self.keeper.ask(self.account(key))
        return None if asked is None else asked.addBoth(over.append) and over

    def use(self, key="a", requests=1):
        for _ in range(requests):
            assert self.table.admit(self.account(key))

    def stored(self, key="a"):
        return self.store.totals[key, "2026-11"]

    def stop(self):
        stopped = []
        self.keeper.stopService().addBoth(stopped.append)
        return stopped


@pytest.fixture
def logged():
    lines = []

    def observe(event):
        if event["log_namespace"].startswith("portal_gateway.frontend.quota"):
            lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def stage():
    return Stage()


def test_what_the_store_has_is_read_when_it_is_asked_for(stage):
    stage.store.totals["a", "2026-11"] = (7, 300)
    assert not stage.account().is_known
    assert stage.ask() == [None]
    ((_, count),) = stage.account().current
    assert (count.requests, count.bytes, count.known) == (7, 300, True)


def test_use_is_written_each_second(stage):
    stage.ask()
    stage.use(requests=3)
    assert stage.stored() == (0, 0)
    stage.clock.advance(1)
    assert stage.stored() == (3, 0)
    stage.clock.advance(1)
    assert len(stage.store.questions) == 2, "nothing new, nothing asked"


def test_bytes_of_what_is_under_way_are_written_each_second_and_at_the_end(stage):
    stage.ask()
    exchange = Exchange("r", "127.0.0.1", 0.0)
    exchange.quota_flow = stage.table.begin(exchange, stage.account())
    for _ in range(3):
        exchange.bytes_out += 100
        stage.clock.advance(1)
    assert stage.stored() == (0, 300)
    exchange.bytes_in += 5
    stage.keeper.exchange_over(exchange)
    assert exchange.quota_flow is None
    assert stage.table.flows == 0
    stage.keeper.exchange_over(exchange)
    stage.clock.advance(1)
    assert stage.stored() == (0, 305)


def test_one_question_is_under_way_and_others_wait_for_the_next(stage):
    stage.store.mode = "wait"
    first = stage.ask("a")
    second, third = stage.ask("b"), stage.ask("c")
    assert len(stage.store.questions) == 1
    stage.store.waiting.callback(None)
    assert (first, second) == ([None], [])
    assert len(stage.store.questions) == 2
    stage.store.waiting.callback(None)
    assert (second, third) == ([None], [None])


def test_who_waits_may_go(stage):
    stage.store.mode = "wait"
    gone = stage.keeper.ask(stage.account())
    stays = stage.ask()
    gone.cancel()
    gone.addErrback(lambda _: None)
    stage.store.waiting.callback(None)
    stage.store.waiting.callback(None)
    assert stays == [None]


def test_a_store_that_fails_is_not_waited_for_until_it_answers(stage, logged):
    stage.store.mode = "fail"
    assert stage.ask() == [None]
    assert stage.keeper.away
    assert stage.ask() is None
    stage.use(requests=2)
    for _ in range(5):
        stage.clock.advance(1)
    assert logged == [
        "the store of the quotas cannot be used: it is raining; use is counted here meanwhile"
    ]
    stage.store.totals["a", "2026-11"] = (4, 0)
    stage.store.mode = "answer"
    stage.use()
    stage.clock.advance(1)
    assert not stage.keeper.away
    assert logged[1:] == ["the store of the quotas answers again"]
    # The batch that had failed first, and what was new meanwhile in the next second.
    stage.clock.advance(1)
    assert stage.stored() == (7, 0)
    ((_, count),) = stage.account().current
    assert (count.requests, count.known) == (7, True)


def test_a_store_that_is_slow_holds_nobody_up_for_long(stage, logged):
    stage.store.mode = "wait"
    first, second = stage.ask("a"), stage.ask("b")
    stage.clock.advance(0.9)
    assert (first, second) == ([], [])
    stage.clock.advance(0.1)
    assert (first, second) == ([None], [None])
    assert stage.ask("c") is None
    assert logged == ["the store of the quotas does not answer; use is counted here meanwhile"]
    stage.use(requests=2)
    stage.clock.advance(60)
    assert len(stage.store.questions) == 1
    stage.store.totals["a", "2026-11"] = (3, 0)
    stage.store.mode = "answer"
    stage.store.waiting.callback(None)
    assert logged[1:] == ["the store of the quotas answers again"]
    assert not stage.keeper.away
    ((_, count),) = stage.account().current
    assert count.requests == 5
    stage.clock.advance(1)
    assert stage.stored() == (5, 0)


@pytest.mark.parametrize(
    ("mode", "line"),
    [
        ("break", "the quotas cannot be kept"),
        (
            "nonsense",
            (
                "the store of the quotas cannot be used: it answers something else;"
                " use is counted here meanwhile"
            ),
        ),
    ],
)
def test_what_a_store_should_not_do_does_no_harm(stage, logged, mode, line):
    stage.store.mode = mode
    assert stage.ask() == [None]
    assert stage.keeper.away
    assert logged == [line]
    stage.store.mode = "answer"
    stage.use()
    stage.clock.advance(1)
    assert stage.stored() == (1, 0)


def test_everything_is_written_before_it_stops(stage):
    stage.ask()
    exchange = Exchange("r", "127.0.0.1", 0.0, bytes_out=50)
    stage.table.begin(exchange, stage.account())
    stage.use(requests=3)
    assert stage.stop() == [None]
    assert stage.stored() == (3, 50)
    assert stage.clock.getDelayedCalls() == []


def test_what_is_new_while_it_is_writing_is_written_before_it_stops(stage):
    stage.ask()
    stage.use()
    stage.store.mode = "wait"
    stage.clock.advance(1)
    stage.use(requests=2)
    stopped = stage.stop()
    waiting = stage.ask()
    assert waiting is None
    assert stopped == []
    stage.store.waiting.callback(None)
    assert stopped == []
    stage.store.waiting.callback(None)
    assert stopped == [None]
    assert stage.stored() == (3, 0)
    assert stage.clock.getDelayedCalls() == []


def test_stopping_has_a_time(stage):
    stage.ask()
    stage.use()
    stage.store.mode = "wait"
    stopped = stage.stop()
    stage.clock.advance(4.9)
    assert stopped == []
    stage.clock.advance(0.1)
    assert stopped == [None]
    assert stage.clock.getDelayedCalls() == []
    stage.store.waiting.callback(None)
    assert stage.clock.getDelayedCalls() == []


def test_a_store_that_fails_does_not_keep_it_from_stopping(stage, logged):
    stage.ask()
    stage.use()
    stage.store.mode = "fail"
    assert stage.stop() == [None]
    assert len(logged) == 1
    assert stage.clock.getDelayedCalls() == []


def test_with_nothing_to_write_it_stops_at_once(stage):
    assert stage.stop() == [None]
    assert stage.store.questions == []
