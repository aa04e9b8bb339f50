"""Walks the fields of one protobuf message without building any of them.

The protobuf library builds a whole message or none of it: 16 MiB of empty list elements become
eight million objects and 240 MB before anything can be counted. A relay's list of leases is
therefore walked, element by element and no further than its bound, and each element is given to the
library on its own.
"""

from collections.abc import Iterator

__all__ = ["length_delimited_fields"]

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


def length_delimited_fields(message: bytes | memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Every field of ``message`` in order: its number, and its bytes when it is of wire type 2.

    Strings, bytes and messages are of that type; for any other field there is ``None``. Raises
    ``ValueError`` at the first byte that cannot be a field, after the fields before it.
    """
    view = memoryview(message)
    size = len(view)
    position = 0
    while position < size:
        tag, position = _varint(view, position)
        wire_type = tag & 7
        value = None
        if wire_type == _LENGTH_DELIMITED:
            length, start = _varint(view, position)
            position = start + length
            value = view[start:position]
        elif wire_type == _VARINT:
            _, position = _varint(view, position)
        elif wire_type == _FIXED64:
            position += 8
        elif wire_type == _FIXED32:
            position += 4
        else:
            raise ValueError(f"wire type {wire_type} is not known")
        if position > size:
            raise ValueError("a field goes on behind the message's end")
        yield tag >> 3, value


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """The number at ``position``, and the position after it."""
    result = 0
    for shift in range(_MAX_VARINT_BYTES):
        if position >= len(view):
            break
        byte = view[position]
        position += 1
        result |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return result, position
    raise ValueError("a number has no end")
