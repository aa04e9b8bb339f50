"""Lease names as labels of host names, and back: one rule for both directions.

A name and its label are the same lease or none: only a name in the one form that its label gives
back has a label. So no two names share a host, and a name cannot reach another host by its dots,
its case, or a character that a mapping would replace.

A name in ASCII is its own label where it has letters in lower case, digits, and hyphens within
(RFC 1123 section 2.1), and does not start with ``xn--``. Any other has the A-label of IDNA 2008
(RFC 5890 section 2.3.2.1), without the mappings of RFC 5895. Portal 2 registers Unicode names by
the same labels.
"""

import re
from functools import lru_cache
from unicodedata import normalize

import idna

__all__ = ["label_of", "name_of"]

_ASCII_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

_A_LABEL_PREFIX = "xn--"

_MAX_UNICODE_NAME = 59
"""Characters of a name that an A-label can hold: 63 octets (RFC 1034 section 3.1) less its prefix,
each character being one octet or more. IDNA's checks cost more than linear time, so a longer name
is not given to them."""

_REMEMBERED = 1024
"""Unicode names whose labels are remembered: the checks take some 60 µs, and leases are few."""


def label_of(name: str, *, in_any_case: bool = False) -> str | None:
    """The label that stands for the lease ``name``; ``None`` where a host name cannot hold it.

    ``in_any_case`` is for a name that is one lease in whichever case it is spelled, as the
    configuration's are: where it has no label, its lower case may have one. (Not its folded form:
    ``ß`` and a final sigma have labels of their own.)
    """
    label = _label_of(name)
    if label is None and in_any_case:
        return _label_of(normalize("NFC", name.lower()))
    return label


def _label_of(name: str) -> str | None:
    if name.isascii():
        if name.startswith(_A_LABEL_PREFIX) or _ASCII_LABEL.fullmatch(name) is None:
            return None
        return name
    return None if len(name) > _MAX_UNICODE_NAME else _a_label(name)


@lru_cache(_REMEMBERED)
def _a_label(name: str) -> str | None:
    try:
        label = idna.alabel(name).decode("ascii")
        return label if idna.ulabel(label) == name else None
    except UnicodeError:  # what `idna.IDNAError` is
        return None


def name_of(label: str) -> str | None:
    """The lease name that ``label``, in lower case, stands for; ``None`` where it is none."""
    if _ASCII_LABEL.fullmatch(label) is None:
        return None
    if not label.startswith(_A_LABEL_PREFIX):
        return label
    try:
        name = idna.ulabel(label)
    except UnicodeError:
        return None
    return name if label_of(name) == label else None
