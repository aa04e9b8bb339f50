import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.wire.jwt_parsing import (
    MAX_TOKEN_LENGTH,
    BadToken,
    Token,
    read_json_object,
    read_token,
)
from tests.wire.jwt_world import claims, forged, segment, token


def test_a_token_is_cut_into_its_parts():
    made = token(header={"kid": "k1"})
    signed, _, signature = made.rpartition(b".")
    read = read_token(made)
    assert read.algorithm == "HS256"
    assert read.key_name == "k1"
    assert read.signed == signed
    assert json.loads(read.payload) == claims()
    assert segment(read.signature) == signature


def test_what_has_no_kid_names_no_key():
    assert read_token(token()).key_name is None


@pytest.mark.parametrize(
    "credential",
    [
        b"",
        b"sk_live_abc123",
        b"sk.live.abc123",
        b"a.b",
        b"a.b.c.d.e",
        b"..",
        segment({"alg": "HS256"}) + b"..x",
        segment(["alg"]) + b".e30.e30",
        segment({"typ": "JWT"}) + b".e30.e30",
        segment(b'{"alg": "HS256", "alg": "HS256"}') + b".e30.e30",
        segment(b'{"alg": NaN}') + b".e30.e30",
        segment(b"\xff") + b".e30.e30",
        b"=" + token(),
        token() + b"=",
        token() + b"\n",
        b" " + token(),
        token().replace(b".", b". ", 1),
    ],
)
def test_what_does_not_look_like_a_token_is_something_else(credential):
    assert read_token(credential) is None


def test_an_unsigned_token_looks_like_one():
    assert read_token(forged({"alg": "none"})).signature == b""


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "crit"])
@pytest.mark.parametrize("value", ["https://127.0.0.1/", None, [], {}, False])
def test_a_header_that_brings_a_key_or_an_extension_is_refused(name, value):
    with pytest.raises(BadToken, match=f"has {name}"):
        read_token(forged({"alg": "HS256", name: value}))


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt", None])
def test_types_of_access_tokens(kind):
    header = {"alg": "HS256"} if kind is None else {"alg": "HS256", "typ": kind}
    assert read_token(forged(header)) is not None


@pytest.mark.parametrize(
    "header", [{"typ": "logout+jwt"}, {"typ": ""}, {"typ": 1}, {"typ": ["JWT"]}, {"cty": "JWT"}]
)
def test_other_types_are_refused(header):
    with pytest.raises(BadToken, match="no access token"):
        read_token(forged({"alg": "HS256", **header}))


@pytest.mark.parametrize("kid", [1, ["a"], {}, True, "k" * 257])
def test_a_kid_that_is_no_name_is_refused(kid):
    with pytest.raises(BadToken, match="kid"):
        read_token(forged({"alg": "HS256", "kid": kid}))


@pytest.mark.parametrize("index", [1, 2])
@pytest.mark.parametrize("bad", [b"A", b"AAAAA", b"QR", b"QUJD=", b"Q==="])
def test_a_segment_that_is_not_base64url_in_its_one_form_is_refused(index, bad):
    parts = token().split(b".")
    parts[index] = bad
    try:
        read = read_token(b".".join(parts))
    except BadToken:
        return
    assert read is None


@pytest.mark.parametrize("depth", [100, 1000, 3000])
def test_nesting_does_no_harm(depth):
    deep = b"[" * depth + b"]" * depth
    header = segment(b'{"alg":"HS256","x":' + deep + b"}")
    assert len(header) < MAX_TOKEN_LENGTH
    read = read_token(header + b".e30.e30")
    assert read is None or read.algorithm == "HS256"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'"x"',
        b"{",
        b"{} {}",
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b"\xff\xfe{}",
        "{}".encode("utf-16"),
        b"{'a':1}",
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object_in_one_reading(data):
    with pytest.raises(BadToken, match="JSON"):
        read_json_object(data)


@given(
    st.dictionaries(
        st.text(max_size=10),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=10),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=5,
    )
)
def test_json_objects_are_read(value):
    assert read_json_object(json.dumps(value).encode()) == value


@given(st.binary(max_size=200) | st.from_regex(rb"[A-Za-z0-9_.=-]{0,200}", fullmatch=True))
def test_anything_is_read_or_refused(data):
    try:
        read = read_token(data)
    except BadToken:
        return
    assert read is None or isinstance(read, Token)
