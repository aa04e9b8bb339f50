"""The control conversations with a relay: what each side writes, and how it reads the other.

===================  ==========================  ===========================
conversation         request                     response
===================  ==========================  ===========================
relay info           ``relay_info_request``      ``relay_info_response``
register or renew    ``lease_update_request``    ``lease_update_response``
give up              ``lease_delete_request``    ``lease_delete_response``
open a stream        ``connection_request``      ``connection_response``
===================  ==========================  ===========================

Writers return the bytes of a whole packet. Readers take a ``Packet``, raise
``UnexpectedPacket`` when it is one of another conversation and
``MalformedPacket`` when it is not what its type says. Times are seconds since 1970.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self

from google.protobuf.message import DecodeError, Message

from portal_gateway.wire import portal_pb2
from portal_gateway.wire.errors import (
    InvalidIdentity,
    MalformedPacket,
    StaleTimestamp,
    UnexpectedPacket,
)
from portal_gateway.wire.identity import (
    LEASE_ID_CHARACTERS,
    Credential,
    Identity,
    check_identity,
    check_signature,
    is_lease_id,
)
from portal_gateway.wire.limits import (
    MAX_ALPN_BYTES,
    MAX_DIRECTORY_LEASES,
    MAX_LEASE_ALPNS,
    MAX_LEASE_METADATA_BYTES,
    MAX_LEASE_NAME_BYTES,
    MAX_RELAY_ADDRESS_BYTES,
    MAX_RELAY_ADDRESSES,
    MAX_RELAY_INFO_FIELDS,
)
from portal_gateway.wire.packets import Packet, PacketReader, PacketType, ResponseCode, packet
from portal_gateway.wire.protobuf_fields import length_delimited_fields

__all__ = [
    "LeaseRecord",
    "ListedLease",
    "Packet",
    "PacketReader",
    "PacketType",
    "RelayInfo",
    "ResponseCode",
    "connection_request",
    "connection_response",
    "lease_delete_request",
    "lease_delete_response",
    "lease_update_request",
    "lease_update_response",
    "read_connection_request",
    "read_lease_delete",
    "read_lease_update",
    "read_relay_info",
    "read_response_code",
    "relay_info_request",
    "relay_info_response",
]

_RELAY_INFO = portal_pb2.RelayInfoResponse.RELAY_INFO_FIELD_NUMBER
_RELAY_IDENTITY = portal_pb2.RelayInfo.IDENTITY_FIELD_NUMBER
_RELAY_ADDRESS = portal_pb2.RelayInfo.ADDRESS_FIELD_NUMBER
_RELAY_LEASES = portal_pb2.RelayInfo.LEASES_FIELD_NUMBER


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A lease as its publisher registers it; name, ALPN list and metadata are free text."""

    identity: Identity
    expires: int
    name: str
    alpn: tuple[str, ...]
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class ListedLease:
    """A lease in a relay's list.

    A 1.2 relay lists the id and nothing else: then ``name`` and ``public_key`` are empty and
    ``expires`` is 0.
    """

    id: str
    name: str = ""
    expires: int = 0
    alpn: tuple[str, ...] = ()
    metadata: str = ""
    public_key: bytes = b""

    @classmethod
    def of(cls, record: LeaseRecord) -> Self:
        """The list's element for a registered lease."""
        identity = record.identity
        return cls(
            identity.id,
            record.name,
            record.expires,
            record.alpn,
            record.metadata,
            identity.public_key,
        )


@dataclass(frozen=True, slots=True)
class RelayInfo:
    """What a relay says about itself, and the leases it holds, in its order.

    ``skipped`` counts the elements that were left out: with an invalid identity, invalid UTF-8 or a
    text above its bound, and those after the first ``MAX_DIRECTORY_LEASES``. What comes after
    ``MAX_RELAY_INFO_FIELDS`` elements of any kind is not looked at.
    """

    identity: Identity | None
    addresses: tuple[str, ...]
    leases: tuple[ListedLease, ...]
    skipped: int = 0


# --- writing


def relay_info_request() -> bytes:
    """Ask a relay for its leases."""
    return packet(PacketType.RELAY_INFO_REQUEST, b"")


def relay_info_response(info: RelayInfo) -> bytes:
    """A relay's answer; a lease without a public key is written as 1.2 does, as its bare id."""
    message = portal_pb2.RelayInfo(
        identity=None if info.identity is None else _identity(info.identity),
        address=info.addresses,
        leases=[
            _lease(
                Identity(lease.id, lease.public_key),
                lease.expires,
                lease.name,
                lease.alpn,
                lease.metadata,
            ).SerializeToString()
            if lease.public_key
            else lease.id.encode()
            for lease in info.leases
        ],
    )
    response = portal_pb2.RelayInfoResponse(relay_info=message)
    return packet(PacketType.RELAY_INFO_RESPONSE, response.SerializeToString())


def lease_update_request(
    credential: Credential, record: LeaseRecord, now: float, nonce: bytes
) -> bytes:
    """Register ``record`` or renew it, signed with ``credential``; ``nonce`` is 12 random bytes."""
    request = portal_pb2.LeaseUpdateRequest(
        lease=_lease(record.identity, record.expires, record.name, record.alpn, record.metadata),
        nonce=nonce,
        timestamp=int(now),
    )
    return _signed(PacketType.LEASE_UPDATE_REQUEST, credential, request)


def lease_delete_request(credential: Credential, now: float, nonce: bytes) -> bytes:
    """Give up the lease of ``credential``, signed with it; ``nonce`` is 12 random bytes."""
    request = portal_pb2.LeaseDeleteRequest(
        identity=_identity(credential.identity), nonce=nonce, timestamp=int(now)
    )
    return _signed(PacketType.LEASE_DELETE_REQUEST, credential, request)


def connection_request(lease_id: str, client: Identity) -> bytes:
    """Ask for a stream to the lease with this id; also what the relay then sends to the lease."""
    request = portal_pb2.ConnectionRequest(lease_id=lease_id, client_identity=_identity(client))
    return packet(PacketType.CONNECTION_REQUEST, request.SerializeToString())


def lease_update_response(code: ResponseCode) -> bytes:
    """What became of a registration or renewal."""
    return _code_response(PacketType.LEASE_UPDATE_RESPONSE, code)


def lease_delete_response(code: ResponseCode) -> bytes:
    """What became of a deletion."""
    return _code_response(PacketType.LEASE_DELETE_RESPONSE, code)


def connection_response(code: ResponseCode) -> bytes:
    """What became of a connection request; once ``ACCEPTED``, the stream is the two ends'."""
    return _code_response(PacketType.CONNECTION_RESPONSE, code)


def _code_response(type_: PacketType, code: ResponseCode) -> bytes:
    message = portal_pb2.CodeResponse(code=portal_pb2.ResponseCode.ValueType(code))
    return packet(type_, message.SerializeToString())


def _signed(type_: PacketType, credential: Credential, request: Message) -> bytes:
    data = request.SerializeToString()
    signed = portal_pb2.SignedPayload(data=data, signature=credential.sign(data))
    return packet(type_, signed.SerializeToString())


def _identity(identity: Identity) -> portal_pb2.Identity:
    return portal_pb2.Identity(id=identity.id, public_key=identity.public_key)


def _lease(
    identity: Identity, expires: int, name: str, alpn: tuple[str, ...], metadata: str
) -> portal_pb2.Lease:
    return portal_pb2.Lease(
        identity=_identity(identity), expires=expires, name=name, alpn=alpn, metadata=metadata
    )


# --- reading


def read_relay_info(received: Packet) -> RelayInfo:
    """A relay's answer, in the shape of 1.4 or of 1.2; ``RelayInfo`` says what is left out.

    Raises ``InvalidIdentity`` when the relay's own identity is not valid.
    """
    _expect(received, PacketType.RELAY_INFO_RESPONSE)
    identity = None
    addresses: list[str] = []
    leases: list[ListedLease] = []
    skipped = 0
    try:
        for number, value in _relay_info_fields(received.payload):
            if value is None:
                continue
            if number == _RELAY_IDENTITY:
                own = portal_pb2.Identity.FromString(bytes(value))
                identity = check_identity(own.id, own.public_key)
            elif number == _RELAY_ADDRESS:
                if len(addresses) < MAX_RELAY_ADDRESSES and len(value) <= MAX_RELAY_ADDRESS_BYTES:
                    addresses.append(str(value, "utf-8"))
            elif number == _RELAY_LEASES:
                full = len(leases) == MAX_DIRECTORY_LEASES
                lease = None if full else _read_listed_lease(bytes(value))
                if lease is None:
                    skipped += 1
                else:
                    leases.append(lease)
    except (ValueError, DecodeError):
        # Never quoted: protobuf's own message may hold the peer's text.
        raise MalformedPacket(
            f"{len(received.payload)} bytes are not a {received.type.name}"
        ) from None
    return RelayInfo(identity, tuple(addresses), tuple(leases), skipped)


def read_response_code(received: Packet, expected_type: PacketType) -> ResponseCode:
    """The code in an answer of ``expected_type``; an unknown code is malformed."""
    response = portal_pb2.CodeResponse()
    _read(received, expected_type, response)
    try:
        return ResponseCode(response.code)
    except ValueError:
        raise MalformedPacket(f"response code {response.code} is not known") from None


def read_lease_update(
    received: Packet, now: float, *, max_clock_difference: float | None = None
) -> LeaseRecord:
    """The lease that its owner registers or renews.

    Raises ``InvalidIdentity`` and ``BadSignature``; and,
    when ``max_clock_difference`` seconds are given, ``StaleTimestamp``. The genuine
    relay does not look at the timestamp, so that is the default.
    """
    request = portal_pb2.LeaseUpdateRequest()
    signed = _read_signed(received, PacketType.LEASE_UPDATE_REQUEST, request)
    lease = request.lease
    identity, name, alpn = _checked_lease(lease)
    check_signature(identity, signed.data, signed.signature)
    _check_timestamp(request.timestamp, now, max_clock_difference)
    return LeaseRecord(identity, lease.expires, name, alpn, lease.metadata)


def read_lease_delete(
    received: Packet, now: float, *, max_clock_difference: float | None = None
) -> Identity:
    """The identity whose lease its owner gives up; raises as ``read_lease_update`` does."""
    request = portal_pb2.LeaseDeleteRequest()
    signed = _read_signed(received, PacketType.LEASE_DELETE_REQUEST, request)
    identity = check_identity(request.identity.id, request.identity.public_key)
    check_signature(identity, signed.data, signed.signature)
    _check_timestamp(request.timestamp, now, max_clock_difference)
    return identity


def read_connection_request(received: Packet) -> tuple[str, Identity]:
    """The lease id asked for, which may be any text, and who asks.

    The client's identity is not proved by this message. Raises ``InvalidIdentity``.
    """
    request = portal_pb2.ConnectionRequest()
    _read(received, PacketType.CONNECTION_REQUEST, request)
    client = request.client_identity
    return request.lease_id, check_identity(client.id, client.public_key)


def _relay_info_fields(payload: bytes) -> Iterator[tuple[int, memoryview | None]]:
    """The fields of the ``RelayInfo`` in a ``RelayInfoResponse``, as many as are taken.

    What comes after them is not looked at: neither its memory nor its time is spent.
    """
    for number, value in length_delimited_fields(payload):
        if number == _RELAY_INFO and value is not None:
            return islice(length_delimited_fields(value), MAX_RELAY_INFO_FIELDS)
    return iter(())


def _expect(received: Packet, expected: PacketType) -> None:
    if received.type is not expected:
        raise UnexpectedPacket(f"{received.type.name} came in place of {expected.name}")


def _read(received: Packet, expected: PacketType, message: Message) -> None:
    _expect(received, expected)
    _parse(received.payload, expected, message)


def _parse(data: bytes, expected: PacketType, message: Message) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError:
        # Never quoted: protobuf's own message may hold the peer's text.
        raise MalformedPacket(f"{len(data)} bytes are not a {expected.name}") from None


def _read_signed(
    received: Packet, expected: PacketType, request: Message
) -> portal_pb2.SignedPayload:
    signed = portal_pb2.SignedPayload()
    _read(received, expected, signed)
    _parse(signed.data, expected, request)
    return signed


def _check_timestamp(timestamp: int, now: float, max_clock_difference: float | None) -> None:
    if max_clock_difference is not None and abs(now - timestamp) > max_clock_difference:
        raise StaleTimestamp(
            f"the clocks are {abs(now - timestamp):.0f} s apart, {max_clock_difference:g} s allowed"
        )


def _longer(text: str, limit: int) -> bool:
    """Whether ``text`` has more than ``limit`` bytes in UTF-8."""
    # A character has at most four: most texts need not be encoded to be measured.
    return len(text) * 4 > limit and len(text.encode()) > limit


def _checked_lease(lease: portal_pb2.Lease) -> tuple[Identity, str, tuple[str, ...]]:
    """Identity, name and ALPN list of a lease.

    Raises ``InvalidIdentity``, and ``MalformedPacket`` for a text above its bound.
    """
    name = lease.name
    if _longer(name, MAX_LEASE_NAME_BYTES):
        raise MalformedPacket(f"the name has more than {MAX_LEASE_NAME_BYTES} bytes")
    alpn = tuple(lease.alpn[:MAX_LEASE_ALPNS])
    if len(alpn) == MAX_LEASE_ALPNS and len(lease.alpn) > MAX_LEASE_ALPNS:
        raise MalformedPacket(f"more than {MAX_LEASE_ALPNS} application protocols")
    for protocol in alpn:
        if _longer(protocol, MAX_ALPN_BYTES):
            raise MalformedPacket(f"an application protocol has more than {MAX_ALPN_BYTES} bytes")
    owner = lease.identity
    return check_identity(owner.id, owner.public_key), name, alpn


def _read_listed_lease(element: bytes) -> ListedLease | None:
    """One element of the list, or ``None`` when it is to be skipped.

    A bare id cannot be taken for a Lease nor the other way round: every Lease holds a public key of
    32 bytes.
    """
    if len(element) == LEASE_ID_CHARACTERS:
        # Any byte is a character of this code, and none but those of base32 pass.
        text = element.decode("latin-1")
        return ListedLease(text) if is_lease_id(text) else None
    try:
        lease = portal_pb2.Lease.FromString(element)
        identity, name, alpn = _checked_lease(lease)
    except (DecodeError, InvalidIdentity, MalformedPacket):
        return None
    metadata = lease.metadata
    if _longer(metadata, MAX_LEASE_METADATA_BYTES):
        metadata = ""
    return ListedLease(identity.id, name, lease.expires, alpn, metadata, identity.public_key)
