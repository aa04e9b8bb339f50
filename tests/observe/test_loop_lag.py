"""The heartbeat that feels how late the event loop is."""

import pytest
from twisted.internet.task import Clock

from portal_gateway.observe.loop_lag import BEAT, LoopLag


def test_a_beat_in_time_is_no_lag_and_a_late_one_is_told_by_how_much():
    clock = Clock()
    lag = LoopLag(clock, (0.01, 0.1))
    lag.startService()
    clock.advance(BEAT)
    clock.advance(BEAT + 0.05)
    clock.advance(BEAT + 3)
    clock.advance(BEAT)
    assert lag.counts == [2, 1, 1]
    assert lag.seconds == pytest.approx(3.05)
    lag.stopService()
    assert clock.getDelayedCalls() == []


def test_it_can_be_stopped_before_it_started():
    clock = Clock()
    LoopLag(clock, ()).stopService()
    assert clock.getDelayedCalls() == []
