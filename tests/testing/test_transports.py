import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol
from zope.interface import implementer
from zope.interface.verify import verifyObject

from portal_gateway.testing.transports import BUFFER_SIZE, connect


class Recorder(Protocol):
    def __init__(self):
        self.received = []
        self.lost = []

    def dataReceived(self, data):
        self.received.append(data)

    def connectionLost(self, reason):
        self.lost.append(reason.type)


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    def __init__(self):
        super().__init__()
        self.halves = []

    def readConnectionLost(self):
        self.halves.append("read")

    def writeConnectionLost(self):
        self.halves.append("write")


class PushProducer:
    def __init__(self):
        self.calls = []

    def pauseProducing(self):
        self.calls.append("pause")

    def resumeProducing(self):
        self.calls.append("resume")

    def stopProducing(self):
        self.calls.append("stop")


def pair(kind=Recorder, chunk=None):
    client, server = kind(), kind()
    return client, server, connect(client, server, chunk)


def test_it_provides_the_interfaces_of_tcp():
    _, _, link = pair()
    for interface in (ITCPTransport, IConsumer, IPushProducer):
        assert verifyObject(interface, link.client)


def test_nothing_moves_until_told_to():
    client, server, link = pair()
    client.transport.write(b"to the server")
    server.transport.writeSequence([b"to ", b"the client"])
    assert (client.received, server.received) == ([], [])
    assert link.client.waiting == 13
    link.flush()
    assert (client.received, server.received) == ([b"to the client"], [b"to the server"])
    assert (link.client.waiting, link.client.sent) == (0, 13)


@pytest.mark.parametrize(
    ("chunk", "pieces"),
    [(None, [b"abcdef"]), (1, [b"a", b"b", b"c", b"d", b"e", b"f"]), (4, [b"abcd", b"ef"])],
)
def test_bytes_are_cut_as_asked(chunk, pieces):
    client, server, link = pair(chunk=chunk)
    client.transport.write(b"abc")
    client.transport.write(b"def")
    link.flush()
    assert server.received == pieces


def test_a_function_cuts_the_bytes():
    client, server, link = pair(chunk=lambda available: available // 2)
    client.transport.write(b"abcde")
    link.flush()
    assert server.received == [b"ab", b"c", b"d", b"e"]


def test_writing_text_is_refused():
    client, _, _ = pair()
    with pytest.raises(TypeError):
        client.transport.write("text")


def test_closing_waits_for_what_was_written_and_ends_both_sides():
    client, server, link = pair()
    client.transport.write(b"last words")
    client.transport.loseConnection()
    assert client.lost == []
    link.flush()
    assert server.received == [b"last words"]
    assert (client.lost, server.lost) == ([ConnectionDone], [ConnectionDone])
    assert not link.connected


def test_closing_waits_for_a_registered_producer():
    client, server, link = pair()
    producer = PushProducer()
    client.transport.registerProducer(producer, streaming=True)
    client.transport.loseConnection()
    link.flush()
    assert client.lost == []
    client.transport.write(b"more")
    client.transport.unregisterProducer()
    link.flush()
    assert server.received == [b"more"]
    assert client.lost == [ConnectionDone]


def test_aborting_drops_what_waits_and_resets_the_other_side():
    client, server, link = pair()
    client.transport.write(b"never sent")
    client.transport.abortConnection()
    client.transport.write(b"nor this")
    link.flush()
    assert server.received == []
    assert (client.lost, server.lost) == ([ConnectionAborted], [ConnectionLost])


def test_a_half_closed_side_still_reads():
    client, server, link = pair(HalfRecorder)
    client.transport.write(b"request")
    client.transport.loseWriteConnection()
    link.flush()
    assert server.received == [b"request"]
    assert (client.halves, server.halves) == (["write"], ["read"])
    client.transport.write(b"too late")
    server.transport.write(b"response")
    server.transport.loseWriteConnection()
    link.flush()
    assert client.received == [b"response"]
    assert server.received == [b"request"]
    assert (client.lost, server.lost) == ([ConnectionDone], [ConnectionDone])


def test_a_half_close_ends_a_protocol_that_does_not_know_of_it():
    client, server = HalfRecorder(), Recorder()
    link = connect(client, server)
    client.transport.loseWriteConnection()
    link.flush()
    assert server.lost == [ConnectionDone]
    assert client.halves == ["write", "read"]
    assert client.lost == [ConnectionDone]


def test_writing_to_a_side_that_closed_both_halves_is_a_reset():
    client, server = HalfRecorder(), HalfRecorder()
    link = connect(client, server)
    server.transport.loseConnection()
    link.flush()
    assert client.halves == ["read"]
    client.transport.write(b"anybody?")
    link.flush()
    assert client.lost == [ConnectionLost]


def test_a_paused_reader_gets_neither_bytes_nor_the_end():
    client, server, link = pair()
    server.transport.pauseProducing()
    client.transport.write(b"data")
    client.transport.loseConnection()
    link.flush()
    assert (server.received, server.lost) == ([], [])
    server.transport.resumeProducing()
    link.flush()
    assert (server.received, server.lost) == ([b"data"], [ConnectionDone])


def test_a_push_producer_is_paused_above_the_buffer_and_resumed_when_it_is_empty():
    client, server, link = pair()
    producer = PushProducer()
    client.transport.registerProducer(producer, streaming=True)
    server.transport.pauseProducing()
    client.transport.write(b"x" * BUFFER_SIZE)
    assert producer.calls == []
    client.transport.write(b"x")
    client.transport.write(b"x")
    assert producer.calls == ["pause"]
    link.flush()
    assert producer.calls == ["pause"]
    server.transport.resumeProducing()
    link.flush()
    assert producer.calls == ["pause", "resume"]


def test_a_pull_producer_is_asked_whenever_nothing_waits():
    client, server, link = pair()

    class Pull:
        left = 3

        def resumeProducing(self):
            if not self.left:
                client.transport.unregisterProducer()
                return
            self.left -= 1
            client.transport.write(b"p")

        def stopProducing(self):
            raise AssertionError("the connection stays")

    client.transport.registerProducer(Pull(), streaming=False)
    link.flush()
    assert server.received == [b"p", b"p", b"p"]


def test_a_second_producer_is_refused():
    client, _, _ = pair()
    client.transport.registerProducer(PushProducer(), streaming=True)
    with pytest.raises(RuntimeError):
        client.transport.registerProducer(PushProducer(), streaming=True)


def test_a_producer_is_stopped_with_the_connection_or_when_it_comes_too_late():
    client, server, link = pair()
    early, late = PushProducer(), PushProducer()
    client.transport.registerProducer(early, streaming=True)
    server.transport.abortConnection()
    link.flush()
    client.transport.registerProducer(late, streaming=True)
    assert (early.calls, late.calls) == (["stop"], ["stop"])


def test_a_frozen_link_moves_nothing():
    client, server, link = pair()
    client.transport.write(b"data")
    link.frozen = True
    link.flush()
    assert server.received == []
    link.frozen = False
    link.flush()
    assert server.received == [b"data"]


def test_it_remembers_options_and_addresses():
    client, server, link = pair()
    client.transport.setTcpNoDelay(True)
    client.transport.setTcpKeepAlive(True)
    assert (client.transport.getTcpNoDelay(), server.transport.getTcpNoDelay()) == (True, False)
    assert (link.client.no_delay, link.client.keep_alive) == (True, True)
    assert client.transport.getPeer() == server.transport.getHost()
    assert server.transport.getPeer() == client.transport.getHost()
    assert client.transport.getPeer() == IPv4Address("TCP", "127.0.0.1", 80)
