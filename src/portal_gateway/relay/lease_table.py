"""Who may be reached under which name: the index over one answer of a relay's directory.

Names in the directory are whatever publishers wrote. What a caller asks for is looked up in this
order, and the first rule that applies decides alone:

1. A *pinned* name (the configuration says which identity it is) means that identity and nobody
   else, whatever the directory says about the name.
2. A text of the shape of a lease id means the lease with that id. Nothing is reachable under a
   *name* of that shape: a publisher could otherwise take the place of another lease by calling
   itself its id. (Whoever is named by its own id is reached by that id anyhow.)
3. A name, exactly as written, if exactly one lease has it. A relay lets nobody register a name
   twice; one that lists two holders lies about one of them, so neither is reached by that name.
4. A name that differs in case only (``str.casefold``), if exactly one lease, pinned ones
   included, has such a name.

The empty name never matches. The end-to-end handshake then proves that the id found here is the
one that answers, so a relay can withhold a lease but not replace one that was asked for by id or
pinned.
"""

from collections.abc import Iterable, Mapping

from portal_gateway.wire.identity import is_lease_id
from portal_gateway.wire.messages import ListedLease

__all__ = ["LeaseTable"]


class LeaseTable:
    """An immutable index over the leases of one answer, and the pins (name to lease id).

    ``usurped`` maps each pinned name that is held by another identity, while the pinned one is
    not listed, to the id of a holder. ``contested`` has one tuple of ids for each exact name with
    several holders. Raises ``ValueError`` for an empty pinned name.
    """

    __slots__ = ("_by_id", "_by_name", "_folded", "_names", "_pins", "contested", "usurped")

    def __init__(
        self, leases: Iterable[ListedLease] = (), pins: Mapping[str, str] | None = None
    ) -> None:
        self._pins = pins = {} if pins is None else pins
        if "" in pins:
            raise ValueError("the empty name cannot be pinned")
        by_id: dict[str, ListedLease] = {}
        for lease in leases:
            by_id.setdefault(lease.id, lease)
        self._by_id = by_id
        self._names: dict[str, tuple[str, ...]] = {}
        # Every way to address a lease exactly. ``None`` means: decided, there is nobody.
        self._by_name: dict[str, ListedLease | None] = dict(by_id)
        # The id that a folded name means; "" once it means more than one.
        self._folded: dict[str, str] = {}
        self.usurped: dict[str, str] = {}
        holders: dict[str, list[str]] = {}
        for lease in by_id.values():
            if lease.name in pins:
                if pins[lease.name] not in by_id:
                    self.usurped.setdefault(lease.name, lease.id)
            elif lease.name and not is_lease_id(lease.name):
                self._name(lease, holders)
        for name, pinned_id in pins.items():
            self._by_name[name] = by_id.get(pinned_id)
            if not is_lease_id(name):
                self._claim(name, pinned_id)
        self.contested = tuple(tuple(sorted(ids)) for ids in holders.values())

    def _name(self, lease: ListedLease, holders: dict[str, list[str]]) -> None:
        name = lease.name
        if name in self._by_name:
            first = self._by_name[name]
            if first is not None:
                holders[name] = [first.id]
            holders[name].append(lease.id)
            self._by_name[name] = None
        else:
            self._by_name[name] = lease
        self._claim(name, lease.id)

    def _claim(self, name: str, lease_id: str) -> None:
        fold = name.casefold()
        if self._folded.setdefault(fold, lease_id) != lease_id:
            self._folded[fold] = ""

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, name: str) -> ListedLease | None:
        """The one lease that ``name`` means, or ``None``. At most three dictionary look-ups."""
        try:
            return self._by_name[name]
        except KeyError:
            pass
        if is_lease_id(name):
            return None
        return self._by_id.get(self._folded.get(name.casefold(), ""))

    def names_of(self, lease: ListedLease) -> tuple[str, ...]:
        """All that a lease of this answer is known by: the names pinned to its id, the name that it
        has by itself, its id. The first is what it is called.

        A name that is pinned to another identity is not its own, whatever it says.
        """
        names = self._names.get(lease.id)
        if names is None:
            pinned = [name for name, pinned_id in self._pins.items() if pinned_id == lease.id]
            own = lease.name
            has_own = own and own not in self._pins and not is_lease_id(own)
            names = (*pinned, *([own] if has_own else ()), lease.id)
            # A lease may be pinned to its own id.
            self._names[lease.id] = names = tuple(dict.fromkeys(names))
        return names

    def pinned_name(self, name: str) -> str | None:
        """The pinned name that decides about ``name``, itself or through a difference in case."""
        if name in self._pins:
            return name
        if name in self._by_name or is_lease_id(name):
            return None
        fold = name.casefold()
        if not self._folded.get(fold):
            return None
        return next((pinned for pinned in self._pins if pinned.casefold() == fold), None)

    def addresses(self) -> set[str]:
        """Every id, and every addressable name folded: what a caller may remember having seen."""
        return self._by_id.keys() | {fold for fold, lease_id in self._folded.items() if lease_id}
