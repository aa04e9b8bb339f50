"""Which leases live at a relay: the relay's side of registering, renewing and dropping, as a value.

The rules are those seen on the genuine relay 1.4.14. A lease lives until the time its holder asks
for (30 s ahead, by habit) and not a moment longer than the session it was last renewed on. Its name
is free text; only a name that another living lease has, compared with case, is refused. The empty
name and ``(unnamed)`` belong to everybody.
"""

from collections.abc import Hashable
from dataclasses import dataclass

from portal_gateway.wire.messages import LeaseRecord, ResponseCode

__all__ = ["MAX_LISTED_BYTES", "SHARED_NAMES", "LeaseRegistry", "Registration"]

MAX_LISTED_BYTES = 15 * 1024 * 1024
"""Bytes of all living leases together. The list of them has to fit into a packet that clients take
(``MAX_RELAY_INFO_PACKET``); a lease that would make it longer is REJECTED."""

_LEASE_OVERHEAD = 128
"""Bytes of a listed lease besides its texts: identity, expiry, and the lengths of everything."""

SHARED_NAMES = frozenset({"", "(unnamed)"})
"""Names that any number of leases may have at once."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A living lease, the session that holds it, and its size in the list, in bytes."""

    record: LeaseRecord
    session: Hashable
    size: int


class LeaseRegistry:
    """The living leases. Every ``now`` is unix seconds, as in the records."""

    def __init__(self, max_listed_bytes: int = MAX_LISTED_BYTES) -> None:
        self._room = max_listed_bytes
        self._by_id: dict[str, Registration] = {}
        self._holders: dict[str, str] = {}
        self._by_session: dict[Hashable, set[str]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def update(self, record: LeaseRecord, session: Hashable, now: float) -> ResponseCode:
        """Register or renew; a renewal on another session moves the lease there.

        ``REJECTED``, as from the genuine relay, when the expiry is in the past or another
        identity has the name; also when there is no room for it in the list. A refused update
        leaves what was registered before as it was.
        """
        self.expire(now)
        lease_id = record.identity.id
        if record.expires < now:
            return ResponseCode.REJECTED
        if self._holders.get(record.name, lease_id) != lease_id:
            return ResponseCode.REJECTED
        size = _listed_size(record)
        before = self._by_id.get(lease_id)
        if size > self._room + (0 if before is None else before.size):
            return ResponseCode.REJECTED
        self._forget(lease_id)
        self._room -= size
        self._by_id[lease_id] = Registration(record, session, size)
        self._by_session.setdefault(session, set()).add(lease_id)
        if record.name not in SHARED_NAMES:
            self._holders[record.name] = lease_id
        return ResponseCode.ACCEPTED

    def delete(self, lease_id: str) -> ResponseCode:
        """End a lease; ``INVALID_IDENTITY`` when there is none with that id."""
        if lease_id not in self._by_id:
            return ResponseCode.INVALID_IDENTITY
        self._forget(lease_id)
        return ResponseCode.ACCEPTED

    def drop_session(self, session: Hashable) -> list[str]:
        """End every lease that the session holds; returns their ids."""
        lease_ids = sorted(self._by_session.get(session, ()))
        for lease_id in lease_ids:
            self._forget(lease_id)
        return lease_ids

    def expire(self, now: float) -> list[str]:
        """End every lease whose expiry has passed; returns their ids."""
        lease_ids = [key for key, entry in self._by_id.items() if entry.record.expires < now]
        for lease_id in lease_ids:
            self._forget(lease_id)
        return lease_ids

    def find(self, lease_id: str, now: float) -> Registration | None:
        """The living lease with exactly this id."""
        entry = self._by_id.get(lease_id)
        if entry is None or entry.record.expires < now:
            return None
        return entry

    def living(self, now: float) -> list[LeaseRecord]:
        """Every living lease, in the order of their last update."""
        return [entry.record for entry in self._by_id.values() if not entry.record.expires < now]

    def _forget(self, lease_id: str) -> None:
        entry = self._by_id.pop(lease_id, None)
        if entry is None:
            return
        self._room += entry.size
        if self._holders.get(entry.record.name) == lease_id:
            del self._holders[entry.record.name]
        held = self._by_session[entry.session]
        held.discard(lease_id)
        if not held:
            del self._by_session[entry.session]


def _listed_size(record: LeaseRecord) -> int:
    texts = (record.name, record.metadata, *record.alpn)
    return _LEASE_OVERHEAD + sum(len(text.encode()) + 4 for text in texts)
