import pytest
from twisted.internet.task import Clock

from portal_gateway.frontend.deadlines import Deadlines


def make() -> tuple[Clock, list[tuple[float, str]], Deadlines]:
    clock = Clock()
    expired: list[tuple[float, str]] = []
    return clock, expired, Deadlines(clock, lambda name: expired.append((clock.seconds(), name)))


def test_each_expires_once_at_its_time() -> None:
    clock, expired, deadlines = make()
    deadlines.set("b", 7)
    deadlines.set("a", 3)
    deadlines.set("c", 7)
    clock.pump([1] * 20)
    assert expired == [(3, "a"), (7, "b"), (7, "c")]
    assert clock.getDelayedCalls() == []


def test_one_call_for_all_and_none_for_a_later_deadline() -> None:
    clock, expired, deadlines = make()
    for at in (5, 9, 7, 3):
        deadlines.set("x", at)
        deadlines.set(f"x{at}", at)
        assert len(clock.getDelayedCalls()) == 1
    assert clock.getDelayedCalls()[0].getTime() == 3
    deadlines.set("x", 100)
    (call,) = clock.getDelayedCalls()
    assert call.getTime() == 3
    clock.pump([1] * 99)
    assert [name for _, name in expired] == ["x3", "x5", "x7", "x9"]
    clock.advance(1)
    assert expired[-1] == (100, "x")


def test_cleared() -> None:
    clock, expired, deadlines = make()
    deadlines.set("a", 3)
    assert "a" in deadlines
    deadlines.clear("a")
    deadlines.clear("a")
    assert "a" not in deadlines
    clock.advance(10)
    assert expired == []
    assert clock.getDelayedCalls() == []


def test_one_that_expires_may_clear_another_that_is_due() -> None:
    clock = Clock()
    expired: list[str] = []

    def note(name: str) -> None:
        expired.append(name)
        deadlines.clear("b")
        deadlines.set("c", clock.seconds() + 1)

    deadlines = Deadlines(clock, note)
    deadlines.set("a", 1)
    deadlines.set("b", 1)
    clock.advance(1)
    assert expired == ["a"]
    clock.advance(1)
    assert expired == ["a", "c"]
    deadlines.stop()
    assert clock.getDelayedCalls() == []


def test_stop_from_inside() -> None:
    clock = Clock()
    expired: list[str] = []

    def note(name: str) -> None:
        expired.append(name)
        deadlines.stop()

    deadlines = Deadlines(clock, note)
    deadlines.set("a", 1)
    deadlines.set("b", 1)
    deadlines.set("c", 2)
    clock.pump([1, 1, 1])
    assert expired == ["a"]


def test_a_deadline_in_the_past_expires_at_the_next_turn() -> None:
    clock, expired, deadlines = make()
    clock.advance(10)
    deadlines.set("a", 3)
    clock.advance(0)
    assert expired == [(10, "a")]


def test_one_that_fails_does_not_take_the_later_ones_with_it() -> None:
    clock = Clock()
    expired: list[str] = []

    def expire(name: str) -> None:
        expired.append(name)
        if name == "broken":
            raise RuntimeError("a defect")

    deadlines = Deadlines(clock, expire)
    deadlines.set("broken", 3)
    deadlines.set("later", 5)
    with pytest.raises(RuntimeError):
        clock.advance(3)
    clock.advance(2)
    assert expired == ["broken", "later"]
    assert clock.getDelayedCalls() == []
