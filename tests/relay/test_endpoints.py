import pytest
from joined import CLIENT, LEASE, NOW, Joined, Lease, Recorder, Scripted
from twisted.internet.defer import CancelledError, succeed
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from zope.interface.verify import verifyObject

from portal_gateway.errors import GatewayError, LeaseFault, RelayFault
from portal_gateway.relay.endpoints import CONNECT_TIMEOUT, LeaseEndpoint
from portal_gateway.relay.session import RelaySession
from portal_gateway.wire.messages import (
    PacketReader,
    ResponseCode,
    connection_response,
    lease_update_response,
    read_connection_request,
)
from portal_gateway.wire.secure_channel import SecureChannel


class Dial:
    """An endpoint to LEASE, over a relay whose streams ``accept`` serves."""

    def __init__(self, accept=None, chunk=None, lease_id=LEASE.identity.id):
        self.service = Recorder()
        self.joined = Joined(accept=accept or (lambda: Lease(self.service)), chunk=chunk)
        self.session = RelaySession(
            self.joined.clock,
            "ws://relay.test:4017/relay",
            dial=lambda: succeed(self.joined.client),
        )
        self.session.start()
        # The session's pings are its own business.
        self.session._cancel(self.session._ping_call)
        self.endpoint = LeaseEndpoint(
            self.session, CLIENT, lease_id, self.joined.clock, now=lambda: NOW
        )
        self.connected = []
        self.errors = []

    def connect(self, factory=None):
        connecting = self.endpoint.connect(factory or Factory.forProtocol(Recorder))
        connecting.addCallbacks(
            self.connected.append, lambda reason: self.errors.append(reason.value)
        )
        self.joined.settle()
        if self.session._ping_call is not None:
            self.session._cancel(self.session._ping_call)
        return connecting

    @property
    def code(self):
        (error,) = self.errors
        assert isinstance(error, GatewayError)
        assert self.connected == []
        return error.cause.code

    @property
    def over(self):
        """Whether nothing is left of the attempt, and the connection is as good as new."""
        joined = self.joined
        return (
            joined.client.streams == joined.server.streams == 0
            and joined.timers == []
            and joined.client.usable
        )


@pytest.mark.parametrize("chunk", [None, 1, 100])
def test_it_connects_a_protocol_to_the_lease(chunk):
    dial = Dial(chunk=chunk)
    assert verifyObject(IStreamClientEndpoint, dial.endpoint)
    dial.connect()
    (protocol,) = dial.connected
    assert dial.joined.accepted[0].request == (LEASE.identity.id, CLIENT.identity)
    protocol.transport.write(b"question")
    dial.joined.settle()
    dial.service.transport.write(b"answer")
    dial.joined.settle()
    assert dial.service.data == b"question"
    assert protocol.data == b"answer"
    assert protocol.transport.getPeer().host == LEASE.identity.id
    protocol.transport.loseConnection()
    dial.joined.settle()
    assert dial.over


def test_streams_are_independent():
    services = []

    def accept():
        services.append(Recorder())
        return Lease(services[-1])

    dial = Dial(accept)
    for _ in range(5):
        dial.connect()
    for number, protocol in enumerate(dial.connected):
        protocol.transport.write(b"%d" % number)
    dial.joined.settle()
    assert [service.data for service in services] == [b"0", b"1", b"2", b"3", b"4"]
    dial.connected[2].transport.abortConnection()
    dial.joined.settle()
    assert [service.lost is None for service in services] == [True, True, False, True, True]


class Chatty(Lease):
    """Sends its first record in one write with its handshake."""

    def shake_hands(self):
        super().shake_hands()
        start = self.protocol.connectionMade
        self.protocol.connectionMade = lambda: (start(), self.protocol.transport.write(b"hello"))


def test_what_comes_along_with_the_handshake_is_delivered():
    service = Recorder()
    dial = Dial(lambda: Chatty(service))
    dial.connect()
    assert dial.connected[0].data == b"hello"


def test_what_comes_along_with_the_response_is_the_handshake():
    class Eager(Recorder):
        """Answers response and handshake in one write; the client's message comes too late."""

        def dataReceived(self, data):
            super().dataReceived(data)
            if len(self.received) == 1:
                self.transport.write(connection_response(ResponseCode.ACCEPTED) + b"\x7f\0\0\0")

    dial = Dial(Eager)
    dial.connect()
    assert dial.code == "upstream_protocol_error"
    assert dial.over


# What the relay does.


def test_no_connection_to_the_relay():
    dial = Dial()
    dial.joined.server.abort()
    dial.joined.settle()
    dial.session.connection = None
    dial.connect()
    assert dial.code == "relay_unavailable"
    assert isinstance(dial.errors[0], RelayFault)


@pytest.mark.parametrize(
    ("answer", "end", "code"),
    [
        (connection_response(ResponseCode.INVALID_IDENTITY), None, "lease_offline"),
        (connection_response(ResponseCode.INVALID_IDENTITY), "loseConnection", "lease_offline"),
        (connection_response(ResponseCode.REJECTED), "loseConnection", "lease_busy"),
        (connection_response(ResponseCode.UNKNOWN), None, "relay_protocol_error"),
        (connection_response(ResponseCode.INVALID_ALPN), None, "relay_protocol_error"),
        (lease_update_response(ResponseCode.ACCEPTED), None, "relay_protocol_error"),
        (b"\x00\x00\x00\x05\xff\xff\xff\xff\xff", None, "relay_protocol_error"),
        (b"\x04\x00\x00\x01", None, "relay_protocol_error"),
        (b"\xff\xff\xff\xff", None, "relay_protocol_error"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", None, "relay_protocol_error"),
        (b"\x00\x00", "loseConnection", "relay_protocol_error"),
        (b"", "loseConnection", "lease_offline"),
        (b"", "abortConnection", "relay_unavailable"),
    ],
)
def test_every_answer_but_accepted_is_a_named_failure(answer, end, code):
    dial = Dial(lambda: Scripted(answer, end))
    dial.connect()
    assert dial.code == code
    assert dial.over


def test_a_relay_that_refuses_the_stream():
    dial = Dial(lambda: None)
    dial.connect()
    assert dial.code == "relay_unavailable"
    assert dial.over


@pytest.mark.parametrize("answer", [b"", connection_response(ResponseCode.ACCEPTED)])
def test_a_relay_that_is_lost_on_the_way(answer):
    dial = Dial(lambda: Scripted(answer))
    dial.connect()
    assert dial.errors == []
    dial.joined.server.abort()
    dial.joined.settle()
    assert dial.code == "relay_unavailable"
    assert dial.errors == dial.joined.client_closed


# What the lease does.


@pytest.mark.parametrize("end", ["loseConnection", "abortConnection"])
def test_an_end_before_the_handshake_is_a_lease_that_is_away(end):
    dial = Dial(lambda: Scripted(connection_response(ResponseCode.ACCEPTED), end))
    dial.connect()
    assert dial.code == "lease_offline"
    assert isinstance(dial.errors[0], LeaseFault)
    assert dial.over


class Handshake(Scripted):
    """Accepts, then answers the client's handshake with what ``answer`` makes of the true one."""

    def __init__(self, change, end=None, credential=LEASE):
        super().__init__(connection_response(ResponseCode.ACCEPTED))
        self.reader = PacketReader(65536, once=True)
        self.channel = SecureChannel.server(credential, alpns=["http/1.1"], clock=lambda: NOW)
        self.change = change
        self.last = end

    def dataReceived(self, data):
        if not self.received:
            super().dataReceived(data)
            (packet,) = self.reader.receive_data(data)
            read_connection_request(packet)
            return
        self.received.append(data)
        self.channel.receive_data(data)
        answer = self.channel.data_to_send()
        if answer:
            self.transport.write(self.change(answer))
            if self.last is not None:
                getattr(self.transport, self.last)()


def flipped(position):
    return lambda answer: (
        answer[:position] + bytes((answer[position] ^ 1,)) + answer[position + 1 :]
    )


# Recorded from another exchange: a true server's message with a key and nonce of its own.
REPLAYED = SecureChannel.server(LEASE, alpns=["http/1.1"], clock=lambda: NOW)
REPLAYED.receive_data(SecureChannel.client(CLIENT, LEASE.identity.id, now=NOW).data_to_send())
REPLAYED_ANSWER = REPLAYED.data_to_send()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: Handshake(lambda _: b"\x00\x00\x00\x08garbage!"), "upstream_protocol_error"),
        (lambda: Handshake(lambda _: b"\x00\x00\x00\x00"), "upstream_protocol_error"),
        (lambda: Handshake(lambda _: b"\x00\x01\x00\x00"), "upstream_protocol_error"),
        (lambda: Handshake(lambda _: b"\xff\xff\xff\xff"), "upstream_protocol_error"),
        (lambda: Handshake(flipped(-1)), "upstream_protocol_error"),
        (lambda: Handshake(flipped(30)), "upstream_protocol_error"),
        (
            lambda: Handshake(lambda answer: answer[:-1], "loseConnection"),
            "upstream_protocol_error",
        ),
        (
            lambda: Handshake(lambda answer: answer[:1], "abortConnection"),
            "upstream_protocol_error",
        ),
        (lambda: Handshake(bytes, credential=CLIENT), "identity_mismatch"),
    ],
)
def test_a_lease_that_breaks_the_handshake_is_a_named_failure(make, code):
    dial = Dial(make)
    dial.connect()
    assert dial.code == code
    assert dial.over


def test_a_lease_whose_clock_is_wrong_is_a_named_failure():
    dial = Dial(lambda: Handshake(bytes))
    # 30 s to the lease, which sees whole seconds; 30.9 s to us.
    dial.endpoint._now = lambda: NOW + 30.9
    dial.connect()
    assert dial.code == "upstream_protocol_error"
    assert "clock" in dial.errors[0].detail
    assert dial.over


def test_a_replayed_handshake_gives_a_channel_that_nobody_else_can_use():
    dial = Dial(lambda: Handshake(lambda _: REPLAYED_ANSWER + b"\x00\x00\x00\x1c" + b"x" * 28))
    dial.connect()
    # The message is genuine and fresh enough, so the channel opens; whoever replays it has no
    # key to it, and the first record says so.
    (protocol,) = dial.connected
    assert protocol.data == b""
    assert protocol.lost.cause.code == "upstream_protocol_error"
    assert dial.over


def test_the_lease_that_answers_must_be_the_one_that_was_asked_for():
    dial = Dial(lease_id=CLIENT.identity.id)
    dial.connect()
    assert dial.code == "identity_mismatch"
    assert LEASE.identity.id not in str(dial.errors[0])
    assert dial.over


# Time.


@pytest.mark.parametrize(
    "accept",
    [
        Recorder,
        lambda: Scripted(b"\x00"),
        lambda: Scripted(connection_response(ResponseCode.ACCEPTED)),
        lambda: Scripted(connection_response(ResponseCode.ACCEPTED) + b"\x00\x00\x00\x40"),
    ],
)
def test_silence_is_bounded_over_all(accept):
    dial = Dial(accept)
    dial.connect()
    dial.joined.pass_time(CONNECT_TIMEOUT - 1)
    assert dial.errors == []
    dial.joined.pass_time(1)
    assert dial.code == "upstream_timeout"
    assert dial.over
    assert dial.joined.accepted[0].lost is not None


def test_dribbling_does_not_stretch_the_limit():
    dial = Dial(lambda: Scripted(connection_response(ResponseCode.ACCEPTED)))
    dial.connect()
    for _ in range(int(CONNECT_TIMEOUT)):
        dial.joined.accepted[0].transport.write(b"\x00")
        dial.joined.pass_time(1)
    assert dial.code in {"upstream_timeout", "upstream_protocol_error"}


def test_a_connection_that_is_made_has_no_limit():
    dial = Dial()
    dial.connect()
    dial.joined.pass_time(CONNECT_TIMEOUT * 10)
    assert dial.connected[0].lost is None
    assert dial.joined.timers == []


@pytest.mark.parametrize(
    "accept", [Recorder, lambda: Scripted(connection_response(ResponseCode.ACCEPTED))]
)
def test_cancelling_resets_the_stream(accept):
    dial = Dial(accept)
    connecting = dial.connect()
    connecting.cancel()
    dial.joined.settle()
    assert [type(error) for error in dial.errors] == [CancelledError]
    assert dial.joined.accepted[0].lost is not None
    assert dial.over


# The factory.


def test_a_factory_that_builds_nothing_gets_no_connection():
    class Nothing(Factory):
        def buildProtocol(self, addr):
            return None

    dial = Dial()
    dial.connect(Nothing())
    assert [type(error) for error in dial.errors] == [NoProtocol]
    assert dial.over


def test_a_factory_that_fails_tells_whoever_called():
    class Fails(Factory):
        def buildProtocol(self, addr):
            raise RuntimeError("a defect")

    dial = Dial()
    dial.connect(Fails())
    assert [str(error) for error in dial.errors] == ["a defect"]
    assert dial.over


def test_the_callback_comes_after_the_protocol_is_connected():
    order = []

    class Protocol(Recorder):
        def connectionMade(self):
            order.append("connectionMade")

    dial = Dial()
    connecting = dial.endpoint.connect(Factory.forProtocol(Protocol))
    connecting.addCallback(lambda _: order.append("callback"))
    dial.joined.settle()
    assert order == ["connectionMade", "callback"]


def test_repr_names_the_lease_and_the_relay():
    assert repr(Dial().endpoint) == f"<LeaseEndpoint {LEASE.identity.id} at relay.test:4017>"
