"""What can be wrong with a configuration: located faults, all of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ConfigInvalid", "Fault"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where.

    ``line`` and ``column`` count from 1; both are 0 when the fault is not at one place of the file
    (it cannot be read at all). ``path`` is the key path, such as ``auth.keys[0].scopes[1]``, empty
    for the document. ``reason`` never holds a secret nor a value that came from the environment.
    """

    file: str
    line: int
    column: int
    path: str
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.path}: {self.reason}" if self.path else f"{place}: {self.reason}"


class ConfigInvalid(Exception):
    """The configuration cannot be used; ``faults`` says why, in the order of the file."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)
