# ruff: noqa: E501 - a table
"""The table of abuses: what each sends, and the limit that ends it, by its counter."""

import base64
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, count, repeat
from typing import NamedTuple

from hpack import Encoder

from portal_gateway.policy.api_key_text import RANDOM_BYTES, key_text
from portal_gateway.wire.http2_frames import PREFACE
from tests.abuse.abuser import Sending
from tests.frontend.http2_world import frame as h2_frame
from tests.frontend.raw_frames import CLIENT_KEY
from tests.frontend.raw_frames import frame as ws_frame
from tests.integration.programs import API_KEY

__all__ = ["ABUSES", "READ_KEY", "SUBJECT_KEY", "Abuse"]

READ_KEY = "sk_test_of_a_reader_0123456789abcdef"
SUBJECT_KEY = "sk_test_limited_0123456789abcdef"
"""The key that is held to a rate; API_KEY is not."""

LIMIT = 'portal_gateway_limit_hits_total limit="%s"'
TIMEOUT = 'portal_gateway_timeouts_total kind="%s"'
ERROR = 'portal_gateway_errors_total type="%s"'
FAULT = 'portal_gateway_relay_losses_total reason="yamux_fault"'
COMPLETED = 'portal_gateway_requests_total status="200"'
"""A metric and what its labels hold. What is answered as it should be is `COMPLETED`: its cost is
bounded, and is all that is to be shown."""

UNLIMITED = ""
"""What nothing ends, since it costs less than as many bytes of ordinary requests."""

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)


class Abuse(NamedTuple):
    """One row: where it is sent to, what, and the counter of what ends it.

    ``at`` is ``"plain"``, ``"tls"``, ``"relayed"``, or ``"directory"`` for a relay with many
    leases; ``alpn`` what is spoken inside of TLS. ``lease``: it is the lease that floods, and what
    it sent counts. ``order`` is what the relay is told to do while it lasts; `RECORDS` counts what
    a lease behind it sends.
    """

    name: str
    sending: Sending
    ended_by: str
    at: str = "plain"
    alpn: str | None = None
    lease: bool = False
    order: str = ""


RECORDS = "records"


def _ask(path: str, *fields: str, key: str = API_KEY, method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: gw", *fields]
    if key:
        lines.append(f"X-API-Key: {key}")
    return "\r\n".join([*lines, "", ""]).encode()


def _same(piece: bytes, size: int = 4096) -> Callable[[], Iterator[bytes]]:
    """The same over and over, some KiB at once."""
    return partial(repeat, piece * max(1, size // len(piece)))


def _once(piece: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter((piece,))


def _each(make: Callable[[int], bytes], at_once: int = 20) -> Callable[[], Iterator[bytes]]:
    """A new one each time."""
    return lambda: (
        b"".join(make(number) for number in range(start, start + at_once))
        for start in count(0, at_once)
    )


# HTTP/2.


def _block(*fields: tuple[str, str], path: str = "/peer/tool/ok", key: str = API_KEY) -> bytes:
    """A header block that uses no state of the connection."""
    whole = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "gw"),
        (":path", path),
        ("x-api-key", key),
        *fields,
    ]
    encoder = Encoder()
    encoder.header_table_size = 0
    # Without the note about the size of the table.
    encoder.encode([])
    return encoder.encode(whole, huffman=False)


OPENING = PREFACE + h2_frame(SETTINGS)
REQUEST = _block()
POST = _block(("content-type", "x")).replace(b"\x82", b"\x83", 1)


def _stream(number: int) -> int:
    return 2 * number + 1


def _h2(
    name: str,
    pieces: Callable[[], Iterator[bytes]],
    ended_by: str,
    opening: bytes = b"",
    **more: object,
) -> Abuse:
    return Abuse(
        name,
        Sending(OPENING + opening, pieces, **more),  # type: ignore[arg-type]
        ended_by,
        at="tls",
        alpn="h2",
    )


def _get(number: int, block: bytes = REQUEST) -> bytes:
    return h2_frame(HEADERS, block, 5, _stream(number))


def _windows(*settings: int) -> bytes:
    return h2_frame(SETTINGS, b"".join(struct.pack(">HI", 4, each) for each in settings))


def _bomb(number: int) -> bytes:
    """An entry of 4 KB put into the table once, then named by one byte each."""
    entry = b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000 if not number else b""
    return h2_frame(HEADERS, REQUEST + entry + b"\xbe" * 4000, 5, _stream(number))


def _large_entries(number: int) -> bytes:
    """A header of 28 KB by seven bytes of names: what is within every limit of a header."""
    entry = b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000 if not number else b"\xbe"
    block = _block(path="/peer/tool/silent") + entry + b"\xbe" * 6
    return h2_frame(HEADERS, block, 5, _stream(number))


def _flip(number: int) -> bytes:
    """The table's size to nothing and back, in every header block."""
    return h2_frame(HEADERS, b"\x20\x3f\xe1\x1f" + REQUEST, 5, _stream(number))


# WebSocket.

UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {CLIENT_KEY}",
)
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


def _ws(
    name: str,
    pieces: Callable[[], Iterator[bytes]],
    ended_by: str,
    *fields: str,
    path: str = "/peer/tool/ws-deaf",
    **more: object,
) -> Abuse:
    sending = Sending(
        _ask(path, *UPGRADE, *fields),
        pieces,
        after_answer=b"\r\n\r\n",
        **more,  # type: ignore[arg-type]
    )
    return Abuse(
        name, sending, ended_by, lease=path.startswith("/peer/tool/ws-") and "deaf" not in path
    )


def _zeros(size: int) -> bytes:
    made = zlib.compressobj(9, wbits=-15)
    return (made.compress(bytes(size)) + made.flush(zlib.Z_SYNC_FLUSH))[:-4]


# Credentials.


def _key(number: int) -> bytes:
    return _ask("/peer/tool/ok", key=key_text(number.to_bytes(RANDOM_BYTES, "big")))


def _token(number: int) -> bytes:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    token = f"{part({'alg': 'HS256', 'kid': f'k{number}'})}.{part({'sub': 'x'})}.{'A' * 43}"
    return _ask("/peer/tool/ok", f"Authorization: Bearer {token}", key="")


def _lease_abuse(name: str, path: str, ended_by: str, **more: object) -> Abuse:
    sending = Sending(_ask(f"/peer/tool/{path}"), patience=1.0, **more)  # type: ignore[arg-type]
    return Abuse(f"lease: {name}", sending, ended_by, lease=True)


CHUNKED = _ask("/peer/tool/silent", "Transfer-Encoding: chunked", method="POST")
JSON = "Content-Type: application/json"
DEEP = b'{"jsonrpc":"2.0","id":1,"method":' + b"[" * 60_000
MCP = (
    _ask("/peer/mcp/mcp", JSON, f"Content-Length: {len(DEEP)}", key=READ_KEY, method="POST") + DEEP
)
LOGGED = "User-Agent: " + "%73k\u00e9" * 1000
BOMB = ws_frame(2, _zeros(16_000_000), rsv=4, mask=True)
FRAGMENT = ws_frame(0, b"x", fin=False, mask=True)
LARGE = _block(path="/peer/tool/large")
HALF_POST = _block(("content-length", "1000")).replace(b"\x82", b"\x83", 1)
NEW_FIELDS = b"\0\1a\1b" + b"\0\1a\x7f\x81\x1f" + b"v" * 4096

FAILED = LIMIT % "rate_limit.failed_auth"
PER_KEY = LIMIT % "rate_limit.per_key"
IDLE = LIMIT % "http2_idle_frames"
RESETS = LIMIT % "http2_resets"
UPSTREAM = ERROR % "upstream_protocol_error"
MESSAGES = LIMIT % "websocket_messages"


def _requests(make: Callable[[int], bytes], at_once: int = 20, most: int = 300_000) -> Sending:
    return Sending(pieces=_each(make, at_once), most=most)


# fmt: off
WITHOUT_KEY = (
    Abuse("pipelined requests without a key", _requests(lambda n: _ask("/peer/tool/ok", key="")), FAILED),
    Abuse("made-up keys with a right checksum", _requests(_key), FAILED),
    Abuse("tokens with made-up key ids", _requests(_token), FAILED),
    Abuse("long paths and user agents, for the log",
          _requests(lambda n: _ask(f"/peer/tool/{n}" + "/%20p" * 1500, LOGGED, key=""), 1, 1_000_000), FAILED),
    Abuse("slowloris: headers that never end", Sending(_ask("/")[:-2], connections=100), TIMEOUT % "header"),
    Abuse("connections that say nothing", Sending(connections=100), TIMEOUT % "header"),
    Abuse("connections beyond those of an address",
          Sending(_ask("/health", key=""), connections=600, patience=0.3), LIMIT % "connections_per_address"),
    Abuse("connections that are idle after a request", Sending(_ask("/health", key=""), connections=100),
          TIMEOUT % "idle"),
    Abuse("paths that nobody has", _requests(lambda n: _ask(f"/nowhere/{n}", LOGGED, key="")), UNLIMITED),
    Abuse("a request line without an end", Sending(b"GET /", _same(b"a"), again=True), LIMIT % "request_line"),
    Abuse("a header without an end", Sending(b"GET / HTTP/1.1\r\nX-A: ", _same(b"a"), again=True), LIMIT % "header"),
    Abuse("many small header fields",
          Sending(_ask("/")[:-2], _same(b"a:b\r\n", 1500), again=True), LIMIT % "header"),
    Abuse("more header fields than are taken",
          Sending(pieces=_same(_ask("/", *["a: b"] * 200)), again=True), LIMIT % "fields"),
)

WITH_KEY = (
    Abuse("pipelined requests of one key", _requests(lambda n: _ask("/peer/tool/ok", key=SUBJECT_KEY)), PER_KEY),
    Abuse("half a body, and nothing more",
          Sending(_ask("/peer/tool/ok", "Content-Length: 1000", method="POST") + b"half", connections=100),
          TIMEOUT % "body"),
    Abuse("a body that is never sent, with Expect",
          Sending(_ask("/peer/tool/ok", "Content-Length: 1000", "Expect: 100-continue", method="POST"),
                  connections=100), TIMEOUT % "body"),
    Abuse("chunks of one byte", Sending(CHUNKED, _same(b"1\r\nx\r\n"), most=600_000), LIMIT % "body"),
    Abuse("chunk extensions", Sending(CHUNKED, _same(b"1;" + b"e" * 1000 + b"\r\nx\r\n", 1), again=True, patience=0.5),
          ERROR % "bad_request"),
    Abuse("trailers without an end", Sending(CHUNKED + b"0\r\n", _same(b"a:b\r\n", 1500), again=True),
          LIMIT % "header"),
    Abuse("readers that do not read", Sending(_ask("/peer/tool/large"), connections=20, reads=False),
          TIMEOUT % "write"),
    Abuse("made-up leases", _requests(lambda n: _ask(f"/peer/nobody-{n}/", key=SUBJECT_KEY)), PER_KEY),
    Abuse("redirects that echo a long query",
          _requests(lambda n: _ask(f"/peer/tool?{'q' * 7000}{n}", key=SUBJECT_KEY), 1, 4_000_000), UNLIMITED),
    Abuse("bodies for the judge of MCP calls, nested deeply", Sending(pieces=_same(MCP, 1), most=1_500_000,
          patience=0.5), ERROR % "insufficient_scope"),
)

HTTP2 = (
    Abuse("handshakes that never end", Sending(b"\x16\x03\x01\x02\x00\x01", connections=100),
          TIMEOUT % "handshake", at="tls"),
    _h2("rapid reset", _each(lambda n: _get(n) + h2_frame(RST, b"\0\0\0\x08", 0, _stream(n))), RESETS),
    _h2("streams beyond those allowed", _each(lambda n: _get(n, _block(path="/peer/tool/silent"))), RESETS),
    _h2("SETTINGS flood", _same(h2_frame(SETTINGS)), IDLE),
    _h2("SETTINGS that change the window over and over",
        _same(_windows(0, 2**31 - 1) + _windows(*[1, 2] * 30)), IDLE,
        b"".join(_get(n, LARGE) for n in range(50))),
    _h2("PING flood", _same(h2_frame(PING, bytes(8))), IDLE),
    _h2("PRIORITY flood", _each(lambda n: h2_frame(PRIORITY, b"\0\0\0\0\x10", 0, _stream(n + 5))), IDLE),
    _h2("unknown frames", _same(h2_frame(0xAB, b"")), IDLE),
    _h2("GOAWAY flood", _same(h2_frame(GOAWAY, bytes(8))), IDLE, _get(0, _block(path="/peer/tool/silent"))),
    _h2("empty DATA", _same(h2_frame(DATA, b"", 0, 1)), IDLE, h2_frame(HEADERS, POST, 4, 1)),
    _h2("padding around one byte", _same(h2_frame(DATA, b"\xff" + b"x" + bytes(255), 8, 1)), IDLE,
        h2_frame(HEADERS, POST, 4, 1)),
    _h2("CONTINUATION flood", _same(h2_frame(CONTINUATION, b"", 0, 1)), LIMIT % "header",
        h2_frame(HEADERS, REQUEST, 1, 1)),
    _h2("CONTINUATION without an end", _same(h2_frame(CONTINUATION, NEW_FIELDS, 0, 1)),
        LIMIT % "header", h2_frame(HEADERS, REQUEST, 1, 1)),
    _h2("half a header block", lambda: iter(()), TIMEOUT % "header", h2_frame(HEADERS, REQUEST, 1, 1),
        connections=30),
    _h2("half a body on each of a hundred streams", lambda: iter(()), TIMEOUT % "body",
        b"".join(h2_frame(HEADERS, HALF_POST, 4, _stream(n)) + h2_frame(DATA, b"half", 0, _stream(n))
                 for n in range(100))),
    _h2("HPACK bomb: a large entry named by one byte", _each(_bomb, 1), LIMIT % "header", again=True),
    _h2("HPACK: headers of 28 KB in a few bytes, to a lease that is silent", _each(_large_entries), RESETS),
    _h2("HPACK table size flips", _each(_flip), LIMIT % "http2_turn"),
    _h2("many cookies, each a field",
        _each(lambda n: h2_frame(HEADERS, _block(*[("cookie", "a")] * 1500), 5, _stream(n)), 1),
        LIMIT % "fields"),
    _h2("redirects that echo a long query",
        _each(lambda n: _get(n, _block(path="/peer/tool?" + "q" * 7000)), 1), UNLIMITED, most=150_000),
    _h2("windows of nothing for large answers", _once(_windows(0)), TIMEOUT % "write",
        b"".join(_get(n, LARGE) for n in range(20))),
    _h2("windows opened byte by byte",
        _each(lambda n: b"".join(h2_frame(WINDOW, b"\0\0\0\1", 0, _stream(i)) for i in range(10))
              + h2_frame(WINDOW, b"\0\0\0\1"), 1), TIMEOUT % "write",
        _windows(0) + b"".join(_get(n, LARGE) for n in range(10))),
    _h2("lease: a header of 60,000 bytes, over HTTP/2", lambda: iter(()), COMPLETED,
        _get(0, _block(path="/peer/tool/header-large")), patience=0.8)._replace(lease=True),
    _h2("lease: informational answers with large fields, over HTTP/2", lambda: iter(()), COMPLETED,
        _get(0, _block(path="/peer/tool/informational-large")), patience=0.8)._replace(lease=True),
)

SOCKETS = (
    _ws("WebSocket: a deflate bomb to a lease that does not read", _same(BOMB, 1), TIMEOUT % "upstream", DEFLATE),
    _ws("WebSocket: a message of a hundred thousand fragments",
        lambda: chain((ws_frame(2, b"x", fin=False, mask=True),), repeat(FRAGMENT * 500)), MESSAGES,
        path="/peer/tool/ws-sink", most=700_000),
    _ws("WebSocket: pings", _same(ws_frame(9, b"", mask=True)), MESSAGES, path="/peer/tool/ws-sink"),
    _ws("WebSocket: empty messages", _same(ws_frame(1, b"", mask=True)), MESSAGES, path="/peer/tool/ws-sink"),
    _ws("lease: WebSocket pings to a client that does not read", lambda: iter(()), TIMEOUT % "write",
        path="/peer/tool/ws-pings", reads=False, patience=20.0),
    _ws("lease: WebSocket deflate bombs to a client that does not read", lambda: iter(()), UNLIMITED,
        DEFLATE, path="/peer/tool/ws-bombs", reads=False),
)

LEASES = (
    _lease_abuse("informational answers without an end", "informational", UPSTREAM),
    _lease_abuse("a header without an end", "header", UPSTREAM),
    _lease_abuse("a field without an end", "header-line", UPSTREAM),
    _lease_abuse("chunk extensions", "extensions", UPSTREAM),
    _lease_abuse("trailers without an end", "trailers", UPSTREAM),
)

RELAYS = (
    Abuse("directory: made-up leases at a relay that lists 10,000",
          _requests(lambda n: _ask(f"/peer/nobody-{n}/"), 3, 600), ERROR % "lease_not_found",
          at="directory"),
    Abuse("lease: records of one byte", Sending(_ask("/peer/agent/x"), patience=0.4), COMPLETED, at="relayed", order=RECORDS),
    *(
        Abuse(f"relay: {name}", Sending(patience=0.2), FAULT, at="relayed", order=order)
        for name, order in (
            ("ping flood", "pings"),
            ("unasked pongs", "acknowledgements"),
            ("window updates for no stream", "windows"),
            ("empty data for no stream", "empty"),
            ("streams of its own", "streams"),
        )
    ),
)
# fmt: on

ABUSES = (*WITHOUT_KEY, *WITH_KEY, *HTTP2, *SOCKETS, *LEASES, *RELAYS)
