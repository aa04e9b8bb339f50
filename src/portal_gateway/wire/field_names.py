"""Field names as lenient readers take them: CGI, WSGI and PHP know a field as a variable.

CGI makes ``HTTP_X_REAL_IP`` of ``X-Real-IP``, and of ``X_Real_IP`` as well; some servers make ``_``
of every other character that a variable cannot have, too. A name of letters, digits and hyphens
alone is one name for all of them. Any other name may be taken for another field, one that was
judged or is written here.
"""

from collections.abc import Iterable, Sequence
from string import ascii_letters, digits
from typing import Final

__all__ = ["all_plain", "folded_name", "plain_only"]

_PLAIN: Final = (ascii_letters + digits + "-").encode("ascii")

_FOLD: Final = bytes(
    byte if byte in _PLAIN else 0x2D for byte in bytes(range(256)).lower()
)  # every other byte becomes a hyphen


def all_plain(names: Iterable[bytes]) -> bool:
    """Whether every name is of letters, digits and hyphens alone."""
    return not b"".join(names).translate(None, _PLAIN)


def plain_only(fields: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields whose names are read alike by everybody."""
    return [field for field in fields if not field[0].translate(None, _PLAIN)]


def folded_name(name: bytes) -> bytes:
    """The plain name, in lower case, that a lenient reader may take ``name`` for."""
    return name.translate(_FOLD)
