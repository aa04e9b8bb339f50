"""Raw requests and what is to become of each: one table for the reader and for the channel.

A row's ``verdict`` is the code of the refusal, or what is seen of each request.
"""

from typing import NamedTuple

__all__ = ["ROWS", "SMALL_LIMITS", "Row", "Seen"]


class Seen(NamedTuple):
    """One request as it is understood."""

    method: bytes = b"GET"
    target: bytes = b"/"
    host: bytes = b"h"
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    version: bytes = b"1.1"
    keep_alive: bool = True


class Row(NamedTuple):
    """One row: ``rfc`` says what decides."""

    name: str
    raw: bytes
    verdict: str | tuple[Seen, ...]
    rfc: str


SMALL_LIMITS = {"request_line": 64, "header": 256, "fields": 8, "body": 32}
"""The limits that the table is read with, so that rows about limits stay short."""

G = b"GET / HTTP/1.1\r\n"
P = b"POST / HTTP/1.1\r\n"
H = b"Host: h\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
OK = (Seen(),)


def _line(line: bytes) -> bytes:
    return line + b"\r\n" + H + b"\r\n"


def _fields(fields: bytes, start: bytes = G) -> bytes:
    return start + H + fields + b"\r\n"


def _chunked(body: bytes) -> bytes:
    return P + H + TE + b"\r\n" + body


def _posted(body: bytes, trailers: tuple[tuple[bytes, bytes], ...] = ()) -> tuple[Seen, ...]:
    return (Seen(b"POST", body=body, trailers=trailers),)


BAD = "bad_request"

_REQUEST_LINES = (
    ("plain", _line(b"GET / HTTP/1.1"), OK, "9112 3"),
    ("one empty line before", b"\r\n" + _line(b"GET / HTTP/1.1"), OK, "9112 2.2"),
    ("two empty lines before", b"\r\n\r\n" + _line(b"GET / HTTP/1.1"), BAD, "9112 2.2"),
    ("bare LF before", b"\n" + _line(b"GET / HTTP/1.1"), BAD, "9112 2.2"),
    ("CR before", b"\r" + _line(b"GET / HTTP/1.1"), BAD, "9112 2.2"),
    ("space before", _line(b" GET / HTTP/1.1"), BAD, "9112 3"),
    ("two spaces after method", _line(b"GET  / HTTP/1.1"), BAD, "9112 3"),
    ("two spaces after target", _line(b"GET /  HTTP/1.1"), BAD, "9112 3"),
    ("space at end", _line(b"GET / HTTP/1.1 "), BAD, "9112 3"),
    ("tab for space", _line(b"GET\t/ HTTP/1.1"), BAD, "9112 3"),
    ("bare LF", b"GET / HTTP/1.1\n" + H + b"\r\n", BAD, "9112 2.2"),
    ("only LFs", b"GET / HTTP/1.1\nHost: h\n\n", BAD, "9112 2.2"),
    ("bare CR", b"GET / HTTP/1.1\r" + H + b"\r\n", BAD, "9112 2.2"),
    ("CR CR LF", b"GET / HTTP/1.1\r\r\n" + H + b"\r\n", BAD, "9112 2.2"),
    ("version 1.2", _line(b"GET / HTTP/1.2"), BAD, "9112 2.3"),
    ("version 2.0", _line(b"GET / HTTP/2.0"), BAD, "9112 2.3"),
    ("version 0.9", _line(b"GET / HTTP/0.9"), BAD, "9112 2.3"),
    ("version 1.10", _line(b"GET / HTTP/1.10"), BAD, "9112 2.3"),
    ("version 01.1", _line(b"GET / HTTP/01.1"), BAD, "9112 2.3"),
    ("version 1", _line(b"GET / HTTP/1"), BAD, "9112 2.3"),
    ("lower-case version", _line(b"GET / http/1.1"), BAD, "9112 2.3"),
    ("another protocol", _line(b"GET / RTSP/1.0"), BAD, "9112 2.3"),
    ("HTTP/0.9", b"GET /\r\n", BAD, "9112 2.3"),
    ("no target", _line(b"GET HTTP/1.1"), BAD, "9112 3"),
    ("empty target", _line(b"GET  HTTP/1.1"), BAD, "9112 3"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BAD, "9113 3.4"),
    ("TLS to a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", BAD, "9112 3"),
    ("unknown method", _line(b"BREW / HTTP/1.1"), "method_not_implemented", "9110 9.1"),
    ("lower-case method", _line(b"get / HTTP/1.1"), "method_not_implemented", "9110 9.1"),
    ("method of RTSP", _line(b"SETUP / HTTP/1.1"), "method_not_implemented", "9110 9.1"),
    ("CONNECT", _line(b"CONNECT h:443 HTTP/1.1"), "method_not_implemented", "9110 9.3.6"),
    ("CONNECT with a path", _line(b"CONNECT / HTTP/1.1"), "method_not_implemented", "9110 9.3.6"),
    ("TRACE", _line(b"TRACE / HTTP/1.1"), "method_not_implemented", "9110 9.3.8"),
    ("method is no token", _line(b"GE(T / HTTP/1.1"), BAD, "9110 9.1"),
    ("empty method", _line(b" / HTTP/1.1"), BAD, "9110 9.1"),
    ("long method", _line(b"M" * 50 + b" / HTTP/1.1"), "method_not_implemented", "9110 9.1"),
    ("method with a dash", _line(b"M-SEARCH / HTTP/1.1"), (Seen(b"M-SEARCH"),), "9110 9.1"),
    ("QUERY", _line(b"QUERY / HTTP/1.1"), (Seen(b"QUERY"),), "9110 9.1"),
)

_TARGETS = (
    ("query", _line(b"GET /a?b=c&d HTTP/1.1"), (Seen(target=b"/a?b=c&d"),), "9112 3.2.1"),
    ("encoded", _line(b"GET /%2f%00%ff HTTP/1.1"), (Seen(target=b"/%2f%00%ff"),), "9112 3.2.1"),
    ("two slashes", _line(b"GET //h/a HTTP/1.1"), (Seen(target=b"//h/a"),), "9112 3.2.1"),
    ("odd but visible", _line(b'GET /"<>^`{|} HTTP/1.1'), (Seen(target=b'/"<>^`{|}'),), "3986 2"),
    ("fragment", _line(b"GET /a#b HTTP/1.1"), BAD, "9112 3.2.1"),
    ("backslash", _line(b"GET /a\\b HTTP/1.1"), BAD, "3986 2"),
    ("space in target", _line(b"GET /a b HTTP/1.1"), BAD, "9112 3"),
    ("tab in target", _line(b"GET /a\tb HTTP/1.1"), BAD, "9112 3"),
    ("NUL in target", _line(b"GET /a\0b HTTP/1.1"), BAD, "9112 3"),
    ("control in target", _line(b"GET /a\x01 HTTP/1.1"), BAD, "9112 3"),
    ("DEL in target", _line(b"GET /a\x7f HTTP/1.1"), BAD, "9112 3"),
    ("UTF-8 in target", _line("GET /é HTTP/1.1".encode()), BAD, "9112 3"),
    ("relative", _line(b"GET a HTTP/1.1"), BAD, "9112 3.2"),
    ("query only", _line(b"GET ?a HTTP/1.1"), BAD, "9112 3.2"),
    ("asterisk for GET", _line(b"GET * HTTP/1.1"), BAD, "9112 3.2.4"),
    ("asterisk", _line(b"OPTIONS * HTTP/1.1"), (Seen(b"OPTIONS", b"*"),), "9112 3.2.4"),
    ("authority for GET", _line(b"GET h:80 HTTP/1.1"), BAD, "9112 3.2.3"),
    (
        "absolute",
        _line(b"GET http://o:81/a?b HTTP/1.1"),
        (Seen(target=b"/a?b", host=b"o:81"),),
        "9112 3.2.2",
    ),
    (
        "absolute in capitals",
        _line(b"GET HTTPS://o HTTP/1.1"),
        (Seen(target=b"/", host=b"o"),),
        "9112 3.2.2",
    ),
    (
        "absolute with a query only",
        _line(b"GET http://o?b HTTP/1.1"),
        (Seen(target=b"/?b", host=b"o"),),
        "9112 3.2.2",
    ),
    (
        "absolute with an IPv6 address",
        _line(b"GET http://[::1]:80/ HTTP/1.1"),
        (Seen(host=b"[::1]:80"),),
        "9112 3.2.2",
    ),
    (
        "absolute for OPTIONS",
        _line(b"OPTIONS http://o HTTP/1.1"),
        (Seen(b"OPTIONS", b"*", b"o"),),
        "9112 3.2.4",
    ),
    ("absolute without Host", b"GET http://o/ HTTP/1.1\r\n\r\n", BAD, "9112 3.2"),
    ("absolute with userinfo", _line(b"GET http://u@o/ HTTP/1.1"), BAD, "9110 4.2.4"),
    ("absolute with no host", _line(b"GET http:///a HTTP/1.1"), BAD, "9110 4.2.1"),
    ("another scheme", _line(b"GET ftp://o/ HTTP/1.1"), BAD, "9112 3.2.2"),
    ("absolute with a bad port", _line(b"GET http://o:x/ HTTP/1.1"), BAD, "9110 4.2.1"),
)

_HOSTS = (
    ("no Host", G + b"\r\n", BAD, "9112 3.2"),
    ("two Hosts", G + H + H + b"\r\n", BAD, "9112 3.2"),
    ("two Hosts, cases differ", G + H + b"hOST: o\r\n\r\n", BAD, "9112 3.2"),
    ("empty Host", G + b"Host:\r\n\r\n", BAD, "9110 4.2.1"),
    ("Host with a port", G + b"Host: h:8080\r\n\r\n", (Seen(host=b"h:8080"),), "9110 7.2"),
    ("Host with an empty port", G + b"Host: h:\r\n\r\n", BAD, "9110 7.2"),
    ("Host with a port too high", G + b"Host: h:65536\r\n\r\n", BAD, "9110 7.2"),
    ("Host with a space", G + b"Host: h o\r\n\r\n", BAD, "9112 3.2"),
    ("Host with a path", G + b"Host: h/a\r\n\r\n", BAD, "9112 3.2"),
    ("Host with userinfo", G + b"Host: u@h\r\n\r\n", BAD, "9112 3.2"),
    ("Host as a list", G + b"Host: h,o\r\n\r\n", BAD, "9112 3.2"),
    ("Host with an escape", G + b"Host: h%2e\r\n\r\n", BAD, "9112 3.2"),
    ("Host in UTF-8", G + "Host: é\r\n\r\n".encode(), BAD, "9112 3.2"),
    ("Host is IPv6", G + b"Host: [2001:db8::1]\r\n\r\n", (Seen(host=b"[2001:db8::1]"),), "3986"),
    ("Host is almost IPv6", G + b"Host: [::1::2]\r\n\r\n", BAD, "3986 3.2.2"),
    ("Host is IPv6 with a zone", G + b"Host: [fe80::1%25eth0]\r\n\r\n", BAD, "6874"),
    ("Host padded", G + b"Host: \t h \t\r\n\r\n", OK, "9112 5"),
)

_FIELDS = (
    ("no space after the colon", _fields(b"A:b\r\n"), OK, "9112 5"),
    ("empty value", _fields(b"A:\r\nB: \r\n"), OK, "9112 5"),
    ("obs-text", _fields(b"A: \xff\x80\r\n"), OK, "9110 5.5"),
    ("tab inside", _fields(b"A: b\tc\r\n"), OK, "9110 5.5"),
    ("space before the colon", _fields(b"A : b\r\n"), BAD, "9112 5.1"),
    ("tab before the colon", _fields(b"A\t: b\r\n"), BAD, "9112 5.1"),
    ("no colon", _fields(b"A\r\n"), BAD, "9112 5"),
    ("no name", _fields(b": b\r\n"), BAD, "9112 5"),
    ("name is no token", _fields(b"A(: b\r\n"), BAD, "9110 5.1"),
    ("name in UTF-8", _fields("É: b\r\n".encode()), BAD, "9110 5.1"),
    ("folded line", _fields(b"A: b\r\n c\r\n"), BAD, "9112 5.2"),
    ("folded with a tab", _fields(b"A: b\r\n\tc\r\n"), BAD, "9112 5.2"),
    ("folded to an empty line", _fields(b"A: b\r\n \r\n"), BAD, "9112 5.2"),
    ("space before the first field", G + b" A: b\r\n" + H + b"\r\n", BAD, "9112 2.2"),
    ("NUL in a value", _fields(b"A: b\0c\r\n"), BAD, "9110 5.5"),
    ("control in a value", _fields(b"A: b\x01c\r\n"), BAD, "9110 5.5"),
    ("DEL in a value", _fields(b"A: b\x7f\r\n"), BAD, "9110 5.5"),
    ("bare CR in a value", _fields(b"A: b\rc\r\n"), BAD, "9112 2.2"),
    ("bare LF after a value", _fields(b"A: b\n"), BAD, "9112 2.2"),
    ("bare LF as the empty line", G + H + b"\n", BAD, "9112 2.2"),
    ("CR CR LF after a value", _fields(b"A: b\r\r\n"), BAD, "9112 2.2"),
    ("Connection: close", _fields(b"Connection: close\r\n"), (Seen(keep_alive=False),), "9112 9"),
    (
        "close among other options",
        _fields(b"Connection: a, CLOSE\r\nConnection: keep-alive\r\n"),
        (Seen(keep_alive=False),),
        "9112 9.3",
    ),
    ("Upgrade", _fields(b"Upgrade: x\r\nConnection: upgrade\r\n"), OK, "9110 7.8"),
    (
        "Upgrade with a body",
        _fields(b"Upgrade: x\r\nConnection: upgrade\r\nContent-Length: 2\r\n", P) + b"ab",
        _posted(b"ab"),
        "9110 7.8",
    ),
    (
        "Upgrade and then another request",
        _fields(b"Upgrade: x\r\nConnection: upgrade\r\n") + G + H + b"\r\n",
        OK * 2,
        "9110 7.8",
    ),
    ("HTTP/1.0", b"GET / HTTP/1.0\r\n" + H + b"\r\n", None, "9112 9.3"),
    ("HTTP/1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", None, "9112 3.2"),
    ("HTTP/1.0 with two Hosts", b"GET / HTTP/1.0\r\n" + H + H + b"\r\n", BAD, "9112 3.2"),
    (
        "HTTP/1.0 keep-alive",
        b"GET / HTTP/1.0\r\n" + H + b"Connection: Keep-Alive\r\n\r\n" + G + H + b"\r\n",
        None,
        "9112 9.3",
    ),
)
_ONE_0 = {
    "HTTP/1.0": (Seen(version=b"1.0", keep_alive=False),),
    "HTTP/1.0 without Host": (Seen(host=b"", version=b"1.0", keep_alive=False),),
    "HTTP/1.0 keep-alive": (Seen(version=b"1.0"), Seen()),
}

_LENGTHS = (
    ("length", _fields(b"Content-Length: 2\r\n", P) + b"ab", _posted(b"ab"), "9112 6.2"),
    ("length 0", _fields(b"Content-Length: 0\r\n", P), _posted(b""), "9112 6.2"),
    ("length with zeros", _fields(b"Content-Length: 002\r\n", P) + b"ab", _posted(b"ab"), "9110"),
    (
        "length with many zeros",
        _fields(b"Content-Length: " + b"0" * 30 + b"2\r\n", P) + b"ab",
        _posted(b"ab"),
        "9110 8.6",
    ),
    ("length padded", _fields(b"Content-Length:  2 \r\n", P) + b"ab", _posted(b"ab"), "9110 5.5"),
    ("length of a GET", _fields(b"Content-Length: 2\r\n") + b"ab", (Seen(body=b"ab"),), "9110 9.3"),
    ("length twice", _fields(b"Content-Length: 2\r\n" * 2, P) + b"ab", BAD, "9112 6.3"),
    (
        "length twice, differing",
        _fields(b"Content-Length: 2\r\ncontent-length: 3\r\n", P) + b"abc",
        BAD,
        "9112 6.3",
    ),
    ("length as a list", _fields(b"Content-Length: 2, 2\r\n", P) + b"ab", BAD, "9112 6.3"),
    ("length empty", _fields(b"Content-Length:\r\n", P), BAD, "9110 8.6"),
    ("length with a sign", _fields(b"Content-Length: +2\r\n", P) + b"ab", BAD, "9110 8.6"),
    ("length negative", _fields(b"Content-Length: -1\r\n", P), BAD, "9110 8.6"),
    ("length in hex", _fields(b"Content-Length: 0x2\r\n", P) + b"ab", BAD, "9110 8.6"),
    ("length with a point", _fields(b"Content-Length: 2.0\r\n", P) + b"ab", BAD, "9110 8.6"),
    ("length with underscore", _fields(b"Content-Length: 1_0\r\n", P) + b"ab", BAD, "9110 8.6"),
    ("length with inner space", _fields(b"Content-Length: 1 0\r\n", P) + b"ab", BAD, "9110 8.6"),
    ("length 2**63", _fields(b"Content-Length: 9223372036854775808\r\n", P), BAD, "9110 8.6"),
    ("length 2**64", _fields(b"Content-Length: 18446744073709551616\r\n", P), BAD, "9110 8.6"),
    ("length of 200 digits", _fields(b"Content-Length: " + b"9" * 200 + b"\r\n", P), BAD, "9110"),
    (
        "length 2**63 - 1",
        _fields(b"Content-Length: 9223372036854775807\r\n", P),
        "content_too_large",
        "9110 15.5.14",
    ),
    ("length and chunked", _fields(b"Content-Length: 5\r\n" + TE, P), BAD, "9112 6.3"),
    ("chunked and length", _fields(TE + b"Content-Length: 5\r\n", P), BAD, "9112 6.3"),
    ("chunked twice", _fields(TE + TE, P), BAD, "9112 6.1"),
    ("chunked twice in one", _fields(b"Transfer-Encoding: chunked, chunked\r\n", P), BAD, "9112"),
    ("chunked not last", _fields(b"Transfer-Encoding: chunked, gzip\r\n", P), BAD, "9112 6.1"),
    ("another coding", _fields(b"Transfer-Encoding: gzip, chunked\r\n", P), BAD, "9112 6.1"),
    ("gzip alone", _fields(b"Transfer-Encoding: gzip\r\n", P), BAD, "9112 6.3"),
    ("identity", _fields(b"Transfer-Encoding: identity\r\n", P), BAD, "9112 6.1"),
    ("identity and chunked", _fields(b"Transfer-Encoding: identity\r\n" + TE, P), BAD, "9112"),
    ("almost chunked", _fields(b"Transfer-Encoding: xchunked\r\n", P), BAD, "9112 6.1"),
    ("chunked with a parameter", _fields(b"Transfer-Encoding: chunked;a=b\r\n", P), BAD, "9112 7"),
    ("chunked quoted", _fields(b'Transfer-Encoding: "chunked"\r\n', P), BAD, "9112 7"),
    ("chunked with a comma", _fields(b"Transfer-Encoding: chunked,\r\n", P), BAD, "9112 7"),
    ("chunked after a VT", _fields(b"Transfer-Encoding: \x0bchunked\r\n", P), BAD, "9110 5.5"),
    ("empty coding", _fields(b"Transfer-Encoding:\r\n", P), BAD, "9112 6.1"),
    ("chunked for HTTP/1.0", b"POST / HTTP/1.0\r\n" + H + TE + b"\r\n", BAD, "9112 6.1"),
    (
        "underscore is another field",
        _fields(b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\n", P),
        _posted(b""),
        "9110 5.1",
    ),
)

_CHUNKS = (
    ("chunks", _chunked(b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"), _posted(b"abc"), "9112 7.1"),
    (
        "coding in capitals",
        _fields(b"Transfer-Encoding: CHUNKED\r\n", P) + b"0\r\n\r\n",
        _posted(b""),
        "9112 7",
    ),
    ("size in hex", _chunked(b"0a\r\n0123456789\r\n0\r\n\r\n"), _posted(b"0123456789"), "9112"),
    ("size in capitals", _chunked(b"A\r\n0123456789\r\n0\r\n\r\n"), _posted(b"0123456789"), "9112"),
    ("many zeros at the end", _chunked(b"000\r\n\r\n"), _posted(b""), "9112 7.1"),
    ("extension", _chunked(b'1;a=b;c="d e"\r\nx\r\n0;e\r\n\r\n'), _posted(b"x"), "9112 7.1.1"),
    ("space before the size", _chunked(b" 1\r\nx\r\n0\r\n\r\n"), BAD, "9112 7.1"),
    ("space after the size", _chunked(b"1 \r\nx\r\n0\r\n\r\n"), BAD, "9112 7.1"),
    ("empty extension", _chunked(b"1;\r\nx\r\n0\r\n\r\n"), BAD, "9112 7.1.1"),
    ("control in an extension", _chunked(b"1;a\x01\r\nx\r\n0\r\n\r\n"), BAD, "9112 7.1.1"),
    ("LF in an extension", _chunked(b"1;a\nb\r\nx\r\n0\r\n\r\n"), BAD, "9112 7.1.1"),
    ("CR in an extension", _chunked(b"1;a\rb\r\nx\r\n0\r\n\r\n"), BAD, "9112 7.1.1"),
    ("size with a prefix", _chunked(b"0x1\r\nx\r\n0\r\n\r\n"), BAD, "9112 7.1"),
    ("size with a sign", _chunked(b"+1\r\nx\r\n0\r\n\r\n"), BAD, "9112 7.1"),
    ("size negative", _chunked(b"-1\r\nx\r\n0\r\n\r\n"), BAD, "9112 7.1"),
    ("size with underscore", _chunked(b"0_1\r\nx\r\n0\r\n\r\n"), BAD, "9112 7.1"),
    ("no size", _chunked(b"\r\nx\r\n0\r\n\r\n"), BAD, "9112 7.1"),
    ("size 2**63", _chunked(b"8000000000000000\r\n"), BAD, "9112 7.1"),
    ("size of 17 digits", _chunked(b"00000000000000001\r\nx\r\n0\r\n\r\n"), BAD, "9112 7.1"),
    ("LF after the size", _chunked(b"1\nx\r\n0\r\n\r\n"), BAD, "9112 7.1"),
    ("chunk longer than its size", _chunked(b"1\r\nxy\r\n0\r\n\r\n"), BAD, "9112 7.1"),
    ("LF after the data", _chunked(b"1\r\nx\n0\r\n\r\n"), BAD, "9112 7.1"),
    ("no line end after the data", _chunked(b"1\r\nx0\r\n\r\n"), BAD, "9112 7.1"),
    (
        "trailers",
        _chunked(b"1\r\nx\r\n0\r\nX-Sum: b\r\nDigest:\r\n\r\n"),
        _posted(b"x", ((b"X-Sum", b"b"), (b"Digest", b""))),
        "9112 7.1.2",
    ),
    (
        "trailers that must not be",
        _chunked(b"0\r\nHost: o\r\nAuthorization: x\r\nX-Api-Key: y\r\nX-Sum: b\r\n\r\n"),
        _posted(b"", ((b"X-Sum", b"b"),)),
        "9110 6.5.1",
    ),
    (
        "framing in trailers",
        _chunked(b"0\r\nContent-Length: 5\r\n\r\n"),
        _posted(b""),
        "9110 6.5.1",
    ),
    ("trailer with a space", _chunked(b"0\r\nA : b\r\n\r\n"), BAD, "9112 5.1"),
    ("folded trailer", _chunked(b"0\r\nA: b\r\n c\r\n\r\n"), BAD, "9112 5.2"),
    ("LF at the end", _chunked(b"0\r\n\n"), BAD, "9112 2.2"),
    ("LF after a trailer", _chunked(b"0\r\nA: b\n\r\n"), BAD, "9112 2.2"),
    ("NUL in a trailer", _chunked(b"0\r\nA: \0\r\n\r\n"), BAD, "9110 5.5"),
)

_LIMITS = (
    ("longest line", _line(b"GET /" + b"a" * 50 + b" HTTP/1.1"), None, "8 KiB"),
    ("line too long", _line(b"GET /" + b"a" * 51 + b" HTTP/1.1"), "uri_too_long", "9112 3"),
    ("line much too long", _line(b"GET /" + b"a" * 500 + b" HTTP/1.1"), "uri_too_long", "9112 3"),
    ("endless line", b"GET /" + b"a" * 80, "uri_too_long", "9112 3"),
    ("line too long and broken", b"GET /\n" + b"a" * 100 + b"\r\n\r\n", BAD, "9112 2.2"),
    ("line broken beyond the limit", b"G" * 100 + b"\n\r\n\r\n", "uri_too_long", "9112 3"),
    ("most fields", _fields(b"A: b\r\n" * 7), OK, "6585 5"),
    ("too many fields", _fields(b"A: b\r\n" * 8), "header_fields_too_large", "6585 5"),
    ("longest header", _fields(b"A: " + b"b" * 240 + b"\r\n"), OK, "6585 5"),
    (
        "header too long",
        _fields(b"A: " + b"b" * 241 + b"\r\n"),
        "header_fields_too_large",
        "6585 5",
    ),
    ("endless header", G + H + b"A: " + b"b" * 260, "header_fields_too_large", "6585 5"),
    ("header too long and broken", G + H + b"A\n" + b"b" * 300 + b"\r\n\r\n", BAD, "9112 2.2"),
    (
        "header broken beyond the limit",
        G + H + b"A: " + b"b" * 300 + b"\n\r\n\r\n",
        "header_fields_too_large",
        "6585 5",
    ),
    ("largest body", _fields(b"Content-Length: 32\r\n", P) + b"x" * 32, None, "9110 15.5.14"),
    ("body too large", _fields(b"Content-Length: 33\r\n", P), "content_too_large", "9110"),
    (
        "chunks too large",
        _chunked(b"20\r\n" + b"x" * 32 + b"\r\n1\r\nx\r\n0\r\n\r\n"),
        "content_too_large",
        "9110 15.5.14",
    ),
    ("chunk too large", _chunked(b"21\r\n"), "content_too_large", "9110 15.5.14"),
    (
        "too many trailers",
        _chunked(b"0\r\n" + b"A: b\r\n" * 9 + b"\r\n"),
        "header_fields_too_large",
        "6585 5",
    ),
    (
        "trailers too long",
        _chunked(b"0\r\nA: " + b"b" * 260),
        "header_fields_too_large",
        "6585 5",
    ),
    (
        "extension too long",
        _chunked(b"1;" + b"a" * 1100 + b"\r\nx\r\n0\r\n\r\n"),
        BAD,
        "9112 7.1.1",
    ),
    ("endless size", _chunked(b"1" * 1100), BAD, "9112 7.1"),
)
_AT_LIMIT = {
    "longest line": (Seen(target=b"/" + b"a" * 50),),
    "largest body": _posted(b"x" * 32),
}

_PIPELINES = (
    ("two", (G + H + b"\r\n") * 2, OK * 2, "9112 9.3.2"),
    (
        "body and another",
        _fields(b"Content-Length: 2\r\n", P) + b"ab" + G + H + b"\r\n",
        _posted(b"ab") + OK,
        "9112 9.3.2",
    ),
    (
        "chunks and another",
        _chunked(b"1\r\na\r\n0\r\n\r\n") + G + H + b"\r\n",
        _posted(b"a") + OK,
        "9112 9.3.2",
    ),
    (
        "a length too short leaves the next request",
        _fields(b"Content-Length: 1\r\n", P) + b"ab" + G + H + b"\r\n",
        (*_posted(b"a"), "method_not_implemented"),  # "bGET"
        "9112 6.3",
    ),
    ("good and then bad", G + H + b"\r\n" + b"GET /\x01 HTTP/1.1\r\n\r\n", (*OK, BAD), "9112"),
)

ROWS = tuple(
    Row(
        name,
        raw,
        verdict if verdict is not None else (_ONE_0 | _AT_LIMIT)[name],  # type: ignore[arg-type]
        rfc,
    )
    for name, raw, verdict, rfc in (
        *_REQUEST_LINES,
        *_TARGETS,
        *_HOSTS,
        *_FIELDS,
        *_LENGTHS,
        *_CHUNKS,
        *_LIMITS,
        *_PIPELINES,
    )
)
"""Every row. A verdict of several parts may end with a refusal."""
