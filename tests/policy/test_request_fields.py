"""The fields of a request that no guard and no lease gets to see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.errors import GatewayError
from portal_gateway.policy.request_fields import are_harmless, without_claims, without_underscores

PLAIN = [b"Host", b"Accept", b"X-API-Key", b"Authorization", b"X-HTTP-Method-Override", b"Cookie"]

ODD = [b"a_b", b"X_Real_IP", b"x.y", b"x~y", b"_", b"a!"]

ALWAYS = [b"X-Forwarded-For", b"Forwarded", b"X-Real-IP", b"X-Forwarded-Prefix", b"Proxy"]

STRANGERS = [
    b"X-Forwarded-User",
    b"CF-Connecting-IP",
    b"X-Original-URL",
    b"Remote-User",
    b"X-Forwarded",
    b"X-Client-IP",
    b"True-Client-IP",
    b"X-Rewrite-URL",
]


def index(*names: bytes) -> dict[bytes, bytes]:
    return {name.lower(): b"1" for name in names}


def pairs(*names: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, b"1") for name in names]


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("name", [*ODD, *ALWAYS, *STRANGERS])
def test_a_request_with_one_of_them_is_looked_at(name: bytes, twice: bool) -> None:
    for _ in range(1 + twice):
        assert not are_harmless(index(*PLAIN, name))
        assert are_harmless(index(*PLAIN))


def test_no_fields() -> None:
    assert are_harmless({})


def test_names_that_are_too_many_or_too_long_to_remember_are_judged_all_the_same() -> None:
    for number in range(5000):
        name = b"x-%d" % number
        assert are_harmless({name: b""})
        assert not are_harmless({name + b"_": b""})
    long = b"a" * 1000
    assert are_harmless({long: b""})
    assert not are_harmless({long + b"_": b""})


@given(st.lists(st.sampled_from([*PLAIN, *ODD])))
def test_odd_names_by_each_rule(names: list[bytes]) -> None:
    fields = pairs(*names)
    plain = [field for field in fields if field[0] in PLAIN]
    assert without_underscores(fields, "drop") == plain
    assert without_underscores(fields, "pass") == fields
    refused = without_underscores(fields, "refuse")
    if plain == fields:
        assert refused == fields
    else:
        assert isinstance(refused, GatewayError)
        assert (refused.cause.code, refused.cause.status) == ("ambiguous_field", 400)
        assert not any(name.decode() in refused.detail for name in names if name in ODD[1:2])


def test_claims() -> None:
    fields = pairs(*PLAIN, *ALWAYS, *STRANGERS)
    assert without_claims(fields, trusted=False) == pairs(*PLAIN)
    assert without_claims(fields, trusted=True) == pairs(*PLAIN, *STRANGERS)
    upper = [(name.upper(), value) for name, value in fields]
    assert without_claims(upper, trusted=False) == [
        (name.upper(), value) for name, value in pairs(*PLAIN)
    ]
