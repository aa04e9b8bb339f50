"""What came of reading the configuration again."""

from collections.abc import Callable

__all__ = ["ReloadResults"]


class ReloadResults:
    """Counts reloads. ``wall_clock`` gives the unix time.

    ``generation`` numbers the configurations that were in force, the one at the start being 1;
    ``applied`` is since when the one of now is. ``last_succeeded`` says what came of the last
    attempt, the start counting as one.
    """

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self.generation = 1
        self.applied = wall_clock()
        self.successes = 0
        self.failures = 0
        self.last_succeeded = True

    def succeeded(self) -> None:
        """Another configuration is in force from now on."""
        self.generation += 1
        self.applied = self._wall_clock()
        self.successes += 1
        self.last_succeeded = True

    def failed(self) -> None:
        """One was refused; the one before stays in force."""
        self.failures += 1
        self.last_succeeded = False
