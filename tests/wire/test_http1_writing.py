import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.wire.http1_writing import (
    CHUNK_END,
    CONTINUE,
    LAST_CHUNK,
    UnsafeField,
    chunk,
    chunk_head,
    frame_response,
    http_date,
    last_chunk,
    serialise_request,
    serialise_response,
)

SPLITTERS = [b"\r\n", b"\n", b"\r", b"\0", b"x\r\nA: b", b"\n\r"]


def test_request() -> None:
    assert serialise_request(b"GET", b"/a?b", [(b"Host", b"h"), (b"A", b"")]) == (
        b"GET /a?b HTTP/1.1\r\nHost: h\r\nA: \r\n\r\n"
    )
    assert serialise_request(b"GET", b"/", []) == b"GET / HTTP/1.1\r\n\r\n"


def test_response() -> None:
    assert serialise_response(299, b"Odd \xff", [(b"A", b"b\xfc")]) == (
        b"HTTP/1.1 299 Odd \xff\r\nA: b\xfc\r\n\r\n"
    )
    assert serialise_response(200, b"", []) == b"HTTP/1.1 200 \r\n\r\n"


@pytest.mark.parametrize("text", SPLITTERS)
def test_nothing_can_split_a_head(text: bytes) -> None:
    for broken in (
        lambda: serialise_request(b"GET" + text, b"/", []),
        lambda: serialise_request(b"GET", b"/" + text, []),
        lambda: serialise_request(b"GET", b"/", [(b"A" + text, b"b")]),
        lambda: serialise_request(b"GET", b"/", [(b"A", b"b"), (b"B", text)]),
        lambda: serialise_response(200, b"OK" + text, []),
        lambda: serialise_response(200, b"OK", [(b"A", text + b"c")]),
        lambda: last_chunk([(b"A", text)]),
        lambda: frame(headers=[(b"A", text)]),
    ):
        with pytest.raises(UnsafeField):
            broken()


@pytest.mark.parametrize(
    ("method", "target"), [(b"G T", b"/"), (b"", b"/"), (b"G", b"/ /"), (b"G", b"")]
)
def test_nothing_can_split_a_request_line(method: bytes, target: bytes) -> None:
    with pytest.raises(UnsafeField):
        serialise_request(method, target, [])


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=4))
def test_a_head_has_as_many_lines_as_fields(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        head = serialise_response(200, b"OK", headers)
    except UnsafeField:
        assert any(byte in part for field in headers for part in field for byte in b"\r\n\0")
    else:
        assert len(head.replace(b"\r", b"\n").splitlines()) >= 2
        assert head.count(b"\r\n") == head.count(b"\r") == head.count(b"\n") == len(headers) + 2


def test_chunks() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert chunk(b"") == b""
    assert chunk_head(255) + b"y" * 255 + CHUNK_END == chunk(b"y" * 255)
    assert last_chunk() == LAST_CHUNK == b"0\r\n\r\n"
    assert last_chunk([(b"A", b"b")]) == b"0\r\nA: b\r\n\r\n"


def test_continue_has_no_fields() -> None:
    assert serialise_response(100, b"Continue", []) == CONTINUE


def test_date() -> None:
    assert http_date(784111777) == b"Sun, 06 Nov 1994 08:49:37 GMT"  # RFC 9110 section 5.6.7


def frame(
    status: int = 200,
    headers: list[tuple[bytes, bytes]] | None = None,
    *,
    length: int | None = None,
    has_body: bool = True,
    is_1_1: bool = True,
    keep_alive: bool = True,
) -> tuple[bytes, bool, bool]:
    return frame_response(
        status,
        b"R",
        headers or [],
        length=length,
        has_body=has_body,
        is_1_1=is_1_1,
        keep_alive=keep_alive,
    )


TE = b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"
KEEP = b"Connection: keep-alive\r\n"


@pytest.mark.parametrize("keep_alive", [True, False])
def test_upgrade_keeps_its_connection_option(keep_alive: bool) -> None:
    headers = [(b"Upgrade", b"x"), (b"Connection", b"upgrade, x-other")]
    head, _, _ = frame(426, headers, length=0, keep_alive=keep_alive)
    fields = b"Upgrade: x\r\nContent-Length: 0\r\n" + (b"" if keep_alive else CLOSE)
    assert head == b"HTTP/1.1 426 R\r\n" + fields + b"Connection: Upgrade\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "asked", "fields", "chunked", "keep_alive"),
    [
        (200, {"length": 5}, b"Content-Length: 5\r\n", False, True),
        (200, {"length": 0, "has_body": False}, b"Content-Length: 0\r\n", False, True),
        (200, {}, TE, True, True),
        (200, {"is_1_1": False}, CLOSE, False, False),
        (200, {"is_1_1": False, "length": 5}, b"Content-Length: 5\r\n" + KEEP, False, True),
        (200, {"keep_alive": False}, TE + CLOSE, True, False),
        (200, {"keep_alive": False, "length": 5}, b"Content-Length: 5\r\n" + CLOSE, False, False),
        # HEAD
        (200, {"length": 5, "has_body": False}, b"Content-Length: 5\r\n", False, True),
        (200, {"has_body": False}, b"", False, True),
        (200, {"has_body": False, "is_1_1": False}, KEEP, False, True),
        (204, {"has_body": False}, b"", False, True),
        (204, {"has_body": False, "length": 0}, b"", False, True),
        (304, {"has_body": False}, b"", False, True),
        (304, {"has_body": False, "length": 7}, b"Content-Length: 7\r\n", False, True),
    ],
)
def test_framing(
    status: int, asked: dict[str, object], fields: bytes, chunked: bool, keep_alive: bool
) -> None:
    head = b"HTTP/1.1 %d R\r\n%b\r\n" % (status, fields)
    assert frame(status, **asked) == (head, chunked, keep_alive)  # type: ignore[arg-type]


def test_framing_fields_of_others_are_left_out() -> None:
    headers = [
        (b"content-length", b"9"),
        (b"A", b"b"),
        (b"Transfer-Encoding", b"gzip"),
        (b"Connection", b"x"),
        (b"Keep-Alive", b"timeout=1"),
    ]
    assert frame(headers=headers, length=1) == (
        b"HTTP/1.1 200 R\r\nA: b\r\nContent-Length: 1\r\n\r\n",
        False,
        True,
    )


def test_connection_close_is_obeyed() -> None:
    head, _, keep_alive = frame(headers=[(b"connection", b"x, Close")], length=1)
    assert not keep_alive
    assert head.endswith(b"Connection: close\r\n\r\n")
