"""What is due when: asking for a certificate, or for the authority's word on its renewal. Pure.

A certificate is renewed at two thirds of its life, a little earlier by chance so that gateways that
started together do not ask together, or when the authority says so (ARI, RFC 9773). After a failure
the waits double to a maximum, and they stand in the store: a daemon that is restarted in a loop
does not ask in a loop.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

__all__ = [
    "ASK_AGAIN",
    "MAX_WAIT",
    "Due",
    "Held",
    "History",
    "after_failure",
    "after_success",
    "after_word",
    "due",
]

MAX_WAIT = timedelta(hours=6)
"""The longest wait after a failure, but for chance: some tries in the last third of a life."""

MAX_RETRY_AFTER = timedelta(days=1)
"""The longest wait that an authority can ask for: a mistake of its must not end renewals."""

ASK_AGAIN = timedelta(hours=6)
"""How often the authority is asked when to renew, if it does not say (RFC 9773 section 4.3.3)."""

_LEAST_ASK, _MOST_ASK = timedelta(minutes=1), timedelta(days=1)
"""RFC 9773 section 4.3.2 wants reasonable limits of what it says."""

_EARLIER = 30
"""Renewal comes at most this part of the life earlier by chance: three days of 90."""

_MOST_DOUBLINGS = 20


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate that is there: its life and the names in it."""

    since: datetime
    until: datetime
    domains: frozenset[str]


@dataclass(frozen=True, slots=True)
class History:
    """What was tried for one certificate.

    Nothing is asked for before ``not_before``. ``renew_at`` is the authority's word, which is asked
    for again at ``ask_at``.
    """

    failures: int = 0
    not_before: datetime | None = None
    renew_at: datetime | None = None
    ask_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """What is next: a certificate is to be issued, or the authority's word to be asked for."""

    what: Literal["issue", "ask"]
    at: datetime


def due(
    held: Held | None, wanted: Collection[str], history: History, now: datetime, chance: float
) -> Due:
    """What is to be done next for a certificate, now or later.

    ``chance`` from 0 to 1 stays the same for a certificate in a process. A time in ``history`` that
    is further away than it can be is not believed: the clock was set back since.
    """
    earliest = _believed(history.not_before, now, max(MAX_WAIT * 1.5, MAX_RETRY_AFTER))
    if held is None or not held.domains.issuperset(wanted):
        return Due("issue", earliest)
    life = held.until - held.since
    renew_at = held.since + life * 2 / 3 - life / _EARLIER * chance
    if history.renew_at is not None:
        renew_at = min(renew_at, history.renew_at)
    issue = Due("issue", max(renew_at, earliest))
    # Of a certificate that has expired nothing is asked (RFC 9773 section 4.3).
    if renew_at <= now or held.until <= now:
        return issue
    ask = Due("ask", _believed(history.ask_at, now, _MOST_ASK))
    return min(ask, issue, key=lambda each: each.at)


def _believed(time: datetime | None, now: datetime, most: timedelta) -> datetime:
    return now if time is None else min(time, now + most)


def after_failure(
    history: History, now: datetime, first: timedelta, chance: float, asked: timedelta | None
) -> History:
    """The history with one more failure.

    The wait is ``first`` doubled with each failure, and up to half of it more by ``chance``, or
    what the authority ``asked`` for if that is longer (Retry-After).
    """
    failures = history.failures + 1
    # The power itself must not grow for ever.
    doubled = first * 2 ** min(failures - 1, _MOST_DOUBLINGS)
    wait = min(doubled, MAX_WAIT) * (1 + chance / 2)
    if asked is not None:
        wait = max(wait, min(asked, MAX_RETRY_AFTER))
    return replace(history, failures=failures, not_before=now + wait)


def after_success(now: datetime, first: timedelta) -> History:
    """The history of a certificate that was just issued.

    Even one that lives for moments only is not asked for anew before ``first`` is over.
    """
    return History(not_before=now + first)


def after_word(
    history: History, now: datetime, renew_at: datetime | None, again: datetime | None
) -> History:
    """The history with the authority's word, or without one where it could not be had."""
    if again is None:
        again = now + ASK_AGAIN
    ask_at = min(max(again, now + _LEAST_ASK), now + _MOST_ASK)
    return replace(history, renew_at=renew_at, ask_at=ask_at)
