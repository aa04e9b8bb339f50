"""The leases of one answer of a relay's directory, by id and by the form of their names.

The index is built lease by lease, so that a long answer can be indexed in several turns of the
reactor. The configuration has no part in it: `portal_gateway.relay.lease_table` puts that on top.
"""

from collections.abc import Generator, Iterator

from portal_gateway.wire.identity import LEASE_ID_CHARACTERS, is_lease_id
from portal_gateway.wire.lease_names import folded, lenient_form
from portal_gateway.wire.messages import ListedLease

__all__ = ["Contest", "LeaseIndex"]

_WORK_OF_A_CHARACTER = 1
"""Units of work of a character that is not ASCII: one letter can become eighteen (U+FDFA)."""


class Contest:
    """The leases whose names have one lenient form. ``plain`` is the one that is named by that very
    form: ``None`` where there is none, or more than one."""

    __slots__ = ("_has_plain", "ids", "plain")

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.plain: str | None = None
        self._has_plain = False

    def add(self, lease: ListedLease, form: str) -> None:
        """Add a holder of the form."""
        self.ids.add(lease.id)
        if lease.name == form:
            self.plain = None if self._has_plain else lease.id
            self._has_plain = True


class LeaseIndex:
    """``by_id`` has every lease, ``by_form`` the id of the first lease for each lenient form of a
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
                    form = lenient_form(name)
                else:
                    known = self._forms_before.get(name)
                    form = self.forms[name] = lenient_form(name) if known is None else known
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
                contest.add(self.by_id[first], form)
            contest.add(lease, form)

    def named(self, name: str) -> ListedLease | None:
        """The lease that a name means by this answer alone; at most three dictionary look-ups.

        It is the only one whose name has the form; of several the one whose name is the very form,
        if that name was asked for. The id of a lease in lower case is nobody's name.
        """
        form = lenient_form(name)
        lease_id = self.by_form.get(form)
        if lease_id is None or self._is_like_an_id(name):
            return None
        contest = self.contested.get(form)
        if contest is not None:
            return self.by_id[contest.plain] if contest.plain and name == form else None
        lease = self.by_id[lease_id]
        return lease if lease.name == name or folded(lease.name) == folded(name) else None

    def holders(self, name: str) -> list[str]:
        """The ids of the leases that have a name in the very same letters."""
        form = lenient_form(name)
        contest = self.contested.get(form)
        first = self.by_form.get(form)
        ids = contest.ids if contest is not None else () if first is None else (first,)
        return sorted(lease_id for lease_id in ids if self.by_id[lease_id].name == name)

    def addresses(self) -> Iterator[str]:
        """Every id, and every lenient form of a name that means a lease."""
        yield from self.by_id
        yield from filter(self.has, self.by_form)

    def has(self, address: str) -> bool:
        """Whether an address, an id or the lenient form of a name, means a lease of this answer."""
        if address in self.by_id:
            return True
        contest = self.contested.get(address)
        if contest is not None and contest.plain is None:
            return False
        return address in self.by_form and not self._is_like_an_id(address)

    def _is_like_an_id(self, name: str) -> bool:
        return len(name) == LEASE_ID_CHARACTERS and name.upper() in self.by_id
