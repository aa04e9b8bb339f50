from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from portal_gateway.relay.retirement import LOOK_EVERY, Retirement


class Part:
    def __init__(self, *, slow=False):
        self.unused = False
        self.calls = []
        self.closed = Deferred() if slow else None

    def retire(self):
        self.calls.append("retire")

    def close(self):
        self.calls.append("close")
        return self.closed


def test_each_is_closed_when_it_is_unused():
    clock = Clock()
    retirement = Retirement(clock)
    parts = [Part(), Part()]
    for part in parts:
        retirement.add(part)
    clock.advance(LOOK_EVERY)
    assert [part.calls for part in parts] == [["retire"], ["retire"]]
    parts[1].unused = True
    clock.advance(LOOK_EVERY)
    assert [part.calls for part in parts] == [["retire"], ["retire", "close"]]
    assert len(retirement) == 1
    parts[0].unused = True
    clock.advance(LOOK_EVERY)
    assert len(retirement) == 0
    assert clock.getDelayedCalls() == []


def test_all_are_closed_at_the_end():
    clock = Clock()
    retirement = Retirement(clock)
    slow = Part(slow=True)
    retirement.add(slow)
    retirement.add(Part())
    ended = []
    retirement.close().addBoth(ended.append)
    assert clock.getDelayedCalls() == []
    assert ended == []
    slow.closed.callback(None)
    assert len(ended) == 1
