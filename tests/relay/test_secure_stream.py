import pytest
from joined import CLIENT, LEASE, NOW, Joined, Producer, Recorder
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from portal_gateway.errors import GatewayError
from portal_gateway.relay.secure_stream import SecureStream, channel_fault
from portal_gateway.relay.substream import HIGH_WATER
from portal_gateway.testing.transports import connect
from portal_gateway.wire.errors import (
    BadSignature,
    IdentityMismatch,
    InvalidIdentity,
    RecordCorrupt,
    StaleTimestamp,
)
from portal_gateway.wire.secure_channel import SecureChannel
from portal_gateway.wire.yamux_frames import INITIAL_WINDOW


class Pair:
    """Two protocols, joined by secure streams over one stream of two relay connections."""

    def __init__(self, near=None, far=None, chunk=None, lease_id=LEASE.identity.id, far_now=NOW):
        self.near = near or Recorder()
        self.far = far or Recorder()
        self.failed = []
        self.joined = Joined(accept=self._serve)
        self.joined.link.chunk = chunk
        self.far_now = far_now
        channel = SecureChannel.client(CLIENT, lease_id, now=NOW)
        self.near_secure = self._stream(channel, self.near)
        self.far_secure = None
        self.joined.client.open_stream(self.near_secure)
        self.settle = self.joined.settle
        self.settle()

    def _serve(self):
        channel = SecureChannel.server(LEASE, alpns=["http/1.1"], clock=lambda: self.far_now)
        self.far_secure = self._stream(channel, self.far)
        return self.far_secure

    def _stream(self, channel, protocol):
        return SecureStream(
            channel, self.joined.clock, lambda stream: stream.start(protocol), self.failed.append
        )

    @property
    def near_substream(self):
        return self.near_secure._transport

    @property
    def far_substream(self):
        return self.far_secure._transport

    @property
    def over(self):
        return self.joined.client.streams == self.joined.server.streams == 0 and (
            self.joined.timers == []
        )


@pytest.mark.parametrize("chunk", [None, 1, 17])
def test_plaintext_goes_both_ways_and_nothing_of_it_is_on_the_wire(chunk):
    pair = Pair(chunk=chunk)
    wire = []
    send = pair.joined.client_carrier.send_message
    pair.joined.client_carrier.send_message = lambda data: (wire.append(data), send(data))
    pair.near.transport.write(b"question")
    pair.near.transport.writeSequence([b" and", b" more"])
    pair.settle()
    pair.far.transport.write(b"answer")
    pair.settle()
    assert pair.far.data == b"question and more"
    assert pair.near.data == b"answer"
    assert b"question" not in b"".join(wire)
    assert pair.failed == []


def test_it_is_the_transport_and_the_protocol_that_it_says_it_is():
    pair = Pair()
    for interface in (ITransport, IConsumer, IPushProducer, IProtocol, IHalfCloseableProtocol):
        assert verifyObject(interface, pair.near_secure)
    assert pair.near.transport.getPeer().host == LEASE.identity.id
    assert pair.far.transport.getPeer().host == CLIENT.identity.id
    assert pair.near.transport.getHost().host == "relay.test:4017"
    pair.near.transport.setTcpNoDelay(enabled=True)
    pair.near.transport.setTcpKeepAlive(enabled=True)


# Stop reading, and the sender pauses; end to end.


def test_a_reader_that_pauses_stops_the_writer_with_a_bounded_window_between():
    pair = Pair()
    pair.far.transport.pauseProducing()
    producer = Producer(pair.near.transport, b"x" * 16384, blocks=1000)
    pair.settle()
    assert producer.paused
    assert (1000 - producer.blocks) * 16384 <= INITIAL_WINDOW + HIGH_WATER + 2 * 16384
    assert pair.far.data == b""
    pair.far.transport.resumeProducing()
    pair.settle()
    assert producer.blocks == 0
    assert len(pair.far.data) == 1000 * 16384


def test_a_protocol_that_pauses_in_the_midst_of_a_delivery_gets_no_more():
    pair = Pair()
    take = pair.far.dataReceived

    def pause_after_each(data):
        take(data)
        pair.far.transport.pauseProducing()

    pair.far.dataReceived = pause_after_each
    for letter in b"abcd":
        pair.near.transport.write(bytes((letter,)))
    pair.near.transport.loseConnection()
    pair.settle()
    for seen in (b"a", b"ab", b"abc", b"abcd"):
        assert pair.far.data == seen
        assert pair.far.lost is None
        pair.far.transport.resumeProducing()
        assert pair.far.data == seen  # never from inside resumeProducing
        pair.settle()
    assert isinstance(pair.far.lost, ConnectionDone)
    assert pair.over


def test_pausing_again_before_the_delivery_holds():
    pair = Pair()
    take = pair.far.dataReceived

    def pause_after_each(data):
        take(data)
        pair.far.transport.pauseProducing()

    pair.far.dataReceived = pause_after_each
    pair.near.transport.write(b"a")
    pair.near.transport.write(b"b")
    pair.settle()
    pair.far.transport.resumeProducing()
    pair.far.transport.pauseProducing()
    pair.settle()
    assert pair.far.data == b"a"
    pair.far.transport.resumeProducing()
    pair.far.transport.resumeProducing()
    pair.settle()
    assert pair.far.data == b"ab"


# The ends.


def test_a_clean_end_between_records_is_connection_done():
    pair = Pair()
    pair.near.transport.write(b"last words")
    pair.near.transport.loseConnection()
    assert pair.near.transport.disconnecting
    pair.near.transport.write(b"too late")
    pair.settle()
    assert pair.far.data == b"last words"
    assert isinstance(pair.far.lost, ConnectionDone)
    assert isinstance(pair.near.lost, ConnectionDone)
    assert pair.over


def test_a_producer_is_stopped_when_its_consumers_peer_ends():
    pair = Pair()
    producer = Producer(pair.far.transport)
    pair.near.transport.loseConnection()
    pair.settle()
    assert producer.stopped
    assert pair.over


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    def __init__(self):
        super().__init__()
        self.ends = []

    def readConnectionLost(self):
        self.ends.append("read")

    def writeConnectionLost(self):
        self.ends.append("write")


def test_half_closes_go_through_one_by_one():
    pair = Pair(near=HalfCloseable(), far=HalfCloseable())
    pair.near.transport.write(b"question")
    pair.near.transport.loseWriteConnection()
    pair.settle()
    assert (pair.near.ends, pair.far.ends) == (["write"], ["read"])
    pair.far.transport.write(b"answer")
    pair.far.transport.loseConnection()
    pair.settle()
    assert pair.near.data == b"answer"
    assert pair.near.ends == ["write", "read"]
    assert isinstance(pair.near.lost, ConnectionDone)
    assert isinstance(pair.far.lost, ConnectionDone)
    assert pair.over


def test_an_end_inside_a_record_is_the_leases_fault():
    pair = Pair()
    pair.far.transport.write(b"whole")
    pair.settle()
    pair.far_substream.write(b"\x00\x00\x00\x40 half a record")
    pair.far_substream.loseConnection()
    pair.settle()
    assert pair.near.data == b"whole"
    assert isinstance(pair.near.lost, GatewayError)
    assert pair.near.lost.cause.code == "upstream_protocol_error"
    assert pair.over


@pytest.mark.parametrize(
    "broken",
    [
        b"\x00\x00\x00\x1b" + b"x" * 27,  # shorter than nonce and tag
        b"\x00\x00\x00\x20" + b"x" * 32,  # a tag that does not fit
        b"\xff\xff\xff\xff",  # longer than any record
    ],
)
def test_a_broken_record_is_the_leases_fault_and_what_came_before_is_delivered(broken):
    pair = Pair()
    pair.far.transport.write(b"good")
    pair.far_substream.write(broken)
    pair.settle()
    assert pair.near.data == b"good"
    assert pair.near.lost.cause.code == "upstream_protocol_error"
    # The stream was reset, which the other end can see.
    assert isinstance(pair.far.lost, ConnectionLost)
    assert pair.over


def test_a_fault_waits_for_a_paused_protocol_to_take_what_came_before():
    pair = Pair()
    take = pair.near.dataReceived

    def pause_after_each(data):
        take(data)
        pair.near.transport.pauseProducing()

    pair.near.dataReceived = pause_after_each
    pair.far.transport.write(b"one")
    pair.far.transport.write(b"two")
    pair.far_substream.write(b"\xff\xff\xff\xff")
    pair.settle()
    assert pair.near.lost is None
    pair.near.transport.resumeProducing()
    pair.settle()
    assert pair.near.received == [b"one", b"two"]
    assert pair.near.lost is None
    pair.near.transport.resumeProducing()
    pair.settle()
    assert pair.near.lost.cause.code == "upstream_protocol_error"
    assert pair.over


def test_aborting_resets():
    pair = Pair()
    pair.near.transport.abortConnection()
    pair.settle()
    assert isinstance(pair.near.lost, ConnectionAborted)
    assert isinstance(pair.far.lost, ConnectionLost)
    assert pair.over


def test_the_loss_of_the_relay_is_the_reason_above():
    pair = Pair()
    pair.joined.server.abort()
    pair.settle()
    assert pair.near.lost is pair.joined.client_closed[0]
    assert pair.near.lost.cause.code == "relay_unavailable"
    pair.near.transport.write(b"dropped")
    pair.near.transport.loseConnection()
    pair.near.transport.abortConnection()
    pair.near.transport.pauseProducing()
    pair.near.transport.resumeProducing()
    pair.settle()


@pytest.mark.parametrize("paused", [False, True])
def test_a_protocols_defect_costs_that_stream_only(paused, tracebacks):
    pair = Pair()

    def broken(data):
        raise RuntimeError("a defect")

    pair.far.dataReceived = broken
    if paused:
        take = pair.far_secure._delivery.pause
        pair.far.connectionMade = take
        take()
    pair.near.transport.write(b"question")
    pair.settle()
    pair.far.transport.resumeProducing()
    pair.settle()
    assert isinstance(pair.far.lost, ConnectionAborted)
    assert isinstance(pair.near.lost, ConnectionLost)
    assert pair.joined.server.connected
    assert [str(event["log_failure"].value) for event in tracebacks] == ["a defect"]
    tracebacks.clear()


def test_stop_producing_closes():
    pair = Pair()
    pair.near.transport.stopProducing()
    pair.settle()
    assert isinstance(pair.far.lost, ConnectionDone)


# The handshake.


def test_another_identity_than_the_one_asked_for_is_refused():
    pair = Pair(lease_id=CLIENT.identity.id)
    assert pair.near.transport is None
    assert pair.failed[0].value.cause.code == "identity_mismatch"
    assert pair.over


def test_a_server_that_refuses_ends_without_an_answer():
    pair = Pair(far_now=NOW + 60)
    assert pair.far.transport is None
    codes = [
        reason.value.cause.code for reason in pair.failed if isinstance(reason.value, GatewayError)
    ]
    assert codes == ["upstream_protocol_error"]
    # The client saw nothing but a reset.
    assert [type(reason.value) for reason in pair.failed if reason.check(ConnectionLost)]
    assert not pair.near_secure.heard
    assert pair.over


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (IdentityMismatch("x"), "identity_mismatch"),
        (InvalidIdentity("x"), "identity_mismatch"),
        (BadSignature("x"), "upstream_protocol_error"),
        (StaleTimestamp("31 s"), "upstream_protocol_error"),
        (RecordCorrupt("x"), "upstream_protocol_error"),
    ],
)
def test_faults_of_the_channel_have_their_rows(error, code):
    assert channel_fault(error).cause.code == code


class Half:
    """A client's secure stream over a transport without half-close, played by the test."""

    def __init__(self):
        self.failed = []
        self.protocol = Recorder()
        self.secure = SecureStream(
            SecureChannel.client(CLIENT, LEASE.identity.id, now=NOW),
            Clock(),
            lambda stream: stream.start(self.protocol),
            self.failed.append,
        )
        self.peer = Recorder()
        self.link = connect(self.secure, self.peer)
        self.link.flush()


def test_an_end_before_any_byte_is_told_as_such():
    half = Half()
    half.peer.transport.loseConnection()
    half.link.flush()
    assert [type(reason.value) for reason in half.failed] == [ConnectionDone]
    assert not half.secure.heard
    assert not half.link.connected


def test_an_end_in_the_midst_of_the_handshake_is_the_leases_fault():
    half = Half()
    half.peer.transport.write(b"\x00\x00\x00\x80")
    half.peer.transport.loseConnection()
    half.link.flush()
    assert [reason.value.cause.code for reason in half.failed] == ["upstream_protocol_error"]
    assert half.secure.heard


def test_a_handshake_of_any_length_is_refused_from_its_length():
    half = Half()
    half.peer.transport.write(b"\x7f\xff\xff\xff")
    half.link.flush()
    assert [reason.value.cause.code for reason in half.failed] == ["upstream_protocol_error"]
    assert isinstance(half.peer.lost, ConnectionLost)


def test_a_loss_during_the_handshake_is_told_as_it_is():
    half = Half()
    reason = Failure(ConnectionLost())
    half.secure.connectionLost(reason)
    half.secure.connectionLost(reason)
    assert half.failed == [reason]


def test_over_tcp_it_is_the_same():
    near, far, failed = Recorder(), Recorder(), []
    clock = Clock()
    client = SecureStream(
        SecureChannel.client(CLIENT, LEASE.identity.id, now=NOW),
        clock,
        lambda stream: stream.start(near),
        failed.append,
    )
    server = SecureStream(
        SecureChannel.server(LEASE, alpns=["http/1.1"], clock=lambda: NOW),
        clock,
        lambda stream: stream.start(far),
        failed.append,
    )
    link = connect(client, server, chunk=5)
    link.flush()
    near.transport.write(b"question")
    link.flush()
    far.transport.write(b"answer")
    far.transport.loseConnection()
    link.flush()
    assert (far.data, near.data, failed) == (b"question", b"answer", [])
    assert isinstance(near.lost, ConnectionDone)
    assert isinstance(far.lost, ConnectionDone)
    assert near.transport.getPeer().host == LEASE.identity.id
