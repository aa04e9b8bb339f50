import pytest

from portal_gateway.relay.lease_server import ACCEPT_TIMEOUT, LeaseServer
from portal_gateway.relay.serving import (
    FIRST_RETRY,
    LEASE_LIFETIME,
    MAX_RETRY,
    RENEW_INTERVAL,
    LeaseState,
)
from portal_gateway.wire.identity import Identity
from portal_gateway.wire.messages import (
    PacketReader,
    PacketType,
    ResponseCode,
    connection_request,
    connection_response,
    read_response_code,
    relay_info_request,
)
from portal_gateway.wire.secure_channel import SecureChannel
from tests.relay.relayed import Echo, Recorder, World, credential, outcome

A = credential(1).identity
CLIENT = credential(99).identity


def listed(world):
    return [record.name for record in world.relay.leases.living(world.reactor.seconds())]


# Keeping a lease published.


def test_it_registers_at_once_and_renews_until_it_is_stopped():
    world = World()
    lease = world.publish()
    assert lease.state is LeaseState.PUBLISHED
    (record,) = world.relay.leases.living(world.reactor.seconds())
    assert (record.identity, record.name, record.alpn) == (A, "agent", ("http/1.1",))
    assert record.expires == int(world.reactor.seconds()) + LEASE_LIFETIME
    world.reactor.advance(RENEW_INTERVAL)
    (record,) = world.relay.leases.living(world.reactor.seconds())
    assert record.expires == int(world.reactor.seconds()) + LEASE_LIFETIME
    world.reactor.advance(10 * LEASE_LIFETIME)
    assert listed(world) == ["agent"]
    stopped = outcome(lease.stop())
    world.reactor.settle()
    assert stopped == [None]
    assert listed(world) == []
    world.reactor.advance(60)
    assert listed(world) == []
    assert world.changes == [("agent", "waiting"), ("agent", "published"), ("agent", "stopped")]


def test_it_is_published_again_after_the_relay_was_away():
    world = World()
    lease = world.publish()
    port = world.stop_relay()
    assert lease.state is LeaseState.WAITING
    world.reactor.advance(20)
    world.relay = world.new_relay(port)
    world.reactor.advance(40)
    assert lease.state is LeaseState.PUBLISHED
    assert listed(world) == ["agent"]
    assert [state for _, state in world.changes] == [
        "waiting",
        "published",
        "waiting",
        "published",
    ]


def test_it_waits_for_the_first_connection():
    world = World()
    session = world.session()
    port = world.stop_relay()
    lease = world.publish(session=session)
    assert lease.state is LeaseState.WAITING
    stopped = outcome(lease.stop())
    assert stopped == [None]
    lease.start()
    world.relay = world.new_relay(port)
    world.reactor.advance(60)
    assert lease.state is LeaseState.PUBLISHED


def test_a_name_that_is_taken_is_reported_once_and_tried_again_ever_more_slowly():
    world = World()
    first = world.publish(1)
    world.changes.clear()
    second = world.publish(2)
    assert second.state is LeaseState.REFUSED
    assert second.refusal is ResponseCode.REJECTED
    tries = []
    update = world.relay.leases.update

    def counting(record, session, now):
        if record.identity == credential(2).identity:
            tries.append(now - started)
        return update(record, session, now)

    world.relay.leases.update = counting
    started = world.reactor.seconds()
    world.reactor.advance(130)
    assert tries[:5] == [FIRST_RETRY, 3, 7, 15, 31]
    assert tries[5:] == [31 + MAX_RETRY * n for n in range(1, 4)]
    assert world.changes == [("agent", "waiting"), ("agent", "refused")]
    first.stop()
    world.reactor.advance(MAX_RETRY)
    assert second.state is LeaseState.PUBLISHED
    assert second.refusal is None


def test_a_relay_that_does_not_answer_is_asked_again_and_the_lease_counts_as_lost_in_time():
    world = World()
    lease = world.publish()
    world.reactor.advance(RENEW_INTERVAL - 1)
    # The relay answers pings, but no packets.
    for connection in world.relay.clients:
        connection.on_stream = lambda _stream: Recorder()
    world.reactor.advance(1 + 10 + 1 + 8)
    assert lease.state is LeaseState.PUBLISHED
    world.reactor.advance(30)
    assert lease.state is LeaseState.WAITING


def test_stopping_waits_for_an_answer_but_not_for_ever():
    world = World()
    lease = world.publish()
    for connection in world.relay.clients:
        connection.on_stream = lambda _stream: Recorder()
    stopped = outcome(lease.stop())
    world.reactor.advance(9)
    assert stopped == []
    world.reactor.advance(1)
    assert stopped == [None]


def test_stopping_while_the_registration_is_under_way_deletes_it_as_well():
    world = World()
    session = world.session()
    lease = world.publish(session=session)
    lease.stop()
    world.reactor.settle()
    lease.start()
    stopped = outcome(lease.stop())
    world.reactor.settle()
    assert stopped == [None]
    assert listed(world) == []


def test_starting_and_stopping_twice_does_nothing_more():
    world = World()
    lease = world.publish()
    lease.start()
    world.reactor.settle()
    assert listed(world) == ["agent"]
    lease.stop()
    assert outcome(lease.stop()) == [None]


def test_several_leases_share_a_session():
    world = World()
    session = world.session()
    leases = [world.publish(number, f"agent {number}", session=session) for number in (1, 2, 3)]
    assert listed(world) == ["agent 1", "agent 2", "agent 3"]
    clients = [world.dial(lease.id) for lease in leases]
    for number, client in enumerate(clients):
        client.transport.write(b"%d" % number)
    world.reactor.settle()
    assert [bytes(client.received) for client in clients] == [b"0", b"1", b"2"]
    leases[1].stop()
    world.reactor.settle()
    assert world.dial(leases[1].id) == "lease_offline"
    assert isinstance(world.dial(leases[2].id), Recorder)


def test_one_identity_is_served_once_per_session():
    world = World()
    session = world.session()
    world.publish(1, session=session)
    with pytest.raises(ValueError, match="served already"):
        world.publish(1, "other", session=session)


# Taking streams.


@pytest.mark.parametrize("chunk", [None, 1, 7])
def test_a_client_reaches_the_lease_and_each_knows_the_other(chunk):
    world = World(chunk)
    lease = world.publish()
    client = world.dial(lease.id)
    assert client.transport.getPeer().host == lease.id
    client.transport.write(b"hello")
    world.reactor.settle()
    assert client.received == b"hello"
    (address,) = world.factory.addresses
    assert address.host == CLIENT.id
    client.transport.loseConnection()
    world.reactor.settle()
    assert world.relay.open_streams == {}


def test_open_streams_go_on_when_the_lease_is_stopped():
    world = World()
    lease = world.publish()
    client = world.dial(lease.id)
    lease.stop()
    world.reactor.settle()
    client.transport.write(b"still here")
    world.reactor.settle()
    assert client.received == b"still here"


def test_a_protocol_that_is_not_offered_ends_the_stream():
    world = World()
    lease = world.publish(alpns=("h2",))
    assert world.dial(lease.id) == "lease_offline"
    assert isinstance(world.dial(lease.id, alpn="h2"), Recorder)


def test_a_factory_that_builds_nothing_resets_the_stream():
    class Nothing:
        def buildProtocol(self, addr):
            return None

    world = World()
    lease = world.publish(kind=Nothing())
    client = world.dial(lease.id)
    assert client.lost is not None


class RawRelay:
    """The relay's end of a publisher's connection, speaking to it as a test wants."""

    def __init__(self):
        self.world = World()
        self.lease = self.world.publish()
        (self.connection,) = self.world.relay.clients

    def open(self, data=b""):
        stream = Recorder()
        self.connection.open_stream(stream)
        stream.transport.write(data)
        self.world.reactor.settle()
        return stream


def answered(stream):
    (packet,) = PacketReader(1000).receive_data(bytes(stream.received))
    return read_response_code(packet, PacketType.CONNECTION_RESPONSE)


def test_a_request_for_another_lease_is_rejected():
    raw = RawRelay()
    stream = raw.open(connection_request(credential(2).identity.id, CLIENT))
    assert answered(stream) is ResponseCode.REJECTED
    assert stream.lost is not None


def test_a_request_above_the_bound_of_streams_is_rejected():
    raw = RawRelay()
    LeaseServer.of(raw.lease._session, raw.world.reactor).max_streams = 2
    streams = [raw.open(connection_request(A.id, CLIENT)) for _ in range(3)]
    assert [answered(stream) for stream in streams] == [
        ResponseCode.ACCEPTED,
        ResponseCode.ACCEPTED,
        ResponseCode.REJECTED,
    ]
    streams[0].transport.abortConnection()
    raw.world.reactor.settle()
    assert answered(raw.open(connection_request(A.id, CLIENT))) is ResponseCode.ACCEPTED


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x03\xff\xff\xff",
        relay_info_request(),
        connection_response(ResponseCode.ACCEPTED),
        connection_request(A.id, Identity("nobody", b"x" * 32)),
        connection_request(A.id, CLIENT) + b"\x00\x00\x00\x02\xff\xff",
        connection_request(A.id, CLIENT) + b"\xff\xff\xff\xff",
    ],
)
def test_what_cannot_be_read_ends_the_stream_and_nothing_else(data):
    raw = RawRelay()
    stream = raw.open(data)
    assert stream.lost is not None
    assert isinstance(raw.world.dial(A.id), Recorder)
    assert raw.lease.state is LeaseState.PUBLISHED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        connection_request(A.id, CLIENT)[:-1],
        connection_request(A.id, CLIENT),
        connection_request(A.id, CLIENT) + b"\x00\x00\x00\xff",
    ],
)
def test_a_stream_that_is_not_set_up_in_time_is_reset(data):
    raw = RawRelay()
    stream = raw.open(data)
    raw.world.reactor.advance(ACCEPT_TIMEOUT - 0.1)
    assert stream.lost is None
    raw.world.reactor.advance(0.1)
    assert stream.lost is not None
    assert raw.world.factory.built == []


def test_a_stream_that_ends_before_its_request_leaves_no_timer():
    raw = RawRelay()
    before = len(raw.world.reactor.getDelayedCalls())
    stream = raw.open(b"\x00")
    stream.transport.abortConnection()
    raw.world.reactor.settle()
    assert len(raw.world.reactor.getDelayedCalls()) == before


def test_a_handshake_in_one_piece_with_the_request_is_taken():
    raw = RawRelay()
    channel = SecureChannel.client(credential(99), A.id, now=raw.world.reactor.seconds())
    stream = raw.open(connection_request(A.id, CLIENT) + channel.data_to_send())
    reader = PacketReader(1000, once=True)
    reader.receive_data(bytes(stream.received))
    channel.receive_data(reader.trailing_data)
    assert channel.established
    raw.world.reactor.advance(2 * ACCEPT_TIMEOUT)
    assert stream.lost is None


def test_a_replayed_request_with_another_clock_is_refused():
    raw = RawRelay()
    channel = SecureChannel.client(credential(99), A.id, now=raw.world.reactor.seconds() - 31)
    stream = raw.open(connection_request(A.id, CLIENT) + channel.data_to_send())
    assert answered(stream) is ResponseCode.ACCEPTED
    assert stream.lost is not None
    assert raw.world.factory.built == []


def test_what_is_not_read_from_a_stream_stops_the_sender():
    world = World()
    lease = world.publish(kind=Recorder)
    client = world.dial(lease.id)
    (server,) = world.factory.built
    server.transport.pauseProducing()

    class Producer:
        sent = 0
        paused = False

        def resumeProducing(self):
            self.paused = False
            while not self.paused:
                self.sent += 65536
                client.transport.write(bytes(65536))

        def pauseProducing(self):
            self.paused = True

        def stopProducing(self):
            self.paused = True

    producer = Producer()
    client.transport.registerProducer(producer, streaming=True)
    producer.resumeProducing()
    world.reactor.settle()
    held = producer.sent
    # Both hops' windows and buffers, and no more however long it waits.
    assert held < 40 * 1024 * 1024
    world.reactor.advance(5)
    assert producer.sent == held
    producer.resumeProducing = lambda: None
    server.transport.resumeProducing()
    world.reactor.settle()
    assert len(server.received) == held


def test_the_echo_of_a_megabyte_arrives_whole():
    world = World()
    lease = world.publish(kind=Echo)
    client = world.dial(lease.id)
    data = bytes(range(256)) * 4096
    client.transport.write(data)
    world.reactor.settle()
    assert client.received == data
