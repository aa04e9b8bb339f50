"""``Max-Forwards``: how many more proxies may pass an OPTIONS on (RFC 9110 section 7.6.2)."""

from collections.abc import Sequence
from typing import Final

from portal_gateway.wire.http_fields import HTTPSyntaxError

__all__ = ["MOST_FORWARDS", "BadMaxForwards", "remaining_forwards"]

MOST_FORWARDS: Final = 2**31 - 1
"""The largest value that is passed on; what says more is passed on as this."""

_MOST_DIGITS: Final = len(str(MOST_FORWARDS))


class BadMaxForwards(HTTPSyntaxError):
    """``Max-Forwards`` is there twice, or is no number."""


def remaining_forwards(values: Sequence[bytes]) -> int | None:
    """The number of recipients that may still forward the request, by the values of its field.

    ``None`` is without a limit. Raises `BadMaxForwards` where two recipients could count
    differently.
    """
    if not values:
        return None
    if len(values) > 1 or not values[0].isdigit():
        raise BadMaxForwards("Max-Forwards is not one number")
    digits = values[0].lstrip(b"0")
    # The count of digits first: turning thousands of them into a number costs time and may raise.
    if len(digits) > _MOST_DIGITS:
        return MOST_FORWARDS
    return min(int(digits or b"0"), MOST_FORWARDS)
