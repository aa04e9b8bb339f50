"""Rate limits: which buckets a request takes a token out of.

Three limits hold for a request, each where it is configured: ``global`` for all requests together,
``key`` for those of its key, ``lease`` for those to its lease whoever sends them. It takes a token
of each or of none.

What a key and a lease have together is put together once and kept.
"""

from collections.abc import Iterable
from typing import Final

from portal_gateway.config.model import ApiKey, key_digest
from portal_gateway.config.rate_limits import KeyRates, RateLimitSection
from portal_gateway.exchange import Caller
from portal_gateway.policy.request_limits import Limit, NamedLimit, Prepare, RequestLimits
from portal_gateway.policy.token_bucket import Bucket, BucketTable

__all__ = ["RateLimits", "Tables"]

_MOST_PUT_TOGETHER: Final = 10_000
"""Pairs of key and lease whose limits are kept put together. Above it all are dropped and made
again as they are needed, some microseconds each."""


_MOST_ADDRESSES: Final = 100_000
"""Addresses with failed attempts. Strangers choose how many there are, so they get less room than
keys; at 10 attempts a second each is forgotten 10 s after it stopped."""


class Tables:
    """The buckets of every limit. They outlive a configuration."""

    __slots__ = ("addresses", "everything", "keys", "leases")

    def __init__(self) -> None:
        self.everything = BucketTable()
        self.keys = BucketTable()
        self.leases = BucketTable()
        self.addresses = BucketTable(_MOST_ADDRESSES)

    def __len__(self) -> int:
        """Buckets that are kept."""
        return sum(map(len, self._all))

    @property
    def forgotten(self) -> int:
        """Buckets that were given up while they were not full."""
        return sum(table.forgotten for table in self._all)

    def sweep(self, now: int, most: int) -> None:
        """Look at up to ``most`` buckets of each table and drop those that are full."""
        for table in self._all:
            table.sweep(now, most)

    @property
    def _all(self) -> tuple[BucketTable, ...]:
        return (self.everything, self.keys, self.leases, self.addresses)


class RateLimits:
    """The limits of a configuration, over ``tables``.

    ``keys`` are those of the configuration. ``prepare`` is for a store that gateways share.
    """

    def __init__(
        self,
        section: RateLimitSection,
        keys: Iterable[ApiKey],
        tables: Tables,
        prepare: Prepare | None = None,
    ) -> None:
        self._tables = tables
        self._prepare = prepare
        self._everything = Limit.of(section.everything)
        self._per_key = _KeyLimits(section.per_key, keys)
        self._per_lease = {name: Limit.of(rate) for name, rate in section.per_lease.items()}
        self._known: dict[tuple[str, str, str], RequestLimits | None] = {}

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return bool(self._everything or self._per_key.any or self._per_lease)

    def of(self, caller: Caller, lease: str) -> RequestLimits | None:
        """The limits of a caller's requests to a lease; ``None`` where there are none."""
        which = (caller.key_id, caller.plan, lease)
        try:
            return self._known[which]
        except KeyError:
            if len(self._known) >= _MOST_PUT_TOGETHER:
                self._known.clear()
            limits = self._known[which] = self._put_together(*which)
            return limits

    def _put_together(self, key_id: str, plan: str, lease: str) -> RequestLimits | None:
        tables = self._tables
        found = (
            ("global", "", tables.everything, self._everything),
            ("key", key_id, tables.keys, self._per_key.of(key_id, plan)),
            ("lease", lease, tables.leases, self._per_lease.get(lease)),
        )
        limits = [
            NamedLimit(name, limit, Bucket(table, key, limit.rate))
            for name, key, table, limit in found
            if limit is not None
        ]
        return RequestLimits.of(limits, self._prepare) if limits else None


class _KeyLimits:
    """The limit of each key: what is written for the key, else for its plan, else for all."""

    def __init__(self, rates: KeyRates, keys: Iterable[ApiKey]) -> None:
        self._default = Limit.of(rates.default)
        self._plans = {plan: Limit.of(rate) for plan, rate in rates.plans.items()}
        self._overrides = {digest: Limit.of(rate) for digest, rate in rates.overrides.items()}
        # A key may be written as itself. The keys of a database are known by their ids only.
        self._by_id = {
            key.id: self._overrides[key.digest] for key in keys if key.digest in self._overrides
        }
        self.any = bool(self._default or self._plans or self._overrides)

    def of(self, key_id: str, plan: str) -> Limit | None:
        if key_id in self._by_id:
            return self._by_id[key_id]
        # A token's claim can hold what is no Unicode text.
        digest = key_digest(key_id.encode("utf-8", "surrogatepass"))
        if digest in self._overrides:
            return self._overrides[digest]
        return self._plans.get(plan, self._default)
