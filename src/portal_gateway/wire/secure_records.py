"""Secure records: what a channel carries once its keys are agreed.

::

    length (4 bytes, big-endian) │ nonce (12) │ ciphertext │ tag (16)
                                 └──────────── length ─────────────┘

ChaCha20-Poly1305 (RFC 8439) without associated data; the length counts nonce, ciphertext and tag.
There is no sequence number: a relay can replay, swap or drop whole records without a fault here,
and whoever needs to notice relies on what is spoken inside.

Nonces are random. Two records under one key with the same nonce would give both away; with 96 bits
that has a chance of 2**-33 after 2**32 records.
"""

from collections.abc import Callable
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from portal_gateway.wire.errors import (
    RecordCorrupt,
    RecordError,
    RecordTooLarge,
    RecordTooShort,
    RecordTruncated,
)
from portal_gateway.wire.limits import MAX_RECORD, MIN_RECORD, RECORD_OVERHEAD, RECORD_PLAINTEXT

__all__ = ["RecordOpener", "RecordSealer"]

_LENGTH = Struct(">I")
_PREFIX = _LENGTH.size
_NONCE = 12
_BODY = _PREFIX + _NONCE

_NONCES_AT_ONCE = 85
"""Nonces drawn in one call, about 1 KiB: one call costs nearly what a small record does."""


class RecordSealer:
    """Seals one direction of a channel under ``key`` (32 bytes)."""

    __slots__ = ("_encrypt", "_nonces", "_random_bytes", "_used")

    def __init__(self, key: bytes, random_bytes: Callable[[int], bytes]) -> None:
        self._encrypt = ChaCha20Poly1305(key).encrypt
        self._random_bytes = random_bytes
        # The store belongs to this one key, so a nonce left in it is never used under another.
        self._nonces = b""
        self._used = 0

    def seal(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """The pieces of the records that ``data`` needs, for the caller to join."""
        size = len(data)
        if 0 < size <= RECORD_PLAINTEXT:
            return self._record(data)
        pieces: list[bytes] = []
        with memoryview(data) as view:
            for start in range(0, size, RECORD_PLAINTEXT):
                pieces += self._record(view[start : start + RECORD_PLAINTEXT])
        return pieces

    def _record(self, plaintext: bytes | bytearray | memoryview) -> list[bytes]:
        start = self._used
        if start == len(self._nonces):
            self._nonces = self._random_bytes(_NONCES_AT_ONCE * _NONCE)
            start = 0
        self._used = start + _NONCE
        nonce = self._nonces[start : start + _NONCE]
        length = _LENGTH.pack(len(plaintext) + RECORD_OVERHEAD)
        return [length, nonce, self._encrypt(nonce, plaintext, None)]


class RecordOpener:
    """Opens the records of one direction of a channel under ``key`` (32 bytes).

    After a fault it is used up: every further call raises the same error.
    """

    __slots__ = ("_buffer", "_decrypt", "_failure", "_needed", "opened")

    def __init__(self, key: bytes) -> None:
        self._decrypt = ChaCha20Poly1305(key).decrypt
        # The beginning of one record whose end is not here yet; never more than that one record.
        self._buffer = bytearray()
        # Bytes that the buffer must have before anything can be done: a prefix, or a whole record.
        self._needed = _PREFIX
        self._failure: RecordError | None = None
        self.opened: list[bytes] = []
        """What the last call opened, also when it raised: the intact records before the fault."""

    @property
    def buffered(self) -> int:
        """Bytes held of a record that is not complete, at most ``MAX_RECORD`` and its prefix."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> list[bytes]:
        """The plaintexts of the records that ``data`` completes; an empty record gives none.

        Raises ``RecordTooLarge`` and ``RecordTooShort``
        from the length alone, ``RecordCorrupt`` for a tag that does not fit. What was
        opened before the fault is in ``opened``.
        """
        if self._failure is not None:
            self.opened = []
            raise self._failure
        opened: list[bytes] = []
        self.opened = opened
        try:
            # Nothing is copied but the parts of records that are not wholly in ``data``.
            with memoryview(data) as view:
                start = self._complete(view, opened) if self._buffer else 0
                start = self._open_whole(view, start, opened)
                if start < len(view):
                    self._buffer += view[start:]
        except RecordError as error:
            self._failure = error
            self._buffer.clear()
            raise
        return opened

    def receive_eof(self) -> None:
        """The stream has ended. Raises ``RecordTruncated`` inside a record."""
        if self._failure is not None:
            raise self._failure
        if self._buffer:
            raise RecordTruncated(
                f"the stream ended after {len(self._buffer)} bytes of a record or its length"
            )

    def _complete(self, view: memoryview, opened: list[bytes]) -> int:
        """Feed the buffered record; the offset in ``view`` of the first byte after it."""
        buffer = self._buffer
        start = 0
        while True:
            end = start + self._needed - len(buffer)
            buffer += view[start:end]
            if end > len(view):
                return len(view)
            start = end
            if self._needed > _PREFIX:
                break
            self._needed = _PREFIX + _checked_length(buffer, 0)
        with memoryview(buffer) as record:
            self._open_whole(record, 0, opened)
        buffer.clear()
        self._needed = _PREFIX
        return start

    def _open_whole(self, view: memoryview, start: int, opened: list[bytes]) -> int:
        """Open the records that are whole in ``view`` from ``start`` on; the offset after them."""
        size = len(view)
        decrypt = self._decrypt
        while size - start >= _PREFIX:
            end = start + _PREFIX + _checked_length(view, start)
            if end > size:
                self._needed = end - start
                break
            body = start + _BODY
            try:
                plaintext = decrypt(view[start + _PREFIX : body], view[body:end], None)
            except InvalidTag:
                raise RecordCorrupt(
                    f"the tag of a record of {end - start - _PREFIX} bytes does not fit"
                ) from None
            start = end
            if plaintext:
                opened.append(plaintext)
        return start


def _checked_length(buffer: bytearray | memoryview, start: int) -> int:
    length: int = _LENGTH.unpack_from(buffer, start)[0]
    if length > MAX_RECORD:
        raise RecordTooLarge(f"{length} bytes announced, {MAX_RECORD} allowed")
    if length < MIN_RECORD:
        raise RecordTooShort(f"{length} bytes announced, a record has at least {MIN_RECORD}")
    return length
