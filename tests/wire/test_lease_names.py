import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.wire.identity import is_lease_id
from portal_gateway.wire.lease_names import (
    folded,
    has_one_reading,
    is_exact,
    lenient_form,
    normal_pattern,
)

ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("agent", "agent"),
        ("Agent", "agent"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("ΟΔΟΣ", "οδοσ"),
        ("日本語", "日本語"),
        ("\u212aey", "key"),
        # Canonically the same, as a keyboard and a file system write it.
        ("E\u0301", "é"),
        ("\u1102\u1161", "나"),
        # Only like it.
        ("ｔｏｏｌ", "ｔｏｏｌ"),
        ("tıtle", "tıtle"),
        ("tool.", "tool."),
        ("", ""),
        # An id is what it is; in lower case it is a name.
        (ID, ID),
        (ID.lower(), ID.lower()),
        ("2" * 26, "2" * 26),
    ],
)
def test_case_makes_no_difference_but_in_an_id(name, same):
    assert folded(name) == same
    assert folded(folded(name)) == same


@pytest.mark.parametrize(
    ("pattern", "normal", "exact"),
    [
        ("Agent", "agent", True),
        ("Agent-*", "agent-*", False),
        ("a**b***", "a*b*", False),
        ("a?*?", "a?*?", False),
        ("*", "*", False),
        ("***", "*", False),
        (ID, ID, True),
        (ID[:25] + "*", ID[:25].lower() + "*", False),
        ("[ab]", "[ab]", True),
    ],
)
def test_a_pattern_has_one_form(pattern, normal, exact):
    assert normal_pattern(pattern) == normal
    assert is_exact(pattern) == is_exact(normal) == exact


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("Tool", "tool"),
        ("ｔｏｏｌ", "tool"),
        ("tool\u200b", "tool"),
        ("to\u00adol", "tool"),
        ("tool\ufe0f", "tool"),
        ("\u3164tool", "tool"),
        (" tool", "tool"),
        ("tool. .", "tool"),
        ("tool\u3000", "tool"),
        ("tıtle", "title"),
        ("TITLE", "title"),
        ("straße", "strasse"),
        ("ﬁle", "file"),
        ("x²", "x2"),
        ("...", ""),
        (".hidden", ".hidden"),
        (ID, ID),
        (ID.lower(), ID.lower()),
    ],
)
def test_the_form_that_a_lenient_reader_compares(name, form):
    assert lenient_form(name) == form


@pytest.mark.parametrize("first", range(0, sys.maxunicode + 1, 0x11000))
def test_no_reader_who_folds_a_character_comes_to_another_form(first):
    for number in range(first, min(first + 0x11000, sys.maxunicode + 1)):
        name = f"a{chr(number)}b"
        form = lenient_form(name)
        fold = folded(name)
        assert folded(fold) == fold
        assert lenient_form(fold) == form == lenient_form(form)
        assert {*map(lenient_form, (name.upper(), name.lower(), name.casefold()))} == {form}


NAMES = st.text(max_size=40) | st.lists(
    st.sampled_from(
        ["ß", "ss", "ſ", "s", "S", "İ", "ı", "i", "\u0307", "é", "e\u0301", "ﬁ", ".", " "]
    )
).map("".join)


@given(NAMES)
def test_folding_twice_is_folding_once(name):
    fold = folded(name)
    assert folded(fold) == fold or is_lease_id(fold)
    assert lenient_form(fold) == lenient_form(name) or is_lease_id(fold)


@given(NAMES, NAMES)
def test_names_that_are_the_same_are_so_for_lenient_readers_too(one, other):
    if folded(one) == folded(other):
        assert lenient_form(one) == lenient_form(other)


@given(NAMES)
def test_a_name_with_one_reading_is_its_own_form(name):
    if has_one_reading(name) and not is_lease_id(name):
        assert lenient_form(name) == folded(name) == name
        assert name.isprintable()
        assert not {*"%+/\\;?#"} & {*name}


@pytest.mark.parametrize("name", ["a", "a-b_c.d", "한", "a b", "a&b=c", ID, ".x", 'x"<{y'])
def test_names_with_one_reading(name):
    assert has_one_reading(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a%b", "a+b", "a;b", "a?b", "a#b", "a/b", "a\\b", "A", "a\nb", "a\u200bb", "a.",
     " a", "ß", "ſ", "ı", "\u212a", "ａ", "e\u0301", "...", ID.lower()],
)  # fmt: skip
def test_names_with_another_reading(name):
    assert not has_one_reading(name)


def test_a_configured_name_may_have_any_case():
    assert has_one_reading("My-Tool", in_any_case=True)
    assert has_one_reading("Straße", in_any_case=True)
    for name in ("My%Tool", "My-Tool.", "ｔool", "tıtle"):
        assert not has_one_reading(name, in_any_case=True)
