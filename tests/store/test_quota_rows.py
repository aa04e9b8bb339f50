import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select

from portal_gateway.store.quota_rows import (
    METADATA,
    QUOTA_USE,
    QUOTA_WRITERS,
    purge_rows,
    sync_rows,
)
from portal_gateway.store.quota_store import Added, UsedIn

NOW = 1_795_608_000.0
DAY = 86_400


def used(key="a", label="2026-11", period="monthly", end=NOW + DAY):
    return UsedIn(key, period, label, end)


def added(requests=1, size=0, **which):
    return Added(used(**which), requests, size)


@pytest.fixture
def engine():
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def sync(engine):
    def run(number, *what, wanted=(), writer="w"):
        with engine.begin() as connection:
            return sync_rows(connection, writer, number, what, wanted, NOW)

    return run


def test_what_nobody_used_is_nothing(sync):
    assert sync(0, wanted=[used(), used("b")]) == [(0, 0), (0, 0)]


def test_what_is_added_adds_up_and_is_told(sync):
    assert sync(1, added(3, 100), added(1, 0, key="b")) == [(3, 100), (1, 0)]
    assert sync(2, added(2, 50), wanted=[used("b"), used("c")]) == [(5, 150), (1, 0), (0, 0)]


def test_days_and_months_and_keys_are_apart(sync):
    sync(1, added(1), added(2, label="2026-12"), added(3, period="daily", label="2026-11-25"))
    wanted = [used(), used(label="2026-12"), used(period="daily", label="2026-11-25"), used("A")]
    assert sync(0, wanted=wanted) == [(1, 0), (2, 0), (3, 0), (0, 0)]


def test_processes_add_to_each_other(sync):
    sync(1, added(3), writer="one")
    assert sync(1, added(4), writer="two") == [(7, 0)]
    assert sync(2, added(1), writer="one") == [(8, 0)]


def test_a_batch_that_comes_again_is_added_once(sync):
    sync(1, added(3))
    assert sync(1, added(3), wanted=[used("b")]) == [(3, 0), (0, 0)]
    assert sync(2, added(1)) == [(4, 0)]
    assert sync(1, added(3)) == [(4, 0)]


def test_a_transaction_that_fails_leaves_nothing(engine, sync):
    with engine.connect() as connection:
        sync_rows(connection, "w", 1, [added(3)], [], NOW)
        connection.rollback()
    assert sync(1, added(3)) == [(3, 0)]


def test_many_at_once(sync):
    many = [added(number, number, key=f"key-{number}") for number in range(1, 1300)]
    assert sync(1, *many, wanted=[used("other")]) == [
        *((number, number) for number in range(1, 1300)),
        (0, 0),
    ]
    assert sync(0, wanted=[one.used for one in many])[-1] == (1299, 1299)


def test_numbers_are_as_large_as_they_get(sync):
    assert sync(1, added(10**12, 2**60)) == [(10**12, 2**60)]
    assert sync(2, added(0, 2**60)) == [(10**12, 2**61)]


@pytest.mark.parametrize(
    "key", ["jwt:" + "x" * 255, "'; DROP TABLE quota_use; --", "a%_\\", "도구"]
)
def test_ids_are_what_they_are(sync, key):
    sync(1, added(5, key=key))
    assert sync(0, wanted=[used(key), used("x")]) == [(5, 0), (0, 0)]


def test_what_is_old_is_forgotten(engine, sync):
    for number, (period, days) in enumerate(
        [("daily", 61), ("daily", 63), ("monthly", 399), ("monthly", 401)], 1
    ):
        label = f"{days}"
        sync(number, added(period=period, label=label, end=NOW - days * DAY), writer=f"w{number}")
    with engine.begin() as connection:
        purge_rows(connection, NOW)
        assert set(connection.scalars(select(QUOTA_USE.c.label))) == {"61", "399"}
        assert len(list(connection.scalars(select(QUOTA_WRITERS.c.id)))) == 4
        purge_rows(connection, NOW + DAY + 1)
        assert list(connection.scalars(select(QUOTA_WRITERS.c.id))) == []


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["one", "two"]),
            st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=3),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_against_a_dictionary(steps):
    """Whoever adds, and however often a batch is sent."""
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    expected = dict.fromkeys("abc", 0)
    numbers = {"one": 0, "two": 0}
    for writer, keys, twice in steps:
        batch = dict(keys)
        numbers[writer] += 1
        for key, requests in batch.items():
            expected[key] += requests
        what = [added(requests, 0, key=key) for key, requests in batch.items()]
        for _ in range(1 + twice):
            with engine.begin() as connection:
                told = sync_rows(connection, writer, numbers[writer], what, [], NOW)
            assert told == [(expected[key], 0) for key in batch]
    engine.dispose()
