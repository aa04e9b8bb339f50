"""Whether the time of a key lookup tells anything about the keys: a t test, as in dudect.

Run it on a quiet machine::

    python benchmarks/key_timing.py [rounds]

Two kinds of refused key are tried in random order. A round has fresh keys and a fresh table, since
where a digest falls in the table changes its time by a little, for whatever key; what is tested is
the mean over the rounds of the difference of the two kinds. A ``|t|`` below 4.5 gives no reason to
think that there is one (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017).
What is slower than most of all samples is left out, since that is the system's doing.
"""

import random
import secrets
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from portal_gateway.config.model import ApiKey
from portal_gateway.policy.credentials import KeyTable

ROUNDS = 100
SAMPLES = 400
KEPT = 0.8
THRESHOLD = 4.5
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def fresh_key() -> str:
    return f"sk_live_{secrets.token_hex(16)}"


def shares(characters: int) -> Callable[[str, str], str]:
    """A wrong key that begins with so many characters of the right one, and then differs."""

    def make(right: str, _expired: str) -> str:
        return right[:characters] + "x" + fresh_key()[characters + 1 :]

    return make


def expired(_right: str, expired: str) -> str:
    return expired


LENGTH = len(fresh_key())

PAIRS = {
    "shares no character / all but one": (shares(0), shares(LENGTH - 1)),
    "unknown / expired": (shares(0), expired),
    "unknown / unknown": (shares(0), shares(0)),
}


def one_round(kinds: tuple[Callable[[str, str], str], ...]) -> tuple[float, float]:
    """The mean times of both kinds, in nanoseconds."""
    right, old = fresh_key(), fresh_key()
    others = [ApiKey.of(fresh_key()) for _ in range(100)]
    authenticate = KeyTable(
        [ApiKey.of(right), ApiKey.of(old, expires_at=LONG_AGO), *others]
    ).authenticate
    keys = [make(right, old).encode() for make in kinds]
    order = [0, 1] * SAMPLES
    random.shuffle(order)
    # Each sample has its key in memory of its own.
    calls = [(kind, [(b"X-API-Key", bytes(bytearray(keys[kind])))]) for kind in order]
    samples: list[tuple[int, int]] = []
    for kind, headers in calls:
        start = time.perf_counter_ns()
        authenticate(headers, 2e9)
        samples.append((time.perf_counter_ns() - start, kind))
    samples.sort()
    kept = samples[: int(len(samples) * KEPT)]
    first, second = (statistics.fmean(t for t, one in kept if one == kind) for kind in (0, 1))
    return first, second


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    for name, kinds in PAIRS.items():
        means = [one_round(kinds) for _ in range(rounds)]
        differences = [first - second for first, second in means]
        t = statistics.fmean(differences) / (statistics.stdev(differences) / rounds**0.5)
        verdict = "no difference seen" if abs(t) < THRESHOLD else "THEY DIFFER"
        first, second = (statistics.fmean(column) for column in zip(*means, strict=True))
        print(f"{name}: {first:.0f} / {second:.0f} ns, t = {t:.2f}: {verdict}")


if __name__ == "__main__":
    main()
