import pytest
from joined import CLIENT, LEASE, NOW, Joined, Recorder, Scripted
from twisted.internet.defer import CancelledError

from portal_gateway.errors import GatewayError
from portal_gateway.relay.conversations import (
    ANSWER_TIMEOUT,
    ask_relay_info,
    delete_lease,
    update_lease,
)
from portal_gateway.wire.errors import (
    MalformedPacket,
    PacketTooLarge,
    PacketTruncated,
    UnexpectedPacket,
    WireError,
)
from portal_gateway.wire.messages import (
    LeaseRecord,
    ListedLease,
    PacketReader,
    RelayInfo,
    ResponseCode,
    lease_delete_response,
    lease_update_response,
    read_lease_delete,
    read_lease_update,
    relay_info_request,
    relay_info_response,
)

RECORD = LeaseRecord(LEASE.identity, int(NOW) + 30, "name", ("http/1.1",))
LISTED = LeaseRecord(LEASE.identity, int(NOW) + 30, "名前", ("http/1.1",))
INFO = RelayInfo(
    identity=CLIENT.identity,
    addresses=("ws://relay.test/relay",),
    leases=(ListedLease.of(LISTED),),
)


class Talk:
    """A client's connection, and a relay that answers every stream in one way."""

    def __init__(self, answer=b"", end=None, **options):
        self.joined = Joined(accept=lambda: Scripted(answer, end), **options)
        self.answers = []
        self.errors = []

    def run(self, ask):
        asked = ask(self.joined.client, self.joined.clock)
        asked.addCallbacks(self.answers.append, lambda reason: self.errors.append(reason.value))
        self.joined.settle()
        return asked

    @property
    def question(self):
        return self.joined.accepted[0].data

    @property
    def over(self):
        joined = self.joined
        return joined.client.streams == joined.server.streams == 0 and joined.timers == []


def renew(connection, clock):
    return update_lease(connection, clock, LEASE, RECORD, now=lambda: NOW)


def withdraw(connection, clock):
    return delete_lease(connection, clock, LEASE, now=lambda: NOW)


@pytest.mark.parametrize("chunk", [None, 1])
def test_the_relays_list_is_asked_for(chunk):
    talk = Talk(relay_info_response(INFO), chunk=chunk)
    talk.run(ask_relay_info)
    assert talk.question == relay_info_request()
    (info,) = talk.answers
    assert info.identity == INFO.identity
    assert info.leases == INFO.leases
    assert talk.over


def test_a_lease_is_registered_and_renewed():
    talk = Talk(lease_update_response(ResponseCode.ACCEPTED))
    talk.run(renew)
    (packet,) = PacketReader(65536).receive_data(talk.question)
    assert read_lease_update(packet, NOW).name == "name"
    assert talk.answers == [ResponseCode.ACCEPTED]
    assert talk.over


def test_a_refusal_is_an_answer():
    talk = Talk(lease_update_response(ResponseCode.REJECTED))
    talk.run(renew)
    assert talk.answers == [ResponseCode.REJECTED]
    assert talk.over


def test_a_lease_is_deleted():
    talk = Talk(lease_delete_response(ResponseCode.ACCEPTED), end="loseConnection")
    talk.run(withdraw)
    (packet,) = PacketReader(65536).receive_data(talk.question)
    assert read_lease_delete(packet, NOW) == LEASE.identity
    assert talk.answers == [ResponseCode.ACCEPTED]
    assert talk.over


def test_what_follows_the_answer_is_dropped():
    talk = Talk(lease_update_response(ResponseCode.ACCEPTED) + b"\xff" * 500_000)
    talk.run(renew)
    assert talk.answers == [ResponseCode.ACCEPTED]
    talk.joined.pass_time(ANSWER_TIMEOUT)
    assert talk.over


def code_of(error):
    assert isinstance(error, GatewayError)
    return error.cause.code


WHOLE = lease_update_response(ResponseCode.ACCEPTED)


@pytest.mark.parametrize(
    ("answer", "end", "code", "cause"),
    [
        (b"", "loseConnection", "relay_protocol_error", type(None)),
        (b"", "abortConnection", "relay_unavailable", type(None)),
        (WHOLE[:3], "loseConnection", "relay_protocol_error", PacketTruncated),
        (WHOLE[:-1], "loseConnection", "relay_protocol_error", PacketTruncated),
        (b"\x00\x00\x00\x05\xff\xff\xff\xff\xff", None, "relay_protocol_error", MalformedPacket),
        (b"\x7f\xff\xff\xff", None, "relay_protocol_error", PacketTooLarge),
        (b"\xff\xff\xff\xff", None, "relay_protocol_error", PacketTooLarge),
        (relay_info_response(INFO), None, "relay_protocol_error", UnexpectedPacket),
        (lease_delete_response(ResponseCode.ACCEPTED), None, "relay_protocol_error", WireError),
    ],
)
def test_a_relay_that_breaks_the_protocol_is_a_named_error(answer, end, code, cause):
    talk = Talk(answer, end)
    talk.run(renew)
    (error,) = talk.errors
    assert code_of(error) == code
    assert isinstance(error.__cause__, cause)
    assert talk.over
    assert talk.joined.client.usable


@pytest.mark.parametrize("ask", [ask_relay_info, renew, withdraw])
def test_silence_is_bounded(ask):
    talk = Talk()
    talk.run(ask)
    talk.joined.pass_time(ANSWER_TIMEOUT - 1)
    assert talk.errors == []
    talk.joined.pass_time(1)
    assert [code_of(error) for error in talk.errors] == ["relay_unavailable"]
    assert talk.over


def test_dribbling_does_not_stretch_the_limit():
    talk = Talk()
    talk.joined.accept = Recorder
    talk.run(ask_relay_info)
    answer = relay_info_response(INFO)
    for byte in answer[:15]:
        talk.joined.accepted[0].transport.write(bytes((byte,)))
        talk.joined.pass_time(1)
    assert [code_of(error) for error in talk.errors] == ["relay_unavailable"]


def test_a_refused_stream_and_a_lost_connection():
    talk = Talk()
    talk.joined.accept = None
    talk.run(ask_relay_info)
    assert [code_of(error) for error in talk.errors] == ["relay_unavailable"]
    talk = Talk()
    talk.run(ask_relay_info)
    talk.joined.server.abort()
    talk.joined.settle()
    assert talk.errors == talk.joined.client_closed
    talk.run(ask_relay_info)
    assert talk.errors[1] is talk.errors[0]
    assert talk.joined.timers == []


def test_a_question_may_be_cancelled():
    talk = Talk()
    asked = talk.run(ask_relay_info)
    asked.cancel()
    talk.joined.settle()
    assert [type(error) for error in talk.errors] == [CancelledError]
    assert talk.over
