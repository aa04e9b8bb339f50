"""What a reactor's own poll does, done by ours: on real sockets, with a reactor that never runs."""

import errno
import socket
import sys
from contextlib import contextmanager

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.selectreactor import SelectReactor

from portal_gateway.relay.direct_events import pass_events_directly


class Reader:
    """One end of a pair of sockets, as the reactor sees it."""

    def __init__(self, reactor):
        self.near, self.far = socket.socketpair()
        self.near.settimeout(0)
        self.reactor = reactor
        self.read = []
        self.lost = None
        self.on_read = lambda: None
        self.on_loss = lambda: None
        reactor.addReader(self)

    def fileno(self):
        return self.near.fileno()

    def logPrefix(self):
        raise AssertionError("nobody asks for it")

    def doRead(self):
        self.read.append(self.near.recv(100))
        return self.on_read()

    def connectionLost(self, reason):
        self.lost = reason
        self.near.close()
        self.on_loss()

    def close(self):
        self.reactor.removeReader(self)
        self.near.close()
        self.far.close()


@contextmanager
def made(kind=EPollReactor, **parts):
    """A reactor that was asked, with ``parts`` in place of its own."""
    reactor = kind()
    own = {name: getattr(reactor, name) for name in parts}
    vars(reactor).update(parts)
    pass_events_directly(reactor)
    try:
        yield reactor
    finally:
        vars(reactor).update(own)
        for waker in reactor._internalReaders:
            waker.connectionLost(None)
        if isinstance(reactor, EPollReactor):
            reactor._poller.close()


@pytest.fixture
def reactor():
    with made() as reactor:
        yield reactor


@pytest.fixture
def readers(reactor):
    made = [Reader(reactor) for _ in range(3)]
    yield made
    for reader in made:
        reader.close()


def test_each_socket_that_has_something_reads_it(reactor, readers):
    for number in (0, 2):
        readers[number].far.send(b"%d" % number)
    reactor.doIteration(1)
    assert [reader.read for reader in readers] == [[b"0"], [], [b"2"]]


def test_a_poll_without_an_event_ends_when_its_time_is_over(reactor, readers):
    reactor.doIteration(0)
    assert not any(reader.read for reader in readers)


def test_a_poll_without_a_time_waits_for_an_event(reactor, readers):
    readers[0].far.send(b"x")
    reactor.doIteration(None)
    assert readers[0].read == [b"x"]


def test_a_socket_that_an_event_before_it_closed_is_passed_over(reactor, readers):
    for reader in readers[:2]:
        reader.far.send(b"x")
        reader.on_read = lambda: [reactor.removeReader(each) for each in readers] and None
    reactor.doIteration(1)
    assert len(readers[0].read + readers[1].read) == 1


def test_one_that_fails_is_closed_and_the_others_read(reactor, readers):
    def fail():
        raise ValueError("a defect")

    readers[0].on_read = fail
    for reader in readers:
        reader.far.send(b"x")
    reactor.doIteration(1)
    assert readers[0].lost.check(ValueError)
    assert [reader.read for reader in readers] == [[b"x"]] * 3


def test_one_that_fails_at_its_end_is_logged_and_the_others_read(reactor, readers, tracebacks):
    def fail():
        raise ValueError("a defect")

    readers[0].on_loss = fail
    readers[0].far.close()
    readers[0].on_read = ConnectionDone
    readers[1].far.send(b"x")
    reactor.doIteration(1)
    assert readers[0].lost.check(ConnectionDone)
    assert readers[1].read == [b"x"]
    assert [event["log_failure"].type for event in tracebacks] == [ValueError]
    tracebacks.clear()


def test_an_interrupt_of_the_keyboard_is_for_whoever_runs_the_reactor(reactor, readers):
    def interrupt():
        raise KeyboardInterrupt

    readers[0].on_loss = interrupt
    readers[0].on_read = ConnectionDone
    readers[0].far.send(b"x")
    with pytest.raises(KeyboardInterrupt):
        reactor.doIteration(1)


class Poller:
    def __init__(self, number):
        self.number = number

    def poll(self, timeout, most):
        raise OSError(self.number, "told")


def test_a_signal_ends_a_poll():
    with made(_poller=Poller(errno.EINTR)) as reactor:
        reactor.doIteration(1)


def test_any_other_error_of_a_poll_is_told():
    with made(_poller=Poller(errno.EBADF)) as reactor, pytest.raises(OSError, match="told"):
        reactor.doIteration(1)


def test_a_reactor_without_the_parts_that_are_known_is_left_alone():
    with made(_poller=None) as reactor:
        assert "doIteration" not in vars(reactor)


class Other(EPollReactor):
    def doIteration(self, timeout):
        """As it likes."""


@pytest.mark.parametrize("kind", [Other, SelectReactor])
def test_another_kind_of_reactor_is_left_alone(kind):
    with made(kind) as reactor:
        assert "doIteration" not in vars(reactor)


def test_where_there_is_no_epoll_every_reactor_is_left_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "twisted.internet.epollreactor", None)
    with made() as reactor:
        assert "doIteration" not in vars(reactor)
