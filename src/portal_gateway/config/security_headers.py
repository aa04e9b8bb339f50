"""``security_headers`` as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["SecurityHeadersSection", "SecurityPath"]


@dataclass(frozen=True, slots=True)
class SecurityPath:
    """``security_headers.paths[]``: what differs at paths that ``path`` matches.

    ``headers`` are fields that are told there, or with ``None`` are not; ``override`` says whether
    they take the place of the lease's own, ``None`` for as everywhere.
    """

    path: str
    headers: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))
    override: bool | None = None


@dataclass(frozen=True, slots=True)
class SecurityHeadersSection:
    """``security_headers``: fields that every answer has. The first of ``paths`` that fits holds.

    ``headers`` are changes to the usual ones; ``None`` takes one away.
    """

    enabled: bool = True
    override: bool = False
    headers: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))
    paths: tuple[SecurityPath, ...] = ()
