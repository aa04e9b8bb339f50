"""A peer that breaks the protocol on purpose: a relay, or the app behind a lease.

It holds every conversation in good order, as relay and lease in one, but each of its messages
passes a ``Fault`` before it leaves, which sends something else in its place::

    gateway asks                 the peer's message
    ───────────────────────────────────────────────────────────────────────────────
    RELAY_INFO_REQUEST      ──►  Message.RELAY_INFO      the relay's list of leases
    CONNECTION_REQUEST      ──►  Message.CONNECTION      the answer to it
    its handshake message   ──►  Message.HANDSHAKE       the lease's
    a request, in records   ──►  Message.FIRST_RECORD    the head of the response
                                 Message.LATER_RECORD    each further record

``HostileRelay`` says all of them; ``HostileApp`` is registered at an honest relay and says those
from CONNECTION on. The opening of the WebSocket comes before any of it: play it with a plain
protocol on the relay's port.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Protocol

from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.conversations import update_lease
from portal_gateway.relay.session import RelaySession
from portal_gateway.relay.substream import Substream
from portal_gateway.relay.websocket import Carrier, ServerCarrierFactory
from portal_gateway.testing.hostile_faults import Fault, Message, Turn
from portal_gateway.wire.errors import WireError
from portal_gateway.wire.identity import Credential, Identity
from portal_gateway.wire.limits import MAX_CONTROL_PACKET
from portal_gateway.wire.messages import (
    LeaseRecord,
    ListedLease,
    PacketReader,
    PacketType,
    RelayInfo,
    ResponseCode,
    connection_response,
    relay_info_response,
)
from portal_gateway.wire.secure_channel import SecureChannel
from portal_gateway.wire.yamux import Role

__all__ = ["RESPONSE", "Conversation", "HostileApp", "HostileRelay", "Script"]

ALPN = "http/1.1"
"""The one application protocol that is served."""

RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n",
    b"honest",
    b"body",
)
"""What an honest lease answers to every request: a record for each piece."""


@dataclass(slots=True)
class Script:
    """What a peer says, to be changed at any time.

    ``credential`` is the lease's and proves its identity; ``leases`` are what a relay lists, as
    ``relay``; ``code`` answers connection requests. Each piece of ``response`` travels in a record
    of its own, and with ``ends`` the stream's end follows. ``faults`` holds what is done in place
    of a message. ``now`` gives seconds since 1970. ``put_off`` has what comes behind the first
    record done: at once, or whenever a test wants it.

    ``conversations`` counts the streams, ``requests`` the requests that reached the lease.
    """

    credential: Credential
    leases: tuple[ListedLease, ...] = ()
    relay: Identity | None = None
    code: ResponseCode = ResponseCode.ACCEPTED
    response: tuple[bytes, ...] = RESPONSE
    ends: bool = False
    faults: dict[Message, Fault] = field(default_factory=dict)
    now: Callable[[], float] = time.time
    put_off: Callable[[Callable[[], None]], object] = field(default=lambda call: call())
    requests: int = 0
    conversations: int = 0
    _earlier: dict[tuple[Message, int], bytes] = field(default_factory=dict)

    def say(
        self,
        message: Message,
        honest: bytes,
        stream: Substream,
        send_frames: Callable[[bytes], None],
        place: int = 0,
    ) -> None:
        """Let ``message`` go out, or what is to go out instead; ``place`` numbers the records."""
        earlier = self._earlier.get((message, place), b"")
        self._earlier[message, place] = honest
        fault = self.faults.get(message)
        if fault is None:
            stream.write(honest)
        else:
            fault(Turn(message, honest, earlier, stream, send_frames))


class Conversation(Protocol):
    """One stream that the gateway opened, or that an honest relay opened for it.

    The requests that it answers have no body.
    """

    transport: Substream

    def __init__(self, script: Script, send_frames: Callable[[bytes], None]) -> None:
        self._script = script
        self._send_frames = send_frames
        self._reader: PacketReader | None = PacketReader(MAX_CONTROL_PACKET, once=True)
        self._channel = SecureChannel.server(script.credential, alpns=(ALPN,), clock=script.now)
        self._plaintext = b""
        script.conversations += 1

    def dataReceived(self, data: bytes) -> None:
        """Packets first, then the handshake, then records."""
        reader = self._reader
        if reader is None:
            self._take_secured(data)
            return
        for packet in reader.receive_data(data):
            trailing = reader.trailing_data
            if packet.type is PacketType.RELAY_INFO_REQUEST:
                info = RelayInfo(self._script.relay, (), self._script.leases)
                self._reader = PacketReader(MAX_CONTROL_PACKET, once=True)
                self._say(Message.RELAY_INFO, relay_info_response(info))
            else:
                self._reader = None
                self._say(Message.CONNECTION, connection_response(self._script.code))
            if trailing:
                self.dataReceived(trailing)

    def _take_secured(self, data: bytes) -> None:
        established = self._channel.established
        try:
            self._plaintext += b"".join(self._channel.receive_data(data))
        except WireError:
            # After a forged or replayed handshake the two ends have no keys in common, and what
            # comes can only be a request.
            self._plaintext = b"\r\n\r\n"
        if self._channel.established and not established:
            self._say(Message.HANDSHAKE, self._channel.data_to_send())
        while b"\r\n\r\n" in self._plaintext:
            self._plaintext = self._plaintext.partition(b"\r\n\r\n")[2]
            self._script.requests += 1
            self._respond()

    def _respond(self) -> None:
        put_off = self._script.put_off
        for place, piece in enumerate(self._script.response):
            if place:
                put_off(partial(self._send_record, Message.LATER_RECORD, piece, place))
            else:
                self._send_record(Message.FIRST_RECORD, piece, place)
        if self._script.ends:
            put_off(self.transport.loseConnection)

    def _send_record(self, message: Message, piece: bytes, place: int) -> None:
        self._channel.send_data(piece)
        self._say(message, self._channel.data_to_send(), place)

    def _say(self, message: Message, honest: bytes, place: int = 0) -> None:
        self._script.say(message, honest, self.transport, self._send_frames, place)


class HostileRelay:
    """A relay by ``script``, at ``port`` of ``reactor`` from the start.

    ``connections`` has those that were made, oldest first, and ``carriers`` what carries them.
    """

    def __init__(self, reactor: Any, script: Script, port: int) -> None:
        self.script = script
        self.connections: list[RelayConnection] = []
        self.carriers: list[Carrier] = []
        self._reactor = reactor
        factory = ServerCarrierFactory(reactor, self._opened)
        self._port: IListeningPort = reactor.listenTCP(port, factory)

    def send_frames(self, frames: bytes) -> None:
        """Send raw frames of the multiplexing on the newest connection, after all that was said."""
        self.connections[-1].outbox.flush()
        self.carriers[-1].send_message(frames)

    def stop(self) -> None:
        """Close the port, and cut every connection."""
        self._port.stopListening()
        for connection in self.connections:
            connection.abort()

    def _opened(self, carrier: Carrier) -> RelayConnection:
        connection = RelayConnection(carrier, Role.SERVER, self._reactor, name="gateway")
        connection.on_stream = lambda _stream: Conversation(self.script, self.send_frames)
        self.carriers.append(carrier)
        self.connections.append(connection)
        return connection


class HostileApp:
    """The app of a lease, at the honest relay at ``url``, by ``script``."""

    def __init__(self, reactor: Any, url: str, script: Script, name: str) -> None:
        self.script = script
        self._reactor = reactor
        self._name = name
        self._session = RelaySession(reactor, url)
        self._session.on_connected.append(self._connected)

    def start(self) -> None:
        """Connect and register."""
        self._session.start()

    def stop(self) -> Deferred[None]:
        """Disconnect."""
        return self._session.stop()

    def _connected(self, connection: RelayConnection) -> None:
        connection.on_stream = lambda _stream: Conversation(self.script, _no_frames)
        script = self.script
        expires = int(script.now()) + 30
        record = LeaseRecord(script.credential.identity, expires, self._name, (ALPN,))
        update_lease(connection, self._reactor, script.credential, record, now=script.now)


def _no_frames(_frames: bytes) -> None:
    """An app's frames end at its relay, which would cut it off for raw ones."""
    raise NotImplementedError("only a relay can send raw frames to a gateway")
