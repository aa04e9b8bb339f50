"""Patterns of lease names, by table and against a slow reference."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.policy.lease_patterns import PatternIndex, matches
from portal_gateway.wire.lease_names import folded, is_exact, normal_pattern

ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
OTHER_ID = "ABCDEFGHIJKLMNOPQRSTUVWXY2"


@pytest.mark.parametrize(
    ("pattern", "name", "matched"),
    [
        ("agent", "agent", True),
        ("agent", "Agent", True),
        ("AGENT", "agent", True),
        ("agent", "agent ", False),
        ("agent", "agents", False),
        ("*", "agent", True),
        ("*", ID, True),
        ("public-*", "public-a", True),
        ("public-*", "public-", True),
        ("public-*", "Public-A", True),
        ("public-*", "public", False),
        ("public-*", "a-public-b", False),
        ("*-prod", "tool-prod", True),
        ("*-prod", "-prod", True),
        ("*-prod", "tool-prod-2", False),
        ("a*b*c", "a1b2c", True),
        ("a*b*c", "abc", True),
        ("a*b*c", "acb", False),
        ("a*bc", "abcabc", True),
        ("a*ab", "ab", False),
        ("a*ab", "aab", True),
        ("*ab*ab*", "ab", False),
        ("*ab*ab*", "abab", True),
        ("*aba*aba*", "ababa", False),
        ("?", "a", True),
        ("?", "", False),
        ("?", "ab", False),
        ("?", "日", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("*?", "a", True),
        ("*?", "", False),
        ("?*", "", False),
        ("??*", "a", False),
        ("*?b*", "ab", True),
        ("*?b*", "b", False),
        ("*?a*?b", "xa1b", True),
        # What other languages of patterns would read here is meant as it stands.
        ("[ab]*", "a", False),
        ("[ab]*", "[ab]c", True),
        ("a.c*", "abc", False),
        ("a.c*", "a.cd", True),
        ("(a|b)+$*", "a", False),
        ("\\*", "a", False),
        ("*", "a\nb", True),
        ("a*c", "a\nc", True),
        # Without case as Unicode has it.
        ("STRASSE-*", "straße-1", True),
        ("straße-?", "STRASSE-1", True),
        # Ids.
        (ID, ID, True),
        (ID, ID.lower(), False),
        (ID.lower(), ID, False),
        (ID, OTHER_ID, False),
        # An id is random: part of it says nothing about a lease.
        ("abc*", ID, False),
        ("ABC*", ID, False),
        ("*z", ID, False),
        ("?" * 26, ID, False),
        ("?*", ID, False),
        ("*?", ID, False),
        (ID + "*", ID, False),
        ("**", ID, True),
        ("abc*", ID.lower(), True),
    ],
)
def test_what_a_pattern_is_for(pattern, name, matched):
    assert matches((pattern,), (name,)) == matched


def index(*patterns):
    return PatternIndex((pattern, pattern) for pattern in patterns)


@pytest.mark.parametrize(
    ("patterns", "names", "found"),
    [
        ([], ["agent"], []),
        (["other"], ["agent"], []),
        (["*", "a*", "agent", "agen?", "*t"], ["agent"], ["agent"]),
        (["*", "a*", "agen?", "*t"], ["agent"], ["agen?"]),
        (["*", "a*", "*t"], ["agent"], ["*t", "a*"]),
        (["*", "ag*", "*t"], ["agent"], ["ag*"]),
        (["*"], ["agent"], ["*"]),
        # All names count alike.
        (["agent", "*"], ["agent", ID], ["agent"]),
        ([ID, "*"], ["agent", ID], [ID]),
        ([ID, "agent", "*"], ["agent", ID], [ID, "agent"]),
        (["a*", "agen*", "mine-*"], ["mine-1", "Agent", ID], ["mine-*"]),
        (["*", "b*"], ["agent", ID], ["*"]),
        # An id is matched by no part of it.
        (["*", "a*", "*z"], ["billing", ID], ["*"]),
        (["a*", "*z", "?*"], [ID], []),
        (["*", "a*", ID], ["billing", ID], [ID]),
        (["*", "bill*"], ["billing", ID], ["bill*"]),
    ],
)
def test_what_says_most_about_a_lease(patterns, names, found):
    assert sorted(index(*patterns).most_specific(names)) == sorted(found)
    assert sorted(index(*reversed(patterns)).most_specific(names[::-1])) == sorted(found)


def slowly_matches(pattern, name):
    """By the definition, with neither an index nor a regular expression."""
    if is_exact(pattern):
        return folded(pattern) == folded(name)
    if name == ID:
        return set(pattern) == {"*"}
    pattern, name = pattern.casefold(), name.casefold()
    reached = {0}
    for character in pattern:
        if character == "*":
            reached = set(range(min(reached), len(name) + 1)) if reached else set()
        else:
            reached = {
                place + 1
                for place in reached
                if place < len(name) and character in {"?", name[place]}
            }
    return len(name) in reached


def slowly_most_specific(patterns, names):
    matching = [p for p in patterns if any(slowly_matches(p, name) for name in names)]
    exact = [p for p in matching if is_exact(p)]
    if exact:
        return exact
    longest = max((len(normal_pattern(p)) for p in matching), default=0)
    return [p for p in matching if len(normal_pattern(p)) == longest]


PARTS = st.sampled_from(["a", "b", "ab", "A", "*", "*", "?", "-", "ß", ".", "日"])
PATTERNS = st.lists(PARTS, min_size=1, max_size=8).map("".join) | st.just(ID)
NAMES = st.lists(
    st.sampled_from(["a", "b", "ab", "B", "-", "ß", "ss", ".", "日"]), max_size=10
).map("".join) | st.sampled_from([ID, ID.lower()])


@settings(max_examples=400)
@given(PATTERNS, NAMES)
def test_a_match_is_what_the_reference_says(pattern, name):
    assert bool(index(pattern).most_specific([name])) == slowly_matches(pattern, name)


@settings(max_examples=300)
@given(
    st.lists(PATTERNS, max_size=10, unique_by=normal_pattern),
    st.lists(NAMES, min_size=1, max_size=3),
)
def test_the_choice_is_what_the_reference_says(patterns, names):
    found = index(*patterns).most_specific(names)
    assert sorted(set(found)) == sorted(slowly_most_specific(patterns, names))


@pytest.mark.parametrize(
    "pattern",
    ["*a*a*a*b", "*a" * 60 + "*b", "?*" * 60 + "b", "*?a" * 60 + "b", "a*" * 100 + "b"],
)
def test_a_match_takes_no_longer_than_its_name(pattern):
    def seconds(size):
        names = ["a" * size]
        made = index(pattern)
        took = []
        for _ in range(5):
            began = time.thread_time()
            assert made.most_specific(names) == []
            took.append(time.thread_time() - began)
        return min(took)

    # 8 KiB is eight times what a path can name.
    assert seconds(8192) < 0.02
    assert seconds(8192) < 64 * max(seconds(512), 20e-6)


@pytest.mark.parametrize("count", [1, 101, 10_001])
def test_few_of_many_patterns_are_tried(count):
    made = index(*(f"team-{number}-*" for number in range(count)), "*-shared", "one")
    name = f"team-{count - 1}-agent"
    for names, found in (
        ([name], [f"team-{count - 1}-*"]),
        (["team--agent"], []),
        (["x-shared"], ["*-shared"]),
        (["ONE", ID], ["one"]),
    ):
        took = []
        for _ in range(5):
            began = time.thread_time()
            assert made.most_specific(names) == found
            took.append(time.thread_time() - began)
        assert min(took) < 0.001


@given(st.lists(PATTERNS, max_size=4), st.lists(NAMES, min_size=1, max_size=3))
def test_a_list_of_patterns_is_for_what_any_of_them_is_for(patterns, names):
    expected = any(slowly_matches(pattern, name) for pattern in patterns for name in names)
    assert matches(tuple(patterns), tuple(names)) == expected
