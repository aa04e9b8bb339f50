"""The lease that a name means: the index over one answer of a relay's directory, and the
configuration on top.

Names in the directory are whatever publishers wrote. A name is looked up by its folded form
(`portal_gateway.wire.lease_names`), and the first rule that applies decides alone:

1. A *configured* name means what the configuration says, and no other name of its lenient form
   means anything. One that is *pinned* to an identity means that identity, whatever the directory
   says about the name. One that has an *origin* means no listed lease.
2. A text of the shape of a lease id means the lease with that id. Nothing is reachable under a
   *name* of that shape, nor by the id of another lease in lower case: a publisher could otherwise
   take the place of another lease by calling itself its id. (Whoever is named by its own id is
   reached by that id anyhow.)
3. A name means the one lease whose name has the same folded form. Of several (``Tool``, ``TOOL``)
   each is meant by its very name, if it is listed once, and any other spelling (``tool``) means
   nobody. So no publisher can take a lease off the network, except by taking the very same name.

A name that is nobody's by rule 2 or 3 is *contested*. It must not be looked for elsewhere: whoever
contests a name would decide that the lease of that name at another relay is used instead.

The empty name never matches. The end-to-end handshake then proves that the id found here is the
one that answers, so a relay can withhold a lease but not replace one that was asked for by id or
pinned.
"""

from portal_gateway.relay.configured_names import ConfiguredNames
from portal_gateway.relay.lease_index import LeaseIndex
from portal_gateway.wire.identity import LEASE_ID_CHARACTERS, is_lease_id
from portal_gateway.wire.lease_names import folded
from portal_gateway.wire.messages import ListedLease

__all__ = ["LeaseTable"]


_NONE = ConfiguredNames()

_MOST_FOUND = 4096
"""Names whose lease is remembered: each lease can be asked for by its name in any case."""


class LeaseTable:
    """The meaning of each name, by an index over one answer and the names of a configuration.

    ``usurped`` maps each pinned name that another identity has in the very same letters, while the
    pinned one is not listed, to the id of a holder.
    """

    __slots__ = ("_configured", "_found", "_names", "index", "usurped")

    def __init__(self, index: LeaseIndex, configured: ConfiguredNames = _NONE) -> None:
        self.index = index
        self._configured = configured
        self._names: dict[str, tuple[str, ...]] = {}
        self._found: dict[str, ListedLease] = {}
        self.usurped = {
            name: holder
            for name, lease_id in configured.pins.items()
            if lease_id not in index.by_id
            for holder in index.holders(name)[:1]
        }

    def __len__(self) -> int:
        return len(self.index.by_id)

    def find(self, name: str) -> ListedLease | None:
        """The one lease that ``name`` means, or ``None``. A few dictionary look-ups."""
        lease = self._found.get(name)
        if lease is None:
            lease = self._find(name)
            if lease is not None and len(self._found) < _MOST_FOUND:
                self._found[name] = lease
        return lease

    def _find(self, name: str) -> ListedLease | None:
        by_id = self.index.by_id
        meaning = self._configured.get(name)
        if meaning is not None:
            if folded(name) != meaning.folded:
                return None
            if meaning.lease_id is not None:
                return by_id.get(meaning.lease_id)
        if len(name) == LEASE_ID_CHARACTERS and is_lease_id(name):
            return by_id.get(name)
        return self.index.named(name if meaning is None else meaning.name)

    def is_contested(self, name: str) -> bool:
        """Whether ``name`` is listed and means nobody, so that it means nobody elsewhere either."""
        meaning = self._configured.get(name)
        if meaning is not None:
            if folded(name) != meaning.folded or meaning.lease_id is not None:
                return False
            name = meaning.name
        return not is_lease_id(name) and self.index.is_contested(name)

    def names_of(self, lease: ListedLease) -> tuple[str, ...]:
        """All that a lease of this answer is known by: the names pinned to its id, the name that it
        has by itself, its id. The first is what it is called.

        A name that the configuration gives to another lease is not its own, whatever it says.
        """
        names = self._names.get(lease.id)
        if names is None:
            pinned = self._configured.pinned_to(lease.id)
            own = [lease.name] if self._is_its_own(lease) else []
            # A lease may be pinned to its own id.
            names = tuple(dict.fromkeys((*pinned, *own, lease.id)))
            self._names[lease.id] = names
        return names

    def _is_its_own(self, lease: ListedLease) -> bool:
        name = lease.name
        if not name or is_lease_id(name):
            return False
        meaning = self._configured.get(name)
        if meaning is None or meaning.lease_id in {None, lease.id}:
            return True
        return meaning.folded != folded(name)

    def pinned_name(self, name: str) -> str | None:
        """The pinned name that ``name`` is, in any case."""
        meaning = self._configured.get(name)
        if meaning is None or not meaning.lease_id or meaning.folded != folded(name):
            return None
        return meaning.name
