"""Which workers there are, when one is to be started, and whether all of them are well.

Nothing here starts or asks anybody: facts come in with the time, and the parent looks up what is to
be done. Times are seconds of a monotonic clock.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["LONGEST_WAIT", "START_WITHIN", "STEADY", "Crew", "Worker"]

STEADY: Final = 10.0
"""Seconds that a worker ran when its end is no part of a loop: it is replaced at once."""

SHORTEST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 30.0
"""Seconds before a worker is started that ended soon: each time twice as long, up to this. A loop
costs a start each half minute then, and goes on by itself when its reason is gone."""

START_WITHIN: Final = 30.0
"""Seconds that a worker may take to be ready before it counts as one that does not answer."""


@dataclass(slots=True)
class Worker:
    """The place of one worker: the process that has it, or when there is to be one."""

    number: int
    pid: int | None = None
    started: float = 0.0
    heard: float = 0.0
    ready: bool = False
    start_at: float = 0.0
    soon_lost: int = 0


class Crew:
    """``count`` workers, numbered from 1, none of which runs yet."""

    def __init__(self, count: int) -> None:
        self.workers = [Worker(number) for number in range(1, count + 1)]
        self.was_ready = False
        self.ending = False

    # Facts.

    def started(self, worker: Worker, pid: int, now: float) -> None:
        """A process has taken the worker's place."""
        worker.pid = pid
        worker.started = worker.heard = now
        worker.ready = False

    def is_ready(self, worker: Worker, now: float) -> None:
        """The worker takes requests."""
        worker.heard = now
        worker.ready = True
        self.was_ready |= self.all_ready

    def is_busy(self, worker: Worker, now: float | None = None) -> None:
        """The worker is not ready until it says so: it reloads, or is about to (``now`` None)."""
        worker.ready = False
        if now is not None:
            worker.heard = now

    def is_alive(self, worker: Worker, now: float) -> None:
        """The worker has said something."""
        worker.heard = now

    def ended(self, worker: Worker, now: float) -> float:
        """Its process is gone; the seconds until there is to be another."""
        lifetime = now - worker.started
        worker.pid = None
        worker.ready = False
        wait = 0.0
        if lifetime >= STEADY:
            worker.soon_lost = 0
        elif worker.soon_lost:
            # The power itself must not grow for ever.
            wait = min(LONGEST_WAIT, SHORTEST_WAIT * 2.0 ** min(worker.soon_lost - 1, 10))
        worker.soon_lost += 1
        worker.start_at = now + wait
        return wait

    # What is to be done, and how they are.

    def due(self, now: float) -> list[Worker]:
        """The workers to be started now."""
        if self.ending:
            return []
        return [each for each in self.workers if each.pid is None and each.start_at <= now]

    def next_due(self) -> float | None:
        """When the next one is to be started."""
        waiting = [each.start_at for each in self.workers if each.pid is None]
        return None if self.ending else min(waiting, default=None)

    @property
    def running(self) -> list[Worker]:
        """Those that have a process."""
        return [each for each in self.workers if each.pid is not None]

    @property
    def ready_count(self) -> int:
        """How many take requests."""
        return sum(each.ready for each in self.workers)

    @property
    def all_ready(self) -> bool:
        """Whether all of them take requests."""
        return self.ready_count == len(self.workers)

    def all_answer(self, now: float, within: float) -> bool:
        """Whether each was heard of ``within`` these seconds; one that starts has time for it."""
        return all(
            now - each.heard <= (within if each.ready else max(within, START_WITHIN))
            for each in self.running
        )
