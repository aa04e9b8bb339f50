"""The book of what was asked of a gateway and what became of it, by an id for each request.

========  ====================================================================================
sent      a request that the client began, whatever became of it
answered  its whole answer came, and carries its id
refused   nothing was done for it: no connection, closed without a byte of answer, or the
          gateway's own 429 or 503, and the upstream has never seen it
lost      everything else: no answer in time, a torn one, one with another's id, and a refusal
          of what the upstream has seen
========  ====================================================================================

A refusal is believed once :meth:`Ledger.balance` has compared it with what the upstream saw.
"""

import itertools
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection
from enum import Enum
from typing import NamedTuple

__all__ = ["STREAMED", "Balance", "Entry", "Ledger", "Outcome", "quantile"]


STREAMED = "-streamed-"
"""In the ids of streams and sockets, which have no one answer."""


class Outcome(Enum):
    ANSWERED = "answered"
    REFUSED = "refused"
    LOST = "lost"


class Entry(NamedTuple):
    """What became of one request. Times are of the monotonic clock, which processes share.

    ``begun`` is when it was due: what it waited in the client is part of ``latency``. ``why`` is
    short, for counting: ``200``, ``no connection``, ``closed``, ``reset``, ``torn``, ….
    """

    id: str
    outcome: Outcome
    why: str
    begun: float
    ended: float
    kept: bool = False

    @property
    def latency(self) -> float:
        return self.ended - self.begun


class Balance(NamedTuple):
    """The counts, and the ids of what does not add up.

    ``unknown`` are ids that the upstream saw and nobody of this book sent, ``twice`` those that it
    saw more than once, ``unseen`` those answered though it never saw them.
    """

    sent: int
    answered: int
    refused: int
    lost: tuple[Entry, ...]
    under_way: tuple[str, ...]
    unknown: tuple[str, ...]
    twice: tuple[str, ...]
    unseen: tuple[str, ...]
    why: Counter[str]

    @property
    def even(self) -> bool:
        """Whether all that was sent was answered or rightly refused, and each thing done once."""
        return not (self.lost or self.under_way or self.unknown or self.twice or self.unseen)

    def __str__(self) -> str:
        told = f"sent {self.sent}, answered {self.answered}, refused {self.refused}"
        told += f", lost {len(self.lost)} {dict(sorted(self.why.items()))}"
        for name in ("lost", "under_way", "unknown", "twice", "unseen"):
            if some := getattr(self, name):
                told += f"; {name}: {some[:5]}"
        return told


class Ledger:
    """Written by the client's thread, read by the test's."""

    def __init__(self, name: str = "") -> None:
        self.prefix = f"{name or 'id'}-{os.getpid()}-{next(_ledgers)}-"
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._under_way: dict[str, float] = {}
        self._entries: list[Entry] = []

    def begin(self, due: float) -> str:
        """The id of a request that is to be sent now."""
        with self._lock:
            request = f"{self.prefix}{next(self._numbers)}"
            self._under_way[request] = due
        return request

    def end(
        self, request: str, outcome: Outcome, why: str, now: float, *, kept: bool = False
    ) -> Entry:
        """What became of it; ``kept``: it went over a connection that had been used before."""
        with self._lock:
            begun = self._under_way.pop(request)
            entry = Entry(request, outcome, why, begun, now, kept)
            self._entries.append(entry)
        return entry

    @property
    def entries(self) -> list[Entry]:
        with self._lock:
            return list(self._entries)

    @property
    def sent(self) -> int:
        with self._lock:
            return len(self._entries) + len(self._under_way)

    @property
    def under_way(self) -> list[str]:
        with self._lock:
            return list(self._under_way)

    def count(self, outcome: Outcome) -> int:
        return sum(entry.outcome is outcome for entry in self.entries)

    def latencies(self, choose: Callable[[Entry], bool] = lambda _entry: True) -> list[float]:
        """Seconds that answers took, in order of length."""
        return sorted(
            entry.latency
            for entry in self.entries
            if entry.outcome is Outcome.ANSWERED and choose(entry)
        )

    def balance(self, seen: Collection[str], *, mine: bool = True) -> Balance:
        """The book beside ``seen``: the id of each request that came to the upstream, each time.

        Unless ``mine``, there may be others' ids in it. Those of streams and sockets do not count.
        """
        entries = self.entries
        under_way = self.under_way
        times = Counter(name for name in seen if STREAMED not in name)
        lost = [
            entry._replace(outcome=Outcome.LOST, why=f"{entry.why}, but seen")
            if entry.outcome is Outcome.REFUSED
            else entry
            for entry in entries
            if entry.outcome is Outcome.LOST
            or (entry.outcome is Outcome.REFUSED and entry.id in times)
        ]
        answered = [entry for entry in entries if entry.outcome is Outcome.ANSWERED]
        sent = {entry.id for entry in entries} | set(under_way)
        return Balance(
            sent=len(sent),
            answered=len(answered),
            refused=len(entries) - len(answered) - len(lost),
            lost=tuple(lost),
            under_way=tuple(under_way),
            unknown=tuple(sorted(set(times) - sent)) if mine else (),
            twice=tuple(sorted(name for name in sent if times[name] > 1)),
            unseen=tuple(entry.id for entry in answered if entry.id not in times),
            why=Counter(entry.why for entry in entries),
        )


_ledgers = itertools.count(1)


def quantile(ordered: list[float], part: float) -> float:
    """The value that ``part`` of ``ordered``, which has at least one, do not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
