import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.config import document
from portal_gateway.config.document import (
    MAX_DEPTH,
    MAX_NODES,
    Mapping,
    Node,
    Scalar,
    Sequence,
    UnusableDocument,
    compose,
)


def plain(node: Node):
    """A tree as lists and strings; pairs of a mapping as a tuple."""
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    assert isinstance(node, Mapping)
    return tuple((plain(key), plain(value)) for key, value in node.entries)


@pytest.fixture(params=["C", "Python"])
def parser(request, monkeypatch):
    loader = yaml.CSafeLoader if request.param == "C" else yaml.SafeLoader
    monkeypatch.setattr(document, "_LOADER", loader)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a", "a"),
        ("\ufeffa: b", (("a", "b"),)),
        ("a: no\nb: 010", (("a", "no"), ("b", "010"))),
        ("a: [b, {c: d}]\ne:", (("a", ["b", (("c", "d"),)]), ("e", ""))),
        ("a: &x [b]\nc: *x", (("a", ["b"]), ("c", ["b"]))),
        ("a: 1\na: 2", (("a", "1"), ("a", "2"))),
        ("a: |\n  b\n  c\n", (("a", "b\nc\n"),)),
        ("? [a, b]\n: c", ((["a", "b"], "c"),)),
        ("a: &x {b: c}\nd: {<<: *x}", (("a", (("b", "c"),)), ("d", (("<<", (("b", "c"),)),)))),
        ("%YAML 1.1\n---\na\n...\n", "a"),
    ],
)
def test_a_document_is_read_as_it_was_written(text, tree):
    assert plain(compose(text)) == tree


@pytest.mark.usefixtures("parser")
def test_every_node_knows_its_place_its_tag_and_whether_it_was_quoted():
    root = compose('a: no\nb:\n  - !x "1"\n  - {c: d}\n')
    assert isinstance(root, Mapping)
    (_, first), (_, second) = root.entries
    assert (first.line, first.column) == (1, 4)
    assert isinstance(first, Scalar)
    assert first.plain
    assert first.tag is None
    assert (second.line, second.column) == (3, 3)
    assert isinstance(second, Sequence)
    quoted, inner = second.items
    assert isinstance(quoted, Scalar)
    assert not quoted.plain
    assert (quoted.tag, quoted.line, quoted.column) == ("!x", 3, 5)
    assert (inner.line, inner.column) == (4, 5)


@pytest.mark.usefixtures("parser")
def test_an_alias_is_the_node_of_its_anchor():
    root = compose("- &x [a]\n- *x\n")
    assert isinstance(root, Sequence)
    assert root.items[0] is root.items[1]
    assert root.size == 5


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("opening", ["[", "- ", "{a: "])
def test_depth_that_the_parser_itself_refuses_is_refused_alike(opening):
    with pytest.raises(UnusableDocument, match="nested more than"):
        compose(opening * 2_000)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("", 1, 1, "the document is empty"),
        ("# only a comment\n", 1, 1, "the document is empty"),
        ("a: b\n---\nc: d\n", 2, 1, "more than one document"),
        ("a: *b", 1, 4, "this alias has no anchor above it"),
        ("a: &b [*b]", 1, 8, "this alias contains itself"),
        ("&a {*a : b}", 1, 5, "this alias contains itself"),
        ("a: &x b\nc: &x d\n", 2, 4, "this anchor is already defined above"),
        ("a: b\nc: \x00", 2, 4, "U+0000 is not allowed"),
        ("a: \x1b[31m", 1, 4, "U+001B is not allowed"),
        ("a: \ufeff", 1, 4, "U+FEFF is not allowed"),
        ("a: \ud800", 1, 4, "U+D800 is not allowed"),
        ("a: [b\nc: d", 2, 2, "not valid YAML"),
        ("a: b: c", 1, 5, "mapping values are not allowed"),
        ("\ta: b", 1, 1, "cannot start any token"),
        ("a: 'b\nc: d\n", 3, 1, "unexpected end of stream"),
        ("%YAML 2.0\n---\na\n", 1, 1, "incompatible YAML document"),
        ("[" * 200, 1, MAX_DEPTH + 1, "nested more than"),
        ("- " * 200, 1, 2 * MAX_DEPTH + 1, "nested more than"),
        ("{a: " * 200, 1, 4 * MAX_DEPTH + 1, "nested more than"),
    ],
)
def test_what_is_no_bounded_document_is_refused_with_its_place(text, line, column, reason):
    with pytest.raises(UnusableDocument, match=reason.replace("+", r"\+")) as caught:
        compose(text)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("text", ["a: !sk_live_abc!123 b", "a: 'sk_live_abc", "a: [sk_live_abc\n"])
def test_a_fault_of_syntax_does_not_quote_the_text(text):
    with pytest.raises(UnusableDocument) as caught:
        compose(text)
    assert "sk_live" not in caught.value.reason


def nine_to_the(levels: int) -> str:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        aliases = ", ".join([f"*l{level - 1}"] * 9)
        lines.append(f"l{level}: &l{level} [{aliases}]")
    return "\n".join(lines)


def test_aliases_count_as_often_as_they_are_used():
    root = compose(nine_to_the(4))
    # Four pairs of a key and a list of 9, 9 * 9, … values, the lists counted too.
    assert root.size == 1 + 4 + sum(sum(9**i for i in range(n + 1)) for n in range(1, 5))


@pytest.mark.parametrize(
    "text",
    [
        nine_to_the(9),
        nine_to_the(200),
        "[" * 100_000,
        "{a: " * 100_000,
        "a: &a [" + "[" * 29 + "]" * 29 + "]\nb: [" + "*a, " * 40_000 + "]",
        "merge: &m {" + ", ".join(f"k{i}: v" for i in range(1000)) + "}\n"
        "all: [" + "{<<: *m}, " * 1000 + "]",
    ],
    ids=["aliases 9^9", "aliases 9^200", "lists", "mappings", "wide", "merges"],
)
def test_bombs_are_refused_quickly(text):
    # The best of three: other programs share the machine.
    best = min(duration_of_refusal(text) for _ in range(3))
    assert best < 0.1


def duration_of_refusal(text: str) -> float:
    start = time.process_time()
    with pytest.raises(UnusableDocument):
        compose(text)
    return time.process_time() - start


def test_the_number_of_values_is_bounded(monkeypatch):
    monkeypatch.setattr(document, "MAX_NODES", 100)
    assert compose("- a\n" * 99).size == 100
    with pytest.raises(UnusableDocument, match="more than 100 values"):
        compose("- a\n" * 100)
    assert MAX_NODES > 100


trees = st.recursive(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)


def paired(tree):
    if isinstance(tree, dict):
        return tuple((key, paired(value)) for key, value in tree.items())
    if isinstance(tree, list):
        return [paired(item) for item in tree]
    return tree


@given(trees)
@settings(max_examples=40, deadline=None)
def test_what_yaml_writes_is_read_back(tree):
    text = yaml.safe_dump(tree, sort_keys=False)
    assert plain(compose(text)) == paired(tree)


@given(st.text("ab:-[]{}&*!|>'\"%@,?#\n \t<~", max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_tree_or_refused(text):
    try:
        place = compose(text)
    except UnusableDocument as error:
        place = error
    assert 1 <= place.line <= text.count("\n") + 2
    assert place.column >= 1
