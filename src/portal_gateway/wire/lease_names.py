"""Names of leases as they are compared, and patterns of names: the one place that folds them.

Two names with one *folded* form are one name: case and canonical equivalence make no difference
(Unicode 15, section 3.13, D145). Every look-up of a lease and every rule about leases compares
folded forms. A lease id is compared as it is: it is no name.

Two names with one *lenient* form are one name to some other reader: one who normalises for
compatibility (NFKC), compares in upper case, drops invisible characters, or trims spaces and the
dots at the end, as host names and some file systems do. They are two names here, and nobody is
reached by a name that has the lenient form of one in the configuration.

In a pattern ``*`` stands for any characters and ``?`` for one; there is no escape.
"""

import re
from itertools import groupby
from unicodedata import combining, normalize

from portal_gateway.wire.identity import LEASE_ID_CHARACTERS, is_lease_id

__all__ = ["caseless", "folded", "has_one_reading", "is_exact", "lenient_form", "normal_pattern"]

_WILD = re.compile(r"[*?]")
_STARS = re.compile(r"\*{2,}")

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Default_Ignorable_Code_Point (Unicode 15, section 5.21): what is drawn as nothing."""

_READ_AGAIN = re.compile(r"[%+/\\;?#]")
"""Characters that end a path segment or mean something else once a segment is decoded again."""

_MOST_MARKS = 30
"""Combining marks in a row that are put in order (UAX #15, section 13, Stream-Safe Text Format).

Ordering them costs time with the square of their number; no writing system needs as many.
"""


_LONGEST_FORM = 1024
"""Characters of a name in NFKC that is folded any further. A character can become eighteen, and no
relay takes a name of more than 300."""


def folded(name: str) -> str:
    """The form in which two names are the same. An id is compared with case, and is no name."""
    if len(name) == LEASE_ID_CHARACTERS and is_lease_id(name):
        return name
    return caseless(name)


def caseless(text: str) -> str:
    """Text in the form that case and canonical equivalence do not change."""
    if text.isascii():
        return text.lower()
    if not _has_few_marks(text):
        return text.casefold()
    return normalize("NFC", normalize("NFD", text).casefold())


def lenient_form(name: str) -> str:
    """The form in which two names are the same for a lenient reader; an id is as it is.

    It may be empty, as that of ``"..."`` is.
    """
    form = folded(name)
    if not form.isascii() and _has_few_marks(form):
        # A form can hold what only the first round brought about, as the dotless i of mathematics.
        expanded = normalize("NFKC", form)
        if len(expanded) > _LONGEST_FORM:
            return expanded
        for _ in range(2):
            form = _INVISIBLE.sub("", normalize("NFKC", form).upper().casefold())
        form = normalize("NFKC", form)
    return form.strip().rstrip(". ")


def has_one_reading(name: str, *, in_any_case: bool = False) -> bool:
    """Whether a name that stands percent-encoded in a path is the same name for every reader.

    Readers decode it twice, take ``+`` for a space or ``;`` for the end of the segment, fold case,
    normalise, trim, or take it for a dot segment. ``in_any_case`` is for a name that the
    configuration spells as it is.
    """
    if _READ_AGAIN.search(name) is not None or not name.isprintable():
        return False
    if len(name) == LEASE_ID_CHARACTERS and is_lease_id(name.upper()):
        return is_lease_id(name)
    form = lenient_form(name)
    return form != "" and form == (folded(name) if in_any_case else name)


def _has_few_marks(text: str) -> bool:
    if len(text) <= _MOST_MARKS:
        return True
    marks = groupby(text, key=lambda character: combining(character) != 0)
    return all(sum(1 for _ in run) <= _MOST_MARKS for is_mark, run in marks if is_mark)


def is_exact(pattern: str) -> bool:
    """Whether a pattern is for one name."""
    return _WILD.search(pattern) is None


def normal_pattern(pattern: str) -> str:
    """The form in which two patterns are the same."""
    if is_exact(pattern):
        return folded(pattern)
    return _STARS.sub("*", caseless(pattern))
