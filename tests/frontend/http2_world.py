"""An HTTP/2 client on h2's own client side, and a site that it is connected to in memory."""

import struct

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from twisted.internet.address import IPv4Address

from portal_gateway.frontend.http2_connection import HTTP2Connection
from portal_gateway.testing.transports import connect
from tests.frontend.serving import Client, Served

GET = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"h"),
    (b":path", b"/"),
]

POST = [(b":method", b"POST"), *GET[1:]]


def frame(kind, payload=b"", flags=0, stream=0):
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


def next_turn(clock):
    """Make the calls that are due, without those that they make due: `Clock` goes on with them."""
    due = [call for call in clock.calls if call.getTime() <= clock.seconds()]
    for call in due:
        clock.calls.remove(call)
        call.called = 1
        call.func(*call.args, **call.kw)


class Careless(H2Connection):
    """A client that opens more streams than it may."""

    open_outbound_streams = 0


class Answer:
    """What came back on one stream."""

    def __init__(self):
        self.informational = []
        self.fields = None
        self.body = b""
        self.trailers = None
        self.ended = False
        self.reset = None

    @property
    def status(self):
        return int(self.fields[b":status"])


class HTTP2(Served):
    """A connection to a site; ``answers`` by stream, ``goaway`` is the code that ended it."""

    def connect(self, host="192.0.2.7", **settings):
        address = IPv4Address("TCP", host, 50_000 + len(self.links))
        self.client = Client()
        self.channel = HTTP2Connection(self.site)
        self.link = connect(self.client, self.channel, client_address=address)
        self.links.append(self.link)
        # The client does as it is told; what is wrong is the test's wish.
        self.h2 = Careless(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.h2.initiate_connection()
        self.answers = {}
        self.goaway = None
        self._seen = 0
        self.credit = True
        return self.client

    def turn(self):
        """Exchange bytes until nothing moves any more; what is received is credited at once."""
        while True:
            data = self.h2.data_to_send()
            if data:
                self.client.transport.write(data)
            self.settle()
            news = self.client.received[self._seen :]
            self._seen = len(self.client.received)
            if not news and not data:
                return
            for event in self.h2.receive_data(news) if news else ():
                self._note(event)

    def _note(self, event):
        if isinstance(event, ConnectionTerminated):
            self.goaway = event
            return
        answer = self.answers.setdefault(getattr(event, "stream_id", 0) or 0, Answer())
        if isinstance(event, InformationalResponseReceived):
            answer.informational.append(dict(event.headers))
        elif isinstance(event, ResponseReceived):
            answer.fields = dict(event.headers)
        elif isinstance(event, DataReceived):
            answer.body += event.data
            if self.credit:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, TrailersReceived):
            answer.trailers = list(event.headers)
        elif isinstance(event, StreamEnded):
            answer.ended = True
        elif isinstance(event, StreamReset):
            answer.reset = event.error_code

    def ask(self, fields=GET, body=None, *, trailers=None, more=()):
        """Send a request; returns its stream. A ``body`` is sent whole, ``None`` is none."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [*fields, *more], end_stream=body is None)
        if body is not None:
            for start in range(0, len(body), 16384):
                self.h2.send_data(stream, body[start : start + 16384])
            if trailers:
                self.h2.send_headers(stream, trailers, end_stream=True)
            else:
                self.h2.end_stream(stream)
        self.turn()
        return stream

    def answer(self, *arguments, **more):
        stream = self.ask(*arguments, **more)
        return self.answers[stream]

    def raw(self, data):
        """Send bytes that no library would."""
        self.client.transport.write(data)
        self.turn()

    def lets_pass(self, seconds):
        while seconds > 0:
            self.clock.advance(min(1.0, seconds))
            self.turn()
            seconds -= 1.0
