"""A lease name has one label and a label one name, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.wire.dns_label import label_of, name_of


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("agent", "agent"),
        ("0", "0"),
        ("my--agent", "my--agent"),
        ("a" * 63, "a" * 63),
        ("bücher", "xn--bcher-kva"),
        ("straße", "xn--strae-oqa"),
        ("에이전트", "xn--hi5b23ammr76a"),
        ("日本語", "xn--wgv71a119e"),
    ],
)
def test_a_name_and_its_label(name, label):
    assert label_of(name) == label
    assert name_of(label) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Agent",
        "my_agent",
        "-agent",
        "agent-",
        "a" * 64,
        "a.b",
        "agent.",
        ".agent",
        "a/b",
        "a:1",
        "a@b",
        "a b",
        "a\n",
        "a%2eb",
        "{lease}",
        "xn--bcher-kva",
        "xn--",
        "BÜCHER",
        "bu\u0308cher",
        "a。b",
        "evil。com",
        "ﬁ",
        "👍",
        "ab٣",
        "é" * 60,
        "é" * 10_000,
        "\u200dé",
        "日本語.evil",
    ],
)
def test_names_that_no_host_can_hold(name):
    assert label_of(name) is None


@pytest.mark.parametrize(
    "label", ["", "a.b", "xn--", "xn--a", "xn--agent-", "xn--zzzzzzzzzz99999", "a_b", "Agent", "é"]
)
def test_labels_that_stand_for_no_name(label):
    assert name_of(label) is None


@given(st.text(max_size=80))
def test_no_two_names_share_a_label_and_no_label_has_a_dot(name):
    label = label_of(name)
    if label is not None:
        assert name_of(label) == name
        assert len(label) <= 63
        assert set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@given(st.from_regex(r"(xn--)?[a-z0-9-]{0,70}", fullmatch=True))
def test_no_two_labels_share_a_name(label):
    name = name_of(label)
    if name is not None:
        assert label_of(name) == label
