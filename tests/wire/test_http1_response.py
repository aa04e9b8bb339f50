"""The response reader: what it tells, what it refuses, however the bytes are cut."""

from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.wire.http1_response import (
    MAX_FRAMING_BYTES,
    MAX_INFORMATIONAL,
    MAX_RESPONSE_FIELDS,
    MAX_RESPONSE_HEAD,
    BadResponse,
    ResponseReader,
    ResponseTruncated,
)
from portal_gateway.wire.http1_response_head import ResponseHead

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Recorder:
    def __init__(self):
        self.told = []

    def response_informational(self, head):
        self.told.append(("informational", head))

    def response_head(self, head):
        self.told.append(("head", head))

    def response_data(self, data):
        assert data
        assert isinstance(data, bytes)
        self.told.append(("data", data))

    def response_end(self, trailers):
        self.told.append(("end", trailers))

    @property
    def summary(self):
        """What was told, with the body joined."""
        body = b"".join(value for kind, value in self.told if kind == "data")
        return [item for item in self.told if item[0] != "data"], body

    @property
    def comparable(self):
        """The summary with heads as lists of what they have."""
        told, body = self.summary
        return [
            [getattr(value, name) for name in value.__slots__]
            if isinstance(value, ResponseHead)
            else value
            for _, value in told
        ], body

    @property
    def heads(self):
        return [value for kind, value in self.told if kind == "head"]

    @property
    def ended(self):
        return [kind for kind, _ in self.told].count("end") == 1


def read(pieces, method=b"GET", *, eof=False):
    receiver = Recorder()
    reader = ResponseReader(receiver, method)
    feed(reader, pieces)
    if eof:
        reader.receive_eof()
    return receiver, reader


def single_bytes(data):
    return [data[i : i + 1] for i in range(len(data))]


def halves(data):
    return [[data[:i], data[i:]] for i in range(1, min(len(data), 200))]


def feed(reader, pieces):
    for piece in pieces:
        reader.receive_data(piece)


# name: method, bytes, (status, reason, version), fields, (length, chunked, keep_alive, until_eof),
# body, trailers
GOOD = {
    "length": (
        b"GET",
        OK + b"Content-Length: 5\r\nX-A: b\r\n\r\nhello",
        (200, b"OK", b"1.1"),
        [(b"Content-Length", b"5"), (b"X-A", b"b")],
        (5, False, True, False),
        b"hello",
        [],
    ),
    "empty": (
        b"GET",
        OK + b"content-length: 0\r\n\r\n",
        (200, b"OK", b"1.1"),
        [(b"content-length", b"0")],
        (0, False, True, False),
        b"",
        [],
    ),
    "chunked": (
        b"GET",
        CHUNKED + b'5\r\nhello\r\n006;ext=1;q="a b"\r\n world\r\n0\r\n\r\n',
        (200, b"OK", b"1.1"),
        [(b"Transfer-Encoding", b"chunked")],
        (None, True, True, False),
        b"hello world",
        [],
    ),
    "chunked, other case, close": (
        b"POST",
        OK + b"TRANSFER-ENCODING: \tChunked \r\nConnection: x, Close\r\n\r\n1\r\na\r\n0\r\n\r\n",
        (200, b"OK", b"1.1"),
        [(b"TRANSFER-ENCODING", b"Chunked"), (b"Connection", b"x, Close")],
        (None, True, False, False),
        b"a",
        [],
    ),
    "trailers": (
        b"GET",
        CHUNKED + b"A\r\n0123456789\r\n0\r\nX-Sum: abc \r\nX-Empty:\r\n\r\n",
        (200, b"OK", b"1.1"),
        [(b"Transfer-Encoding", b"chunked")],
        (None, True, True, False),
        b"0123456789",
        [(b"X-Sum", b"abc"), (b"X-Empty", b"")],
    ),
    "line ends in chunk data": (
        b"GET",
        CHUNKED + b"8\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
        (200, b"OK", b"1.1"),
        [(b"Transfer-Encoding", b"chunked")],
        (None, True, True, False),
        b"\r\n\r\n\r\n\r\n",
        [],
    ),
    "HEAD with length": (
        b"HEAD",
        OK + b"Content-Length: 1000\r\n\r\n",
        (200, b"OK", b"1.1"),
        [(b"Content-Length", b"1000")],
        (1000, False, True, False),
        b"",
        [],
    ),
    "HEAD chunked": (
        b"HEAD",
        CHUNKED,
        (200, b"OK", b"1.1"),
        [(b"Transfer-Encoding", b"chunked")],
        (None, True, True, False),
        b"",
        [],
    ),
    "HEAD without framing": (
        b"HEAD",
        OK + b"\r\n",
        (200, b"OK", b"1.1"),
        [],
        (None, False, True, False),
        b"",
        [],
    ),
    "204": (
        b"DELETE",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        (204, b"No Content", b"1.1"),
        [],
        (None, False, True, False),
        b"",
        [],
    ),
    "204 with length 0": (
        b"DELETE",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        (204, b"No Content", b"1.1"),
        [(b"Content-Length", b"0")],
        (0, False, True, False),
        b"",
        [],
    ),
    "304 with the length of what was not sent": (
        b"GET",
        b'HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: "a"\r\n\r\n',
        (304, b"Not Modified", b"1.1"),
        [(b"Content-Length", b"77"), (b"ETag", b'"a"')],
        (77, False, True, False),
        b"",
        [],
    ),
    "304 chunked": (
        b"GET",
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        (304, b"Not Modified", b"1.1"),
        [(b"Transfer-Encoding", b"chunked")],
        (None, True, True, False),
        b"",
        [],
    ),
    "205 with a body": (
        b"GET",
        b"HTTP/1.1 205 Reset\r\nContent-Length: 1\r\n\r\na",
        (205, b"Reset", b"1.1"),
        [(b"Content-Length", b"1")],
        (1, False, True, False),
        b"a",
        [],
    ),
    "HTTP/1.0 keeps not alive": (
        b"GET",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
        (200, b"OK", b"1.0"),
        [(b"Content-Length", b"1")],
        (1, False, False, False),
        b"a",
        [],
    ),
    "HTTP/1.0 keep-alive": (
        b"GET",
        b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\na",
        (200, b"OK", b"1.0"),
        [(b"Connection", b"Keep-Alive"), (b"Content-Length", b"1")],
        (1, False, True, False),
        b"a",
        [],
    ),
    "close beats keep-alive": (
        b"GET",
        OK + b"Connection: keep-alive\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        (200, b"OK", b"1.1"),
        [
            (b"Connection", b"keep-alive"),
            (b"Connection", b"close"),
            (b"Content-Length", b"0"),
        ],
        (0, False, False, False),
        b"",
        [],
    ),
    "no reason, no space": (
        b"GET",
        b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n",
        (404, b"", b"1.1"),
        [(b"Content-Length", b"0")],
        (0, False, True, False),
        b"",
        [],
    ),
    "reason in another script": (
        b"GET",
        "HTTP/1.1 200 Добре\tтак\r\nContent-Length: 0\r\n\r\n".encode(),
        (200, "Добре\tтак".encode(), b"1.1"),
        [(b"Content-Length", b"0")],
        (0, False, True, False),
        b"",
        [],
    ),
    "odd but lawful fields": (
        b"GET",
        OK + b"Content-Length:0\r\nX:\r\n!#$%&'*+-.^_`|~9: \xff\x80 \t a\t \r\nX: 2\r\n\r\n",
        (200, b"OK", b"1.1"),
        [
            (b"Content-Length", b"0"),
            (b"X", b""),
            (b"!#$%&'*+-.^_`|~9", b"\xff\x80 \t a"),
            (b"X", b"2"),
        ],
        (0, False, True, False),
        b"",
        [],
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_responses_however_they_are_cut(name):
    method, data, first_line, fields, framing, body, trailers = GOOD[name]
    status, reason, version = first_line
    for pieces in ([data], single_bytes(data), *halves(data)):
        receiver, reader = read(pieces, method)
        others, told_body = receiver.summary
        assert others == [("head", others[0][1]), ("end", trailers)]
        head = others[0][1]
        assert (head.status, head.reason, head.version) == (status, reason, version)
        assert head.headers == fields
        told = (head.content_length, head.chunked, head.keep_alive, head.until_eof)
        assert told == framing
        assert reader.keep_alive == framing[2]
        assert told_body == body
        reader.receive_eof()
        assert receiver.ended


@pytest.mark.parametrize("name", GOOD)
def test_a_response_cut_short_is_truncated(name):
    method, data, *_ = GOOD[name]
    for cut in range(len(data)):
        for pieces in ([data[:cut]], single_bytes(data[:cut])):
            receiver, reader = read(pieces, method)
            with pytest.raises(ResponseTruncated):
                reader.receive_eof()
            assert not receiver.ended
            assert not reader.keep_alive


@pytest.mark.parametrize("extra", [b"a", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", OK + b"\r\n"])
@pytest.mark.parametrize("name", GOOD)
def test_bytes_after_the_response_are_refused(name, extra):
    method, data, *_ = GOOD[name]
    receiver = Recorder()
    with pytest.raises(BadResponse):
        ResponseReader(receiver, method).receive_data(data + extra)
    assert not receiver.told  # in one read: the response is not even announced
    # What comes later comes after the end: the response stands, the connection does not.
    receiver, reader = read(single_bytes(data), method)
    assert receiver.ended
    with pytest.raises(BadResponse):
        reader.receive_data(extra[:1])
    with pytest.raises(BadResponse):
        reader.receive_data(extra)
    assert not reader.keep_alive


@pytest.mark.parametrize("extra", [b"a", b"\r", b"\n", b"\r\n"])
def test_bytes_after_a_chunked_body_are_seen_wherever_the_read_was_cut(extra):
    data = CHUNKED + b"1\r\na\r\n0\r\nX: y\r\n\r\n" + extra
    for pieces in halves(data):
        receiver = Recorder()
        reader = ResponseReader(receiver, b"GET")
        with pytest.raises(BadResponse):
            feed(reader, pieces)


def test_a_body_without_framing_ends_with_the_connection():
    for first in (OK + b"\r\n", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"):
        data = first + b"any\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbody"
        for pieces in ([data], single_bytes(data)):
            receiver, reader = read(pieces)
            head = receiver.heads[0]
            assert head.until_eof
            assert not head.keep_alive
            assert not receiver.ended
            reader.receive_eof()
            assert receiver.summary[1] == data[len(first) :]
            assert receiver.ended
            assert not reader.keep_alive


def test_an_empty_body_without_framing():
    receiver, _ = read([OK + b"\r\n"], eof=True)
    assert [kind for kind, _ in receiver.told] == ["head", "end"]


def test_informational_responses_come_first():
    data = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
    )
    for method, body in ((b"GET", b"ab"), (b"HEAD", b"")):
        whole = data if body else data[:-2]
        for pieces in ([whole], single_bytes(whole), *halves(whole)):
            receiver, reader = read(pieces, method)
            others, told_body = receiver.summary
            assert [kind for kind, _ in others] == ["informational", "informational", "head", "end"]
            assert [head.status for _, head in others[:3]] == [100, 103, 200]
            assert others[1][1].headers == [(b"Link", b"</a>")]
            assert told_body == body
            assert reader.keep_alive


def test_each_chunk_is_passed_on_by_itself():
    data = CHUNKED + b"".join(b"4\r\nab%d\n\r\n" % i for i in range(5)) + b"0\r\n\r\n"
    receiver, _ = read([data])
    pieces = [value for kind, value in receiver.told if kind == "data"]
    assert pieces == [b"ab%d\n" % i for i in range(5)]


def test_bodies_of_known_length_are_not_copied():
    receiver, reader = read([OK + b"Content-Length: 6\r\n\r\n"])
    data = b"abc"
    reader.receive_data(data)
    assert receiver.told[-1][1] is data


BAD = {
    "nothing like it": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/0.9": b"<html></html>\r\n\r\n",
    "empty line first": b"\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    "space first": b" " + OK + b"Content-Length: 0\r\n\r\n",
    "RTSP": b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "ICE": b"ICE/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "lower-case name": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version 0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version 1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version 2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version 1.10": b"HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version 1": b"HTTP/1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "tab": b"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    "status in letters": b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
    "NUL in reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "ESC in reason": b"HTTP/1.1 200 O\x1bK\r\nContent-Length: 0\r\n\r\n",
    "DEL in reason": b"HTTP/1.1 200 O\x7fK\r\nContent-Length: 0\r\n\r\n",
    "CR in reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "bare LF after status line": b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    "bare LF after field": OK + b"X: y\nContent-Length: 0\r\n\r\n",
    "bare LF at the end": OK + b"Content-Length: 0\r\n\n",
    "only bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare CR after field": OK + b"X: y\rContent-Length: 0\r\n\r\n",
    "NUL in value": OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "NUL in name": OK + b"X\0: a\r\nContent-Length: 0\r\n\r\n",
    "control byte in value": OK + b"X: a\x01b\r\nContent-Length: 0\r\n\r\n",
    "DEL in value": OK + b"X: a\x7fb\r\nContent-Length: 0\r\n\r\n",
    "space before the colon": OK + b"Content-Length : 0\r\n\r\n",
    "space before the first name": OK + b" Content-Length: 0\r\n\r\n",
    "no colon": OK + b"Content-Length 0\r\n\r\n",
    "no name": OK + b": 0\r\nContent-Length: 0\r\n\r\n",
    "at in name": OK + b"X@Y: 0\r\nContent-Length: 0\r\n\r\n",
    "high byte in name": OK + b"X\xe9: 0\r\nContent-Length: 0\r\n\r\n",
    "folded field": OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "folded length": OK + b"Content-Length:\r\n 0\r\n\r\n",
    "length twice": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "lengths differ": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "length list": OK + b"Content-Length: 2, 2\r\n\r\nab",
    "length with plus": OK + b"Content-Length: +2\r\n\r\nab",
    "length with minus": OK + b"Content-Length: -2\r\n\r\nab",
    "length in hex": OK + b"Content-Length: 0x2\r\n\r\nab",
    "length with underscore": OK + b"Content-Length: 1_0\r\n\r\n0123456789",
    "length with space": OK + b"Content-Length: 1 0\r\n\r\n0123456789",
    "length in other digits": OK + "Content-Length: ２\r\n\r\nab".encode(),
    "no length": OK + b"Content-Length: \r\n\r\nab",
    "length 2**63": OK + b"Content-Length: 9223372036854775808\r\n\r\nab",
    "length 2**64": OK + b"Content-Length: 18446744073709551616\r\n\r\nab",
    "length of 5000 digits": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nab",
    "length then coding": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding then length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "coding gzip": OK + b"Transfer-Encoding: gzip\r\n\r\nab",
    "coding gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding gzip and chunked": (
        OK + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "coding chunked, gzip": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "coding chunked twice": (
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "coding chunked, chunked": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "coding identity": OK + b"Transfer-Encoding: identity\r\n\r\nab",
    "coding empty": OK + b"Transfer-Encoding:\r\n\r\nab",
    "coding xchunked": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding with parameter": OK + b"Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n",
    "coding with vertical tab": OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "coding in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "204 with length": b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\n",
    "204 chunked": b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n",
    "1xx with length": b"HTTP/1.1 103 H\r\nContent-Length: 0\r\n\r\n" + OK + b"\r\n",
    "1xx chunked": b"HTTP/1.1 103 H\r\nTransfer-Encoding: chunked\r\n\r\n" + OK + b"\r\n",
    "101": b"HTTP/1.1 101 Switching\r\n\r\n",
    "101 with fields": b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
    "empty line after 1xx": b"HTTP/1.1 103 H\r\n\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    "chunk size with minus": CHUNKED + b"-1\r\na\r\n0\r\n\r\n",
    "chunk size in 0x": CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
    "chunk size with space": CHUNKED + b"1 \r\na\r\n0\r\n\r\n",
    "chunk size after space": CHUNKED + b" 1\r\na\r\n0\r\n\r\n",
    "chunk size missing": CHUNKED + b"\r\na\r\n0\r\n\r\n",
    "chunk size no digit": CHUNKED + b"g\r\na\r\n0\r\n\r\n",
    "chunk size too large": CHUNKED + b"1" * 17 + b"\r\na\r\n0\r\n\r\n",
    "chunk size with bare LF": CHUNKED + b"1\na\r\n0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "chunk without its end": CHUNKED + b"1\r\na0\r\n\r\n",
    "chunk ended by bare LF": CHUNKED + b"1\r\na\n0\r\n\r\n",
    "chunk extension with NUL": CHUNKED + b"1;a\0b\r\na\r\n0\r\n\r\n",
    "chunk extension with bare LF": CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n",
    "last chunk with bare LF": CHUNKED + b"0\r\n\n",
    "trailer with bare LF": CHUNKED + b"0\r\nX: y\n\r\n",
    "trailer with NUL": CHUNKED + b"0\r\nX: \0\r\n\r\n",
    "trailer folded": CHUNKED + b"0\r\nX: a\r\n b\r\n\r\n",
    "length among trailers": CHUNKED + b"0\r\nContent-Length: 0\r\n\r\n",
    "coding among trailers": CHUNKED + b"0\r\ntransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_responses_however_they_are_cut(name):
    data = BAD[name]
    whole = Recorder()
    reader = ResponseReader(whole, b"GET")
    with pytest.raises(BadResponse) as raised:
        reader.receive_data(data)
    assert not raised.errisinstance(ResponseTruncated)
    assert not whole.heads
    assert not reader.keep_alive
    with pytest.raises(BadResponse):
        reader.receive_data(OK)
    with pytest.raises(ResponseTruncated):
        reader.receive_eof()
    for pieces in (single_bytes(data), *halves(data)):
        receiver = Recorder()
        reader = ResponseReader(receiver, b"GET")
        with pytest.raises(BadResponse):
            feed(reader, pieces)
        assert not receiver.ended
        assert not reader.keep_alive


@pytest.mark.parametrize("name", BAD)
def test_messages_quote_nothing_of_the_response(name):
    data = BAD[name].replace(b"X", b"SECRETWORD").replace(b"OK", b"SECRETWORD")
    with pytest.raises(BadResponse) as raised:
        ResponseReader(Recorder(), b"GET").receive_data(data)
    assert "SECRETWORD" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_body_where_there_is_none():
    for method, head in (
        (b"HEAD", OK + b"Content-Length: 2\r\n\r\n"),
        (b"HEAD", CHUNKED),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"),
    ):
        receiver = Recorder()
        with pytest.raises(BadResponse):
            ResponseReader(receiver, method).receive_data(head + b"ab")
        assert not receiver.told


def head_of(size):
    start, end = OK + b"Content-Length: 0\r\nX: ", b"\r\n\r\n"
    return start + b"x" * (size - len(start) - len(end)) + end


def test_the_bound_on_the_bytes_of_a_head():
    for step in (MAX_RESPONSE_HEAD + 1, 1000, 1):
        fits, over = head_of(MAX_RESPONSE_HEAD), head_of(MAX_RESPONSE_HEAD + 1)
        receiver, _ = read([fits[i : i + step] for i in range(0, len(fits), step)])
        assert receiver.ended
        with pytest.raises(BadResponse, match="larger than 65536"):
            read([over[i : i + step] for i in range(0, len(over), step)])


def test_an_endless_head_is_refused_before_its_end():
    reader = ResponseReader(Recorder(), b"GET")
    reader.receive_data(OK + b"X: ")
    with pytest.raises(BadResponse, match="larger"):
        feed(reader, [b"x" * 1024] * (MAX_RESPONSE_HEAD // 1024))
    with pytest.raises(BadResponse, match="larger"):
        ResponseReader(Recorder(), b"GET").receive_data(OK + b"X: " + b"x" * 1024 * 1024)


def test_each_head_has_its_own_bound():
    hint = b"HTTP/1.1 103 H\r\nX: " + b"x" * 60_000 + b"\r\n\r\n"
    receiver, _ = read([hint, hint, OK + b"Content-Length: 0\r\n\r\n"])
    assert receiver.ended


def test_the_bound_on_the_number_of_fields():
    most = b"".join(b"X: %d\r\n" % i for i in range(MAX_RESPONSE_FIELDS - 1))
    fields = b"Content-Length: 0\r\n" + most
    receiver, _ = read([OK + fields + b"\r\n"])
    assert len(receiver.heads[0].headers) == MAX_RESPONSE_FIELDS
    with pytest.raises(BadResponse, match="more than 200 fields"):
        read([OK + fields + b"X: y\r\n\r\n"])
    trailers = most + b"X: y\r\n"
    receiver, _ = read([CHUNKED, b"0\r\n" + trailers + b"\r\n"])
    assert len(receiver.told[-1][1]) == MAX_RESPONSE_FIELDS
    with pytest.raises(BadResponse, match="more than 200 fields"):
        read([CHUNKED, b"0\r\n" + trailers + b"X: y\r\n\r\n"])


def test_the_bound_on_informational_responses():
    hint = b"HTTP/1.1 102 Processing\r\n\r\n"
    final = OK + b"Content-Length: 0\r\n\r\n"
    receiver, _ = read([hint * MAX_INFORMATIONAL + final])
    assert len(receiver.told) == MAX_INFORMATIONAL + 2
    receiver = Recorder()
    reader = ResponseReader(receiver, b"GET")
    with pytest.raises(BadResponse, match="more than 32 informational"):
        reader.receive_data(hint * (MAX_INFORMATIONAL + 1))
    assert len(receiver.told) == MAX_INFORMATIONAL


@pytest.mark.parametrize("start", [b"0\r\nX: ", b"1;a=", b"0" * 5])
def test_the_bound_on_chunk_framing(start):
    reader = ResponseReader(Recorder(), b"GET")
    reader.receive_data(CHUNKED + b"1\r\na\r\n" + start)
    filler = b"0" if start.isdigit() else b"y"
    for _ in range(MAX_FRAMING_BYTES // 1024):
        reader.receive_data(filler * 1024)
    with pytest.raises(BadResponse, match="without data"):
        reader.receive_data(filler * 1024)


def test_data_between_chunk_framing_starts_its_bound_anew():
    reader = ResponseReader(Recorder(), b"GET")
    reader.receive_data(CHUNKED)
    for _ in range(5):
        reader.receive_data(b"1;" + b"e" * (MAX_FRAMING_BYTES - 10))
        reader.receive_data(b"\r\na\r\n")


def test_the_receiver_may_drop_the_reader_from_any_call():
    """A fault of the receiver's own comes out as it is, not as a fault of the response."""

    class Fragile(Recorder):
        def __init__(self, at):
            super().__init__()
            self.at = at

        def __getattribute__(self, name):
            if name.startswith("response_") and name == self.at:
                raise LookupError
            return super().__getattribute__(name)

    data = b"HTTP/1.1 103 H\r\n\r\n" + CHUNKED + b"1\r\na\r\n0\r\n\r\n"
    for at in ("response_informational", "response_head", "response_data", "response_end"):
        with pytest.raises(LookupError):
            ResponseReader(Fragile(at), b"GET").receive_data(data)


def cut(data, points):
    edges = [0, *sorted({point % (len(data) + 1) for point in points}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


tokens = st.text("abcXYZ-_0", min_size=1, max_size=12).map(lambda text: b"x-" + text.encode())
values = st.binary(max_size=30).map(
    lambda raw: bytes(b for b in raw if b >= 0x20 and b != 0x7F).strip(b" \t")
)
points = st.lists(st.integers(0, 10_000), max_size=12)


@settings(max_examples=60)
@given(
    st.integers(200, 599).filter(lambda status: status not in {204, 304}),
    st.lists(st.tuples(tokens, values), max_size=6),
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.tuples(tokens, values), max_size=3),
    st.sampled_from(["length", "chunked", "eof"]),
    points,
)
def test_what_was_written_is_read(status, fields, body, trailers, framing, where):
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    whole = b"".join(body)
    head = b"HTTP/1.1 %d Reason\r\n" % status + lines
    if framing == "length":
        data = head + b"Content-Length: %d\r\n\r\n" % len(whole) + whole
    elif framing == "chunked":
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in body)
        last = b"0\r\n" + b"".join(b"%b: %b\r\n" % field for field in trailers) + b"\r\n"
        data = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + last
    else:
        data = head + b"\r\n" + whole
    receiver, reader = read(cut(data, where), eof=framing == "eof")
    others, told_body = receiver.summary
    assert [kind for kind, _ in others] == ["head", "end"]
    assert others[0][1].status == status
    assert others[0][1].headers[: len(fields)] == fields
    assert told_body == whole
    assert others[1][1] == (trailers if framing == "chunked" else [])
    assert reader.keep_alive == (framing != "eof")


@settings(max_examples=80)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    b"HTTP/1.1 200 OK",
                    b"HTTP/1.1 100 C",
                    b"HTTP/1.1 304 N",
                    b"HTTP/1.0 200 OK",
                    b"\r\n",
                    b"\r\n",
                    b"\r\n\r\n",
                    b"\n",
                    b"\r",
                    b" ",
                    b"\0",
                    b"Content-Length: 3",
                    b"Content-Length: 0",
                    b"Transfer-Encoding: chunked",
                    b"Connection: close",
                    b"X: y",
                    b"3",
                    b"abc",
                    b"0",
                ]
            ),
            st.binary(max_size=6),
        ),
        max_size=14,
    ).map(b"".join),
    st.sampled_from([b"GET", b"HEAD"]),
    points,
)
def test_any_bytes_end_in_one_way(data, method, where):
    """Only `BadResponse` comes out, and what was told keeps its order."""

    def outcome(pieces):
        receiver = Recorder()
        reader = ResponseReader(receiver, method)
        try:
            feed(reader, pieces)
            reader.receive_eof()
        except BadResponse:
            verdict = "bad"
        else:
            verdict = "good"
        kinds = [kind for kind, _ in receiver.told]
        assert kinds.count("head") <= 1
        assert kinds.count("end") <= 1
        if "end" in kinds:
            assert kinds[-1] == "end"
        assert kinds == sorted(kinds, key=["informational", "head", "data", "end"].index)
        return verdict, receiver.comparable if verdict == "good" else None

    assert outcome([data]) == outcome(cut(data, where)) == outcome(single_bytes(data))


@settings(max_examples=80)
@given(
    st.lists(
        st.sampled_from(
            [
                b"Content-Length: 3\r\n",
                b"Content-Length: 03\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"Transfer-Encoding: Chunked\r\n",
                b"Connection: close\r\n",
                b"Connection: keep-alive\r\n",
                b"X: y\r\n",
                b"X:\t\r\n",
            ]
        ),
        max_size=3,
    ),
    st.sampled_from([b"abc", b"", b"3\r\nabc\r\n0\r\n\r\n", b"3;a=b\r\nabc\r\n0\r\nT: u\r\n\r\n"]),
    st.sampled_from([200, 204, 304, 404]),
    st.sampled_from([b"GET", b"HEAD"]),
)
def test_what_we_accept_another_strict_reader_reads_alike(fields, body, status, method):
    data = b"HTTP/1.1 %d OK\r\n" % status + b"".join(fields) + b"\r\n" + body
    receiver = Recorder()
    reader = ResponseReader(receiver, method)
    try:
        reader.receive_data(data)
        reader.receive_eof()
    except BadResponse:
        return
    other = h11.Connection(h11.CLIENT)
    other.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    other.send(h11.EndOfMessage())
    other.receive_data(data)
    other.receive_data(b"")
    response = other.next_event()
    assert isinstance(response, h11.Response)
    assert response.status_code == status
    read_body = b""
    while type(event := other.next_event()) is h11.Data:
        read_body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert receiver.summary[1] == read_body
    if reader.keep_alive:
        assert other.their_state is h11.DONE
