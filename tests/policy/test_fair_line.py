"""A line in which clients take turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.policy.fair_line import FairLine


def taken(line):
    found = []
    while (item := line.take()) is not None:
        found.append(item)
    return found


def fill(line, client):
    """As many as there are places for; how many that are."""
    count = 0
    while line.add(client, (client, count)) is None:
        count += 1
    return count


def test_clients_take_turns_and_each_is_in_its_order():
    line = FairLine(100, 10)
    for client in "aaabbc":
        assert line.add(client, f"{client}{line.waiting_of(client)}") is None
    assert (len(line), line.waiting_of("a"), line.waiting_of("x")) == (6, 3, 0)
    assert taken(line) == ["a0", "b0", "c0", "a1", "b1", "a2"]
    assert (len(line), line.take()) == (0, None)


def test_who_comes_again_is_behind_who_waits():
    line = FairLine(100, 10)
    line.add("a", "a0")
    line.add("b", "b0")
    assert line.take() == "a0"
    line.add("a", "a1")
    assert taken(line) == ["b0", "a1"]


def test_one_client_has_a_bound():
    assert fill(FairLine(1000, 10), "a") == 10
    assert fill(FairLine(10, 1000), "a") == 10


def test_who_has_fewer_takes_the_last_place_of_who_has_most():
    line = FairLine(6, 6)
    for item in ("a0", "a1", "a2", "a3", "b0", "b1"):
        assert line.add(item[0], item) is None
    assert line.add("a", "a4") == "a4"
    assert line.add("b", "b2") == "a3"
    assert line.add("b", "b3") == "b3", "as many as the other has"
    assert line.add("c", "c0") in {"a2", "b2"}
    assert len(line) == 6


@pytest.mark.parametrize("clients", [1, 8, 100, 999])
def test_who_has_none_in_line_finds_a_place_however_much_the_others_send(clients):
    line = FairLine(1000, 1000)
    for client in range(clients):
        fill(line, client)
    assert line.add("another", "x") != "x"
    assert len(line) <= 1000


def test_the_line_has_an_end():
    line = FairLine(10, 10)
    assert [line.add(client, client) for client in range(12)] == [None] * 10 + [10, 11]
    assert line.take() == 0
    assert line.add("another", "x") is None


@given(st.lists(st.one_of(st.none(), st.integers(0, 5)), max_size=300), st.integers(1, 6))
def test_it_is_as_many_lines_served_in_turn(steps, most):
    places = 12
    line, lines = FairLine(places, most), {client: [] for client in range(6)}
    for number, step in enumerate(steps):
        waiting = sum(map(len, lines.values()))
        if step is None:
            item = line.take()
            assert (item is None) == (waiting == 0)
            if item is not None:
                assert lines[item[0]].pop(0) == item, "in the order of the client"
        else:
            own, longest = len(lines[step]), max(map(len, lines.values()))
            out = line.add(step, (step, number))
            if own >= most or (waiting == places and longest <= own + 1):
                assert out == (step, number)
            elif waiting < places:
                assert out is None
            else:
                assert len(lines[out[0]]) == longest
                assert lines[out[0]].pop() == out
            if out != (step, number):
                lines[step].append((step, number))
        assert len(line) == sum(map(len, lines.values())) <= places
        assert all(line.waiting_of(client) == len(lines[client]) for client in range(6))


def test_who_waits_no_more_gives_the_place_back():
    line = FairLine(4, 3)
    for item in ("a0", "a1", "a2", "b0"):
        line.add(item[0], item)
    assert line.discard("a", "a1")
    assert not line.discard("a", "a1")
    assert not line.discard("x", "x0")
    assert (len(line), line.waiting_of("a")) == (3, 2)
    assert line.add("a", "a3") is None
    assert line.discard("b", "b0")
    assert taken(line) == ["a0", "a2", "a3"]
    # A client of which nothing waits has no turn, and comes behind the others.
    line.add("a", "a4")
    line.add("b", "b1")
    line.discard("a", "a4")
    line.add("a", "a5")
    assert taken(line) == ["b1", "a5"]


def test_a_client_that_is_held_has_no_turn():
    line = FairLine(10, 5)
    for item in ("a0", "a1", "b0"):
        line.add(item[0], item)
    line.hold("a")
    line.hold("c")
    line.add("c", "c0")
    assert taken(line) == ["b0"]
    assert (len(line), line.waiting_of("a"), line.waiting_of("c")) == (3, 2, 1)
    line.add("a", "a2")
    line.add("b", "b1")
    line.release("a")
    line.release("b")
    assert taken(line) == ["b1", "a0", "a1", "a2"]
    line.discard("c", "c0")
    line.release("c")
    assert line.take() is None
    line.add("c", "c1")
    assert taken(line) == ["c1"]
