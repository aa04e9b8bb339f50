"""Control packets: the envelope of every message between a relay and its clients.

A packet is a 4-byte big-endian length and a protobuf ``Packet`` of that size, which holds a type
and the message that the type names. ``wire.messages`` writes and reads those messages.
"""

from enum import IntEnum
from typing import NamedTuple

from google.protobuf.message import DecodeError

from portal_gateway.wire import portal_pb2
from portal_gateway.wire.errors import (
    MalformedPacket,
    PacketTooLarge,
    PacketTruncated,
    UnexpectedPacket,
)
from portal_gateway.wire.length_prefixed import LengthPrefixedReader, length_prefixed

__all__ = ["Packet", "PacketReader", "PacketType", "ResponseCode", "packet"]


class PacketType(IntEnum):
    """What a packet holds."""

    RELAY_INFO_REQUEST = portal_pb2.RELAY_INFO_REQUEST
    RELAY_INFO_RESPONSE = portal_pb2.RELAY_INFO_RESPONSE
    LEASE_UPDATE_REQUEST = portal_pb2.LEASE_UPDATE_REQUEST
    LEASE_UPDATE_RESPONSE = portal_pb2.LEASE_UPDATE_RESPONSE
    LEASE_DELETE_REQUEST = portal_pb2.LEASE_DELETE_REQUEST
    LEASE_DELETE_RESPONSE = portal_pb2.LEASE_DELETE_RESPONSE
    CONNECTION_REQUEST = portal_pb2.CONNECTION_REQUEST
    CONNECTION_RESPONSE = portal_pb2.CONNECTION_RESPONSE


class ResponseCode(IntEnum):
    """What became of a request."""

    UNKNOWN = portal_pb2.UNKNOWN
    ACCEPTED = portal_pb2.ACCEPTED
    INVALID_EXPIRES = portal_pb2.INVALID_EXPIRES
    INVALID_IDENTITY = portal_pb2.INVALID_IDENTITY
    INVALID_NAME = portal_pb2.INVALID_NAME
    INVALID_ALPN = portal_pb2.INVALID_ALPN
    REJECTED = portal_pb2.REJECTED


class Packet(NamedTuple):
    """One packet as received: its type, and the message as bytes."""

    type: PacketType
    payload: bytes


def packet(type: PacketType, payload: bytes) -> bytes:  # noqa: A002 - the name that the protocol gives it
    """The bytes of a packet, its length in front."""
    message = portal_pb2.Packet(type=portal_pb2.PacketType.ValueType(type), payload=payload)
    return length_prefixed(message.SerializeToString())


class PacketReader:
    """Cuts a stream into packets of at most ``limit`` bytes.

    With ``once`` it stops after one packet: a stream whose connection request was answered goes on
    with the secure handshake, and those bytes stay in ``trailing_data``.
    """

    __slots__ = ("_bodies",)

    def __init__(self, limit: int, once: bool = False) -> None:
        self._bodies = LengthPrefixedReader(limit, PacketTooLarge, once=once)

    @property
    def trailing_data(self) -> bytes:
        """What was received after the last complete packet."""
        return self._bodies.trailing_data

    def receive_data(self, data: bytes) -> list[Packet]:
        """The packets that ``data`` completes, in order.

        Raises ``PacketTooLarge`` before a byte of such a packet is buffered,
        ``MalformedPacket``,
        ``UnexpectedPacket`` for a type that the protocol does not have, and
        ``RuntimeError`` when the one packet is here already.
        """
        return [_read_packet(body) for body in self._bodies.receive_data(data)]

    def receive_eof(self) -> None:
        """The stream has ended. Raises ``PacketTruncated`` inside a packet."""
        if not self._bodies.complete and not self._bodies.empty:
            raise PacketTruncated("the stream ended inside a packet")


def _read_packet(body: bytes) -> Packet:
    try:
        message = portal_pb2.Packet.FromString(body)
    except DecodeError:
        # Never quoted: protobuf's own message may hold the peer's text.
        raise MalformedPacket(f"{len(body)} bytes are not a packet") from None
    number = message.type
    try:
        return Packet(PacketType(number), message.payload)
    except ValueError:
        raise UnexpectedPacket(f"packet type {number} is not known") from None
