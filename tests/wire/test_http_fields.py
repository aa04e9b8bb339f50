import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.wire.errors import WireError
from portal_gateway.wire.http_fields import (
    MAX_CONTENT_LENGTH,
    BadFraming,
    FieldNames,
    content_length,
    end_to_end,
    field_values,
    list_members,
    lists_trailers,
    parse_content_length,
    permitted_trailers,
    with_replaced,
)

NAMES = st.sampled_from([b"a", b"A", b"b", b"Ab", b"aB", b"abc", b""])
FIELDS = st.lists(st.tuples(NAMES, st.sampled_from([b"1", b"2"])), max_size=6)


@given(st.lists(NAMES), NAMES)
def test_a_set_of_names_knows_them_in_any_case(names: list[bytes], asked: bytes) -> None:
    lower_names = [name.lower() for name in names]
    assert (asked in FieldNames(lower_names)) == (asked.lower() in lower_names)


@given(FIELDS, FIELDS)
def test_fields_that_replace_others_of_their_names(
    headers: list[tuple[bytes, bytes]], fields: list[tuple[bytes, bytes]]
) -> None:
    taken = [name.lower() for name, _ in fields]
    kept = [field for field in headers if field[0].lower() not in taken]
    before = (list(headers), list(fields))
    assert with_replaced(headers, fields) == kept + fields
    assert (headers, fields) == before


def test_a_connection_field_that_names_thousands_takes_each_of_them_away() -> None:
    named = [b"x-%04d" % number for number in range(4000)]
    fields = [(b"Connection", b", ".join(named))]
    fields += [(b"X-%04d" % number, b"1") for number in range(3990, 4010)]
    assert [name for name, _ in end_to_end(fields)] == [b"X-%04d" % n for n in range(4000, 4010)]


def test_field_values_compares_names_in_lower_case_and_keeps_the_order() -> None:
    headers = [(b"A", b"1"), (b"b", b"2"), (b"a", b"3"), (b"A_", b"4")]
    assert field_values(headers, b"a") == [b"1", b"3"]
    assert field_values(headers, b"c") == []


def test_list_members() -> None:
    assert list_members([b"A, b ,,", b"", b"\tC"]) == [b"a", b"b", b"c"]
    assert list_members([]) == []


@pytest.mark.parametrize(
    ("value", "length"),
    [
        (b"0", 0),
        (b"00", 0),
        (b"42", 42),
        (b"0" * 5000, 0),
        (b"0" * 5000 + b"7", 7),
        (b"9223372036854775807", MAX_CONTENT_LENGTH),
        (b"0009223372036854775807", MAX_CONTENT_LENGTH),
    ],
)
def test_lengths(value: bytes, length: int) -> None:
    assert parse_content_length(value) == length


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" 1",
        b"1 ",
        b"+1",
        b"-1",
        b"1,1",
        b"0x1",
        b"1_0",
        b"1.0",
        b"1e3",
        "١".encode(),
        b"\xb2",
        b"9223372036854775808",
        b"18446744073709551617",
        b"9" * 5000,
    ],
)
def test_what_is_no_length(value: bytes) -> None:
    with pytest.raises(BadFraming) as caught:
        parse_content_length(value)
    assert isinstance(caught.value, WireError)


@settings(deadline=None)
@given(st.integers(0, 2**70))
def test_any_number(number: int) -> None:
    digits = b"%d" % number
    if number <= MAX_CONTENT_LENGTH:
        assert parse_content_length(digits) == number
    else:
        with pytest.raises(BadFraming):
            parse_content_length(digits)


def test_content_length_of_a_header() -> None:
    assert content_length([]) is None
    assert content_length([(b"content-LENGTH", b"3"), (b"A", b"b")]) == 3
    for repeated in ([(b"Content-Length", b"3")] * 2, [(b"Content-Length", b"3, 3")]):
        with pytest.raises(BadFraming):
            content_length(repeated)


def test_hop_by_hop_fields_go_and_the_others_stay_as_they_are() -> None:
    headers = [
        (b"HOST", b"h"),
        (b"Connection", b"keep-alive, X-Named"),
        (b"x-NAMED", b"1"),
        (b"X-Named-Too", b"2"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Connection", b"x"),
        (b"Proxy-Authorization", b"x"),
        (b"Proxy-Authenticate", b"x"),
        (b"TE", b"trailers"),
        (b"Trailer", b"X-Sum"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Content-Length", b"5"),
        (b"Upgrade", b"websocket"),
        (b"Set-Cookie", b"a"),
        (b"Set-Cookie", b"b"),
    ]
    assert end_to_end(headers) == [
        (b"HOST", b"h"),
        (b"X-Named-Too", b"2"),
        (b"Trailer", b"X-Sum"),
        (b"Set-Cookie", b"a"),
        (b"Set-Cookie", b"b"),
    ]


def test_every_connection_field_counts() -> None:
    headers = [(b"Connection", b"a"), (b"A", b"1"), (b"connection", b"b"), (b"B", b"2")]
    assert end_to_end(headers) == []


def test_connection_cannot_take_the_host_away() -> None:
    assert end_to_end([(b"Connection", b"Host"), (b"Host", b"h")]) == [(b"Host", b"h")]


def test_te_trailers() -> None:
    passed_on = [(b"TE", b"trailers"), (b"Connection", b"TE")]
    listed = [(b"TE", b"gzip;q=0.5"), (b"te", b"deflate, Trailers"), (b"Connection", b"TE")]
    assert end_to_end(listed, keep_te_trailers=True) == passed_on
    assert end_to_end(listed) == []
    assert end_to_end([(b"TE", b"gzip")], keep_te_trailers=True) == []
    assert lists_trailers([b"trailers"])
    assert not lists_trailers([b"trailers;q=1"])


def test_trailers_that_could_mean_something_else_are_dropped() -> None:
    kept = [(b"X-Sum", b"1"), (b"Server-Timing", b"a"), (b"ETag", b'"e"')]
    dropped = [
        (name, b"x")
        for name in (
            b"Transfer-Encoding", b"content-length", b"HOST", b"Connection", b"Authorization",
            b"X-Api-Key", b"Cookie", b"Set-Cookie", b"Content-Type", b"Content-Encoding",
            b"X-Forwarded-For", b"Forwarded", b"Cache-Control", b"Trailer", b"Upgrade", b"TE",
        )
    ]  # fmt: skip
    assert permitted_trailers([*dropped, *kept, *dropped]) == kept
