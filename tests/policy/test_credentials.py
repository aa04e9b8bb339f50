import base64
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.config.model import ApiKey, key_digest
from portal_gateway.errors import ClientFault
from portal_gateway.exchange import Caller
from portal_gateway.policy.credentials import KeyTable, strip_credentials

KEY = b"sk_live_abc123..."
OTHER = b"sk_live_xyz789"
EXPIRED = b"sk_live_expired"
ODD = b"sk,live{odd}"

UNTIL = datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)
NOW = UNTIL.timestamp() + 1

BASIC = b"Basic " + base64.b64encode(b"user:password")

TABLE = KeyTable(
    [
        ApiKey.of(KEY.decode(), id="one", description="The first", scopes=["read"]),
        ApiKey.of(OTHER.decode(), id="two"),
        ApiKey.of(EXPIRED.decode(), id="old", expires_at=UNTIL),
        ApiKey.of(ODD.decode(), id="odd"),
    ]
)

CHALLENGE = 'Bearer realm="portal-gateway"'


def key_header(value: bytes, name: bytes = b"X-API-Key"):
    return (name, value)


def authorization(value: bytes, name: bytes = b"Authorization"):
    return (name, value)


def code(headers, now: float = NOW) -> str:
    """The id of the caller, or the code of the refusal."""
    answer = TABLE.authenticate(headers, now)
    return answer.key_id if isinstance(answer, Caller) else answer.cause.code


MISSING = "missing_api_key"
INVALID = "invalid_api_key"
AMBIGUOUS = "ambiguous_credentials"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        # One credential.
        ([key_header(KEY)], "one"),
        ([authorization(b"Bearer " + KEY)], "one"),
        ([(b"Host", b"a"), key_header(OTHER), (b"Accept", b"*/*")], "two"),
        ([key_header(ODD)], "odd"),
        # Names of fields and schemes have no case.
        ([key_header(KEY, b"x-api-key")], "one"),
        ([key_header(KEY, b"X-aPi-KeY")], "one"),
        ([authorization(b"bearer " + KEY, b"authorization")], "one"),
        ([authorization(b"BEARER " + KEY, b"AUTHORIZATION")], "one"),
        # A key has.
        ([key_header(KEY.upper())], INVALID),
        # White space around a value is not part of it (RFC 9110 section 5.5).
        ([key_header(b" \t" + KEY + b"\t ")], "one"),
        ([authorization(b" Bearer " + KEY + b" \t")], "one"),
        # Any number of spaces may follow a scheme (RFC 9110 section 11.4), but no tab.
        ([authorization(b"Bearer    " + KEY)], "one"),
        ([authorization(b"Bearer\t" + KEY)], INVALID),
        ([authorization(b"Bearer \t" + KEY)], INVALID),
        # None.
        ([], MISSING),
        ([(b"Host", b"a"), (b"Accept", b"*/*")], MISSING),
        ([authorization(b"")], MISSING),
        ([authorization(BASIC)], MISSING),
        ([authorization(b"BearerX " + KEY)], MISSING),
        ([authorization(b"Bearer-x " + KEY)], MISSING),
        ([authorization(KEY)], MISSING),
        ([authorization(b"ApiKey " + KEY)], MISSING),
        # Where no credential is looked for.
        ([key_header(KEY, b"X_API_Key")], MISSING),
        ([key_header(KEY, b"X-API-Key ")], MISSING),
        ([key_header(KEY, b"X-APIKey")], MISSING),
        ([key_header(KEY, b"XXAPI-Key")], MISSING),
        ([(b"Cookie", b"X-API-Key=" + KEY)], MISSING),
        ([(b"Proxy-Authorization", b"Bearer " + KEY)], MISSING),
        ([(b"api-key", KEY)], MISSING),
        # Not a key of ours.
        ([key_header(b"sk_live_unknown")], INVALID),
        ([key_header(KEY[:-1])], INVALID),
        ([key_header(KEY + b".")], INVALID),
        ([key_header(b"")], INVALID),
        ([key_header(b" ")], INVALID),
        ([authorization(b"Bearer")], INVALID),
        ([authorization(b"Bearer ")], INVALID),
        ([key_header(b"Bearer " + KEY)], INVALID),
        # Characters that no key has.
        ([key_header(KEY + b"\0")], INVALID),
        ([key_header(b"\0" + KEY)], INVALID),
        ([key_header("sk_live_äbc".encode())], INVALID),
        ([key_header(b"\xff\xfe")], INVALID),
        ([key_header(KEY + b"\r\nX-Evil: 1")], INVALID),
        ([authorization(b"Bearer " + KEY + b"\0")], INVALID),
        ([authorization("Bearer sk_live_äbc".encode())], INVALID),
        ([authorization(b"Bearer " + "ſk_live".encode())], INVALID),
        # More than one token, or lists.
        ([key_header(KEY + b", " + KEY)], INVALID),
        ([key_header(KEY + b"," + KEY)], INVALID),
        ([authorization(b"Bearer " + KEY + b" " + KEY)], INVALID),
        ([authorization(b"Bearer " + KEY + b", " + KEY)], INVALID),
        ([authorization(b"Bearer " + KEY + b", " + BASIC)], INVALID),
        ([authorization(b"Bearer," + KEY)], INVALID),
        ([authorization(b'Bearer key="' + KEY + b'"')], INVALID),
        ([authorization(b"Bearer " + ODD)], INVALID),
        # Sizes.
        ([key_header(b"k" * 512)], INVALID),
        ([key_header(b"k" * 513)], INVALID),
        ([key_header(b"k" * 100_000)], INVALID),
        ([authorization(b"Bearer " + b"k" * 100_000)], INVALID),
        ([authorization(b"Bearer" + b" " * 100_000 + KEY)], INVALID),
        # Two that agree.
        ([key_header(KEY), authorization(b"Bearer " + KEY)], "one"),
        ([authorization(b"Bearer " + KEY), key_header(KEY)], "one"),
        ([key_header(KEY), key_header(KEY)], "one"),
        ([key_header(KEY), key_header(b" " + KEY)], "one"),
        ([authorization(b"Bearer " + KEY), authorization(b"Bearer " + KEY)], "one"),
        ([key_header(b"unknown"), authorization(b"Bearer unknown")], INVALID),
        # Two that do not.
        ([key_header(KEY), authorization(b"Bearer " + OTHER)], AMBIGUOUS),
        ([key_header(KEY), authorization(b"Bearer unknown")], AMBIGUOUS),
        ([key_header(b"unknown"), authorization(b"Bearer " + KEY)], AMBIGUOUS),
        ([key_header(KEY), authorization(b"Bearer")], AMBIGUOUS),
        ([key_header(KEY), authorization(b"Bearer\t" + OTHER)], AMBIGUOUS),
        ([key_header(b""), authorization(b"Bearer " + KEY)], AMBIGUOUS),
        ([key_header(KEY), key_header(OTHER)], AMBIGUOUS),
        ([key_header(KEY), key_header(b"")], AMBIGUOUS),
        ([key_header(KEY), key_header(OTHER, b"x-api-key")], AMBIGUOUS),
        ([authorization(b"Bearer " + KEY), authorization(b"Bearer " + OTHER)], AMBIGUOUS),
        ([authorization(b"Bearer " + KEY), authorization(BASIC)], AMBIGUOUS),
        ([authorization(BASIC), authorization(b"Bearer " + KEY)], AMBIGUOUS),
        # Another scheme is the lease's business.
        ([key_header(KEY), authorization(BASIC)], "one"),
        ([authorization(b"Digest username=a"), key_header(KEY)], "one"),
        ([key_header(KEY), authorization(b"")], "one"),
        ([key_header(KEY), authorization(b"BearerX token")], "one"),
    ],
)
def test_who_is_calling(headers, expected):
    assert code(headers) == expected


def test_a_caller_is_known_by_the_id_and_not_the_key():
    assert TABLE.authenticate([key_header(KEY)], NOW) == Caller(
        "one", frozenset({"read"}), "The first", digest=key_digest(KEY)
    )


def refusal(headers, now=NOW):
    error = TABLE.authenticate(headers, now)
    assert isinstance(error, ClientFault)
    return error


@pytest.mark.parametrize(
    ("headers", "status", "detail", "challenge"),
    [
        (
            [],
            401,
            "send an API key as X-API-Key, or as Authorization: Bearer",
            # RFC 6750 section 3.1: without a credential, no error code.
            CHALLENGE,
        ),
        (
            [key_header(b"unknown")],
            401,
            "the API key is not one that this gateway knows",
            f'{CHALLENGE}, error="invalid_token", error_description="The API key is not valid"',
        ),
        (
            [key_header(EXPIRED)],
            401,
            "the API key expired at 2025-12-31T23:59:59Z",
            (
                f'{CHALLENGE}, error="invalid_token",'
                ' error_description="The API key expired at 2025-12-31T23:59:59Z"'
            ),
        ),
        (
            [key_header(KEY), key_header(OTHER)],
            400,
            "X-API-Key was sent twice, with different values",
            (
                f'{CHALLENGE}, error="invalid_request",'
                ' error_description="Two different credentials were sent"'
            ),
        ),
        (
            [authorization(BASIC), authorization(b"Basic other")],
            400,
            "Authorization was sent twice, with different values",
            (
                f'{CHALLENGE}, error="invalid_request",'
                ' error_description="Two different credentials were sent"'
            ),
        ),
        (
            [key_header(KEY), authorization(b"Bearer " + OTHER)],
            400,
            "X-API-Key and Authorization: Bearer carry different keys",
            (
                f'{CHALLENGE}, error="invalid_request",'
                ' error_description="Two different credentials were sent"'
            ),
        ),
    ],
)
def test_a_refusal_says_why_and_how_to_do_it(headers, status, detail, challenge):
    error = refusal(headers)
    assert error.cause.status == status
    assert error.detail == detail
    assert error.fields == ((b"WWW-Authenticate", challenge.encode()),)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-1, "old"), (-0.001, "old"), (0, "expired_api_key"), (1, None)]
)
def test_a_key_is_refused_from_the_moment_on_that_it_expires(seconds, expected):
    now = UNTIL.timestamp() + seconds
    assert code([key_header(EXPIRED)], now) == (expected or "expired_api_key")


def test_the_moment_is_told_in_utc_whatever_the_offset():
    until = datetime(2026, 1, 1, 0, 59, 59, 500_000, tzinfo=timezone(timedelta(hours=1)))
    table = KeyTable([ApiKey.of("sk_live_offset", expires_at=until)])
    answer = table.authenticate([key_header(b"sk_live_offset")], NOW)
    assert answer.detail == "the API key expired at 2025-12-31T23:59:59.500000Z"


def test_every_refusal_is_an_error_of_its_own():
    first, second = refusal([key_header(EXPIRED)]), refusal([key_header(EXPIRED)])
    assert first is not second


def test_a_table_without_keys_refuses_everything():
    table = KeyTable([])
    assert len(table) == 0
    assert table.authenticate([key_header(KEY)], NOW).cause.code == INVALID
    assert table.authenticate([], NOW).cause.code == MISSING


def test_neither_table_nor_refusal_shows_a_key():
    assert len(TABLE) == 4
    assert "sk_live" not in repr(TABLE)
    error = refusal([key_header(b"sk_live_unknown")])
    assert "sk_live" not in repr(error) + str(error) + repr(error.fields)


LEASE = [(b"Host", b"a"), (b"Cookie", b"X-API-Key=" + KEY), (b"X_API_Key", b"x")]


@pytest.mark.parametrize(
    ("credentials", "left"),
    [
        ([key_header(KEY)], []),
        ([key_header(KEY, b"x-api-KEY"), key_header(KEY)], []),
        ([authorization(b"Bearer " + KEY)], []),
        ([authorization(b" bearer   " + KEY, b"authorization")], []),
        ([authorization(b"Bearer\t" + KEY)], []),
        ([authorization(b"Bearer")], []),
        ([key_header(KEY), authorization(b"Bearer " + KEY)], []),
        ([key_header(KEY), authorization(BASIC)], [authorization(BASIC)]),
        ([key_header(KEY), authorization(b"")], [authorization(b"")]),
        ([key_header(KEY), authorization(b"BearerX a")], [authorization(b"BearerX a")]),
    ],
)
def test_the_lease_does_not_see_the_credential(credentials, left):
    assert strip_credentials([*credentials, *LEASE]) == [*left, *LEASE]
    assert strip_credentials([*LEASE, *credentials]) == [*LEASE, *left]


def test_the_fields_that_came_are_left_as_they_are():
    headers = [key_header(KEY), *LEASE]
    strip_credentials(headers)
    assert headers == [key_header(KEY), *LEASE]


names = st.sampled_from(
    [b"X-API-Key", b"x-api-key", b"X_API_Key", b"Authorization", b"AUTHORIZATION", b"Cookie"]
)
values = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([KEY, OTHER, EXPIRED, b"Bearer", b"", BASIC]),
    st.builds(
        lambda scheme, space, key: scheme + space + key,
        st.sampled_from([b"Bearer", b"bearer", b"Basic", b"BearerX"]),
        st.sampled_from([b" ", b"  ", b"\t", b"", b","]),
        st.sampled_from([KEY, OTHER, EXPIRED, b"unknown", b""]),
    ),
)


@given(st.lists(st.tuples(names, values), max_size=4))
def test_whatever_is_sent_the_answer_is_one_of_these_and_nothing_leaks(headers):
    answer = TABLE.authenticate(headers, NOW)
    if isinstance(answer, Caller):
        stripped = strip_credentials(headers)
        # No field that a credential can come in still has one.
        assert TABLE.authenticate(stripped, NOW).cause.code == MISSING
        for name, value in stripped:
            assert (name, value) in headers
            assert name.lower() != b"x-api-key"
    else:
        assert answer.cause.status in {400, 401}
        assert answer.fields
        assert KEY.decode() not in answer.detail


@given(st.lists(st.tuples(names, values), max_size=4))
def test_the_order_of_fields_makes_no_difference(headers):
    assert code(headers) == code(list(reversed(headers)))


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=512))
def test_every_key_that_can_be_configured_is_accepted_as_x_api_key(key):
    table = KeyTable([ApiKey.of(key, id="it")])
    assert table.authenticate([key_header(key.encode())], NOW).key_id == "it"
