"""How many failed attempts an address may make."""

import pytest

from portal_gateway.config.rate_limits import RateLimitSection, RateSection
from portal_gateway.policy.failed_attempts import FailedAttempts
from portal_gateway.policy.rate_limits import Tables
from portal_gateway.policy.token_bucket import SECOND, BucketTable

START = 3_000 * SECOND


def attempts(burst=3):
    return FailedAttempts(RateSection(1, 1, burst), BucketTable())


def refused(some, address, now=START, most=50):
    """How many attempts pass before one is refused."""
    return next(n for n in range(most) if some.refusal(address, now) is not None)


def test_an_address_has_its_burst_and_then_its_rate():
    some = attempts()
    assert refused(some, "192.0.2.1") == 3
    assert refused(some, "192.0.2.1", START + SECOND) == 1
    assert refused(some, "192.0.2.2") == 3


def test_whether_a_network_is_over_is_told_without_an_attempt():
    some = attempts()
    for number in range(5):
        assert some.is_over("2001:db8::/64", START) == (number >= 3)
        some.refusal(f"2001:db8::{number}", START)
    assert not some.is_over("2001:db8:0:1::/64", START)
    assert not some.is_over("2001:db8::/64", START + SECOND)


def test_the_refusal_says_what_it_is_for_and_how_long():
    some = attempts()
    assert refused(some, "192.0.2.1") == 3
    error = some.refusal("192.0.2.1", START)
    assert error.cause.code == "rate_limit_exceeded"
    assert error.detail == (
        "the limit of 1 request a second without a valid credential from this address is reached;"
        " wait 1 s"
    )
    assert dict(error.fields) == {
        b"Retry-After": b"1",
        b"RateLimit-Policy": b'"failed-auth";q=3;w=3',
        b"RateLimit": b'"failed-auth";r=0;t=1',
        b"X-RateLimit-Limit": b"3",
        b"X-RateLimit-Remaining": b"0",
        b"X-RateLimit-Reset": b"3",
    }


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8:0:0:aaaa::1", "2001:db8:0:0:bbbb::1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
        ("not:an:address", "not:another", False),
    ],
)
def test_an_ipv6_network_is_one_client(one, other, same):
    some = attempts()
    assert refused(some, one) == 3
    assert refused(some, other) == (0 if same else 3)


def test_a_flood_of_addresses_is_bounded():
    """And costs the one that goes on no more than it had."""
    tables = Tables()
    some = FailedAttempts(RateLimitSection().failed_auth, tables.addresses)
    for n in range(120_000):
        some.refusal(f"2001:db8:{n >> 16:x}:{n & 0xFFFF:x}::1", START)
    assert len(tables) == 100_000
    assert tables.forgotten == 20_000
