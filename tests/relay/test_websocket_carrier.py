"""The carriers: what the opening handshake, odd frames and farewells come to."""

import base64
import hashlib

import pytest
from joined import Joined
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from portal_gateway.relay.lost import Loss
from portal_gateway.relay.websocket import (
    CLOSE_TIMEOUT,
    MAX_OPENING_BYTES,
    OPEN_TIMEOUT,
    ClientCarrierFactory,
    ServerCarrierFactory,
)
from portal_gateway.relay.websocket_frames import plain_frame
from portal_gateway.testing.transports import connect

WRONG_ACCEPT = (
    b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
)


class Receiver:
    """Remembers what its carrier told it."""

    def __init__(self):
        self.received = []
        self.told = []
        self.lost = None

    def bytes_received(self, data):
        self.received.append(data)

    def pause_sending(self):
        self.told.append("pause")

    def resume_sending(self):
        self.told.append("resume")

    def carrier_lost(self, lost):
        assert self.lost is None
        self.lost = lost

    def carrier_gone(self):
        self.told.append("gone")


class Aborting(StringTransport):
    """Tells its protocol when it is aborted or closed, in order."""

    protocol = None

    def abortConnection(self):
        super().abortConnection()
        self.end()

    def loseConnection(self):
        super().loseConnection()
        self.end()

    def end(self):
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(ConnectionDone()))


class OneEnd:
    """A client's carrier, its peer played by the test."""

    def __init__(self, url="ws://relay.test:4017/relay?key=1"):
        self.clock = Clock()
        self.receiver = Receiver()
        self.failures = []
        self.carrier = ClientCarrierFactory(
            url, self.clock, lambda carrier: self.receiver, self.failures.append
        ).buildProtocol(None)
        self.transport = Aborting()
        self.transport.protocol = self.carrier
        self.carrier.makeConnection(self.transport)
        self.request = self.transport.value()
        self.transport.clear()

    @property
    def answer(self):
        key = self.request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        magic = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key + magic).digest())
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def open(self):
        self.carrier.dataReceived(self.answer)
        return self


def frame(opcode, payload):
    return bytes((0x80 | opcode, len(payload))) + payload


def test_the_request_names_the_resource_and_the_host():
    assert OneEnd().request.startswith(b"GET /relay?key=1 HTTP/1.1\r\n")
    assert b"\r\nHost: relay.test:4017\r\n" in OneEnd().request
    assert b"\r\nHost: [::1]:4017\r\n" in OneEnd("ws://[::1]:4017/relay").request


def test_it_opens_in_any_pieces_and_the_first_frames_may_come_along():
    whole = OneEnd()
    whole.carrier.dataReceived(whole.answer + b"\x82\x05hello")
    assert whole.receiver.received == [b"hello"]
    pieces = OneEnd()
    for byte in pieces.answer + b"\x82\x05hello":
        pieces.carrier.dataReceived(bytes((byte,)))
    assert b"".join(pieces.receiver.received) == b"hello"
    assert pieces.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("answer", "loss", "detail"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Loss.NOT_WEBSOCKET, "HTTP status 404"),
        (b"HTTP/1.1 503 evil\x1b[31m\r\n\r\n", Loss.NOT_WEBSOCKET, "HTTP status 503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Loss.NOT_WEBSOCKET, "HTTP status 200"),
        (b"HTTP/1.1 101 Go\r\n\r\n", Loss.NOT_WEBSOCKET, "is not valid"),
        (
            WRONG_ACCEPT,
            Loss.NOT_WEBSOCKET,
            "is not valid",
        ),
        (b"\xff\xfe\x00garbage\r\n\r\n", Loss.NOT_WEBSOCKET, "handshake"),
        (b"HTTP/1.1 \xff\xfe\r\n\r\n", Loss.NOT_WEBSOCKET, "handshake"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Loss.NOT_WEBSOCKET, "is not valid"),
        (b"\r\n\r\n", Loss.NOT_WEBSOCKET, "handshake"),
    ],
)
def test_an_answer_that_is_not_a_websockets_is_a_named_failure(answer, loss, detail, logged):
    for pieces in ([answer], [bytes((byte,)) for byte in answer]):
        end = OneEnd()
        for piece in pieces:
            if end.transport.protocol is not None:
                end.carrier.dataReceived(piece)
        assert [lost.loss for lost in end.failures] == [loss]
        assert detail in end.failures[0].detail
        assert end.failures[0].cause.code == "relay_protocol_error"
        assert "evil" not in end.failures[0].detail
        assert end.clock.getDelayedCalls() == []
    assert logged == []


def test_an_answer_without_an_end_is_bounded():
    end = OneEnd()
    end.carrier.dataReceived(b"HTTP/1.1 101 Go\r\n")
    sent = 0
    while end.transport.protocol is not None:
        end.carrier.dataReceived(b"X-Filler: " + b"x" * 1012 + b"\r\n")
        sent += 1024
        assert sent < MAX_OPENING_BYTES + 4096
    assert [lost.loss for lost in end.failures] == [Loss.NOT_WEBSOCKET]


def test_no_answer_is_a_named_failure_after_ten_seconds():
    end = OneEnd()
    end.clock.advance(OPEN_TIMEOUT - 0.1)
    assert end.failures == []
    end.clock.advance(0.2)
    assert [lost.loss for lost in end.failures] == [Loss.NO_ANSWER]


def test_a_relay_that_closes_at_once_is_a_named_failure():
    end = OneEnd()
    end.transport.end()
    assert [lost.loss for lost in end.failures] == [Loss.CLOSED]
    assert end.clock.getDelayedCalls() == []


def test_text_is_ignored_and_fragments_are_taken():
    end = OneEnd().open()
    end.carrier.dataReceived(b"\x82\x01a" + frame(1, b"text") + b"\x82\x01b")
    end.carrier.dataReceived(b"\x02\x01c" + frame(9, b"ping") + b"\x00\x01d" + b"\x80\x01e")
    end.carrier.dataReceived(b"\x82\x01f" + b"\x01\x01-" + b"\x80\x01-" + b"\x82\x01g")
    assert b"".join(end.receiver.received) == b"abcdefg"
    assert end.receiver.lost is None


def test_what_one_read_brings_is_handed_on_in_one_piece():
    end = OneEnd().open()
    end.carrier.dataReceived(b"\x82\x01a\x82\x01b" + frame(9, b"") + b"\x82\x01c\x82\x05d")
    assert end.receiver.received == [b"abcd"]


@pytest.mark.parametrize(
    "broken",
    [
        b"\x83\x01x",  # an unknown opcode
        b"\xc2\x01x",  # a reserved bit
        b"\x80\x01x",  # continues nothing
        b"\x82\x81abcdx",  # masked by a server
        b"\x82\x7e\x00\x01x",  # a length that is too long
        b"\x09\x01x",  # a ping in fragments
        b"\x88\x01x",  # a close code of one byte
        b"\x88\x02\x00\x01",  # a close code that does not exist
        b"\x88\x04\x03\xe8\xff\xff",  # a close reason that is not UTF-8
    ],
)
def test_a_broken_frame_ends_the_connection_with_a_named_failure(broken, logged):
    end = OneEnd().open()
    end.carrier.dataReceived(b"\x82\x05first" + broken + b"\x82\x04more")
    end.clock.advance(CLOSE_TIMEOUT)
    assert end.receiver.lost.loss is Loss.WEBSOCKET_FAULT
    assert end.receiver.received in ([], [b"first"])
    assert end.transport.protocol is None
    assert end.receiver.told[-1] == "gone"
    assert logged == []


def test_a_ping_is_answered_but_only_the_last_while_nothing_can_be_sent():
    end = OneEnd().open()
    end.transport.clear()
    end.carrier.dataReceived(frame(9, b"one"))
    assert end.transport.value()[:2] == b"\x8a\x83"
    end.transport.clear()
    end.carrier.pauseProducing()
    for number in range(1000):
        end.carrier.dataReceived(frame(9, b"%d" % number))
    assert end.transport.value() == b""
    end.carrier.resumeProducing()
    assert end.transport.value()[:2] == b"\x8a\x83"
    assert len(end.transport.value()) == 9
    assert end.receiver.told == ["pause", "resume"]


def test_the_peers_farewell_is_answered_and_bounded():
    end = OneEnd().open()
    end.transport.clear()
    end.carrier.dataReceived(frame(8, b"\x03\xe8bye"))
    assert end.receiver.lost.loss is Loss.CLOSED
    assert "bye" not in str(end.receiver.lost)
    assert end.transport.value()[0] == 0x88
    # A server closes TCP; one that does not is cut off.
    assert end.transport.protocol is not None
    end.clock.advance(CLOSE_TIMEOUT)
    assert end.transport.protocol is None
    assert end.receiver.told == ["gone"]


def test_what_comes_along_with_a_farewell_is_handed_on_before_it():
    end = OneEnd().open()
    seen = []
    end.receiver.carrier_lost = lambda lost: seen.append(list(end.receiver.received))
    end.carrier.dataReceived(b"\x82\x04last" + frame(8, b"\x03\xe8"))
    assert seen == [[b"last"]]


def test_our_farewell_is_bounded_too():
    end = OneEnd().open()
    end.transport.clear()
    end.carrier.close(fault=True)
    assert end.transport.value()[0] == 0x88
    end.transport.clear()
    end.carrier.send_message(b"late")
    assert end.transport.value() == b""
    end.clock.advance(CLOSE_TIMEOUT)
    assert end.transport.protocol is None
    assert end.receiver.told == ["gone"]


def test_reading_can_be_paused():
    end = OneEnd().open()
    end.carrier.pause_reading()
    assert end.transport.producerState == "paused"
    end.carrier.resume_reading()
    assert end.transport.producerState == "producing"


def test_the_options_that_matter_are_set_on_both_sides():
    joined = Joined()
    assert joined.link.client.no_delay
    assert joined.link.server.no_delay
    assert b"Extensions" not in OneEnd().request


def test_client_and_server_understand_each_other_at_every_length():
    clock, ends = Clock(), (Receiver(), Receiver())
    client = ClientCarrierFactory(
        "ws://relay.test:4017/relay", clock, lambda carrier: ends[0], pytest.fail
    ).buildProtocol(None)
    server = ServerCarrierFactory(clock, lambda carrier: ends[1]).buildProtocol(None)
    link = connect(client, server, 7)
    link.flush()
    link.chunk = None
    back, taken = (end.received for end in ends)
    for size in (1, 125, 126, 127, 1024, 1025, 65535, 65536, 100_000):
        data = bytes(index % 253 for index in range(size))
        del taken[:], back[:]
        client.send_message(data)
        server.send_message(data)
        link.flush()
        assert b"".join(taken) == data
        assert b"".join(back) == data


class ServerEnd:
    """A server's carrier, its client played by the test."""

    def __init__(self):
        self.clock = Clock()
        self.opened = []
        factory = ServerCarrierFactory(self.clock, self._opened)
        self.carrier = factory.buildProtocol(None)
        self.transport = Aborting()
        self.transport.protocol = self.carrier
        self.carrier.makeConnection(self.transport)

    def _opened(self, carrier):
        self.opened.append(carrier)
        return Receiver()

    def request(self, path=b"/relay", **changes):
        fields = {
            b"Host": b"relay.test",
            b"Upgrade": b"websocket",
            b"Connection": b"Upgrade",
            b"Sec-WebSocket-Key": b"AAAAAAAAAAAAAAAAAAAAAA==",
            b"Sec-WebSocket-Version": b"13",
        }
        fields.update({name.encode(): value for name, value in changes.items()})
        lines = [b"%s: %s" % item for item in fields.items() if item[1]]
        self.carrier.dataReceived(b"\r\n".join([b"GET " + path + b" HTTP/1.1", *lines, b"", b""]))
        return self.transport.value().split(b"\r\n")[0]


def test_a_server_accepts_at_its_path_only():
    good = ServerEnd()
    assert good.request() == b"HTTP/1.1 101 Switching Protocols"
    assert good.opened == [good.carrier]
    other = ServerEnd()
    assert other.request(b"/other") == b"HTTP/1.1 404 Not Found"
    assert other.opened == []
    assert other.transport.protocol is None


def test_a_server_refuses_what_is_no_websocket_and_waits_for_nobody(logged):
    assert ServerEnd().request(Upgrade=b"") == b"HTTP/1.1 426 HTTP Upgrade header missing"
    assert ServerEnd().request(Host=b"").startswith(b"HTTP/1.1 400 ")
    silent = ServerEnd()
    silent.clock.advance(OPEN_TIMEOUT)
    assert silent.transport.protocol is None
    unmasked = ServerEnd()
    unmasked.request()
    unmasked.carrier.dataReceived(b"".join(plain_frame(b"x", masked=False)))
    unmasked.clock.advance(CLOSE_TIMEOUT)
    assert unmasked.transport.protocol is None
    assert logged == []
