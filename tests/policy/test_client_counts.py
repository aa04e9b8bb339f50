"""Who has the most."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.policy.client_counts import ClientCounts


def test_who_has_the_most_is_known():
    counts = ClientCounts()
    for client in "abbcccb":
        counts.add(client)
    counts.remove("c")
    assert (counts.most, counts.heaviest(), counts.of("c"), len(counts)) == (3, "b", 2, 3)


def test_nobody_has_anything():
    counts = ClientCounts()
    with pytest.raises(KeyError):
        counts.heaviest()
    counts.add("a")
    counts.remove("a")
    assert (counts.most, counts.of("a"), len(counts)) == (0, 0, 0)
    with pytest.raises(KeyError):
        counts.remove("a")


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcd")), max_size=200))
def test_it_is_a_counter_that_knows_its_greatest(steps):
    counts, counter = ClientCounts(), Counter()
    for more, client in steps:
        if more:
            counts.add(client)
            counter[client] += 1
        elif counter[client]:
            counts.remove(client)
            counter[client] -= 1
        assert counts.most == max(counter.values(), default=0)
        assert all(counts.of(each) == counter[each] for each in "abcd")
        if counts.most:
            assert counter[counts.heaviest()] == counts.most
