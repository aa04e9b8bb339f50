"""Names of leases as they are compared, without case as a directory looks them up, and patterns.

In a pattern ``*`` stands for any characters and ``?`` for one; there is no escape.
"""

import re

from portal_gateway.wire.identity import is_lease_id

__all__ = ["folded", "is_exact", "normal_pattern"]

_WILD = re.compile(r"[*?]")
_STARS = re.compile(r"\*{2,}")


def folded(name: str) -> str:
    """The form in which two names are the same. An id is compared with case, and is no name."""
    return name if is_lease_id(name) else name.casefold()


def is_exact(pattern: str) -> bool:
    """Whether a pattern is for one name."""
    return _WILD.search(pattern) is None


def normal_pattern(pattern: str) -> str:
    """The form in which two patterns are the same."""
    if is_exact(pattern):
        return folded(pattern)
    return _STARS.sub("*", pattern.casefold())
