"""What secure records hold while they are not complete, in all streams of the process together.

A record must be here as a whole before its tag says anything. It may have ``MAX_RECORD`` bytes,
which is more than a window of the multiplexer, so these bytes have to count as read there, and the
multiplexer's own bounds do not see them. Without this one a lease could make every request to it
cost 32 MiB, for as long as the client waits.
"""

from typing import Final, Protocol

from portal_gateway.wire.limits import MAX_RECORD

__all__ = ["RECORD_MEMORY", "UNCOUNTED", "RecordHolder", "RecordMemory"]

UNCOUNTED: Final = 64 * 1024
"""Bytes of one record that are not counted: the usual record has half of it, and ends within a read
or two."""


class RecordHolder(Protocol):
    """A stream, as far as it holds a record."""

    def give_up_record(self) -> None:
        """End: there is no memory for the rest of the record."""


class RecordMemory:
    """The bytes held, at most ``limit``: beyond it, whoever holds most is to give up."""

    __slots__ = ("_held", "limit", "total")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        self._held: dict[RecordHolder, int] = {}

    def account(self, holder: RecordHolder, held: int) -> None:
        """``holder`` holds ``held`` bytes now. May call anybody's `RecordHolder.give_up_record`."""
        self.total += held - self._held.pop(holder, 0)
        if held:
            self._held[holder] = held
        while self.total > self.limit:
            largest = max(self._held, key=self._held.__getitem__)
            self.total -= self._held.pop(largest)
            largest.give_up_record()


RECORD_MEMORY: Final = RecordMemory(4 * MAX_RECORD)
"""That of this process: four of the largest records. Honest peers write 32 KiB ones."""
