"""Leases as publishers register them, and a relay's list of them.

A list is read element by element, so that a long one can be read in several turns of the reactor.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self

from google.protobuf.message import DecodeError

from portal_gateway.wire import portal_pb2
from portal_gateway.wire.errors import InvalidIdentity, MalformedPacket, UnexpectedPacket
from portal_gateway.wire.identity import (
    LEASE_ID_CHARACTERS,
    Identity,
    check_identity,
    is_lease_id,
)
from portal_gateway.wire.limits import (
    MAX_ALPN_BYTES,
    MAX_CONTROL_PACKET,
    MAX_DIRECTORY_LEASES,
    MAX_LEASE_ALPNS,
    MAX_LEASE_METADATA_BYTES,
    MAX_LEASE_NAME_BYTES,
    MAX_RELAY_ADDRESS_BYTES,
    MAX_RELAY_ADDRESSES,
    MAX_RELAY_INFO_FIELDS,
)
from portal_gateway.wire.packets import Packet, PacketType
from portal_gateway.wire.protobuf_fields import length_delimited_fields

__all__ = [
    "LeaseRecord",
    "ListedLease",
    "RelayInfo",
    "checked_lease",
    "read_relay_info",
    "relay_info_steps",
]

_RELAY_INFO = portal_pb2.RelayInfoResponse.RELAY_INFO_FIELD_NUMBER
_RELAY_IDENTITY = portal_pb2.RelayInfo.IDENTITY_FIELD_NUMBER
_RELAY_ADDRESS = portal_pb2.RelayInfo.ADDRESS_FIELD_NUMBER
_RELAY_LEASES = portal_pb2.RelayInfo.LEASES_FIELD_NUMBER

_BYTES_OF_A_STEP = 512
"""Bytes of a list's element that cost as much as a lease does by itself."""

_MAX_RESPONSE_FIELDS = 16
"""Fields of a ``RelayInfoResponse`` that are looked at for the one that it has."""


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
    """A relay's description of itself, and the leases it holds, in its order.

    ``skipped`` counts the elements that were left out: with an invalid identity, invalid UTF-8 or a
    text above its bound, and those after the first ``MAX_DIRECTORY_LEASES``. What comes after
    ``MAX_RELAY_INFO_FIELDS`` elements of any kind is not looked at.
    """

    identity: Identity | None
    addresses: tuple[str, ...]
    leases: tuple[ListedLease, ...]
    skipped: int = 0


def read_relay_info(received: Packet) -> RelayInfo:
    """A relay's answer, in the shape of 1.4 or of 1.2; ``RelayInfo`` says what is left out.

    Raises ``InvalidIdentity`` when the relay's own identity is not valid.
    """
    steps = relay_info_steps(received)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            info: RelayInfo = end.value
            return info


def relay_info_steps(received: Packet) -> Generator[int, None, RelayInfo]:
    """Reads a relay's answer as `read_relay_info` does, element by element.

    Yields after each element what it cost: 1 for a lease with little metadata.
    """
    if received.type is not PacketType.RELAY_INFO_RESPONSE:
        raise UnexpectedPacket(f"{received.type.name} came in place of a list")
    identity = None
    addresses: list[str] = []
    leases: list[ListedLease] = []
    skipped = 0
    try:
        for number, value in _relay_info_fields(received.payload):
            size = 0 if value is None else len(value)
            if value is None or size > MAX_CONTROL_PACKET:
                # No relay takes a lease of that length; what it holds could be anything.
                skipped += number == _RELAY_LEASES
            elif number == _RELAY_LEASES:
                full = len(leases) == MAX_DIRECTORY_LEASES
                lease = None if full else _read_listed_lease(bytes(value))
                if lease is None:
                    skipped += 1
                else:
                    leases.append(lease)
            elif number == _RELAY_ADDRESS:
                if len(addresses) < MAX_RELAY_ADDRESSES and size <= MAX_RELAY_ADDRESS_BYTES:
                    addresses.append(str(value, "utf-8"))
            elif number == _RELAY_IDENTITY:
                own = portal_pb2.Identity.FromString(bytes(value))
                identity = check_identity(own.id, own.public_key)
            yield 1 + min(size, MAX_CONTROL_PACKET) // _BYTES_OF_A_STEP
    except (ValueError, DecodeError):
        # Never quoted: protobuf's own message may hold the peer's text.
        raise MalformedPacket(
            f"{len(received.payload)} bytes are not a {received.type.name}"
        ) from None
    return RelayInfo(identity, tuple(addresses), tuple(leases), skipped)


def _relay_info_fields(payload: bytes) -> Iterator[tuple[int, memoryview | None]]:
    """The fields of the ``RelayInfo`` in a ``RelayInfoResponse``, as many as are taken.

    What comes after them is not looked at: neither its memory nor its time is spent.
    """
    for number, value in islice(length_delimited_fields(payload), _MAX_RESPONSE_FIELDS):
        if number == _RELAY_INFO and value is not None:
            return islice(length_delimited_fields(value), MAX_RELAY_INFO_FIELDS)
    return iter(())


def _longer(text: str, limit: int) -> bool:
    """Whether ``text`` has more than ``limit`` bytes in UTF-8."""
    # A character has at most four: most texts need not be encoded to be measured.
    return len(text) * 4 > limit and len(text.encode()) > limit


def checked_lease(lease: portal_pb2.Lease) -> tuple[Identity, str, tuple[str, ...]]:
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
        identity, name, alpn = checked_lease(lease)
    except (DecodeError, InvalidIdentity, MalformedPacket):
        return None
    metadata = lease.metadata
    if _longer(metadata, MAX_LEASE_METADATA_BYTES):
        metadata = ""
    return ListedLease(identity.id, name, lease.expires, alpn, metadata, identity.public_key)
