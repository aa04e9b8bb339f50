from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.config.times import duration, spoken_duration, timestamp


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("7d", 604_800),
        ("1.5s", 1.5),
        ('"30s"', 30),
        ("${IDLE}", 90),
        ('"${IDLE}"', 90),
    ],
)
def test_durations(read, text, seconds):
    read.environ = {"IDLE": "90s"}
    assert read(duration(0, 1_000_000), text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "30",
        "30 s",
        "s",
        "-1s",
        "+1s",
        "1e3s",
        "1h30m",
        "5:30",
        "30S",
        "1w",
        ".5s",
        "1.s",
        "½h",
        "٣s",
    ],
)
def test_bad_durations(read, text):
    assert read.reason(duration(0, 60), text).startswith(f'bad duration "{text}"; write a number')


@pytest.mark.parametrize("text", ["0s", "999ms", "61m", "999999999d"])
def test_durations_have_bounds(read, text):
    reason = read.reason(duration(1, 3600), text)
    assert reason == f'expected a duration from 1s to 1h, found "{text}"'


def test_a_duration_must_be_given(read):
    assert read.reason(duration(1, 60), "~") == "expected a duration such as 30s, found nothing"


@given(st.integers(1, 10_000_000))
def test_a_spoken_duration_is_read_back(milliseconds):
    spoken = spoken_duration(milliseconds / 1000)
    number = spoken.rstrip("mshd")
    unit = spoken[len(number) :]
    factor = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}[unit]
    assert int(number) * factor == milliseconds


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ('"2025-12-31T23:59:59Z"', datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2025-12-31T23:59:59Z", datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2025-12-31 23:59:59z", datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2025-12-31t23:59:59+01:00", datetime(2025, 12, 31, 22, 59, 59, tzinfo=UTC)),
        ("2024-02-29T00:00:00-00:00", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2025-12-31T23:59:59.5Z", datetime(2025, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC)),
        (
            "2025-12-31T23:59:59.123456789Z",
            datetime(2025, 12, 31, 23, 59, 59, 123_456, tzinfo=UTC),
        ),
        ("${UNTIL}", datetime(2030, 1, 1, tzinfo=UTC)),
    ],
)
def test_timestamps(read, text, moment):
    read.environ = {"UNTIL": "2030-01-01T00:00:00Z"}
    found = read(timestamp, text)
    assert found == moment
    assert found.utcoffset().total_seconds() == 0


@pytest.mark.parametrize(
    "text",
    [
        "2025-12-31",
        "2025-12-31T23:59:59",
        "2025-12-31T23:59Z",
        "2025-W01-1T00:00:00Z",
        "20251231T235959Z",
        "2025-12-31T23:59:59 Z",
        "2025-12-31T23:59:59+0100",
        "2025-1-1T00:00:00Z",
        "1767225599",
        "tomorrow",
    ],
)
def test_what_is_no_rfc_3339_timestamp(read, text):
    assert read.reason(timestamp, text).startswith(f'bad date and time "{text}"; write it as in')


@pytest.mark.parametrize(
    "text",
    [
        "2025-02-29T00:00:00Z",
        "2025-13-01T00:00:00Z",
        "2025-01-01T24:00:00Z",
        "2025-01-01T00:60:00Z",
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2025-01-01T00:00:00+24:00",
    ],
)
def test_moments_that_are_none(read, text):
    assert read.reason(timestamp, text) == f'no such date and time: "{text}"'


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_moment_is_read_back(moment):
    # Built here, since a fixture is made once for all examples.
    from portal_gateway.config import document
    from portal_gateway.config.reading import Reading, Value

    text = moment.isoformat().replace("+00:00", "Z")
    value = Value(document.compose(f'"{text}"'), "", Reading("", {}, None))
    assert timestamp(value) == moment
