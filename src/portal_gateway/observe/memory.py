"""How much memory the process has, and how much it may have."""

from collections.abc import Iterator
from os import sysconf
from pathlib import Path
from typing import NamedTuple

__all__ = ["Memory", "memory_now"]


class Memory(NamedTuple):
    """Bytes: what is resident, and the limit of the container or unit, else of the machine."""

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
    for place in _limits(root):
        try:
            limit = min(limit, int(place.read_text("ascii")))
        except (OSError, ValueError):
            # There is none, or it says "max".
            continue
    return Memory(pages * sysconf("SC_PAGE_SIZE"), limit)


def _limits(root: Path) -> Iterator[Path]:
    """The files in which a limit may stand: those of the process's control group and all above it.

    A container sees its own at the top; systemd's ``MemoryMax`` is in that of the unit. Version 1
    of control groups is known at the top only.
    """
    top = root / "sys/fs/cgroup"
    yield top / "memory.max"
    yield top / "memory/memory.limit_in_bytes"
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        # Version 2 has the one group without controllers in its line.
        if line.startswith("0::/"):
            place = top
            for part in line.removeprefix("0::/").split("/"):
                if part in {"", ".."}:
                    return
                place /= part
                yield place / "memory.max"
