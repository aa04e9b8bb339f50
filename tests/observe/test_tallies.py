"""Counts by two labels: bounded, and added up."""

import pytest

from portal_gateway.observe.tallies import LONGEST_LABEL, Tallies


def told(tallies):
    return {labels: tally.count for labels, tally in tallies.items()}


@pytest.mark.parametrize(
    ("keeps_first", "other"), [(True, ("c", "_other")), (False, ("_other", "_other"))]
)
def test_what_comes_beyond_the_series_is_folded(keeps_first, other):
    tallies = Tallies(2, keeps_first=keeps_first)
    for which in ("a", "b", "c", "c", "a"):
        tallies.count((which, which), 0.0)
    assert told(tallies) == {("a", "a"): 2, ("b", "b"): 1, other: 2}
    assert tallies.folded == 2


def test_what_is_the_others_already_takes_no_series_and_is_not_folded():
    tallies = Tallies(1, keeps_first=True)
    tallies.count(("a", "_other"), 0.0)
    tallies.count(("a", "b"), 0.0)
    assert told(tallies) == {("a", "_other"): 1, ("a", "b"): 1}
    assert tallies.folded == 0


@pytest.mark.parametrize("bad", ["x" * (LONGEST_LABEL + 1), "\ud800"])
def test_what_cannot_be_a_label_is_folded(bad):
    tallies = Tallies(9, keeps_first=True)
    tallies.count(("a", bad), 0.0)
    assert told(tallies) == {("a", "_other"): 1}


def test_the_oldest_have_the_room_when_tallies_are_added_up():
    first, second, both = (Tallies(2, keeps_first=False) for _ in range(3))
    first.count(("new", "x"), 5.0)
    first.count(("shared", "x"), 1.0)
    first.count(("shared", "x"), 7.0)
    second.count(("old", "x"), 2.0, 3)
    second.count(("shared", "x"), 3.0)
    both.add([first, second])
    assert told(both) == {("shared", "x"): 3, ("old", "x"): 3, ("_other", "_other"): 1}
    assert both.folded == 1
