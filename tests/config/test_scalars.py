import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.config.scalars import meaning_of, quote, replace_variables

ENVIRON = {"A": "one", "B_2": "two words", "EMPTY": "", "NESTED": "${A} $${A}", "BAD": "x\udce9"}


@pytest.mark.parametrize(
    ("text", "expected", "replaced"),
    [
        ("", "", False),
        ("plain", "plain", False),
        ("$A {A} $", "$A {A} $", False),
        ("${A}", "one", True),
        ("x${A}y${B_2}", "xoney" + "two words", True),
        ("${EMPTY}", "", True),
        ("$${A}", "${A}", False),
        ("$$${A}", "$${A}", False),
        ("$${A}${A}", "${A}one", True),
        ("${NESTED}", "${A} $${A}", True),
    ],
)
def test_variables_are_replaced_once(text, expected, replaced):
    assert replace_variables(text, ENVIRON) == (expected, replaced, [])


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("${NONE}", ["the environment variable NONE is not set"]),
        ("${a}", ["the environment variable a is not set"]),
        (
            "${X1}:${X2}",
            [
                "the environment variable X1 is not set",
                "the environment variable X2 is not set",
            ],
        ),
        ("${BAD}", ["the environment variable BAD is not UTF-8"]),
    ],
)
def test_a_variable_without_a_value_is_named(text, problems):
    assert replace_variables(text, ENVIRON)[2] == problems


@pytest.mark.parametrize(
    "text", ["${", "${A", "${}", "${A-B}", "${A:-x}", "${ A}", "${{A}}", "${1}"]
)
def test_what_is_no_variable_is_explained(text):
    _, _, problems = replace_variables(text, ENVIRON)
    assert problems
    assert all("write $${" in problem for problem in problems)


@given(st.text("${}AB_ ", max_size=20), st.text(max_size=20))
def test_what_the_environment_holds_is_not_looked_at_again(before, value):
    text, _, problems = replace_variables("${A}", {"A": value})
    if not problems:
        assert text == value
    # Whatever the text is, it comes back or a problem does: nothing raises.
    replace_variables(before, {"A": value})


@given(st.text("$a}", max_size=20))
def test_text_without_variables_is_itself(text):
    assert replace_variables(text, {}) == (text, False, [])


@given(st.text("${}ab", max_size=20))
def test_every_text_can_be_written_escaped(text):
    assert replace_variables(text.replace("${", "$${"), {})[0] == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("no", "bool"),
        ("On", "bool"),
        ("0755", "int"),
        ("1_000", "int"),
        ("0x1F", "int"),
        ("12:30", "int"),
        ("1.5", "float"),
        (".inf", "float"),
        ("2030-12-31", "timestamp"),
        ("2030-12-31T23:59:59Z", "timestamp"),
        ("", "null"),
        ("~", "null"),
        ("null", "null"),
    ],
)
def test_yaml_takes_these_for_something_else_than_text(text, kind):
    meaning = meaning_of(text)
    assert meaning is not None
    assert meaning.kind == kind


@pytest.mark.parametrize("text", ["text", "5m", "1e3", "sk_live_1", "<<", "=", "y", "127.0.0.1:80"])
def test_yaml_takes_these_for_text(text):
    assert meaning_of(text) is None


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("wirte", '"wirte"'),
        ('a "b" \\c', '"a \\"b\\" \\\\c"'),
        ("é", '"é"'),
        ("a\nb\x1b", '"a\\nb\\u001b"'),
        ("\u202e", '"\\u202e"'),
        ("x" * 61, '"' + "x" * 60 + '…"'),
    ],
)
def test_a_quotation_is_one_bounded_printable_line(text, quoted):
    assert quote(text) == quoted


@given(st.text())
def test_no_quotation_holds_what_does_not_print(text):
    assert quote(text).isprintable()
    assert len(quote(text)) <= 61 * 12 + 2
