import os
import warnings

import pytest
from twisted.internet.address import IPv4Address
from twisted.web.http import CACHED
from twisted.web.iweb import IRequest
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.util import redirectTo
from zope.interface.verify import verifyObject

from portal_gateway.errors import fault
from portal_gateway.frontend.request import Request
from portal_gateway.wire.http1_writing import UnsafeField
from tests.frontend.serving import GET, HOST, Noting, Producer, Reader, Served, read_responses

with warnings.catch_warnings():
    # The module itself uses what Twisted has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from twisted.web.static import Data, File


def asked(raw: bytes = GET) -> Request:
    """The request that ``raw`` makes."""
    noting = Noting()
    Served(noting).send(raw)
    return noting.requests[0]


def get(target: bytes, fields: bytes = b"", host: bytes = b"h") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + fields + b"\r\n"


class Rendering(Resource):
    """Renders with a function."""

    isLeaf = True

    def __init__(self, render):
        super().__init__()
        self.render_GET = render


def served_with(resource: Resource, raw: bytes = GET, method: bytes = b"GET"):
    served = Served(resource)
    (response,) = read_responses(served.send(raw), [method], ended=served.closed)
    served.finish()
    return response


def test_interface() -> None:
    assert verifyObject(IRequest, asked())


def test_what_was_asked() -> None:
    request = asked(
        b"POST /a%2fb/c?x=1&y=&x=2 HTTP/1.1\r\nHost: example.com:81\r\nX-A: 1\r\nx-a: 2\r\n"
        b"Cookie: a=1; b=2\r\nCookie: c=x=y\r\n\r\n"
    )
    assert request.method == b"POST"
    assert request.uri == b"/a%2fb/c?x=1&y=&x=2"
    assert request.path == b"/a%2fb/c"
    assert request.prepath + request.postpath == [b"a/b", b"c"]
    assert request.args == {b"x": [b"1", b"2"], b"y": [b""]}
    assert request.content.read() == b""
    assert request.clientproto == b"HTTP/1.1"
    assert request.requestHeaders.getRawHeaders(b"X-a") == [b"1", b"2"]
    assert request.getHeader(b"X-A") == b"2"
    assert request.getHeader("X-A") == "2"
    assert request.getHeader(b"nope") is request.getHeader("nope") is None
    assert request.getAllHeaders()[b"x-a"] == b"2"
    assert request.getCookie(b"b") == b"2"
    assert request.getCookie(b"c") == b"x=y"
    assert request.getCookie(b"d") is None
    assert (request.getUser(), request.getPassword()) == (b"", b"")
    assert repr(request) == "<Request made-0>"


def test_who_asked() -> None:
    request = asked()
    assert request.client_address == request.getClientIP() == "192.0.2.7"
    assert request.getClientAddress() == IPv4Address("TCP", "192.0.2.7", 50_000)
    assert request.server_address == "127.0.0.1"
    assert request.getHost() == IPv4Address("TCP", "127.0.0.1", 80)
    assert request.is_secure is request.isSecure() is False


@pytest.mark.parametrize(
    ("host", "name"), [(b"h:1", b"h"), (b"[::1]:80", b"::1"), (b"example.com", b"example.com")]
)
def test_host_name(host: bytes, name: bytes) -> None:
    assert asked(get(b"/", host=host)).getRequestHostname() == name


def test_host_name_without_host() -> None:
    request = asked(b"GET / HTTP/1.0\r\n\r\n")
    assert request.getRequestHostname() == b"127.0.0.1"
    assert request.prePathURL() == b"http://127.0.0.1/"


def test_urls() -> None:
    seen = []

    def render(request):
        request.rememberRootURL()
        seen.append((request.prePathURL(), str(request.URLPath()), request.getRootURL()))
        return b""

    root = Resource()
    root.putChild(b"a b", Rendering(render))
    served_with(root, get(b"/a%20b/c", host=b"h:8080"))
    assert seen == [(b"http://h:8080/a%20b", "http://h:8080/a%20b", b"http://h:8080/")]


def test_there_are_no_sessions() -> None:
    request = asked()
    with pytest.raises(NotImplementedError):
        request.getSession()
    with pytest.raises(NotImplementedError):
        request.setHost(b"h", 1)


# Rendering.


def test_bytes() -> None:
    status, fields, body = served_with(Rendering(lambda request: b"hello"))
    assert (status, body) == (200, b"hello")
    assert fields[b"content-length"] == b"5"
    assert fields[b"date"] == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert b"server" not in fields
    assert b"transfer-encoding" not in fields


def test_head_of_bytes() -> None:
    raw = b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n"
    status, fields, body = served_with(Rendering(lambda request: b"hello"), raw, b"HEAD")
    assert (status, fields[b"content-length"], body) == (200, b"5", b"")


def test_head_that_renders_nothing_states_no_length() -> None:
    resource = Rendering(lambda request: b"hello")
    resource.render_HEAD = lambda request: b""
    raw = b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n"
    _, fields, _ = served_with(resource, raw, b"HEAD")
    assert b"content-length" not in fields


def test_status_and_header() -> None:
    def render(request):
        request.setResponseCode(418, b"Teapot")
        request.setHeader(b"X-A", b"1")
        request.setHeader("X-A", "2")
        request.setHeader(b"Date", b"mine")
        request.responseHeaders.addRawHeader(b"X-B", b"3")
        request.addCookie(b"a", b"1", path=b"/", max_age=b"5", secure=True)
        request.addCookie(b"b", b"2")
        return b""

    served = Served(Rendering(render))
    received = served.send(GET)
    assert received.startswith(b"HTTP/1.1 418 Teapot\r\n")
    assert b"X-A: 2\r\n" in received
    assert b"X-A: 1\r\n" not in received
    assert b"X-B: 3\r\n" in received
    assert received.count(b"Date: ") == 1
    assert b"Set-Cookie: a=1; Path=/; Max-Age=5; Secure\r\nSet-Cookie: b=2\r\n" in received
    assert b"Content-Length: 0\r\n" in received
    served.finish()
    with pytest.raises(TypeError):
        asked().setResponseCode("200")


def test_a_wrong_length_in_the_header_is_set_right() -> None:
    def render(request):
        request.setHeader(b"Content-Length", b"99")
        return b"hello"

    assert served_with(Rendering(render))[1][b"content-length"] == b"5"


def test_write_and_finish() -> None:
    def render(request):
        request.write(b"one")
        assert request.startedWriting
        request.write(b"two")
        request.finish()
        return NOT_DONE_YET

    status, fields, body = served_with(Rendering(render))
    assert (status, body) == (200, b"onetwo")
    assert fields[b"transfer-encoding"] == b"chunked"


def test_write_with_a_length() -> None:
    def render(request):
        request.setHeader(b"Content-Length", b"6")
        request.write(b"onetwo")
        request.finish()
        return NOT_DONE_YET

    _, fields, body = served_with(Rendering(render))
    assert (fields[b"content-length"], body) == (b"6", b"onetwo")


def test_finish_alone() -> None:
    def render(request):
        request.finish()
        return NOT_DONE_YET

    _, fields, body = served_with(Rendering(render))
    assert (fields[b"content-length"], body) == (b"0", b"")


def test_only_bytes_are_written() -> None:
    with pytest.raises(TypeError):
        asked().write("text")


def test_notify_finish() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(GET)
    request = noting.requests[0]
    finished = [request.notifyFinish(), request.notifyFinish()]
    told: list[object] = []
    for one in finished:
        one.addCallback(told.append)
    request.finish()
    assert told == [None, None]
    served.finish()


def test_static_data() -> None:
    root = Resource()
    root.putChild(b"", Data(b"data", "text/x-y"))
    status, fields, body = served_with(root)
    assert (status, fields[b"content-type"], body) == (200, b"text/x-y", b"data")
    raw = b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n"
    _, fields, body = served_with(root, raw, b"HEAD")
    assert (fields[b"content-length"], body) == (b"4", b"")


def test_redirect() -> None:
    status, fields, _ = served_with(Rendering(lambda request: redirectTo(b"/x", request)))
    assert (status, fields[b"location"]) == (302, b"/x")


def test_nothing_there() -> None:
    status, fields, body = served_with(notFound())
    assert (status, fields[b"content-type"]) == (404, b"text/html; charset=utf-8")
    assert b"No Such Resource" in body


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(bytes(range(256)) * 2000)
    os.utime(path, (784111777, 784111777))
    return path


def test_file(file) -> None:
    root = File(str(file.parent))
    status, fields, body = served_with(root, get(b"/file.txt"))
    assert (status, body) == (200, file.read_bytes())
    assert fields[b"last-modified"] == b"Sun, 06 Nov 1994 08:49:37 GMT"
    status, fields, body = served_with(root, get(b"/file.txt", b"Range: bytes=10-19\r\n"))
    assert (status, body) == (206, file.read_bytes()[10:20])
    since = b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    status, fields, body = served_with(root, get(b"/file.txt", since))
    assert (status, body) == (304, b"")
    assert b"content-length" not in fields


def test_file_to_a_slow_client(file) -> None:
    served = Served(File(str(file.parent)))
    served.link.client.pauseProducing()
    served.send(get(b"/file.txt"))
    served.wait(5)
    assert served.transport.waiting <= 2 * 64 * 1024 + 1000
    served.link.client.resumeProducing()
    assert read_responses(served.send())[0][2] == file.read_bytes()
    served.finish()


def test_file_to_a_client_that_leaves(file) -> None:
    served = Served(File(str(file.parent)))
    served.link.client.pauseProducing()
    served.send(get(b"/file.txt"))
    served.finish()  # a file that stays open is a ResourceWarning, which fails the test
    assert served.exchanges[0].aborted


@pytest.mark.parametrize(
    ("since", "cached"),
    [
        (b"Sun, 06 Nov 1994 08:49:37 GMT", True),
        (b"Sun, 06 Nov 1994 08:49:36 GMT", False),
        (b"yesterday", False),
    ],
)
def test_last_modified(since: bytes, cached: bool) -> None:
    request = asked(get(b"/", b"If-Modified-Since: " + since + b"\r\n"))
    assert (request.setLastModified(784111776.2) is CACHED) is cached
    assert (request.code == 304) is cached


@pytest.mark.parametrize(
    ("method", "tags", "code"),
    [
        (b"GET", b'"x", "e"', 304),
        (b"HEAD", b"*", 304),
        (b"PUT", b'"e"', 412),
        (b"GET", b'"x"', 200),
    ],
)
def test_etag(method: bytes, tags: bytes, code: int) -> None:
    raw = method + b" / HTTP/1.1\r\nHost: h\r\nIf-None-Match: " + tags + b"\r\n\r\n"
    request = asked(raw)
    assert (request.setETag(b'"e"') is CACHED) is (code != 200)
    assert request.code == code
    request = asked()
    assert request.setETag(b'"e"') is None


def test_etag_is_sent() -> None:
    def render(request):
        request.setETag(b'"e"')
        return b""

    assert served_with(Rendering(render))[1][b"etag"] == b'"e"'


# Misuse.


def test_the_order_of_a_response() -> None:
    request = asked()
    with pytest.raises(RuntimeError):
        request.send_data(b"x")
    with pytest.raises(RuntimeError):
        request.send_end()
    for status in (100, 199, 600):
        with pytest.raises(ValueError, match="final"):
            request.send_head(status, b"", [], length=0)
    with pytest.raises(ValueError, match="long"):
        request.send_head(200, b"", [], length=-1)
    for status in (99, 101, 200):
        with pytest.raises(ValueError, match="informational"):
            request.send_informational(status, b"", [])
    assert not request.head_sent
    request.send_head(200, b"", [], length=2)
    assert request.head_sent
    with pytest.raises(RuntimeError):
        request.send_head(200, b"", [], length=2)
    request.send_data(b"")
    request.send_data(b"ok")
    assert request.bytes_out == 2
    assert not request.over
    request.send_end()
    assert request.over
    request.send_end()


def test_a_header_that_would_split_the_message_can_still_be_answered_with_an_error() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(GET)
    request = noting.requests[0]
    with pytest.raises(UnsafeField):
        request.send_head(200, b"OK", [(b"A", b"b\r\nC: d")], length=0)
    request.fail(fault("internal_error", "x"))
    assert read_responses(served.send())[0][0] == 500
    served.finish()


@pytest.mark.parametrize("length", [None, 10])
def test_a_head_that_has_not_left_is_taken_back(length: int | None) -> None:
    noting = Noting()
    served = Served(noting)
    served.send(GET)
    request = noting.requests[0]
    request.send_head(200, b"OK", [(b"A", b"b")], length=length)
    request.send_data(b"half")
    request.fail(fault("upstream_closed", "x"))
    ((status, fields, _),) = read_responses(served.send())
    assert status == 502
    assert b"a" not in fields
    assert not served.closed
    (exchange,) = served.exchanges
    assert (exchange.status, exchange.error) == (502, "upstream_closed")
    assert not exchange.aborted
    served.client.received = b""
    served.send(GET)
    noting.requests[1].send_head(200, b"OK", [], length=2)
    noting.requests[1].send_data(b"ok")
    noting.requests[1].send_end()
    assert read_responses(served.send())[0][2] == b"ok"
    served.finish()


@pytest.mark.parametrize("size", [4, 100_000])
def test_a_head_that_has_left_is_not_taken_back(size: int) -> None:
    noting = Noting()
    served = Served(noting)
    served.send(GET)
    request = noting.requests[0]
    request.send_head(200, b"OK", [], length=None)
    if size < 65_536:
        served.send()
    request.send_data(b"x" * size)
    request.fail(fault("upstream_closed", "x"))
    assert b" 502 " not in served.send()
    assert served.closed
    (exchange,) = served.exchanges
    assert (exchange.status, exchange.error, exchange.aborted) == (200, "upstream_closed", True)
    served.finish()


def test_a_request_without_body_reads_as_empty() -> None:
    request = asked()
    reader = Reader()
    assert not request.has_body
    request.read_body(reader)
    assert (reader.body, reader.trailers) == (b"", [])
    request.pause_body()
    request.resume_body()


def test_one_producer_at_a_time() -> None:
    request = asked()
    first, second, late = Producer(), Producer(), Producer()
    request.register_response_producer(first)
    with pytest.raises(RuntimeError):
        request.register_response_producer(second)
    request.unregister_response_producer()
    request.registerProducer(second, streaming=True)
    request.finish()
    request.register_response_producer(late)
    assert (first.told, second.told, late.told) == ([], [], ["stop"])


def test_fail_closes_where_the_cause_does() -> None:
    for code, closes in (("not_found", False), ("content_too_large", True)):
        served = Served(Noting(lambda request, code=code: request.fail(fault(code, "x"))))
        served.send(GET)
        assert served.closed is closes
        assert served.exchanges[0].error == code
        served.finish()
