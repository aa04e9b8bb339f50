import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms

from portal_gateway.wire.jwt_keys import (
    MAX_KEY_SET_BYTES,
    KeySet,
    UnusableKeySet,
    UnusableVerifyingKey,
)
from tests.tls.tls_world import Certified
from tests.wire.jwt_world import (
    ALGORITHMS,
    SECRET,
    jwk,
    key_set,
    private_key,
    private_pem,
    public_pem,
)

PUBLISHED = ("RS256", "ES256", "EdDSA")


def the_key(algorithm, which=0):
    return SECRET.encode() if algorithm == "HS256" else public_pem(algorithm, which)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_key_verifies_what_it_signed_and_nothing_else(algorithm):
    keys = KeySet.of(algorithm, the_key(algorithm))
    assert len(keys) == 1
    key = keys.find("whatever a token calls it")
    assert key is keys.find(None)
    signer = get_default_algorithms()[algorithm]
    private = SECRET.encode() if algorithm == "HS256" else private_key(algorithm)
    signature = signer.sign(b"signed", private)
    assert keys.verifies(key, b"signed", signature)
    assert not keys.verifies(key, b"signee", signature)
    for other in (b"", signature[:-1], signature + b"\0", b"\0" * len(signature)):
        assert not keys.verifies(key, b"signed", other)


def test_the_repr_shows_no_key():
    keys = KeySet.of("HS256", SECRET.encode())
    assert SECRET not in repr(keys)
    assert SECRET not in str(vars(type(keys)))


@pytest.mark.parametrize("algorithm", PUBLISHED)
@pytest.mark.parametrize("form", ["pem", "jwk", "certificate"])
def test_a_public_key_is_no_secret(algorithm, form):
    material = {
        "pem": public_pem(algorithm),
        "jwk": json.dumps(jwk(algorithm)).encode(),
        "certificate": Certified("issuer").pem,
    }[form]
    with pytest.raises(UnusableVerifyingKey, match="could sign any token"):
        KeySet.of("HS256", material)


@pytest.mark.parametrize("algorithm", PUBLISHED)
@pytest.mark.parametrize("other", PUBLISHED)
def test_a_key_for_another_algorithm_is_refused(algorithm, other):
    if algorithm == other:
        KeySet.of(algorithm, public_pem(other))
        return
    with pytest.raises(UnusableVerifyingKey, match=f"{algorithm} needs an"):
        KeySet.of(algorithm, public_pem(other))


@pytest.mark.parametrize("algorithm", PUBLISHED)
def test_a_private_key_is_refused(algorithm):
    with pytest.raises(UnusableVerifyingKey, match="private key"):
        KeySet.of(algorithm, private_pem(algorithm))


@pytest.mark.parametrize(
    ("algorithm", "key", "reason"),
    [
        ("RS256", rsa.generate_private_key(65537, 1024).public_key(), "2048 to 8192 bits"),
        ("ES256", ec.generate_private_key(ec.SECP384R1()).public_key(), "P-256"),
        ("EdDSA", ed448.Ed448PrivateKey.generate().public_key(), "Ed25519"),
    ],
)
def test_weak_and_other_keys_are_refused(algorithm, key, reason):
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(UnusableVerifyingKey, match=reason):
        KeySet.of(algorithm, pem)


@pytest.mark.parametrize("algorithm", PUBLISHED)
@pytest.mark.parametrize("data", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\n", b"\xff\0"])
def test_no_key_at_all_is_refused(algorithm, data):
    with pytest.raises(UnusableVerifyingKey):
        KeySet.of(algorithm, data)


# Sets.


@pytest.mark.parametrize("algorithm", PUBLISHED)
def test_published_keys_are_found_by_their_names(algorithm):
    keys = KeySet.published(
        algorithm, key_set(jwk(algorithm, "a", 0), jwk(algorithm, "b", 1, use="sig", alg=algorithm))
    )
    assert len(keys) == 2
    signer = get_default_algorithms()[algorithm]
    signature = signer.sign(b"signed", private_key(algorithm, 1))
    assert keys.verifies(keys.find("b"), b"signed", signature)
    assert not keys.verifies(keys.find("a"), b"signed", signature)
    assert keys.find("c") is None
    assert keys.find("") is None
    assert keys.find(None) is None, "with two keys a token must say which"


def test_a_token_without_a_name_means_the_only_key():
    keys = KeySet.published("ES256", key_set(jwk("ES256", "a")))
    assert keys.find(None) is keys.find("a") is not None
    assert keys.find("b") is None


def test_the_only_key_may_have_no_name():
    keys = KeySet.published("ES256", key_set(jwk("ES256")))
    assert len(keys) == 1
    assert keys.find(None) is keys.find("a") is not None


def test_of_two_keys_with_one_name_the_first_counts():
    keys = KeySet.published("ES256", key_set(jwk("ES256", "a", 0), jwk("ES256", "a", 1)))
    signature = get_default_algorithms()["ES256"].sign(b"x", private_key("ES256", 0))
    assert keys.verifies(keys.find("a"), b"x", signature)


ODD = [
    pytest.param(jwk("RS256", "x"), id="another type"),
    pytest.param(jwk("ES256", "x", use="enc"), id="for encryption"),
    pytest.param(jwk("ES256", "x", key_ops=["sign"]), id="for signing"),
    pytest.param(jwk("ES256", "x", key_ops="verify"), id="operations are no list"),
    pytest.param(jwk("ES256", "x", alg="ES384"), id="for another algorithm"),
    pytest.param(jwk("ES256", "x", d="AAAA"), id="private"),
    pytest.param({**jwk("ES256", "x"), "x": 1}, id="no coordinate"),
    pytest.param({**jwk("ES256", "x"), "x": "AAAA"}, id="a short coordinate"),
    pytest.param({**jwk("ES256", "x"), "x": "A" * 43}, id="not on the curve"),
    pytest.param({**jwk("ES256", "x"), "crv": "P-384"}, id="another curve"),
    pytest.param({**jwk("ES256", "x"), "crv": ["P-256"]}, id="a curve that is a list"),
    pytest.param({"kty": "EC", "kid": "x"}, id="nothing in it"),
    pytest.param({"kty": ["EC"], "kid": "x"}, id="a type that is a list"),
    pytest.param({"kty": "oct", "k": "c2VjcmV0", "kid": "x"}, id="a secret"),
    pytest.param("x", id="no object"),
    pytest.param(None, id="nothing"),
]


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_key_for_the_algorithm_is_left_out(odd):
    keys = KeySet.published("ES256", key_set(odd, jwk("ES256", "good")))
    assert keys.find("x") is None
    assert keys.find("good") is not None
    assert len(keys) == 1


@pytest.mark.parametrize("odd", ODD)
def test_a_set_without_a_key_for_the_algorithm_is_refused(odd):
    with pytest.raises(UnusableKeySet, match="no key for ES256"):
        KeySet.published("ES256", key_set(odd))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [], "keys": []}',
        b"[" * 100_000,
        key_set(*[jwk("ES256", "a")] * 101),
    ],
)
def test_what_is_no_set_is_refused(data):
    with pytest.raises(UnusableKeySet):
        KeySet.published("ES256", data)


def test_a_set_of_as_many_keys_as_there_may_be_fits_the_bound():
    data = key_set(*[jwk("RS256", f"key-{number}") for number in range(100)])
    assert len(data) < MAX_KEY_SET_BYTES
    assert len(KeySet.published("RS256", data)) == 100


@given(st.binary(max_size=100))
def test_anything_published_is_a_set_or_refused(data):
    with pytest.raises(UnusableKeySet):
        KeySet.published("RS256", data)
