import pytest

from portal_gateway.wire.lease_names import folded, is_exact, normal_pattern

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
