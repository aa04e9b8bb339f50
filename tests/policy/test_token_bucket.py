"""Token buckets: against a model, at the edges, together, and many of them."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from portal_gateway.policy import token_bucket
from portal_gateway.policy.token_bucket import SECOND, Bucket, BucketTable, Pace, Rate, take

START = 5_000 * SECOND


class Counted:
    """A bucket as it is usually described: tokens, and when they were last counted. The model."""

    def __init__(self, rate, now):
        self.rate = rate
        self.tokens = Fraction(rate.burst)
        self.now = now

    def refill(self, now):
        more = Fraction(now - self.now, self.rate.interval)
        self.tokens = min(self.tokens + more, Fraction(self.rate.burst))
        self.now = now

    def wait(self):
        """Nanoseconds until there is a token."""
        return max(Fraction(0), (1 - self.tokens) * self.rate.interval)


def buckets(*rates):
    return tuple(Bucket(BucketTable(), str(index), rate) for index, rate in enumerate(rates))


def keep(table, key, moment, now):
    """As taking a token does."""
    table.moments[key] = moment
    if len(table) > table.capacity:
        table.forget_one(now, key)


rates = st.builds(Rate, st.integers(1, 10 * SECOND), st.integers(1, 50))
steps = st.lists(
    st.one_of(st.just(0), st.integers(0, 1000), st.integers(0, 3 * SECOND)), max_size=60
)


@settings(max_examples=300)
@given(st.lists(rates, min_size=1, max_size=4), steps)
def test_buckets_are_as_their_model(some_rates, pauses):
    """Admitted alike, all or none taken, and what is told is exact."""
    real = buckets(*some_rates)
    models = [Counted(rate, START) for rate in some_rates]
    now = START
    for pause in pauses:
        now += pause
        for model in models:
            model.refill(now)
        expected = all(model.tokens >= 1 for model in models)
        waits = [model.wait() for model in models]
        if expected:
            for model in models:
                model.tokens -= 1
        admitted, until_full = take(real, now)
        assert admitted == expected
        for model, rate, time, wait in zip(models, some_rates, until_full, waits, strict=True):
            assert rate.remaining(time) == int(model.tokens)
            assert 0 <= time <= rate.depth
            if not admitted:
                assert rate.wait(time) == wait


@given(rates, steps)
def test_who_waits_as_long_as_is_told_gets_in(rate, pauses):
    (bucket,) = buckets(rate)
    now = START
    for pause in pauses:
        now += pause
        admitted, (until_full,) = take((bucket,), now)
        if admitted:
            continue
        wait = rate.wait(until_full)
        assert not take((bucket,), now + wait - 1)[0]
        now += wait
        assert take((bucket,), now)[0]


@given(st.integers(1, 10**6), st.sampled_from([1, 60, 3600]), st.integers(1, 10**6))
def test_a_rate_is_what_was_asked_for(tokens, seconds, burst):
    rate = Rate.of(tokens, seconds, burst)
    assert abs(rate.interval - Fraction(seconds * SECOND, tokens)) <= Fraction(1, 2)
    assert (rate.burst, rate.depth) == (burst, burst * rate.interval)


def test_no_rate_is_so_high_that_nothing_is_counted():
    assert Rate.of(1e12, 1, 1).interval == 1


def test_r23_a_hundred_a_second_with_a_burst_of_two_hundred():
    """R23: 500 a second for 10 s are 1,200, within 1 %."""
    (bucket,) = buckets(Rate.of(100, 1, 200))
    admitted = sum(take((bucket,), START + n * SECOND // 500)[0] for n in range(5000))
    assert abs(admitted - 1200) <= 12


def test_a_refused_request_takes_nothing():
    """As many as the rate allows get in, however many more try."""
    quiet = buckets(Rate.of(10, 1, 10))
    flooded = buckets(Rate.of(10, 1, 10))
    seconds = 20
    for second in range(seconds):
        assert sum(take(quiet, START + second * SECOND)[0] for _ in range(10)) == 10
        for n in range(1000):
            take(flooded, START + second * SECOND + n * SECOND // 1000)
    until_full = take(flooded, START + seconds * SECOND)[1]
    assert flooded[0].rate.remaining(until_full[0]) == 0


def test_what_cannot_be_refused_is_slowed_down():
    pace = Pace(Rate.of(10, 1, 3))
    waits = [pace.count(START) for _ in range(5)]
    assert waits == [0, 0, SECOND // 10, 2 * SECOND // 10, 3 * SECOND // 10]
    assert pace.count(START + 10 * SECOND) == 0


@given(rates, steps)
def test_who_waits_as_long_as_a_pace_says_keeps_to_the_rate(rate, pauses):
    pace, (bucket,) = Pace(rate), buckets(rate)
    now = START
    for pause in pauses:
        now += pause
        assert take((bucket,), now)[0]
        now += pace.count(now)


def test_one_empty_bucket_keeps_the_others_whole():
    wide, narrow = buckets(Rate.of(100, 1, 100), Rate.of(1, 1, 1))
    assert take((wide, narrow), START) == (True, [SECOND // 100, SECOND])
    for _ in range(50):
        assert take((wide, narrow), START) == (False, [SECOND // 100, SECOND])
    assert wide.rate.remaining(SECOND // 100) == 99


def test_a_bucket_whose_burst_was_lowered_is_empty_and_no_worse():
    table = BucketTable()
    before = Bucket(table, "k", Rate.of(1, 1, 1000))
    for _ in range(1000):
        assert take((before,), START)[0]
    after = Bucket(table, "k", Rate.of(1, 1, 5))
    assert take((after,), START) == (False, [5 * SECOND])
    assert not take((after,), START + SECOND - 1)[0]
    assert take((after,), START + SECOND)[0]


# Many of them.


def test_a_full_bucket_is_not_kept():
    table = BucketTable()
    rate = Rate.of(1, 1, 10)
    for n in range(100):
        take((Bucket(table, f"k{n}", rate),), START + n)
    assert len(table) == 100
    table.sweep(START + SECOND + 49, 100)
    assert len(table) == 50
    table.sweep(START + 100 * SECOND, 100)
    assert len(table) == 0
    assert table.forgotten == 0


def test_a_sweep_looks_at_no_more_than_it_is_told():
    table = BucketTable()
    for n in range(1000):
        keep(table, f"k{n}", 1, 0)
    table.sweep(5, 10)
    assert len(table) == 990


def test_a_sweep_that_is_on_its_way_hides_nothing():
    table = BucketTable()
    for n in range(100):
        keep(table, f"k{n}", 10 + n, 0)
    table.sweep(0, 50)
    assert [table.moments.get(f"k{n}", 0) for n in range(100)] == [10 + n for n in range(100)]
    keep(table, "k3", 500, 0)
    table.sweep(0, 50)
    assert table.moments.get("k3", 0) == 500
    assert len(table) == 100


def test_a_table_that_is_full_forgets_the_full_buckets_first():
    table = BucketTable(10)
    for n in range(10):
        keep(table, f"full{n}", START - 1, START - 10)
    for n in range(10):
        keep(table, f"new{n}", START + SECOND, START)
    assert table.forgotten == 0
    assert len(table) == 10
    assert all(table.moments.get(f"new{n}", 0) for n in range(10))


def test_a_table_that_is_full_forgets_one_at_a_time_and_counts_it():
    table = BucketTable(100)
    for n in range(1000):
        keep(table, f"k{n}", START + SECOND, START)
        assert len(table) <= 100
        assert table.moments.get(f"k{n}", 0)
    assert table.forgotten == 900


class Tables(RuleBasedStateMachine):
    """A table beside a plain dict of everything that was ever kept."""

    @initialize(capacity=st.integers(1, 30))
    def start(self, capacity):
        self.capacity = capacity
        self.table = BucketTable(capacity)
        self.model = {}
        self.now = START
        self.overfull = 0

    @rule(key=st.integers(0, 40), ahead=st.integers(1, 100))
    def keep(self, key, ahead):
        key = f"k{key}"
        self.model[key] = self.now + ahead
        before = sum(self.table.moments.get(k, 0) > self.now for k in self.model)
        keep(self.table, key, self.now + ahead, self.now)
        assert self.table.moments.get(key, 0) == self.now + ahead
        lost = before - sum(self.table.moments.get(k, 0) > self.now for k in self.model)
        assert lost <= 1

    @rule(most=st.integers(0, 50))
    def sweep(self, most):
        self.table.sweep(self.now, most)

    @rule(time=st.integers(0, 60))
    def wait(self, time):
        self.now += time

    @invariant()
    @precondition(lambda self: hasattr(self, "table"))
    def nothing_is_made_up_and_only_a_full_table_forgets(self):
        wrong = 0
        for key, moment in self.model.items():
            found = self.table.moments.get(key, 0)
            if found == moment:
                continue
            # Dropped: it was full, or it was forgotten, or an older moment stands, which is past.
            assert found == 0 or found <= self.now
            wrong += moment > self.now
        assert wrong <= self.table.forgotten
        assert len(self.table) <= self.capacity


TestTables = Tables.TestCase
TestTables.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("constant", ["MAX_BUCKETS"])
def test_a_table_is_bounded_by_default(constant):
    table = BucketTable()
    assert table.capacity == getattr(token_bucket, constant) == 1_000_000
