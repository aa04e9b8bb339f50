"""The requests that wait for a connection, against a list that is sorted each time."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.relay.waiting_requests import WaitingRequests


def request(age):
    return Exchange(waiting_since=age)


class Exchange(SimpleNamespace):
    """An exchange is itself alone, whatever it holds."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def test_nobody_waits():
    waiting = WaitingRequests()
    assert len(waiting) == 0
    assert not waiting.discard(request(0.0))
    assert waiting.take_all() == []
    with pytest.raises(IndexError):
        _ = waiting.first
    with pytest.raises(IndexError):
        waiting.take()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 5)),
        st.tuples(st.sampled_from(["discard", "back"]), st.integers(0, 200)),
        st.tuples(st.sampled_from(["take", "all"]), st.just(0)),
    ),
    max_size=300,
)


@given(STEPS)
def test_the_oldest_is_first_and_of_one_age_the_first_that_came(steps):
    waiting, here, gone = WaitingRequests(), [], []
    for step, number in steps:
        if step == "add":
            here.append(request(float(number)))
            waiting.add(here[-1])
        elif step == "back" and gone:
            # One that left comes back, with its age: behind those that have waited as long.
            here.append(gone.pop(number % len(gone)))
            waiting.add(here[-1])
        elif step == "discard" and here:
            gone.append(here.pop(number % len(here)))
            assert waiting.discard(gone[-1])
            assert not waiting.discard(gone[-1])
        elif step == "take" and here:
            gone.append(waiting.take())
            here.remove(gone[-1])
        elif step == "all":
            assert waiting.take_all() == here
            gone, here = gone + here, []
        here.sort(key=lambda each: each.waiting_since)
        assert len(waiting) == len(here)
        if here:
            assert waiting.first is here[0]


def test_those_that_left_are_not_kept():
    waiting = WaitingRequests()
    oldest, *others = (request(float(age)) for age in range(1000))
    for each in (oldest, *others):
        waiting.add(each)
    for each in others:
        waiting.discard(each)
    assert len(waiting) == 1
    assert len(waiting._entries) <= 66
    assert waiting.take() is oldest
