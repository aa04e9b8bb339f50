from contextlib import suppress
from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.wire.http1_request import (
    METHODS,
    BadRequest,
    RequestHead,
    RequestLimits,
    RequestReader,
)
from portal_gateway.wire.http1_writing import chunk, last_chunk, serialise_request
from portal_gateway.wire.http_fields import Headers
from tests.wire.raw_requests import ROWS, SMALL_LIMITS, Row, Seen

LIMITS = RequestLimits(**SMALL_LIMITS)


class Recorder:
    """Notes what the reader tells and asks for the next request at once."""

    def __init__(self, limits: RequestLimits | None = None) -> None:
        self.reader = RequestReader(self, limits)
        self.heads: list[RequestHead] = []
        self.bodies: list[bytes] = []
        self.trailers: list[Headers | None] = []
        self.refusal: BadRequest | None = None
        self.go_on = True

    def request_head(self, head: RequestHead) -> None:
        self.heads.append(head)
        self.bodies.append(b"")
        self.trailers.append(None)
        if not head.has_body:
            self._next([])

    def request_data(self, data: bytes) -> None:
        assert data
        assert type(data) is bytes
        self.bodies[-1] += data

    def request_end(self, trailers: Headers) -> None:
        self._next(trailers)

    def _next(self, trailers: Headers) -> None:
        self.trailers[-1] = trailers
        if self.go_on and self.heads[-1].keep_alive:
            self.reader.next_request()

    def feed(self, *pieces: bytes) -> "Recorder":
        try:
            for piece in pieces:
                self.reader.receive_data(piece)
        except BadRequest as error:
            self.refusal = error
        return self

    @property
    def seen(self) -> list[Seen]:
        return [
            Seen(
                head.method,
                head.target,
                head.host,
                body,
                tuple(trailers),
                head.version,
                head.keep_alive,
            )
            for head, body, trailers in zip(self.heads, self.bodies, self.trailers, strict=True)
            if trailers is not None
        ]

    @property
    def verdict(self) -> tuple[object, ...]:
        refusal = () if self.refusal is None else (self.refusal.code,)
        return (*self.seen, *refusal)


def bytewise(raw: bytes) -> list[bytes]:
    return [raw[index : index + 1] for index in range(len(raw))]


def some(raw: bytes) -> int:
    """The distance between cuts, so that a long row does not take a thousand of them."""
    return 1 + len(raw) // 60


def expected(row: Row) -> tuple[object, ...]:
    return (row.verdict,) if isinstance(row.verdict, str) else row.verdict


def test_the_table_has_no_name_twice() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) > 120


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_raw_request_whole(row: Row) -> None:
    assert Recorder(LIMITS).feed(row.raw).verdict == expected(row)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_raw_request_byte_by_byte(row: Row) -> None:
    assert Recorder(LIMITS).feed(*bytewise(row.raw)).verdict == expected(row)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_raw_request_cut_once_anywhere(row: Row) -> None:
    for cut in range(1, len(row.raw), some(row.raw)):
        recorder = Recorder(LIMITS).feed(row.raw[:cut], row.raw[cut:])
        assert recorder.verdict == expected(row), cut


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_no_beginning_of_a_request_is_taken_for_all_of_it(row: Row) -> None:
    """Cut short, a request is incomplete or refused, never seen as a complete one."""
    whole = expected(row)
    for cut in range(0, len(row.raw), some(row.raw)):
        seen = Recorder(LIMITS).feed(row.raw[:cut]).seen
        assert tuple(seen) == whole[: len(seen)]


@pytest.mark.parametrize(
    "row", [row for row in ROWS if isinstance(row.verdict[-1], Seen)], ids=lambda row: row.name
)
def test_what_follows_a_request_is_another_one(row: Row) -> None:
    assume_keep_alive = row.verdict[-1].keep_alive
    recorder = Recorder(LIMITS).feed(row.raw + b"GET /next HTTP/1.1\r\nHost: n\r\n\r\n")
    if assume_keep_alive:
        assert recorder.verdict == (*row.verdict, Seen(target=b"/next", host=b"n"))
    else:
        assert recorder.verdict == row.verdict


def test_a_refused_reader_is_deaf() -> None:
    recorder = Recorder().feed(b"\n")
    assert recorder.refusal is not None
    recorder.refusal = None
    recorder.feed(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    recorder.reader.next_request()
    assert recorder.verdict == ()
    assert not recorder.reader.has_pending


@pytest.mark.parametrize(
    ("raw", "limit"),
    [
        (b"GET /" + b"a" * 100, "request_line"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"b" * 300, "header"),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 8 + b"\r\n", "fields"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 33\r\n\r\n", "body"),
        (b"\n", None),
    ],
)
def test_a_refusal_names_the_limit(raw: bytes, limit: str | None) -> None:
    refusal = Recorder(LIMITS).feed(raw).refusal
    assert refusal is not None
    assert refusal.limit == limit
    assert refusal.code in str(refusal)


def test_no_detail_quotes_the_client() -> None:
    for row in ROWS:
        refusal = Recorder(LIMITS).feed(row.raw).refusal
        if refusal is not None:
            assert refusal.detail.isascii()
            assert refusal.detail.isprintable()
            assert "BREW" not in refusal.detail


def test_request_line_is_known_for_the_record_of_a_refusal() -> None:
    recorder = Recorder()
    assert recorder.reader.request_line is None
    recorder.feed(b"GET /a HTTP/1.1\r\nHo")
    assert recorder.reader.request_line == (b"GET", b"/a")
    recorder.feed(b"st : h\r\n\r\n")
    assert recorder.refusal is not None
    assert recorder.reader.request_line == (b"GET", b"/a")


def test_nothing_unbounded_is_kept() -> None:
    """Each endless thing is refused after a bounded number of bytes, sent in small pieces."""
    default = RequestLimits()
    starts = {
        b"": default.request_line + 2,
        b"GET / HTTP/1.1\r\nHost: h\r\nA: ": default.header + 64,
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n": 1100,
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: ": (
            default.header + 64
        ),
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;": 1100,
    }
    for start, bound in starts.items():
        recorder = Recorder().feed(start)
        taken = 0
        while recorder.refusal is None:
            recorder.feed(b"a" * 100)
            taken += 100
            assert taken <= bound + 100, start


def test_chunk_framing_is_bounded_by_the_data() -> None:
    start = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    recorder = Recorder().feed(start)
    sent = 0
    while recorder.refusal is None and sent < 100:
        recorder.feed(b"1;" + b"e" * 1000 + b"\r\nx\r\n")
        sent += 1
    assert 10 < sent < 20


def test_plain_small_chunks_are_no_fault() -> None:
    start = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    recorder = Recorder().feed(start, b"1\r\nx\r\n" * 20_000, b"0\r\n\r\n")
    assert recorder.refusal is None
    assert recorder.bodies == [b"x" * 20_000]


def test_signed_chunks_are_no_fault() -> None:
    start = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"400;chunk-signature=" + b"0" * 64 + b"\r\n" + b"x" * 1024 + b"\r\n"
    recorder = Recorder().feed(start, *[piece] * 500, b"0\r\n\r\n")
    assert recorder.refusal is None


def test_the_next_request_waits_until_it_is_asked_for() -> None:
    recorder = Recorder()
    recorder.go_on = False
    one = b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
    two = b"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"
    recorder.feed(one + two[:10])
    assert [head.target for head in recorder.heads] == [b"/1"]
    assert recorder.reader.held
    assert recorder.reader.has_pending
    recorder.feed(two[10:] + one)
    assert len(recorder.heads) == 1
    recorder.reader.next_request()
    assert [head.target for head in recorder.heads] == [b"/1", b"/2"]
    assert recorder.reader.held
    recorder.reader.next_request()
    assert len(recorder.heads) == 3
    assert not recorder.reader.has_pending
    recorder.reader.next_request()
    assert not recorder.reader.held


def test_asking_too_early_changes_nothing() -> None:
    recorder = Recorder()
    recorder.go_on = False
    recorder.feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nx")
    recorder.reader.next_request()
    assert recorder.reader.in_body
    recorder.feed(b"y")
    assert recorder.bodies == [b"xy"]
    assert not recorder.reader.in_body


def test_a_receiver_may_stop_the_reader_in_every_call() -> None:
    class Stopper(Recorder):
        def __init__(self, where: str) -> None:
            super().__init__()
            self.where = where

        def request_head(self, head: RequestHead) -> None:
            super().request_head(head)
            if self.where == "head":
                self.reader.stop()

        def request_data(self, data: bytes) -> None:
            super().request_data(data)
            if self.where == "data":
                self.reader.stop()

    bodies = {
        b"Content-Length: 2\r\n\r\nab": {"head": b"", "data": b"ab"},
        b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n": {
            "head": b"",
            "data": b"a",
        },
    }
    for rest, expectations in bodies.items():
        for where, body in expectations.items():
            stopper = Stopper(where)
            stopper.feed(b"POST / HTTP/1.1\r\nHost: h\r\n" + rest + b"GET / HTTP/1.1\r\n")
            assert stopper.refusal is None
            assert stopper.bodies == [body]
            assert stopper.trailers == [None]
            assert not stopper.reader.has_pending


def test_a_body_in_one_piece_is_passed_on_without_a_copy() -> None:
    pieces: list[bytes] = []

    class Keeper(Recorder):
        def request_data(self, data: bytes) -> None:
            pieces.append(data)

    keeper = Keeper().feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999\r\n\r\n")
    sent = b"x" * 5000
    keeper.feed(sent)
    assert pieces[0] is sent


@pytest.mark.parametrize(
    ("start", "fields", "expects"),
    [
        (b"POST / HTTP/1.1\r\n", b"Content-Length: 1\r\nExpect: 100-continue\r\n", True),
        (b"POST / HTTP/1.1\r\n", b"Transfer-Encoding: chunked\r\nExpect: 100-CONTINUE\r\n", True),
        (b"POST / HTTP/1.1\r\n", b"Content-Length: 0\r\nExpect: 100-continue\r\n", False),
        (b"POST / HTTP/1.1\r\n", b"Expect: 100-continue\r\n", False),
        (b"POST / HTTP/1.0\r\n", b"Content-Length: 1\r\nExpect: 100-continue\r\n", False),
        (b"POST / HTTP/1.1\r\n", b"Content-Length: 1\r\nExpect: something\r\n", False),
        (b"POST / HTTP/1.1\r\n", b"Content-Length: 1\r\nExpect: a, 100-continue\r\n", True),
    ],
)
def test_expect(start: bytes, fields: bytes, expects: bool) -> None:
    recorder = Recorder().feed(start + b"Host: h\r\n" + fields + b"\r\n")
    assert recorder.heads[0].expects_continue is expects


def test_head_index_and_values() -> None:
    raw = b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\nX_A: 3\r\n\r\n"
    head = Recorder().feed(raw).heads[0]
    assert head.headers == [(b"Host", b"h"), (b"X-A", b"1"), (b"x-a", b"2"), (b"X_A", b"3")]
    assert head.values(b"x-a") == [b"1", b"2"]
    assert head.values(b"x_a") == [b"3"]
    assert head.values(b"x-b") == []
    head = Recorder().feed(b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n").heads[0]
    assert head.values(b"x-a") == [b"1"]


def test_absolute_target_replaces_the_host_field() -> None:
    raw = b"GET http://o:1/a HTTP/1.1\r\nX: y\r\nhost: h\r\n\r\n"
    head = Recorder().feed(raw).heads[0]
    assert head.headers == [(b"Host", b"o:1"), (b"X", b"y")]
    assert head.values(b"host") == [b"o:1"]


def test_every_known_method_is_read() -> None:
    for method in METHODS:
        recorder = Recorder().feed(method + b" / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert recorder.verdict == (Seen(method),)


# Chance.

TOKENS = st.text("abcXYZ019-_!#$%&'*+.^`|~", min_size=1, max_size=12).map(str.encode)
VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20
).map(lambda text: text.strip(" \t\x85\xa0").encode("latin-1"))
RESERVED = {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"}
FIELDS = st.lists(
    st.tuples(TOKENS.filter(lambda name: name.lower() not in RESERVED), VALUES), max_size=5
)
TARGETS = st.text("abc/%2f?&=.;:@!$'()*+,~-_|{}\"<>^`", max_size=30).map(
    lambda text: b"/" + text.encode()
)
CUTS = st.lists(st.integers(0, 400), max_size=8)


def cut_at(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    return [raw[a:b] for a, b in pairwise(edges)]


@settings(deadline=None)
@given(
    st.sampled_from(sorted(METHODS)),
    TARGETS,
    FIELDS,
    st.lists(st.binary(max_size=30), max_size=4),
    st.booleans(),
    FIELDS,
    CUTS,
)
def test_what_is_written_is_read_back(
    method: bytes,
    target: bytes,
    fields: list[tuple[bytes, bytes]],
    pieces: list[bytes],
    chunked: bool,
    trailers: list[tuple[bytes, bytes]],
    cuts: list[int],
) -> None:
    body = b"".join(pieces)
    headers = [(b"Host", b"h"), *fields]
    if chunked:
        headers.append((b"Transfer-Encoding", b"chunked"))
        wire = b"".join(chunk(piece) for piece in pieces) + last_chunk(trailers)
    else:
        headers.append((b"Content-Length", b"%d" % len(body)))
        wire = body
        trailers = []
    raw = serialise_request(method, target, headers) + wire
    recorder = Recorder().feed(*cut_at(raw, cuts))
    assert recorder.seen == [Seen(method, target, body=body, trailers=tuple(trailers))]
    assert recorder.heads[0].headers == headers
    assert recorder.heads[0].content_length == (None if chunked else len(body))
    assert not recorder.reader.has_pending


FRAGMENTS = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b";", b",", b"0", b"5", b"0\r\n\r\n",
        b"GET", b"POST", b"/", b"*", b"http://o/", b"HTTP/1.1", b"HTTP/1.0",
        b"GET / HTTP/1.1\r\n", b"Host: h\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Connection: close\r\n",
        b"hello", b"5\r\nhello\r\n", b"A: b\r\n", b"Upgrade: x\r\nConnection: upgrade\r\n",
    ]
)  # fmt: skip
NEARLY = st.lists(FRAGMENTS, max_size=8).map(b"".join)
REQUESTS = st.builds(
    lambda start, fields, end, body: start + b"Host: h\r\n" + fields + end + body,
    st.sampled_from([b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n"]),
    NEARLY,
    st.sampled_from([b"\r\n", b""]),
    NEARLY,
)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=200), NEARLY, REQUESTS), CUTS)
def test_how_bytes_are_cut_changes_nothing(raw: bytes, cuts: list[int]) -> None:
    whole = Recorder(LIMITS).feed(raw)
    pieces = Recorder(LIMITS).feed(*cut_at(raw, cuts))
    single = Recorder(LIMITS).feed(*bytewise(raw))
    assert whole.verdict == pieces.verdict == single.verdict
    assert whole.bodies == pieces.bodies == single.bodies


def read_with_h11(raw: bytes) -> list[Seen]:
    """The complete requests that h11 sees before the end, or before what it refuses."""
    seen: list[Seen] = []
    with suppress(h11.RemoteProtocolError):
        # It refuses the empty line before a request, which RFC 9112 section 2.2 forgives.
        while raw := raw.removeprefix(b"\r\n"):
            connection = h11.Connection(h11.SERVER)
            connection.receive_data(raw)
            head = connection.next_event()
            if not isinstance(head, h11.Request):
                break
            body = b""
            while isinstance(event := connection.next_event(), h11.Data):
                body += bytes(event.data)
            if not isinstance(event, h11.EndOfMessage):
                break
            host = b"".join(value for name, value in head.headers if name == b"host")
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            again = connection.our_state is h11.DONE
            trailers = tuple(event.headers)
            seen.append(
                Seen(head.method, head.target, host, body, trailers, head.http_version, again)
            )
            if not again:
                break
            raw = connection.trailing_data[0]
    return seen


def lowered(seen: Seen) -> Seen:
    """h11 knows names in lower case only, and no keep-alive of HTTP/1.0."""
    trailers = tuple((name.lower(), value) for name, value in seen.trailers)
    keep_alive = seen.keep_alive and seen.version != b"1.0"
    return seen._replace(trailers=trailers, keep_alive=keep_alive)


FRAMED = st.one_of(
    st.just((b"", b"")),
    st.binary(max_size=20).map(lambda body: (b"Content-Length: %d\r\n" % len(body), body)),
    st.tuples(st.lists(st.binary(max_size=20), max_size=3), FIELDS).map(
        lambda parts: (
            b"Transfer-Encoding: chunked\r\n",
            b"".join(map(chunk, parts[0])) + last_chunk(parts[1]),
        )
    ),
    st.tuples(FRAGMENTS, NEARLY),
)
MOSTLY_VALID = st.lists(
    st.builds(
        lambda start, fields, framed, more: (
            start
            + b"Host: h\r\n"
            + b"".join(b"%b: %b\r\n" % field for field in fields)
            + framed[0]
            + more
            + b"\r\n"
            + framed[1]
        ),
        st.sampled_from(
            [b"GET / HTTP/1.1\r\n", b"POST /a?b HTTP/1.1\r\n", b"PUT http://o/c HTTP/1.1\r\n"]
        ),
        FIELDS,
        FRAMED,
        st.sampled_from([b"", b"", b"Connection: close\r\n", b"Upgrade: x\r\n"]),
    ),
    max_size=3,
).map(b"".join)


@settings(deadline=None)
@given(MOSTLY_VALID)
def test_what_is_accepted_here_h11_reads_in_the_same_way(raw: bytes) -> None:
    ours = Recorder().feed(raw).seen
    theirs = read_with_h11(raw)
    # It leaves an absolute target as it is.
    as_ours = [
        seen._replace(target=mine.target, host=mine.host) if seen.target[:1] == b"h" else seen
        for seen, mine in zip(theirs, ours, strict=False)
    ]
    assert [lowered(seen) for seen in ours] == as_ours
