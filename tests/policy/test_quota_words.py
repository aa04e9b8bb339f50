import json

import pytest

from portal_gateway.policy.quota_counts import Account, comes_to_its_end
from portal_gateway.policy.quota_words import quota_members, quota_refusal, warning_fields
from portal_gateway.policy.quotas import Quota

NOON = 1_795_608_000.0  # 2026-11-25T12:00:00Z


def current(quotas, requests=0, size=0, now=NOON):
    account = Account("key_a")
    account.bring_up(quotas, now)
    for _, count in account.current:
        count.requests = requests
        count.bytes = size
    return account.current


BOTH = (Quota("daily", 1000, None), Quota("monthly", 10_000, 10**10))


@pytest.mark.parametrize(
    ("quotas", "requests", "size", "detail", "wait"),
    [
        (
            (Quota("daily", 1, None),),
            1,
            0,
            "the daily quota of 1 request is used up; it begins anew at 2026-11-26T00:00:00Z",
            43_200,
        ),
        (
            (Quota("monthly", None, 10**10),),
            0,
            10**10 + 5,
            (
                "the monthly quota of 10GB of bandwidth is used up;"
                " it begins anew at 2026-12-01T00:00:00Z"
            ),
            475_200,
        ),
        (
            BOTH,
            1000,
            10**10,
            (
                "the daily quota of 1000 requests and the monthly quota of 10GB of bandwidth are"
                " used up; it begins anew at 2026-12-01T00:00:00Z"
            ),
            475_200,
        ),
    ],
)
def test_a_refusal_says_what_is_used_up_and_when_it_begins_anew(
    quotas, requests, size, detail, wait
):
    error = quota_refusal(current(quotas, requests, size), NOON)
    assert (error.cause.code, error.cause.status) == ("quota_exceeded", 429)
    assert error.detail == detail
    assert error.fields == ((b"Retry-After", b"%d" % wait),)


@pytest.mark.parametrize(("before", "wait"), [(0.2, b"1"), (1.0, b"1"), (1.5, b"2")])
def test_retry_after_is_whole_seconds_and_never_too_early(before, wait):
    now = 1_796_083_200.0 - before
    error = quota_refusal(current((Quota("monthly", 1, None),), 1, now=now), now)
    assert error.fields == ((b"Retry-After", wait),)


def test_a_warning_names_what_comes_to_its_end_and_all_that_is_left():
    fields = dict(warning_fields(current(BOTH, 830, 10**9), NOON))
    assert fields == {
        b"X-Quota-Warning": b"daily requests 83% used, anew at 2026-11-26T00:00:00Z",
        b"RateLimit-Policy": b'"daily-requests";q=1000, "monthly-requests";q=10000,'
        b' "monthly-bandwidth";q=10000000000;qu="content-bytes"',
        b"RateLimit": b'"daily-requests";r=170;t=43200, "monthly-requests";r=9170;t=475200,'
        b' "monthly-bandwidth";r=9000000000;t=475200',
    }


def test_what_is_over_is_not_less_than_nothing():
    fields = dict(warning_fields(current((Quota("daily", None, 100),), 0, 250), NOON))
    assert fields[b"X-Quota-Warning"] == (
        b"daily bandwidth 250% used, anew at 2026-11-26T00:00:00Z"
    )
    assert fields[b"RateLimit"] == b'"daily-bandwidth";r=0;t=43200'


def test_members_of_json():
    members = list(quota_members(current(BOTH, 830, 10**9)))
    assert json.loads(json.dumps(members)) == [
        {
            "period": "daily",
            "span": "2026-11-25",
            "resets_at": "2026-11-26T00:00:00Z",
            "requests": {"limit": 1000, "used": 830, "remaining": 170},
        },
        {
            "period": "monthly",
            "span": "2026-11",
            "resets_at": "2026-12-01T00:00:00Z",
            "requests": {"limit": 10_000, "used": 830, "remaining": 9170},
            "bandwidth": {"limit": 10**10, "used": 10**9, "remaining": 9 * 10**9},
        },
    ]


@pytest.mark.parametrize(
    ("requests", "size", "warns"), [(79, 0, False), (80, 0, True), (0, 799, False), (0, 800, True)]
)
def test_warnings_begin_at_80_percent(requests, size, warns):
    account = Account("key_a")
    account.bring_up((Quota("daily", 100, 1000),), NOON)
    ((_, count),) = account.current
    count.requests, count.bytes = requests, size
    assert comes_to_its_end(account.current) == warns
