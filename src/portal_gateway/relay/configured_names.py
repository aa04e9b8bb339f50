"""The names of leases that the configuration has, and what each of them means."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from portal_gateway.wire.lease_names import folded, lenient_form

__all__ = ["ConfiguredNames"]


class _Meaning(NamedTuple):
    """A configured name. ``lease_id`` is what it is pinned to, empty where it is no listed lease,
    ``None`` where it is the lease that has the name."""

    name: str
    folded: str
    lease_id: str | None


class ConfiguredNames:
    """The names of leases that the configuration has, by their lenient form.

    ``pins`` maps names to the only lease id that each may mean, ``origins`` are the names with an
    address of their own, ``others`` further names. Raises ``ValueError`` for an empty name.
    """

    __slots__ = ("_meanings", "_pinned", "pins")

    def __init__(
        self,
        pins: Mapping[str, str] | None = None,
        origins: Iterable[str] = (),
        others: Iterable[str] = (),
    ) -> None:
        self.pins = dict(pins or {})
        if "" in self.pins:
            raise ValueError("the empty name cannot be pinned")
        self._pinned: dict[str, list[str]] = {}
        for name, lease_id in self.pins.items():
            self._pinned.setdefault(lease_id, []).append(name)
        self._meanings: dict[str, _Meaning] = {}
        for name, lease_id in self.pins.items():
            self._add(name, lease_id)
        for name in origins:
            self._add(name, "")
        for name in others:
            if name not in self.pins:
                self._add(name, None)

    def _add(self, name: str, lease_id: str | None) -> None:
        meaning = _Meaning(name, folded(name), lease_id)
        first = self._meanings.setdefault(lenient_form(name), meaning)
        if lease_id is not None and first.lease_id != lease_id:
            # The configuration refuses this. Were it not to, they would mean nobody.
            other = "" if first.lease_id is not None else lease_id
            self._meanings[lenient_form(name)] = first._replace(lease_id=other)

    def pinned_to(self, lease_id: str) -> Sequence[str]:
        """The names that are pinned to a lease id, in the order of the configuration."""
        return self._pinned.get(lease_id, ())

    def has(self, name: str) -> bool:
        """Whether ``name`` is a configured one, in any case."""
        meaning = self.get(name)
        return meaning is not None and meaning.folded == folded(name)

    def spelled(self, name: str) -> str | None:
        """The name as the configuration spells it: ``name`` itself where it is not configured, and
        ``None`` where it only has the lenient form of a configured one, and is nobody's."""
        meaning = self.get(name)
        if meaning is None:
            return name
        return meaning.name if meaning.folded == folded(name) else None

    def get(self, name: str) -> _Meaning | None:
        """The configured name with the lenient form of ``name``."""
        return self._meanings.get(lenient_form(name)) if self._meanings else None
