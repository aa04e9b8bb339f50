import pytest

from portal_gateway.config.loading import ConfigInvalid, load_config_text
from portal_gateway.config.model import key_digest
from portal_gateway.config.report import describe

KEYS = """
auth:
  keys:
    - {key: sk_live_long_enough_1, id: n8n}
    - {key: sk_live_long_enough_2, id: claude}
portal: {relays: [{url: "ws://relay/relay"}]}
"""


def loaded(text, environ=()):
    return load_config_text(KEYS + text, "file.yaml", dict(environ))


def faults(text):
    with pytest.raises(ConfigInvalid) as caught:
        loaded(text)
    return [str(fault) for fault in caught.value.faults]


def test_rules_are_read_in_their_order():
    config = loaded("""
lease_acl:
  company-*: [n8n, sk_live_long_enough_2]
  "*": ["*"]
  gone: []
  later:
lease_acl_default: allow
""")
    assert [(rule.pattern, rule.everybody) for rule in config.lease_acl] == [
        ("company-*", False),
        ("*", True),
        ("gone", False),
        ("later", False),
    ]
    first, *others = config.lease_acl
    assert first.keys == {key_digest(b"n8n"), key_digest(b"sk_live_long_enough_2")}
    assert [rule.keys for rule in others] == [frozenset()] * 3
    assert config.lease_acl_default == "allow"
    assert config.warnings == ()


def test_a_key_may_come_from_the_environment():
    config = loaded("lease_acl: {a: ['${ONE}']}", {"ONE": "sk_live_long_enough_1"}.items())
    assert config.lease_acl[0].keys == {key_digest(b"sk_live_long_enough_1")}
    assert config.warnings == ()


def test_a_key_that_is_not_in_the_file_is_warned_of_and_not_shown():
    config = loaded("""
lease_acl:
  a: [n8n, sk_live_unknown, "*"]
  "b*":
    - nobody
""")
    assert [str(warning) for warning in config.warnings] == [
        ("file.yaml:9: lease_acl[0][1]: a key that auth.keys has neither by its id nor by itself"),
        ("file.yaml:11: lease_acl[1][0]: a key that auth.keys has neither by its id nor by itself"),
    ]
    assert "sk_live_unknown" not in repr(config)
    assert "sk_live_unknown" not in "\n".join(describe(config))


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (
            'lease_acl: {"Agent": [n8n], "aGENT": [n8n]}',
            ["lease_acl[1]: the same pattern as on line 7"],
        ),
        ('lease_acl: {"a**": [n8n], "A*": [n8n]}', ["lease_acl[1]: the same pattern"]),
        ("lease_acl: {a: [n8n], a: [n8n]}", ["lease_acl: written twice"]),
        ('lease_acl: {"": [n8n]}', ["lease_acl[0]: a lease name must not be empty"]),
        ('lease_acl: {"a/*": [n8n]}', ["lease_acl[0]: bad lease name"]),
        ("lease_acl: {a: n8n}", ["lease_acl[0]: expected a list of ids of keys"]),
        ('lease_acl: {a: "*"}', ["lease_acl[0]: expected a list of ids of keys"]),
        ("lease_acl: {a: {n8n: x}}", ["lease_acl[0]: expected a list of ids of keys"]),
        ("lease_acl: [a]", ["lease_acl: expected a mapping"]),
        (
            'lease_acl: {a: ["", "a b", 12, "é"]}',
            [
                "lease_acl[0][0]: the id of an API key",
                "lease_acl[0][1]: the id of an API key",
                "lease_acl[0][2]: expected the id of a key",
                "lease_acl[0][3]: the id of an API key",
            ],
        ),
        (
            "lease_acl: {sk_live_long_enough_1: [some-lease]}",
            ["lease_acl[0]: an API key stands where the name of a lease is meant"],
        ),
        ("lease_acl_default: deny", ["lease_acl_default: without a rule in lease_acl"]),
        ("lease_acl: {}\nlease_acl_default: deny", ["lease_acl_default: without a rule"]),
        (
            "lease_acl: {a: [n8n]}\nlease_acl_default: maybe",
            ["lease_acl_default: unknown default"],
        ),
    ],
)
def test_what_is_no_rule_is_refused(text, reasons):
    found = faults(text)
    assert len(found) == len(reasons)
    for fault, reason in zip(found, reasons, strict=True):
        assert reason in fault
        assert fault.startswith("file.yaml:")
        assert "sk_live" not in fault


def test_what_a_merge_brings_is_looked_at_as_well():
    config = load_config_text("<<: {lease_acl: {a: [nobody]}}\n" + KEYS, "file.yaml", {})
    assert [str(warning) for warning in config.warnings] == [
        "file.yaml:1: lease_acl[0][0]: a key that auth.keys has neither by its id nor by itself"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "every key may use every lease (there is no lease_acl)"),
        ("lease_acl: {}", "every key may use every lease (there is no lease_acl)"),
        ("lease_acl: {a: [n8n]}", "1 rule in lease_acl, other leases are closed"),
        (
            "lease_acl: {a: [n8n], b: []}\nlease_acl_default: allow",
            "2 rules in lease_acl, other leases are open to every key",
        ),
    ],
)
def test_the_report_says_what_holds(text, line):
    assert f"  - {line}" in describe(loaded(text))


def test_the_ids_of_tokens_are_not_warned_of():
    config = load_config_text(
        KEYS.replace("auth:", "auth:\n  jwt: {secret: %s, algorithm: HS256}" % ("s" * 40))
        + "lease_acl: {a: ['jwt:alice']}",
        "file.yaml",
        {},
    )
    assert not any("lease_acl" in str(warning) for warning in config.warnings)
