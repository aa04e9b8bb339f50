"""Counts that never fall, though what counts begins anew."""

from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.observe.figures import Reading
from portal_gateway.observe.steady_counts import SteadyCounts


def told(counts, *values, name="a", labels=()):
    return [counts.told(Reading(name, value, labels)).value for value in values]


def test_what_begins_anew_goes_on():
    assert told(SteadyCounts(), 0, 3, 3, 5, 0, 2, 1, 1) == [0, 3, 3, 5, 5, 7, 8, 8]


def test_each_name_and_labels_are_followed_by_themselves():
    counts = SteadyCounts()
    assert told(counts, 5, 1) == [5, 6]
    assert told(counts, 2, labels=("x",)) == [2]
    assert told(counts, 2, name="b") == [2]
    assert told(counts, 4) == [9]


def test_what_is_followed_is_bounded():
    counts = SteadyCounts()
    for number in range(3_000):
        told(counts, 1, labels=(str(number),))
        assert len(counts._last) <= 1_000


@given(st.lists(st.integers(0, 100)))
def test_they_never_fall(values):
    found = told(SteadyCounts(), *values)
    assert found == sorted(found)
