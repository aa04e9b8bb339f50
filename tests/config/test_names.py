import hashlib

import pytest

from portal_gateway.config.names import api_key, key_id, lease_identity, lease_name

IDENTITY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('"sk_live_abc123..."', b"sk_live_abc123..."),
        ("sk_live_readonly", b"sk_live_readonly"),
        ("'0123456789012345'", b"0123456789012345"),
        ("!!str 0123456789012345", b"0123456789012345"),
        ("${API_KEY_1}", b"key#from:${PART}"),
        ("sk_${PART}_x", b"sk_no_x"),
        ('"$${API_KEY_1}"', b"${API_KEY_1}"),
        ("'" + "x" * 512 + "'", b"x" * 512),
    ],
)
def test_a_key_is_read_into_its_hash(read, text, key):
    read.environ = {"API_KEY_1": "key#from:${PART}", "PART": "no"}
    assert read(api_key, text) == hashlib.sha256(key).digest()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('""', "the key is empty"),
        ("${EMPTY}", "the key is empty"),
        ('" secret-secret"', "the key starts or ends with white space or a line break"),
        ("${LINE}", "the key starts or ends with white space or a line break"),
        ("|\n  secret-secret\n", "the key starts or ends with white space or a line break"),
        ('"secret secret"', "the key holds a space"),
        ('"secret\\tsecret"', "the key holds a space"),
        ('"secret\\0secret"', "the key holds a space"),
        ('"secret\\x7fsecret"', "the key holds a space"),
        ('"sécret-secret"', "the key holds a space"),
        ("'" + "secret" * 100 + "'", "a key has at most 512 characters, found 600"),
        ("5ecret: secret", "expected an API key, found a mapping"),
        ("[secret]", "expected an API key, found a list"),
        ("~", "expected an API key, found nothing"),
        ("1234567890123456", "expected an API key, found what YAML reads as a number"),
        ("yes", "expected an API key, found what YAML reads as true or false"),
        ("2030-12-31", "expected an API key, found what YAML reads as a date"),
        ("!secret secret-secret", "YAML tags are not supported"),
        ("${MISSING}", "the environment variable MISSING is not set"),
    ],
)
def test_no_fault_quotes_a_key(read, text, reason):
    read.environ = {"EMPTY": "", "LINE": "secret-secret\n"}
    found = read.reason(api_key, text)
    assert found.startswith(reason)
    for part in ("secret", "sécret", "5ecret", "1234", "2030"):
        assert part not in found


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("sk_live_readonly", []),
        ("sk_live_ab/+~.-=", []),
        ("sk_live", ["the key is shorter than 12 characters and can be guessed"]),
        (
            "'sk_live_{abc}'",
            [
                (
                    "Authorization: Bearer cannot carry a character of this key"
                    " (RFC 6750 section 2.1); only X-API-Key will work"
                )
            ],
        ),
    ],
)
def test_a_weak_key_is_valid_with_a_warning(read, text, warnings):
    read(api_key, text)
    assert read.warnings == warnings


@pytest.mark.parametrize("text", ["n8n", "key_0123abcd", "team:a@example.com", "A" * 64, "'007'"])
def test_key_ids(read, text):
    assert read(key_id, text) == text.strip("'")


@pytest.mark.parametrize("text", ["a b", "''", "_a", "A" * 65, "é", "a\\n", "a/b", "'{secret}'"])
def test_a_bad_key_id_is_not_quoted(read, text):
    assert read.reason(key_id, text) == (
        "an id has 1 to 64 letters, digits and . _ : @ - and starts with a letter or digit"
    )


@pytest.mark.parametrize(
    "name", ["tool", "my-agent", "Ünïcødé", "日本語", "a b", "a.b", "...", "a;b", "é" * 128, "😀"]
)
def test_lease_names(read, name):
    assert read(lease_name, f'"{name}"') == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('""', "a lease name must not be empty"),
        ("a/b", 'bad lease name "a/b"'),
        ('"a\\\\b"', 'bad lease name "a\\\\b"'),
        ('"a\\u0000b"', 'bad lease name "a\\u0000b"'),
        ('"a\\u202Eb"', 'bad lease name "a\\u202eb"'),
        ('"a\\u200Bb"', 'bad lease name "a\\u200bb"'),
        ('"."', 'bad lease name ".": a path takes it for a dot segment'),
        ("..;x", 'bad lease name "..;x": a path takes it for a dot segment'),
        ("é" * 129, "a lease name has at most 256 bytes of UTF-8"),
        ("no", "expected a lease name, found no, which YAML reads as false"),
        ("3000", "expected a lease name, found the number 3000"),
        ("a-${X}", "variables are replaced in values, not in names"),
        ("[a]", "expected a lease name, found a list"),
    ],
)
def test_names_that_no_path_can_hold(read, text, reason):
    assert read.reason(lease_name, text).startswith(reason)


def test_lease_ids(read):
    read.environ = {"ID": IDENTITY}
    assert read(lease_identity, IDENTITY) == IDENTITY
    assert read(lease_identity, "${ID}") == IDENTITY


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (IDENTITY.lower(), "its letters must be in upper case"),
        (IDENTITY[:-1], "this one has 25 characters"),
        (IDENTITY + "A", "this one has 27 characters"),
        (IDENTITY[:-1] + "1", "this one has 26 characters"),
        (IDENTITY[:-1] + "ı", "this one has 26 characters"),
        ("'26 base32 characters'", "this one has 20 characters"),
    ],
)
def test_bad_lease_ids(read, text, reason):
    found = read.reason(lease_identity, text)
    assert found.startswith("bad lease id")
    assert found.endswith(reason)
