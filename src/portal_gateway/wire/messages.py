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

from google.protobuf.message import DecodeError, Message

from portal_gateway.wire import portal_pb2
from portal_gateway.wire.errors import MalformedPacket, StaleTimestamp, UnexpectedPacket
from portal_gateway.wire.identity import (
    Credential,
    Identity,
    check_identity,
    check_signature,
)
from portal_gateway.wire.packets import Packet, PacketReader, PacketType, ResponseCode, packet
from portal_gateway.wire.relay_lists import (
    LeaseRecord,
    ListedLease,
    RelayInfo,
    checked_lease,
    read_relay_info,
)

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
    identity, name, alpn = checked_lease(lease)
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
