"""Identities: derivation, validity, signatures, and what a credential shows of itself."""

import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.wire.errors import BadSignature, InvalidIdentity
from portal_gateway.wire.identity import (
    Credential,
    Identity,
    check_identity,
    check_signature,
    derive_id,
    is_lease_id,
)
from tests.wire.channel_peers import GATEWAY, LEASE, each_bit_flipped


def test_id_of_a_recorded_key() -> None:
    # The service key of the exchange recorded with Portal 1.4.14.
    key = bytes.fromhex("088152384e24b1d02a35739f21d60ea6b75b094ec5e35e681242c347784fa477")
    assert derive_id(key) == "X7QVZDBNXZ67NTB67WMT3VWGBE"


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=50, deadline=None)
def test_every_key_has_an_id_that_is_checked(key: bytes) -> None:
    id_ = derive_id(key)
    assert is_lease_id(id_)
    # 128 bits in 26 characters leave the two lowest bits of the last one unused.
    assert id_[-1] in "AEIMQUY4"
    assert check_identity(id_, key) == Identity(id_, key)


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_key_of_another_size(size: int) -> None:
    with pytest.raises(InvalidIdentity, match=f"{size} bytes"):
        derive_id(bytes(size))
    with pytest.raises(InvalidIdentity, match=f"{size} bytes"):
        check_identity(LEASE.identity.id, bytes(size))


def test_every_flipped_bit_of_a_key_or_an_id() -> None:
    id_, key = LEASE.identity.id, LEASE.identity.public_key
    for other_key in each_bit_flipped(key):
        with pytest.raises(InvalidIdentity):
            check_identity(id_, other_key)
    for other_id in each_bit_flipped(id_.encode()):
        with pytest.raises(InvalidIdentity):
            check_identity(other_id.decode("latin-1"), key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        LEASE.identity.id.lower(),
        LEASE.identity.id + "=",
        LEASE.identity.id[:-1],
        GATEWAY.identity.id,
        "agent",
        "é" * 26,
        "\ud800" * 26,
        "\0",
        "x" * 100_000,
    ],
)
def test_an_id_that_is_not_the_keys_own(text: str) -> None:
    with pytest.raises(InvalidIdentity) as caught:
        check_identity(text, LEASE.identity.public_key)
    # The error goes into logs, the peer's text must not.
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("X7QVZDBNXZ67NTB67WMT3VWGBE", True),
        ("A" * 26, True),
        ("A" * 25, False),
        ("A" * 27, False),
        ("a" * 26, False),
        ("A" * 25 + "1", False),
        ("A" * 25 + "8", False),
        ("A" * 25 + "=", False),
        ("A" * 26 + "\n", False),
        ("２" * 26, False),
        ("", False),
    ],
)
def test_form_of_a_lease_id(text: str, expected: bool) -> None:
    assert is_lease_id(text) is expected


def test_credential_round_trip() -> None:
    made = Credential.generate()
    again = Credential.from_private_bytes(made.private_bytes())
    assert again.identity == made.identity
    assert again.sign(b"x") == made.sign(b"x")
    assert made.identity != Credential.generate().identity


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_private_key_of_another_size(size: int) -> None:
    with pytest.raises(ValueError, match=f"not {size}"):
        Credential.from_private_bytes(bytes(size))


def test_credential_shows_its_id_only() -> None:
    shown = repr(LEASE)
    assert shown == f"<Credential {LEASE.identity.id}>"
    assert str(LEASE) == shown
    assert LEASE.private_bytes().hex() not in shown


def test_ed25519_as_in_rfc_8032() -> None:
    # Section 7.1, test 2.
    credential = Credential.from_private_bytes(
        bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    )
    assert credential.identity.public_key.hex() == (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    )
    assert credential.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_signature_over_exactly_these_bytes() -> None:
    data = b"data"
    signature = LEASE.sign(data)
    check_signature(LEASE.identity, data, signature)
    with pytest.raises(BadSignature):
        check_signature(GATEWAY.identity, data, signature)
    for other in each_bit_flipped(data):
        with pytest.raises(BadSignature):
            check_signature(LEASE.identity, other, signature)
    for other in each_bit_flipped(signature):
        with pytest.raises(BadSignature):
            check_signature(LEASE.identity, data, other)


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_signature_of_another_size(size: int) -> None:
    with pytest.raises(BadSignature, match=re.escape(f"({size} bytes)")):
        check_signature(LEASE.identity, b"", (LEASE.sign(b"") * 2)[:size])


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80))
@settings(max_examples=50, deadline=None)
def test_any_key_and_any_signature_give_no_other_error(key: bytes, signature: bytes) -> None:
    # A public key need not be a point of the curve at all; a few, of low order, verify anything.
    with suppress(BadSignature):
        check_signature(Identity(derive_id(key), key), b"never signed", signature)


@given(st.binary(max_size=80))
@settings(max_examples=50, deadline=None)
def test_nobody_else_signs_for_an_honest_key(signature: bytes) -> None:
    with pytest.raises(BadSignature):
        check_signature(LEASE.identity, b"never signed", signature)
