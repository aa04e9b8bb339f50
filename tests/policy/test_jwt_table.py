"""Tokens, good and forged, before the table that judges them."""

import json
import time

import pytest

from portal_gateway.config.jwt_tokens import JWTClaims, JWTSection
from portal_gateway.errors import GatewayError
from portal_gateway.exchange import Caller
from portal_gateway.policy import jwt_table
from portal_gateway.policy.jwt_table import KeyWanted, TokenTable
from portal_gateway.wire.jwt_keys import KeySet
from portal_gateway.wire.jwt_parsing import MAX_TOKEN_LENGTH
from tests.wire.jwt_world import (
    ALGORITHMS,
    NOW,
    SECRET,
    claims,
    forged,
    hmac_by,
    jwk,
    key_set,
    private_key,
    public_pem,
    segment,
    token,
)

PUBLISHED = ("RS256", "ES256", "EdDSA")


def section(algorithm="HS256", **more):
    return JWTSection(algorithm=algorithm, claims=JWTClaims(**more))


def table(algorithm="HS256", **more):
    key = SECRET.encode() if algorithm == "HS256" else public_pem(algorithm)
    return TokenTable(section(algorithm, **more), KeySet.of(algorithm, key))


def refused(found, code="invalid_token"):
    assert isinstance(found, GatewayError), found
    assert (found.cause.code, found.cause.status) == (code, 401)
    ((name, challenge),) = found.fields
    assert name == b"WWW-Authenticate"
    start = b'Bearer realm="portal-gateway", error="invalid_token", error_description="The '
    assert challenge.startswith(start)
    return found.detail


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_good_tokens_are_those_of_their_holders(algorithm):
    found = table(algorithm).look_up(token(algorithm), NOW)
    assert found == Caller("jwt:alice", frozenset({"read", "write"}), source="jwt")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("other", ALGORITHMS)
def test_only_the_algorithm_of_the_configuration_is_taken(algorithm, other):
    found = table(algorithm).look_up(token(other), NOW)
    if algorithm == other:
        assert isinstance(found, Caller)
    else:
        assert "algorithm" in refused(found)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", ["none", "None", "nOnE", "NONE", "", None, [], {}, 0, "HS512"])
def test_no_other_algorithm_by_whatever_name(algorithm, name):
    judge = table(algorithm)
    signed = forged({"alg": name}, sign=hmac_by(SECRET.encode()))
    assert "algorithm" in refused(judge.look_up(signed, NOW))
    unsigned = forged({"alg": name})
    assert "algorithm" in refused(judge.look_up(unsigned, NOW))


@pytest.mark.parametrize("algorithm", PUBLISHED)
@pytest.mark.parametrize("claimed", ["HS256", "algorithm"])
@pytest.mark.parametrize("form", ["pem", "stripped pem", "jwk", "der"])
def test_a_public_key_is_never_a_secret(algorithm, claimed, form):
    pem = public_pem(algorithm)
    lines = pem.splitlines()
    material = {
        "pem": pem,
        "stripped pem": pem.strip(),
        "jwk": json.dumps(jwk(algorithm)).encode(),
        "der": b"".join(lines[1:-1]),
    }[form]
    header = {"alg": algorithm if claimed == "algorithm" else claimed}
    found = table(algorithm).look_up(forged(header, sign=hmac_by(material)), NOW)
    assert refused(found)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_key_is_not_the_issuers(algorithm):
    other = "another secret of 32 bytes and more" if algorithm == "HS256" else None
    found = table(algorithm).look_up(token(algorithm, other, which=1), NOW)
    assert "signature" in refused(found)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_holds_for_all_of_the_token_and_is_whole(algorithm):
    judge = table(algorithm)
    good = token(algorithm)
    header, payload, signature = good.split(b".")
    zero = segment(b"\0" * 64)
    for bad in (
        b".".join([header, segment(claims(sub="admin")), signature]),
        b".".join([segment({"alg": algorithm, "x": 1}), payload, signature]),
        b".".join([header, payload, b""]),
        b".".join([header, payload, signature[:-4]]),
        b".".join([header, payload, signature + b"AAAA"]),
        b".".join([header, payload, zero]),
        b".".join([header, payload, payload]),
    ):
        assert refused(judge.look_up(bad, NOW))
    assert isinstance(judge.look_up(good, NOW), Caller)


@pytest.mark.parametrize("end", [b"=", b"==", b" ", b"\n", b"\0", b".", b"%3D", b"+", b"/"])
def test_a_token_with_something_behind_it_is_none(end):
    judge = table()
    found = judge.look_up(token() + end, NOW)
    assert found is None or isinstance(found, GatewayError)


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "crit"])
def test_headers_that_bring_keys_are_refused_with_a_good_signature(name):
    found = table().look_up(token(header={name: ["exp"]}), NOW)
    assert name in refused(found)


@pytest.mark.parametrize(
    "kid", ["../../etc/passwd", "' OR 1=1 --", "https://127.0.0.1/key", "", "\0", "a" * 256]
)
def test_a_kid_is_looked_up_and_nothing_else(kid):
    """With one configured key it means nothing, with published ones it is a name."""
    assert isinstance(table().look_up(token(header={"kid": kid}), NOW), Caller)
    keys = KeySet.published("ES256", key_set(jwk("ES256", "a"), jwk("ES256", "b", 1)))
    found = TokenTable(section("ES256"), keys).look_up(token("ES256", header={"kid": kid}), NOW)
    assert found == KeyWanted(kid, any_known=True)
    assert "no known key" in refused(found.refusal)


def test_a_good_signature_is_not_enough():
    judge = table(issuer="your-company.com", audience="portal-gateway")
    good = {"iss": "your-company.com", "aud": "portal-gateway"}
    assert isinstance(judge.look_up(token(**good), NOW), Caller)
    refused(judge.look_up(token(**good, exp=NOW - 31), NOW), "expired_token")
    assert "issuer" in refused(judge.look_up(token(aud="portal-gateway"), NOW))
    assert "audience" in refused(judge.look_up(token(iss="your-company.com"), NOW))


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b'{"sub":"a","sub":"b"}', b"[" * 9000])
def test_a_payload_that_is_no_object_is_refused(payload):
    found = table().look_up(forged({"alg": "HS256"}, payload, hmac_by(SECRET.encode())), NOW)
    assert refused(found) if payload else found is None


@pytest.mark.parametrize("credential", [b"", b"sk_live_abc", b"a.b.c", b"sk.live.abc", b"..", b"."])
def test_what_is_no_token_is_for_the_keys(credential):
    assert table().look_up(credential, NOW) is None


def test_a_token_that_is_too_long_is_none():
    long = token(padding="x" * MAX_TOKEN_LENGTH)
    assert len(long) > MAX_TOKEN_LENGTH
    assert table().look_up(long, NOW) is None


def test_nothing_takes_long():
    judge = table("RS256")
    deep = b'{"alg":"RS256","x":' + b"[" * 8000
    worst = [
        segment(deep) + b".e30.e30",
        forged({"alg": "RS256"}, b"[" * 9000, lambda _: b"x" * 256),
        forged({"alg": "RS256", "x": "y" * 8000}, b"{}", lambda _: b"x" * 256),
        b"A" * 5000 + b"." + b"A" * 5000 + b"." + b"A" * 5000,
    ]
    for credential in worst:
        assert len(credential) <= MAX_TOKEN_LENGTH
        # The best of five: other programs share the machine.
        assert min(duration_of(judge, credential) for _ in range(5)) < 0.005


def duration_of(judge, credential):
    began = time.process_time()
    judge.look_up(credential, NOW)
    return time.process_time() - began


def test_no_detail_quotes_the_token():
    judge = table(issuer="i", audience="a")
    canary = "canary-6f2a"
    for bad in (
        token(sub=canary, iss=canary, aud=canary),
        token(iss="i", aud=canary),
        token(iss="i", aud="a", scope={canary: canary}),
        token(iss="i", aud="a", leases=[canary] * 100),
        token(iss="i", aud="a", exp=canary),
        token(header={"kid": canary, "crit": [canary]}),
        forged({"alg": canary}),
        forged({"alg": "HS256", "typ": canary}),
    ):
        error = judge.look_up(bad, NOW)
        refused(error)
        assert canary not in f"{error} {error.detail} {error.fields}"
        assert canary not in repr(judge)


# What is known already.


def test_a_token_that_was_verified_is_not_verified_again(monkeypatch):
    judge = table("RS256")
    good = token("RS256")
    first = judge.look_up(good, NOW)
    monkeypatch.setattr(KeySet, "verifies", None)
    assert judge.look_up(good, NOW + 100) is first
    assert len(judge) == 1


def test_what_is_known_of_a_token_ends_with_it():
    judge = table()
    good = token(exp=NOW + 60)
    assert isinstance(judge.look_up(good, NOW), Caller)
    assert isinstance(judge.look_up(good, NOW + 89.9), Caller)
    refused(judge.look_up(good, NOW + 90), "expired_token")
    assert len(judge) == 0


def test_refused_tokens_are_not_kept():
    judge = table()
    refused(judge.look_up(token(exp=1), NOW), "expired_token")
    refused(judge.look_up(token(sub=None), NOW))
    assert len(judge) == 0


def test_known_tokens_are_bounded(monkeypatch):
    monkeypatch.setattr(jwt_table, "_MOST_KNOWN", 3)
    judge = table()
    tokens = [token(sub=f"user-{number}") for number in range(5)]
    for each in tokens:
        assert isinstance(judge.look_up(each, NOW), Caller)
        assert len(judge) <= 3
    monkeypatch.setattr(KeySet, "verifies", lambda *_: False)
    assert [isinstance(judge.look_up(each, NOW), Caller) for each in tokens] == [
        False,
        False,
        True,
        True,
        True,
    ]


# Keys that come later.


def test_without_keys_a_token_wants_one():
    judge = TokenTable(section("ES256"), None)
    good = token("ES256", header={"kid": "a"})
    wanted = judge.look_up(good, NOW)
    assert wanted == KeyWanted("a", any_known=False)
    assert (wanted.refusal.cause.code, wanted.refusal.cause.status) == (
        "token_keys_unavailable",
        503,
    )
    judge.use(KeySet.published("ES256", key_set(jwk("ES256", "a"))))
    assert isinstance(judge.look_up(good, NOW), Caller)


def test_no_keys_are_wanted_for_a_token_that_is_refused_anyway():
    judge = TokenTable(section("ES256"), None)
    refused(judge.look_up(token("HS256"), NOW))
    refused(judge.look_up(token("ES256", header={"jku": "x"}), NOW))


def test_new_keys_end_what_the_old_ones_verified():
    judge = TokenTable(section("ES256"), None)
    judge.use(KeySet.published("ES256", key_set(jwk("ES256", "a", 0))))
    good = token("ES256", header={"kid": "a"})
    assert isinstance(judge.look_up(good, NOW), Caller)
    judge.use(KeySet.published("ES256", key_set(jwk("ES256", "b", 1))))
    assert judge.look_up(good, NOW) == KeyWanted("a", any_known=True)
    assert isinstance(judge.look_up(token("ES256", which=1, header={"kid": "b"}), NOW), Caller)
    assert private_key("ES256", 0) is not private_key("ES256", 1)
