import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.wire.field_names import all_plain, folded_name, plain_only

PLAIN = string.ascii_letters + string.digits + "-"


def cgi(name: bytes) -> bytes:
    """The variable that the most lenient server makes of a field."""
    return bytes(byte if chr(byte).isalnum() and byte < 128 else 0x5F for byte in name.upper())


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_but_letters_digits_and_hyphens_makes_a_name_another(byte: int) -> None:
    name = b"x" + bytes([byte]) + b"y"
    assert all_plain([b"a", name, b"B-1"]) == (chr(byte) in PLAIN)
    assert plain_only([(name, b"1"), (b"B-1", b"2")]) == [
        *([(name, b"1")] if chr(byte) in PLAIN else []),
        (b"B-1", b"2"),
    ]


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_names_that_become_one_variable_fold_to_one_name(one: bytes, other: bytes) -> None:
    assert (cgi(one) == cgi(other)) == (folded_name(one) == folded_name(other))
    assert all_plain([folded_name(one)])


@given(st.text(PLAIN.lower()))
def test_a_plain_name_is_the_only_plain_one_of_its_variable(name: str) -> None:
    assert folded_name(name.encode()) == name.encode()
    assert folded_name(name.upper().encode()) == name.encode()


def test_no_names() -> None:
    assert all_plain([])
    assert plain_only([]) == []
