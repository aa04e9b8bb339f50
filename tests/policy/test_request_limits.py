"""What an answer tells of the limits, and how a request is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.config.rate_limits import RateSection
from portal_gateway.policy.request_limits import Limit, NamedLimit, RequestLimits
from portal_gateway.policy.token_bucket import SECOND, Bucket, BucketTable, take

START = 7_000 * SECOND
ITEM = re.compile(rb'"([a-z-]+)"((?:;[a-z]+=[0-9]+)+)')


def limits(**rates):
    """Limits by their names, each with a bucket of its own."""
    named = []
    for name, section in rates.items():
        limit = Limit.of(section)
        named.append(NamedLimit(name, limit, Bucket(BucketTable(), "k", limit.rate)))
    return RequestLimits.of(named)


def per_second(requests, burst):
    return RateSection(requests, 1, burst)


def members(value):
    """The members of a List of Strings with Integer parameters (RFC 9651 section 3.1), strictly."""
    found = {}
    for member in value.split(b", "):
        match = ITEM.fullmatch(member)
        assert match, member
        parameters = dict(part.split(b"=") for part in match[2][1:].split(b";"))
        found[match[1].decode()] = {name.decode(): int(n) for name, n in parameters.items()}
    return found


def told(of, now=START):
    """Take once; whether it was admitted, and the fields by name."""
    admitted, until_full = take(of.buckets, now)
    fields = of.fields(until_full)
    assert len({name for name, _ in fields}) == len(fields) == 5
    return admitted, {name.decode(): value for name, value in fields}


def test_the_fields_of_three_limits():
    of = limits(
        **{"global": per_second(1000, 2000)}, key=per_second(100, 200), lease=per_second(50, 50)
    )
    admitted, fields = told(of)
    assert admitted
    assert fields == {
        "RateLimit-Policy": b'"global";q=2000;w=2, "key";q=200;w=2, "lease";q=50;w=1',
        "RateLimit": b'"global";r=1999;t=1, "key";r=199;t=1, "lease";r=49;t=1',
        "X-RateLimit-Limit": b"50",
        "X-RateLimit-Remaining": b"49",
        "X-RateLimit-Reset": b"1",
    }


def test_x_ratelimit_is_of_the_tightest_limit():
    of = limits(key=per_second(100, 5), lease=per_second(0.01, 7))
    seen = [told(of)[1] for _ in range(5)]
    assert [fields["X-RateLimit-Remaining"] for fields in seen] == [b"4", b"3", b"2", b"1", b"0"]
    assert {fields["X-RateLimit-Limit"] for fields in seen} == {b"5"}
    # The key's bucket is full again; that of the lease fills up in 100 s a token.
    _, fields = told(of, START + SECOND)
    assert fields["X-RateLimit-Limit"] == b"7"
    assert fields["X-RateLimit-Remaining"] == b"1"
    assert fields["X-RateLimit-Reset"] == b"599"


def test_a_slow_limit_tells_when_the_next_request_may_come():
    of = limits(key=RateSection(6, 60, 3))
    _, fields = told(of)
    assert fields["RateLimit-Policy"] == b'"key";q=3;w=30'
    assert fields["RateLimit"] == b'"key";r=2;t=10'
    _, fields = told(of, START + SECOND // 2)
    assert fields["RateLimit"] == b'"key";r=1;t=10'
    assert fields["X-RateLimit-Reset"] == b"20"


def test_a_refusal_names_the_limit_and_says_when():
    of = limits(**{"global": per_second(1000, 2000)}, key=RateSection(6, 60, 1))
    assert told(of)[0]
    admitted, until_full = take(of.buckets, START + SECOND)
    assert not admitted
    error = of.refusal(until_full)
    assert (error.cause.code, error.cause.status) == ("rate_limit_exceeded", 429)
    assert error.detail == "the limit of 6 requests a minute by this key is reached; wait 9 s"
    assert error.fields == ((b"Retry-After", b"9"),)
    fields = dict(of.fields(until_full))
    assert fields[b"RateLimit"] == b'"global";r=2000;t=0, "key";r=0;t=9'
    assert fields[b"X-RateLimit-Remaining"] == b"0"


def test_a_refusal_by_several_limits_names_each_and_waits_for_all():
    of = limits(key=RateSection(1, 60, 1), lease=RateSection(1, 3600, 1))
    assert told(of)[0]
    error = of.refusal(take(of.buckets, START)[1])
    assert error.detail == (
        "the limit of 1 request a minute by this key and that of 1 request an hour to this lease"
        " is reached; wait 3600 s"
    )
    assert error.fields == ((b"Retry-After", b"3600"),)


def test_a_bucket_that_another_limit_keeps_full_says_so():
    of = limits(key=RateSection(1, 60, 5), lease=per_second(1, 1))
    lease = of.buckets[1]
    take((lease,), START)
    admitted, fields = told(of)
    assert not admitted
    assert fields["RateLimit"] == b'"key";r=5;t=0, "lease";r=0;t=1'


@pytest.mark.parametrize(
    ("requests", "seconds", "words"),
    [
        (100.0, 1, "100 requests a second"),
        (0.5, 1, "0.5 requests a second"),
        (1.0, 60, "1 request a minute"),
        (250.0, 3600, "250 requests an hour"),
    ],
)
def test_limits_are_told_as_they_were_written(requests, seconds, words):
    assert Limit.of(RateSection(requests, seconds, 1)).words == words


def test_no_rate_is_no_limit():
    assert Limit.of(None) is None


sections = st.builds(
    RateSection,
    st.floats(0.001, 1e6),
    st.sampled_from([1, 60, 3600]),
    st.integers(1, 1000),
)


@given(
    st.dictionaries(st.sampled_from(["global", "key", "lease"]), sections, min_size=1),
    st.lists(st.integers(0, 5 * SECOND), max_size=40),
)
def test_what_is_told_holds(some_sections, pauses):
    """Never negative; the fields agree; who waits for Retry-After is not sent away too early."""
    of = limits(**some_sections)
    now = START
    for pause in pauses:
        now += pause
        admitted, until_full = take(of.buckets, now)
        fields = {name.decode(): value for name, value in of.fields(until_full)}
        policy, state = members(fields["RateLimit-Policy"]), members(fields["RateLimit"])
        assert list(policy) == list(state) == list(some_sections)
        for name, section in some_sections.items():
            assert policy[name]["q"] == section.burst
            assert policy[name]["w"] >= 1
            assert 0 <= state[name]["r"] <= section.burst
            assert state[name]["t"] >= (state[name]["r"] < section.burst)
        least = min(item["r"] for item in state.values())
        assert int(fields["X-RateLimit-Remaining"]) == least
        assert any(
            int(fields["X-RateLimit-Limit"]) == policy[name]["q"]
            for name, item in state.items()
            if item["r"] == least
        )
        assert int(fields["X-RateLimit-Reset"]) >= 1
        if admitted:
            continue
        error = of.refusal(until_full)
        ((name, value),) = error.fields
        assert name == b"Retry-After"
        after = int(value)
        for bucket, time, item in zip(of.buckets, until_full, state.values(), strict=True):
            wait = bucket.rate.wait(time)
            assert wait <= after * SECOND
            if wait:
                assert item == {"r": 0, "t": -(-wait // SECOND)}
                assert item["t"] <= after
        now += after * SECOND
        assert take(of.buckets, now)[0]
