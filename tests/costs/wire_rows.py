"""The worst shapes for what reads and writes bytes of strangers."""

import struct
from contextlib import suppress

import hpack

from portal_gateway.wire import (
    dns_label,
    forwarded,
    forwarded_hops,
    http1_head,
    http1_response_head,
    http1_writing,
    http2_request,
    http_fields,
    identity,
    ip_addresses,
    jwt_keys,
    jwt_parsing,
    lease_names,
    messages,
    protobuf_fields,
    server_identity,
)
from portal_gateway.wire.errors import PacketTooLarge, WireError
from portal_gateway.wire.http1_request import RequestLimits, RequestReader
from portal_gateway.wire.http1_response import ResponseReader
from portal_gateway.wire.http2_frames import PREFACE, FrameCutter
from portal_gateway.wire.http2_header_blocks import HeaderDecoder, HeaderEncoder
from portal_gateway.wire.http2_patience import Patience
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.length_prefixed import LengthPrefixedReader
from portal_gateway.wire.messages import LeaseRecord, ListedLease, RelayInfo
from portal_gateway.wire.packets import PacketReader, PacketType
from portal_gateway.wire.secure_records import RecordOpener, RecordSealer
from portal_gateway.wire.sse_boundaries import EventBoundaries
from portal_gateway.wire.yamux import Role, YamuxSession
from tests.costs.measuring import Row
from tests.wire import channel_peers
from tests.wire.yamux_pair import DATA, PING, UPDATE, frame

__all__ = ["ROWS"]

MUCH = 10_000_000

LIMITS = RequestLimits(request_line=MUCH, header=MUCH, fields=MUCH)

LINE = b"GET / HTTP/1.1\r\nHost: h\r\n"


def fill(unit, before=b"", after=b""):
    """Makes ``unit`` as often as the size has room for it, with something around."""
    nothing = unit[:0]
    before, after = before or nothing, after or nothing
    return lambda size: before + unit * (size // len(unit)) + after


def numbered(size, form=b"x%d: y\r\n"):
    """Field lines, each of another name."""
    lines, length = [], 0
    while length < size:
        lines.append(form % len(lines))
        length += len(lines[-1])
    return b"".join(lines)


def fields(size, name=b"x%d", value=b"y" * 60):
    count = size // (len(name) + len(value) + 4)
    return [(name % number if b"%" in name else name, value) for number in range(count)]


# Requests and responses of HTTP/1.


class Receiver:
    """Takes what a reader tells, and asks for the next request."""

    def __init__(self):
        self.reader = None

    def request_head(self, head):
        if not head.has_body:
            self.reader.next_request()

    def request_data(self, data):
        pass

    def request_end(self, trailers):
        self.reader.next_request()

    response_informational = response_head = response_data = response_end = request_data


def read_requests(pieces):
    receiver = Receiver()
    receiver.reader = reader = RequestReader(receiver, LIMITS)
    with suppress(WireError):
        for piece in pieces:
            reader.receive_data(piece)


def read_request_at_once(data):
    read_requests([data])


def read_response(pieces):
    reader = ResponseReader(Receiver(), b"GET")
    with suppress(WireError):
        for piece in pieces:
            reader.receive_data(piece)


def bytewise(make):
    # A third of the size: it is the calls that take time then.
    return lambda size: [bytes([byte]) for byte in make(size // 3)]


def at_once(make):
    return lambda size: [make(size)]


CHUNKED = LINE + b"Transfer-Encoding: chunked\r\n\r\n"

RESPONSE_SIZES = (640, 6_400, 64_000)
"""`MAX_RESPONSE_HEAD` is no setting."""

REQUESTS = {
    "many fields": lambda size: LINE + numbered(size) + b"\r\n",
    "one long value": fill(b"a", LINE + b"X: ", b"\r\n\r\n"),
    "a long target": fill(b"%", b"GET /", b" HTTP/1.1\r\nHost: h\r\n\r\n"),
    "a line without an end": fill(b"a", b"GET /"),
    "folded lines": fill(b" a\r\n", LINE + b"X: y\r\n", b"\r\n"),
    "spaces behind values": fill(b"X: y \t\r\n", LINE, b"\r\n"),
    "spaces in front of a value": fill(b" ", LINE + b"X:", b"y\r\n\r\n"),
    "members of Connection": fill(b"a,", LINE + b"Connection: ", b"\r\n\r\n"),
    "empty lines within": fill(b"\r\n", LINE),
    "carriage returns": fill(b"\r", LINE),
    "chunks of one byte": fill(b"1\r\na\r\n", CHUNKED, b"0\r\n\r\n"),
    "chunks with extensions": fill(b"1;" + b"e" * 10 + b"\r\na\r\n", CHUNKED, b"0\r\n\r\n"),
    "trailers": lambda size: CHUNKED + b"0\r\n" + numbered(size) + b"\r\n",
    "a body": lambda size: LINE + b"Content-Length: %d\r\n\r\n" % size + b"b" * size,
    "requests one behind the other": fill(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
}

RESPONSE = b"HTTP/1.1 200 OK\r\n"

RESPONSES = {
    "a long reason": fill(b"r", b"HTTP/1.1 200 ", b"\r\nContent-Length: 0\r\n\r\n"),
    "one long value": fill(b"a", RESPONSE + b"X: ", b"\r\nContent-Length: 0\r\n\r\n"),
    "one long name": fill(b"a", RESPONSE, b": x\r\nContent-Length: 0\r\n\r\n"),
    "members of Connection": fill(b"a,", RESPONSE + b"Connection: ", b"\r\n\r\n"),
    "spaces behind a value": fill(b" ", RESPONSE + b"X: y", b"z\r\n\r\n"),
    "a head without an end": fill(b"X: y\r\n", RESPONSE),
}

RESPONSE_BODIES = {
    "chunks of one byte": fill(
        b"1\r\na\r\n", RESPONSE + b"Transfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"
    ),
    "a body to the end": fill(b"a", RESPONSE + b"\r\n"),
    "informational responses": fill(b"HTTP/1.1 103 E\r\nLink: </a>\r\n\r\n", b"", RESPONSE),
}

HTTP1 = [
    *(
        Row("wire.http1_request", shape, make, read_request_at_once)
        for shape, make in REQUESTS.items()
    ),
    *(
        Row("wire.http1_request", f"{shape}, byte by byte", bytewise(make), read_requests)
        for shape, make in REQUESTS.items()
    ),
    *(
        Row("wire.http1_response", shape, at_once(make), read_response, RESPONSE_SIZES)
        for shape, make in RESPONSES.items()
    ),
    *(
        Row(
            "wire.http1_response",
            f"{shape}, byte by byte",
            bytewise(make),
            read_response,
            RESPONSE_SIZES,
        )
        for shape, make in RESPONSES.items()
    ),
    *(
        Row("wire.http1_response", shape, at_once(make), read_response)
        for shape, make in RESPONSE_BODIES.items()
    ),
    *(
        Row("wire.http1_response", f"{shape}, byte by byte", bytewise(make), read_response)
        for shape, make in RESPONSE_BODIES.items()
    ),
]

# What heads are judged and written by.


def build(headers):
    with suppress(WireError):
        http1_head.build_head(b"GET", b"/", b"1", headers)


def judge(headers):
    with suppress(WireError):
        http1_response_head.judge_head(200, b"OK", b"1.1", headers, head_request=False)


def frame_response(headers):
    http1_writing.frame_response(
        200, b"OK", headers, length=None, has_body=True, is_1_1=True, keep_alive=True
    )


HOST = [(b"Host", b"h")]


def connection_names(size):
    """Fields, and a Connection that names each of them: what multiplies when done badly."""
    named = fields(size // 2, b"x%d")
    return [*HOST, (b"Connection", b",".join(name for name, _ in named)), *named]


def connections(size):
    named = fields(size // 2, b"x%d")
    return [*HOST, *((b"Connection", name) for name, _ in named), *named]


HEAD_SHAPES = {
    "many fields": lambda size: [*HOST, *fields(size)],
    "Connection that names every field": connection_names,
    "a Connection for every field": connections,
    "the same field again and again": lambda size: [*HOST, *fields(size, b"Expect", b"a" * 60)],
    "members of Expect": lambda size: [
        *HOST,
        (b"Transfer-Encoding", b"chunked"),
        (b"Expect", b"a," * (size // 2)),
    ],
    "a length of zeros": lambda size: [*HOST, (b"Content-Length", b"0" * size)],
    "a length of digits": lambda size: [*HOST, (b"Content-Length", b"9" * size)],
    "a long Host": lambda size: [(b"Host", b"a." * (size // 2))],
    "a Host in brackets": lambda size: [(b"Host", b"[" + b":" * size + b"]")],
}

HEADS = [
    Row(module, shape, make, call)
    for module, call in (
        ("wire.http1_head", build),
        ("wire.http1_response_head", judge),
        ("wire.http1_writing", frame_response),
        ("wire.http_fields", http_fields.end_to_end),
        (
            "wire.http_fields",
            lambda headers: http_fields.end_to_end(headers, keep_te_trailers=True),
        ),
        ("wire.http_fields", http_fields.permitted_trailers),
        ("wire.http_fields", lambda headers: http_fields.with_replaced(headers, headers)),
    )
    for shape, make in HEAD_SHAPES.items()
]

OTHER_HEADS = [
    Row(
        "wire.http1_head",
        "an absolute target",
        fill(b"a", b"http://h/"),
        lambda target: http1_head.build_head(b"GET", target, b"1", [*HOST]),
    ),
    Row(
        "wire.http1_head",
        "a target that is neither",
        fill(b":", b"http"),
        lambda target: raised(lambda: http1_head.build_head(b"GET", target, b"1", [*HOST])),
    ),
    Row("wire.http_fields", "commas", fill(b","), lambda value: http_fields.list_members([value])),
    Row(
        "wire.http_fields",
        "members and spaces",
        fill(b" \t a \t ,"),
        lambda value: http_fields.list_members([value]),
    ),
    Row("wire.http_fields", "TE", fill(b"a,"), lambda value: http_fields.lists_trailers([value])),
    Row(
        "wire.http1_writing",
        "a request",
        fields,
        lambda headers: http1_writing.serialise_request(b"GET", b"/", headers),
    ),
    Row("wire.http1_writing", "trailers", fields, http1_writing.last_chunk),
    Row(
        "wire.http1_writing",
        "line ends in a value",
        lambda size: [(b"a", b"\r\n" * (size // 2))],
        lambda headers: raised(lambda: http1_writing.last_chunk(headers)),
    ),
]


def raised(call):
    with suppress(WireError):
        call()


# HTTP/2.


def h2_frame(kind, payload=b"", flags=0, stream=1):
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


def cut(pieces):
    cutter = FrameCutter(MUCH)
    with suppress(WireError):
        for piece in pieces:
            found = cutter.receive_data(piece)
            while found:
                found = cutter.receive_data(b"")


FRAMES = {
    "frames without payload": fill(h2_frame(0), PREFACE),
    "frames of 300 bytes": fill(h2_frame(0, b"d" * 300), PREFACE),
    "CONTINUATION": fill(h2_frame(9, b"c"), PREFACE + h2_frame(1)),
}


def decode(block):
    with suppress(hpack.HPACKError):
        HeaderDecoder(MUCH).decode(block)


def huffman(size):
    """One value of 5-bit codes, which decodes to more than it is."""
    return hpack.Encoder().encode([(b"x", b"0" * (size * 8 // 5))])


BLOCKS = {
    "fields without name and value": fill(b"\x00\x00\x00"),
    "fields behind one another, then a long value": lambda size: (
        b"\x00\x00\x00" * (size // 6)
        + hpack.Encoder().encode([(b"x", b"v" * (size // 2))], huffman=False)
    ),
    "fields that fill the table": fill(b"\x40\x00\x00"),
    "fields that flush the table": fill(b"\x40\x01a\x7f\xa2\x1f" + b"v" * 4129),
    "indexed fields": fill(b"\x82"),
    "the oldest entry of a full table": fill(b"\xff\x3a", b"\x40\x00\x00" * 128),
    "a large entry again and again": fill(b"\xbe", b"\x40\x01a\x7f\x81\x1e" + b"v" * 3968),
    "changes of the table's size": fill(b"\x20"),
    "integers as long as they may be": fill(b"\x3f\x80\x80\x80\x00"),
    "an integer without an end": fill(b"\xff"),
    "a Huffman string": huffman,
    "Huffman strings of one byte": fill(b"\x00\x81\x1f\x81\x1f"),
    "a value that is cut off": fill(b"v", b"\x00\x01a\x7f\xff\xff\xff\x7f"),
}


def encode(headers):
    encoder = HeaderEncoder()
    return encoder.encode(headers) + encoder.encode(headers)


ENCODED = {
    "one long value": lambda size: [(b"x-a", b"~" * size)],
    "one long name": lambda size: [(b"~" * size, b"a")],
    "many fields": fields,
    "fields of one name": lambda size: fields(size, b"x"),
    "empty fields": lambda size: [(b"", b"")] * (size // 4),
    "fields as large as the table keeps": lambda size: fields(size, b"x%d", b"y" * 490),
    "fields that the table does not keep": lambda size: fields(size, b"x%d", b"y" * 995),
    "cookies": lambda size: fields(size, b"set-cookie"),
}


TABLES = (10_000, 100_000)
"""Below these no entry leaves the table."""


def resize(count):
    encoder = HeaderEncoder()
    for size in range(count):
        encoder.header_table_size = size % 2 * 4096
    encoder.encode([])


PSEUDO = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"h"), (b":path", b"/")]


def read_http2(found):
    with suppress(WireError):
        http2_request.read_request(found, LIMITS, ends=True)


HTTP2_REQUESTS = {
    "crumbs of cookies": lambda size: [*PSEUDO, *fields(size, b"cookie", b"a=b")],
    "many fields": lambda size: [*PSEUDO, *fields(size)],
    "hosts": lambda size: [*PSEUDO, *fields(size, b"host", b"h")],
    "the same pseudo field": lambda size: [*PSEUDO, *fields(size, b":path", b"/")],
    "a long path": lambda size: [*PSEUDO[:3], (b":path", b"/" * size)],
    "a path that is none at its end": lambda size: [*PSEUDO[:3], (b":path", b"/" * size + b"\\")],
    "a value that ends in spaces": lambda size: [*PSEUDO, (b"x", b"a" + b" " * size)],
    "spaces and letters": lambda size: [*PSEUDO, (b"x", b"a " * (size // 2))],
    "a long name": lambda size: [*PSEUDO, (b"x" * size + b"X", b"a")],
    "a long host": lambda size: [*PSEUDO[:2], (b":authority", b"a." * (size // 2)), PSEUDO[3]],
}


def be_patient(frames):
    patience = Patience(0.0, tokens=MUCH)
    for each in frames:
        patience.take(each, 0.0, meant_something=False)


HTTP2 = [
    *(Row("wire.http2_frames", shape, at_once(make), cut) for shape, make in FRAMES.items()),
    *(
        Row("wire.http2_frames", f"{shape}, byte by byte", bytewise(make), cut)
        for shape, make in FRAMES.items()
    ),
    *(
        Row("wire.http2_header_blocks", f"decode {shape}", make, decode, TABLES)
        for shape, make in BLOCKS.items()
    ),
    *(
        Row("wire.http2_header_blocks", f"encode {shape}", make, encode, TABLES)
        for shape, make in ENCODED.items()
    ),
    Row("wire.http2_header_blocks", "changes of the encoder's size", lambda size: size, resize),
    *(Row("wire.http2_request", shape, make, read_http2) for shape, make in HTTP2_REQUESTS.items()),
    Row(
        "wire.http2_request",
        "trailers",
        fields,
        lambda found: http2_request.read_trailers(found, LIMITS),
    ),
    Row(
        "wire.http2_patience",
        "frames",
        lambda size: FrameCutter(MUCH).receive_data(fill(h2_frame(9), PREFACE)(size)),
        be_patient,
    ),
]

# Who a request comes from and goes to.


def read_forwarded(value):
    with suppress(WireError):
        forwarded_hops.read_forwarded([value])


FORWARDED = {
    "commas": fill(b","),
    "semicolons": fill(b";"),
    "elements": fill(b"for=1.2.3.4,"),
    "a quoted string": fill(b"a", b'for="', b'"'),
    "escapes": fill(b"\\\\", b'for="', b'"'),
    "a string without an end": fill(b"\\\\", b'for="'),
    "a long name": fill(b"a"),
    "a long token": fill(b"a", b"for=", b" x"),
    "spaces": fill(b" ", b"", b"x"),
    "parameters": lambda size: numbered(size, b"a%d=b;"),
}

FORWARDED_FOR = {
    "commas": fill(b","),
    "addresses": fill(b"1.2.3.4, "),
    "one that is none": fill(b"a"),
    "spaces": fill(b" "),
    "colons": fill(b":::::::,"),
}

ADDRESSES = {
    "colons": fill(":"),
    "digits": fill("1"),
    "dots": fill("1."),
    "zone": fill("%"),
}

NAMES = {
    "letters": fill("a"),
    "stars": fill("*"),
    "stars and letters": fill("*a"),
    "sharp s": fill("ß"),
    "dotted capital I": fill("İ"),
    "hyphens": fill("-", "a"),
    "joiners": fill("\u200d", "a"),
    "xn": fill("a", "xn--"),
}

ADDRESSING = [
    *(
        Row("wire.forwarded_hops", f"Forwarded: {shape}", make, read_forwarded)
        for shape, make in FORWARDED.items()
    ),
    *(
        Row(
            "wire.forwarded_hops",
            f"X-Forwarded-For: {shape}",
            make,
            lambda value: list(forwarded_hops.x_forwarded_for([value])),
        )
        for shape, make in FORWARDED_FOR.items()
    ),
    Row(
        "wire.forwarded",
        "addresses",
        lambda size: ["1.2.3.4"] * (size // 8),
        lambda addresses: forwarded.forwarded_elements(addresses, (b"h", b"http"), (b"h", b"http")),
    ),
    Row(
        "wire.forwarded",
        "a host of quotes",
        fill(b'"'),
        lambda host: forwarded.forwarded_element("1.2.3.4", host, b"http"),
    ),
    *(
        Row("wire.ip_addresses", shape, make, ip_addresses.read_address)
        for shape, make in ADDRESSES.items()
    ),
    *(
        Row("wire.dns_label", f"label of {shape}", make, dns_label.label_of)
        for shape, make in NAMES.items()
    ),
    *(
        Row("wire.dns_label", f"name of {shape}", make, dns_label.name_of)
        for shape, make in NAMES.items()
    ),
    *(
        Row(
            "wire.lease_names",
            shape,
            make,
            lambda name: (
                lease_names.folded(name),
                lease_names.is_exact(name),
                lease_names.normal_pattern(name),
            ),
        )
        for shape, make in NAMES.items()
    ),
    *(
        Row(
            "wire.server_identity",
            shape,
            make,
            lambda name: server_identity.matches_name([name, "*." + name], name),
        )
        for shape, make in NAMES.items()
    ),
    Row(
        "wire.server_identity",
        "patterns",
        lambda size: ["*.a.example"] * (size // 10),
        lambda patterns: server_identity.matches_name(patterns, "b.example"),
    ),
    Row("wire.identity", "a long id", fill("A"), identity.is_lease_id),
]

# Tokens.

JSON = {
    "arrays in arrays": fill(b"[", b'{"a":'),
    "objects in objects": fill(b'{"a":', b""),
    "numbers": fill(b"1,", b'{"a":[', b"1]}"),
    "a number": fill(b"1", b'{"a":', b"}"),
    "long numbers": fill(b"1" * 450 + b",", b'{"a":[', b"1]}"),
    "a fraction": fill(b"1", b'{"a":0.', b"}"),
    "an exponent": fill(b"1", b'{"a":1e', b"}"),
    "zeros and a digit": fill(b"0", b'{"a":0.', b"1}"),
    "escapes": fill(b"\\u0041", b'{"a":"', b'"}'),
    "surrogates": fill(b"\\ud800", b'{"a":"', b'"}'),
    "a string without an end": fill(b"\\\\", b'{"a":"'),
    "members": lambda size: (
        b"{" + b",".join(b'"%030d":1' % number for number in range(size // 36)) + b"}"
    ),
    "members of one name": fill(b'"' + b"a" * 30 + b'":1,', b"{", b'"a":1}'),
    "spaces": fill(b" ", b"{", b"}"),
}


def read_json(data):
    with suppress(jwt_parsing.BadToken):
        jwt_parsing.read_json_object(data)


TOKEN_SIZES = (160, 1_600, 16_000)
"""`MAX_TOKEN_LENGTH` is checked by who calls."""


def read_token(text):
    with suppress(jwt_parsing.BadToken):
        jwt_parsing.read_token(text)


TOKENS = {
    "letters": fill(b"A"),
    "dots": fill(b"."),
    "three segments": lambda size: b".".join([b"A" * (size // 3)] * 3),
    "a payload": fill(b"A", b"eyJhbGciOiJIUzI1NiJ9.", b".AAAA"),
    "underscores": fill(b"_-", b"", b"!"),
}


def read_keys(data):
    with suppress(jwt_keys.UnusableKeySet):
        jwt_keys.KeySet.published("RS256", data)


JWT = [
    *(Row("wire.jwt_parsing", shape, make, read_json) for shape, make in JSON.items()),
    *(
        Row("wire.jwt_parsing", f"token: {shape}", make, read_token, TOKEN_SIZES)
        for shape, make in TOKENS.items()
    ),
    *(Row("wire.jwt_keys", shape, make, read_keys) for shape, make in JSON.items()),
    Row(
        "wire.jwt_keys",
        "keys",
        fill(b'{"kty":"' + b"R" * 60 + b'"},', b'{"keys":[', b"{}]}"),
        read_keys,
    ),
    Row(
        "wire.jwt_keys",
        "a modulus",
        fill(b"A", b'{"keys":[{"kty":"RSA","e":"AQAB","n":"', b'"}]}'),
        read_keys,
    ),
    Row(
        "wire.jwt_keys",
        "an exponent",
        fill(b"_", b'{"keys":[{"kty":"RSA","n":"' + b"_" * 342 + b'","e":"', b'"}]}'),
        read_keys,
    ),
]

# The relay protocol.

GATEWAY = Credential.from_private_bytes(bytes(range(32)))


def read_bodies(pieces):
    reader = LengthPrefixedReader(MUCH, PacketTooLarge)
    for piece in pieces:
        reader.receive_data(piece)


def read_packets(pieces):
    reader = PacketReader(MUCH)
    with suppress(WireError):
        for piece in pieces:
            reader.receive_data(piece)


def directory(size):
    record = LeaseRecord(GATEWAY.identity, 1, "n" * 20, ("http/1.1",))
    lease = ListedLease.of(record)
    info = RelayInfo(None, (), (lease,) * (size // 100))
    return PacketReader(MUCH).receive_data(messages.relay_info_response(info))[0]


def raw_directory(unit):
    """A list of what ``unit`` is in it, field by field."""

    def make(size):
        inner = unit * (size // len(unit))
        length = len(inner)
        varint = b""
        while length > 0x7F:
            varint += bytes([length & 0x7F | 0x80])
            length >>= 7
        payload = b"\x0a" + varint + bytes([length]) + inner
        return messages.Packet(PacketType.RELAY_INFO_RESPONSE, payload)

    return make


def read_directory(packet):
    with suppress(WireError):
        messages.read_relay_info(packet)


def lease_update(size):
    record = LeaseRecord(GATEWAY.identity, 1, "n", ("http/1.1",), "m" * size)
    data = messages.lease_update_request(GATEWAY, record, 1.0, bytes(12))
    return PacketReader(MUCH).receive_data(data)[0]


def walk(data):
    with suppress(ValueError):
        for _ in protobuf_fields.length_delimited_fields(data):
            pass


KEY = bytes(32)


def records(sizes):
    def make(size):
        sealer = RecordSealer(KEY, bytes)
        return b"".join(
            piece
            for _ in range(max(1, size // (sizes + 32)))
            for piece in sealer.seal(b"r" * sizes)
        )

    return make


def open_records(pieces):
    opener = RecordOpener(KEY)
    with suppress(WireError):
        for piece in pieces:
            opener.receive_data(piece)


def shake_hands(pieces):
    served = channel_peers.server()
    with suppress(WireError):
        for piece in pieces:
            served.receive_data(piece)


def yamux(events):
    """A session with a stream that sends what the frames say; ``consume`` as a reader does."""

    def call(pieces):
        session = YamuxSession(Role.CLIENT)
        stream = session.open_stream()
        session.data_to_send()
        with suppress(WireError):
            for piece in pieces:
                for event in session.receive_data(piece):
                    data = getattr(event, "data", None)
                    if data is not None and events:
                        session.consume(stream, len(data))
        session.data_to_send()

    return call


ACK = frame(UPDATE, "ACK", 1)

YAMUX = {
    "frames of one byte": fill(frame(DATA, "", 1, payload=b"d"), ACK),
    "frames of 300 bytes": fill(frame(DATA, "", 1, payload=b"d" * 300), ACK),
    "window updates": fill(frame(UPDATE, "", 1, 1), ACK),
    "pings": fill(frame(PING, "SYN", 0, 1), ACK),
    "frames for a stream that is gone": fill(
        frame(DATA, "", 1, payload=b"d"), ACK + frame(UPDATE, "RST", 1)
    ),
}


def opened_streams(count):
    """Streams that wait for others to be accepted, and are let go one after the other."""
    session = YamuxSession(Role.CLIENT)
    streams = [session.open_stream() for _ in range(count)]
    session.data_to_send()
    for stream in streams:
        session.receive_data(frame(UPDATE, "ACK RST", stream))
    session.data_to_send()


def full_buffers(count):
    """A peer that fills streams nobody reads, beyond what the session holds."""
    session = YamuxSession(Role.CLIENT)
    session._credit.max_buffered = 100 * 64
    for _ in range(count // 16):
        stream = session.open_stream()
        session.data_to_send()
        session.receive_data(frame(DATA, "ACK", stream, payload=b"d" * 64))
    session.data_to_send()


def write_much(data):
    session = YamuxSession(Role.CLIENT)
    stream = session.open_stream()
    view = memoryview(data)
    while view:
        taken = session.send_data(stream, view[:10])
        if not taken:
            break
        view = view[taken:]
    session.data_to_send()


def follow_events(pieces):
    boundaries = EventBoundaries()
    for piece in pieces:
        boundaries.receive_data(piece)
    boundaries.receive_end()


EVENTS = {
    "line ends": fill(b"\n"),
    "carriage returns": fill(b"\r"),
    "both": fill(b"\r\n"),
    "marks": fill(b"\xef\xbb\xbf"),
    "one line": fill(b"d"),
}

PACKET = struct.pack(">I", 0)

RELAYS = [
    Row("wire.length_prefixed", "empty messages", at_once(fill(PACKET)), read_bodies),
    Row(
        "wire.length_prefixed", "empty messages, byte by byte", bytewise(fill(PACKET)), read_bodies
    ),
    Row(
        "wire.length_prefixed",
        "a message, byte by byte",
        bytewise(lambda size: struct.pack(">I", size) + b"m" * size),
        read_bodies,
    ),
    Row("wire.packets", "empty packets", at_once(fill(PACKET)), read_packets),
    Row(
        "wire.packets",
        "a packet, byte by byte",
        bytewise(lambda size: struct.pack(">I", size) + b"m" * size),
        read_packets,
    ),
    Row(
        "wire.packets",
        "groups in groups",
        at_once(lambda size: struct.pack(">I", size) + b"\x1b" * size),
        read_packets,
    ),
    Row("wire.relay_lists", "a directory", directory, read_directory),
    Row(
        "wire.relay_lists",
        "a directory of empty elements",
        raw_directory(b"\x1a\x00"),
        read_directory,
    ),
    Row(
        "wire.relay_lists", "a directory of addresses", raw_directory(b"\x12\x01a"), read_directory
    ),
    Row(
        "wire.messages",
        "a lease with much metadata",
        lease_update,
        lambda packet: messages.read_lease_update(packet, 1.0),
    ),
    Row("wire.protobuf_fields", "empty fields", fill(b"\x0a\x00"), walk),
    Row(
        "wire.protobuf_fields",
        "numbers as long as they may be",
        fill(b"\x08" + b"\x80" * 9 + b"\x00"),
        walk,
    ),
    Row("wire.protobuf_fields", "one without an end", fill(b"\x80"), walk),
    *(
        Row("wire.secure_records", f"records of {size} bytes", at_once(records(size)), open_records)
        for size in (0, 1, 900)
    ),
    *(
        Row(
            "wire.secure_records",
            f"records of {size} bytes, byte by byte",
            bytewise(records(size)),
            open_records,
        )
        for size in (0, 900, 32_768)
    ),
    Row(
        "wire.secure_records",
        "sealing",
        fill(b"d"),
        lambda data: RecordSealer(KEY, bytes).seal(data),
    ),
    Row("wire.secure_channel", "no handshake", at_once(fill(b"\0")), shake_hands),
    Row(
        "wire.secure_channel",
        "no handshake, byte by byte",
        bytewise(fill(b"h", struct.pack(">I", 4096))),
        shake_hands,
    ),
    *(
        Row("wire.yamux_receiver", shape, at_once(make), yamux(events=True))
        for shape, make in YAMUX.items()
    ),
    *(
        Row("wire.yamux_receiver", f"{shape}, byte by byte", bytewise(make), yamux(events=True))
        for shape, make in YAMUX.items()
    ),
    Row(
        "wire.yamux_receiver",
        "data that nobody reads",
        at_once(YAMUX["frames of one byte"]),
        yamux(events=False),
    ),
    Row(
        "wire.yamux_table",
        "streams that wait for their turn",
        lambda size: size,
        opened_streams,
        (800, 8_000),
    ),
    Row(
        "wire.yamux_credit",
        "streams that nobody reads",
        lambda size: size,
        full_buffers,
        (10_000, 100_000),
    ),
    Row("wire.yamux", "small writes", fill(b"d"), write_much),
    *(
        Row("wire.sse_boundaries", shape, at_once(make), follow_events)
        for shape, make in EVENTS.items()
    ),
    *(
        Row("wire.sse_boundaries", f"{shape}, byte by byte", bytewise(make), follow_events)
        for shape, make in EVENTS.items()
    ),
]

ROWS = [*HTTP1, *HEADS, *OTHER_HEADS, *HTTP2, *ADDRESSING, *JWT, *RELAYS]
