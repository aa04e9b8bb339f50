import time

import pytest

from portal_gateway.config.security_headers import SecurityHeadersSection, SecurityPath
from portal_gateway.exchange import Exchange, Passage
from portal_gateway.policy.security_headers import DEFAULTS, SecurityHeaders

CSP, HSTS = "Content-Security-Policy", "Strict-Transport-Security"


def names(fields):
    return [name.decode() for name, _ in fields]


def told(section=None, headers=(), path="/peer/tool/", *, secure=False, of_lease=False):
    headers = list(headers)
    made = SecurityHeaders(section or SecurityHeadersSection())
    exchange = Exchange("req_1", "192.0.2.1", 0.0, path=path)
    return made.added(headers, exchange, secure=secure, of_lease=of_lease)


@pytest.mark.parametrize(
    ("secure", "of_lease", "left_out"),
    [
        (False, False, {HSTS}),
        (True, False, set()),
        (False, True, {HSTS, CSP}),
        (True, True, {CSP}),
    ],
)
def test_each_kind_of_answer_has_its_fields(secure, of_lease, left_out):
    fields = told(secure=secure, of_lease=of_lease)
    expected = [(name, value) for name, value in DEFAULTS.items() if name not in left_out]
    assert [(name.decode(), value.decode()) for name, value in fields] == expected


def test_what_a_lease_says_stands():
    own = [(b"x-frame-options", b"SAMEORIGIN"), (b"Server", b"lease")]
    fields = told(headers=own, of_lease=True)
    assert fields[:2] == own
    assert names(fields[2:]) == ["X-Content-Type-Options", "X-XSS-Protection"]


def test_override_takes_its_place():
    own = [(b"x-frame-options", b"SAMEORIGIN"), (b"Server", b"lease")]
    own.append((CSP.encode(), b"default-src *"))
    fields = told(SecurityHeadersSection(override=True), own, of_lease=True)
    # The policy is not told here, so there is nothing to take its place.
    assert fields[:2] == own[1:]
    assert (b"X-Frame-Options", b"DENY") in fields


def test_fields_change_and_go():
    section = SecurityHeadersSection(
        headers={"x-frame-options": "SAMEORIGIN", "X-XSS-Protection": None, "Referrer-Policy": "no"}
    )
    fields = dict(told(section))
    assert fields[b"x-frame-options"] == b"SAMEORIGIN"
    assert b"X-XSS-Protection" not in fields
    assert fields[b"Referrer-Policy"] == b"no"


def test_the_first_path_that_fits_holds():
    section = SecurityHeadersSection(
        headers={"X-Frame-Options": "SAMEORIGIN"},
        paths=(
            SecurityPath("/peer/tool/*", {CSP: "default-src 'none'"}, override=True),
            SecurityPath("/peer/*", {"X-Frame-Options": None}),
        ),
    )
    lease = [(b"X-Frame-Options", b"ALLOW")]
    fields = told(section, lease, "/peer/tool/x/y", of_lease=True)
    assert dict(fields)[CSP.encode()] == b"default-src 'none'"
    assert (b"X-Frame-Options", b"SAMEORIGIN") in fields
    assert lease[0] not in fields
    assert told(section, lease, "/peer/other", of_lease=True)[0] == lease[0]
    assert b"X-Frame-Options" not in dict(told(section, path="/peer/other"))
    assert dict(told(section, path="/health"))[b"X-Frame-Options"] == b"SAMEORIGIN"


def test_headers_are_not_changed_in_place():
    headers = [(b"Server", b"lease")]
    told(headers=headers)
    assert headers == [(b"Server", b"lease")]


def test_no_path_takes_long():
    section = SecurityHeadersSection(paths=(SecurityPath("*a*a*a*a*a*b"),) * 10)
    made = SecurityHeaders(section)
    began = time.process_time()
    exchange = Exchange("req_1", "192.0.2.1", 0.0, path="/" + "a" * 8000)
    made.added([], exchange, secure=False, of_lease=False)
    assert time.process_time() - began < 0.05


PATHS = SecurityHeadersSection(
    paths=(SecurityPath("/peer/Tool/page*", {"X-Frame-Options": "SAMEORIGIN"}),)
)


@pytest.mark.parametrize("path", ["/peer/tool/page", "/peer/TOOL/Page", "/peer/%74ool/p%61ge/x"])
def test_the_spelling_of_a_path_makes_no_difference(path):
    assert dict(told(PATHS, path=path))[b"X-Frame-Options"] == b"SAMEORIGIN"


@pytest.mark.parametrize(
    ("names", "target", "value"),
    [
        (("tool", "ID"), b"/page?x=1", b"SAMEORIGIN"),
        (("ID", "tool"), b"/%70age", b"SAMEORIGIN"),
        ((), b"/page", b"SAMEORIGIN"),
        (("tool",), b"/other?/page", b"DENY"),
        (("tool",), None, b"DENY"),
        (("ID", "other"), b"/page", b"DENY"),
    ],
)
def test_a_lease_is_at_one_place_by_each_of_its_names(names, target, value):
    exchange = Exchange("req_1", "192.0.2.1", 0.0, path="/ws/whatever")
    exchange.lease = "tool"
    exchange.lease_names = names
    exchange.upstream_target = target
    fields = SecurityHeaders(PATHS).added([], exchange, secure=False, of_lease=True)
    assert dict(fields)[b"X-Frame-Options"] == value


ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize(
    ("pattern", "names", "fits"),
    [
        ("/peer/a*", ("billing", ID), False),
        ("/peer/*z/page", ("billing", ID), False),
        ("/peer/*m*/page", ("billing", ID), False),
        ("/peer/a*", (ID,), False),
        (f"/peer/{ID}*", (ID,), True),
        (f"/peer/{ID}/*", ("billing", ID), True),
        (f"/peer/{ID.lower()}/page", (ID,), True),
        (f"/peer/{ID}/other", ("billing", ID), False),
        ("/peer/*", (ID,), True),
        ("/peer/*/page", (ID,), True),
        ("*page", (ID,), True),
        ("/p*/page", (ID,), True),
        ("/peer/b*", ("billing", ID), True),
        ("/peer/a*", ("agent", ID), True),
        ("/peer/a*", (ID.lower(),), True),
    ],
)
def test_part_of_an_id_is_matched_by_no_path(pattern, names, fits):
    exchange = Exchange("req_1", "192.0.2.1", 0.0, path="/peer/whatever/page")
    exchange.lease = names[0]
    exchange.lease_names = names
    exchange.upstream_target = b"/page"
    paths = (
        SecurityPath("/health", {"X-Frame-Options": "none"}),
        SecurityPath(pattern, {"X-Frame-Options": "SAMEORIGIN"}),
    )
    made = SecurityHeaders(SecurityHeadersSection(paths=paths))
    fields = made.added([], exchange, secure=False, of_lease=True)
    assert (dict(fields)[b"X-Frame-Options"] == b"SAMEORIGIN") == fits


@pytest.mark.parametrize(
    ("scheme", "secure", "expected"),
    [
        (b"https", False, True),
        (b"http", True, False),
        (b"", True, True),
        (b"", False, False),
    ],
)
def test_what_a_trusted_proxy_says_of_its_side_counts(scheme, secure, expected):
    exchange = Exchange("req_1", "192.0.2.1", 0.0, path="/")
    exchange.passage = Passage(("192.0.2.1",), scheme)
    made = SecurityHeaders(SecurityHeadersSection())
    fields = made.added([], exchange, secure=secure, of_lease=False)
    assert (HSTS.encode() in dict(fields)) is expected


def test_the_first_path_for_any_name_of_a_lease_holds():
    section = SecurityHeadersSection(
        paths=tuple(
            SecurityPath(f"/peer/{name}/*", {"X-Frame-Options": value})
            for name, value in (("x", "X"), ("id", "FIRST"), ("tool", "SECOND"))
        )
    )
    exchange = Exchange("req_1", "192.0.2.1", 0.0, path="/peer/tool/")
    exchange.lease, exchange.lease_names = "tool", ("tool", "ID")
    fields = SecurityHeaders(section).added([], exchange, secure=False, of_lease=True)
    assert dict(fields)[b"X-Frame-Options"] == b"FIRST"
    exchange.lease_names = ("neither",)
    fields = SecurityHeaders(section).added([], exchange, secure=False, of_lease=True)
    assert dict(fields)[b"X-Frame-Options"] == b"DENY"
