"""The ledger's client of HTTP/2 tells apart what answers, what refuses and what loses a request."""

import asyncio

import h2.config
import h2.connection
import h2.events
import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from tests.integration.ledger import Ledger, Outcome
from tests.integration.ledger_http2 import ANY_STREAM, Http2

BODY = b"a body"

ANSWERED = Outcome.ANSWERED, "200"


class Server:
    """Does to each request what the name of its path says."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.ids = {}
        self.paths = {}

    async def serve(self):
        self.h2.initiate_connection()
        self.flush()
        while data := await self.reader.read(65536):
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    fields = dict(event.headers)
                    self.ids[event.stream_id] = fields[b"x-call"]
                    self.paths[event.stream_id] = fields[b":path"].decode()
                elif isinstance(event, h2.events.StreamEnded):
                    getattr(self, self.paths[event.stream_id][1:])(event.stream_id)
            self.flush()
        self.writer.close()

    def flush(self):
        self.writer.write(self.h2.data_to_send())

    def answer(self, stream, status=200, body=None):
        self.h2.send_headers(stream, [(":status", str(status))])
        right = self.ids[stream] + b"\n" + BODY
        self.h2.send_data(stream, right if body is None else body, end_stream=True)
        self.flush()

    def another(self, stream):
        self.answer(stream, body=b"somebody's\n" + BODY)

    def busy(self, stream):
        self.answer(stream, 503, b"{}")

    def broken(self, stream):
        self.answer(stream, 502, b"{}")

    def refuse(self, stream):
        self.h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)

    def cut(self, stream):
        self.h2.send_headers(stream, [(":status", "200")])
        self.h2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)

    def close(self, stream):
        self.writer.close()

    def go(self, stream, last):
        self.flush()
        self.writer.write(GoAwayFrame(0, last_stream_id=last).serialize())

    def deny(self, stream):
        self.go(stream, 0)

    def announce(self, stream):
        self.go(stream, ANY_STREAM)
        self.answer(stream)


async def asked(*paths):
    """What became of a request for each path, one after the other, and the connection."""

    async def serve(reader, writer):
        await Server(reader, writer).serve()

    ledger = Ledger()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    connection = await Http2.open(f"{host}:{port}", None, ledger)
    entries = []
    for number, path in enumerate(paths):
        if path is None:
            # The listener has gone, what is connected is not.
            server.close()
            continue
        entry = await connection.ask(path, BODY)
        assert connection.highest <= 2 * number + 1
        entries.append((entry.outcome, entry.why))
    await connection.close()
    server.close()
    assert ledger.sent == len(entries)
    assert ledger.under_way == []
    return entries, connection


def become_of(*paths):
    return asyncio.run(asked(*paths))[0]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/answer", ANSWERED),
        ("/another", (Outcome.LOST, "wrong body")),
        ("/busy", (Outcome.REFUSED, "503")),
        ("/broken", (Outcome.LOST, "502")),
        ("/refuse", (Outcome.REFUSED, "refused stream")),
        ("/cut", (Outcome.LOST, "stream reset")),
        ("/close", (Outcome.LOST, "closed")),
        ("/deny", (Outcome.REFUSED, "goaway")),
    ],
)
def test_what_becomes_of_a_request(path, expected):
    assert become_of("/answer", path) == [ANSWERED, expected]


def test_a_goaway_that_names_no_last_stream_leaves_what_is_under_way():
    entries, connection = asyncio.run(asked("/announce"))
    assert entries == [ANSWERED]
    assert connection.last_streams == [ANY_STREAM]


def test_what_comes_after_a_goaway_goes_over_another_connection():
    assert become_of("/announce", "/answer") == [ANSWERED, ANSWERED]
    assert become_of("/announce", None, "/answer") == [ANSWERED, (Outcome.REFUSED, "no connection")]
