from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.relay.backoff import MAX_WAIT, MIN_WAIT, STEADY, Backoff


class Highest(Random):
    """Draws the highest value every time."""

    def uniform(self, a, b):
        return b


def test_the_first_loss_is_followed_at_once_and_failures_by_growing_waits():
    backoff = Backoff(Highest())
    assert backoff.lost(STEADY) == 0.0
    assert [backoff.failed() for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_a_relay_that_accepts_and_closes_is_not_called_in_a_loop():
    backoff = Backoff(Highest())
    assert [backoff.lost(0.01) for _ in range(4)] == [0.0, 1.0, 2.0, 4.0]


def test_a_failure_before_the_first_connection_uses_up_the_attempt_at_once():
    backoff = Backoff(Highest())
    assert backoff.failed() == 1.0
    assert backoff.lost(0.01) == 2.0


def test_a_steady_connection_starts_the_waits_anew():
    backoff = Backoff(Highest())
    for _ in range(5):
        backoff.failed()
    assert backoff.lost(STEADY) == 0.0
    assert backoff.failed() == 1.0


@settings(max_examples=50)
@given(st.integers(), st.lists(st.one_of(st.none(), st.floats(0, 100)), max_size=50))
def test_every_wait_is_within_its_bounds(seed, story):
    backoff = Backoff(Random(seed))
    for lifetime in story:
        if lifetime is None:
            assert MIN_WAIT <= backoff.failed() <= MAX_WAIT
        else:
            wait = backoff.lost(lifetime)
            assert wait == 0.0 or MIN_WAIT <= wait <= MAX_WAIT


def test_waits_are_spread():
    waits = [Backoff(Random(seed)).failed() for seed in range(200)]
    assert len(set(waits)) == 200
    assert min(waits) < 0.55
    assert max(waits) > 0.95
