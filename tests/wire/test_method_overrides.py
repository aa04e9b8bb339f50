import time

import pytest

from portal_gateway.wire.method_overrides import (
    IDEMPOTENT_METHODS,
    fields_name_a_method,
    may_be_repeated,
    query_has_a_method,
    query_names_a_method,
)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([b"x-http-method-override"], True),
        ([b"accept", b"x-http-method"], True),
        ([b"x-method-override", b"accept"], True),
        ([b"x_http_method_override"], True),
        ([b"x-http.method_override"], True),
        ([b"x-http-verb"], True),
        ([b"method-override"], True),
        ([b"x-http-methodoverride"], True),
        ([b"xhttpmethodoverride"], True),
        ([b"x-httpmethod-override"], True),
        ([b"httpmethod"], True),
        ([b"x-override-method"], True),
        ([b"mcp-method"], False),
        ([b"access-control-request-method"], False),
        ([b"x-methodology", b"accept"], False),
        ([b"accept", b"host"], False),
        ([], False),
    ],
)
def test_fields(names: list[bytes], expected: bool) -> None:
    assert fields_name_a_method(names) is expected
    assert fields_name_a_method(dict.fromkeys(names, b"GET")) is expected


@pytest.mark.parametrize(
    ("query", "changes", "has"),
    [
        (b"", False, False),
        (b"a=1&b=2", False, False),
        (b"_method=DELETE", True, True),
        (b"a=1&_method=delete", True, True),
        (b"a=1;_method=PUT", True, True),
        (b"%5fmethod=P%55T", True, True),
        (b"_METHOD=PATCH", True, True),
        (b"_method", True, True),
        (b"_method=", True, True),
        (b"_method=MKCOL", True, True),
        (b"_method=GET&_method=DELETE", True, True),
        (b"+_method=DELETE", True, True),
        (b".method=purge", True, True),
        (b"$method=purge", True, True),
        (b"_method=+put+", True, True),
        (b"x-http-method-override=anything", True, True),
        (b"X_HTTP_Method=POST", True, True),
        (b"_HttpMethod=PATCH", True, True),
        (b"_method=GET", False, True),
        (b"_method=head", False, True),
        # What APIs of their own call so.
        (b"method=search", False, True),
        (b"method=flickr.photos.search", False, True),
        (b"verb=ListRecords", False, True),
        (b"method=POST", True, True),
        (b"verb=delete", True, True),
        (b"payment_method=DELETE", False, False),
        (b"a=_method=DELETE", False, False),
        (b"method=post.list", False, True),
        (b"method_of_payment=DELETE", False, False),
        (b"_methodology=DELETE", False, False),
        # Names that PHP cuts at a NUL, or makes an array of.
        (b"_method%00x=DELETE", True, True),
        (b"x=1&_method%00=DELETE", True, True),
        (b"_method%00=DELETE&_method=GET", True, True),
        (b"%00_method=DELETE", True, True),
        (b"_method%2500=DELETE", True, True),
        (b"X-HTTP-Method-Override%00z=DELETE", True, True),
        (b"http%5fmethod%00z%00=purge", True, True),
        (b"method%00z=delete", True, True),
        (b"method%00z=search", False, True),
        (b"_method[]=DELETE", True, True),
        (b"_method[x]=DELETE", True, True),
        (b"_method%5B0%5D=DELETE", True, True),
        (b"_method%5b=DELETE", True, True),
        (b"_http[method=DELETE", True, True),
        (b"method[x]=DELETE", True, True),
        (b"[_method]=DELETE", True, True),
        (b"%20%20._method%00=DELETE", True, True),
        (b"x=1;_method%00y=DELETE", True, True),
        (b"_method%0a=DELETE", True, True),
        (b"_method,x=DELETE", True, True),
        # Values that are cut likewise.
        (b"method=DELETE%00", True, True),
        (b"method=DELETE%00x", True, True),
        (b"method=%00delete", True, True),
        (b"method=delete%0a", True, True),
        (b"method=%22delete%22", True, True),
        (b"_method=GET%00DELETE", True, True),
        # Encodings of old decoders.
        (b"%u005fmethod=DELETE", True, True),
        (b"_%u006Dethod=DELETE", True, True),
        (b"_meth%U006fd=DELETE", True, True),
        (b"%uff3f%uff4dethod=DELETE", True, True),
        (b"method=DE%u004cETE", True, True),
        (b"%c1%9fmethod=DELETE", True, True),
        (b"_m%c1%a5thod=DELETE", True, True),
        (b"_m%e0%81%a5thod=DELETE", True, True),
        (b"_method%c0%80x=DELETE", True, True),
        # Words that are run together.
        (b"httpMethodOverride=DELETE", True, True),
        (b"methodOverride=DELETE", True, True),
        (b"_method_override=DELETE", True, True),
        (b"overrideMethod=DELETE", True, True),
        (b"xHttpMethod=DELETE", True, True),
        (b"methods=DELETE", False, False),
    ],
)
def test_queries(query: bytes, changes: bool, has: bool) -> None:
    assert query_names_a_method(query) is changes
    assert query_has_a_method(query) is has


def head(method: bytes = b"GET", target: bytes = b"/", *lines: bytes) -> bytes:
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, target), b"Host: h", *lines, b"", b""])


@pytest.mark.parametrize(
    ("request_head", "expected"),
    [
        *((head(method), True) for method in sorted(IDEMPOTENT_METHODS)),
        (head(b"POST"), False),
        (head(b"PATCH"), False),
        (head(b"get"), False),
        (head(b"GET", b"/?a=1"), True),
        (head(b"GET", b"/?_method=DELETE"), False),
        (head(b"GET", b"/_method=DELETE"), True),
        (head(b"HEAD", b"/?_method=DELETE"), False),
        (head(b"PUT", b"/?_method=POST"), False),
        (head(b"GET", b"/", b"X-HTTP-Method-Override: POST"), False),
        (head(b"DELETE", b"/", b"x-http-method: PATCH"), False),
        (head(b"GET", b"/", b"X_Method_Override: POST"), False),
        (head(b"GET", b"/?_method%00x=DELETE"), False),
        (head(b"GET", b"/", b"Connection: Upgrade", b"Upgrade: websocket"), False),
        (head(b"GET", b"/", b"Upgrade-Insecure-Requests: 1"), True),
        (head(b"GET", b"/", b"A: X-HTTP-Method-Override: POST"), True),
        (head(b"GET", b"/", b"Content-Length: 1"), False),
        (head(b"GET", b"/", b"Content-Length: 0"), True),
        (head(b"OPTIONS", b"/", b"Transfer-Encoding: chunked"), False),
        (head(b"PUT", b"/", b"Transfer-Encoding: chunked"), True),
        (head(b"DELETE", b"/", b"Content-Length: 5"), True),
    ],
)
def test_what_may_be_repeated(request_head: bytes, expected: bool) -> None:
    assert may_be_repeated(request_head) is expected


@pytest.mark.parametrize(
    "query",
    [
        b"_method=GET&",
        b"%5fmethod=get;",
        b"a&",
        b"method",
        b"%6d",
        b"+_method=GET;",
        b"%u006d",
        b"_method%00",
        b"%c1%a5method[",
        b"method=%00",
    ],
)
def test_the_time_grows_with_the_query(query: bytes) -> None:
    def spent(size: int) -> float:
        text = query * (size // len(query))
        began = time.thread_time()
        query_names_a_method(text)
        return time.thread_time() - began

    # What is linear is so at least once in many rounds; what grows with the square never is.
    assert min(spent(100_000) / max(spent(10_000), 1e-4) for _ in range(20)) <= 12
