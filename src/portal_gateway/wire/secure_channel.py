"""The secure channel: handshake, then records, end to end between a client and a lease.

::

               message refused ┌────────┐ record refused
             ┌────────────────▶│ failed │◀───────────────┐
    ┌────────┴────┐            └────────┘        ┌───────┴─────┐
    │ handshaking │──── message accepted ───────▶│ established │
    └─────────────┘                              └─────────────┘

Bytes that follow the handshake message in one delivery are records already. A failed channel stays
failed: every further delivery raises the same error, and nothing more goes out.
"""

import os
from collections.abc import Callable, Collection
from typing import Self

from portal_gateway.wire.errors import HandshakeTooLarge, HandshakeTruncated, WireError
from portal_gateway.wire.handshake import ClientHandshake, ServerHandshake
from portal_gateway.wire.identity import Credential, Identity
from portal_gateway.wire.length_prefixed import LengthPrefixedReader
from portal_gateway.wire.limits import MAX_HANDSHAKE
from portal_gateway.wire.secure_records import RecordOpener, RecordSealer

__all__ = ["SecureChannel"]


class SecureChannel:
    """One side of a channel; made by ``client`` or ``server``.

    ``random_bytes(n)`` gives ``n`` random bytes; a test that recomputes a recorded exchange passes
    its own.
    """

    __slots__ = (
        "_failure",
        "_handshake",
        "_opener",
        "_outgoing",
        "_random_bytes",
        "_reader",
        "_sealer",
        "alpn",
        "peer",
    )

    def __init__(
        self,
        handshake: ClientHandshake | ServerHandshake,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._handshake = handshake
        self._random_bytes = random_bytes
        self._reader = LengthPrefixedReader(MAX_HANDSHAKE, HandshakeTooLarge, once=True)
        self._sealer: RecordSealer | None = None
        self._opener: RecordOpener | None = None
        self._outgoing: list[bytes] = []
        self._failure: WireError | None = None
        if handshake.first_message:
            self._outgoing.append(handshake.first_message)
        self.peer: Identity | None = None
        """Who the other side proved to be; ``None`` until the channel is established."""
        self.alpn: str | None = None
        """The application protocol agreed on; ``None`` until the channel is established."""

    @classmethod
    def client(
        cls,
        credential: Credential,
        lease_id: str,
        *,
        alpn: str = "http/1.1",
        now: float,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """The side that asks for the lease ``lease_id``; ``data_to_send`` has its message at once.

        ``now`` is the time at the start in seconds since 1970.
        """
        handshake = ClientHandshake(
            credential, lease_id, alpn=alpn, now=now, random_bytes=random_bytes
        )
        return cls(handshake, random_bytes)

    @classmethod
    def server(
        cls,
        credential: Credential,
        *,
        alpns: Collection[str],
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """The lease's side; ``clock`` gives seconds since 1970."""
        handshake = ServerHandshake(credential, alpns=alpns, clock=clock, random_bytes=random_bytes)
        return cls(handshake, random_bytes)

    @property
    def established(self) -> bool:
        """Whether the keys are agreed: the peer is known and data can be sent."""
        return self._sealer is not None

    @property
    def buffered(self) -> int:
        """Bytes held of a record that is not complete."""
        return 0 if self._opener is None else self._opener.buffered

    @property
    def opened(self) -> list[bytes]:
        """What the last ``receive_data`` gave or, if it raised, would have given.

        These are the plaintexts of intact records that came in one delivery with a broken one. To
        the application they are as good as if they had come in a delivery of their own.
        """
        return [] if self._opener is None else self._opener.opened

    def receive_data(self, data: bytes) -> list[bytes]:
        """Take bytes of the peer; the plaintexts of the records they complete.

        Raises ``HandshakeError``, ``IdentityError`` or
        ``RecordError`` in their kinds. The channel is of no use afterwards; close the
        stream without an answer, as the protocol wants it.
        """
        opener = self._opener
        if opener is not None:
            return opener.receive_data(data)
        if self._failure is not None:
            raise self._failure
        try:
            opener = self._agree(data)
        except WireError as error:
            self._failure = error
            self._outgoing.clear()
            raise
        if opener is None:
            return []
        trailing_data = self._reader.trailing_data
        return opener.receive_data(trailing_data) if trailing_data else []

    def _agree(self, data: bytes) -> RecordOpener | None:
        """Feed the handshake; the opener once it is over."""
        for body in self._reader.receive_data(data):
            agreement, answer = self._handshake.receive_message(body)
            if answer:
                self._outgoing.append(answer)
            self.peer = agreement.peer
            self.alpn = agreement.alpn
            self._sealer = RecordSealer(agreement.send_key, self._random_bytes)
            self._opener = RecordOpener(agreement.receive_key)
        return self._opener

    def receive_eof(self) -> None:
        """The stream has ended.

        Raises ``HandshakeTruncated`` before the channel was established and
        ``RecordTruncated`` inside a record. An end between two records is clean here,
        though a relay can cause it; what is spoken inside must tell.
        """
        if self._failure is not None:
            raise self._failure
        if self._opener is None:
            raise HandshakeTruncated("the stream ended before the handshake did")
        self._opener.receive_eof()

    def send_data(self, data: bytes | bytearray | memoryview) -> None:
        """Seal ``data`` for the peer; ``data_to_send`` has it then.

        Raises ``RuntimeError`` while the channel is not established.
        """
        if self._sealer is None:
            raise RuntimeError("the channel is not established")
        self._outgoing += self._sealer.seal(data)

    def data_to_send(self) -> bytes:
        """What is to go to the peer since the last call, joined once."""
        outgoing = self._outgoing
        if not outgoing:
            return b""
        self._outgoing = []
        return b"".join(outgoing)
