from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.tls.acme_schedule import (
    ASK_AGAIN,
    MAX_WAIT,
    Due,
    Held,
    History,
    after_failure,
    after_success,
    after_word,
    due,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
NAMES = frozenset({"a.example"})


def held(age, life=90 * DAY, names=NAMES):
    return Held(NOW - age, NOW - age + life, names)


ASKED = History(ask_at=NOW + DAY)


@pytest.mark.parametrize(
    ("there", "history", "expected"),
    [
        # Nothing there, or not what is wanted.
        (None, History(), Due("issue", NOW)),
        (held(DAY, names=frozenset()), ASKED, Due("issue", NOW)),
        (held(DAY, names=NAMES | {"b.example"}), ASKED, Due("ask", NOW + DAY)),
        (None, History(1, not_before=NOW + MINUTE), Due("issue", NOW + MINUTE)),
        (None, History(1, not_before=NOW - MINUTE), Due("issue", NOW - MINUTE)),
        # Two thirds of its life.
        (held(59 * DAY + DAY / 2), ASKED, Due("issue", NOW + DAY / 2)),
        (held(60 * DAY), ASKED, Due("issue", NOW)),
        (held(89 * DAY), ASKED, Due("issue", NOW)),
        (held(91 * DAY), History(), Due("issue", NOW)),
        (held(91 * DAY), History(3, not_before=NOW + MINUTE), Due("issue", NOW + MINUTE)),
        # The authority's word.
        (held(DAY), History(), Due("ask", NOW)),
        (held(DAY), ASKED, Due("ask", NOW + DAY)),
        (held(DAY), History(renew_at=NOW - MINUTE), Due("issue", NOW)),
        (held(DAY), History(renew_at=NOW + MINUTE, ask_at=NOW + DAY), Due("issue", NOW + MINUTE)),
        (held(DAY), History(renew_at=NOW + 80 * DAY, ask_at=NOW + DAY), Due("ask", NOW + DAY)),
        (
            held(DAY),
            History(1, not_before=NOW + MINUTE, renew_at=NOW - MINUTE),
            Due("issue", NOW + MINUTE),
        ),
        # The clock was set back by a year.
        (None, History(1, not_before=NOW + 365 * DAY), Due("issue", NOW + DAY)),
        (held(DAY), History(ask_at=NOW + 365 * DAY), Due("ask", NOW + DAY)),
    ],
)
def test_what_is_due(there, history, expected):
    found = due(there, NAMES, history, NOW, 0.0)
    assert found == expected


def test_chance_makes_it_earlier_by_three_days_of_ninety_at_most():
    history = History(ask_at=NOW + DAY)
    assert due(held(57 * DAY), NAMES, history, NOW, 1.0) == Due("issue", NOW)
    assert due(held(57 * DAY), NAMES, history, NOW, 0.5) == Due("ask", NOW + DAY)
    assert due(held(56 * DAY + DAY / 2), NAMES, history, NOW, 1.0) == Due("issue", NOW + DAY / 2)


def test_waits_double_to_a_maximum():
    history = History()
    waits = []
    for _ in range(12):
        history = after_failure(history, NOW, 5 * MINUTE, 0.0, None)
        waits.append((history.not_before - NOW) / MINUTE)
    assert waits == [5, 10, 20, 40, 80, 160, 320, 360, 360, 360, 360, 360]
    assert history.failures == 12


def test_the_authority_may_want_a_longer_wait_but_not_one_for_ever():
    def wait(asked):
        return after_failure(History(), NOW, 5 * MINUTE, 0.0, asked).not_before - NOW

    assert wait(timedelta(seconds=1)) == 5 * MINUTE
    assert wait(timedelta(hours=3)) == timedelta(hours=3)
    assert wait(timedelta(days=400)) == DAY


def test_a_success_ends_the_failures_and_yet_is_no_reason_to_ask_at_once():
    assert after_success(NOW, 5 * MINUTE) == History(not_before=NOW + 5 * MINUTE)
    brief = Held(NOW - DAY, NOW - DAY / 2, NAMES)
    assert due(brief, NAMES, after_success(NOW, 5 * MINUTE), NOW, 0.0).at == NOW + 5 * MINUTE


@pytest.mark.parametrize(
    ("again", "wait"),
    [(None, ASK_AGAIN), (-DAY, MINUTE), (0 * DAY, MINUTE), (DAY / 4, DAY / 4), (9 * DAY, DAY)],
)
def test_the_word_is_asked_for_again_within_limits(again, wait):
    at = None if again is None else NOW + again
    history = after_word(History(2, not_before=NOW), NOW, NOW + DAY, at)
    assert history == History(2, not_before=NOW, renew_at=NOW + DAY, ask_at=NOW + wait)


times = st.integers(-(10**9), 10**9).map(lambda seconds: NOW + timedelta(seconds=seconds))
maybe = st.none() | times
histories = st.builds(History, st.integers(0, 10**6), maybe, maybe, maybe)


@given(
    histories,
    times,
    st.timedeltas(timedelta(seconds=1), DAY),
    st.floats(0, 1),
    st.none() | st.timedeltas(),
)
def test_after_a_failure_nothing_is_issued_before_the_first_wait(
    history, now, first, chance, asked
):
    failed = after_failure(history, now, first, chance, asked)
    assert due(None, NAMES, failed, now, chance).at >= now + min(first, MAX_WAIT)
    assert failed.not_before - now <= max(MAX_WAIT * 1.5, DAY)


@given(times, times, histories, times, st.floats(0, 1))
def test_something_is_always_due_within_a_day_or_when_two_thirds_are_over(
    since, until, history, now, chance
):
    there = Held(min(since, until), max(since, until), NAMES)
    found = due(there, NAMES, history, now, chance)
    assert found.at <= max(now + DAY, there.since + (there.until - there.since) * 2 / 3)
    if found.what == "ask":
        assert there.until > now


@given(st.lists(st.sampled_from([0.01, 0.5, 3, 30]), max_size=30), st.floats(0, 1))
def test_an_authority_that_always_fails_is_asked_rarely(steps, chance):
    """However often the daemon looks or is started anew: what counts is in the history."""
    now, history, tries = NOW, History(), []
    for minutes in steps * 10:
        found = due(None, NAMES, history, now, chance)
        if found.at <= now:
            tries.append(now)
            history = after_failure(history, now, 5 * MINUTE, chance, None)
        now += timedelta(minutes=minutes)
    for number, at in enumerate(tries[1:], 1):
        wait = at - tries[number - 1]
        assert wait >= min(5 * MINUTE * 2 ** (number - 1), MAX_WAIT)
