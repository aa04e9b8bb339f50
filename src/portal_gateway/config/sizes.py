"""Readers of sizes in bytes."""

import re
from decimal import Decimal

from portal_gateway.config.reading import Value
from portal_gateway.config.worded import Worded, reads

__all__ = ["size", "spoken_size"]

_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,3})?)(KB|MB|GB|TB|KiB|MiB|GiB|TiB)|([0-9]{1,18})")
_BYTES = {
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}


def size(least: int, most: int) -> Worded[int]:
    """Reads a size such as ``10MB``, ``8KiB`` or ``4096`` into bytes.

    ``KB`` is 1000 bytes and ``KiB`` is 1024 (IEC 80000-13). A fraction of a byte is dropped.
    """

    bounds = f"from ``{spoken_size(least)}`` to ``{spoken_size(most)}``"

    @reads(f"size {bounds}", spoken=spoken_size)
    def read(value: Value) -> int:
        found = value.text("a size such as 10MB")
        match = _SIZE.fullmatch(found.text)
        if match is None:
            raise value.refuse(
                f"bad size {found.shown}; write a number and one of KB, MB, GB, TB, KiB, MiB, GiB,"
                " TiB, such as 10MB, or a number of bytes"
            )
        number, unit, plain = match.groups()
        bytes_ = int(plain) if plain else int(Decimal(number) * _BYTES[unit])
        if not least <= bytes_ <= most:
            raise value.refuse(
                f"expected a size from {spoken_size(least)} to {spoken_size(most)},"
                f" found {found.shown}"
            )
        return bytes_

    return read


def spoken_size(bytes_: int) -> str:
    """Bytes as a configuration would have them, in the largest unit that divides them."""
    for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "KB"):
        if bytes_ and bytes_ % _BYTES[unit] == 0:
            return f"{bytes_ // _BYTES[unit]}{unit}"
    return str(bytes_)
