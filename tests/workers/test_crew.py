"""Which workers are started when, by made-up time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.workers.crew import LONGEST_WAIT, START_WITHIN, STEADY, Crew


def running(count=3, now=100.0):
    crew = Crew(count)
    for worker in crew.due(now):
        crew.started(worker, 1000 + worker.number, now)
        crew.is_ready(worker, now)
    return crew


def test_all_are_started_at_once():
    crew = Crew(3)
    assert [each.number for each in crew.due(0.0)] == [1, 2, 3]
    assert crew.next_due() == 0.0
    crew = running()
    assert crew.due(100.0) == []
    assert crew.next_due() is None
    assert len(crew.running) == 3


def test_all_are_ready_when_each_said_so():
    crew = Crew(2)
    first, second = crew.due(0.0)
    crew.started(first, 11, 0.0)
    crew.started(second, 12, 0.0)
    crew.is_ready(first, 0.1)
    assert not crew.all_ready
    assert not crew.was_ready
    crew.is_ready(second, 0.2)
    assert crew.all_ready
    crew.is_busy(second)
    assert crew.ready_count == 1
    assert crew.was_ready


def test_one_that_is_lost_is_replaced_at_once():
    crew = running()
    assert crew.ended(crew.workers[1], 100.5) == 0.0
    assert crew.due(100.5) == [crew.workers[1]]
    assert not crew.all_ready


def test_one_that_ends_again_and_again_is_replaced_ever_later():
    crew = running(count=1)
    (worker,) = crew.workers
    now, waits = 100.0, []
    for _ in range(12):
        now += 0.1
        wait = crew.ended(worker, now)
        waits.append(wait)
        if wait:
            assert crew.due(now + wait - 0.001) == []
        assert crew.next_due() == now + wait
        now += wait
        assert crew.due(now) == [worker]
        crew.started(worker, 1, now)
        crew.is_ready(worker, now)
    assert waits[:6] == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == LONGEST_WAIT


def test_a_steady_life_ends_the_back_off():
    crew = running(count=1)
    (worker,) = crew.workers
    now = 100.0
    for _ in range(5):
        now += crew.ended(worker, now)
        crew.started(worker, 1, now)
    assert crew.ended(worker, now + STEADY) == 0.0
    crew.started(worker, 2, now)
    assert 0.0 < crew.ended(worker, now + 1) < 1.0


def test_a_loop_of_one_does_not_hold_the_others_up():
    crew = running(count=2)
    looping, well = crew.workers
    for _ in range(5):
        crew.ended(looping, 100.0)
    assert crew.ended(well, 100.0) == 0.0
    assert crew.due(100.0) == [well]


def test_none_is_replaced_at_the_end():
    crew = running()
    crew.ending = True
    crew.ended(crew.workers[0], 100.0)
    assert crew.due(200.0) == []
    assert crew.next_due() is None


def test_whether_all_answer():
    crew = running(count=2)
    first, second = crew.workers
    assert crew.all_answer(104.0, within=5.0)
    crew.is_alive(first, 110.0)
    assert not crew.all_answer(111.0, within=5.0)
    crew.is_alive(second, 110.0)
    assert crew.all_answer(111.0, within=5.0)


def test_one_that_starts_has_time_to_answer():
    crew = running(count=2)
    crew.ended(crew.workers[0], 100.0)
    # A place without a process is nobody who could answer.
    crew.is_alive(crew.workers[1], 120.0)
    assert crew.all_answer(120.0, within=5.0)
    crew.started(crew.workers[0], 5, 100.0)
    assert crew.all_answer(120.0, within=5.0)
    crew.is_alive(crew.workers[1], 100.0 + START_WITHIN + 1)
    assert not crew.all_answer(100.0 + START_WITHIN + 1, within=5.0)


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 60.0)), max_size=60))
def test_no_place_is_forgotten_and_no_wait_is_too_long(losses):
    crew = running()
    now = 100.0
    for index, passes in losses:
        now += passes
        for worker in crew.due(now):
            crew.started(worker, 1, now)
        worker = crew.workers[index]
        if worker.pid is not None:
            assert 0.0 <= crew.ended(worker, now) <= LONGEST_WAIT
        assert crew.next_due() is not None or len(crew.running) == 3
    assert {each.number for each in [*crew.running, *crew.due(now + LONGEST_WAIT)]} == {1, 2, 3}


@pytest.mark.parametrize("count", [1, 4])
def test_there_are_as_many_as_are_wanted(count):
    assert len(Crew(count).workers) == count
