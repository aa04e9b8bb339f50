"""What a generated API key looks like: made of random bytes, and told from what was mistyped.

::

    sk_live_ | 43 digits to the base 62: 256 random bits | 6 digits to the base 62: CRC-32

The checksum is of everything before it. It keeps no secret: it spares the database a question for
each key that cannot be one, and people the search for why a key with a letter missing is refused.
"""

import re
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Final
from zlib import crc32

__all__ = ["KEY_PREFIX", "RANDOM_BYTES", "is_generated_key", "key_text"]

KEY_PREFIX: Final = "sk_live_"

RANDOM_BYTES: Final = 32

_DIGITS: Final = digits + ascii_uppercase + ascii_lowercase

_RANDOM_DIGITS: Final = 43
"""62**43 is the first power above 2**256."""

_CHECKSUM_DIGITS: Final = 6
"""62**6 is the first power above 2**32."""

_SHAPE: Final = re.compile(
    rb"(%b[0-9A-Za-z]{%d})([0-9A-Za-z]{%d})"
    % (KEY_PREFIX.encode("ascii"), _RANDOM_DIGITS, _CHECKSUM_DIGITS)
)


def key_text(random: bytes) -> str:
    """The key that is made of `RANDOM_BYTES` bytes. Raises ValueError for another number."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a key is made of {RANDOM_BYTES} bytes")
    body = KEY_PREFIX + _to_base_62(int.from_bytes(random), _RANDOM_DIGITS)
    return body + _checksum(body.encode("ascii"))


def is_generated_key(key: bytes) -> bool:
    """Whether `key_text` can have made it."""
    match = _SHAPE.fullmatch(key)
    return match is not None and _checksum(match[1]).encode("ascii") == match[2]


def _checksum(body: bytes) -> str:
    return _to_base_62(crc32(body), _CHECKSUM_DIGITS)


def _to_base_62(number: int, length: int) -> str:
    found = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        found.append(_DIGITS[digit])
    return "".join(reversed(found))
