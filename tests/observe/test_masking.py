"""What is masked, and what is left as it was sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.observe.masking import MASK, masked, masked_query


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
