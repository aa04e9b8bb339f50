"""Rate limits: which buckets a request takes a token out of.

Three limits hold for a request, each where it is configured: ``global`` for all requests together,
``key`` for those of its key, ``lease`` for those to its lease whoever sends them. It takes a token
of each or of none.

The limit of a lease is that of the pattern that says most about it, by whichever of its names or
its id; where several say equally much, the lowest. Of a lease that was asked for by its id where
only a relay knows its names, it is that of the id, or else the lowest that there is, since each
pattern could be for one of its names. All such requests count together, and as requests to the
lease of that name where the pattern is a name: an id would else be a second limit of its lease.

What a key and a lease have together is put together once and kept.
"""

from collections.abc import Mapping
from typing import Final

from portal_gateway.config.model import key_digest
from portal_gateway.config.rate_limits import KeyRates, RateLimitSection, RateSection
from portal_gateway.exchange import Caller
from portal_gateway.policy.lease_patterns import PatternIndex
from portal_gateway.policy.request_limits import Limit, NamedLimit, Prepare, RequestLimits
from portal_gateway.policy.token_bucket import Bucket, BucketTable
from portal_gateway.wire.lease_names import folded, normal_pattern

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

    ``prepare`` is for a store that gateways share.
    """

    def __init__(
        self, section: RateLimitSection, tables: Tables, prepare: Prepare | None = None
    ) -> None:
        self._tables = tables
        self._prepare = prepare
        self._everything = Limit.of(section.everything)
        self._per_key = _KeyLimits(section.per_key)
        self._per_lease = _LeaseLimits(section.per_lease)
        self._known: dict[_Which, RequestLimits | None] = {}

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return bool(self._everything or self._per_key.any or self._per_lease.any)

    def of(
        self, caller: Caller, names: tuple[str, ...], *, hides_names: bool = False
    ) -> RequestLimits | None:
        """The limits of a caller's requests to a lease; ``None`` where there are none.

        ``names`` are all that the lease is known by, what it is called first, and ``hides_names``
        says that it may have others.
        """
        which = (caller.key_id, caller.digest, caller.plan, names, hides_names)
        try:
            return self._known[which]
        except KeyError:
            if len(self._known) >= _MOST_PUT_TOGETHER:
                self._known.clear()
            limits = self._known[which] = self._put_together(*which)
            return limits

    def _put_together(
        self, key_id: str, digest: bytes, plan: str, names: tuple[str, ...], hides_names: bool
    ) -> RequestLimits | None:
        tables = self._tables
        lease, of_lease = self._per_lease.of(names, hides_names=hides_names)
        found = (
            ("global", "", tables.everything, self._everything),
            ("key", key_id, tables.keys, self._per_key.of(key_id, digest, plan)),
            ("lease", lease, tables.leases, of_lease),
        )
        limits = [
            NamedLimit(name, limit, Bucket(table, key, limit.rate))
            for name, key, table, limit in found
            if limit is not None
        ]
        return RequestLimits.of(limits, self._prepare) if limits else None


_Which = tuple[str, bytes, str, tuple[str, ...], bool]


class _KeyLimits:
    """The limit of each key: what is written for the key, else for its plan, else for all."""

    def __init__(self, rates: KeyRates) -> None:
        self._default = Limit.of(rates.default)
        self._plans = {plan: Limit.of(rate) for plan, rate in rates.plans.items()}
        self._overrides = {digest: Limit.of(rate) for digest, rate in rates.overrides.items()}
        self.any = bool(self._default or self._plans or self._overrides)

    def of(self, key_id: str, digest: bytes, plan: str) -> Limit | None:
        # A token's claim can hold what is no Unicode text.
        for written in (key_digest(key_id.encode("utf-8", "surrogatepass")), digest):
            if written in self._overrides:
                return self._overrides[written]
        return self._plans.get(plan, self._default)


class _LeaseLimits:
    """The limit of each lease, by the patterns of its names."""

    def __init__(self, rates: Mapping[str, RateSection | None]) -> None:
        self._limits = [(pattern, (pattern, Limit.of(rate))) for pattern, rate in rates.items()]
        self._index = PatternIndex(self._limits)
        self.any = bool(self._limits)

    def of(self, names: tuple[str, ...], *, hides_names: bool) -> tuple[str, Limit | None]:
        """The name that a lease's requests are counted under, and the limit."""
        index = self._index
        found = index.exact(names) if hides_names else index.most_specific(names)
        if found or not hides_names:
            limits = [limit for _, limit in found if limit is not None]
            return folded(names[0]) if names else "", min(limits, key=_height, default=None)
        every = [(normal_pattern(p), limit) for _, (p, limit) in self._limits if limit is not None]
        return min(every, key=lambda each: _height(each[1]), default=("", None))


def _height(limit: Limit) -> tuple[float, int]:
    """Lower for less."""
    return 1 / limit.rate.interval, limit.rate.burst
