"""Where the use of quotas is kept for all processes and times: what is asked of such a store."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

__all__ = ["Added", "QuotaStore", "StoreUnavailable", "Totals", "UsedIn"]

Totals = tuple[int, int]
"""Requests and bytes."""


class UsedIn(NamedTuple):
    """A key, and a day or month: ``period`` is ``daily`` or ``monthly``, ``label`` says which.

    It ends at the unix time ``end``.
    """

    key_id: str
    period: str
    label: str
    end: float


class Added(NamedTuple):
    """What a process counted beyond what it had written."""

    used: UsedIn
    requests: int
    bytes: int


class StoreUnavailable(Exception):
    """The store cannot be used now; the argument says why, without any secret.

    ``told`` says that the log has it already.
    """

    def __init__(self, reason: str, *, told: bool = False) -> None:
        super().__init__(reason)
        self.told = told


class QuotaStore(Protocol):
    """Adds up what processes count."""

    def sync(
        self, number: int, added: Sequence[Added], wanted: Sequence[UsedIn]
    ) -> Deferred[list[Totals]]:
        """Add, then read: the totals of each that was ``added``, then of each that is ``wanted``.

        What is added under a number that was used before is the same again, and is added once only.
        Numbers are from 1 on and grow. Fails with `StoreUnavailable`.
        """
