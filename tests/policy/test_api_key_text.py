import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.policy.api_key_text import RANDOM_BYTES, is_generated_key, key_text

RANDOM = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


@pytest.mark.parametrize("random", [bytes(RANDOM_BYTES), b"\xff" * RANDOM_BYTES])
def test_every_key_has_the_same_shape(random):
    assert re.fullmatch(r"sk_live_[0-9A-Za-z]{49}", key_text(random))


def test_an_example():
    text = key_text(bytes(range(32)))
    assert text == "sk_live_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf2L6EQX"
    assert is_generated_key(text.encode())


@given(RANDOM, RANDOM)
def test_different_bytes_are_different_keys(one, other):
    assert (key_text(one) == key_text(other)) == (one == other)


@given(RANDOM)
def test_what_was_made_is_known(random):
    assert is_generated_key(key_text(random).encode())


@given(RANDOM, st.integers(0, 56), st.sampled_from(b"0aZ_-. \n"))
def test_one_character_that_is_another_is_found(random, place, byte):
    key = bytearray(key_text(random).encode())
    if key[place] != byte:
        key[place] = byte
        assert not is_generated_key(bytes(key))


@given(RANDOM, st.integers(0, 55))
def test_two_neighbours_that_changed_places_are_found(random, place):
    key = bytearray(key_text(random).encode())
    if key[place] != key[place + 1]:
        key[place], key[place + 1] = key[place + 1], key[place]
        assert not is_generated_key(bytes(key))


@given(st.binary(max_size=80))
def test_anything_else_is_not(key):
    assert not is_generated_key(key)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_another_number_of_bytes_is_refused(size):
    with pytest.raises(ValueError, match="32 bytes"):
        key_text(bytes(size))
