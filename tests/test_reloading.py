"""`Reloads`: what is read, what is taken up, and what is told of it."""

import gc
import sys

import pytest
from twisted.logger import formatEvent, globalLogPublisher

from portal_gateway.config.faults import ConfigInvalid, Fault
from portal_gateway.observe.reload_results import ReloadResults
from portal_gateway.reloading import Reloads, in_the_background
from portal_gateway.testing.threads import NoThreads

FAULT = Fault("g.yaml", 7, 3, "auth.keys[0].id", "is not text")


class Stage:
    """A file that says a word, or cannot be used; what was taken up, and what was told."""

    def __init__(self):
        self.file = "first"
        self.loads = 0
        self.used = []
        self.told = []
        self.threads = NoThreads()
        self.reloads = Reloads(
            self.load,
            lambda word: f"made of {word}",
            self.use,
            self.threads,
            ReloadResults(lambda: 17.0),
            self.told.append,
        )

    def load(self):
        self.loads += 1
        if isinstance(self.file, Exception):
            raise self.file
        return self.file

    def use(self, made):
        if made == "made of a defect":
            raise RuntimeError("a defect")
        self.used.append(made)

    def reload(self):
        found = []
        self.reloads.reload().addBoth(found.append)
        return found


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_what_was_read_is_made_and_taken_up(stage):
    assert stage.reload() == [True]
    assert stage.used == ["made of first"]
    assert stage.told == [True, False]
    assert (stage.reloads.results.generation, stage.reloads.results.successes) == (2, 1)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConfigInvalid([FAULT, FAULT]), "g.yaml:7: auth.keys[0].id: is not text"),
        (OSError(2, "No such file", "ca.pem"), "[Errno 2] No such file: 'ca.pem'"),
        (ValueError("ca.pem holds no PEM certificate"), "ca.pem holds no PEM certificate"),
    ],
)
def test_what_cannot_be_used_is_told_counted_and_changes_nothing(stage, logged, error, why):
    stage.file = error
    assert stage.reload() == [False]
    assert stage.used == []
    results = stage.reloads.results
    assert (results.generation, results.failures, results.last_succeeded) == (1, 1, False)
    lines = stage.reloads.last_failure.splitlines()
    assert set(lines) == {why}
    told = [formatEvent(event) for event in logged]
    assert told == [f"not reloaded, the configuration stays as it was: {why}"] * len(lines)
    stage.file = "better"
    assert stage.reload() == [True]
    assert stage.reloads.last_failure is None


def test_a_defect_is_told_and_ends_nothing(stage, logged):
    stage.file = "a defect"
    assert stage.reload() == [False]
    assert stage.reloads.results.failures == 1
    assert [event["log_failure"].type for event in logged] == [RuntimeError]
    stage.file = "another"
    assert stage.reload() == [True]


def test_reloads_asked_for_meanwhile_are_one(stage):
    stage.threads.held = True
    first = stage.reload()
    others = [stage.reload() for _ in range(5)]
    assert (first, others) == ([], [[]] * 5)
    stage.file = "second"
    stage.threads.release()
    # What was read after the last of them was asked for.
    assert (first, others) == ([True], [[True]] * 5)
    assert stage.loads == 2
    assert stage.used == ["made of second"] * 2
    assert stage.told == [True, True, False]


def test_a_failure_is_not_that_of_those_who_asked_later(stage):
    stage.threads.held = True
    first = stage.reload()
    stage.file = ValueError("half written")
    later = stage.reload()
    stage.threads.release()
    assert first == [False]
    assert later == [False]
    assert stage.reloads.results.failures == 2


def test_nothing_is_taken_up_when_it_has_stopped(stage):
    stage.threads.held = True
    under_way, waiting = stage.reload(), stage.reload()
    stage.reloads.stop()
    assert waiting == [False]
    stage.threads.release()
    assert under_way == [False]
    assert stage.used == []
    late = stage.reload()
    assert late == [False]
    assert stage.loads == 1


def test_work_in_the_background_leaves_everything_as_it_was():
    interval = sys.getswitchinterval()
    seen = []

    def work():
        with in_the_background():
            seen.append((gc.isenabled(), sys.getswitchinterval() < interval))
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        work()
    assert seen == [(False, True)]
    assert gc.isenabled()
    assert sys.getswitchinterval() == interval
