"""What a relay, and a lease behind it, send: frames, conversations, handshakes, records, lists."""

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from portal_gateway.errors import GatewayError
from portal_gateway.relay.configured_names import ConfiguredNames
from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.directory import Directory
from portal_gateway.relay.websocket import ClientCarrierFactory, ServerCarrierFactory
from portal_gateway.testing import hostile_faults as faults
from portal_gateway.testing.hostile import RESPONSE, Script
from portal_gateway.testing.hostile_faults import Message, Turn
from portal_gateway.testing.transports import connect
from portal_gateway.wire.errors import WireError
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.limits import MAX_CONTROL_PACKET, MAX_RELAY_INFO_PACKET
from portal_gateway.wire.messages import (
    LeaseRecord,
    Packet,
    PacketReader,
    PacketType,
    RelayInfo,
    ResponseCode,
    connection_request,
    connection_response,
    lease_delete_request,
    lease_update_request,
    read_connection_request,
    read_lease_delete,
    read_lease_update,
    read_relay_info,
    read_response_code,
    relay_info_response,
)
from portal_gateway.wire.secure_channel import SecureChannel
from portal_gateway.wire.yamux import Role
from portal_gateway.wire.yamux_frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    INITIAL_WINDOW,
    MAX_LENGTH,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    encode,
)
from tests.frontend.gateway_world import KEY, Wire
from tests.frontend.raw_frames import accept_of, frame
from tests.fuzz.dice import Dice
from tests.fuzz.fuzz_world import WAITS, no_failures
from tests.hostile.hostile_world import (
    LEASE,
    NOTHING,
    PINNED,
    STRANGER,
    HostileWorld,
    listed,
)
from tests.relay.joined import Producer, Recorder

__all__ = ["relay_carrier", "relay_frames", "relay_messages", "relay_records"]

NOW = 1_800_000_000.0

WRONG = 24

ROUNDS = 100
"""Turns of a channel; one whose other end is dead chooses nothing any more."""

QUIET = 40.0
"""Seconds until what a client left behind is over, also on a relay that answers nothing."""

LISTED = (listed(LEASE, "agent"), listed(PINNED, "pinned"), listed(STRANGER, "other"))

RESPONSES = (
    RESPONSE,
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n", b"x" * 70_000),
    (b"HTTP/1.1 103 Early\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\n\r\n", b"until the end"),
    (b"no HTTP\r\n\r\n",),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"abc"),
)


def _frames(dice: Dice, stream: Callable[[], int]) -> bytes:
    """Some frames of yamux, of which most make sense."""
    made = b""
    for _ in range(1 + dice.below(4)):
        stream_id = stream()
        if dice.odds(WRONG):
            made += dice.take(40)
            continue
        if dice.odds(WRONG):
            made += encode(dice.below(1 << 24), stream_id, dice.below(1 << 16))
            continue
        kind = dice.below(8)
        if kind < 3:
            payload = dice.pick((b"x", b"", b"hello" * 20, bytes(1000)))
            made += encode(DATA | dice.pick((0, 0, ACK, FIN)), stream_id, len(payload)) + payload
        elif kind < 5:
            credit = dice.pick((0, 1, 1000, INITIAL_WINDOW, MAX_LENGTH if dice.odds(8) else 2))
            made += encode(WINDOW_UPDATE | dice.pick((0, ACK, FIN, RST)), stream_id, credit)
        elif kind == 5:
            made += encode(PING | dice.pick((SYN, ACK)), 0, dice.byte())
        elif kind == 6:
            flags = dice.pick((SYN, SYN | FIN))
            made += encode(dice.pick((DATA, WINDOW_UPDATE)) | flags, 2 + 2 * dice.below(8), 0)
        elif dice.odds(8):
            made += encode(GO_AWAY, 0, dice.pick((0, 1, 2)))
    return made


def relay_frames(data: bytes) -> None:
    """A whole gateway, whose relay and lease do anything in place of anything."""
    dice = Dice(data)
    script = Script(LEASE, LISTED, relay=STRANGER.identity)
    with no_failures():
        world = HostileWorld(script)
        wires: list[Wire] = []
        while dice.left:
            dice.do(
                [
                    partial(_ask, world, wires),
                    partial(_ask, world, wires),
                    partial(_break, script),
                    partial(_break, script),
                    partial(_mend, script),
                    partial(_send_frames, world),
                    partial(_wait, world),
                    partial(_leave, wires),
                ],
                dice,
            )
            if dice.byte() & 1:
                world.reactor.settle()
        script.faults.clear()
        for wire in wires:
            wire.transport.abortConnection()
        world.reactor.advance(QUIET)
        held = world.held
        # A connection to a lease is kept, with its stream.
        assert (held["requests"], held["buffered"]) == (0, 0), held
        assert held["streams"] <= held["idle"], held
        assert world.gateway.site.connections == 0
        world.stop()
        assert world.held == NOTHING
        assert not world.reactor.getDelayedCalls()


def _ask(world: HostileWorld, wires: list[Wire], dice: Dice) -> None:
    if len(wires) >= 8:
        return
    world.reactor.chunk = dice.pick((None, None, 100, 1000))
    wire = world.connect()
    wires.append(wire)
    name = dice.pick((b"agent", b"agent", b"pinned", b"nobody", LEASE.identity.id.encode()))
    body = dice.pick((b"", b"", b"b" * 100, b"b" * 70_000))
    method = b"POST" if body else b"GET"
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    wire.send(
        method + b" /peer/" + name + b"/x HTTP/1.1\r\nHost: h\r\nX-API-Key: " + KEY.encode()
        + b"\r\n" + length + b"\r\n" + body
    )  # fmt: skip


def _break(script: Script, dice: Dice) -> None:
    script.response = dice.pick(RESPONSES)
    script.ends = bool(dice.byte() & 1)
    script.code = dice.pick((ResponseCode.ACCEPTED, ResponseCode.ACCEPTED, ResponseCode.REJECTED))
    kind = dice.below(10)
    raw = dice.take(80)
    fault: Callable[[Turn], None]
    if kind < 5:
        fault = (
            faults.silent,
            faults.ended,
            faults.reset,
            faults.truncated,
            faults.doubled,
        )[kind]
    elif kind == 5:
        fault = faults.oversized
    elif kind == 6:
        fault = faults.replayed
    elif kind == 7:
        fault = faults.instead(raw)
    elif kind == 8:
        fault = partial(_flipped, at=dice.below(4096), by=dice.byte())
    else:
        fault = partial(_followed, raw=raw)
    script.faults[dice.pick(tuple(Message))] = fault


def _flipped(turn: Turn, *, at: int, by: int) -> None:
    honest = bytearray(turn.honest)
    honest[at % len(honest)] ^= by
    turn.stream.write(bytes(honest))


def _followed(turn: Turn, *, raw: bytes) -> None:
    turn.stream.write(turn.honest + raw)


def _mend(script: Script, dice: Dice) -> None:
    script.faults.clear()


def _send_frames(world: HostileWorld, dice: Dice) -> None:
    relay = world.relay
    if relay.connections and relay.connections[-1].connected:
        made = _frames(dice, lambda: dice.pick((1, 3, 5, 7, 2, 4, 2 * dice.below(32) + 1)))
        relay.send_frames(made)


def _wait(world: HostileWorld, dice: Dice) -> None:
    world.reactor.advance(dice.pick(WAITS))


def _leave(wires: list[Wire], dice: Dice) -> None:
    if wires:
        dice.do([dice.pick(wires).transport.loseConnection])


class _Carried:
    """One end of a relay's connection, over a carrier whose other end is the fuzzer's."""

    def __init__(self, dice: Dice, role: Role) -> None:
        self.clock = Clock()
        self.connection: RelayConnection | None = None
        self.wire = Wire()
        self.role = role
        self.failures: list[object] = []
        self.protocols: list[Recorder] = []
        chunk = dice.pick((None, None, 7, 100))
        if role is Role.CLIENT:
            factory: Any = ClientCarrierFactory(
                "ws://relay.test:4017/relay", self.clock, self._opened, self.failures.append
            )
            carrier = factory.buildProtocol(None)
            self.link = connect(carrier, self.wire, chunk)
            self.near = self.link.client
        else:
            carrier = ServerCarrierFactory(self.clock, self._opened).buildProtocol(None)
            self.link = connect(self.wire, carrier, chunk)
            self.near = self.link.server
        self.settle()

    def _opened(self, carrier: Any) -> RelayConnection:
        self.connection = RelayConnection(carrier, self.role, self.clock, name="fuzz")
        self.connection.on_stream = self._on_stream
        return self.connection

    def _on_stream(self, stream: object) -> Recorder:
        self.protocols.append(Recorder())
        return self.protocols[-1]

    def settle(self) -> None:
        for _ in range(10_000):
            self.clock.advance(0)
            moved = self.link.flush()
            now = self.clock.seconds()
            if not moved and not any(c.getTime() <= now for c in self.clock.getDelayedCalls()):
                return
        raise AssertionError("does not settle")

    def advance(self, seconds: float) -> None:
        for _ in range(int(seconds) + 1):
            self.clock.advance(min(1.0, seconds))
            self.settle()

    def use(self, dice: Dice) -> None:
        """Do what the owner of a connection does."""
        connection = self.connection
        if connection is None or not connection.usable:
            return
        streams = list(connection._streams.values())
        what = dice.below(6)
        if what == 0:
            self.protocols.append(Recorder())
            try:
                connection.open_stream(self.protocols[-1])
            except GatewayError:
                self.protocols.pop()
        elif what == 1:
            connection.ping().addErrback(lambda _: None)
        elif streams:
            stream: Any = streams[dice.below(len(streams))]
            if what == 2:
                stream.write(dice.pick((b"x", b"x" * 1000, b"x" * 300_000)))
            elif what == 3:
                dice.do([stream.loseConnection, stream.abortConnection, stream.loseWriteConnection])
            elif what == 4:
                dice.do([stream.pauseProducing, stream.resumeProducing])
            elif stream._producer is None and stream.connected:
                Producer(stream, b"y" * 1000, blocks=dice.byte())


def relay_carrier(data: bytes) -> None:
    """A relay's connection over its WebSocket, of which the other end sends any frames."""
    dice = Dice(data)
    with no_failures():
        role = dice.pick((Role.CLIENT, Role.SERVER))
        carried = _Carried(dice, role)
        opening = _opening(carried.wire.received, role)
        if dice.odds(8):
            cut = dice.below(len(opening))
            opening = opening[:cut] + dice.take(40) + opening[cut + dice.below(3) :]
        carried.wire.send(opening)
        carried.settle()
        theirs = 2 if role is Role.CLIENT else 1
        while dice.left and carried.wire.lost is None:
            what = dice.below(8)
            if what < 4:
                made = _frames(dice, lambda: dice.pick((1, 2, 3, 4, 5, theirs + 2 * dice.below(9))))
                carried.wire.send(_enclosed(dice, made, mask=role is Role.SERVER))
            elif what < 6:
                carried.use(dice)
            elif what == 6:
                carried.advance(dice.pick((0.0, 1.0, 12.0, 35.0)))
            else:
                transport = carried.wire.transport
                dice.do([transport.pauseProducing, transport.resumeProducing])
            if dice.byte() & 1:
                carried.settle()
        carried.wire.transport.resumeProducing()
        carried.wire.transport.abortConnection()
        carried.settle()
        connection = carried.connection
        if connection is not None:
            assert not connection.connected
            assert connection.streams == 0
        assert carried.near._producer is None
        carried.advance(60)
        assert carried.clock.getDelayedCalls() == []
        for protocol in carried.protocols:
            assert protocol.lost is not None


def _opening(received: bytes, role: Role) -> bytes:
    if role is Role.SERVER:
        return (
            b"GET /relay HTTP/1.1\r\nHost: relay.test:4017\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    _, _, rest = received.partition(b"Sec-WebSocket-Key: ")
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_of(rest.partition(b"\r\n")[0]) + b"\r\n\r\n"
    )


def _enclosed(dice: Dice, made: bytes, *, mask: bool) -> bytes:
    """In one message or in fragments of it, between other frames."""
    if dice.odds(WRONG):
        return frame(dice.below(16), dice.take(60), rsv=dice.below(8), mask=mask)
    if dice.odds(8):
        cut = dice.below(len(made) + 1)
        between = frame(9, b"ping", mask=mask) if dice.byte() & 1 else b""
        return (
            frame(2, made[:cut], fin=False, mask=mask)
            + between
            + frame(0, made[cut:], fin=not dice.odds(8), mask=mask)
        )
    if dice.odds(16):
        return frame(8, b"\x03\xe8", mask=mask)
    return frame(2, made, mask=mask)


def relay_records(data: bytes) -> None:
    """The secure channel's two ends, with a relay between them that changes what it carries."""
    dice = Dice(data)
    client = SecureChannel.client(STRANGER, LEASE.identity.id, now=NOW, random_bytes=_zeros)
    server = SecureChannel.server(
        LEASE, alpns=("http/1.1",), clock=lambda: NOW, random_bytes=_zeros
    )
    earlier: list[bytes] = [b""]
    dead: set[SecureChannel] = set()
    rounds = 0
    while (dice.left and len(dead) < 2 and rounds < ROUNDS) or not rounds:
        rounds += 1
        for near, far in ((client, server), (server, client)):
            if near in dead:
                continue
            if near.established:
                near.send_data(dice.pick((b"x", b"", b"y" * 1000, b"z" * 40_000)))
            sent = near.data_to_send()
            earlier.append(sent)
            if far not in dead and not _carried(dice, far, sent, earlier):
                dead.add(far)
    for channel in (client, server):
        try:
            channel.receive_eof()
        except WireError:
            assert channel.buffered >= 0


def _zeros(size: int) -> bytes:
    return bytes(size)


def _carried(dice: Dice, channel: SecureChannel, sent: bytes, earlier: list[bytes]) -> bool:
    """Bring what was sent, or something else; whether the channel still lives."""
    what = dice.below(12)
    if what == 7:
        sent = dice.pick(earlier[-8:])
    elif what == 8:
        sent = sent + dice.take(40)
    elif what == 9 and sent:
        changed = bytearray(sent)
        changed[dice.below(len(sent))] ^= 1 << dice.below(8)
        sent = bytes(changed)
    elif what == 10:
        sent = sent[: dice.below(len(sent) + 1)]
    elif what == 11:
        sent = dice.take(60)
    step = max(1, len(sent) // 3 if dice.byte() & 1 else len(sent))
    try:
        for start in range(0, len(sent), step):
            channel.receive_data(sent[start : start + step])
    except WireError:
        return False
    return True


ANOTHER = Credential.from_private_bytes(bytes(range(96, 128)))


def _honest() -> tuple[bytes, ...]:
    record = LeaseRecord(LEASE.identity, int(NOW) + 30, "agent", ("http/1.1",), "{}")
    nonce = bytes(12)
    return (
        relay_info_response(RelayInfo(STRANGER.identity, ("ws://relay/relay",), LISTED)),
        relay_info_response(RelayInfo(None, (), (*LISTED, listed(ANOTHER, "AGENT")))),
        connection_response(ResponseCode.ACCEPTED),
        connection_request(LEASE.identity.id, STRANGER.identity),
        lease_update_request(LEASE, record, NOW, nonce),
        lease_delete_request(LEASE, NOW, nonce),
    )


HONEST = _honest()


def relay_messages(data: bytes) -> None:
    """Every message of the control conversations, changed anywhere, and the list of leases."""
    dice = Dice(data)
    made = bytearray(dice.pick(HONEST) if dice.byte() & 3 else dice.take(255))
    for _ in range(dice.below(6)):
        at = dice.below(len(made) + 1)
        dice.do(
            [
                lambda at=at: made.__setitem__(slice(at, at + 1), bytes([dice.byte()])),
                lambda at=at: made.__setitem__(slice(at, at), dice.take(30)),
                lambda at=at: made.__delitem__(slice(at, at + dice.below(30))),
            ]
        )
    stream = bytes(made)
    if dice.byte() & 1 and len(stream) > 4:
        # The length in front is right again, so that what it encloses is looked at.
        stream = (len(stream) - 4).to_bytes(4, "big") + stream[4:]
    reader = PacketReader(dice.pick((MAX_RELAY_INFO_PACKET, MAX_CONTROL_PACKET)))
    step = 1 + dice.byte()
    packets: list[Packet] = []
    try:
        for start in range(0, len(stream), step):
            packets += reader.receive_data(stream[start : start + step])
        reader.receive_eof()
    except WireError:
        pass
    for packet in packets:
        _read(packet)


def _read(packet: Packet) -> None:
    readers: tuple[Callable[[Packet], object], ...] = (
        read_relay_info,
        read_connection_request,
        lambda it: read_lease_update(it, NOW, max_clock_difference=30),
        lambda it: read_lease_delete(it, NOW, max_clock_difference=30),
        *(
            partial(read_response_code, expected_type=kind)
            for kind in (PacketType.CONNECTION_RESPONSE, PacketType.LEASE_UPDATE_RESPONSE)
        ),
    )
    for read in readers:
        try:
            found = read(packet)
        except WireError:
            continue
        if isinstance(found, RelayInfo):
            _look_up(found)


def _look_up(info: RelayInfo) -> None:
    """The directory that the list makes: every lease of it is found by its id, or is nobody's."""
    with no_failures():
        clock = Clock()
        names = ConfiguredNames({"pinned": PINNED.identity.id})
        directory = Directory(lambda: succeed(info), clock, names)
        directory.refresh()
        # A long list is read in slices.
        while clock.getDelayedCalls():
            clock.advance(0)
        for lease in info.leases:
            found = directory.find(lease.id)
            assert found is None or found.id == lease.id
            by_name = directory.find(lease.name) if lease.name else None
            assert by_name is None or by_name in info.leases
            for name in directory.names_of(lease):
                directory.find(name)
        pinned = directory.find("pinned")
        assert pinned is None or pinned.id == PINNED.identity.id
        directory.resolve("made up").addErrback(lambda failure: failure.trap(GatewayError))
        directory.stop()
