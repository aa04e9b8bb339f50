"""What a hostile peer does in place of a message, one function per fault.

A ``Fault`` is called when a message of ``hostile``'s peer is due. Most fit every message.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from portal_gateway.relay.substream import Substream
from portal_gateway.wire import portal_pb2
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.length_prefixed import PREFIX_BYTES, length_prefixed

__all__ = [
    "Fault",
    "Message",
    "Turn",
    "doubled",
    "ended",
    "forged",
    "in_frames",
    "in_pieces",
    "instead",
    "oversized",
    "replayed",
    "reset",
    "silent",
    "truncated",
]


class Message(StrEnum):
    """One message of the peer's, by its place in the conversation."""

    RELAY_INFO = "relay info"
    CONNECTION = "connection response"
    HANDSHAKE = "handshake"
    FIRST_RECORD = "first record"
    LATER_RECORD = "later record"


@dataclass(frozen=True, slots=True)
class Turn:
    """The moment when a message is due.

    ``honest`` are the bytes that should go out, ``earlier`` those that went out in the same place
    of the conversation before this one, if any. ``stream`` takes what goes out instead, and
    ``send_frames`` raw frames of the multiplexing.
    """

    message: Message
    honest: bytes
    earlier: bytes
    stream: Substream
    send_frames: Callable[[bytes], None]


Fault: TypeAlias = Callable[[Turn], None]
"""Does something in place of sending ``honest``."""


def silent(turn: Turn) -> None:
    """Say nothing."""


def ended(turn: Turn) -> None:
    """End the stream instead."""
    turn.stream.loseConnection()


def reset(turn: Turn) -> None:
    """Reset the stream instead."""
    turn.stream.abortConnection()


def truncated(turn: Turn) -> None:
    """Send the first half, then end the stream."""
    turn.stream.write(turn.honest[: len(turn.honest) // 2])
    turn.stream.loseConnection()


def oversized(turn: Turn) -> None:
    """Announce as many bytes as four bytes can, and send some."""
    turn.stream.write(b"\xff" * PREFIX_BYTES + turn.honest)


def replayed(turn: Turn) -> None:
    """Send what was sent in the conversation before."""
    turn.stream.write(turn.earlier)


def doubled(turn: Turn) -> None:
    """Send it twice."""
    turn.stream.write(turn.honest * 2)


def in_pieces(turn: Turn) -> None:
    """Send it byte by byte, which is no fault at all."""
    for position in range(len(turn.honest)):
        turn.stream.write(turn.honest[position : position + 1])


def instead(data: bytes) -> Fault:
    """Send ``data``."""
    return lambda turn: turn.stream.write(data)


def in_frames(frames: Callable[[int], bytes]) -> Fault:
    """Send the frames that ``frames`` makes for the id of the stream."""
    return lambda turn: turn.send_frames(frames(turn.stream.stream_id))


def forged(credential: Credential, **fields: Any) -> Fault:
    """Send a handshake message with ``fields`` of the ``InitPayload`` in place of honest ones.

    It is signed by ``credential``, so that only the fields are wrong.
    """

    def fault(turn: Turn) -> None:
        signed = portal_pb2.SignedPayload.FromString(turn.honest[PREFIX_BYTES:])
        init: Any = portal_pb2.InitPayload.FromString(signed.data)
        for name in fields:
            init.ClearField(name)
        init.MergeFrom(portal_pb2.InitPayload(**fields))
        data = init.SerializeToString()
        forgery = portal_pb2.SignedPayload(data=data, signature=credential.sign(data))
        turn.stream.write(length_prefixed(forgery.SerializeToString()))

    return fault
