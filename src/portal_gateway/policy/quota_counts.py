"""What a key has used, and the decision whether it may use more.

A `Count` is the use of one key in one day or month. What is added to it here and was not written to
the store yet is kept apart, so that several processes can add up what they counted. An `Account` is
a key with its quotas and the counts that they are compared with now.

A count that is not `known` has only what this process added: what the store has is still to be
read. Requests are admitted by it only while the store is away.
"""

from collections.abc import Iterable

from portal_gateway.policy.quota_spans import Span, span_at
from portal_gateway.policy.quotas import Quota

__all__ = ["Account", "Count", "Current", "Totals", "comes_to_its_end"]

Totals = tuple[int, int]
"""Requests and bytes."""


class Count:
    """The use of one key in one span. ``new_requests`` and ``new_bytes`` are not written yet."""

    __slots__ = ("bytes", "key_id", "known", "new_bytes", "new_requests", "requests", "span")

    def __init__(self, key_id: str, span: Span) -> None:
        self.key_id = key_id
        self.span = span
        self.requests = 0
        self.bytes = 0
        self.new_requests = 0
        self.new_bytes = 0
        self.known = False

    @property
    def is_new(self) -> bool:
        """Whether there is something that was not written yet."""
        return bool(self.new_requests or self.new_bytes)

    def learn(self, totals: Totals) -> None:
        """Take over what the store has, in which everything is that was written until now."""
        self.requests = totals[0] + self.new_requests
        self.bytes = totals[1] + self.new_bytes
        self.known = True


Current = tuple[tuple[Quota, Count], ...]
"""Quotas, each with the count that it is compared with."""


class Account:
    """A key, its quotas, and its counts.

    ``current`` has each quota with its count, from unix time ``since`` on and before ``until``.
    ``prepared`` is for whoever wants to keep something as long as ``current`` is the same.
    """

    __slots__ = ("_counts", "current", "key_id", "prepared", "quotas", "since", "until")

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.quotas: tuple[Quota, ...] = ()
        self.current: Current = ()
        self.since = 0.0
        self.until = 0.0
        self.prepared: object | None = None
        self._counts: dict[Span, Count] = {}

    def is_current(self, quotas: tuple[Quota, ...], now: float) -> bool:
        """Whether ``current`` is for these quotas and this time."""
        return self.since <= now < self.until and self.quotas is quotas

    def bring_up(self, quotas: tuple[Quota, ...], now: float) -> None:
        """Make ``current`` what it is for ``quotas`` at ``now``.

        Counts of the spans next to the current ones stay, so that a clock that is set back finds
        them as they were.
        """
        spans = [span_at(quota.period, now) for quota in quotas]
        counts = self._counts
        for span in spans:
            if span not in counts:
                counts[span] = Count(self.key_id, span)
        self.quotas = quotas
        self.prepared = None
        self.current = tuple(zip(quotas, [counts[span] for span in spans], strict=True))
        self.since = max((span.start for span in spans), default=now)
        self.until = min((span.end for span in spans), default=now)
        near = {*spans, *(span_at(s.period, t) for s in spans for t in (s.start - 1, s.end))}
        for span, count in list(counts.items()):
            if span not in near and not count.is_new:
                del counts[span]

    @property
    def is_known(self) -> bool:
        """Whether the store has been asked for all current counts."""
        return all(count.known for _, count in self.current)

    @property
    def counts(self) -> Iterable[Count]:
        """All of them."""
        return self._counts.values()

    def admit(self) -> bool:
        """Count a request in every span, or in none where one of the quotas is used up."""
        current = self.current
        for quota, count in current:
            if quota.requests is not None and count.requests >= quota.requests:
                return False
            if quota.bandwidth is not None and count.bytes >= quota.bandwidth:
                return False
        for _, count in current:
            count.requests += 1
            count.new_requests += 1
        return True

    def add_bytes(self, size: int) -> None:
        """Count bytes that flowed."""
        for _, count in self.current:
            count.bytes += size
            count.new_bytes += size


def comes_to_its_end(current: Current) -> bool:
    """Whether one of the quotas is used so far that answers warn of it."""
    for quota, count in current:
        if count.requests >= quota.warned_requests or count.bytes >= quota.warned_bytes:
            return True
    return False
