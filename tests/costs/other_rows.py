"""The worst shapes for relays, directories, logs, buffers and configuration."""

from base64 import b64encode
from contextlib import suppress
from hashlib import sha1

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from portal_gateway.config.document import UnusableDocument, compose
from portal_gateway.config.faults import ConfigInvalid
from portal_gateway.config.loading import load_config_text
from portal_gateway.config.model import LeaseSection
from portal_gateway.config.postgres_dsn import BadDsn, dsn_parameters
from portal_gateway.config.scalars import meaning_of, quote, replace_variables
from portal_gateway.config.times import moment_of, seconds_of
from portal_gateway.errors import fault
from portal_gateway.frontend.http2_stream import response_fields
from portal_gateway.frontend.outlet import Outlet
from portal_gateway.frontend.problem import problem_response
from portal_gateway.observe import lines, masking, request_ids
from portal_gateway.relay.configured_names import ConfiguredNames
from portal_gateway.relay.delivery import Delivery
from portal_gateway.relay.lease_index import LeaseIndex
from portal_gateway.relay.lease_table import LeaseTable
from portal_gateway.relay.origins import HTTPRelay, HTTPRelayURL
from portal_gateway.relay.request_body import BodyFraming, RequestBody
from portal_gateway.relay.router import Router
from portal_gateway.relay.send_buffer import SendBuffer
from portal_gateway.relay.websocket import ClientCarrierFactory
from portal_gateway.relay.websocket_frames import (
    PLAIN_TEXT,
    PlainFrameReader,
    frame_of,
    plain_frame,
    whole_message,
)
from portal_gateway.wire.messages import ListedLease
from tests.costs.measuring import Row
from tests.costs.wire_rows import at_once, bytewise, fields, fill

__all__ = ["ROWS"]

# Relays.


def read_frames(pieces):
    reader = PlainFrameReader()
    rest = b""
    for piece in pieces:
        rest = reader.receive_data(rest + piece)
        reader.chunks.clear()


def read_whole_messages(data):
    position = 0
    while position < len(data):
        _, position = whole_message(data, position, masked=data[1] > 127)


WHOLE = {
    "whole messages of no byte": fill(b"\x81\x00"),
    "whole messages of one byte, masked": fill(b"\x82\x81maskd"),
    "whole messages with a long length, masked": fill(b"\x82\xfe\x00\x7emask" + b"d" * 126),
}

FRAMES = {
    "empty frames": fill(b"\x82\x00"),
    "frames of one byte": fill(b"\x82\x01d"),
    "frames with a long length": fill(b"\x82\x7e\x00\x7e" + b"d" * 126),
}


class Receiver:
    """Whom a carrier tells; it remembers nothing."""

    def bytes_received(self, data):
        pass

    def carrier_lost(self, lost):
        pass

    def carrier_gone(self):
        pass


def carry(pieces):
    """What a relay sends by its WebSocket, to our end of it."""
    receiver, sent = Receiver(), StringTransport()
    factory = ClientCarrierFactory("ws://r/", Clock(), lambda carrier: receiver, lambda lost: None)
    carrier = factory.buildProtocol(None)
    carrier.makeConnection(sent)
    key = sent.value().split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    carrier.dataReceived(
        b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    for piece in pieces:
        carrier.dataReceived(piece)
    carrier.connectionLost(Failure(ConnectionDone()))


CARRIED = {
    **FRAMES,
    "pings": fill(b"\x89\x00"),
    "pings between frames": fill(b"\x89\x00\x82\x01d"),
    "fragments": fill(b"\x02\x01d\x80\x00"),
    "text": fill(b"\x81\x01t"),
}

READS = (640, 6_400, 64_000)
"""Bytes of one read of a socket: nothing of a relay comes in larger pieces."""


LISTS = {
    "leases": lambda count: [ListedLease(f"{n:026}", f"n{n:0200}") for n in range(count)],
    "one name": lambda count: [ListedLease(f"{n:026}", "name") for n in range(count)],
    "one name in many cases": lambda count: [
        ListedLease(
            f"{n:026}",
            "".join(c.upper() if n >> at & 1 else c for at, c in enumerate("abcdefghijklmn")),
        )
        for n in range(count)
    ],
    "names that expand": lambda count: [
        ListedLease(f"{n:026}", f"{n}" + "\ufdfa" * 60) for n in range(count)
    ],
    "one id": lambda count: [ListedLease("A" * 26, f"n{n:0200}") for n in range(count)],
}

LEASE_COUNTS = (300, 3_000)

NAMED = ConfiguredNames({f"n{number}": f"{number:026}" for number in range(50)})


def indexed(leases):
    index = LeaseIndex()
    for _ in index.add_all(tuple(leases)):
        pass
    return index


def index_leases(leases):
    index = indexed(leases)
    list(index.addresses())
    table = LeaseTable(index, NAMED)
    table.find("NAME")
    for lease in index.by_id.values():
        table.names_of(lease)
        table.is_contested(lease.name)


def index_again(leases):
    """An answer that is like the one before."""
    before = indexed(leases)
    for _ in LeaseIndex(before).add_all(tuple(leases)):
        pass


def configure(pins):
    """Names that the configuration pins, all leases of them listed under other names."""
    names = ConfiguredNames(pins, [f"o{name}" for name in pins], [f"x{name}" for name in pins])
    listed = [ListedLease(lease_id, "n0") for lease_id in dict.fromkeys(pins.values())]
    table = LeaseTable(indexed(listed), names)
    for lease in listed:
        table.names_of(lease)
    for name in pins:
        table.find(name)
        names.spelled(name.upper())


PINNED = {
    "names of as many leases": lambda count: {f"n{n}": f"{n:026}" for n in range(count)},
    "names of one lease": lambda count: {f"n{n}": "A" * 26 for n in range(count)},
    "names in another script": lambda count: {f"\uff4e{n}ß": f"{n:026}" for n in range(count)},
}


def ids(count):
    """Ids of leases, which are of base32."""
    return [f"{n:b}".translate({48: "A", 49: "B"}).rjust(26, "C") for n in range(count)]


def route_by_id(lease_ids):
    """A request by each id of those that names are pinned to, over a relay reached by HTTP."""
    leases = {f"n{n}": LeaseSection(identity=each) for n, each in enumerate(lease_ids)}
    relay = HTTPRelay(HTTPRelayURL.parse("http://192.0.2.1/"), lambda _host: None)
    router = Router(http_relays=(relay,), leases=leases)
    for each in lease_ids:
        router.find(each)


def deliver(pieces):
    """Small pieces for a reader that has stopped, and then all of them."""
    delivery = Delivery(lambda data: None, lambda call: call())
    delivery.pause()
    for piece in pieces:
        delivery.receive(piece)
    delivery.resume()


def buffer(pieces):
    waiting = SendBuffer()
    for piece in pieces:
        waiting.append(piece)
    while waiting:
        waiting.give(len, 10)


def buffer_whole(data):
    waiting = SendBuffer()
    waiting.append(data)
    while waiting:
        waiting.give(len, 10)


def keep_body(pieces):
    body = RequestBody(BodyFraming.chunked())
    for piece in pieces:
        body.add(piece)
    body.end()
    body.start(b"head", keep=True)


RELAYS = [
    *(
        Row("relay.websocket_frames", shape, at_once(make), read_frames)
        for shape, make in FRAMES.items()
    ),
    *(
        Row(
            "relay.websocket_frames",
            f"{shape}, byte by byte",
            bytewise(make),
            read_frames,
            (10_000, 100_000),
        )
        for shape, make in FRAMES.items()
    ),
    *(
        Row("relay.websocket_frames", shape, make, read_whole_messages)
        for shape, make in WHOLE.items()
    ),
    Row(
        "relay.websocket_frames",
        "a whole masked message",
        lambda size: frame_of(PLAIN_TEXT, b"d" * size, masked=True),
        lambda data: whole_message(data, 0, masked=True),
    ),
    Row(
        "relay.websocket_frames",
        "a masked frame",
        fill(b"d"),
        lambda data: plain_frame(data, masked=True),
    ),
    *(
        Row("relay.websocket", shape, at_once(make), carry, READS)
        for shape, make in CARRIED.items()
    ),
    *(
        Row("relay.lease_table", shape, make, index_leases, LEASE_COUNTS)
        for shape, make in LISTS.items()
    ),
    *(
        Row("relay.lease_index", f"{shape}, again", make, index_again, LEASE_COUNTS)
        for shape, make in LISTS.items()
    ),
    Row("relay.router", "ids that names are pinned to", ids, route_by_id, LEASE_COUNTS),
    *(
        Row("relay.configured_names", shape, make, configure, (100, 1_000))
        for shape, make in PINNED.items()
    ),
    Row("relay.delivery", "one byte at a time", bytewise(fill(b"d")), deliver, (10_000, 100_000)),
    Row("relay.send_buffer", "one byte at a time", bytewise(fill(b"d")), buffer),
    Row("relay.send_buffer", "a large write", fill(b"d"), buffer_whole),
    Row("relay.request_body", "one byte at a time", bytewise(fill(b"d")), keep_body),
]

# The way out.


class Slow:
    """A transport that takes nothing until it is asked, and the outlet's watcher."""

    def __init__(self):
        self.outlet = Outlet(self, self)
        self.written = 0

    def write(self, data):
        self.written += len(data)
        self.outlet.pauseProducing()

    def output_blocked(self):
        pass

    output_drained = output_blocked


def write_slowly(pieces):
    slow = Slow()
    slow.outlet.pauseProducing()
    for piece in pieces:
        slow.outlet.hold(piece)
        slow.outlet.flush()
    while slow.outlet.blocked:
        slow.outlet.resumeProducing()


WRITTEN = [
    Row("frontend.outlet", "one byte at a time", bytewise(fill(b"d")), write_slowly),
    Row(
        "frontend.outlet",
        "pieces of 5 KB",
        lambda size: [b"d" * 5000] * (size // 1000),
        write_slowly,
    ),
    Row("frontend.outlet", "one large piece", at_once(fill(b"d" * 100)), write_slowly),
    Row("frontend.http2_stream", "fields", fields, response_fields),
    Row(
        "frontend.http2_stream",
        "a long value",
        lambda size: [(b"X", b" " * size + b"x" + b" " * size)],
        response_fields,
    ),
    Row(
        "frontend.problem",
        "a long detail",
        fill("\u2028"),
        lambda detail: problem_response(fault("bad_request", detail), "r"),
    ),
]

# Logs and metrics.

TEXTS = {
    "keys": fill("sk_live_aaaaaa "),
    "almost keys": fill("sk_live_"),
    "keys that are too short": fill("sk-aaaaaaaaaaaaaaaaaaa."),
    "tokens": fill("eyJaaaaaaaa."),
    "almost tokens": fill("eyJ"),
    "dots behind a token": fill(".", "eyJaaaaaaaa"),
    "dashes": fill("sk-_"),
    "escapes": fill("%65yJ"),
    "escapes of escapes": fill("%25"),
    "escapes of nothing": fill("%"),
    "names": fill("key"),
    "signatures": fill("-sig"),
    "parameters": fill("a=b&"),
    "secret parameters": fill("key=b&"),
    "names without an end": fill("a", "", "%3"),
    "letters": fill("a"),
}

LOGGED = [
    *(Row("observe.masking", shape, make, masking.masked) for shape, make in TEXTS.items()),
    *(
        Row("observe.masking", f"query of {shape}", make, masking.masked_query)
        for shape, make in TEXTS.items()
    ),
    *(
        Row(
            "observe.lines",
            f"{name}, {kind}",
            make,
            lambda text, write=write: write(
                {"timestamp": "", "level": "info", "message": text, "path": text}
            ),
        )
        for name, write in lines.FORMATS.items()
        for kind, make in (
            ("quotes", fill('"')),
            ("controls", fill("\x00")),
            ("others", fill("\U0001f600")),
        )
    ),
    Row("observe.lines", "quoted", fill("\x00"), lines.quoted),
    Row("observe.request_ids", "a long id", fill("a"), request_ids.request_id),
]

# Configuration.


def read_yaml(text):
    with suppress(UnusableDocument):
        compose(text)


YAML = {
    "a long line": fill("a"),
    "spaces": fill(" ", "a:", "b"),
    "a list in brackets": fill("a,", "[", "]"),
    "lists in lists": fill("["),
    "mappings in braces": fill("{a: "),
    "keys": lambda size: "".join(f"k{n}: 1\n" for n in range(size // 8)),
    "aliases": fill("- *a\n", "- &a b\n"),
    "anchors": lambda size: "".join(f"- &a{n} b\n" for n in range(size // 10)),
    "quotes": fill("''", "a: '", "'"),
    "escapes": fill("\\x41", 'a: "', '"'),
    "comments": fill("#\n", "a: b\n"),
    "a folded text": fill("  a\n", "a: >\n"),
    "keys without an end": fill("? "),
}


FILES = (500, 5_000, 50_000)


def load(text):
    with suppress(ConfigInvalid):
        load_config_text(text, "test.yaml", {})


CONFIGS = {
    "unknown sections": lambda size: "".join(f"section_{n}: 1\n" for n in range(size // 14)),
    "keys": lambda size: (
        "auth:\n  keys:\n"
        + "".join(f'    - key: "sk_live_{n:024}"\n      id: "id-{n}"\n' for n in range(size // 60))
    ),
    "the same key": lambda size: (
        "auth:\n  keys:\n" + '    - key: "sk_live_1"\n      id: "a"\n' * (size // 45)
    ),
    "leases": lambda size: (
        "leases:\n"
        + "".join(f'  lease-{n}:\n    url: "http://127.0.0.1:80"\n' for n in range(size // 45))
    ),
    "rules": lambda size: (
        "lease_acl:\n" + "".join(f'  "lease-{n}-*": []\n' for n in range(size // 20))
    ),
    "addresses": lambda size: (
        "ip_whitelist:\n"
        + "".join(f'  - "10.{n >> 8 & 255}.{n & 255}.0/24"\n' for n in range(size // 20))
    ),
    "relays": lambda size: (
        "portal:\n  relays:\n"
        + "".join(f'    - url: "ws://r{n}.example/relay"\n' for n in range(size // 35))
    ),
}


def read_dsn(text):
    with suppress(BadDsn):
        dsn_parameters(text)


SCALARS = {
    "digits": fill("1"),
    "underscores": fill("1_"),
    "sixties": fill(":1", "1"),
    "sixties that are none": fill(":1", "1", ":x"),
    "dots": fill(".", "1"),
    "signs": fill("-"),
    "variables": fill("${A}"),
    "variables without an end": fill("${"),
    "dollars": fill("$"),
}

CONFIG = [
    *(Row("config.document", shape, make, read_yaml) for shape, make in YAML.items()),
    *(Row("config.loading", shape, make, load, FILES) for shape, make in CONFIGS.items()),
    *(
        Row(
            "config.scalars",
            shape,
            make,
            lambda text: (meaning_of(text), quote(text), replace_variables(text, {"A": "b"})),
        )
        for shape, make in SCALARS.items()
    ),
    *(
        Row("config.times", shape, make, lambda text: (seconds_of(text), moment_of(text)))
        for shape, make in SCALARS.items()
    ),
    Row("config.postgres_dsn", "parameters", fill("a=b&", "postgres://h/d?"), read_dsn),
    Row("config.postgres_dsn", "hosts", fill("h,", "postgres://", "/d"), read_dsn),
    Row("config.postgres_dsn", "escapes", fill("%41", "postgres://u:", "@h/d"), read_dsn),
    Row("config.postgres_dsn", "ports", fill("1,", "postgres://h/d?port="), read_dsn),
]

ROWS = [*RELAYS, *WRITTEN, *LOGGED, *CONFIG]
