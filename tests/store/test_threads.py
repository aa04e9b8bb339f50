"""Real threads, whose results come to a reactor that the test turns."""

import queue
import threading

import pytest
from twisted.internet.defer import CancelledError

from portal_gateway.store import threads as threads_module
from portal_gateway.store.threads import Busy, WorkerThreads


class Turned:
    """The part of a reactor that takes calls from threads."""

    def __init__(self):
        self.calls = queue.SimpleQueue()

    def callFromThread(self, function, *arguments):
        self.calls.put((function, arguments))

    def turn(self):
        """Make the next call, waiting for it."""
        function, arguments = self.calls.get(timeout=10)
        function(*arguments)


@pytest.fixture
def reactor():
    return Turned()


@pytest.fixture
def make(reactor):
    made = []

    def workers(count):
        made.append(WorkerThreads(reactor, count, "test of threads"))
        return made[-1]

    yield workers
    for each in made:
        each.stop()
    for thread in threading.enumerate():
        if thread.name.startswith("test of threads"):
            thread.join(10)
            assert not thread.is_alive()


def test_a_function_runs_in_another_thread_and_its_result_in_this_one(make, reactor):
    results = []
    make(1).run(threading.get_ident).addBoth(lambda ident: results.append((ident, _here())))
    reactor.turn()
    ((there, here),) = results
    assert there != here == _here()


def _here():
    return threading.get_ident()


def test_what_it_raises_comes_as_a_failure(make, reactor):
    results = []
    make(1).run(lambda: 1 // 0).addErrback(lambda failure: results.append(failure.type))
    reactor.turn()
    assert results == [ZeroDivisionError]


def test_there_are_as_many_threads_as_are_needed_and_no_more(make, reactor):
    workers = make(2)
    inside, go = queue.SimpleQueue(), threading.Event()

    def wait():
        inside.put(None)
        return go.wait(10)

    for _ in range(4):
        workers.run(wait)
    inside.get(timeout=10)
    inside.get(timeout=10)
    names = [t.name for t in threading.enumerate() if t.name.startswith("test of threads")]
    assert sorted(names) == ["test of threads 1", "test of threads 2"]
    assert inside.empty()
    go.set()
    for _ in range(4):
        reactor.turn()


def test_a_thread_that_is_free_is_used_again(make, reactor):
    workers = make(5)
    for _ in range(3):
        workers.run(lambda: None)
        reactor.turn()
    names = [t.name for t in threading.enumerate() if t.name.startswith("test of threads")]
    assert names == ["test of threads 1"]


def test_what_waits_is_bounded(make, reactor, monkeypatch):
    monkeypatch.setattr(threads_module, "MOST_WAITING", 2)
    workers = make(1)
    go = threading.Event()
    results = []
    for _ in range(5):
        workers.run(lambda: go.wait(10)).addBoth(results.append)
    assert [failure.type for failure in results] == [Busy, Busy]
    go.set()
    for _ in range(3):
        reactor.turn()
    assert results[2:] == [True, True, True]


def test_who_cancels_hears_nothing_more(make, reactor):
    results = []
    result = make(1).run(lambda: 7)
    result.addBoth(results.append)
    result.cancel()
    reactor.turn()
    (failure,) = results
    assert failure.check(CancelledError)


def test_nothing_runs_once_they_are_stopped(make):
    workers = make(1)
    workers.stop()
    results = []
    workers.run(lambda: 7).addErrback(lambda failure: results.append(failure.type))
    assert results == [Busy]
