"""Long work in slices, and how long the slices are that a relay's list is read in."""

import gc
import time

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from portal_gateway.relay.directory import Directory
from portal_gateway.relay.lease_index import LeaseIndex
from portal_gateway.relay.slices import SLICE, in_slices
from portal_gateway.wire.identity import derive_id
from portal_gateway.wire.messages import ListedLease, PacketReader, RelayInfo, relay_info_response
from portal_gateway.wire.relay_lists import relay_info_steps

LEASES = 10_000
LONGEST_TURN = 0.010


class Work:
    """Steps of one unit, and what was done of them."""

    def __init__(self, steps, error=None):
        self.done = 0
        self.closed = False
        self._steps = steps
        self._error = error

    def run(self):
        try:
            for _ in range(self._steps):
                self.done += 1
                yield 1
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True
        return "result"


def outcome(deferred):
    results = []
    deferred.addBoth(results.append)
    return results


def test_short_work_is_done_at_once():
    clock, work = Clock(), Work(SLICE - 1)
    assert outcome(in_slices(work.run(), clock)) == ["result"]
    assert clock.getDelayedCalls() == []


def test_long_work_is_done_in_turns():
    clock, work = Clock(), Work(3 * SLICE)
    found = outcome(in_slices(work.run(), clock))
    assert (work.done, found) == (SLICE, [])
    clock.advance(0)
    assert found == ["result"]
    assert clock.getDelayedCalls() == []


def test_what_the_work_raises_is_its_result():
    clock = Clock()
    for steps in (1, 2 * SLICE):
        found = outcome(in_slices(Work(steps, ZeroDivisionError()).run(), clock))
        clock.advance(0)
        assert found[0].check(ZeroDivisionError)


def test_work_that_is_cancelled_is_closed():
    clock, work = Clock(), Work(3 * SLICE)
    result = in_slices(work.run(), clock)
    found = outcome(result)
    result.cancel()
    assert found[0].check(CancelledError)
    assert work.closed
    assert clock.getDelayedCalls() == []


class TurnClock(Clock):
    """Measures the CPU time of each call."""

    def __init__(self):
        super().__init__()
        self.longest = 0.0
        self.turns = 0

    def callLater(self, delay, function, *args, **keys):
        def call():
            began = time.process_time()
            function(*args, **keys)
            self.longest = max(self.longest, time.process_time() - began)
            self.turns += 1

        return super().callLater(delay, call)


def names(kind):
    return {
        "plain": "name-{}",
        "one name": "agent",
        "of capitals": "A{}",
        "that expand": "\ufdfa" * 300 + "{}",
        "of marks": ("a" + "\u0301\u0323" * 15) * 9 + "{}",
    }[kind]


@pytest.mark.parametrize("kind", ["plain", "one name", "of capitals", "that expand", "of marks"])
def test_no_turn_is_long_however_long_the_list(kind):
    size = LEASES if kind in {"plain", "one name"} else LEASES // 10
    keys = [number.to_bytes(32, "big") for number in range(size)]
    leases = tuple(
        ListedLease(derive_id(key), names(kind).format(i), 2**31, ("http/1.1",), "x" * 200, key)
        for i, key in enumerate(keys)
    )
    reader = PacketReader(1 << 25, once=True)
    (packet,) = reader.receive_data(relay_info_response(RelayInfo(None, (), leases)))
    # What the tests made before is not the list's, and is not to be looked through for its sake.
    gc.collect()
    gc.freeze()
    clock = TurnClock()
    directory = Directory(lambda: in_slices(relay_info_steps(packet), clock), clock)
    for _ in range(2):
        directory.poll()
        clock.advance(0)
        assert directory.figures.leases == size
    gc.unfreeze()
    assert clock.turns > 2 * size // SLICE
    assert clock.longest < LONGEST_TURN


def test_the_forms_of_names_are_kept_from_one_answer_to_the_next():
    leases = tuple(ListedLease(derive_id(bytes([n] * 32)), f"é{n}") for n in range(10))
    first = LeaseIndex()
    assert sum(first.add_all(leases)) > 2 * len(leases)
    second = LeaseIndex(first)
    assert sum(second.add_all(leases)) == len(leases)
    assert second.forms == first.forms
