"""What was learned of API keys from a database, remembered for a while.

Answers are remembered by the SHA-256 of the key that was asked for: whose it is, or that it is
nobody's. What is forgotten has to be asked for again, so forgetting is always safe: a key that was
revoked is never good because of it.
"""

from collections import OrderedDict
from typing import Final

from portal_gateway.policy.credentials import UNKNOWN_KEY, KeyEntry

__all__ = ["MOST_KNOWN", "MOST_UNKNOWN", "UNKNOWN_TTL", "KeyCache"]

MOST_KNOWN: Final = 100_000
"""Keys that are remembered, some 700 bytes each: 70 MB where as many are in use at once."""

MOST_UNKNOWN: Final = 50_000
"""Strangers' keys that are remembered as nobody's, some 170 bytes each."""

UNKNOWN_TTL: Final = 30.0
"""Seconds for which a key is taken for nobody's at most. One that is created meanwhile is told of
as a change, so this is only a bound on what was not heard."""


class KeyCache:
    """Remembers for ``ttl`` seconds. ``now`` is of a clock that never goes back."""

    __slots__ = ("_by_id", "_known", "_ttl", "_unknown")

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        # Both in the order in which they end, since all of one kind are kept for the same time.
        # Taking the front off a dict again and again would cost a walk over what is gone.
        self._known: OrderedDict[bytes, tuple[KeyEntry, float]] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._by_id: dict[str, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._known) + len(self._unknown)

    def find(self, digest: bytes, now: float) -> KeyEntry | None:
        """What is known of a key, ``None`` where that has to be asked."""
        known = self._known.get(digest)
        if known is not None:
            if now < known[1]:
                return known[0]
            self._forget(digest)
            return None
        until = self._unknown.get(digest)
        if until is None:
            return None
        if now < until:
            return UNKNOWN_KEY
        del self._unknown[digest]
        return None

    def learn(self, digest: bytes, entry: KeyEntry, now: float) -> None:
        """Remember an answer; the oldest are forgotten for it where there are too many."""
        self._forget(digest)
        self._unknown.pop(digest, None)
        if entry is UNKNOWN_KEY:
            if len(self._unknown) >= MOST_UNKNOWN:
                self._unknown.popitem(last=False)
            self._unknown[digest] = now + min(self._ttl, UNKNOWN_TTL)
            return
        if len(self._known) >= MOST_KNOWN:
            self._forget(next(iter(self._known)))
        self._known[digest] = entry, now + self._ttl
        self._by_id.setdefault(entry.caller.key_id, set()).add(digest)

    def changed(self, key_ids: tuple[str, ...] | None) -> None:
        """These keys are no longer what they were, or any may be another (``None``)."""
        # A key that was nobody's may have been created.
        self._unknown.clear()
        if key_ids is None:
            self._known.clear()
            self._by_id.clear()
            return
        for key_id in key_ids:
            for digest in self._by_id.pop(key_id, ()):
                self._known.pop(digest, None)

    def _forget(self, digest: bytes) -> None:
        known = self._known.pop(digest, None)
        if known is not None:
            key_id = known[0].caller.key_id
            digests = self._by_id[key_id]
            digests.discard(digest)
            if not digests:
                del self._by_id[key_id]
