"""Turns of the reactor: one of those who wait has each, in their order."""

from twisted.internet.task import Clock

from portal_gateway.frontend.websocket_turns import Turns


class Worker:
    """Asks for as many turns as it is given."""

    def __init__(self, turns, name, log, times=1):
        self._turns, self._name, self._log, self._times = turns, name, log, times

    def turn_came(self):
        self._log.append(self._name)
        self._times -= 1
        if self._times:
            self._turns.add(self)


def one_turn(clock):
    """Make the calls that are due now, not those that they ask for."""
    due = [call for call in clock.calls if call.getTime() <= clock.seconds()]
    for call in due:
        clock.calls.remove(call)
        call.called = 1
        call.func(*call.args, **call.kw)
    return len(due)


def test_each_turn_is_one_s_in_order():
    clock, log = Clock(), []
    turns = Turns(clock)
    for name, times in (("a", 3), ("b", 1), ("c", 2)):
        turns.add(Worker(turns, name, log, times))
    assert log == []
    seen = []
    while one_turn(clock):
        seen.append("".join(log))
    assert seen == ["a", "ab", "abc", "abca", "abcac", "abcaca"]
    assert len(turns) == 0
    assert clock.calls == []


def test_one_alone_waits_for_the_next_turn_too():
    clock, log = Clock(), []
    turns = Turns(clock)
    turns.add(Worker(turns, "a", log, 2))
    assert one_turn(clock) == 1
    assert log == ["a"]
    assert one_turn(clock) == 1
    assert log == ["a", "a"]
    assert one_turn(clock) == 0
