import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.tls.acme_names import domain_of, domain_of_stem, stem_of


@pytest.mark.parametrize(
    ("written", "domain"),
    [
        ("example.com", "example.com"),
        ("Example.COM.", "example.com"),
        ("*.example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("localhost", "localhost"),
        ("1.example", "1.example"),
    ],
)
def test_host_names(written, domain):
    assert domain_of(written) == domain


@pytest.mark.parametrize(
    "written",
    [
        *("", ".", "a..b", "-a.example", "a-.example", "a_b.example", "a b.example", "a/b", "../a"),
        *("*", "*.", "*.com", "a.*.example", "*a.example", "192.0.2.1", "::1", "a" * 64 + ".b"),
        *(".".join(["a" * 60] * 5), "a.example:443", "a\n", "\x00", "xn--\u00fc.a", "ü" * 70),
    ],
)
def test_no_host_names(written):
    assert domain_of(written) is None


@given(st.text())
def test_a_stem_is_a_plain_file_name(written):
    domain = domain_of(written)
    if domain is not None:
        stem = stem_of(domain)
        assert not set(stem) & set("/*\0 ")
        assert not stem.startswith(".")
        assert domain_of(domain) == domain


@given(st.text())
def test_only_what_is_a_host_name_already_asks_by_its_file(stem):
    assert domain_of_stem(stem) in {None, stem}


def test_no_file_asks_for_a_wildcard():
    assert domain_of_stem("a.example") == "a.example"
    assert domain_of_stem("*.a.example") is None
    assert domain_of_stem(stem_of("*.a.example")) is None
    assert domain_of_stem("A.example") is None
