"""Quotas put together: where use is kept, who keeps it, and the rule that asks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from portal_gateway.config.model import Config
from portal_gateway.frontend.quota_guard import QuotaGuard
from portal_gateway.frontend.quota_keeper import QuotaKeeper
from portal_gateway.policy.quota_table import QuotaTable
from portal_gateway.policy.quotas import Quotas

if TYPE_CHECKING:
    from portal_gateway.store.database import Database
    from portal_gateway.store.redis import RedisScripts
    from portal_gateway.store.shared_quotas import SharedQuotas

__all__ = ["QuotaParts", "make_quotas"]


class QuotaParts:
    """What outlives a configuration. ``keeper`` is a service to be run."""

    def __init__(self, keeper: QuotaKeeper, shared: "SharedQuotas | None" = None) -> None:
        self.keeper = keeper
        self._shared = shared

    def guard(self, config: Config) -> QuotaGuard:
        """The rule for the quotas of a configuration."""
        quotas = Quotas(config.quotas)
        if self._shared is None:
            return QuotaGuard(quotas, self.keeper)
        # Its library imports the reactor, which twistd has chosen by now.
        from portal_gateway.frontend.shared_quota_guard import SharedQuotaGuard  # noqa: PLC0415

        on_failure = config.rate_limit.storage.on_failure
        return SharedQuotaGuard(quotas, self.keeper, self._shared, on_failure)


def make_quotas(
    config: Config,
    redis: "RedisScripts | None",
    database: "Callable[[], Database]",
    clock: Any,
    wall_clock: Callable[[], float],
) -> QuotaParts:
    """Keep use in ``redis``, if the configuration says so, else in the database.

    That is opened by ``database`` only where it is needed.
    """
    table = QuotaTable()
    if redis is not None and config.quotas.storage != "database":
        # As above.
        from portal_gateway.store.shared_quotas import SharedQuotas  # noqa: PLC0415

        shared = SharedQuotas(redis)
        return QuotaParts(QuotaKeeper(table, shared, clock, wall_clock), shared)
    # SQLAlchemy takes a tenth of a second to import, which only who has a database pays.
    from portal_gateway.store.quota_database import DatabaseQuotas  # noqa: PLC0415

    store = DatabaseQuotas(database(), wall_clock)
    return QuotaParts(QuotaKeeper(table, store, clock, wall_clock))
