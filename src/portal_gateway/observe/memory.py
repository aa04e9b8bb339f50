"""How much memory the process has, and how much it may have."""

from os import sysconf
from pathlib import Path
from typing import NamedTuple

__all__ = ["Memory", "memory_now"]

_LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where a container, or systemd's ``MemoryMax``, says so: version 2 of cgroups, and version 1."""


class Memory(NamedTuple):
    """Bytes: what is resident, and the limit of the container, else the machine's memory."""

    resident: int
    limit: int

    @property
    def used(self) -> str:
        """The share that is used, as ``45%``."""
        return f"{100 * self.resident // self.limit}%"


def memory_now(root: Path = Path("/")) -> Memory:
    """What it is now. Without ``/proc`` nothing is known: 0 of 1."""
    try:
        pages = int((root / "proc/self/statm").read_text("ascii").split()[1])
        limit = sysconf("SC_PHYS_PAGES") * sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return Memory(0, 1)
    for place in _LIMITS:
        try:
            limit = min(limit, int((root / place).read_text("ascii")))
        except (OSError, ValueError):
            # There is none, or it says "max".
            continue
    return Memory(pages * sysconf("SC_PAGE_SIZE"), limit)
