"""What is masked, and what is left as it was sent."""

import base64
import re
import time
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.observe.masking import (
    MASK,
    masked,
    masked_query,
    sent_secrets,
    without_secrets,
)
from tests.observe.encodings_of_secrets import ENCODINGS, KEY, SECRETS, TOKEN


def nested(text, depth):
    """Each digit behind a percent sign, encoded itself, and so on."""
    for _ in range(depth):
        text = re.sub("[0-9]", lambda found: f"%3{found[0]}", text)
    return text


WITHOUT_LOOK = "correct horse battery".replace(" ", "-")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ""),
        ("page=2&sort=name", "page=2&sort=name"),
        ("api_key=s3cr3t&page=2", "api_key=***&page=2"),
        ("access_token=a.b.c", "access_token=***"),
        ("X-Amz-Signature=abc&X-Amz-Date=1", "X-Amz-Signature=***&X-Amz-Date=1"),
        ("PASSWORD=x", "PASSWORD=***"),
        ("client_secret", "client_secret"),
        ("client_secret=", "client_secret=***"),
        ("sig=x&design=blue&signal=1", "sig=***&design=blue&signal=1"),
        ("code=4%2F0A&barcode=12", "code=***&barcode=12"),
        # A name may be hidden, too.
        ("api%5Fkey=s3cr3t", "api%5Fkey=***"),
        ("%74oken%3Ds3cr3t", "%74oken%3D***"),
        ("a=1&&token=2;x=3", "a=1&&token=***"),
        ("q=sk_live_abc123def456", "q=***"),
        ("q=sk%5Flive_abc123def456&r=a%20b", "***&r=a%20b"),
    ],
)
def test_values_of_secret_parameters(query, shown):
    assert masked_query(query) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/peer/agent/chat", "/peer/agent/chat"),
        ("/admin/keys/sk_live_abc123def", "/admin/keys/***"),
        ("/x?page=sk-proj-0123456789abcdef&y=1", "/x?page=***&y=1"),
        ("/t/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln/x", "/t/***/x"),
        # Words that only look like it.
        ("/task-123456789/risk_analysis_report", "/task-123456789/risk_analysis_report"),
        ("/sk_1", "/sk_1"),
        ("/peer/sk-learn-server-2/", "/peer/sk-learn-server-2/"),
    ],
)
def test_what_looks_like_a_key_or_a_token(text, shown):
    assert masked(text) == shown


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["token", "api_key", "q", "page"]), st.text("abc123%", max_size=8)
        )
    )
)
def test_masking_keeps_what_is_no_secret_where_it_is(pairs):
    query = "&".join(f"{name}={value}" for name, value in pairs)
    shown = masked_query(query)
    assert masked_query(shown) == shown
    parts = shown.split("&") if pairs else []
    for (name, value), part in zip(pairs, parts, strict=True):
        assert part == f"{name}={value if name in {'q', 'page'} else MASK}"


AROUND = ["/peer/tool/{}/x", "{}", "curl/8 {} (x)", "a={}", "a: {}", "/{}?b"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "around", ["/peer/tool/{}/x", "{}", "curl/8 {} (x)", "a={}", "a: {}", "/{}?b"]
)
def test_a_secret_is_masked_in_every_encoding(encoding, secret, around):
    encoded = ENCODINGS[encoding](SECRETS[secret])
    shown = masked(around.format(encoded))
    assert MASK in shown
    assert SECRETS[secret] not in shown
    assert encoded not in shown
    # Nor half of it.
    assert encoded[len(encoded) // 2 :] not in shown
    # What is masked once is harmless.
    assert masked(shown) == shown


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("around", ["/peer/tool/{}/x", "{}", "curl/8 {} (x)"])
def test_what_a_request_carries_is_masked_whatever_it_looks_like(encoding, around):
    encoded = ENCODINGS[encoding](WITHOUT_LOOK)
    shown = without_secrets(around.format(encoded), [WITHOUT_LOOK])
    assert MASK in shown
    assert encoded not in shown
    assert WITHOUT_LOOK not in shown


@pytest.mark.parametrize(
    "text",
    [
        "\\u0073k_live_0123456789",
        "\\x73k_live_0123456789",
        "&#115;k_live_0123456789",
        "&#x73;k_live_0123456789",
        "xsk_live_" + "0" * 49,
        "xeyJhbGciOiJub25lIn0.e30.",
        # Deeper than anybody decodes.
        "a/" + nested("%73k_live_0123456789", 6),
        "%%37%33k_live_0123456789",
    ],
)
def test_other_spellings(text):
    assert MASK in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/peer/agent/v1/chat/completions",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0",
        "/peer/a/3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "/blobs/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "/commit/d41d8cd98f00b204e9800998ecf8427e",
        "/u/01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "/b/VGhpcyBpcyBhIHNlbnRlbmNlIHdpdGhvdXQgYSBzZWNyZXQ",
        "/a%20b/c%2Fd/%ED%95%9C%EA%B8%80/100%",
        "/x/%41%42%43",
        "/task-list/eyJx",
        "/100%25",
    ],
)
def test_what_is_harmless_stays(text):
    assert masked(text) == text
    # And again, when it is remembered.
    assert masked(text) == text


def test_a_secret_is_not_remembered_as_harmless():
    for _ in range(2):
        assert masked(KEY) == MASK


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, []),
        ({b"x-api-key": b"hunter2hunter2"}, ["hunter2hunter2"]),
        ({b"x-api-key": b" short"}, []),
        ({b"x-api-key": KEY.encode()}, []),
        ({b"authorization": b"Bearer hunter2hunter2"}, ["hunter2hunter2"]),
        ({b"authorization": b"bearer   hunter2hunter2 "}, ["hunter2hunter2"]),
        ({b"authorization": b"Bearer " + TOKEN.encode()}, []),
        (
            {b"authorization": b"Basic " + base64.b64encode(b"user:hunter2")},
            ["dXNlcjpodW50ZXIy", "hunter2"],
        ),
        ({b"proxy-authorization": b"basic !"}, []),
        ({b"sec-websocket-protocol": b"mcp, portal-key.hunter2, x"}, ["hunter2"]),
        ({b"cookie": b"session=hunter2"}, []),
    ],
)
def test_the_credentials_of_a_request(fields, found):
    assert sent_secrets(fields) == found


@pytest.mark.parametrize(
    "query", ["a=1;token=s3cr3t", "a=1&api%255Fk%2565y=s3cr3t", "token%253Ds3cr3t"]
)
def test_names_of_parameters_in_other_spellings(query):
    assert "s3cr3t" not in masked_query(query)


UNITS = ["%", "%25", "%2525", "%73", "a", "0", "k_", "eyJ", "sk_live_", "sk-", "/", "&#", "\\u",
         "f0", "YWJj", "%2", "a/", ".", "eyJa.", "\\u{", "&#1"]  # fmt: skip


@pytest.mark.parametrize(
    "mask", [masked, masked_query, lambda text: without_secrets(text, ["xyzzyx"])]
)
@pytest.mark.parametrize("unit", UNITS)
def test_the_time_is_linear(mask, unit):
    """A text of 100 KB takes no longer than a hundred of 1 KB may."""
    text = (unit * 100_000)[:100_000]
    began = time.thread_time()
    mask(text)
    assert time.thread_time() - began < 1


@given(st.text(max_size=80))
def test_any_text_is_taken(text):
    shown = masked(text)
    assert masked(shown) == shown
    assert KEY not in masked(f"{text} {KEY} {text}")


def test_of_more_credentials_than_are_searched_for_the_whole_text_is_masked():
    members = [f"portal-key.credential-{number}" for number in range(9)]
    for offered, expected in (
        (members[:8], "/a/***/b"),
        (members[:8] * 100, "/a/***/b"),
        (members, MASK),
    ):
        secrets = sent_secrets({b"sec-websocket-protocol": ", ".join(offered).encode()})
        assert without_secrets("/a/credential-3/b", secrets) == expected


def test_an_encoded_secret_is_found_where_the_text_was_harmless_before():
    """Any character of a credential without a look may be encoded."""
    secret = "+/!zZ9=@="
    path = "/x/%2B%2F%21zZ9%3D%40%3D"
    assert without_secrets(path, ["another one"]) == path
    assert secret not in unquote(without_secrets(path, [secret]))
