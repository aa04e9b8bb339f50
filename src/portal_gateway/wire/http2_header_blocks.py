"""HPACK: header blocks of HTTP/2, coded in time proportional to their bytes (RFC 7541).

The hpack library's encoder takes time that grows with the square of a value's length, and with the
entries of its table for each field; its decoder copies the rest of the block for each field. The
two classes here have the attributes that the h2 library uses of those. Of the library remain the
static table, the decoding of Huffman's code, and the errors that h2 knows.

Strings are encoded as they are. Huffman's code would save a quarter of their bytes, once for each
entry of the table, and costs more time than all the rest of a response's head.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from hpack.exceptions import (
    HPACKDecodingError,
    InvalidTableIndex,
    InvalidTableSizeError,
    OversizedHeaderListError,
)
from hpack.huffman_table import (
    HUFFMAN_COMPLETE,
    HUFFMAN_EMIT_SYMBOL,
    HUFFMAN_FAIL,
    HUFFMAN_TABLE,
)
from hpack.table import HeaderTable

__all__ = ["FIELD_OVERHEAD", "HeaderDecoder", "HeaderEncoder"]

FIELD_OVERHEAD: Final = 32
"""Bytes that a field counts for besides its own (RFC 7541 section 4.1, RFC 9113 section 6.5.2)."""

_TABLE_SIZE: Final = 4096
"""Bytes of a dynamic table, unless a setting says otherwise (RFC 9113 section 6.5.2); also the most
that our encoder keeps, however much the client offers to keep."""

_LARGE_PART: Final = 4
"""An entry of more than this part of the table is not added: it would push the others out."""

_MAX_SIZE_UPDATES: Final = 2
"""Changes of the table's size in one block: more are never needed (RFC 7541 section 4.2)."""

_INTEGER_OCTETS: Final = 5
"""Octets of one integer: enough for 28 bits, and for every length that a block can have."""

_STATIC: Final[tuple[tuple[bytes, bytes], ...]] = HeaderTable.STATIC_TABLE

_FIRST_DYNAMIC: Final = len(_STATIC) + 1

_STATIC_FIELDS: Final[dict[tuple[bytes, bytes], bytes]] = {
    field: bytes([0x80 | index]) for index, field in enumerate(_STATIC, 1)
}
"""The encoding of each field of the static table."""

_STATIC_NAMES: Final[dict[bytes, int]] = {
    name: index for index, (name, _) in reversed(list(enumerate(_STATIC, 1)))
}

_VARYING: Final = frozenset(
    {
        b"age",
        b"content-length",
        b"content-range",
        b"etag",
        b"expires",
        b"last-modified",
        b"location",
        b"ratelimit",
        b"traceparent",
        b"x-ratelimit-remaining",
        b"x-ratelimit-reset",
        b"x-request-id",
    }
)
"""Fields whose values hardly come twice: in the table they would push out what does."""

_SECRET: Final = frozenset({b"set-cookie"})
"""Fields that no table keeps, here or behind a client that is a proxy (RFC 7541 section 7.1.3)."""

_AS_IS: Final = 0x00
_NEVER_INDEXED: Final = 0x10
_INDEXED: Final = 0x40
_SIZE_UPDATE: Final = 0x20


def _integer(value: int, bits: int, first: int) -> bytes:
    """``value`` with a prefix of ``bits``, whose octet has the bits of ``first`` (section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    octets = bytearray([first | most])
    value -= most
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


class HeaderEncoder:
    """Encodes the header blocks of one connection, one after the other.

    The dynamic table is a window on all entries that were ever added. They are numbered, and
    ``_added`` is the number of the next.
    """

    __slots__ = ("_added", "_entries", "_fields", "_least_size", "_max_size", "_names", "_size")

    def __init__(self) -> None:
        self._entries: deque[tuple[bytes, bytes]] = deque()
        self._fields: dict[tuple[bytes, bytes], int] = {}
        self._names: dict[bytes, int] = {}
        self._added = 0
        self._size = 0
        self._max_size = _TABLE_SIZE
        # The smallest size since the last block, if the size has changed.
        self._least_size: int | None = None

    @property
    def header_table_size(self) -> int:
        """Bytes that the dynamic table may have: what the client allows, 4096 at most."""
        return self._max_size

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        size = min(value, _TABLE_SIZE)
        if size != self._max_size:
            least = self._least_size
            self._least_size = size if least is None else min(least, size)
            self._max_size = size
            self._evict(size)

    def encode(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The header block of ``headers``, whose names are in lower case."""
        parts: list[bytes] = []
        least = self._least_size
        if least is not None:
            if least < self._max_size:
                parts.append(_integer(least, 5, _SIZE_UPDATE))
            parts.append(_integer(self._max_size, 5, _SIZE_UPDATE))
            self._least_size = None
        for field in headers:
            whole = _STATIC_FIELDS.get(field)
            if whole is not None:
                parts.append(whole)
                continue
            number = self._fields.get(field)
            if number is not None:
                parts.append(_integer(_FIRST_DYNAMIC + self._added - 1 - number, 7, 0x80))
                continue
            self._literal(field[0], field[1], parts)
        return b"".join(parts)

    def _literal(self, name: bytes, value: bytes, parts: list[bytes]) -> None:
        index = _STATIC_NAMES.get(name, 0)
        if not index:
            number = self._names.get(name)
            if number is not None:
                index = _FIRST_DYNAMIC + self._added - 1 - number
        size = len(name) + len(value) + FIELD_OVERHEAD
        if name in _SECRET:
            parts.append(_integer(index, 4, _NEVER_INDEXED))
        elif name in _VARYING or size * _LARGE_PART > self._max_size:
            parts.append(_integer(index, 4, _AS_IS))
        else:
            parts.append(_integer(index, 6, _INDEXED))
            self._add(name, value, size)
        if not index:
            parts += (_integer(len(name), 7, 0), name)
        parts += (_integer(len(value), 7, 0), value)

    def _add(self, name: bytes, value: bytes, size: int) -> None:
        self._evict(self._max_size - size)
        field = (name, value)
        self._entries.append(field)
        self._fields[field] = self._names[name] = self._added
        self._added += 1
        self._size += size

    def _evict(self, size: int) -> None:
        """Drop the oldest entries until the table has ``size`` bytes at most."""
        entries = self._entries
        while self._size > size:
            number = self._added - len(entries)
            field = entries.popleft()
            name, value = field
            del self._fields[field]
            if self._names[name] == number:
                del self._names[name]
            self._size -= len(name) + len(value) + FIELD_OVERHEAD


class HeaderDecoder:
    """Decodes the header blocks of one connection, one after the other.

    ``max_header_list_size`` bounds what one block decodes to, each field with `FIELD_OVERHEAD`;
    ``max_allowed_table_size`` is the size of the table that our settings allow.
    """

    __slots__ = ("_entries", "_max_size", "_size", "max_allowed_table_size", "max_header_list_size")

    def __init__(self, max_header_list_size: int) -> None:
        self.max_header_list_size = max_header_list_size
        self.max_allowed_table_size = _TABLE_SIZE
        # The newest entry first.
        self._entries: deque[tuple[bytes, bytes]] = deque()
        self._size = 0
        self._max_size = _TABLE_SIZE

    def decode(self, data: bytes, raw: bool = True) -> list[tuple[bytes, bytes]]:  # noqa: ARG002 - as h2 calls it
        """The fields of the block ``data``.

        Raises ``HPACKDecodingError`` or one of its relatives, after which the connection is of no
        further use.
        """
        fields: list[tuple[bytes, bytes]] = []
        position, end = 0, len(data)
        room = self.max_header_list_size
        updates = 0
        while position < end:
            first = data[position]
            if first & 0x80:
                index, position = _read_integer(data, position, 7)
                field = self._entry(index)
            elif first & 0x60 == _SIZE_UPDATE:
                updates += 1
                if fields or updates > _MAX_SIZE_UPDATES:
                    raise HPACKDecodingError("a size update is not where it may be")
                size, position = _read_integer(data, position, 5)
                self._resize(size)
                continue
            else:
                is_indexed = bool(first & 0x40)
                index, position = _read_integer(data, position, 6 if is_indexed else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, position = _read_string(data, position)
                value, position = _read_string(data, position)
                field = (name, value)
                if is_indexed:
                    self._add(field)
            fields.append(field)
            room -= len(field[0]) + len(field[1]) + FIELD_OVERHEAD
            if room < 0:
                raise OversizedHeaderListError("the fields are longer than what is accepted")
        if self._max_size > self.max_allowed_table_size:
            raise InvalidTableSizeError("the table was not made as small as it has to be")
        return fields

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        if 0 < index < _FIRST_DYNAMIC:
            return _STATIC[index - 1]
        index -= _FIRST_DYNAMIC
        if 0 <= index < len(self._entries):
            return self._entries[index]
        raise InvalidTableIndex("there is no such entry in the table")

    def _resize(self, size: int) -> None:
        if size > self.max_allowed_table_size:
            raise InvalidTableSizeError("the table would be larger than what is allowed")
        self._max_size = size
        self._evict(size)

    def _add(self, field: tuple[bytes, bytes]) -> None:
        size = len(field[0]) + len(field[1]) + FIELD_OVERHEAD
        self._evict(max(0, self._max_size - size))
        if size <= self._max_size:
            self._entries.appendleft(field)
            self._size += size

    def _evict(self, size: int) -> None:
        while self._size > size:
            name, value = self._entries.pop()
            self._size -= len(name) + len(value) + FIELD_OVERHEAD


def _read_integer(data: bytes, position: int, bits: int) -> tuple[int, int]:
    """An integer with a prefix of ``bits`` and the position after it (section 5.1)."""
    most = (1 << bits) - 1
    end = len(data)
    if position >= end:
        raise HPACKDecodingError("the block ends within a field")
    value = data[position] & most
    position += 1
    if value < most:
        return value, position
    for shift in range(0, 7 * (_INTEGER_OCTETS - 1), 7):
        if position >= end:
            raise HPACKDecodingError("the block ends within a field")
        octet = data[position]
        position += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, position
    raise HPACKDecodingError("an integer has too many octets")


def _read_string(data: bytes, position: int) -> tuple[bytes, int]:
    """A name or value and the position after it (section 5.2)."""
    if position >= len(data):
        raise HPACKDecodingError("the block ends within a field")
    is_huffman = data[position] >= 0x80
    length, position = _read_integer(data, position, 7)
    end = position + length
    if end > len(data):
        raise HPACKDecodingError("the block ends within a field")
    text = data[position:end]
    return (_decode_huffman(text) if is_huffman else text), end


_steps: dict[int, tuple[int, bytes, bool]] = {}
"""Steps of the Huffman code by state and octet, as they are needed: the state after the octet, the
symbols that it ends, and whether a text may end with it."""

_MOST_STEPS: Final = 8192
"""Steps that are kept: more than ordinary text takes, and 0.8 MB."""


def _decode_huffman(data: bytes) -> bytes:
    """Decode a string (section 5.2), octet by octet: the library's table goes by half octets."""
    state = 0
    is_complete = True
    parts: list[bytes] = []
    for octet in data:
        step = _steps.get(state << 8 | octet)
        if step is None:
            step = _step(state, octet)
        state, symbols, is_complete = step
        if symbols:
            parts.append(symbols)
    if not is_complete:
        raise HPACKDecodingError("a string in Huffman code ends within a symbol")
    return b"".join(parts)


def _step(state: int, octet: int) -> tuple[int, bytes, bool]:
    key = state << 8 | octet
    symbols = bytearray()
    flags = 0
    for half in (octet >> 4, octet & 0xF):
        state, flags, symbol = HUFFMAN_TABLE[state << 4 | half]
        if flags & HUFFMAN_FAIL:
            raise HPACKDecodingError("a string is not in Huffman code")
        if flags & HUFFMAN_EMIT_SYMBOL:
            symbols.append(symbol)
    step = (state, bytes(symbols), bool(flags & HUFFMAN_COMPLETE))
    if len(_steps) >= _MOST_STEPS:
        _steps.clear()
    _steps[key] = step
    return step
