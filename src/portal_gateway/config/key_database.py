"""The section ``auth.keys.database`` as a value: API keys that are kept in a database."""

from dataclasses import dataclass

from portal_gateway.config.database import DatabaseSection

__all__ = ["KeyDatabase"]


@dataclass(frozen=True, slots=True)
class KeyDatabase:
    """``auth.keys.database``, where it is enabled.

    ``own`` is the database of the keys, ``None`` where it is the one of the section ``database``.
    ``cache_ttl`` is seconds for which an answer is remembered.
    """

    own: DatabaseSection | None = None
    cache_ttl: float = 300.0

    def database(self, shared: DatabaseSection) -> DatabaseSection:
        """The database of the keys, where ``shared`` is the section ``database``."""
        return shared if self.own is None else self.own
