import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost

from portal_gateway.relay.conversations import ask_relay_info, delete_lease, update_lease
from portal_gateway.relay.directory import Directory
from portal_gateway.testing.relay import KEEPALIVE_INTERVAL, EmbeddedRelay
from portal_gateway.testing.relay_conversation import APP_TIMEOUT
from portal_gateway.wire.identity import Identity
from portal_gateway.wire.limits import MAX_CONTROL_PACKET, MAX_RELAY_INFO_PACKET
from portal_gateway.wire.messages import (
    LeaseRecord,
    PacketReader,
    PacketType,
    ResponseCode,
    connection_request,
    connection_response,
    lease_delete_request,
    lease_update_request,
    lease_update_response,
    read_connection_request,
    read_relay_info,
    read_response_code,
    relay_info_request,
    relay_info_response,
)
from tests.relay.relayed import Echo, HalfRecorder, Recorder, World, credential, outcome

A, B, CLIENT = (credential(number) for number in (1, 2, 99))
ACCEPTED, REJECTED = ResponseCode.ACCEPTED, ResponseCode.REJECTED
INVALID_IDENTITY = ResponseCode.INVALID_IDENTITY
NONCE = bytes(12)


class Client:
    """A connection to a relay that says what a test wants, and whose streams are remembered."""

    def __init__(self, world):
        self.world = world
        self.connection = world.session().connection
        self.opened = []

    def take_streams(self, kind=Recorder):
        """Be an app: take whatever stream the relay opens."""

        def take(_stream):
            self.opened.append(kind())
            return self.opened[-1]

        self.connection.on_stream = take
        return self

    def open(self, data=b"", kind=Recorder):
        stream = kind()
        self.connection.open_stream(stream)
        stream.transport.write(data)
        self.world.reactor.settle()
        return stream

    def update(self, who=A, name="agent", **record):
        now = int(self.world.reactor.seconds())
        record = {"expires": now + 30, "alpn": ("http/1.1",), **record}
        return self.settled(
            update_lease(
                self.connection,
                self.world.reactor,
                who,
                LeaseRecord(who.identity, name=name, **record),
                now=self.world.reactor.seconds,
            )
        )

    def delete(self, who=A):
        return self.settled(
            delete_lease(self.connection, self.world.reactor, who, now=self.world.reactor.seconds)
        )

    def info(self):
        return self.settled(ask_relay_info(self.connection, self.world.reactor))

    def settled(self, deferred):
        result = outcome(deferred)
        self.world.reactor.settle()
        return result[0] if result else None

    def close(self):
        self.connection.close()
        self.world.reactor.advance(2)


def packets(stream):
    return PacketReader(MAX_RELAY_INFO_PACKET).receive_data(bytes(stream.received))


def codes(stream, expected=PacketType.CONNECTION_RESPONSE):
    return [read_response_code(packet, expected) for packet in packets(stream)]


def request(who=A, client=CLIENT):
    return connection_request(who.identity.id, client.identity)


# The list.


def test_it_says_who_it_is_and_where():
    relay = EmbeddedRelay(World().reactor, credential=A)
    with pytest.raises(RuntimeError):
        _ = relay.url
    world = World(credential=A)
    info = Client(world).info()
    assert info.identity == A.identity
    assert info.addresses == (world.relay.url,)
    assert info.leases == ()


def test_it_lists_every_living_lease():
    world = World()
    client = Client(world)
    assert client.update(A, "agent", metadata='{"tags": ["x"]}') is ACCEPTED
    assert client.update(B, "서비스", alpn=("http/1.1", "h2")) is ACCEPTED
    first, second = client.info().leases
    expires = int(world.reactor.seconds()) + 30
    assert (first.id, first.name, first.expires) == (A.identity.id, "agent", expires)
    assert (first.metadata, first.public_key) == ('{"tags": ["x"]}', A.identity.public_key)
    assert (second.id, second.name, second.alpn) == (B.identity.id, "서비스", ("http/1.1", "h2"))
    world.reactor.advance(20)
    client.update(B, "서비스")
    world.reactor.advance(11)
    assert [lease.name for lease in client.info().leases] == ["서비스"]
    world.reactor.advance(30)
    assert client.info().leases == ()


def test_a_legacy_list_has_ids_only():
    world = World(legacy_directory=True)
    client = Client(world)
    client.update(A)
    (lease,) = client.info().leases
    assert (lease.id, lease.name, lease.public_key) == (A.identity.id, "", b"")


def test_a_directory_reads_it():
    world = World()
    client = Client(world)
    client.update(A, "에이전트")
    client.update(B, "DEAD")
    directory = Directory(lambda: ask_relay_info(client.connection, world.reactor), world.reactor)
    directory.start()
    world.reactor.settle()
    assert directory.find("에이전트").id == A.identity.id
    assert directory.find("dead").id == B.identity.id
    directory.stop()


# Registering.


@pytest.mark.parametrize(
    ("who", "name", "code"),
    [
        (B, "agent", REJECTED),
        (A, "agent", ACCEPTED),
        (B, "Agent", ACCEPTED),
        (B, "", ACCEPTED),
        (B, "a/b c.d", ACCEPTED),
        (B, "x" * 300, ACCEPTED),
    ],
)
def test_names_are_free_unless_another_has_them(who, name, code):
    world = World()
    assert Client(world).update(A, "agent") is ACCEPTED
    assert Client(world).update(who, name) is code


def test_an_expiry_in_the_past_is_rejected():
    world = World()
    now = int(world.reactor.seconds())
    assert Client(world).update(expires=now - 1) is REJECTED
    assert Client(world).info().leases == ()


def test_a_stale_timestamp_is_accepted():
    world = World()
    record = LeaseRecord(A.identity, int(world.reactor.seconds()) + 30, "agent", ())
    stream = Client(world).open(lease_update_request(A, record, 0, NONCE))
    assert codes(stream, PacketType.LEASE_UPDATE_RESPONSE) == [ACCEPTED]


@pytest.mark.parametrize("kind", ["signature", "identity"])
def test_somebody_elses_signature_or_identity_is_refused(kind):
    world = World()
    identity = A.identity if kind == "signature" else Identity(A.identity.id, b"x" * 32)
    record = LeaseRecord(identity, int(world.reactor.seconds()) + 30, "agent", ())
    client = Client(world)
    stream = client.open(lease_update_request(B, record, 0, NONCE))
    assert codes(stream, PacketType.LEASE_UPDATE_RESPONSE) == [INVALID_IDENTITY]
    assert client.info().leases == ()


def test_deleting():
    world = World()
    client = Client(world)
    client.update(A)
    assert client.delete(B) is INVALID_IDENTITY
    assert client.delete(A) is ACCEPTED
    assert client.delete(A) is INVALID_IDENTITY
    assert client.info().leases == ()
    genuine = lease_delete_request(A, 0, NONCE)
    client.update(A)
    forged = bytearray(genuine)
    forged[-1] ^= 1
    stream = client.open(bytes(forged))
    assert codes(stream, PacketType.LEASE_DELETE_RESPONSE) == [INVALID_IDENTITY]
    assert len(client.info().leases) == 1


@pytest.mark.parametrize("how", ["close", "abort", "cut"])
def test_leases_go_with_their_session(how):
    world = World()
    app, other = Client(world), Client(world)
    app.update(A)
    other.update(B, "other")
    if how == "cut":
        world.reactor.links[0].client.abortConnection()
    else:
        getattr(app.connection, how)()
    world.reactor.settle()
    assert [lease.name for lease in other.info().leases] == ["other"]
    assert codes(other.open(request())) == [INVALID_IDENTITY]


def test_a_lease_moves_to_the_session_that_renews_it():
    world = World()
    old, new = Client(world), Client(world).take_streams()
    old.update(A)
    new.update(A)
    old.close()
    assert [lease.name for lease in new.info().leases] == ["agent"]
    Client(world).open(request())
    assert len(new.opened) == 1


# Packets.


def test_one_stream_may_hold_many_conversations():
    world = World()
    client = Client(world)
    record = LeaseRecord(A.identity, int(world.reactor.seconds()) + 30, "agent", ())
    stream = client.open(
        relay_info_request()
        + lease_update_request(A, record, 0, NONCE)
        + relay_info_request()
        + lease_delete_request(A, 0, NONCE)
        + request()
        + relay_info_request()
    )
    assert [packet.type for packet in packets(stream)] == [
        PacketType.RELAY_INFO_RESPONSE,
        PacketType.LEASE_UPDATE_RESPONSE,
        PacketType.RELAY_INFO_RESPONSE,
        PacketType.LEASE_DELETE_RESPONSE,
        PacketType.CONNECTION_RESPONSE,
        PacketType.RELAY_INFO_RESPONSE,
    ]
    assert [len(read_relay_info(packets(stream)[n]).leases) for n in (0, 2, 5)] == [0, 1, 0]
    stream.transport.loseConnection()
    world.reactor.settle()
    assert stream.lost is ConnectionDone


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        (MAX_CONTROL_PACKET + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x03\xff\xff\xff",
        lease_update_response(ACCEPTED),
        connection_response(ACCEPTED),
        relay_info_response(
            read_relay_info(PacketReader(99).receive_data(b"\x00\x00\x00\x04\x08\x01\x12\x00")[0])
        ),
    ],
)
def test_what_cannot_be_read_ends_the_stream_and_nothing_else(data):
    world = World()
    client = Client(world)
    stream = client.open(relay_info_request() + data)
    assert stream.lost is ConnectionDone
    assert len(packets(stream)) == 1
    assert client.info().leases == ()


@pytest.mark.parametrize("chunk", [1, 5])
def test_packets_may_come_in_any_pieces(chunk):
    world = World(chunk)
    client = Client(world)
    assert client.update(A) is ACCEPTED
    assert len(client.info().leases) == 1


def test_a_client_that_does_not_take_its_answers_is_not_read():
    world = World()
    client = Client(world)
    for number in range(3, 60):
        client.update(credential(number), f"{number}" * 100, metadata="x" * 4000)
    answers = []
    info = world.relay.info

    def counting():
        answers.append(info())
        return answers[-1]

    world.relay.info = counting
    stream = client.open()
    stream.transport.pauseProducing()
    stream.transport.write(relay_info_request() * 100)
    world.reactor.settle()
    # Of 24 MB of answers, those exist that fill the client's window and one buffer.
    assert 100 * len(answers[0]) > 20_000_000
    assert sum(map(len, answers)) < 262_144 + 65_536 + 2 * len(answers[0])
    stream.transport.resumeProducing()
    world.reactor.settle()
    assert len(packets(stream)) == 100


# Connecting.


def test_who_is_not_here_is_not_reached():
    world = World()
    client = Client(world)
    client.update(A)
    for lease_id in ("", "agent", A.identity.id.lower(), B.identity.id, "x" * 1000):
        stream = client.open(connection_request(lease_id, CLIENT.identity))
        assert codes(stream) == [INVALID_IDENTITY]
        assert stream.lost is None
    forged = connection_request(A.identity.id, Identity("nobody", b"x" * 32))
    assert codes(client.open(forged)) == [INVALID_IDENTITY]


def test_the_app_gets_the_same_request_and_its_answer_is_passed_on():
    world = World()
    app = Client(world).take_streams()
    app.update(A)
    for code in ResponseCode:
        stream = Client(world).open(request())
        assert codes(stream) == []
        asked = app.opened[-1]
        (packet,) = packets(asked)
        assert read_connection_request(packet) == (A.identity.id, CLIENT.identity)
        asked.transport.write(connection_response(code))
        world.reactor.settle()
        assert codes(stream) == [code]
        assert (asked.lost is None) == (code is ACCEPTED)
        assert stream.lost is None
    assert world.relay.open_streams == {A.identity.id: 1}


@pytest.mark.parametrize("chunk", [None, 1, 9])
def test_an_accepted_stream_is_copied_both_ways_from_the_first_byte(chunk):
    world = World(chunk)
    app = Client(world).take_streams(HalfRecorder)
    app.update(A)
    client = Client(world).open(request() + b"first of the client, ", HalfRecorder)
    (server,) = app.opened
    asked = len(server.received)
    server.transport.write(connection_response(ACCEPTED) + b"first of the app, ")
    world.reactor.settle()
    client.transport.write(b"second")
    server.transport.write(b"second")
    world.reactor.settle()
    assert server.received[asked:] == b"first of the client, second"
    assert client.received == connection_response(ACCEPTED) + b"first of the app, second"
    client.transport.loseWriteConnection()
    world.reactor.settle()
    assert "read" in server.halves
    server.transport.write(b", third")
    server.transport.loseConnection()
    world.reactor.settle()
    assert client.received.endswith(b", third")
    assert client.lost is server.lost is ConnectionDone
    assert world.relay.open_streams == {}


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_is_passed_on(who):
    world = World()
    app = Client(world).take_streams()
    app.update(A)
    streams = {"client": Client(world).open(request()), "server": app.opened[0]}
    streams["server"].transport.write(connection_response(ACCEPTED))
    world.reactor.settle()
    streams.pop(who).transport.abortConnection()
    world.reactor.settle()
    (other,) = streams.values()
    assert other.lost is ConnectionLost
    assert world.relay.open_streams == {}


@pytest.mark.parametrize("who", ["client", "app"])
def test_a_lost_session_ends_the_streams_at_the_other_end(who):
    world = World()
    app = Client(world).take_streams()
    app.update(A)
    client = Client(world)
    stream = client.open(request())
    app.opened[0].transport.write(connection_response(ACCEPTED))
    world.reactor.settle()
    (client if who == "client" else app).connection.abort()
    world.reactor.settle()
    assert (app.opened[0] if who == "client" else stream).lost is ConnectionLost
    assert world.relay.open_streams == {}


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x02\xff\xff",
        relay_info_request(),
        lease_update_response(ACCEPTED),
    ],
)
def test_an_app_that_answers_nonsense_has_refused(answer):
    world = World()
    app = Client(world).take_streams()
    app.update(A)
    stream = Client(world).open(request())
    app.opened[0].transport.write(answer)
    world.reactor.settle()
    assert codes(stream) == [REJECTED]
    assert app.opened[0].lost is not None
    assert world.relay.open_streams == {}


@pytest.mark.parametrize("how", ["abortConnection", "loseConnection"])
def test_an_app_that_ends_the_stream_has_refused(how):
    world = World()
    app = Client(world).take_streams()
    app.update(A)
    stream = Client(world).open(request())
    getattr(app.opened[0].transport, how)()
    world.reactor.settle()
    assert codes(stream) == [REJECTED]


def test_an_app_that_takes_no_streams_has_refused():
    world = World()
    Client(world).update(A)  # refuses every stream with a reset
    assert codes(Client(world).open(request())) == [REJECTED]


def test_an_app_that_does_not_answer_has_refused_after_a_while():
    world = World()
    app = Client(world).take_streams()
    app.update(A)
    stream = Client(world).open(request())
    world.reactor.advance(APP_TIMEOUT - 0.1)
    assert codes(stream) == []
    world.reactor.advance(0.1)
    assert codes(stream) == [REJECTED]
    assert app.opened[0].lost is not None
    assert world.relay.open_streams == {}


def test_a_client_that_leaves_while_the_app_is_asked_leaves_nothing():
    world = World()
    app = Client(world).take_streams()
    app.update(A)
    client = Client(world)
    stream = client.open(request())
    stream.transport.abortConnection()
    world.reactor.settle()
    assert app.opened[0].lost is ConnectionLost
    assert world.relay.open_streams == {}
    client.open(request())
    client.connection.abort()
    world.reactor.settle()
    assert app.opened[1].lost is ConnectionLost
    assert world.relay.open_streams == {}


def test_other_streams_of_a_client_go_on_while_an_app_is_asked():
    world = World()
    app = Client(world).take_streams()
    app.update(A)
    client = Client(world)
    client.open(request())
    assert len(client.info().leases) == 1


def test_what_follows_a_refused_request_is_read_after_the_answer():
    world = World()
    app = Client(world).take_streams()
    app.update(A)
    stream = Client(world).open(request() + relay_info_request())
    assert packets(stream) == []
    app.opened[0].transport.write(connection_response(REJECTED))
    world.reactor.settle()
    assert [packet.type for packet in packets(stream)] == [
        PacketType.CONNECTION_RESPONSE,
        PacketType.RELAY_INFO_RESPONSE,
    ]


def test_a_limit_on_streams_per_lease_holds_until_one_closes():
    world = World(max_connections_per_lease=2)
    first, second = world.publish(1, "one"), world.publish(2, "two")
    session = world.session()
    clients = [world.dial(first.id, session=session) for _ in range(3)]
    assert clients[2] == "lease_busy"
    assert isinstance(world.dial(second.id, session=session), Recorder)
    clients[0].transport.loseConnection()
    world.reactor.settle()
    assert isinstance(world.dial(first.id, session=session), Recorder)
    assert world.dial(first.id, session=session) == "lease_busy"


# Back-pressure, from end to end.


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_reader_that_stops_stops_the_sender_across_the_relay(direction):
    world = World()
    app = Client(world).take_streams()
    app.update(A)
    client = Client(world).open(request())
    server = app.opened[0]
    server.transport.write(connection_response(ACCEPTED))
    world.reactor.settle()
    sender, reader = (client, server) if direction == "up" else (server, client)
    before = len(reader.received)
    reader.transport.pauseProducing()

    class Producer:
        sent = 0
        running = False

        def resumeProducing(self):
            self.running = True
            while self.running and self.sent < 200_000_000:
                self.sent += 65_536
                sender.transport.write(bytes(65_536))

        def pauseProducing(self):
            self.running = False

        stopProducing = pauseProducing

    producer = Producer()
    sender.transport.registerProducer(producer, streaming=True)
    producer.resumeProducing()
    world.reactor.settle()
    assert not producer.running
    # Two windows, which start at 256 KiB and grow only for readers that read, and three buffers.
    assert producer.sent < 4_000_000
    world.reactor.advance(60)
    assert producer.sent < 4_000_000
    sent = producer.sent
    producer.resumeProducing = lambda: None
    reader.transport.resumeProducing()
    world.reactor.settle()
    assert len(reader.received) - before == sent


def test_ten_megabytes_there_and_back():
    world = World()
    lease = world.publish(kind=Echo)
    client = world.dial(lease.id)
    piece = bytes(range(256)) * 256
    for _ in range(160):
        client.transport.write(piece)
    world.reactor.settle()
    assert client.received == piece * 160


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 400),
    st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=8),
)
def test_every_byte_arrives_in_order_however_the_bytes_are_cut(chunk, pieces):
    world = World(chunk)
    lease = world.publish(kind=Echo)
    client = world.dial(lease.id)
    for piece in pieces:
        client.transport.write(piece)
        world.reactor.settle()
    assert client.received == b"".join(pieces)


# Life.


def test_it_drops_a_client_that_does_not_answer_pings():
    world = World()
    app = Client(world)
    app.update(A, expires=int(world.reactor.seconds()) + 1000)
    other = Client(world)
    world.reactor.links[0].frozen = True
    world.reactor.advance(KEEPALIVE_INTERVAL)
    assert len(other.info().leases) == 1
    world.reactor.advance(KEEPALIVE_INTERVAL)
    assert other.info().leases == ()
    assert other.connection.connected


def test_it_keeps_a_client_that_does():
    world = World()
    client = Client(world)
    world.reactor.advance(10 * KEEPALIVE_INTERVAL)
    assert client.connection.connected
    assert len(world.relay.clients) == 1


def test_it_takes_only_so_many_clients(monkeypatch):
    monkeypatch.setattr("portal_gateway.testing.relay.MAX_CLIENTS", 1)
    world = World()
    client = Client(world)
    with pytest.raises(AssertionError):
        world.session()
    assert len(world.relay.clients) == 1
    client.close()
    world.reactor.advance(60)
    assert len(world.relay.clients) == 1


def test_stopping_closes_everything_and_frees_the_port():
    world = World()
    lease = world.publish()
    client = world.dial(lease.id)
    port = world.stop_relay()
    assert client.lost is not None
    assert world.relay.clients == []
    assert len(world.relay.leases) == 0
    assert outcome(world.relay.stop()) == [None]
    world.relay = world.new_relay(port)
    world.reactor.advance(60)
    assert isinstance(world.dial(lease.id), Recorder)
