"""Which HTTP/2 requests are read, and as what HTTP/1.1 requests (test case H7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.wire.http1_head import BadRequest
from portal_gateway.wire.http1_request import RequestLimits, RequestReader
from portal_gateway.wire.http1_writing import serialise_request
from portal_gateway.wire.http2_request import read_request, read_trailers

LIMITS = RequestLimits()

BASE = {b":method": b"GET", b":scheme": b"https", b":authority": b"h", b":path": b"/"}


def fields(*more, **changed):
    """A good request's fields with some changed (None: left out), and more after them."""
    pseudo = {**BASE, **{b":" + name.encode(): value for name, value in changed.items()}}
    return [(name, value) for name, value in pseudo.items() if value is not None] + list(more)


def read(*more, ends=True, limits=LIMITS, **changed):
    return read_request(fields(*more, **changed), limits, ends=ends)


def test_a_request():
    head = read((b"accept", b"*/*"), path=b"/a?b=c")
    expected = {
        "method": b"GET",
        "target": b"/a?b=c",
        "version": b"2",
        "headers": [(b"Host", b"h"), (b"accept", b"*/*")],
        "keep_alive": True,
        "content_length": None,
        "chunked": False,
        "expects_continue": False,
        "host": b"h",
        "index": {b"host": b"h", b"accept": b"*/*"},
    }
    assert {name: getattr(head, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("more", "changed"),
    [
        ([], {"method": None}),
        ([], {"scheme": None}),
        ([], {"path": None}),
        ([], {"authority": None}),
        ([], {"method": b""}),
        ([], {"method": b"GE T"}),
        ([], {"method": b"GET\r\n"}),
        ([], {"method": b"GET /x HTTP/1.1\r\nHost: a\r\n\r\nGET"}),
        ([], {"path": b""}),
        ([], {"path": b"x"}),
        ([], {"path": b"/a b"}),
        ([], {"path": b"/a\r\nX: y"}),
        ([], {"path": b"/a HTTP/1.1\r\nX: y\r\n\r\n"}),
        ([], {"path": b"/a\0"}),
        ([], {"path": b"/a\\b"}),
        ([], {"path": b"/a#b"}),
        ([], {"path": b"/\xe4"}),
        ([], {"path": b"*"}),
        ([], {"path": b"http://other/"}),
        ([], {"path": b"https://h/"}),
        ([], {"method": b"OPTIONS", "path": b"*x"}),
        ([], {"scheme": b"https://other/x"}),
        ([], {"scheme": b"ftp"}),
        ([], {"scheme": b""}),
        ([], {"authority": b""}),
        ([], {"authority": b"a b"}),
        ([], {"authority": b"a\r\nX: y"}),
        ([], {"authority": b"user@h"}),
        ([], {"authority": b"h/x"}),
        ([], {"authority": b"h:99999"}),
        ([], {"authority": b"h,other"}),
        ([], {"status": b"200"}),
        ([], {"protocol": b"websocket"}),
        ([(b":path", b"/other")], {}),
        ([(b"a", b"b"), (b":path", b"/")], {"path": None}),
        ([(b"host", b"other")], {}),
        ([(b"host", b"h"), (b"host", b"h")], {}),
        ([(b"host", b"h"), (b"host", b"h")], {"authority": None}),
        ([(b"transfer-encoding", b"chunked")], {}),
        ([(b"connection", b"x")], {}),
        ([(b"keep-alive", b"x")], {}),
        ([(b"proxy-connection", b"x")], {}),
        ([(b"upgrade", b"h2c")], {}),
        ([(b"te", b"gzip")], {}),
        ([(b"Accept", b"x")], {}),
        ([(b"", b"x")], {}),
        ([(b"a b", b"x")], {}),
        ([(b"a:", b"x")], {}),
        ([(b"a\r\nb", b"x")], {}),
        ([(b"a\0", b"x")], {}),
        ([(b"a", b"x\r\ny: z")], {}),
        ([(b"a", b"x\n")], {}),
        ([(b"a", b"x\0")], {}),
        ([(b"a", b"\x7f")], {}),
        ([(b"a", b" x")], {}),
        ([(b"a", b"x\t")], {}),
        ([(b"cookie", b"a=b\r\n")], {}),
        ([(b"content-length", b"5")], {}),
        ([(b"content-length", b"+5")], {}),
        ([(b"content-length", b"5"), (b"content-length", b"6")], {"ends": False}),
        ([(b"content-length", b"5"), (b"content-length", b"5")], {"ends": False}),
        ([(b"content-length", b"5, 5")], {"ends": False}),
        ([(b"content-length", b"-1")], {"ends": False}),
        ([(b"content-length", b"9" * 20)], {"ends": False}),
        ([(b"content-length", b"")], {"ends": False}),
    ],
)
def test_what_is_refused(more, changed):
    with pytest.raises(BadRequest) as caught:
        read(*more, **changed)
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE", b"get", b"BREW"])
def test_methods_that_are_not_known(method):
    with pytest.raises(BadRequest) as caught:
        read(method=method)
    assert caught.value.code == "method_not_implemented"


@pytest.mark.parametrize(
    ("more", "changed", "code"),
    [
        ([], {"path": b"/" + b"a" * 8192}, "uri_too_long"),
        ([(b"a", b"b")] * 101, {}, "header_fields_too_large"),
        ([(b"a", b"b" * 32768)], {}, "header_fields_too_large"),
        ([(b"cookie", b"b")] * 101, {}, "header_fields_too_large"),
        (
            [(b"content-length", b"11")],
            {"ends": False, "limits": RequestLimits(body=10)},
            "content_too_large",
        ),
    ],
)
def test_limits(more, changed, code):
    with pytest.raises(BadRequest) as caught:
        read(*more, **changed)
    assert caught.value.code == code
    assert caught.value.limit is not None


@pytest.mark.parametrize(
    ("more", "changed", "host"),
    [
        ([(b"host", b"h")], {}, b"h"),
        ([(b"host", b"H")], {}, b"h"),
        ([(b"host", b"only")], {"authority": None}, b"only"),
        ([], {"authority": b"[::1]:8443"}, b"[::1]:8443"),
    ],
)
def test_hosts(more, changed, host):
    head = read(*more, **changed)
    assert head.host == host
    assert head.headers == [(b"Host", host)]


def test_crumbs_of_cookies_are_joined():
    head = read((b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"))
    assert head.values(b"cookie") == [b"a=1; b=2"]


def test_options_of_the_server():
    assert read(method=b"OPTIONS", path=b"*").target == b"*"


@pytest.mark.parametrize(
    ("more", "ends", "length", "chunked", "expects"),
    [
        ([], True, None, False, False),
        ([], False, None, True, False),
        ([(b"content-length", b"5")], False, 5, False, False),
        ([(b"content-length", b"0")], True, 0, False, False),
        ([(b"content-length", b"0")], False, 0, False, False),
        ([(b"expect", b"100-continue")], True, None, False, False),
        ([(b"expect", b"100-Continue")], False, None, True, True),
        ([(b"expect", b"100-continue"), (b"content-length", b"5")], False, 5, False, True),
    ],
)
def test_bodies(more, ends, length, chunked, expects):
    head = read(*more, ends=ends, method=b"POST")
    assert (head.content_length, head.chunked, head.expects_continue) == (length, chunked, expects)


def test_te_trailers_is_the_one_te_there_is():
    assert read((b"te", b"trailers")).index[b"te"] == b"trailers"


def test_trailers():
    assert read_trailers([(b"x-sum", b"1"), (b"content-length", b"9")], LIMITS) == [
        (b"x-sum", b"1")
    ]
    for bad in ((b":path", b"/"), (b"X", b"y"), (b"x", b"\r\n"), (b"connection", b"close")):
        with pytest.raises(BadRequest):
            read_trailers([bad], LIMITS)
    with pytest.raises(BadRequest) as caught:
        read_trailers([(b"a", b"b")] * 101, LIMITS)
    assert caught.value.limit == "fields"


class Collected:
    def __init__(self):
        self.heads = []

    def request_head(self, head):
        self.heads.append(head)

    def request_data(self, data):
        raise AssertionError(data)

    def request_end(self, trailers):
        raise AssertionError(trailers)


raw_text = st.binary(max_size=12) | st.sampled_from(
    [b"/", b"h", b"GET", b"https", b"\r\n", b"/\r\nX: y", b"close", b"chunked", b"0", b"*"]
)
names = st.sampled_from(
    [*BASE, b"host", b"cookie", b"te", b"content-length", b"transfer-encoding", b"x", b"X", b"a b"]
)


@given(st.lists(st.tuples(names | raw_text, raw_text), max_size=6), st.booleans())
def test_what_is_read_is_exactly_one_request_of_http_1_1(more, full):
    """Whatever is accepted, written as HTTP/1.1, is read by our own reader as the same request."""
    given_fields = [*(fields() if full else ()), *more]
    try:
        head = read_request(given_fields, LIMITS, ends=True)
    except BadRequest:
        return
    written = serialise_request(head.method, head.target, head.headers)
    collected = Collected()
    reader = RequestReader(collected, LIMITS)
    reader.receive_data(written)
    (again,) = collected.heads
    assert reader.held
    assert not reader.has_pending
    assert (again.method, again.target, again.headers) == (head.method, head.target, head.headers)
