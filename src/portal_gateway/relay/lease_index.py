"""The leases of one answer of a relay's directory, by id and by the folded form of their names.

The index is built lease by lease, so that a long answer can be indexed in several turns of the
reactor. The configuration has no part in it: `portal_gateway.relay.lease_table` puts that on top.
"""

from collections.abc import Generator, Iterator

from portal_gateway.wire.identity import LEASE_ID_CHARACTERS, is_lease_id
from portal_gateway.wire.lease_names import folded
from portal_gateway.wire.messages import ListedLease

__all__ = ["Contest", "LeaseIndex"]

_WORK_OF_A_CHARACTER = 1
"""Units of work of a character that is not ASCII: it can become several, which are put in order."""


class Contest:
    """The leases whose names have one folded form. ``spellings`` maps each of the names to the id
    of the only lease that has it, and to ``None`` where several have it."""

    __slots__ = ("ids", "spellings")

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.spellings: dict[str, str | None] = {}

    def add(self, lease: ListedLease) -> None:
        """Add a holder of the form."""
        self.ids.add(lease.id)
        self.spellings[lease.name] = None if lease.name in self.spellings else lease.id


class LeaseIndex:
    """``by_id`` has every lease, ``by_form`` the id of the first lease for each folded form of a
    name, ``contested`` the forms that several leases have, ``forms`` those of names that are not
    ASCII, which cost more than a look-up. ``before`` is the index of the answer before, which knows
    most of them already.
    """

    __slots__ = ("_forms_before", "by_form", "by_id", "contested", "forms")

    def __init__(self, before: "LeaseIndex | None" = None) -> None:
        self.by_id: dict[str, ListedLease] = {}
        self.by_form: dict[str, str] = {}
        self.contested: dict[str, Contest] = {}
        self.forms: dict[str, str] = {}
        self._forms_before = {} if before is None else before.forms

    def add_all(self, leases: tuple[ListedLease, ...]) -> Generator[int, None, None]:
        """Add leases; yields the units of work after each. Of several with one id the first counts.

        The index before is let go at the end.
        """
        for lease in leases:
            work = 1
            if self.by_id.setdefault(lease.id, lease) is lease:
                name = lease.name
                if name.isascii():
                    form = folded(name)
                else:
                    known = self._forms_before.get(name)
                    form = self.forms[name] = folded(name) if known is None else known
                    work += 0 if known is not None else len(name) * _WORK_OF_A_CHARACTER
                if name and not is_lease_id(name):
                    self._add(lease, form)
            yield work
        self._forms_before = {}

    def _add(self, lease: ListedLease, form: str) -> None:
        first = self.by_form.setdefault(form, lease.id)
        if first != lease.id:
            contest = self.contested.get(form)
            if contest is None:
                contest = self.contested[form] = Contest()
                contest.add(self.by_id[first])
            contest.add(lease)

    def named(self, name: str) -> ListedLease | None:
        """The lease that a name means by this answer alone; at most four dictionary look-ups.

        It is the only one whose name has the form; of several the only one that has the very name.
        The id of a lease in lower case is nobody's name.
        """
        form = folded(name)
        lease_id = self.by_form.get(form)
        if lease_id is None or self._is_like_an_id(name):
            return None
        contest = self.contested.get(form)
        if contest is not None:
            lease_id = contest.spellings.get(name)
        return None if lease_id is None else self.by_id[lease_id]

    def is_contested(self, name: str) -> bool:
        """Whether a name means nobody here because of what is listed here: several leases have the
        form and none of them alone the very name, or it is like the id of a lease."""
        return self._is_like_an_id(name) or (
            folded(name) in self.contested and self.named(name) is None
        )

    def holders(self, name: str) -> list[str]:
        """The ids of the leases that have a name in the very same letters."""
        form = folded(name)
        contest = self.contested.get(form)
        first = self.by_form.get(form)
        ids = contest.ids if contest is not None else () if first is None else (first,)
        return sorted(lease_id for lease_id in ids if self.by_id[lease_id].name == name)

    def addresses(self) -> Iterator[str]:
        """Every id, and every folded form of a name."""
        yield from self.by_id
        yield from filter(self.has, self.by_form)

    def has(self, address: str) -> bool:
        """Whether an address, an id or the folded form of a name, is that of a listed lease."""
        return address in self.by_id or (
            address in self.by_form and not self._is_like_an_id(address)
        )

    def _is_like_an_id(self, name: str) -> bool:
        return len(name) == LEASE_ID_CHARACTERS and name.upper() in self.by_id
