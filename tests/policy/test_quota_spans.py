import calendar
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.policy.quota_spans import PERIODS, span_at


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("period", "now", "label", "start", "end"),
    [
        ("daily", "2026-11-25T00:00:00", "2026-11-25", "2026-11-25", "2026-11-26"),
        ("daily", "2026-11-25T23:59:59.999", "2026-11-25", "2026-11-25", "2026-11-26"),
        ("daily", "2028-02-28T12:00:00", "2028-02-28", "2028-02-28", "2028-02-29"),
        ("daily", "2028-02-29T12:00:00", "2028-02-29", "2028-02-29", "2028-03-01"),
        ("monthly", "2026-11-01T00:00:00", "2026-11", "2026-11-01", "2026-12-01"),
        ("monthly", "2026-11-30T23:59:59.999", "2026-11", "2026-11-01", "2026-12-01"),
        ("monthly", "2026-12-31T23:59:59", "2026-12", "2026-12-01", "2027-01-01"),
        ("monthly", "2027-02-28T23:59:59", "2027-02", "2027-02-01", "2027-03-01"),
        ("monthly", "2028-02-29T00:00:00", "2028-02", "2028-02-01", "2028-03-01"),
        ("monthly", "2100-02-28T23:59:59", "2100-02", "2100-02-01", "2100-03-01"),
        # Where clocks are changed for summer time, nothing changes here.
        ("daily", "2026-03-29T01:30:00", "2026-03-29", "2026-03-29", "2026-03-30"),
        ("daily", "2026-10-25T01:30:00", "2026-10-25", "2026-10-25", "2026-10-26"),
        ("monthly", "1970-01-01T00:00:00", "1970-01", "1970-01-01", "1970-02-01"),
    ],
)
def test_days_and_months(period, now, label, start, end):
    assert span_at(period, at(now)) == (period, label, at(start), at(end))


def test_a_span_says_when_the_next_one_begins():
    assert span_at("monthly", at("2026-12-24T18:00:00")).spoken_end == "2027-01-01T00:00:00Z"


@given(st.sampled_from(PERIODS), st.floats(0, 4e9))
def test_every_moment_is_in_one_span_and_spans_follow_each_other(period, now):
    span = span_at(period, now)
    assert span.start <= now < span.end
    assert span_at(period, span.start) == span
    following = span_at(period, span.end)
    assert following.start == span.end
    assert following != span
    moment = datetime.fromtimestamp(span.start, UTC)
    assert (moment.hour, moment.minute, moment.second) == (0, 0, 0)
    if period == "daily":
        assert span.end - span.start == timedelta(days=1).total_seconds()
    else:
        assert moment.day == 1
        days = calendar.monthrange(moment.year, moment.month)[1]
        assert span.end - span.start == timedelta(days=days).total_seconds()
    assert moment.isoformat().startswith(span.label)
