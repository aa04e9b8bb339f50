"""What a lease says of its own places, as its client is told it."""

import re
import time
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.policy.rewriting import MAX_VALUE, REWRITTEN, LeaseView, cookie_of_host

VIEW = LeaseView(b"/peer/tool", b"gw.example:8080")
PLAIN = LeaseView(b"/peer/tool", b"tool.portal.example")
BASED = LeaseView(b"/peer/tool", b"relay.example", b"/base/peer/tool")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/", "/peer/tool/"),
        ("/x", "/peer/tool/x"),
        ("/x/?q=1#f", "/peer/tool/x/?q=1#f"),
        ("/?q", "/peer/tool/?q"),
        ("/a//b", "/peer/tool/a//b"),
        ("/%2e%2E/x", "/peer/tool/x"),
        ("/../x", "/peer/tool/x"),
        ("/../../other/x", "/peer/tool/other/x"),
        ("/a/./b/../c?x=/../y", "/peer/tool/a/c?x=/../y"),
        ("/a/..", "/peer/tool/"),
        ("/a/b/.", "/peer/tool/a/b/"),
        ("/a/..b/.c/...", "/peer/tool/a/..b/.c/..."),
        # A lease that heeds X-Forwarded-Prefix.
        ("/peer/tool", "/peer/tool"),
        ("/peer/tool/x", "/peer/tool/x"),
        ("/peer/tool?x", "/peer/tool?x"),
        ("/peer/tool#x", "/peer/tool#x"),
        ("/peer/toolbox", "/peer/tool/peer/toolbox"),
        ("/peer/other/x", "/peer/tool/peer/other/x"),
        # Relative references.
        ("", ""),
        ("x", "x"),
        ("./x", "./x"),
        ("../x", "../x"),
        ("?q", "?q"),
        ("#f", "#f"),
        ("x:y/z", "x:y/z"),
        ("mailto:a@b", "mailto:a@b"),
        # Its own host.
        ("http://gw.example:8080", "/peer/tool/"),
        ("http://gw.example:8080/x", "/peer/tool/x"),
        ("HTTPS://GW.example:8080/x?q", "/peer/tool/x?q"),
        ("http://gw.example:8080?q", "/peer/tool/?q"),
        ("http://gw.example:8080#f", "/peer/tool/#f"),
        ("http://gw.example:8080/peer/tool/x", "/peer/tool/x"),
        ("http://gw.example:8080//evil.example/x", "/peer/tool//evil.example/x"),
        ("//gw.example:8080/x", "/peer/tool/x"),
        # Others.
        ("http://gw.example/x", "http://gw.example/x"),
        ("//gw.example/x", "//gw.example/x"),
        ("http://gw.example:8081/x", "http://gw.example:8081/x"),
        ("http://gw.example:080800/x", "http://gw.example:080800/x"),
        ("http://user@gw.example:8080/x", "http://user@gw.example:8080/x"),
        ("http://gw.example:8080@evil.example/", "http://gw.example:8080@evil.example/"),
        ("http://evil.example/x", "http://evil.example/x"),
        ("//evil.example/x", "//evil.example/x"),
        ("ftp://gw.example:8080/x", "ftp://gw.example:8080/x"),
        ("http:/x", "http:/x"),
        ("http:///x", "http:///x"),
        ("///x", "///x"),
        # What two readers may read differently.
        ("/\\evil.example", "/\\evil.example"),
        ("/\t/evil.example", "/\t/evil.example"),
        ("/a b", "/a b"),
        ("\x00/x", "\x00/x"),
        ("/x\x7f", "/x\x7f"),
    ],
)
def test_references(value, expected):
    assert VIEW.reference(value.encode()) == expected.encode()


@pytest.mark.parametrize(
    ("host", "url", "own"),
    [
        (b"a.example", b"http://a.example/", True),
        (b"a.example", b"http://a.example:/", True),
        (b"a.example", b"http://a.example:80/", True),
        (b"a.example", b"https://a.example:443/", True),
        (b"a.example", b"//a.example/", True),
        (b"a.example", b"//a.example:80/", True),
        (b"a.example", b"//a.example:443/", True),
        (b"a.example", b"http://a.example:443/", False),
        (b"a.example", b"https://a.example:80/", False),
        (b"a.example", b"//a.example:8080/", False),
        (b"a.example", b"http://b.a.example/", False),
        (b"a.example", b"http://a.example.evil/", False),
        (b"a.example:443", b"https://a.example/", True),
        (b"a.example:443", b"//a.example/", True),
        (b"a.example:443", b"http://a.example/", False),
        (b"a.example:8443", b"https://a.example:8443/", True),
        (b"[::1]:8080", b"http://[::1]:8080/", True),
        (b"[::1]", b"http://[::1]/", True),
        (b"[::1]", b"http://[::2]/", False),
        (b"", b"http://a.example/", False),
    ],
)
def test_which_authority_is_the_lease(host, url, own):
    found = LeaseView(b"/peer/tool", host).reference(url + b"x")
    assert found == (b"/peer/tool/x" if own else url + b"x")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"/base/peer/tool/x", b"/peer/tool/x"),
        (b"/base/peer/tool", b"/peer/tool/"),
        (b"/base/peer/tool?q", b"/peer/tool/?q"),
        (b"/base/peer/toolbox", b"/peer/tool/base/peer/toolbox"),
        (b"/x", b"/peer/tool/x"),
        (b"https://relay.example/base/peer/tool/x", b"/peer/tool/x"),
        (b"https://relay.example/x", b"/peer/tool/x"),
    ],
)
def test_a_base_at_the_relay_is_taken_away(value, expected):
    assert BASED.reference(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"5", b"5"),
        (b"5; url=/x", b"5; url=/peer/tool/x"),
        (b"0;URL=/x", b"0;URL=/peer/tool/x"),
        (b"1.5 , url = /x", b"1.5 , url = /peer/tool/x"),
        (b"5; /x", b"5; /peer/tool/x"),
        (b"5 /x", b"5 /peer/tool/x"),
        (b"5; url='/x'", b"5; url='/peer/tool/x'"),
        (b'5; url="/x"; more', b'5; url="/peer/tool/x"; more'),
        (b'5; url="/x', b'5; url="/peer/tool/x'),
        (b"5; url=/x ", b"5; url=/peer/tool/x "),
        (b"5; url=x", b"5; url=x"),
        (b"5; url=", b"5; url="),
        (b"5; url=''", b"5; url=''"),
        (b"5; url=http://tool.portal.example/x", b"5; url=/peer/tool/x"),
        (b"5; url=http://evil.example/x", b"5; url=http://evil.example/x"),
        (b"url=/x", b"url=/x"),
        (b"; url=/x", b"; url=/x"),
        (b"", b""),
    ],
)
def test_refresh(value, expected):
    assert PLAIN.refresh(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a=1", b"a=1"),
        (b"a=1; HttpOnly", b"a=1; HttpOnly"),
        (b"a=1; Path=/", b"a=1; Path=/peer/tool/"),
        (b"a=1;path=/x;Secure", b"a=1;path=/peer/tool/x;Secure"),
        (b"a=1; PATH = /x ; Secure", b"a=1; PATH =/peer/tool/x; Secure"),
        (b"a=1; Path=/a; Path=/b", b"a=1; Path=/peer/tool/a; Path=/peer/tool/b"),
        (b"a=1; Path=/peer/tool", b"a=1; Path=/peer/tool"),
        (b"a=1; Path=/peer/tool/x", b"a=1; Path=/peer/tool/x"),
        (b"a=1; Path=/peer/other", b"a=1; Path=/peer/tool/peer/other"),
        # What is no path from the root: some clients take it for "/".
        (b"a=1; Path=", b"a=1; Path=/peer/tool/"),
        (b"a=1; Path", b"a=1; Path=/peer/tool/"),
        (b"a=1; Path=x", b"a=1; Path=/peer/tool/"),
        (b"a=1; Path=%2F", b"a=1; Path=/peer/tool/"),
        (b"a=1; Path=\\", b"a=1; Path=/peer/tool/"),
        (b"a=1; Path=\xa0/", b"a=1; Path=/peer/tool/"),
        (b"a=1; Path=http://gw.example:8080/", b"a=1; Path=/peer/tool/"),
        # Quotes, which some clients remove.
        (b'a=1; Path="/"', b"a=1; Path=/peer/tool/"),
        (b'a=1; path="/x" ; Secure', b"a=1; path=/peer/tool/x; Secure"),
        (b"a=1; Path='/x'", b"a=1; Path=/peer/tool/"),
        (b'a=1; Path="/', b"a=1; Path=/peer/tool/"),
        (b'a=1; Path=/"', b"a=1; Path=/peer/tool/"),
        (b'a=1; Path=" /"', b"a=1; Path=/peer/tool/"),
        (b'a=1; Path=/peer/other/"', b"a=1; Path=/peer/tool/peer/other/"),
        (b'a=1; Path=/a"b', b"a=1; Path=/peer/tool/"),
        # What two clients may take for two paths.
        (b"a=1; Path=/peer/tool/../other/", b"a=1; Path=/peer/tool/"),
        (b"a=1; Path=/%2e%2E/other", b"a=1; Path=/peer/tool/"),
        (b"a=1; Path=/a b", b"a=1; Path=/peer/tool/"),
        (b"a=1; Path=/peer/tool\\..\\other", b"a=1; Path=/peer/tool/"),
        (b"a=1; Path=/a\xc3\xa9", b"a=1; Path=/peer/tool/a\xc3\xa9"),
        # Several, tabs, other white space, a name that some clients read as this one.
        (b"a=1; Path=/; Path=x", b"a=1; Path=/peer/tool/; Path=/peer/tool/"),
        (b'a=1;\tPath\t=\t"/"\t;Path', b"a=1;\tPath\t=/peer/tool/;Path=/peer/tool/"),
        (b"a=1; \xa0Path=/", b"a=1; \xa0Path=/peer/tool/"),
        (b'a=1; "Path"="/"', b'a=1; "Path"=/peer/tool/'),
        (b"a=1; $Path=/", b"a=1; $Path=/peer/tool/"),
        # Cookies without a name, whose attributes are attributes all the same.
        (b"=x; Path=/", b"=x; Path=/peer/tool/"),
        (b"; Path=/", b"; Path=/peer/tool/"),
        (b"x; Path=/", b"x; Path=/peer/tool/"),
        # Control characters: clients drop the cookie, cut it, or go on.
        (b"a=1; Path=/\x00", None),
        (b"a=1;\x0bPath=/", None),
        (b"a=1; Path=/x\x7f", None),
        (b"a\x01=1", None),
        (b"Path=/x", b"Path=/x"),
        (b"Path=/x; Max-Age=1", b"Path=/x; Max-Age=1"),
        (b"a=1; Domain=tool.portal.example", b"a=1"),
        (b"a=1; domain=.Portal.example; Path=/", b"a=1; Path=/peer/tool/"),
        (b"a=1; Domain=example", b"a=1"),
        (b"a=1; Domain=al.example", b"a=1; Domain=al.example"),
        (b"a=1; Domain=evil.example", b"a=1; Domain=evil.example"),
        (b"a=1; Domain=x.tool.portal.example", b"a=1; Domain=x.tool.portal.example"),
        (b'a=1; Domain="tool.portal.example"', b"a=1"),
        (b'a=1; Domain="evil.example"; Secure', b"a=1; Secure"),
        (b"a=1; Domain='portal.example'", b"a=1"),
        (b"a=1;\tDomain\t=\t.portal.example\t", b"a=1"),
        (b"a=1; \xa0Domain=portal.example\xa0", b"a=1"),
        (b"a=1; Domain=portal.example:443", b"a=1"),
        (b"a=1; Domain=portal.ex%61mple", b"a=1"),
        (b'a=1; Domain=evil.example; Domain="portal.example"', b"a=1; Domain=evil.example"),
        (b"a=1; Domain=", b"a=1; Domain="),
        (b"__Host-a=1; Path=/; Secure", b"__Host-a=1; Path=/peer/tool/; Secure"),
        (b"", b""),
        (b";", b";"),
        (
            b"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
            b"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
        ),
    ],
)
def test_cookies(value, expected):
    assert PLAIN.set_cookie(value) == expected


BARE = LeaseView(b"/peer/tool", b"gw.example:8080", without_slash=True)
"""For a client whose URL is the prefix: the directory of that is the one of all leases."""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a=1", b"a=1; Path=/peer/tool/"),
        (b"", b"; Path=/peer/tool/"),
        (b"a=1; HttpOnly", b"a=1; HttpOnly; Path=/peer/tool/"),
        (b"a=1; Path=x", b"a=1; Path=/peer/tool/"),
        (b"a=1; Path=", b"a=1; Path=/peer/tool/"),
        (b"a=1; Path=/x", b"a=1; Path=/peer/tool/x"),
        (b"Path=/x", b"Path=/x; Path=/peer/tool/"),
        (b"a=1; Path=/x; Path=y; Secure", b"a=1; Secure; Path=/peer/tool/"),
        (b'a="x; Path=/y; b"', b'a="x; b"; Path=/peer/tool/y'),
        (b'a=1; Domain="gw.example"', b"a=1; Path=/peer/tool/"),
    ],
)
def test_cookies_for_a_client_without_a_slash(value, expected):
    assert BARE.set_cookie(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"login", b"/peer/tool/login"),
        (b"./login?q#f", b"/peer/tool/login?q#f"),
        (b"../other/x", b"/peer/tool/other/x"),
        (b".", b"/peer/tool/"),
        (b"a/../../b", b"/peer/tool/b"),
        (b"peer/other/x", b"/peer/tool/peer/other/x"),
        (b"?q", b"/peer/tool/?q"),
        (b"a:b", b"a:b"),
        (b"./a:b", b"/peer/tool/a:b"),
        (b"1a:b", b"/peer/tool/1a:b"),
        (b"http:login", b"http:login"),
        (b"mailto:a@b", b"mailto:a@b"),
        (b"", b""),
        (b"#f", b"#f"),
        (b"/x", b"/peer/tool/x"),
        (b"/peer/tool", b"/peer/tool"),
        (b"//evil.example/x", b"//evil.example/x"),
    ],
)
def test_references_for_a_client_without_a_slash(value, expected):
    assert BARE.reference(value) == expected
    assert BARE.refresh(b"0; url=" + value) == b"0; url=" + expected
    assert BARE.link(b"<" + value + b">") == b"<" + expected + b">"


def test_a_cookie_of_a_lease_with_a_semicolon_does_not_come_to_another():
    view = LeaseView(b"/peer/a;b", b"h")
    assert view.set_cookie(b"x=1; Path=/") == b"x=1; Path=/peer/a%3Bb/"


def test_a_cookie_path_at_a_relay_loses_the_base():
    assert BASED.set_cookie(b"x=1; Path=/base/peer/tool/a") == b"x=1; Path=/peer/tool/a"
    assert BASED.set_cookie(b"x=1; Path=/base/peer/tool") == b"x=1; Path=/peer/tool/"


@pytest.mark.parametrize(
    ("value", "host", "expected"),
    [
        (b"a=1", b"tool.gw.example", b"a=1"),
        (b"a=1; Path=/x; Secure", b"tool.gw.example", b"a=1; Path=/x; Secure"),
        (b"a=1; Domain=gw.example", b"tool.gw.example:8443", b"a=1"),
        (b"a=1; Domain=.example; Path=/", b"tool.gw.example", b"a=1; Path=/"),
        (b"a=1;DOMAIN = gw.EXAMPLE. ", b"tool.gw.example.", b"a=1"),
        (b"a=1; Domain=tool.gw.example", b"tool.gw.example", b"a=1; Domain=tool.gw.example"),
        (b"a=1; Domain=ool.gw.example", b"tool.gw.example", b"a=1; Domain=ool.gw.example"),
        (b"a=1; Domain=x.tool.gw.example", b"tool.gw.example", b"a=1; Domain=x.tool.gw.example"),
        (b"Domain=gw.example; Path=/", b"tool.gw.example", b"Domain=gw.example; Path=/"),
        (b"a=1; Domain=gw.example", b"", b"a=1; Domain=gw.example"),
        (b"a=1; x=" + b"y" * MAX_VALUE, b"tool.gw.example", None),
        (b"a=1" + b"y" * MAX_VALUE, b"tool.gw.example", None),
        (b'a=1; Domain="gw.example"', b"tool.gw.example", b"a=1"),
        (b'a=1; "Domain"=gw.example', b"tool.gw.example", b"a=1"),
        (b"a=1; Domain=gw.example\xa0; Secure", b"tool.gw.example", b"a=1; Secure"),
        (b"a=1; \xa0Domain=gw.example", b"tool.gw.example", b"a=1"),
        (b'a=1; Path="/x"', b"tool.gw.example", b'a=1; Path="/x"'),
        (b"a=1\x0c; Domain=gw.example", b"tool.gw.example", None),
    ],
)
def test_a_cookie_of_a_host_is_for_no_host_above_it(value, host, expected):
    assert cookie_of_host(value, host) == expected


def test_a_cookie_below_a_path_is_for_no_host_that_the_client_asked():
    view = LeaseView(b"/peer/tool", b"inner.test", asked_host=b"gw.example:8080")
    assert view.set_cookie(b"a=1; Domain=example; Path=/") == b"a=1; Path=/peer/tool/"
    assert view.set_cookie(b"a=1; Domain=test") == b"a=1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"</x>", b"</peer/tool/x>"),
        (b"</x>; rel=preload; as=style", b"</peer/tool/x>; rel=preload; as=style"),
        (b"</x>;rel=preload,</y>;rel=next", b"</peer/tool/x>;rel=preload, </peer/tool/y>;rel=next"),
        (b" , </x> , , </y> ,", b"</peer/tool/x>, </peer/tool/y>"),
        (b"<x>; rel=next", b"<x>; rel=next"),
        (b"<../x>, <?q>, <#f>, <>", b"<../x>, <?q>, <#f>, <>"),
        (b"<https://cdn.example/x>; rel=preconnect", b"<https://cdn.example/x>; rel=preconnect"),
        (b"<http://gw.example:8080/x>; rel=a", b"</peer/tool/x>; rel=a"),
        (b"<//gw.example:8080/x>", b"</peer/tool/x>"),
        (b"</peer/tool/x>", b"</peer/tool/x>"),
        (b"</a,b;c>; rel=x", b"</peer/tool/a,b;c>; rel=x"),
        (b'</x>; title="a, </y>; \\" b"', b'</peer/tool/x>; title="a, </y>; \\" b"'),
        (b"</x>; title*=UTF-8'de'a%20b", b"</peer/tool/x>; title*=UTF-8'de'a%20b"),
        (b"</x>; crossorigin; nopush", b"</peer/tool/x>; crossorigin; nopush"),
        (b"</x>; type=font/woff2; as = font", b"</peer/tool/x>; type=font/woff2; as = font"),
        (b"</x>;; rel=a;", b"</peer/tool/x>;; rel=a;"),
        (b'</x>; anchor="/y"; rel=a', b'</peer/tool/x>; anchor="/peer/tool/y"; rel=a'),
        (b"</x>; Anchor=/y", b'</peer/tool/x>; anchor="/peer/tool/y"'),
        (b'</x>; anchor="#y"', b'</peer/tool/x>; anchor="#y"'),
        (b'</x>; anchor=""', b'</peer/tool/x>; anchor=""'),
        (b"", b""),
        (b" ,, ", b""),
        # What two readers may read differently.
        (b"/x", None),
        (b"</x", None),
        (b"</x> rel=a", None),
        (b"</x>; rel=a b", None),
        (b"</x></y>", None),
        (b"</x>; <y>", None),
        (b"</x>; a=</y>", None),
        (b'</x>; title="a, </y>', None),
        (b'</x>; title="a\\', None),
        (b'</x>; title="a"b', None),
        (b"< /x>", None),
        (b"</\\evil.example/>", None),
        (b"<</x>>", None),
        (b'</x">', None),
        (b"</x>, y", None),
        (b"</x>; rel=\x00", None),
        (b"</" + b"x" * MAX_VALUE + b">", None),
    ],
)
def test_links(value, expected):
    assert VIEW.link(value) == expected


def test_a_cookie_of_paths_does_not_become_one_of_prefixes():
    view = LeaseView(b"/peer/" + b"a" * 1000, b"h")
    value = b"a=1;" + b"Path=/;path=/x;PATH = /y;" * 500 + b"Secure"
    found = view.set_cookie(value)
    assert found == b"a=1;PATH =/peer/" + b"a" * 1000 + b"/y;Secure"


def test_links_do_not_become_links_of_prefixes():
    view = LeaseView(b"/peer/" + b"a" * 1000, b"h")
    assert view.link(b", ".join([b"</x>"] * 30)) is not None
    assert view.link(b", ".join([b"</x>"] * 40)) is None
    assert view.link(b"</x>" + b'; anchor="/y"' * 30) is not None
    assert view.link(b"</x>" + b'; anchor="/y"' * 40) is None


def test_a_url_that_is_too_long_is_not_looked_at():
    for rewrite, value in (
        (VIEW.reference, b"/" + b"x" * MAX_VALUE),
        (VIEW.refresh, b"0; url=/" + b"x" * MAX_VALUE),
    ):
        assert rewrite(value) == value


def test_a_cookie_that_is_too_long_is_dropped():
    assert VIEW.set_cookie(b"a=1; Path=/" + b"x" * MAX_VALUE) is None
    assert VIEW.set_cookie(b"a=1" + b"x" * MAX_VALUE) is None


@pytest.mark.parametrize("name", sorted(REWRITTEN))
@pytest.mark.parametrize(
    "unit",
    [b" ", b"/", b"/..", b"/%2e", b"//", b";", b"; Path=/", b"0", b"0 ", b";,", b"url=", b"'", b":",
     b"http://", b"a.", b"%", b"#", b"?", b"</x>", b"</x>,", b"<", b"<>;", b"; a", b"; a=",
     b'; a="b"', b'"', b"\\", b'; anchor=/', b","],
)  # fmt: skip
def test_the_time_is_linear(name, unit):
    """The longest value of each shape takes no longer than a thousand short ones would."""
    rewrite = REWRITTEN[name]
    for start in (
        b"",
        b"/",
        b"0; url=",
        b"0",
        b"a=1; ",
        b"//",
        b"http://gw.example:8080/",
        b"<",
        b"</x>",
        b'</x>; a="',
    ):
        value = (start + unit * MAX_VALUE)[:MAX_VALUE]
        began = time.thread_time()
        rewrite(VIEW, value)
        assert time.thread_time() - began < 0.25


ALPHABET = st.sampled_from([*"/.?#:;=@%2eE \\ahtp[]8", "gw.example:8080", "http://", "//"])
VALUES = st.lists(ALPHABET, max_size=12).map(lambda parts: "".join(parts).encode())


@given(VALUES)
def test_a_reference_is_the_same_place_or_untouched(value):
    """What a client resolves is the lease's path below the prefix, or what the lease had said."""
    found = VIEW.reference(value)
    if found == value:
        return
    before = urlsplit(value)
    after = urlsplit(found)
    assert (after.scheme, after.netloc) == (b"", b"")
    assert after.path.startswith(b"/peer/tool/")
    assert (after.query, after.fragment) == (before.query, before.fragment)
    # Resolved by another implementation, from the root of the lease and from that of the gateway.
    assert urljoin(b"http://h/", found).startswith(b"http://h/peer/tool/")
    if b"%" not in value and b"//" not in before.path:
        plain = urlsplit(urljoin(b"http://h/", before.path or b"/")).path
        assert urlsplit(urljoin(b"http://h/", after.path)).path == b"/peer/tool" + plain


@given(VALUES)
def test_rewriting_twice_is_rewriting_once(value):
    for name, rewrite in REWRITTEN.items():
        once = rewrite(VIEW, b"<" + value + b">" if name == b"link" else value)
        if once is None:
            assert name == b"link"
        else:
            assert rewrite(VIEW, once) == once


@given(st.binary(max_size=200))
def test_any_bytes_are_taken(value):
    for name, rewrite in REWRITTEN.items():
        found = rewrite(VIEW, value)
        if found is None:
            drops_controls = name == b"set-cookie" and re.search(rb"[\x00-\x1f\x7f]", value)
            assert name == b"link" or drops_controls
            continue
        assert b"\r" in value or b"\r" not in found
        assert b"\n" in value or b"\n" not in found


LINK_PARTS = st.sampled_from(
    [
        "<",
        ">",
        "/x",
        "x",
        ",",
        ";",
        " ",
        '"',
        "\\",
        "=",
        "a",
        "anchor",
        "rel",
        "</x>",
        "; a=b",
        ", <y>",
    ]
)


@given(st.lists(LINK_PARTS, max_size=16).map(lambda parts: "".join(parts).encode()))
def test_no_link_leads_beside_the_prefix(value):
    """As browsers read it: what is between < and > and not in quotes is a target."""
    found = VIEW.link(value)
    if found is None:
        return
    bare = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", found)
    for target in re.findall(rb"<([^>]*)>", bare):
        assert not target.startswith(b"/") or target.startswith(b"/peer/tool/")
    assert VIEW.link(found) == found


@given(VALUES, VALUES)
def test_no_cookie_gets_a_path_beside_the_prefix(path, domain):
    for view in (VIEW, BARE):
        found = view.set_cookie(b"a=1; Path=" + path + b"; Domain=" + domain)
        if found is None:
            continue
        paths = [
            part.partition(b"=")[2].strip()
            for part in found.split(b";")[1:]
            if part.partition(b"=")[0].strip().lower() == b"path"
        ]
        assert paths
        for kept in paths:
            assert urljoin("http://h/", kept.decode("latin-1")).startswith("http://h/peer/tool")
            assert kept.startswith((b"/peer/tool/", b"/peer/tool?", b"/peer/tool#")) or (
                kept == b"/peer/tool"
            )
