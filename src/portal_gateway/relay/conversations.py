"""Control conversations with a relay: one question and one answer, each on a stream of its own.

Every failure is a ``GatewayError``: ``relay_unavailable`` when the connection is lost, the stream
is refused or nothing comes within ``ANSWER_TIMEOUT``, ``relay_protocol_error`` when what comes is
not the answer; its ``__cause__`` is the ``WireError`` then.
"""

import os
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.slices import in_slices
from portal_gateway.relay.substream import Substream
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
    lease_delete_request,
    lease_update_request,
    read_response_code,
    relay_info_request,
)
from portal_gateway.wire.relay_lists import relay_info_steps

__all__ = ["ANSWER_TIMEOUT", "ask_relay_info", "delete_lease", "packet_fault", "update_lease"]

ANSWER_TIMEOUT = 10.0
"""Seconds that the relay has for its answer."""

_NONCE = 12

Answer = TypeVar("Answer")


def ask_relay_info(connection: RelayConnection, clock: IReactorTime) -> Deferred[RelayInfo]:
    """Ask the relay for its identity and its live leases. May be cancelled."""

    def read(received: Packet) -> Deferred[RelayInfo]:
        # Only reading the list costs time that grows with it, and that is done in slices.
        return in_slices(relay_info_steps(received), clock)

    packet = _ask(connection, clock, relay_info_request(), MAX_RELAY_INFO_PACKET, _relay_info)
    return packet.addCallback(read).addErrback(_wire_error_is_packet_fault)


def update_lease(
    connection: RelayConnection,
    clock: IReactorTime,
    credential: Credential,
    record: LeaseRecord,
    *,
    now: Callable[[], float] = time.time,
) -> Deferred[ResponseCode]:
    """Register or renew a lease of ``credential``; ``now`` gives seconds since 1970."""
    request = lease_update_request(credential, record, now(), os.urandom(_NONCE))
    return _ask(connection, clock, request, MAX_CONTROL_PACKET, _lease_updated)


def delete_lease(
    connection: RelayConnection,
    clock: IReactorTime,
    credential: Credential,
    *,
    now: Callable[[], float] = time.time,
) -> Deferred[ResponseCode]:
    """Delete the lease of ``credential``; ``now`` gives seconds since 1970."""
    request = lease_delete_request(credential, now(), os.urandom(_NONCE))
    return _ask(connection, clock, request, MAX_CONTROL_PACKET, _lease_deleted)


def packet_fault(error: WireError) -> GatewayError:
    """What a fault in a control conversation is to a caller."""
    raised = fault("relay_protocol_error", f"The relay broke the control protocol: {error}")
    raised.__cause__ = error
    return raised


def _relay_info(packet: Packet) -> Packet:
    return packet


def _wire_error_is_packet_fault(failure: Failure) -> RelayInfo:
    error = failure.value
    if isinstance(error, WireError):
        raise packet_fault(error)
    failure.raiseException()


def _lease_updated(packet: Packet) -> ResponseCode:
    return read_response_code(packet, PacketType.LEASE_UPDATE_RESPONSE)


def _lease_deleted(packet: Packet) -> ResponseCode:
    return read_response_code(packet, PacketType.LEASE_DELETE_RESPONSE)


def _ask(
    connection: RelayConnection,
    clock: IReactorTime,
    request: bytes,
    limit: int,
    read: Callable[[Packet], Answer],
) -> Deferred[Answer]:
    conversation = _Conversation(request, limit, read, clock)
    try:
        connection.open_stream(conversation)
    except GatewayError as error:
        conversation.fail(error)
    return conversation.answer


class _Conversation(Protocol, Generic[Answer]):
    """Sends ``request`` and reads one packet of at most ``limit`` bytes."""

    transport: Substream

    def __init__(
        self,
        request: bytes,
        limit: int,
        read: Callable[[Packet], Answer],
        clock: IReactorTime,
    ) -> None:
        self.answer: Deferred[Answer] = Deferred(self._cancelled)
        self._request = request
        self._reader = PacketReader(limit, once=True)
        self._read = read
        self._over = False
        self._timer: IDelayedCall = clock.callLater(ANSWER_TIMEOUT, self._time_is_up)

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        try:
            packets = self._reader.receive_data(data)
            if not packets:
                return
            answer = self._read(packets[0])
        except WireError as error:
            self.transport.abortConnection()
            self.fail(packet_fault(error))
            return
        self.transport.loseConnection()
        if self._settle():
            self.answer.callback(answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._over:
            return
        error = reason.value
        if isinstance(error, GatewayError):
            self.fail(error)
        elif isinstance(error, ConnectionDone):
            try:
                self._reader.receive_eof()
            except WireError as truncated:
                self.fail(packet_fault(truncated))
            else:
                self.fail(fault("relay_protocol_error", "The relay ended without an answer"))
        else:
            self.fail(fault("relay_unavailable", "The relay refused the stream"))

    def fail(self, error: GatewayError) -> None:
        if self._settle():
            self.answer.errback(Failure(error))

    def _time_is_up(self) -> None:
        self.transport.abortConnection()
        self.fail(fault("relay_unavailable", "The relay did not answer in time"))

    def _cancelled(self, _: Deferred[Answer]) -> None:
        self._settle()
        self.transport.abortConnection()

    def _settle(self) -> bool:
        """Whether the outcome is still to be told."""
        if self._timer.active():
            self._timer.cancel()
        over, self._over = self._over, True
        return not over
